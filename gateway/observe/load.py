"""Measures how busy this process is, and has new calls refused where it is too busy for them."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import structlog

from gateway.app.opening import Opening
from gateway.call.load import EVERY, LoadControl
from gateway.net.user_agent import UserAgent
from gateway.sip.flow import Flow
from gateway.sip.message.message import Request
from gateway.sources import source_of
from gateway.tasks import ended
from gateway.web.limits import KeyedBuckets, TokenBucket

log = structlog.get_logger(__name__)

_ADMITTED = 1_000
"""Calls that were let in lately, and may come again with credentials."""
_NEVER = object()
_IN_NEED = 25.0
"""INVITEs to emergency numbers that are let in a second of sources that have proved nothing (yet): a call takes two."""
_IN_NEED_THERE = 10.0
"""The same of one source."""
_IN_NEED_FIRST, _AGAIN = 4.0, 60.0
"""The same of one source in so many seconds, for which there is as much room again: few who flood leave it alone."""
_PLANE_EVERY = 1.0
"""Seconds between two questions of how full the packet plane is."""


class LoadWatch:
    """Looks at the event loop ten times a second; to be used on the loop's own thread."""

    def __init__(
        self,
        control: LoadControl,
        used: Callable[[], float] = time.thread_time,
        waited: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`used` gives seconds that the loop's thread has worked, `waited` those that a message has waited to be
        read at most since the last call.
        """
        self._waited = waited
        self._control = control
        self._used = used
        self._loop = asyncio.get_running_loop()
        self._since, self._work = self._loop.time(), used()
        self._timer = self._loop.call_later(EVERY, self._look)
        self._said = False

    def close(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        now, work = self._loop.time(), self._used()
        passed = max(now - self._since, 1e-6)
        control = self._control
        control.measured((work - self._work) / passed, max(0.0, passed - EVERY), self._waited())
        self._since, self._work = now, work
        if control.overloaded != self._said:
            self._said = control.overloaded
            said = "overload: new calls are refused" if self._said else "overload is over"
            log.warning(said, refused=control.refused, limit=control.limit or None)
        self._timer = self._loop.call_later(EVERY, self._look)


def limit_new_calls(user_agent: UserAgent, control: LoadControl, is_emergency: Callable[[str], bool]) -> LoadWatch:
    """Have SIP answer new calls 503 as `control` says, before anything is done for them; emergency calls go on.

    `is_emergency` reads what was dialled.

    It looks from now on, until what is returned is closed.
    """

    admitted: OrderedDict[str, None] = OrderedDict()
    now = asyncio.get_running_loop().time
    in_need = TokenBucket(_IN_NEED, _IN_NEED, _IN_NEED, now())
    in_need_there = KeyedBuckets(_IN_NEED_THERE, _IN_NEED_THERE, now)
    in_need_first = TokenBucket(_IN_NEED, _IN_NEED, _IN_NEED, now())
    first_there = KeyedBuckets(_IN_NEED_FIRST / _AGAIN, _IN_NEED_FIRST, now)

    def may_be_in_need(source: str) -> bool:
        if not in_need_there.take(source):
            return False
        return (first_there.take(source) and in_need_first.take(now())) or in_need.take(now())

    def may_begin(invite: Request, source: Flow, known: bool) -> bool:
        # After a restart or by a new connection nobody has proved anything: such a call is challenged, a flood is not.
        if is_emergency(str(invite.uri)) and (known or may_be_in_need(source_of(source.host))):
            return True
        if invite.headers.count("Authorization") and admitted.pop(invite.call_id, _NEVER) is None:
            return True  # the same call again, with what it was challenged for
        if not control.admit(now()):
            return False
        admitted[invite.call_id] = None
        if len(admitted) > _ADMITTED:
            admitted.popitem(last=False)
        return True

    user_agent.admit_calls(may_begin, lambda: control.limit)
    return LoadWatch(control, waited=user_agent.waited)


async def watch_plane(control: LoadControl, busy: Callable[[], Awaitable[float | None]]) -> None:
    """Tell `control` every second how full the packet plane is, until it is cancelled.

    `busy` as `MediaEngine` has it.
    """
    while True:
        await asyncio.sleep(_PLANE_EVERY)
        try:
            control.plane = await busy() or 0.0
        except Exception:
            log.exception("how full the packet plane is cannot be seen")


def watch_load(
    opening: Opening,
    user_agent: UserAgent,
    control: LoadControl,
    is_emergency: Callable[[str], bool],
    busy: Callable[[], Awaitable[float | None]],
) -> None:
    """Look after our load, and have SIP answer new calls as it allows, until `opening.stack` is closed."""
    watch = limit_new_calls(user_agent, control, is_emergency)
    opening.stack.callback(watch.close)
    opening.stack.push_async_callback(ended, asyncio.create_task(watch_plane(control, busy)))
