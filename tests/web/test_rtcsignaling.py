"""RTCSignaling as its design has it: in any FastAPI app, with hooks, by hand, over both wire forms."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import Mock

import pytest
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from gateway.web.app import WebServer, WebSettings, serve
from gateway.web.rooms import ICECandidate, RTCSignaling, SDPAnswer, SDPOffer, add_signaling
from gateway.web.rooms.table import PeerTaken
from tests.docs_blocks import ROOT, blocks_of
from tests.web.fake import SDP, FakeGateway, running
from tests.web.room_peer import Peer, joined


@contextlib.asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[WebServer]:
    """Any app, on a free port."""
    server = await serve(app, "127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.stop()


async def _in(server: WebServer, path: str, stack: contextlib.AsyncExitStack) -> tuple[Peer, str]:
    peer = await stack.enter_async_context(joined(server, path))
    name = (await peer.next())["peer_id"]
    await peer.next()
    return peer, name


async def _told(peer: Peer, *kinds: str) -> dict[str, dict[str, Any]]:
    """The next messages by their types, which may come in any order."""
    told = [await peer.next() for _ in kinds]
    assert sorted(message["type"] for message in told) == sorted(kinds)
    return {message["type"]: message for message in told}


async def test_it_mounts_in_one_line_and_its_hooks_see_what_passes() -> None:
    """Plain and async hooks; a hook that returns False keeps a message back, one that fails too."""
    app, signaling = FastAPI(), RTCSignaling()
    seen: list[Any] = []

    @signaling.on_offer
    def offer(client_id: str, message: SDPOffer) -> bool:
        seen.append(message)
        return "refuse" not in message.sdp

    @signaling.on_answer
    async def answer(client_id: str, message: SDPAnswer) -> None:
        seen.append(message)

    @signaling.on_ice_candidate
    def candidate(client_id: str, message: ICECandidate) -> None:
        seen.append(message)
        raise KeyError("a mistake of the application")

    add_signaling(app, "/rtc", signaling)
    async with serving(app) as server, contextlib.AsyncExitStack() as stack:
        one, first = await _in(server, "/rtc/signal", stack)
        two, second = await _in(server, "/rtc/signal", stack)
        await one.next()
        await two.send(type="offer", target=first, sdp={"type": "offer", "sdp": SDP})
        assert await one.next() == {"type": "offer", "from": second, "sdp": {"type": "offer", "sdp": SDP}}
        await one.send(type="answer", target=second, sdp=SDP)
        assert (await two.next())["sdp"] == SDP
        await two.send(type="offer", target=first, sdp=SDP + "s=refuse\r\n")
        assert (await two.next())["code"] == "refused"
        await two.send(type="ice-candidate", target=first, candidate="candidate:1")
        assert (await two.next())["code"] == "refused"
        assert [type(message) for message in seen] == [SDPOffer, SDPAnswer, SDPOffer, ICECandidate]
        assert signaling.get_stats()["offers_relayed"] == 1


async def test_the_relay_of_the_page_relays(capsys: pytest.CaptureFixture[str]) -> None:
    """The program of docs/http-api.md as it stands: an offer comes to the other peer, and its hook has seen it."""
    [text] = [block.text for block in blocks_of(ROOT / "docs/http-api.md") if block.text.startswith("from fastapi")]
    space: dict[str, Any] = {"__name__": "page"}
    exec(compile(text, "http-api.md", "exec"), space)
    async with serving(space["app"]) as server, contextlib.AsyncExitStack() as stack:
        one, first = await _in(server, "/rtc/signal", stack)
        two, second = await _in(server, "/rtc/signal", stack)
        await one.next()
        await two.send(type="offer", target=first, sdp={"type": "offer", "sdp": SDP})
        assert (await one.next())["from"] == second
    assert capsys.readouterr().out == f"{second} calls {first}\n"


async def test_the_designs_own_loop_works_by_hand() -> None:
    """register_client, relay_*, join_room in an endpoint of the application's own."""
    app, signaling = FastAPI(), RTCSignaling()
    gone = [asyncio.Event(), asyncio.Event()]

    @app.websocket("/mine")
    async def mine(websocket: WebSocket) -> None:
        await websocket.accept()
        client_id = signaling.register_client(websocket)
        try:
            while True:
                message = await websocket.receive_json()
                if message["type"] == "room":
                    signaling.join_room(client_id, message["room"])
                elif message["type"] == "offer":
                    signaling.relay_offer(client_id, message["target"], message["sdp"])
                elif message["type"] == "answer":
                    signaling.relay_answer(client_id, message["target"], message["sdp"])
                elif message["type"] == "ice-candidate":
                    signaling.relay_ice_candidate(client_id, message["target"], message["candidate"])
        except WebSocketDisconnect:
            signaling.unregister_client(client_id)
            next(event for event in gone if not event.is_set()).set()

    async with serving(app) as server, contextlib.AsyncExitStack() as stack:
        one, first = await _in(server, "/mine", stack)
        two, second = await _in(server, "/mine", stack)
        await one.next()
        await one.send(type="room", room="video")
        assert (await two.next())["type"] == "peer-left"
        assert (await one.next())["type"] == "registered"
        await one.next()
        await two.send(type="offer", target=first, sdp=SDP)
        await two.send(type="room", room="video")
        assert (await one.next())["type"] == "peer-joined"
        await two.send(type="offer", target=first, sdp=SDP)
        assert await one.next() == {"type": "offer", "from": second, "sdp": SDP}
        await one.send(type="ice-candidate", target=second, candidate="candidate:1")
        await two.next()
        await two.next()
        assert (await two.next())["candidate"] == "candidate:1"
        assert signaling.get_room_peers("video") == [first, second]
        assert signaling.get_stats()["offers_relayed"] == 1
    for event in gone:
        await asyncio.wait_for(event.wait(), 30)
    assert signaling.get_stats()["total_peers"] == 0


