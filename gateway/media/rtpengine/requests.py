"""What is asked of a daemon beside descriptions, and what its refusals mean."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.media.engine import WHEN_FULL, MediaError
from gateway.media.rtpengine.bencode import Encodable
from gateway.media.rtpengine.client import NgHost
from gateway.media.rtpengine.ng import Reply, Request

_REFUSALS = (
    ("unknown call", 481, ""),
    ("parse sdp", 400, ""),
    ("out of ports", 503, "rtpengine port-min to port-max"),
    ("session limit", 503, "rtpengine max-sessions"),
    ("cpu usage limit", 503, "rtpengine max-cpu"),
    ("load limit", 503, "rtpengine max-load"),
    ("bandwidth limit", 503, "rtpengine max-bandwidth"),
    ("limit", 503, "rtpengine"),
    ("unknown", 481, ""),
)
"""Words of an error-reason, its status and the option of rtpengine that it stands for; the first match counts."""


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
    found = ((status, limit) for words, status, limit in _REFUSALS if words in lowered)
    status, limit = next(found, (500, ""))
    wait = WHEN_FULL if limit else None
    return MediaError(f"rtpengine refused: {reason[:200] or 'no reason given'}", status, limit=limit, retry_after=wait)


def delete(name: str, tag: str | None = None) -> Mapping[str, Encodable]:
    """End a call, or a party of it, at once."""
    request: dict[str, Encodable] = {"command": "delete", "call-id": name, "delete delay": 0}
    return request if tag is None else {**request, "from-tag": tag}
