"""Signing in at an OpenID provider: the way there and back, and everything that must not sign anybody in."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.web.app import WebServer, WebSettings
from gateway.web.auth.oidc import OidcError, OidcSettings, OpenIdProvider
from gateway.web.auth.tokens import TokenError, read_keys, verify_id_token
from tests.ports import free_port
from tests.rows import by_row
from tests.web.client import client_of
from tests.web.fake import FakeGateway, running
from tests.web.openid import openid_provider, walk

ISSUER = "https://login.test"


class Clock:
    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset


@asynccontextmanager
async def gateway_with(**changes: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Clock, FakeGateway]]:
    """A browser's client of a gateway whose people sign in at a real provider."""
    port, clock, gateway = free_port(), Clock(), FakeGateway()
    gateway.roles = {"bob": "admin"}
    base = f"http://127.0.0.1:{port}"
    async with openid_provider(f"{base}/api/session/oidc/callback") as settings:
        provider = OpenIdProvider(replace(settings, **changes), clock)
        async with running(gateway, None, port, provider), httpx.AsyncClient(base_url=base) as http:
            yield http, clock, gateway


def client_at(server: WebServer) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}")


async def audit(http: httpx.AsyncClient) -> list[tuple[str, str, str | None]]:
    """What was done, the newest first."""
    async with httpx.AsyncClient(base_url=http.base_url) as admin:
        token = (await admin.post("/api/session", json={"user": "bob", "password": "builder"})).json()["access_token"]
        entries = (await admin.get("/api/audit", headers={"Authorization": f"Bearer {token}"})).json()["entries"]
    return [(entry["action"], entry["user"], entry.get("by")) for entry in entries[1:]]


@pytest.mark.wall
async def test_a_browser_goes_to_the_provider_and_comes_back_signed_in() -> None:
    """By PKCE, state and nonce; once: the same way back again leads nowhere, nor does that of another browser."""
    async with gateway_with(name="Office") as (http, clock, _):
        ways = (await http.get("/api/session/ways")).json()
        assert ways == {"oidc": {"name": "Office", "path": "api/session/oidc"}, "site": False}
        back = await walk(http, "/api/session/oidc", "alice")
        assert back.headers["location"] == "/?sign-in=done"
        cookies = {cookie.name: cookie for cookie in http.cookies.jar if cookie.name.startswith("gateway_")}
        assert set(cookies) == {"gateway_session"}
        assert cookies["gateway_session"].path == "/api/session"
        assert (await http.post("/api/session/refresh", json={})).json()["user"] == "alice"
        again = await http.get(str(back.url))
        assert again.headers["location"] == "/?sign-in=refused"
        async with (
            httpx.AsyncClient(base_url=http.base_url) as mallory,
            httpx.AsyncClient(base_url=http.base_url) as other,
        ):
            way = (await walk(mallory, "/api/session/oidc", "alice", comes_back=False)).headers["location"]
            given = await other.get(way)
            assert given.headers["location"] == "/?sign-in=refused"
            assert "gateway_session" not in other.cookies
            assert (await mallory.get(way)).headers["location"] == "/?sign-in=done"
        there = await http.get("/api/session/oidc")
        state = parse_qs(urlsplit(there.headers["location"]).query)["state"][0]
        clock.offset = 700
        late = await http.get("/api/session/oidc/callback", params={"state": state, "code": "x"})
        assert late.headers["location"] == "/?sign-in=refused"
        assert (await audit(http))[-1] == ("sign-in", "alice", "oidc")
        assert [action for action, _, _ in await audit(http)].count("sign-in refused") == 3


async def test_no_thread_of_a_provider_outlives_the_web_side() -> None:
    """They end with the server that asked by them."""
    provider = OpenIdProvider(OidcSettings(issuer=f"http://127.0.0.1:{free_port()}", client_id="gateway", timeout=1))
    before = set(threading.enumerate())
    async with running(FakeGateway(), provider=provider) as server, client_at(server) as http:
        await http.get("/api/session/oidc")
        [thread] = [one for one in set(threading.enumerate()) - before if one.name.startswith("oidc")]
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()


@pytest.mark.wall
@by_row("name", ["carol", "ALICE", None])
async def test_who_is_nobody_here_or_gives_up_there_is_not_signed_in(name: str | None) -> None:
    """A name that is only like a user's is nobody's: people may choose names at a provider."""
    async with gateway_with() as (http, _, _):
        back = await walk(http, "/api/session/oidc", name)
        assert back.headers["location"] == "/?sign-in=refused"
        assert "gateway_session" not in http.cookies
        assert (await http.post("/api/session/refresh", json={})).status_code == 401
        assert (await audit(http))[0][0] == "sign-in refused"


