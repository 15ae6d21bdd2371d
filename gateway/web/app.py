"""The web application: every front end on one FastAPI, with the headers and limits they share."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders, State
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.web import agents as agent_routes
from gateway.web import statics
from gateway.web.admin import accounts, bans, identities, reach, users
from gateway.web.admin import links as link_routes
from gateway.web.admin import rooms as admin_rooms
from gateway.web.admin import routes as admin
from gateway.web.auth import other_ways, routes
from gateway.web.auth.authenticator import Authenticator
from gateway.web.auth.links import GuestLinks
from gateway.web.auth.oidc import OpenIdProvider
from gateway.web.auth.shared_sign_ins import SharedTexts
from gateway.web.auth.site import SiteSignIn
from gateway.web.facade import READY, Gateway
from gateway.web.http import errors, openapi
from gateway.web.http import routes as http
from gateway.web.http.ice_service import IceService
from gateway.web.http.models import HealthInfo
from gateway.web.http.sdp_api import SdpApi
from gateway.web.push import routes as push_routes
from gateway.web.push.sender import PushSender
from gateway.web.rooms import RTCSignaling
from gateway.web.rooms import routes as rooms
from gateway.web.rooms.phones import PhonesOfRoom
from gateway.web.rpc import connection
from gateway.web.server import WebServer, bind, serve
from gateway.web.settings import WebSettings
from gateway.web.sip_ws import SipSide, create_routes
from gateway.web.sockets import SocketGate

__all__ = ["WebServer", "WebSettings", "bind", "create_app", "serve"]

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
        "connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(self), geolocation=()",
}


_HEADERS_OF_PARTS = {"X-Content-Type-Options": "nosniff"}
"""Of scripts and style sheets that a page loads: what else it says rules them, too."""


def _is_part(path: str, media_type: str) -> bool:
    return path.startswith("/static/") and media_type.startswith(("text/css", "text/javascript"))


class SecurityHeaders:
    """ASGI middleware that puts the same headers on every HTTP response, but for the parts of our pages."""

    def __init__(self, app: ASGIApp, strict_transport: int = 0) -> None:
        """`strict_transport`: seconds of Strict-Transport-Security (RFC 6797), 0 for none."""
        self._app = app
        self._always = {"Strict-Transport-Security": f"max-age={strict_transport}"} if strict_transport else {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                is_part = _is_part(scope["path"], headers.get("content-type", ""))
                for name, value in (self._always | (_HEADERS_OF_PARTS if is_part else _HEADERS)).items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _version() -> str:
    try:
        return metadata.version("sip-webrtc-gateway")
    except metadata.PackageNotFoundError:
        return "0"


def _add_middleware(app: FastAPI, settings: WebSettings) -> None:
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.allowed_origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(SecurityHeaders, strict_transport=settings.strict_transport)


def _add_health(app: FastAPI, gateway: Gateway, clock: Callable[[], float]) -> None:
    started = clock()

    def health() -> dict[str, Any]:
        uptime = int(clock() - started)
        known = {"status": "ok", "uptime_seconds": uptime, "version": app.version, "active_calls": 0}
        return known | gateway.health()

    @app.get("/healthz", tags=["operation"], response_model=HealthInfo)
    async def healthz() -> Response:
        """That the process works, how it is, since when, and with how many calls."""
        return JSONResponse(health())

    closed: dict[int | str, dict[str, Any]] = {503: {"model": HealthInfo, "description": "It takes no new calls"}}

    @app.get("/readyz", tags=["operation"], response_model=HealthInfo, responses=closed)
    async def readyz() -> Response:
        """Whether it takes new calls: 503 while it drains, has no room, or lacks a part that every call needs."""
        body = health()
        return JSONResponse(body, 200 if body["status"] in READY else 503)


def create_app(
    gateway: Gateway,
    settings: WebSettings | None = None,
    clock: Callable[[], float] = time.monotonic,
    sip: SipSide | None = None,
    push: PushSender | None = None,
    provider: OpenIdProvider | None = None,
    site: SiteSignIn | None = None,
    links: GuestLinks | None = None,
    shared: SharedTexts | None = None,
) -> FastAPI:
    """All HTTP and WebSocket front ends of `gateway`; with `sip` SIP over WebSocket as well, with `push` Web Push.

    People also sign in at `provider`, and by the means of `site`; guests come by `links`. In `shared` are the sign-ins
    that other gateways have as well.

    `app.state.close_sockets()` closes every WebSocket with 1001, ends the HTTP sessions and the threads that ask
    others; `await app.state.written()` waits until sign-ins are in their file.
    """
    settings = settings or WebSettings()
    app = FastAPI(title="SIP to WebRTC gateway", version=_version(), docs_url=None, redoc_url=None)
    errors.install(app)
    authenticator = Authenticator(gateway, settings, site=site, links=links, shared=shared)
    gate = SocketGate(settings)
    api = SdpApi(gateway, authenticator, settings)

    _add_health(app, gateway, clock)
    app.include_router(routes.create_router(authenticator, settings))
    app.include_router(other_ways.create_router(authenticator, settings, provider))
    for room in (admin, users, identities, accounts, bans, admin_rooms):
        app.include_router(room.create_router(gateway, authenticator, settings))
    app.include_router(reach.create_router(authenticator, settings))
    if links is not None:
        app.include_router(link_routes.create_router(authenticator, settings, links))
    ice_service = IceService(gateway, authenticator, settings)
    app.include_router(http.create_router(api, ice_service, settings))
    if sip is not None:
        app.router.routes += create_routes(sip, gate)
    app.include_router(connection.create_router(gateway, authenticator, gate, settings))
    app.router.routes += statics.create_routes()
    if push is not None:
        app.include_router(push_routes.create_router(push, authenticator, settings))
    signaling = RTCSignaling(settings)
    signaling.link(gateway.conferencing.is_linked_room, lambda room: PhonesOfRoom(gateway, room))
    app.include_router(rooms.create_router(signaling, authenticator, gate, settings))
    app.include_router(agent_routes.create_router(gateway, authenticator, gate))
    _add_middleware(app, settings)

    app.openapi = openapi.describe(app)  # type: ignore[method-assign]  # as FastAPI documents it

    def close_sockets() -> None:
        gate.close_all()
        api.sessions.close_all()
        for asked in (ice_service, provider):
            if asked is not None:
                asked.close()

    app.state = State({"close_sockets": close_sockets, "written": authenticator.sign_ins.written})
    return app
