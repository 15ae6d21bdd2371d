"""The routes of the HTTP front end."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request

from gateway.web.http.errors import bounded_route
from gateway.web.http.ice_service import IceService
from gateway.web.http.models import (
    ERRORS,
    CandidateRequest,
    CloseRequest,
    IceServer,
    OfferRequest,
    OfferResponse,
    SessionList,
    SessionState,
    StatusResponse,
)
from gateway.web.http.sdp_api import SdpApi
from gateway.web.settings import WebSettings


def create_router(api: SdpApi, ice: IceService, settings: WebSettings) -> APIRouter:
    """POST /webrtc/offer, /webrtc/ice-candidate, /webrtc/close, GET /iceservers, and the sessions."""
    router = APIRouter(route_class=bounded_route(settings), tags=["webrtc"], responses=ERRORS)

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

    @router.get("/webrtc/sessions", response_model=SessionList)
    async def sessions(request: Request) -> dict[str, Any]:
        """The live sessions of the user who asks; operators see all."""
        return await api.list(request)

    @router.get("/webrtc/sessions/{session_id}", response_model=SessionState, response_model_exclude_none=True)
    async def session_state(
        session_id: str,
        request: Request,
        unlike: Annotated[Literal["calling", "ringing", "answered"] | None, Query(alias="while")] = None,
        seconds: Annotated[float, Query(ge=0, le=60)] = 20,
    ) -> dict[str, Any]:
        """What a session is at, also one that ended lately; `while` it is at that, for so many seconds, wait first."""
        return await api.state(session_id, unlike, seconds, request)

    @router.delete("/webrtc/sessions/{session_id}", response_model=StatusResponse)
    async def end_session(session_id: str, request: Request) -> dict[str, str]:
        """End a session and its call."""
        return await api.end(session_id, request)

    @router.get("/iceservers", response_model=list[IceServer], response_model_exclude_none=True)
    async def ice_servers(request: Request) -> list[dict[str, Any]]:
        """STUN and TURN servers for RTCPeerConnection, a bare array; passwords that end are for who may call."""
        return await ice.servers(request)

    return router
