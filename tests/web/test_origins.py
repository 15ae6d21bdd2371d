"""Which pages may talk to us: our own by where the connection came to, never by what Host says (RFC 6454)."""

from __future__ import annotations

import pytest
from starlette.requests import HTTPConnection
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from gateway.web.auth.origins import origin_allowed
from gateway.web.settings import WebSettings
from tests.rows import by_row
from tests.web.fake import FakeGateway, running


def _from(origin: str | None, server: tuple[str, int | None], host: str = "pbx.example") -> HTTPConnection:
    headers = [(b"host", host.encode())]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    return HTTPConnection({"type": "http", "headers": headers, "server": server})


@by_row(
    ("origin", "server", "allowed"),
    [
        (None, ("192.0.2.1", 8080), True),
        ("http://192.0.2.1:8080", ("192.0.2.1", 8080), True),
        ("https://192.0.2.1", ("192.0.2.1", 443), True),
        ("http://localhost:8080", ("127.0.0.1", 8080), True),
        ("http://127.0.0.1:8080", ("127.0.0.1", 8080), True),
        ("http://[::1]:8080", ("::1", 8080), True),
        ("http://192.0.2.1:8081", ("192.0.2.1", 8080), False),
        ("http://localhost:8080", ("192.0.2.1", 8080), False),
        ("https://evil.example", ("192.0.2.1", 443), False),
        ("https://192.0.2.1.evil.example", ("192.0.2.1", 443), False),
        ("https://192.0.2.1:x", ("192.0.2.1", 443), False),
        ("null", ("192.0.2.1", 443), False),
        ("", ("192.0.2.1", 443), False),
        ("https://", ("", None), False),
        ("chrome-extension://192.0.2.1", ("192.0.2.1", 443), False),
    ],
)
def test_only_our_own_origin_is_allowed_unless_listed(
    origin: str | None, server: tuple[str, int | None], allowed: bool
) -> None:
    """The port counts, with the scheme's default."""
    assert origin_allowed(_from(origin, server), WebSettings()) is allowed


def test_a_name_that_is_pointed_at_us_is_not_ours() -> None:
    """DNS rebinding: Origin and Host agree, and both are the attacker's."""
    asked = _from("http://evil.example:8080", ("127.0.0.1", 8080), host="evil.example:8080")
    assert origin_allowed(asked, WebSettings()) is False


def test_the_public_url_is_ours_wherever_the_connection_came_to() -> None:
    """A proxy with TLS stands in front."""
    settings = WebSettings(public_url="https://phone.example.com/softphone")
    assert origin_allowed(_from("https://phone.example.com", ("127.0.0.1", 8080)), settings) is True
    assert origin_allowed(_from("http://phone.example.com", ("127.0.0.1", 8080)), settings) is False


def test_any_origin_can_be_allowed_on_purpose() -> None:
    """By the star, as in CORS."""
    asked = _from("https://evil.example", ("127.0.0.1", 8080))
    assert origin_allowed(asked, WebSettings(allowed_origins=("*",))) is True


async def test_programs_need_no_origin_where_pages_do() -> None:
    """What has a token of its own is no page that a browser was led to; one that does name an origin must be ours."""
    async with running(FakeGateway(), WebSettings(require_origin=True)) as server:

        async def refused(path: str, **headers: str) -> int:
            with pytest.raises(InvalidStatus) as caught:
                async with connect(f"ws://127.0.0.1:{server.port}{path}", additional_headers=headers):
                    pass
            return caught.value.response.status_code

        assert await refused("/rpc") == 403
        assert await refused("/api/agents/support", Authorization="Bearer wrong") == 401
        assert await refused("/api/agents/support", Authorization="Bearer wrong", Origin="https://evil.example") == 403
