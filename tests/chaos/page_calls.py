"""The ends of a call that dies with its gateway: an aiortc page or a program, and a pjsua2 phone."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import av
import httpx
import numpy as np
import websockets
from aiortc import InvalidStateError, RTCSessionDescription

from gateway.client.call import Call
from gateway.client.errors import ClientError
from gateway.client.http import GatewayClient
from gateway.demo.aiortc_browser import ToneTrack
from gateway.demo.chromium import BrowserError
from gateway.demo.phone import DeskPhone, PhoneEvent
from gateway.demo.tones import Listener
from tests.interop.gateway import BROWSER_HZ, RpcBrowser

_AGAIN = 0.05
"""Seconds between two tries to connect to a gateway that is starting."""
_RATE = 48_000


class Desk(DeskPhone):
    """A phone that has one call at most."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        super().__init__(process)
        self.news: Callable[[], None] = lambda: None
        self.calls = 0
        """That have not ended."""
        self.is_up = False
        self.owes = 0
        """What it has yet to answer a call with: 180, then 200."""
        self.hears_ringing = False
        self.cause = ""
        """Of the last end of a call."""
        self.is_refused = False
        """Whether nobody has taken what it wanted to pass on."""
        self.tone: float | None = None
        """Hz of what it has heard since `listen`."""

    def _take(self, event: PhoneEvent) -> None:
        match event.name, event.details.get("state"):
            case "transfer", _:
                self.is_refused = event.details["final"] and event.details["code"] >= 300
            case "listening", _:
                self.tone = None
            case "tone", _:
                self.tone = float(event.details["hz"])
            case "incoming", _:
                self.calls, self.owes = self.calls + 1, 180
            case "state", "ringing":
                self.hears_ringing = True
            case "state", "answered":
                self.is_up = True
            case "state", "ended":
                self.calls -= 1
                self.owes, self.is_up, self.hears_ringing = 0, False, False
                self.cause = "{code} {reason}".format_map(event.details)
        super()._take(event)
        self.news()

    def answer(self, code: int = 200) -> None:
        self.owes = 200 if code < 200 else 0
        super().answer(code)

    def transfer(self, uri: str) -> None:
        self.is_refused = False
        super().transfer(uri)

    def dial(self, uri: str) -> None:
        self.calls += 1
        super().dial(uri)