async def test_join_room_takes_the_websocket_alone() -> None:
    """As the design's first use case has it: it is registered by that, moved by the next, and stays where it is."""
    app, signaling = FastAPI(), RTCSignaling()
    gone = asyncio.Event()

    @app.websocket("/video-chat")
    async def video_chat(websocket: WebSocket) -> None:
        await websocket.accept()
        found = signaling.join_room(websocket, websocket.query_params["room"])
        await websocket.send_json({"type": "found", "peers": found})
        try:
            while True:
                message = await websocket.receive_json()
                if message["type"] == "room":
                    found = signaling.join_room(websocket, message["room"])
                    await websocket.send_json({"type": "found", "peers": found})
                elif message["type"] == "again":
                    for socket in (websocket, Mock(WebSocket)):
                        with pytest.raises(PeerTaken):
                            signaling.register_client(socket, "elsewhere", message["id"])
                    await websocket.send_json({"type": "refused"})
                else:
                    signaling.relay_offer(websocket, message["target"], message["sdp"])
        except WebSocketDisconnect:
            signaling.unregister_client(websocket)
            signaling.unregister_client(websocket)
            if not signaling.get_stats()["total_peers"]:
                gone.set()

    async with serving(app) as server, contextlib.AsyncExitStack() as stack:
        one = await stack.enter_async_context(joined(server, "/video-chat?room=a"))
        first = (await _told(one, "registered", "peers", "found"))["registered"]["peer_id"]
        two = await stack.enter_async_context(joined(server, "/video-chat?room=a"))
        told = await _told(two, "registered", "peers", "found")
        second = told["registered"]["peer_id"]
        assert told["found"]["peers"] == told["peers"]["peers"] == [first]
        assert await one.next() == {"type": "peer-joined", "peer_id": second}
        await two.send(type="offer", target=first, sdp=SDP)
        assert await one.next() == {"type": "offer", "from": second, "sdp": SDP}
        await two.send(type="again", id=first)
        assert await two.next() == {"type": "refused"}
        assert signaling.get_room_peers("elsewhere") == []
        await two.send(type="room", room="a")
        assert await two.next() == {"type": "found", "peers": [first]}
        await two.send(type="room", room="b")
        assert (await _told(two, "registered", "peers", "found"))["found"]["peers"] == []
        assert (await one.next())["type"] == "peer-left"  # and nothing of the room that it was in already
        assert signaling.get_room_peers("b") == [second]
        with pytest.raises(KeyError):
            signaling.join_room("nobody", "a")
    await asyncio.wait_for(gone.wait(), 30)
    assert (signaling._ids, signaling._clients, signaling._writers) == ({}, {}, {})


