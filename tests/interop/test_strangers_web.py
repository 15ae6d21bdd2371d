"""What strangers post and send to the web side while people talk, and descriptions made to be slow to read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
import websockets

from tests.interop.gateway import PASSWORDS
from tests.interop.stranger import Stranger, longest_step, stranger
from tests.interop.talk import Talk, ask, rpc_url, talking

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

LAG_MS = 50.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Talk]:
    """The call that every test of this module tries to disturb."""
    async with talking(tmp_path_factory.mktemp("strangers")) as call:
        yield call


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _unharmed(talk: Talk) -> AsyncIterator[None]:
    """After each test the talk goes on."""
    yield
    await talk.goes_on()


@pytest_asyncio.fixture(loop_scope="module")
async def mallory() -> AsyncIterator[Stranger]:
    """The stranger."""
    async with stranger() as socket:
        yield socket


BODIES: list[tuple[bytes, set[int]]] = [
    (b"", {400, 422}),
    (b"{", {400, 422}),
    (b"\xff\xfe\x00", {400, 422}),
    (b"[]", {400, 422}),
    (b"null", {400, 422}),
    (b'"text"', {400, 422}),
    (b"{" * 20_000, {400, 422}),
    (b"[" * 60_000, {400, 422}),
    (b'{"sdp": 5}', {400, 422}),
    (b'{"sdp": {"type": null, "sdp": null}}', {400, 422}),
    (b'{"sdp": {"type": "offer", "sdp": "v=0"}}', {400, 422, 488}),
    (b'{"sdp": {"type": "offer", "sdp": "not sdp"}}', {400, 422}),
    (b'{"sdp": {"type": "bogus", "sdp": "v=0\\r\\n"}}', {400, 422}),
    (b'{"sdp": {"type": "offer", "sdp": "' + b"a=x\\r\\n" * 9_000 + b'"}}', {400, 413, 422}),
    (b'{"n": ' + b"9" * 5_000 + b"}", {400, 422}),
    (b"x" * 2_000_000, {413}),
]


async def test_strange_bodies_get_the_error_of_the_contract(talk: Talk) -> None:
    """{"error", "code"} and a 4xx, whatever was posted wherever."""
    async with httpx.AsyncClient(base_url=talk.gateway.web, timeout=30) as client:
        for body, statuses in BODIES:
            for path in ("/webrtc/offer", "/webrtc/ice-candidate", "/webrtc/close"):
                answer = await client.post(path, content=body, headers={"Content-Type": "application/json"})
                assert answer.status_code in statuses, (path, body[:80], answer.text)
                assert answer.json()["code"] == answer.status_code
                assert isinstance(answer.json()["error"], str)


FRAMES = [
    "",
    "{",
    "null",
    "[]",
    "[" * 30_000,
    '{"jsonrpc": "2.0"}',
    '{"jsonrpc": "1.0", "id": 1, "method": "announce"}',
    '{"jsonrpc": "2.0", "id": {}, "method": "announce", "params": {}}',
    '{"jsonrpc": "2.0", "id": 1, "method": 5}',
    '{"jsonrpc": "2.0", "id": 1, "method": "announce", "params": {"peer_id": []}}',
    '{"jsonrpc": "2.0", "id": 1, "method": "offer", "params": {"to_peer_id": 601, "sdp": "v=0"}}',
    '{"jsonrpc": "2.0", "id": 1, "method": "offer", "params": {"to_peer_id": "601", "sdp": {}}}',
    '{"jsonrpc": "2.0", "id": 1e400, "method": "list_peers"}',
    '{"jsonrpc": "2.0", "id": "\\ud800", "method": "list_peers"}',
]


async def test_strange_frames_at_rpc_are_errors_of_json_rpc(talk: Talk) -> None:
    """An error with a code, or the socket is closed; never a traceback, never a result."""
    for text in FRAMES:
        async with websockets.connect(rpc_url(talk)) as socket:
            await socket.send(text)
            reply = await _reply_or_close(socket)
            if isinstance(reply, int):
                assert reply in (1002, 1003, 1007, 1008, 1009), text[:80]
            else:
                assert reply["error"]["code"] < 0, text[:80]


async def _reply_or_close(socket: websockets.ClientConnection) -> int | dict[str, Any]:
    """What the socket says next: a JSON object, or the close code."""
    try:
        async with asyncio.timeout(30):
            return dict(json.loads(await socket.recv()))
    except websockets.ConnectionClosed:
        return socket.close_code or 0


async def test_a_message_too_big_for_rpc_closes_that_socket_only(talk: Talk) -> None:
    """1009."""
    async with websockets.connect(rpc_url(talk)) as socket:
        await socket.send("x" * 200_000)
        assert await _reply_or_close(socket) == 1009


async def test_a_password_never_reaches_the_log_whatever_the_frame_looks_like(talk: Talk) -> None:
    """The first words of a frame are what a debug log shows: here they are the password (held after the test)."""
    secret = PASSWORDS["alice"]
    async with websockets.connect(rpc_url(talk)) as socket:
        rest = ',"peer_id":"alice","capabilities":{}},"id":1,"method":"announce","jsonrpc":"2.0"}'
        await socket.send('{"params":{"token":' + json.dumps(secret) + rest)
        assert "result" in json.loads(await socket.recv())
        await socket.send('{"token": ' + json.dumps(secret))
        assert "error" in json.loads(await socket.recv())
    async with httpx.AsyncClient(base_url=talk.gateway.web) as client:
        await client.get("/healthz", headers={"Authorization": f"Bearer {secret}"}, params={"token": secret})
        await client.post("/webrtc/offer", json={"sdp": {"type": "offer", "sdp": ""}, "token": secret})


# -- bombs --------------------------------------------------------------------------


def _bombs() -> dict[str, str]:
    start = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
    audio = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:111 opus/48000/2\r\n"
    return {
        "ssrc lines": start + audio + "".join(f"a=ssrc:{n} cname:x\r\n" for n in range(20_000)),
        "candidates": start + audio + "".join(f"a=candidate:{n} 1 udp 1 10.0.0.1 9 typ host\r\n" for n in range(9_000)),
        "sections": start + audio * 5_000,
        "codecs": start
        + f"m=audio 9 RTP/AVP {' '.join(['96'] * 60_000)}\r\n"
        + "".join(f"a=rtpmap:96 x{n}/8000\r\n" for n in range(10_000)),
        "one long line": start + audio + "a=fmtp:111 " + "x" * 430_000 + "\r\n",
    }


@pytest.mark.parametrize("name", list(_bombs()))
@pytest.mark.parametrize("size", [430_000, 60_000])
async def test_an_sdp_bomb_is_refused_without_holding_up_anybody(
    talk: Talk, mallory: Stranger, name: str, size: int
) -> None:
    """By HTTP, /rpc and, as far as it fits a datagram, SIP: no step of the event loop takes 50 ms."""
    bomb = _bombs()[name][:size]
    loop = asyncio.get_running_loop()
    body = json.dumps({"sdp": {"type": "offer", "sdp": bomb}}).encode()
    frame = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "offer", "params": {"to_peer_id": "600", "sdp": bomb}})
    request = mallory.request("INVITE", talk.gateway.uri("600"), user="1002", body=bomb[:60_000])
    async with httpx.AsyncClient(base_url=talk.gateway.web) as client, websockets.connect(rpc_url(talk)) as socket:
        await ask(socket, "announce", peer_id="guest-3", capabilities={"audio": True})
        async with longest_step() as worst:
            began = loop.time()
            answer = await client.post("/webrtc/offer", content=body, headers={"Content-Type": "application/json"})
            assert 400 <= answer.status_code < 500
            await socket.send(frame)
            await _refusal(socket)
            mallory.send(request, talk.gateway.sip)
            await mallory.ask(mallory.request("OPTIONS", f"sip:{talk.gateway.config.domain}"), talk.gateway.sip)
            assert loop.time() - began < 2.0
    assert worst[0] < LAG_MS


async def _refusal(socket: websockets.ClientConnection) -> None:
    """An error, or the socket closed for a message too big."""
    while isinstance(reply := await _reply_or_close(socket), dict):
        assert "result" not in reply
        if "error" in reply:
            return
    assert reply == 1009


DESCRIPTION = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"
RELAYED: list[tuple[str, str, dict[str, Any]]] = [
    ("offer", "to_peer_id", {"sdp": DESCRIPTION}),
    ("answer", "to_peer_id", {"sdp": DESCRIPTION}),
    ("ice_candidate", "to_peer_id", {"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "sdp_mid": "0"}),
    ("disconnect", "peer_id", {"reason": "busy"}),
    ("peer.offer", "to", {"sdp": DESCRIPTION}),
    ("peer.answer", "to", {"sdp": DESCRIPTION}),
    ("peer.ice_candidate", "to", {"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "sdp_mid": "0"}),
    ("peer.disconnect", "peer_id", {"reason": "busy"}),
]


async def test_a_guest_neither_finds_nor_reaches_a_guest_out_of_sight(talk: Talk) -> None:
    """As shipped guests may call the test services alone: one that is there is answered for like one that is not."""
    async with websockets.connect(rpc_url(talk)) as prober, websockets.connect(rpc_url(talk)) as hidden:
        for socket, name in ((prober, "prober"), (hidden, "hidden")):
            assert "result" in await ask(socket, "announce", peer_id=name)
        for method, target, params in RELAYED:
            there, absent = [await ask(prober, method, **params, **{target: name}) for name in ("hidden", "nobody")]
            assert json.dumps(there).replace("hidden", "nobody") == json.dumps(absent)
            assert ("error" in there) is ("disconnect" not in method), there
        await hidden.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}))
        assert json.loads(await hidden.recv())["id"] == 1