@pytest.mark.wall
async def test_an_address_counts_where_the_provider_has_verified_it() -> None:
    """It is an identity of the user here; mallory has only said so."""
    async with gateway_with(claim="email") as (http, _, gateway):
        gateway.aliases = {"alice": ("sip:alice@example.com",), "bob": ("mallory@example.com",)}
        assert (await walk(http, "/api/session/oidc", "mallory")).headers["location"] == "/?sign-in=refused"
        http.cookies.clear()
        assert (await walk(http, "/api/session/oidc", "alice")).headers["location"] == "/?sign-in=done"
        assert (await http.post("/api/session/refresh", json={})).json()["user"] == "alice"


async def test_a_provider_that_is_not_there_leaves_passwords_as_they_are() -> None:
    """The page says so; the issuer is asked once each time, for its timeout at most."""
    provider = OpenIdProvider(OidcSettings(issuer=f"http://127.0.0.1:{free_port()}", client_id="gateway", timeout=1))
    async with running(FakeGateway(), provider=provider) as server, client_at(server) as http:
        assert (await http.get("/api/session/oidc")).headers["location"] == "/?sign-in=unavailable"
        signed_in = await http.post("/api/session", json={"user": "alice", "password": "wonder"})
        assert signed_in.status_code == 200


async def test_without_a_provider_there_is_no_such_way() -> None:
    """404, and the page is told so."""
    async with client_of(FakeGateway()) as http:
        assert (await http.get("/api/session/oidc")).status_code == 404
        assert (await http.get("/api/session/ways")).json() == {"oidc": None, "site": False}


# What a provider may say, by one that says what the test wants.


KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def jwks(*keys: tuple[str, rsa.RSAPrivateKey]) -> dict[str, Any]:
    made = []
    for name, key in keys:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
        made.append(public | {"kid": name, "use": "sig", "alg": "RS256"})
    return {"keys": made}


def id_token(key: Any = KEY, algorithm: str = "RS256", kid: str = "k1", **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "gateway", "sub": "1", "iat": now, "exp": now + 60, "preferred_username": "alice"}
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})


_PUBLIC = KEY.public_key().public_numbers().n.to_bytes(256, "big")


@by_row(
    "token",
    [
        pytest.param(id_token(None, "none"), id="not signed"),
        pytest.param(id_token(_PUBLIC, "HS256"), id="signed with the public key"),
        pytest.param(id_token(OTHER_KEY), id="signed by another"),
        pytest.param(id_token(kid="k2"), id="by a key that is not shown"),
        pytest.param(id_token(iss="https://other.test"), id="of another provider"),
        pytest.param(id_token(aud="another"), id="for another client"),
        pytest.param(id_token(aud=["gateway", "another"]), id="for others as well"),
        pytest.param(id_token(azp="another"), id="asked for by another"),
        pytest.param(id_token(exp=int(time.time()) - 600), id="old"),
        pytest.param(id_token(exp=None), id="for ever"),
        pytest.param(id_token(sub=None), id="of nobody"),
        pytest.param("a.b.c", id="no token"),
        pytest.param("", id="nothing"),
    ],
)
def test_a_token_that_is_not_the_providers_for_us_is_refused(token: str) -> None:
    """Every rule of OpenID Connect Core 1.0 section 3.1.3.7."""
    keys = read_keys(jwks(("k1", KEY)))
    assert verify_id_token(id_token(), keys, issuer=ISSUER, client_id="gateway", now=time.time())["sub"] == "1"
    with pytest.raises(TokenError):
        verify_id_token(token, keys, issuer=ISSUER, client_id="gateway", now=time.time())


@by_row("keys", [{}, {"keys": 5}, {"keys": []}, {"keys": [{"kty": "x"}, 7]}])
def test_keys_that_cannot_be_read_are_none(keys: dict[str, Any]) -> None:
    """And sign nothing."""
    assert read_keys(keys) == ()


