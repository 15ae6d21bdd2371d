"""What has proved nothing gives way to newcomers, the longest silent first."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.app.ws_phone import CONTACT, WebSocketPhone
from tests.interop.gateway import PASSWORDS
from tests.strangers.stage import WAYS, Stage, Way, stage

pytestmark = pytest.mark.wall

PLACES = 6
FLOOD = 3 * PLACES
DIRECT = [way for way in WAYS if not way.proxied]


async def loads(at: Stage) -> int:
    """The status of the page for somebody else."""
    return await at.status(at.request("GET", "/"), 1)


def network(number: int) -> int:
    """Another network for each stranger: the share of one source is not what is tried."""
    return 10 + number


async def nothing(at: Stage, number: int) -> None:
    """A connection without a request."""
    await at.http(b"", network(number))


async def head(at: Stage, number: int) -> None:
    """The beginning of a request."""
    await at.http(b"GET / HTTP/1.1\r\nHost: ", network(number))


async def body(at: Stage, number: int) -> None:
    """A request that ends with the beginning of its body."""
    request = at.request("POST", "/webrtc/offer", '{"sdp": "' + "x" * 1_000)
    await at.http(request[:-900], network(number))


async def unread(at: Stage, number: int) -> None:
    """Requests whose answers are not read."""
    await at.http(at.request("GET", "/static/phone.js").replace(b"Connection: close\r\n", b"") * 200, network(number))


async def sip_socket(at: Stage, number: int) -> None:
    """An open SIP WebSocket."""
    await at.websocket("sip", "/sip", network(number))


async def rpc_socket(at: Stage, number: int) -> None:
    """An open WebSocket of a page that nobody has signed in at."""
    await at.websocket("", "/rpc", network(number))


@pytest.mark.parametrize("way", DIRECT, ids=str)
@pytest.mark.parametrize("kind", [nothing, head, body, unread, sip_socket, rpc_socket], ids=lambda kind: kind.__name__)
async def test_a_page_loads_while_strangers_hold_every_connection(tmp_path: Path, way: Way, kind: object) -> None:
    """web.limits.max_connections of them are open, and more come."""
    assert callable(kind)
    changes = {"WEB__LIMITS__MAX_CONNECTIONS": str(PLACES), "WEB__GUESTS": "on"}
    async with stage(tmp_path, way, **changes) as at:
        for number in range(FLOOD):
            await kind(at, number)
            assert await loads(at) == 200, number


@pytest.mark.parametrize("way", [way for way in WAYS if way.proxied], ids=str)
@pytest.mark.parametrize("kind", [sip_socket, rpc_socket], ids=lambda kind: kind.__name__)
async def test_a_page_loads_behind_a_proxy_while_sockets_hold_every_connection(
    tmp_path: Path, way: Way, kind: object
) -> None:
    """Unfinished requests stay in the proxy; open sockets do not."""
    assert callable(kind)
    async with stage(tmp_path, way, WEB__LIMITS__MAX_CONNECTIONS=str(PLACES)) as at:
        for number in range(FLOOD):
            await kind(at, number)
            assert await loads(at) == 200, number


async def is_open(socket: ClientConnection) -> bool:
    """Whether the gateway answers a ping by it."""
    try:
        await asyncio.wait_for(await socket.ping(), 30)
    except ConnectionClosed:
        return False
    return True


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_who_has_signed_in_stays_while_sockets_flood(tmp_path: Path, way: Way) -> None:
    """A phone that registered, a page that announced itself; of strangers the longest silent goes first."""
    async with stage(tmp_path, way, WEB__LIMITS__MAX_CONNECTIONS=str(PLACES)) as at:
        phone = WebSocketPhone(await at.websocket("sip", "/sip"), "1001", at.app.config.domain, PASSWORDS["1001"])
        assert (await phone.register(contact=CONTACT)).status == 200
        page = await at.websocket("", "/rpc")
        await at.announces(page, "alice", PASSWORDS["alice"])
        first, second = [await at.websocket("sip", "/sip", network(number)) for number in range(2)]
        await first.send("\r\n\r\n")
        assert await asyncio.wait_for(first.recv(), 30) == "\r\n"
        rest = [await at.websocket("sip", "/sip", network(2 + number)) for number in range(PLACES - 3)]
        assert not await is_open(second)
        assert await is_open(first)
        for number in range(FLOOD):
            await at.websocket("sip", "/sip", network(10 + number))
        assert [await is_open(one) for one in (first, rest[0], phone.socket, page)] == [False, False, True, True]
        assert (await phone.register(contact=CONTACT)).status == 200


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_guest_stays_as_long_as_it_has_a_call(tmp_path: Path, way: Way) -> None:
    """Afterwards its connection gives way as a stranger's does."""
    changes = {"WEB__LIMITS__MAX_CONNECTIONS": str(PLACES), "WEB__GUESTS": "on"}
    async with stage(tmp_path, way, **changes) as at:
        guest = await at.websocket("", "/rpc")
        await at.asks(guest, "announce", peer_id="visitor", capabilities={"audio": True})
        await at.asks(guest, "offer", to_peer_id="600", sdp=await at.offer(), type="offer")
        for number in range(FLOOD):
            await at.websocket("sip", "/sip", network(number))
        assert await is_open(guest)
        await at.asks(guest, "disconnect", peer_id="600")
        for number in range(FLOOD):
            await at.websocket("sip", "/sip", network(FLOOD + number))
        assert not await is_open(guest)


@pytest.mark.parametrize("way", DIRECT, ids=str)
async def test_sip_connections_give_way_longest_silent_first(tmp_path: Path, way: Way) -> None:
    """sip.limits.max_connections over TCP: newcomers are answered, whoever holds the rest."""
    async with stage(tmp_path, way, SIP__LIMITS__MAX_CONNECTIONS="8") as at:
        first, second = [await at.socket(at.sip, network(number)) for number in range(2)]
        assert await at.answers(first)
        assert await at.answers(second)
        assert await at.answers(first)
        for number in range(3):
            assert await at.pings(network(2 + number))
        assert not await at.answers(second)
        assert await at.answers(first)
        for number in range(FLOOD):
            assert await at.pings(network(5 + number))
        assert not await at.answers(first)
