"""One source is one source, whatever address it comes from: a /64 of IPv6, an address of IPv4."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest
from websockets.exceptions import InvalidHandshake

from tests.interop.gateway import PASSWORDS
from tests.strangers.stage import WAYS, Stage, Way, stage

pytestmark = pytest.mark.wall

NEAR, FAR = 1, 2
"""A network of strangers, and one of others."""
ADDRESSES = 12
BOTH = [way for way in WAYS if not way.proxied]


def sign_in(at: Stage, user: str, password: str) -> bytes:
    body = json.dumps({"user": user, "password": password})
    return at.request("POST", "/api/session", body)


async def guess(at: Stage, network: int, number: int = 0, user: str = "alice", password: str = "guess") -> int:
    """The status of a sign-in from that address."""
    return await at.status(sign_in(at, user, password), network, number)


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_network_guesses_no_more_often_than_an_address(tmp_path: Path, way: Way) -> None:
    """Ten wrong passwords, then it waits; another network does not."""
    async with stage(tmp_path, way, WEB__LIMITS__FAILED_LOGINS_PER_USER="0") as at:
        statuses = [await guess(at, NEAR, number, f"user{number}") for number in range(ADDRESSES)]
        assert statuses == [401] * 10 + [503] * (ADDRESSES - 10)
        assert await guess(at, NEAR, ADDRESSES, "alice", PASSWORDS["alice"]) == 503
        assert await guess(at, FAR, 0, "alice", PASSWORDS["alice"]) == 200


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_the_owner_signs_in_while_others_guess(tmp_path: Path, way: Way) -> None:
    """Where she was before at once; from elsewhere her user's guesses are waited for, another user's are not."""
    changes = {"WEB__LIMITS__FAILED_LOGINS_PER_USER": "4", "WEB__LIMITS__LONGEST_LOGIN_DELAY": "86400"}
    async with stage(tmp_path, way, **changes) as at:
        assert await guess(at, FAR, 0, "alice", PASSWORDS["alice"]) == 200
        statuses = [await guess(at, 10 + network) for network in range(16)]
        assert statuses[:4] == [401] * 4
        assert statuses[-1] == 503
        assert await guess(at, 30, 0, "alice", PASSWORDS["alice"]) == 503
        assert await guess(at, 30, 0, "ALICE", PASSWORDS["alice"]) == 503
        assert await guess(at, 30, 0, "bob", PASSWORDS["bob"]) == 200
        assert await guess(at, FAR, 7, "alice", PASSWORDS["alice"]) == 200


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_network_has_so_many_calls_of_guests(tmp_path: Path, way: Way) -> None:
    """limits.guest_calls_per_source; guests elsewhere call on."""
    changes = {"WEB__GUESTS": "on", "LIMITS__GUEST_CALLS_PER_SOURCE": "2"}
    async with stage(tmp_path, way, **changes) as at:
        offer = await at.offer()
        body = json.dumps({"sdp": {"type": "offer", "sdp": offer}, "to": "600"})
        asked = at.request("POST", "/webrtc/offer", body)
        assert [await at.status(asked, NEAR, number) for number in range(3)] == [200, 200, 503]
        assert await at.status(asked, FAR) == 200


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_network_has_so_many_connections(tmp_path: Path, way: Way) -> None:
    """web.limits.max_connections_per_source, of WebSockets behind a proxy as well."""
    async with stage(tmp_path, way, WEB__LIMITS__MAX_CONNECTIONS_PER_SOURCE="3") as at:
        for number in range(3):
            await at.websocket("sip", "/sip", NEAR, number)
        with pytest.raises((InvalidHandshake, ConnectionError)):
            await at.websocket("sip", "/sip", NEAR, 3)
        await at.websocket("sip", "/sip", FAR)


@pytest.mark.parametrize("way", BOTH, ids=str)
async def test_a_network_has_so_many_sip_connections(tmp_path: Path, way: Way) -> None:
    """sip.limits.max_connections_per_source over TCP: one more is closed unread."""
    async with stage(tmp_path, way, SIP__LIMITS__MAX_CONNECTIONS_PER_SOURCE="3") as at:
        kept = [await at.pings(NEAR, number) for number in range(4)]
        assert kept == [True, True, True, False]
        assert await at.pings(FAR)


@pytest.mark.parametrize("way", BOTH, ids=str)
async def test_a_network_has_so_many_sip_requests(tmp_path: Path, way: Way) -> None:
    """sip.limits.requests_per_second over UDP: what is over it gets no answer."""
    async with stage(tmp_path, way, SIP__LIMITS__REQUESTS_PER_SECOND="0.001", SIP__LIMITS__BURST="2") as at:
        near = [await at.stranger(NEAR, number) for number in range(3)]
        options = [one.request("OPTIONS", f"sip:{at.app.config.domain}") for one in near]
        for one, request in zip(near, options, strict=True):
            one.send(request, at.sip)
        far = await at.stranger(FAR)
        assert await far.status(far.request("OPTIONS", f"sip:{at.app.config.domain}"), at.sip) == 200
        assert [len(one.received) for one in near] == [1, 1, 0]


@pytest.mark.parametrize("way", BOTH, ids=str)
async def test_a_network_is_banned_as_one(tmp_path: Path, way: Way) -> None:
    """sip.bans.after refusals from any of its addresses; others are challenged as ever."""
    changes = {"SIP__BANS__AFTER": "4", "USERS__ALICE__ROLE": "operator"}
    async with stage(tmp_path, way, **changes) as at:
        domain = at.app.config.domain
        for number in range(4):
            one = await at.stranger(NEAR, number)
            assert await one.status(one.request("REGISTER", f"sip:{domain}"), at.sip) == 401
        credentials = base64.b64encode(f"alice:{PASSWORDS['alice']}".encode()).decode()
        reader, _ = await at.http(at.request("GET", "/api/bans", headers=(f"Authorization: Basic {credentials}",)))
        answer = await asyncio.wait_for(reader.read(), 30)
        [ban] = json.loads(answer.partition(b"\r\n\r\n")[2])["bans"]
        assert ban["address"] == (f"{at.address(NEAR).rpartition('::')[0]}::/64" if way.ipv6 else at.address(NEAR))
        far = await at.stranger(FAR)
        assert await far.status(far.request("REGISTER", f"sip:{domain}"), at.sip) == 401
