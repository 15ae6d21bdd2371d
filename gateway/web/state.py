"""State of one web application: routes are made once a process, and find their gateway here at each request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from gateway.web.auth.authenticator import Authenticator
from gateway.web.auth.links import GuestLinks
from gateway.web.auth.oidc import OpenIdProvider
from gateway.web.auth.shared_sign_ins import SharedTexts
from gateway.web.auth.site import SiteSignIn
from gateway.web.facade import Gateway
from gateway.web.http.ice_service import IceService
from gateway.web.http.sdp_api import SdpApi
from gateway.web.limits import KeyedBuckets
from gateway.web.push.sender import PushSender
from gateway.web.rooms.signaling import RTCSignaling
from gateway.web.rpc.peer import Context
from gateway.web.settings import WebSettings
from gateway.web.sip_ws import SipSide
from gateway.web.sockets import SocketGate


@dataclass(frozen=True, slots=True, kw_only=True)
class WaysIn:
    """Further ways to reach the gateway and to sign in; routes of an absent one are absent."""

    sip: SipSide | None = None
    """SIP over WebSocket."""
    push: PushSender | None = None
    """Web Push to browsers without an open page."""
    provider: OpenIdProvider | None = None
    site: SiteSignIn | None = None
    """Sign-in by the site's own means."""
    links: GuestLinks | None = None
    shared: SharedTexts | None = None
    """Sign-ins at the other gateways of the cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebState:
    """Objects that the routes of one application work with."""

    gateway: Gateway
    settings: WebSettings
    ways: WaysIn
    authenticator: Authenticator
    gate: SocketGate
    api: SdpApi
    ice_service: IceService
    signaling: RTCSignaling
    rpc: Context
    reach_tries: KeyedBuckets
    """Tries of POST /api/reach left, by source."""
    uptime: Callable[[], float]
    """Return the seconds since the start."""


def web_of(connection: HTTPConnection) -> WebState:
    """Return the state of the application that serves a request or a WebSocket."""
    found: WebState = connection.app.state.web
    return found


async def _web(connection: HTTPConnection) -> WebState:
    return web_of(connection)  # FastAPI runs a dependency that is no coroutine in a thread


Web = Annotated[WebState, Depends(_web)]
"""Parameter of a route: the state of its application."""
