"""The HTTP front end: an offer in the request, the answer in the response."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr

from gateway.call.status import Cause
from gateway.identity.model import User
from gateway.web import checks
from gateway.web.auth.authenticator import Authenticator, TooManyFailures, client_address, credentials
from gateway.web.facade import Gateway, PlaceError
from gateway.web.http.errors import RETRY, ApiError, ErrorResponse, bounded_route
from gateway.web.http.sessions import Session, SessionEnded, SessionTable
from gateway.web.limits import KeyedBuckets
from gateway.web.settings import WebSettings

log = logging.getLogger(__name__)


def _session_id(value: str) -> str:
    if not checks.is_identifier(value):
        raise ValueError("must be 1 to 128 printable characters")
    return value


def _target(value: str) -> str:
    if not checks.is_target(value):
        raise ValueError("must be a number, a name or a SIP URI")
    return value


def _sdp(value: str) -> str:
    if not value.strip():
        raise ValueError("SDP content cannot be empty")
    if not checks.is_description(value):
        raise ValueError("SDP must not contain control characters")
    return value


def _candidate(value: str) -> str:
    if not checks.is_candidate(value):
        raise ValueError("must be one candidate line")
    return value


def _label(value: str) -> str:
    if not checks.is_label(value):
        raise ValueError("must be a short word")
    return value


SessionId = Annotated[StrictStr, AfterValidator(_session_id)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Offer(_Body):
    """A browser's offer, as RTCSessionDescription has it."""

    type: Literal["offer"]
    sdp: Annotated[StrictStr, AfterValidator(_sdp)]


class OfferRequest(_Body):
    """Body of POST /webrtc/offer."""

    sdp: Offer
    session_id: SessionId | None = None
    metadata: Any = None
    to: Annotated[StrictStr, AfterValidator(_target)] | None = Field(
        None, description="Who is called: extension, web user or SIP URI. Without it, the built-in echo."
    )


class Answer(BaseModel):
    """The gateway's answer."""

    type: Literal["answer"] = "answer"
    sdp: str


class OfferResponse(BaseModel):
    """Body of the answer to POST /webrtc/offer."""

    sdp: Answer
    session_id: str
    ice_candidates: list[Any] = Field(default_factory=list, description="Always empty: they are in the answer.")
    metadata: Any = None


class Candidate(_Body):
    """RTCIceCandidateInit; an empty candidate ends the list."""

    candidate: Annotated[StrictStr, AfterValidator(_candidate)]
    sdpMLineIndex: Annotated[int, Field(ge=0, le=0xFFFF, strict=True)] | None = None
    sdpMid: Annotated[StrictStr, AfterValidator(_label)] | None = None


class CandidateRequest(_Body):
    """Body of POST /webrtc/ice-candidate."""

    session_id: SessionId
    candidate: Candidate


class CloseRequest(_Body):
    """Body of POST /webrtc/close."""

    session_id: SessionId
    reason: StrictStr | None = None


class StatusResponse(BaseModel):
    """What was done with the session."""

    session_id: str
    status: Literal["received", "closed"]


class IceServer(BaseModel):
    """RTCIceServer."""

    urls: list[str]
    username: str | None = None
    credential: str | None = None


_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorResponse, "description": "Malformed JSON or SDP, a missing or unusable field"},
    401: {"model": ErrorResponse, "description": "Wrong credentials, or none where guests may not call"},
    403: {"model": ErrorResponse, "description": "Not allowed: this origin, this callee, or the call was declined"},
    404: {"model": ErrorResponse, "description": "Unknown session, or nobody of that name or number"},
    408: {"model": ErrorResponse, "description": "No answer in time"},
    409: {"model": ErrorResponse, "description": "A live session has this id"},
    413: {"model": ErrorResponse, "description": "The body is larger than 64 KiB"},
    488: {"model": ErrorResponse, "description": "Nothing in common; 480 and 486 mean unreachable and busy"},
    500: {"model": ErrorResponse, "description": "Failed to process SDP offer"},
    503: {"model": ErrorResponse, "description": "Too many calls or requests"},
}


def http_status(status: int) -> int:
    """The HTTP status for a SIP one: 4xx and 5xx are their own, 6xx (refused everywhere) is 403."""
    return status if 400 <= status < 600 and status != 487 else 403 if status >= 600 else 500


def _failed(cause: Cause, status: int, reason: str, session_id: str) -> ApiError:
    code = http_status(status)
    text = f"Failed to process SDP offer: {reason}" if code == 500 else reason
    return ApiError(code, text, session_id, cause.word)