class Scripted(OpenIdProvider):
    """A provider whose answers are in `answers`, by the end of the path."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(OidcSettings(**({"issuer": ISSUER, "client_id": "gateway"} | settings)))
        names = {"authorization_endpoint": "auth", "token_endpoint": "token", "jwks_uri": "jwks"}
        self.answers: dict[str, Any] = {
            "openid-configuration": {"issuer": ISSUER} | {name: f"{ISSUER}/{end}" for name, end in names.items()},
            "jwks": jwks(("k1", KEY)),
            "token": {},
        }
        self.asked: list[str] = []

    def _fetch(self, url: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        end = url.rpartition("/")[2]
        self.asked.append(end)
        answer = self.answers[end]
        if isinstance(answer, Exception):
            raise answer
        return 200, answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    async def goes(self, **claims: Any) -> str:
        """One whole journey, with an ID token of these claims."""
        where, state = await self.begin("https://us.test/callback", "192.0.2.1")
        nonce = parse_qs(urlsplit(where).query)["nonce"][0]
        self.answers["token"] = {"id_token": id_token(**({"nonce": nonce} | claims)), "access_token": "t"}
        return await self.finish({"state": state, "code": "c"})


async def test_what_the_provider_answers_is_believed_only_where_it_fits() -> None:
    """Another nonce, another subject of the user info, another issuer of the answer, no claim."""
    provider = Scripted()
    assert await provider.goes() == "alice"
    for claims in ({"nonce": "another"}, {"nonce": None}, {"preferred_username": 5}, {"preferred_username": None}):
        with pytest.raises(OidcError) as refused:
            await provider.goes(**claims)
        assert refused.value.is_refusal
    provider.answers["openid-configuration"]["userinfo_endpoint"] = f"{ISSUER}/info"
    provider._metadata_until = 0.0
    provider.answers["info"] = {"sub": "1", "preferred_username": "bob"}
    assert await provider.goes(preferred_username=None) == "bob"
    provider.answers["info"] = {"sub": "2", "preferred_username": "bob"}
    with pytest.raises(OidcError):
        await provider.goes(preferred_username=None)


@by_row("reason", ["", "again", "late", "another provider"])
async def test_a_way_back_is_good_once_in_time_and_from_the_provider_itself(reason: str) -> None:
    """With an answer that would sign somebody in otherwise (RFC 9207 for the provider's name)."""
    clock = Clock()
    provider = Scripted()
    provider._clock = clock
    where, state = await provider.begin("https://us.test/callback", "192.0.2.1")
    token = id_token(nonce=parse_qs(urlsplit(where).query)["nonce"][0], exp=int(time.time()) + 3_600)
    provider.answers["token"] = {"id_token": token, "access_token": "t"}
    answer = {"state": state, "code": "c", "iss": "https://other.test" if reason == "another provider" else ISSUER}
    if reason == "again":
        assert await provider.finish(answer) == "alice"
    clock.offset = 601 if reason == "late" else 500
    if not reason:
        assert await provider.finish(answer) == "alice"
        return
    asked = len(provider.asked)
    with pytest.raises(OidcError, match="another provider" if reason == "another provider" else "nobody was sent"):
        await provider.finish(answer)
    assert len(provider.asked) == asked  # the code goes nowhere


@by_row("status", [301, 302, 303, 307, 308])
async def test_a_provider_that_sends_us_elsewhere_is_not_followed(status: int) -> None:
    """Nobody has looked whether that address is safe."""
    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Elsewhere)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        settings = OidcSettings(issuer=f"http://127.0.0.1:{server.server_port}", client_id="gateway", timeout=30)
        with pytest.raises(OidcError, match=f"answered {status}"):
            await OpenIdProvider(settings).begin("https://us.test/callback", "192.0.2.1")
    finally:
        await asyncio.to_thread(server.shutdown)
        thread.join()
        server.server_close()
    assert asked == ["/.well-known/openid-configuration"]


async def test_a_provider_that_does_not_answer_is_asked_once_for_everybody_and_not_again_at_once() -> None:
    """However many strangers ask; the threads that others need are free meanwhile."""
    asked: list[asyncio.StreamWriter] = []
    clock = Clock()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer)
        await reader.read()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    provider = OpenIdProvider(OidcSettings(issuer=f"http://127.0.0.1:{port}", client_id="x", timeout=0.5), clock)
    try:
        begun = [asyncio.create_task(provider.begin("https://us.test/c", "192.0.2.1")) for _ in range(100)]
        await asyncio.to_thread(time.monotonic)
        assert not any(task.done() for task in begun)
        begun[0].cancel()
        outcomes = await asyncio.gather(*begun, return_exceptions=True)
        assert all(isinstance(one, OidcError) and not one.is_refusal for one in outcomes[1:])
        with pytest.raises(OidcError):
            await provider.begin("https://us.test/c", "192.0.2.1")
        assert len(asked) == 1
        clock.offset = 5.1
        with pytest.raises(OidcError):
            await provider.begin("https://us.test/c", "192.0.2.1")
        assert len(asked) == 2
    finally:
        for writer in asked:
            writer.close()
        server.close()


