"""What is asked of a daemon beside descriptions, and what its refusals mean."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.media.engine import MediaError
from gateway.media.rtpengine.bencode import Encodable
from gateway.media.rtpengine.client import NgHost
from gateway.media.rtpengine.ng import Reply, Request

_REFUSALS = (
    ("unknown call", 481),
    ("parse sdp", 400),
    ("ports", 503),
    ("port", 503),
    ("limit", 503),
    ("load", 503),
    ("sessions", 503),
    ("unknown", 481),
)
"""What an error-reason contains, and the status that says so; the first that fits."""


async def ask(host: NgHost, request: Request, *, may_be_large: bool = False) -> Reply:
    """The daemon's reply (see `NgHost.ask`); its refusals become MediaError."""
    reply = await host.ask(request, may_be_large=may_be_large)
    if reply.get("result") == "ok":
        return reply
    reason = reply.get("error-reason")
    raise refusal(str(reason) if isinstance(reason, str) else "")


def refusal(reason: str) -> MediaError:
    """What an error-reason says."""
    lowered = reason.lower()
    status = next((status for words, status in _REFUSALS if words in lowered), 500)
    return MediaError(f"rtpengine refused: {reason[:200] or 'no reason given'}", status)


def delete(name: str, tag: str | None = None) -> Mapping[str, Encodable]:
    """End a call, or a party of it, at once."""
    request: dict[str, Encodable] = {"command": "delete", "call-id": name, "delete delay": 0}
    return request if tag is None else {**request, "from-tag": tag}