class SdpApi:
    """The endpoints' work, on one table of sessions."""

    def __init__(self, gateway: Gateway, authenticator: Authenticator, settings: WebSettings) -> None:
        self.sessions = SessionTable(settings)
        self._gateway = gateway
        self._authenticator = authenticator
        self._settings = settings
        self._offers = KeyedBuckets(settings.offers_per_second, settings.offer_burst, time.monotonic)

    async def offer(self, body: OfferRequest, request: Request) -> dict[str, Any]:
        """Place the call and wait for its answer. Raises ApiError."""
        session_id = body.session_id or str(uuid.uuid4())
        if not self._offers.take(client_address(request)):
            raise ApiError(503, "Too many offers, try again later", body.session_id, headers=RETRY)
        caller, owner = await self._caller(request, body.session_id)
        if self.sessions.get(session_id) is not None:
            raise ApiError(409, "A live session has this id", session_id)
        if self.sessions.full:
            raise ApiError(503, "Too many sessions", session_id, Cause.OVERLOADED.word, headers=RETRY)
        session = self.sessions.open(session_id, owner)
        try:
            async with asyncio.timeout(self._settings.setup_timeout):
                answer = await self._set_up(session, caller, body, request)
        except TimeoutError:
            session.close(Cause.NO_ANSWER)
            raise ApiError(408, "No answer in time", session_id, Cause.NO_ANSWER.word) from None
        except SessionEnded as ended:
            raise _failed(ended.cause, ended.cause.status, str(ended), session_id) from None
        except PlaceError as error:
            session.close(error.cause)
            raise _failed(error.cause, error.status, str(error), session_id) from None
        except ApiError:
            raise
        except Exception:
            session.close(Cause.ERROR)
            log.exception("an offer over HTTP failed")
            raise _failed(Cause.ERROR, 500, "internal error", session_id) from None
        except BaseException:
            session.close(Cause.CANCELLED)
            raise
        response = {"sdp": {"type": "answer", "sdp": answer}, "session_id": session_id, "ice_candidates": []}
        return response | ({} if body.metadata is None else {"metadata": body.metadata})

    async def _set_up(self, session: Session, caller: User, body: OfferRequest, request: Request) -> str:
        to = body.to or self._settings.default_callee
        call = await self._gateway.place(session, caller, to, body.sdp.sdp, client_address(request))
        session.live(call, self._settings.session_lifetime)
        answer = asyncio.create_task(session.answer())
        gone = asyncio.create_task(_client_gone(request))
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                session.close(Cause.CANCELLED)
            return await answer
        finally:
            for task in (answer, gone):
                task.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)

    async def _caller(self, request: Request, session_id: str | None) -> tuple[User, str | None]:
        """Who calls, and as whose property the session is kept."""
        header = request.headers.get("authorization")
        if header is None:
            guest = await self._authenticator.guest(f"guest-{uuid.uuid4().hex[:12]}")
            if guest is None:
                raise ApiError(401, "Authentication required", session_id)
            return guest, None
        user = await self._authenticated(header, request, session_id)
        return user, user.id

    async def _authenticated(self, header: str, request: Request, session_id: str | None) -> User:
        given = credentials(header)
        try:
            user = await self._authenticator.user(*given, client_address(request)) if given else None
        except TooManyFailures:
            raise ApiError(503, "Too many attempts, try again later", session_id, headers=RETRY) from None
        if user is None:
            raise ApiError(401, "The credentials are not valid", session_id)
        return user

    async def _owned(self, session_id: str, request: Request) -> Session:
        session = self.sessions.get(session_id)
        if session is None:
            raise ApiError(404, "Session not found", session_id)
        if session.owner is not None:
            header = request.headers.get("authorization")
            if header is None:
                raise ApiError(401, "Authentication required", session_id)
            if (await self._authenticated(header, request, session_id)).id != session.owner:
                raise ApiError(403, "This is another user's session", session_id)
        return session

    async def candidate(self, body: CandidateRequest, request: Request) -> dict[str, str]:
        """Hand one candidate on. Raises ApiError."""
        session = await self._owned(body.session_id, request)
        session.candidates += 1
        if session.candidates > self._settings.max_candidates:
            raise ApiError(400, "Too many candidates", session.id)
        if session.call is not None:
            session.call.candidate(body.candidate.candidate, body.candidate.sdpMid)
        return {"session_id": session.id, "status": "received"}

    async def close(self, body: CloseRequest, request: Request) -> dict[str, str]:
        """End the session. Raises ApiError."""
        session = await self._owned(body.session_id, request)
        session.close(Cause.NORMAL)
        return {"session_id": session.id, "status": "closed"}


async def _client_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def create_router(api: SdpApi, gateway: Gateway, settings: WebSettings) -> APIRouter:
    """POST /webrtc/offer, /webrtc/ice-candidate, /webrtc/close and GET /iceservers."""
    router = APIRouter(route_class=bounded_route(settings), tags=["webrtc"], responses=_ERRORS)

    @router.post("/webrtc/offer", response_model=OfferResponse, response_model_exclude_unset=True)
    async def offer(body: OfferRequest, request: Request) -> dict[str, Any]:
        """Send an offer, get the answer: the early one where the gateway can give it, else the callee's."""
        return await api.offer(body, request)

    @router.post("/webrtc/ice-candidate", response_model=StatusResponse)
    async def ice_candidate(body: CandidateRequest, request: Request) -> dict[str, str]:
        """Trickle one ICE candidate."""
        return await api.candidate(body, request)

    @router.post("/webrtc/close", response_model=StatusResponse)
    async def close(body: CloseRequest, request: Request) -> dict[str, str]:
        """End a session and its call."""
        return await api.close(body, request)

    @router.get("/iceservers", response_model=list[IceServer], response_model_exclude_none=True)
    async def ice_servers(client: Annotated[str, Depends(client_address)]) -> list[dict[str, Any]]:
        """STUN and TURN servers for RTCPeerConnection, a bare array."""
        return gateway.ice_servers(client)

    return router
