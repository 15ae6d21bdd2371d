"""How gateway.client stays signed in: the password once, its cookie afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest_asyncio

from gateway.client import GatewayClient
from gateway.web.app import WebSettings, create_app
from tests.web.fake import FakeGateway


class Rig:
    """A client of a gateway whose tokens last so long (s); `asked` are the requests it made."""

    def __init__(self, token_lifetime: float) -> None:
        self.asked: list[str] = []
        app = create_app(FakeGateway(), WebSettings(token_lifetime=token_lifetime))
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://gateway.example",
            event_hooks={"request": [self._note]},
        )
        self.client = GatewayClient("", user="alice", password="wonder", http=self.http)

    async def _note(self, request: httpx.Request) -> None:
        self.asked.append(f"{request.method} {request.url.path}")


@pytest_asyncio.fixture
async def short() -> AsyncIterator[Rig]:
    """Every request needs a new token."""
    rig = Rig(token_lifetime=10)
    async with rig.client:
        yield rig


@pytest_asyncio.fixture
async def long() -> AsyncIterator[Rig]:
    """One token is good for the whole test."""
    rig = Rig(token_lifetime=300)
    async with rig.client:
        yield rig


LIST = "GET /webrtc/sessions"


async def test_the_password_goes_out_once(short: Rig) -> None:
    """Each further token is by the cookie of that sign-in: the user's browsers keep theirs."""
    for _ in range(3):
        assert await short.client.sessions() == []
    refreshed = ["POST /api/session/refresh", LIST]
    assert short.asked == ["POST /api/session", LIST, *refreshed, *refreshed]


async def test_a_sign_in_that_has_ended_is_begun_anew(short: Rig) -> None:
    """The cookie is gone."""
    await short.client.sessions()
    short.http.cookies.clear()
    short.asked.clear()
    assert await short.client.sessions() == []
    assert short.asked == ["POST /api/session/refresh", "POST /api/session", LIST]


async def test_a_token_that_ends_early_costs_no_request(long: Rig) -> None:
    """Signed out elsewhere: the request is repeated once."""
    await long.client.sessions()
    await long.http.delete("/api/session")
    long.asked.clear()
    assert await long.client.sessions() == []
    assert long.asked == [LIST, "POST /api/session/refresh", "POST /api/session", LIST]