async def test_peers_of_both_wire_forms_share_a_room() -> None:
    """Each hears the other in its own form."""
    async with running(FakeGateway()) as server, contextlib.AsyncExitStack() as stack:
        plain, plain_id = await _in(server, "/rtc/signal?room=r", stack)
        async with joined(server, "/webrtc/signaling/r/phone") as phone:
            assert await phone.next() == {"type": "existing_peers", "peers": [plain_id]}
            assert await plain.next() == {"type": "peer-joined", "peer_id": "phone"}
            await phone.send(type="offer", target_peer_id=plain_id, offer={"type": "offer", "sdp": SDP})
            assert await plain.next() == {"type": "offer", "from": "phone", "sdp": SDP}
            await plain.send(type="answer", target="phone", sdp=SDP)
            expected = {"type": "answer", "answer": {"type": "answer", "sdp": SDP}, "from_peer_id": plain_id}
            assert await phone.next() == expected
            await plain.send(type="ice-candidate", target="phone", candidate="candidate:1")
            candidate = {"candidate": "candidate:1", "sdpMid": None, "sdpMLineIndex": None}
            assert await phone.next() == {
                "type": "ice_candidate",
                "candidate": candidate,
                "from_peer_id": plain_id,
            }


async def test_a_file_goes_through_the_relay_in_parts() -> None:
    """Whole and in order; a part that is too large, outside the file or not a part is refused."""
    content = bytes(range(256)) * 280
    async with running(FakeGateway()) as server, contextlib.AsyncExitStack() as stack:
        one, first = await _in(server, "/rtc/signal?room=r", stack)
        two, second = await _in(server, "/rtc/signal?room=r", stack)
        await one.next()
        received = b""
        for offset in range(0, len(content), 36_000):
            data = base64.b64encode(content[offset : offset + 36_000]).decode()
            part = {"id": "f", "name": "plan.pdf", "size": len(content), "offset": offset, "data": data}
            await two.send(type="file", target=first, **part)
            heard = await one.next()
            assert (heard["from"], heard["offset"]) == (second, len(received))
            received += base64.b64decode(heard["data"])
        assert received == content
        good = {"id": "f", "name": "n", "size": 10, "offset": 0, "data": ""}
        for wrong in ({"offset": 11}, {"size": 1 << 40}, {"data": "x" * 50_000}, {"id": 7}, {"offset": True}):
            await two.socket.send(json.dumps({"type": "file", "target": first} | good | wrong))
            assert (await two.next())["code"] == "bad-message"


async def test_a_slow_reader_of_a_file_keeps_its_socket_and_the_sender_is_told() -> None:
    """slow-down instead of a connection that is dropped."""
    settings = WebSettings(send_queue_bytes=90_000, open_rooms=True)
    signaling = RTCSignaling(settings)
    app = FastAPI()
    signaling.add_to(app)
    async with serving(app) as server, contextlib.AsyncExitStack() as stack:
        _, first = await _in(server, "/rtc/signal", stack)
        two, _ = await _in(server, "/rtc/signal", stack)
        part = {"id": "f", "name": "n", "size": 49_000, "offset": 0, "data": "A" * 49_000}
        await two.send(type="file", target=first, **part)
        assert (await two.next())["code"] == "slow-down"
        await two.send(type="offer", target=first, sdp=SDP)
        assert signaling.get_stats()["total_peers"] == 2
