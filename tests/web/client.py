"""A client of the HTTP API on a gateway that is made up."""

from __future__ import annotations

from typing import Any

import httpx

from gateway.web.app import WebSettings, create_app
from tests.web.fake import SDP, FakeGateway

OFFER: dict[str, Any] = {"sdp": {"type": "offer", "sdp": SDP}}


def client_of(gateway: FakeGateway, settings: WebSettings | None = None) -> httpx.AsyncClient:
    """A client of the application without a socket in between."""
    transport = httpx.ASGITransport(create_app(gateway, settings), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway.example")
