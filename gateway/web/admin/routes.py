"""/api: calls, trunks and the audit log, for those whose role allows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gateway.web.auth.authenticator import TooManyFailures, client_address
from gateway.web.http.bounded import BoundedRoute
from gateway.web.http.errors import RETRY, ApiError, refusal
from gateway.web.state import Web, web_of

_RANKS = {"user": 0, "operator": 1, "admin": 2}
ERRORS: dict[int | str, dict[str, Any]] = {
    401: refusal("Not signed in"),
    403: refusal("The role does not allow it"),
    404: refusal("No such call"),
    503: refusal("Too many wrong passwords; Retry-After"),
}


class CallInfo(BaseModel):
    """One call now."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "3f0c8a1e6f0c4f439a38",
                    "caller": "sip:alice@gateway.local",
                    "dialled": "1001",
                    "state": "connected",
                    "seconds": 12.5,
                    "parties": ["sip:alice@gateway.local", "sip:1001@gateway.local"],
                }
            ]
        }
    )
    id: str
    caller: str = Field(description="SIP URI.")
    dialled: str = Field(description="What the caller dialled.")
    state: str = Field(description="calling, ringing, early, connected, …, or ended: the states of docs/calls.md.")
    seconds: float = Field(description="Since it began.")
    parties: list[str] = Field(description="SIP URIs of who is in it.")


class StreamInfo(BaseModel):
    """One direction of one side's audio."""

    packets: int
    bytes: int = 0
    lost: int = Field(description="Packets (RFC 3550 section 6.4.1).")
    discarded: int = Field(0, description="Packets of another source, without authentication, replayed or malformed.")
    jitter_ms: float
    codec: str | None
    burst_loss: float | None = Field(
        None, description="Share of bursts that was lost, 0 to 1 (RFC 3611); null: unknown."
    )
    r_factor: float | None = Field(None, description="0 to 100 (ITU-T G.107); null: not measured.")
    mos: float | None = Field(description="1 to 4.5 (ITU-T G.107); null: not measured.")


class TextInfo(BaseModel):
    """One side's real-time text, in characters."""

    received: int = Field(description="Typed by it.")
    sent: int = Field(description="Sent to it.")
    missing: int = Field(description="How often a mark stands where some of its text was lost.")
    dropped: int = Field(description="What found no room on its way to it.")
    malformed: int = Field(description="Its packets that were no text.")


class MediaInfo(BaseModel):
    """One side of a call."""

    party: str = Field(description="SIP URI, or the id of a leg that is over.")
    received: StreamInfo
    sent: StreamInfo
    text: TextInfo | None = Field(None, description="null: there is none.")


class MessageInfo(BaseModel):
    """One message, without secrets."""

    at: float = Field(description="Unix seconds.")
    direction: str = Field(description='"in" to the gateway, "out" from it.')
    peer: str = Field(description='Address of a SIP peer, or "web:" and a user.')
    title: str = Field(description="Its first line, or its method.")
    text: str = Field(description="The whole of it.")


class CallDetails(CallInfo):
    """The answer to GET /api/calls/{id}."""

    media: list[MediaInfo]
    messages: list[MessageInfo] = Field(description="As far as limits.ladder_memory goes.")


class CallList(BaseModel):
    """The answer to GET /api/calls."""

    calls: list[CallInfo]
    count: int


class TrunkPlace(BaseModel):
    """One place of a trunk."""

    uri: str
    reachable: bool | None = Field(None, description="Whether it answers OPTIONS; null: not known.")


class TrunkInfo(BaseModel):
    """One trunk."""

    name: str
    uri: str
    registered: bool | None = Field(None, description="null: it is not registered at.")
    reachable: bool | None = Field(None, description="Whether any of its places answers OPTIONS; null: not known.")
    places: list[TrunkPlace] = Field(default_factory=list, description="In the order in which they are asked.")


class TrunkList(BaseModel):
    """The answer to GET /api/trunks."""

    trunks: list[TrunkInfo]
    count: int


