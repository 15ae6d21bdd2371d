"""Calls of the process before at a daemon that nobody goes on with: looked for among all that it has, and ended."""

from __future__ import annotations

import contextlib
from collections.abc import Container

import structlog

from gateway.media.engine import Elsewhere, MediaError
from gateway.media.rtpengine.client import NgHost, Unreachable
from gateway.media.rtpengine.requests import ask, delete

log = structlog.get_logger(__name__)

_LISTED = (1000, 100)
"""Calls of a daemon that one reply names, and how many where their names are too long for that."""


async def end_left(host: NgHost, owner: str, ours: Container[str], elsewhere: Elsewhere) -> None:
    """End at a daemon what begins with `owner` and is neither one of `ours` nor another gateway's by now."""
    try:
        names = await _listed(host)
        found = [name.removeprefix(owner) for name in names if name.startswith(owner)]
        left = [call_id for call_id in found if call_id not in ours]
        others = await elsewhere(left) if left else ()
        for call_id in left:
            if call_id not in ours and call_id not in others:
                await _end(host, owner + call_id)
        log.info("calls of the gateway before at rtpengine", host=host.name, left=len(left), of_others=len(others))
    except MediaError as error:
        log.warning("calls of the gateway before may linger at rtpengine", host=host.name, reason=error.reason)


async def _listed(host: NgHost) -> list[str]:
    for limit in _LISTED:
        with contextlib.suppress(Unreachable):
            found = (await ask(host, {"command": "list", "limit": limit}, may_be_large=True)).get("calls")
            return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
    raise Unreachable(f"rtpengine at {host.name} does not say what calls it has")


async def _end(host: NgHost, name: str) -> None:
    """One that the daemon will not end keeps no other; raises Unreachable."""
    try:
        await ask(host, delete(name))
        log.info("call of the gateway before ended at rtpengine", name=name)
    except Unreachable:
        raise
    except MediaError as error:
        log.warning("a call of the gateway before may linger at rtpengine", name=name, reason=error.reason)
