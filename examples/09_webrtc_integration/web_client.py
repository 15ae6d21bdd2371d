"""A web page's part without a browser: JSON-RPC over a WebSocket for the call, aiortc for WebRTC."""

from __future__ import annotations

import asyncio
import fractions
import itertools
import json
from types import TracebackType
from typing import Any, Self

import aioice.ice
import av
import numpy as np
import websockets
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from gateway.testing import Listener, sine

RATE = 48000
FRAME = 960
"""Samples in 20 ms."""


def loopback_only(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    """The addresses that ICE gathers candidates on."""
    return ["127.0.0.1"]


# ICE leaves loopback out (RFC 8445 section 5.1.1.1). Here it is all there shall be: the example runs without a network,
# and nobody outside reaches its sockets.
aioice.ice.get_host_addresses = loopback_only


class WebError(Exception):
    """The gateway refused something, or did not say in time what was expected."""


class Microphone(MediaStreamTrack):
    """A steady tone, paced in real time."""

    kind = "audio"

    def __init__(self, hz: float) -> None:
        super().__init__()
        self._samples = sine(hz, 1.0, RATE)
        self._places = itertools.count(0, FRAME)
        self._began = asyncio.get_running_loop().time()

    async def recv(self) -> av.AudioFrame:
        place = next(self._places)
        await asyncio.sleep(max(0.0, self._began + place / RATE - asyncio.get_running_loop().time()))
        samples = self._samples[place % RATE : place % RATE + FRAME]
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, place, fractions.Fraction(1, RATE)
        return frame


class WebClient:
    """One signed-in page with at most one call."""

    def __init__(self, rpc_url: str, hz: float) -> None:
        self.offer = ""
        """The offer of the last call that was dialled, with all its candidates."""
        self._url = rpc_url
        self._hz = hz
        self._ids = itertools.count(1)
        self._results: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._news: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self._connection: RTCPeerConnection | None = None
        self._listening: asyncio.Task[None] | None = None
        self._changing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._socket = await websockets.connect(self._url)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()
        await self._socket.close()
        await asyncio.gather(self._reading, return_exceptions=True)

    # Signalling

    async def request(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the gateway; its result, or WebError with its reason."""
        number = next(self._ids)
        self._results[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
        return await asyncio.wait_for(self._results[number], 8)

    async def expect(self, method: str, **wanted: Any) -> dict[str, Any]:
        """The parameters of the next notification of that name and with those parameters."""
        try:
            async with asyncio.timeout(8):
                while True:
                    name, params = await self._news.get()
                    if name == method and wanted.items() <= params.items():
                        return params
        except TimeoutError:
            raise WebError(f"no {method} {wanted or ''} came") from None

    async def _read(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if message.get("method") == "offer" and message["params"].get("update"):
                self._changing = asyncio.create_task(self._change(message["params"]))
            elif "method" in message:
                self._news.put_nowait((message["method"], message["params"]))
            elif "result" in message:
                self._results.pop(message["id"]).set_result(message["result"])
            else:
                self._results.pop(message["id"]).set_exception(WebError(message["error"]["message"]))

    # Calls

    async def _change(self, offer: dict[str, Any]) -> None:
        """The phone took another codec than the early answer had: the gateway offers again, and the call goes on."""
        assert self._connection is not None
        await self._connection.setRemoteDescription(RTCSessionDescription(offer["sdp"], "offer"))
        await self._connection.setLocalDescription(await self._connection.createAnswer())
        sdp = self._connection.localDescription.sdp
        peer, call = offer["from_peer_id"], offer["call_id"]
        await self.request("answer", to_peer_id=peer, call_id=call, type="answer", sdp=sdp)

    async def dial(self, number: str) -> dict[str, Any]:
        """Offer without candidates, trickle them, take the gateway's answer; the answer's parameters."""
        connection = self._connect()
        await connection.setLocalDescription(await connection.createOffer())
        self.offer = connection.localDescription.sdp
        lines = self.offer.splitlines()
        candidates = [line.removeprefix("a=") for line in lines if line.startswith("a=candidate:")]
        bare = [line for line in lines if not line.startswith(("a=candidate:", "a=end-of-candidates"))]
        await self.request("offer", to_peer_id=number, type="offer", sdp="\r\n".join([*bare, ""]))
        for candidate in [*candidates, ""]:  # The empty one says that no other follows.
            await self.request("ice_candidate", to_peer_id=number, candidate=candidate, sdp_mid="0")
        answer = await self.expect("answer", from_peer_id=number)
        await connection.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
        return answer

    async def accept(self, offer: dict[str, Any]) -> None:
        """Answer a call that came in."""
        connection = self._connect()
        await connection.setRemoteDescription(RTCSessionDescription(offer["sdp"], "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        sdp = connection.localDescription.sdp
        await self.request("answer", to_peer_id=offer["from_peer_id"], type="answer", sdp=sdp)

    async def end(self) -> None:
        """Drop the media; `disconnect` is a request of its own."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listening = None

    # Sound

    async def tone(self) -> float:
        """The frequency that this call's far end says, in Hz."""
        try:
            async with asyncio.timeout(8):
                while (heard := self._ear.tone()) is None:
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            raise WebError("no tone was heard") from None
        return heard

    def _connect(self) -> RTCPeerConnection:
        self._ear, self._heard = Listener(RATE), asyncio.Event()
        # No STUN server: the gateway sees where the checks come from, which is all it needs.
        connection = self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connection.addTrack(Microphone(self._hz))

        @connection.on("track")
        def on_track(track: MediaStreamTrack) -> None:
            self._listening = asyncio.create_task(self._listen(track))

        return connection

    async def _listen(self, track: MediaStreamTrack) -> None:
        to_mono = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        try:
            while True:
                frame = await track.recv()
                assert isinstance(frame, av.AudioFrame)
                for mono in to_mono.resample(frame):
                    self._ear.hear(mono.to_ndarray()[0].astype(np.int16), 0.0)
                    self._heard.set()
        except MediaStreamError:
            return
