"""Calls between pages (WebSocket, ICE, DTLS, SRTP) and sipp, while the gateway, its packet plane or both are killed."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import websockets
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.browser import Browser, Connected, Identity
from bench.generator import SessionKey
from bench.process import plane_of
from sdp import SessionDescription
from tests import peers
from tests.chaos.crowd import SETTLED
from tests.chaos.ears import PTIME, Ear, Sound
from tests.chaos.fates import Fate
from tests.chaos.forked import Forks, Succession, forks
from tests.chaos.kills import Kill, Outcome
from tests.interop.sipp import SCENARIOS, Sipp
from tests.media.tone_support import SO_TIMESTAMPNS
from tests.ports import free_port, free_ports

HOST = "127.0.0.1"
USER, PASSWORD = "alice", "of-the-pages-0815"
_HEADER = 12
_CONSENT = round(2.0 / PTIME)
"""Packets between two checks of consent (RFC 7675)."""


class PageEar(Ear):
    """The same behind ICE, DTLS and SRTP (AES-GCM, before the first roll-over of its numbers)."""

    def __init__(self) -> None:
        super().__init__(secrets.randbits(32), HOST)
        self._link: tuple[socket.socket, Connected] | None = None

    def connect(self, bound: socket.socket, connected: Connected) -> None:
        """Speak and hear by this association from now on."""
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        former, self._link = self._link, (bound, connected)
        if former is not None:
            former[0].close()

    def hear(self, now: float) -> None:
        if self._link is not None:
            with suppress(OSError):
                while True:
                    data, ancillary, _, _ = self._link[0].recvmsg(2048, 256)
                    if data[0] >= 128 and not data[1] & 0x7F:
                        with suppress(InvalidTag):
                            key = self._link[1].receive
                            payload = AESGCM(key.key).decrypt(_nonce(key, data), data[_HEADER:], data[:_HEADER])
                            self.take(payload, ancillary, now)

    def speak(self) -> None:
        if self._link is not None:
            bound, connected = self._link
            packet, key = self.packet(), connected.send
            sealed = AESGCM(key.key).encrypt(_nonce(key, packet), packet[_HEADER:], packet[:_HEADER])
            with suppress(OSError):
                if not self.number % _CONSENT:
                    bound.sendto(connected.consent, connected.remote)
                bound.sendto(packet[:_HEADER] + sealed, connected.remote)

    def close(self) -> None:
        super().close()
        if self._link is not None:
            self._link[0].close()


def _nonce(key: SessionKey, packet: bytes) -> bytes:
    """RFC 7714 section 8.1: SSRC, roll-over counter 0 and sequence number, combined with the salt."""
    plain = bytes(2) + packet[8:12] + bytes(4) + packet[2:4]
    return bytes(one ^ other for one, other in zip(plain, key.salt, strict=True))


class Page:
    """One page with one call."""

    def __init__(self, url: str, identity: Identity, ear: PageEar, news: asyncio.Event) -> None:
        self.ear = ear
        self._url, self._identity, self._news = url, identity, news
        self._socket: websockets.ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._number = 0
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._browser: Browser | None = None
        self._call = ""
        self._peer = ""
        self.associations = 0
        self.is_over = False

    async def open(self) -> None:
        """Connect and sign in; again and again until the gateway is there."""
        await self._hang_up_the_socket()
        async with asyncio.timeout(SETTLED):
            while True:
                try:
                    self._socket = await websockets.connect(self._url)
                    break
                except (OSError, websockets.InvalidMessage):
                    await asyncio.sleep(0.05)
        self._reader = asyncio.create_task(self._read(self._socket))
        await self._ask("announce", peer_id=USER, token=PASSWORD, capabilities={"audio": True})

    async def dial(self, number: str) -> None:
        """Call it; it is up once `associations` says so."""
        self._peer, self._browser = number, Browser(self._identity)
        offer = self._browser.offer()
        self._call = (await self._ask("offer", to_peer_id=number, sdp=offer, type="offer"))["call_id"]

    async def come_back(self) -> None:
        """Connect again, and name the call."""
        await self.open()
        self.is_over |= (await self._ask("call.attach", call_id=self._call))["state"] == "ended"

    async def hang_up(self) -> None:
        if not self.is_over:
            await self._ask("call.hangup", call_id=self._call)

    async def close(self) -> None:
        await self._hang_up_the_socket()
        if self._browser is not None:
            self._browser.socket.close()

    async def _hang_up_the_socket(self) -> None:
        if self._socket is not None and self._reader is not None:
            await self._socket.close()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _ask(self, method: str, **params: Any) -> Any:
        assert self._socket is not None
        self._number += 1
        reply = self._replies[self._number] = asyncio.get_running_loop().create_future()
        asked = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        await self._socket.send(json.dumps(asked))
        return await asyncio.wait_for(reply, SETTLED)

    async def _read(self, read: websockets.ClientConnection) -> None:
        with suppress(websockets.ConnectionClosed):
            async for text in read:
                message = json.loads(text)
                if "method" in message:
                    await self._told(message["method"], message["params"])
                else:
                    reply = self._replies.pop(message["id"])
                    assert "error" not in message, message
                    reply.set_result(message["result"])

    async def _told(self, method: str, params: dict[str, Any]) -> None:
        if method == "answer":
            await self._connect(params["sdp"])
        elif method == "offer":
            self._browser = Browser(self._identity)
            answer = self._browser.offer().replace("a=setup:actpass", "a=setup:active")
            asked = {
                "to_peer_id": params["from_peer_id"],
                "call_id": params["call_id"],
                "type": "answer",
                "sdp": answer,
            }
            assert self._socket is not None
            await self._socket.send(json.dumps({"jsonrpc": "2.0", "method": "answer", "params": asked}))
            await self._connect(params["sdp"])
        elif method == "peer_disconnected":
            self.is_over = True
        self._news.set()

    async def _connect(self, theirs: str) -> None:
        assert self._browser is not None
        browser, self._browser = self._browser, None
        connected = await asyncio.to_thread(browser.connect, SessionDescription.parse(theirs))
        self.ear.connect(browser.socket, connected)
        self.associations += 1


class Scene:
    """A gateway between pages and sipp."""

    def __init__(self, folder: Path, starts: Forks, environ: dict[str, str], sound: Sound) -> None:
        self._folder, self._environ, self._sound = folder, environ, sound
        self._identity, self._news = Identity.make(), asyncio.Event()
        self._gateway = Succession(folder, starts, environ)
        self.pages: list[Page] = []

    async def start(self) -> None:
        """The next gateway."""
        await self._gateway.start()

    async def stop(self) -> None:
        for page in self.pages:
            await page.close()
        await self._gateway.stop()

    def faults(self) -> list[str]:
        """Exceptions that were logged."""
        return self._gateway.faults()

    async def call(self) -> None:
        """One more of them. Raises TimeoutError where it cannot be set up."""
        ear = PageEar()
        self._sound.poll(ear)
        page = Page(f"ws://{self._environ['GATEWAY_WEB__LISTEN']}/rpc", self._identity, ear, self._news)
        self.pages.append(page)
        await page.open()
        await page.dial(f"9{len(self.pages):03}")
        async with asyncio.timeout(SETTLED):
            await self._until(lambda: page.associations > 0 and ear.heard_at > 0)

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._news.clear()
            with suppress(TimeoutError):  # what is heard is no news
                await asyncio.wait_for(self._news.wait(), PTIME)

    async def strike(self, kill: Kill) -> Outcome:
        """Kill, start again, and see what became of each call."""
        before, began = [page.associations for page in self.pages], time.monotonic()
        if kill is not Kill.PLANE:
            await self._gateway.kill()
        if kill is not Kill.GATEWAY:
            plane = plane_of(str(self._folder))
            assert plane is not None
            os.kill(plane, signal.SIGKILL)
        if kill is not Kill.PLANE:
            await self.start()
            await asyncio.gather(*(page.come_back() for page in self.pages))
        anew = kill is not Kill.GATEWAY
        fates = await asyncio.gather(*(self._fate(*each, anew) for each in zip(self.pages, before, strict=True)))
        back = time.monotonic() - began
        await self.call()
        return Outcome(kill, tuple(fates), back)

    async def _fate(self, page: Page, associations: int, anew: bool) -> Fate:
        moment = time.monotonic()
        try:
            async with asyncio.timeout(SETTLED):
                if anew:
                    await self._until(lambda: page.associations > associations or page.is_over)
                    moment = time.monotonic()
                await self._until(lambda: page.ear.heard_at > moment + PTIME or page.is_over)
        except TimeoutError:
            return Fate.LOST
        return Fate.ENDED if page.is_over else Fate.KEPT


@asynccontextmanager
async def _scene(folder: Path, phones: int, stack: AsyncExitStack) -> AsyncIterator[Scene]:
    web, sip, webrtc, rtp = free_ports(4)
    values: dict[str, object] = {
        "WEB__LISTEN": f"{HOST}:{web}",
        "SIP__LISTEN": [f"udp:{HOST}:{sip}"],
        "WEBRTC__LISTEN": f"{HOST}:{webrtc}",
        "RTP__PORTS": f"{rtp}-{rtp + 399}",
        "STATE_DIR": str(folder),
        "MEDIA__PLANE": "native",
        "CODECS__WEBRTC": ["pcmu"],
        "CODECS__RTP": ["pcmu"],
        "LIMITS__LOAD": 0,
        "USERS": [{"id": USER, "web": True, "password": PASSWORD, "may_call": ["*", "9*"], "max_calls": 1_000}],
        "ROUTES": [{"match": "9*", "to": f"sip:{{user}}@{HOST}:{phones}"}],
    }
    own = {f"GATEWAY_{key}": each if isinstance(each, str) else json.dumps(each) for key, each in values.items()}
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")} | own
    sound = Sound()
    stack.callback(sound.close)
    made = Scene(folder, await stack.enter_async_context(forks()), environ, sound)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def strikes(folder: Path, kills: Sequence[Kill], calls: int) -> AsyncIterator[Outcome]:
    """Each of them with so many calls up, and one more after each; at the end all are hung up, which sipp hears.

    Raises AssertionError where it does not, or a gateway logged an exception, TimeoutError where no call can be set up.
    """
    peers.plane()
    media = free_port()
    answering = ("-rtp_echo", "-mi", HOST, "-mp", str(media), "-deadcall_wait", "0")
    async with AsyncExitStack() as stack:
        scenario, most = str(SCENARIOS / "uas_echo.xml"), calls + len(kills)
        seconds = round(SETTLED * (most + len(kills)))
        phones = await stack.enter_async_context(Sipp("-sf", scenario, *answering, calls=most, seconds=seconds))
        await phones.bound()
        scene = await stack.enter_async_context(_scene(folder, phones.port, stack))
        for _ in range(calls):
            await scene.call()
        for kill in kills:
            yield await scene.strike(kill)
        await asyncio.gather(*(page.hang_up() for page in scene.pages))
        await phones.finish()
    faults = scene.faults()
    assert not faults, faults[0]