class ReloadRequest(BaseModel):
    """The body of POST /api/reload: an empty object."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}]})


class ReloadInfo(BaseModel):
    """The answer to POST /api/reload."""

    applied: list[str] = Field(description="Keys that have another value now.")
    waiting: list[str] = Field(description="Keys whose new value takes a restart.")
    certificates: list[str] = Field(description="One sentence for each certificate that could not be read again.")


class AuditEntry(BaseModel):
    """One line of the audit log."""

    model_config = ConfigDict(extra="allow")
    at: float = Field(description="Unix seconds.")
    action: str = Field(description="What was done.")
    user: str = Field(description="Who did it.")
    address: str = Field(description="From where.")


class AuditList(BaseModel):
    """The answer to GET /api/audit."""

    entries: list[AuditEntry]
    count: int


def _requires(role: str) -> Callable[[Request], Awaitable[None]]:
    """Make a dependency that sets `request.state.user` and `role`; it raises ApiError for a role lower than `role`."""

    async def check(request: Request) -> None:
        try:
            user = await web_of(request).authenticator.administering(request)
        except TooManyFailures:
            raise ApiError(503, "Too many attempts, try again later", headers=RETRY) from None
        if user is None:
            raise ApiError(401, "Authentication required", headers={"WWW-Authenticate": "Bearer"})
        if _RANKS.get(user.role, 0) < _RANKS[role]:
            raise ApiError(403, f"This is for {role}s only")
        request.state.user, request.state.role = user.id, user.role

    return check


USER, OPERATOR, ADMIN = (Depends(_requires(role)) for role in _RANKS)
"""Dependencies of operations for signed-in users, for operators, and for administrators."""


router = APIRouter(prefix="/api", route_class=BoundedRoute, tags=["administration"], responses=ERRORS)
"""GET /api/calls, /api/trunks, /api/audit, DELETE /api/calls/{id} and POST /api/reload."""


@router.get("/calls", response_model=CallList, dependencies=[OPERATOR])
async def calls(web: Web) -> dict[str, Any]:
    """The calls of this gateway now; for operators."""
    found = web.gateway.list_calls()
    return {"calls": found, "count": len(found)}


@router.get("/calls/{call_id}", response_model=CallDetails, dependencies=[OPERATOR])
async def call(web: Web, call_id: str) -> dict[str, Any]:
    """One call now, or one that ended lately: its media, and its messages of SIP and web on one time line."""
    found = await web.gateway.call_details(call_id)
    if found is None:
        raise ApiError(404, "There is no such call")
    return found


@router.delete("/calls/{call_id}", status_code=204, dependencies=[OPERATOR])
async def end_call(web: Web, call_id: str, request: Request) -> Response:
    """End a call; for operators."""
    if not web.gateway.end_call(call_id):
        raise ApiError(404, "There is no such call")
    web.authenticator.audit.add("call ended", request.state.user, client_address(request), call=call_id)
    return Response(status_code=204)


@router.get("/trunks", response_model=TrunkList, dependencies=[OPERATOR])
async def trunks(web: Web) -> dict[str, Any]:
    """The trunks and whether we are registered there; for operators."""
    found = web.gateway.list_trunks()
    return {"trunks": found, "count": len(found)}


_UNUSABLE: dict[int | str, dict[str, Any]] = {409: refusal("The configuration cannot be used; nothing has changed")}


@router.post("/reload", response_model=ReloadInfo, dependencies=[OPERATOR], responses=_UNUSABLE)
async def reload(web: Web, wanted: ReloadRequest, request: Request) -> dict[str, Any]:
    """Read the configuration again and apply what can be applied without a restart; for operators."""
    found = await web.gateway.reload()
    web.authenticator.audit.add("configuration reloaded", request.state.user, client_address(request))
    return found


@router.get("/audit", response_model=AuditList, dependencies=[ADMIN])
async def audit(web: Web, limit: int = 100) -> dict[str, Any]:
    """Sign-ins, refusals and changes, the newest first; for administrators."""
    found = web.authenticator.audit.latest(max(1, min(limit, 1_000)))
    return {"entries": found, "count": len(found)}
