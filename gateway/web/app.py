"""The web application: every front end on one FastAPI, with the headers and limits they share."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from importlib import metadata

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders, State
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.web import agents, statics
from gateway.web.admin import accounts, bans, identities, links, personal_rooms, reach, rooms, transfers, users
from gateway.web.admin import routes as calls
from gateway.web.auth import other_ways
from gateway.web.auth import routes as sessions
from gateway.web.auth.authenticator import Authenticator
from gateway.web.facade import Gateway
from gateway.web.http import errors, health, openapi
from gateway.web.http import routes as webrtc
from gateway.web.http.ice_service import IceService
from gateway.web.http.sdp_api import SdpApi
from gateway.web.limits import KeyedBuckets
from gateway.web.push import routes as push
from gateway.web.rooms import RTCSignaling
from gateway.web.rooms import routes as signaling_rooms
from gateway.web.rooms.phones import PhonesOfRoom
from gateway.web.rpc import connection
from gateway.web.rpc.directory import CallDirectory
from gateway.web.rpc.hub import Hub
from gateway.web.rpc.peer import Context
from gateway.web.rpc.topics import Topics
from gateway.web.server import WebServer, bind, serve
from gateway.web.settings import WebSettings
from gateway.web.sip_ws import create_routes
from gateway.web.sockets import SocketGate
from gateway.web.state import WaysIn, WebState

__all__ = ["WaysIn", "WebServer", "WebSettings", "bind", "create_app", "serve"]

_REACH_TRIES_PER_SECOND, _REACH_TRIES = 0.2, 10
"""Tries of POST /api/reach, for each source."""

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


@functools.cache
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


def _state(gateway: Gateway, settings: WebSettings, ways: WaysIn, clock: Callable[[], float]) -> WebState:
    authenticator = Authenticator(gateway, settings, site=ways.site, links=ways.links, shared=ways.shared)
    signaling = RTCSignaling(settings)
    signaling.link(gateway.conferencing.is_linked_room, lambda room: PhonesOfRoom(gateway, room))
    started = clock()
    return WebState(
        gateway=gateway,
        settings=settings,
        ways=ways,
        authenticator=authenticator,
        gate=SocketGate(settings),
        api=SdpApi(gateway, authenticator, settings),
        ice_service=IceService(gateway, authenticator, settings),
        signaling=signaling,
        rpc=Context(gateway, Hub(gateway), authenticator, settings, Topics(), CallDirectory()),
        reach_tries=KeyedBuckets(_REACH_TRIES_PER_SECOND, _REACH_TRIES, time.monotonic),
        uptime=lambda: clock() - started,
    )


def _routes(web: WebState) -> Iterator[BaseRoute]:
    """Yield the routes of an application, without those of the ways that are absent.

    All but the three of SIP are the same objects in every application of the process: FastAPI takes a
    millisecond to make each of them.
    """
    ways = web.ways
    routers = [health.router, sessions.router, other_ways.router]
    routers += [other_ways.oidc_router] if ways.provider is not None else []
    routers += [calls.router, users.router, identities.router, accounts.router, bans.router]
    routers += [rooms.router, personal_rooms.router, transfers.router, rooms.recordings_router, reach.router]
    routers += [links.router] if ways.links is not None else []
    for router in (*routers, webrtc.router):
        yield from router.routes
    if ways.sip is not None:
        yield from create_routes(ways.sip, web.gate)
    yield from connection.router.routes
    yield from statics.routes()
    for router in (*([push.router] if ways.push is not None else []), signaling_rooms.router, agents.router):
        yield from router.routes


def create_app(
    gateway: Gateway,
    settings: WebSettings | None = None,
    ways: WaysIn | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """Make the application of all HTTP and WebSocket front ends of `gateway`.

    `app.state.close_sockets()` closes every WebSocket with 1001, ends the HTTP sessions and the threads that ask
    others; `await app.state.written()` waits until sign-ins and wrong passwords are in their files.
    """
    settings = settings or WebSettings()
    app = FastAPI(title="SIP to WebRTC gateway", version=_version(), docs_url=None, redoc_url=None)
    errors.install(app)
    web = _state(gateway, settings, ways or WaysIn(), clock)
    app.router.routes.extend(_routes(web))
    _add_middleware(app, settings)
    app.openapi = openapi.describe(app)  # type: ignore[method-assign]  # as FastAPI documents it

    def close_sockets() -> None:
        web.gate.close_all()
        web.api.sessions.close_all()
        for asked in (web.ice_service, web.ways.provider):
            if asked is not None:
                asked.close()

    app.state = State({"web": web, "close_sockets": close_sockets, "written": web.authenticator.written})
    return app