class Softphone(RpcBrowser):
    """A page that does after a cut what gateway-client.js does."""

    def __init__(self, url: str, user: str, password: str, news: Callable[[], None]) -> None:
        """`url` is the page's."""
        super().__init__(codecs=("pcmu",))  # with several it is offered the phone's again
        self._url = f"{url}#{urlencode({'user': user, 'token': password})}"
        self._told_of_news = news
        self.call_id = ""
        self._seq = 0
        self.hears_ringing = False
        self.cause = ""
        """Why its last call has ended."""
        self.answers = 0
        """To its offers, and refusals."""

    @property
    def is_over(self) -> bool:
        return self._state == "ready"

    @property
    def is_up(self) -> bool:
        return self._state == "talking"

    @property
    def rings(self) -> bool:
        return self._state == "ringing"

    @property
    def has_media(self) -> bool:
        """Whether ICE and DTLS are up."""
        return self._connection is not None and self._connection.connectionState == "connected"

    @property
    def tone_now(self) -> float | None:
        """Hz of what it hears."""
        return self._ear.tone()

    async def hold(self, held: bool) -> None:
        """Hold the call, or take it back. Raises BrowserError where that cannot be asked for now."""
        connection = self._connection
        assert connection is not None
        connection.getTransceivers()[0].direction = "sendonly" if held else "sendrecv"
        try:
            await connection.setLocalDescription(await connection.createOffer())
        except InvalidStateError as error:  # the gateway has offered another one meanwhile
            raise BrowserError(str(error)) from None
        method = "call.hold" if held else "call.resume"
        await self._ask(method, call_id=self.call_id, sdp=connection.localDescription.sdp)

    async def restart_ice(self) -> None:
        """Offer other ICE credentials, which is all that aiortc can do of it: its checks go on with the old ones."""
        assert self._connection is not None
        sdp = self._connection.localDescription.sdp
        for name in ("ice-ufrag", "ice-pwd"):
            sdp = re.sub(rf"(a={name}:).*?(\r?\n)", rf"\g<1>{secrets.token_hex(12)}\2", sdp)
        await self._ask("offer", to_peer_id=self._peer, call_id=self.call_id, sdp=sdp, type="offer")

    async def pass_on(self, number: str) -> None:
        """Transfer the call. Raises BrowserError where nobody takes it."""
        await self._ask("call.transfer", call_id=self.call_id, to_peer_id=number)

    async def sign_on(self) -> None:
        """Open the page; again and again until the gateway is there."""
        while True:
            try:
                await self.open(self._url)
                return
            except (OSError, websockets.WebSocketException, BrowserError, TimeoutError):
                await asyncio.sleep(_AGAIN)

    async def cut(self) -> None:
        """Have its socket be lost."""
        assert self._socket is not None
        assert self._reader is not None
        await self._socket.close()
        [end] = await asyncio.gather(self._reader, return_exceptions=True)
        if end is not None and not isinstance(end, websockets.ConnectionClosed):
            self.troubles.append(repr(end))

    async def accept(self) -> None:
        """Take the call; the gateway need not be there to be told."""
        assert self._offer is not None
        offer, connection = self._offer, self._new_connection()
        await self._become("talking")
        await connection.setRemoteDescription(RTCSessionDescription(offer["sdp"], "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        answer = {"sdp": connection.localDescription.sdp, "type": "answer"}
        with contextlib.suppress(websockets.ConnectionClosed):
            await self._tell("answer", to_peer_id=offer["from_peer_id"], call_id=offer["call_id"], **answer)

    async def hang_up(self) -> None:
        """End the call; whether the gateway is there to be told or not."""
        assert self._peer is not None
        said = {"peer_id": self._peer, "call_id": self.call_id}
        await self._finish("hung up")
        with contextlib.suppress(websockets.ConnectionClosed):
            await self._tell("disconnect", **said)

    async def come_back(self) -> None:
        """Its socket was lost: connect again, and take up the call, if it knows of one that it had."""
        await self.cut()
        if self.rings or not self.call_id:
            await self._finish("its call was not known to it, or rang")
        await self.sign_on()
        if self.call_id:
            await self._attach()

    async def _attach(self) -> None:
        offer = {} if self.has_media else {"sdp": await self._offer_anew()}
        try:
            found = await self._ask("call.attach", call_id=self.call_id, after=self._seq, **offer)
        except BrowserError as error:
            await self._finish(str(error))
            return
        match found["state"]:
            case "ended":
                await self._finish(found["cause"])
            case "answered":
                await self._become("talking")

    async def _offer_anew(self) -> str:
        """For aiortc restarts no ICE: of another connection."""
        await self._drop_media()
        connection = self._new_connection()
        await connection.setLocalDescription(await connection.createOffer())
        return str(connection.localDescription.sdp)

    def _new_connection(self) -> Any:
        connection = super()._new_connection()
        connection.on("connectionstatechange", self._told_of_news)
        return connection

    async def _ask(self, method: str, **params: Any) -> Any:
        found = await super()._ask(method, **params)
        if method == "offer":
            self.call_id = found["call_id"]
        return found

    async def _heard(self, method: str, params: dict[str, Any]) -> None:
        self._seq = params.get("seq", self._seq)
        match method:
            case "offer":
                self.call_id = params["call_id"]
            case "call_state" if params["state"] == "ringing":
                self.hears_ringing = True
            case "peer_disconnected":
                self.cause = params["reason"]
            case "answer":
                self.answers += 1
                connection = self._connection
                if params["type"] == "rollback" or connection is None or connection.signalingState == "stable":
                    self._told_of_news()
                    return
        await super()._heard(method, params)

    async def close(self) -> None:
        await self.__aexit__(None, None, None)

    async def _finish(self, cause: str = "") -> None:
        self.call_id, self._seq, self.hears_ringing, self.cause = "", 0, False, cause or self.cause
        await super()._finish()

    async def _become(self, state: str) -> None:
        await super()._become(state)
        self._told_of_news()


class Program:
    """A call of `gateway.client`, with the same face but for being called."""

    def __init__(self, url: str, user: str, password: str, transport: httpx.AsyncBaseTransport) -> None:
        http = httpx.AsyncClient(base_url=url, transport=transport, timeout=30.0)
        self._client = GatewayClient(url, user=user, password=password, http=http)
        self._call: Call | None = None
        self._ear = Listener(_RATE)
        self._listening: asyncio.Task[None] | None = None
        self._is_refused = self._has_hung_up = False
        self.troubles: list[str] = []
        self.cause = ""

    @property
    def is_over(self) -> bool:
        return self._is_refused or (self._call is not None and self._call.state == "ended")

    @property
    def is_up(self) -> bool:
        return self._call is not None and self._call.state == "answered"

    @property
    def has_media(self) -> bool:
        return self._call is not None

    @property
    def hears_ringing(self) -> bool:
        return self._call is not None and self._call.state == "ringing"

    async def sign_on(self) -> None:
        """It does so by itself."""

    async def dial(self, number: str) -> None:
        """Call it, and wait until it has answered; a refusal shows in `is_over`."""
        try:
            self._call = await self._client.call(number, audio=ToneTrack(BROWSER_HZ))
            self._listening = asyncio.create_task(self._listen(self._call))
            await self._call.answered()
        except ClientError as error:
            self._is_refused, self.cause = True, str(error)

    async def _listen(self, call: Call) -> None:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=_RATE)
        async for frame in call.frames():
            for mono in resampler.resample(frame):
                self._ear.hear(mono.to_ndarray()[0].astype(np.int16), time.monotonic())

    async def come_back(self) -> None:
        """Ask what has become of the call; again and again until the gateway is there."""
        if self._call is None:
            self._is_refused = True
            return
        self._is_refused = False
        while True:
            try:
                if self._has_hung_up:  # of which the gateway may not have heard
                    await self._client.close_session(self._call.session_id)
                await self._call.look()
            except ClientError as error:
                if error.code == 404 and self._has_hung_up:
                    self._has_hung_up = False
                elif error.code:
                    raise
                await asyncio.sleep(_AGAIN)
            else:
                self.cause = self._call.cause or ""
                return

    def listen_anew(self) -> None:
        self._ear.forget()

    @property
    def tone_now(self) -> float | None:
        return self._ear.tone()

    async def hang_up(self) -> None:
        assert self._call is not None
        self._has_hung_up = True
        await self._call.hang_up()

    async def close(self) -> None:
        if self._call is not None:
            with contextlib.suppress(ClientError):
                await self._call.hang_up()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        with contextlib.suppress(ClientError):
            await self._client.close()