async def test_keys_that_changed_are_asked_for_once_more() -> None:
    """But not at every token that names an unknown one."""
    provider = Scripted()
    assert await provider.goes() == "alice"
    provider.answers["jwks"] = jwks(("k2", OTHER_KEY))
    provider._keys_asked = 0.0
    assert await provider.goes(key=OTHER_KEY, kid="k2") == "alice"
    before = provider.asked.count("jwks")
    for _ in range(3):
        with pytest.raises(OidcError):
            await provider.goes(key=OTHER_KEY, kid="k3")
    assert provider.asked.count("jwks") == before


@by_row(
    "described",
    [
        {"issuer": "https://other.test"},
        {"token_endpoint": "http://inside.test/token"},
        {"jwks_uri": None},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
)
async def test_a_description_that_points_elsewhere_is_not_followed(described: dict[str, Any]) -> None:
    """Only https, and only of the issuer of the configuration."""
    provider = Scripted()
    provider.answers["openid-configuration"] |= described
    with pytest.raises(OidcError) as refused:
        await provider.begin("https://us.test/callback", "192.0.2.1")
    assert not refused.value.is_refusal


@by_row("answer", [b"", b"[]", b"{", b"[" * 100_000, OSError("gone"), ValueError("x")])
async def test_whatever_the_provider_answers_only_the_own_error_is_raised(answer: Any) -> None:
    """In the middle of a journey as at its start."""
    provider = Scripted()
    where, state = await provider.begin("https://us.test/callback", "192.0.2.1")
    assert where.startswith(f"{ISSUER}/auth?")
    provider.answers["token"] = answer
    with pytest.raises(OidcError):
        await provider.finish({"state": state, "code": "c"})
    again = Scripted()
    again.answers["openid-configuration"] = answer
    with pytest.raises(OidcError):
        await again.begin("https://us.test/callback", "192.0.2.1")


async def test_journeys_that_nobody_ends_are_bounded_and_end_only_their_own() -> None:
    """The oldest of the same address give way, and in all the oldest."""
    provider = Scripted()
    _, first = await provider.begin("https://us.test/callback", "192.0.2.1")
    for _ in range(100):
        await provider.begin("https://us.test/callback", "192.0.2.2")
    assert len(provider._attempts) == 21
    with pytest.raises(OidcError, match=r"the provider's token is not valid"):
        await provider.finish({"state": first, "code": "c"})  # it is known, and asked about
    for number in range(1_100):
        await provider.begin("https://us.test/callback", f"2001:db8:{number:x}::1")
    assert len(provider._attempts) == 1_000


async def test_failing_at_the_provider_counts_as_guessing() -> None:
    """After some failures an address is not listened to for a while."""
    settings = WebSettings(failure_burst=2, failures_per_second=0.001)
    async with running(FakeGateway(), settings, provider=Scripted()) as server, client_at(server) as http:
        found = [(await http.get("/api/session/oidc/callback?state=x")).headers["location"] for _ in range(3)]
    assert found == ["/?sign-in=refused", "/?sign-in=refused", "/?sign-in=unavailable"]


async def test_a_provider_that_does_not_answer_is_waited_for_as_long_as_configured() -> None:
    """web.oidc.timeout."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        issuer = "http://127.0.0.1:{1}".format(*silent.getsockname())

        def provider(timeout: float) -> OpenIdProvider:
            return OpenIdProvider(OidcSettings(issuer=issuer, client_id="gateway", timeout=timeout), time.time)

        begun = {timeout: asyncio.ensure_future(provider(timeout).begin("x", "192.0.2.1")) for timeout in (0.1, 5.0)}
        await asyncio.wait(begun.values(), return_when=asyncio.FIRST_COMPLETED)
        assert isinstance(begun[0.1].exception(), OidcError)
        assert not begun[5.0].done()
        silent.close()
        await asyncio.wait(begun.values())
        assert isinstance(begun[5.0].exception(), OidcError)


async def test_a_provider_is_asked_for_the_scopes_of_the_configuration() -> None:
    """web.oidc.scopes."""
    for scopes in ("openid", "openid email"):
        where, _ = await Scripted(scopes=scopes).begin("https://us.test/callback", "192.0.2.1")
        assert parse_qs(urlsplit(where).query)["scope"] == [scopes]
