"""Programs that take calls: `@application.call("7*")` makes a coroutine of yours the callee of a number."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from gateway.call.call import Call
from gateway.call.routing import AGENT, ROOM, ApplicationTarget, Route
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.legs.application import PROGRAM, ApplicationLeg, Session, SessionError
from gateway.media.engine import MediaEngine
from gateway.web.auth.site import SiteSignIn

log = structlog.get_logger(__name__)

Handler = Callable[[Session], Awaitable[None]]
NamedHandler = Callable[[Session, str], Awaitable[None]]
_UP = frozenset({State.CONNECTED, State.EXCHANGING, State.AWAY})


def _none(name: str) -> tuple[str, ...]:
    """Of no program."""
    return ()


class Application:
    """What answers which numbers; give it to `Gateway`, before any route of the configuration.

    `may_call` bounds what its sessions may pass callers on to, as a user's `may_call` does.
    """

    def __init__(self, *, may_call: Sequence[str] = ("*",)) -> None:
        self._may_call = tuple(may_call)
        self._handlers: list[tuple[str, str, Handler, bool]] = []
        self.site: SiteSignIn | None = None
        """What `sign_in` was given."""
        self._running: dict[asyncio.Task[None], Session] = {}
        self._own: dict[str, tuple[NamedHandler, Callable[[str], Sequence[str]], Callable[[str], Sequence[str]]]] = {}

    def call(self, match: str, *, plays: str | None = None, text: bool = False) -> Callable[[Handler], Handler]:
        """Decorator: each call to what matches (fnmatch: "700", "7*", "sip:7*@*") runs the coroutine in a task.

        `plays` is what the caller hears while the session is answered: "tone" or "echo"; without it the session says
        what it likes (`Session.play`) and hears its caller. `text`: callers can type to it, and be typed to
        (`Session.text`, `Session.type`). When the coroutine returns or raises, the session ends.
        """

        def take(handler: Handler) -> Handler:
            self._handlers.append((match, plays or PROGRAM, handler, text and plays is None))
            return handler

        return take

    def sign_in(self, site: SiteSignIn) -> SiteSignIn:
        """Decorator: the coroutine is asked who the web user is that no password of the gateway let in."""
        self.site = site
        return site

    def serve(
        self,
        kind: str,
        handler: NamedHandler,
        may_call: Callable[[str], Sequence[str]] = _none,
        video: Callable[[str], Sequence[str]] = _none,
    ) -> None:
        """Have calls to targets `kind:NAME` run a program of the gateway's own, with the name.

        `may_call` says what the one of that name may pass callers on to, `video` in which codecs its callers show each
        other their pictures.
        """
        self._own[kind] = handler, may_call, video

    @property
    def routes(self) -> tuple[Route, ...]:
        """Rows for the router, in the order of the decorators."""
        return tuple(Route(match, f"application:{index}") for index, (match, _, _, _) in enumerate(self._handlers))

    def leg(self, target: ApplicationTarget, tag: str) -> ApplicationLeg:
        """The callee of one call."""
        kind, _, name = target.name.partition(":")
        own = self._own.get(kind)
        handler: Handler
        may_call, video, text = self._may_call, _none(""), kind == ROOM
        if own is not None:
            plays, handler = PROGRAM, partial(_named, own[0], name)
            may_call, video = tuple(own[1](name)), tuple(own[2](name))
        else:
            _, plays, handler, text = self._handlers[int(target.name)]

        def begin(session: Session) -> None:
            task = asyncio.get_running_loop().create_task(_run(handler, session))
            self._running[task] = session
            task.add_done_callback(self._running.pop)

        lasting = kind in (ROOM, AGENT)
        return ApplicationLeg(tag, target.number, plays, may_call, begin, lasting=lasting, video=video, text=text)

    def call_changed(self, engine: MediaEngine, call: Call) -> None:
        """Tell sessions that their call is up (an observer of the calls)."""
        if call.state in _UP:
            for leg in call.legs:
                if isinstance(leg, ApplicationLeg):
                    other = call.bridge.other(leg) if call.bridge is not None else None
                    identity = other.identity if other is not None else None
                    leg.answered(call.id, partial(engine.audio, call.id), identity, partial(engine.record, call.id))

    async def close(self) -> None:
        """Stop every program that still runs."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


async def _named(handler: NamedHandler, name: str, session: Session) -> None:
    await handler(session, name)


async def _run(handler: Handler, session: Session) -> None:
    """One session from its INVITE to its end; a program that fails ends its own call only."""
    try:
        await handler(session)
    except SessionError as error:
        log.info("application ended", number=session.number[:80], reason=str(error))
    except Exception:
        log.exception("application failed", number=session.number[:80])
        if not session.is_up:
            await session.reject(Cause.ERROR)
    finally:
        await session.hang_up()
