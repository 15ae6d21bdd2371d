"""What a signalling server and a peer may send that nobody should: the transport's own errors, and it goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from gateway.remotemedia import SignalingError, TransportError, WebRtcTransport, WebRtcTransportConfig
from tests.rows import by_row


class Relay:
    """A signalling server that takes every request, and answers an offer as a test wants."""

    def __init__(self) -> None:
        self.socket: ServerConnection
        self.answer: Callable[[str], Any] | None = str
        """None: to no offer."""
        self.result: Any = {}
        self.asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def serve(self, socket: ServerConnection) -> None:
        self.socket = socket
        async for text in socket:
            frame = json.loads(text)
            method, params = frame["method"], frame["params"]
            self.asked.put_nowait(frame)
            await self.send(id=frame["id"], **(self.result if method == "odd" else {"result": {}}))
            if method == "offer" and self.answer is not None:
                answer = {"from_peer_id": params["to_peer_id"], "sdp": self.answer(params["sdp"])}
                await self.send(method="answer", params=answer)

    async def send(self, **members: Any) -> None:
        await self.socket.send(json.dumps({"jsonrpc": "2.0", **members}))


@contextlib.asynccontextmanager
async def relayed() -> AsyncIterator[tuple[Relay, WebRtcTransport]]:
    """A started transport whose server is ours."""
    relay = Relay()
    async with serve(relay.serve, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        transport = WebRtcTransport(WebRtcTransportConfig(signaling_url=f"ws://127.0.0.1:{port}", peer_id="me"))
        await transport.start()
        try:
            yield relay, transport
        finally:
            await transport.stop()


def _without(word: str) -> Callable[[str], str]:
    return lambda offer: "".join(
        line for line in offer.replace("actpass", "active").splitlines(keepends=True) if not line.startswith(word)
    )


ANSWERS: dict[str, Callable[[str], Any]] = {
    "empty": lambda offer: "",
    "no text": lambda offer: [1],
    "no description": lambda offer: "hello",
    "one line of one": lambda offer: "v=0\r\nm=audio 9 RTP/AVP 0\r\n",
    "our own offer": str,
    "no fingerprint": _without("a=fingerprint"),
    "no ICE": _without("a=ice"),
    "a section too many": lambda offer: offer.replace("actpass", "active") + offer[offer.index("m=audio") :],
}


@by_row("kind", ANSWERS)
async def test_an_answer_that_cannot_be_used_is_the_transports_own_error(kind: str) -> None:
    """And nothing is left of the call."""
    async with relayed() as (relay, transport):
        relay.answer = ANSWERS[kind]
        with pytest.raises(TransportError):
            await asyncio.wait_for(transport.connect_peer("evil"), 30)
        assert len(transport.peer_manager) == 0


@by_row("sdp", ["", "hello", "v=0\r\nm=audio 9 RTP/AVP 0\r\n", None, [1]])
async def test_an_offer_that_cannot_be_used_is_declined(sdp: Any) -> None:
    """Whoever made it need not wait."""
    async with relayed() as (relay, transport):
        await relay.send(method="offer", params={"from_peer_id": "evil", "sdp": sdp})
        async with asyncio.timeout(30):
            while (asked := await relay.asked.get())["method"] != "disconnect":
                assert asked["method"] == "announce"
        assert asked["params"] == {"peer_id": "evil"}
        assert len(transport.peer_manager) == 0


async def test_an_offer_that_cannot_be_used_ends_the_call_that_gives_way_to_it() -> None:
    """Both called at once; who has lost its own call to it need not wait."""
    async with relayed() as (relay, transport):
        relay.answer = None
        calling = asyncio.create_task(transport.connect_peer("you"))
        async with asyncio.timeout(30):
            while (await relay.asked.get())["method"] != "offer":
                pass
            await relay.send(method="offer", params={"from_peer_id": "you", "sdp": "hello"})
            with pytest.raises(TransportError, match="the offer of you cannot be used"):
                await calling
        assert len(transport.peer_manager) == 0


async def test_the_offer_of_who_is_to_give_way_is_left_alone() -> None:
    """It gives way: nobody declines what it takes back itself."""
    async with relayed() as (relay, transport):
        relay.answer = None
        calling = asyncio.create_task(transport.connect_peer("her"))
        async with asyncio.timeout(30):
            while (await relay.asked.get())["method"] != "offer":
                pass
            await relay.send(method="offer", params={"from_peer_id": "her", "sdp": "hello"})
            await transport._signaling.request("list")
            await relay.send(method="peer_left", params={"peer_id": "her"})
            with pytest.raises(TransportError, match="her did not take the call"):
                await calling
        assert (await relay.asked.get())["method"] == "list"
        assert relay.asked.empty()
        assert len(transport.peer_manager) == 0


ODD = [
    "",
    "no JSON",
    "[" * 100_000,
    "[]",
    "1",
    '{"id":[1],"result":{}}',
    '{"id":{},"result":{}}',
    '{"id":null}',
    '{"id":1e999,"result":{}}',
    '{"method":"offer","params":[1]}',
    '{"method":"offer"}',
    '{"method":["offer"],"params":{}}',
    '{"method":"answer","params":{"from_peer_id":[1],"sdp":{}}}',
]


async def test_no_odd_frame_ends_signalling() -> None:
    """The connection stays the same one, and requests are answered after each."""
    async with relayed() as (relay, transport):
        socket = relay.socket
        for text in ODD:
            await socket.send(text)
            await transport._signaling.request("list")
        await socket.send(b"\xff\xfe")
        await transport._signaling.request("list")
        assert relay.socket is socket


@by_row("error", ["no object", [1], {"message": [1], "code": "x", "data": "y"}, {}])
async def test_an_odd_error_is_a_signalling_error(error: Any) -> None:
    """Of code 0, where it has none that could be."""
    async with relayed() as (relay, transport):
        relay.result = {"error": error}
        with pytest.raises(SignalingError) as refused:
            await transport._signaling.request("odd")
        assert (refused.value.code, refused.value.data) == (0, {})
        relay.result = {"result": [1]}
        assert await transport._signaling.request("odd") == {}
