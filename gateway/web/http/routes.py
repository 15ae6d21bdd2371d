"""The routes of the HTTP front end."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request

from gateway.web.http.bounded import BoundedRoute
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
from gateway.web.state import Web

router = APIRouter(route_class=BoundedRoute, tags=["webrtc"], responses=ERRORS)
"""POST /webrtc/offer, /webrtc/ice-candidate, /webrtc/close, GET /iceservers, and the sessions."""


@router.post("/webrtc/offer", response_model=OfferResponse, response_model_exclude_unset=True)
async def offer(web: Web, body: OfferRequest, request: Request) -> dict[str, Any]:
    """Send an offer, get the answer: the early one where the gateway can give it, else the callee's."""
    return await web.api.offer(body, request)


@router.post("/webrtc/ice-candidate", response_model=StatusResponse)
async def ice_candidate(web: Web, body: CandidateRequest, request: Request) -> dict[str, str]:
    """Trickle one ICE candidate."""
    return await web.api.candidate(body, request)


@router.post("/webrtc/close", response_model=StatusResponse)
async def close(web: Web, body: CloseRequest, request: Request) -> dict[str, str]:
    """End a session and its call."""
    return await web.api.close(body, request)


@router.get("/webrtc/sessions", response_model=SessionList)
async def sessions(web: Web, request: Request) -> dict[str, Any]:
    """The live sessions of the user who asks; operators see all."""
    return await web.api.list(request)


@router.get("/webrtc/sessions/{session_id}", response_model=SessionState, response_model_exclude_none=True)
async def session_state(
    web: Web,
    session_id: str,
    request: Request,
    unlike: Annotated[Literal["calling", "ringing", "answered"] | None, Query(alias="while")] = None,
    seconds: Annotated[float, Query(ge=0, le=60)] = 20,
) -> dict[str, Any]:
    """What a session is at, also one that ended lately; `while` it is at that, for so many seconds, wait first."""
    return await web.api.state(session_id, unlike, seconds, request)


@router.delete("/webrtc/sessions/{session_id}", response_model=StatusResponse)
async def end_session(web: Web, session_id: str, request: Request) -> dict[str, str]:
    """End a session and its call."""
    return await web.api.end(session_id, request)


@router.get("/iceservers", response_model=list[IceServer], response_model_exclude_none=True)
async def ice_servers(web: Web, request: Request) -> list[dict[str, Any]]:
    """STUN and TURN servers for RTCPeerConnection, a bare array; passwords that end are for who may call."""
    return await web.ice_service.servers(request)
