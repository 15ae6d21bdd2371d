"""Trickle ICE (RFC 8838) over INFO (RFC 8840) on the wire: a phone over WebSocket, SIP by hand, media by aiortc."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import av
import numpy as np
import pytest
import pytest_asyncio
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from gateway.demo.aiortc_browser import LOCAL, RATE, ToneTrack
from gateway.demo.tones import Listener
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Response
from gateway.sip.message.uri import Uri
from sdp.trickle import CONTENT_TYPE, TrickledMedia, TrickleFragment
from tests.app.ws_phone import CONTACT, WebSocketPhone
from tests.interop.gateway import BROWSER_HZ, NEAR, PASSWORDS, Gateway, config_on_free_ports, gateway_with

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

CANDIDATE = re.compile(r"^a=(candidate:.*)\r\n", re.MULTILINE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """With the agent of the parameter; a full one may send checks to this machine's own addresses."""
    folder: Path = tmp_path_factory.mktemp("gateway")
    full = {"MEDIA__ICE": "full", "MEDIA__ICE_PEERS_ALLOWED": json.dumps(["0.0.0.0/0"])}
    config = config_on_free_ports(folder, **(full if request.param == "full" else {}))
    async with gateway_with(config, folder / "gateway.log") as running:
        yield running


class Quiet:
    """A place that answers nothing; a context manager."""

    def __enter__(self) -> Quiet:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    @property
    def candidate(self) -> str:
        return f"candidate:9 1 udp 2130706431 127.0.0.1 {self._socket.getsockname()[1]} typ host"

    @property
    def was_asked(self) -> bool:
        """Whether a check has come."""
        try:
            return bool(self._socket.recv(2048))
        except BlockingIOError:
            return False


class Phone:
    """The user of a page: SIP by hand over WebSocket, media by aiortc."""

    def __init__(self, sip: WebSocketPhone, connection: RTCPeerConnection, domain: str) -> None:
        self._sip = sip
        self._connection = connection
        self._domain = domain
        self._ear = Listener(RATE)
        self._answer: Response | None = None
        self.candidates: list[str] = []
        self._ufrag = self._pwd = ""
        connection.addTrack(ToneTrack(BROWSER_HZ))
        connection.on("track", self._listen)

    async def call(self, number: str, *, shown: bool) -> Response:
        """The final answer to an INVITE; `shown`: with the candidates in the offer (half trickle)."""
        await self._connection.setLocalDescription(await self._connection.createOffer())
        offer = self._connection.localDescription.sdp
        self.candidates = CANDIDATE.findall(offer)
        self._ufrag, self._pwd = (
            re.findall(rf"^a=ice-{word}:(\S+)", offer, re.MULTILINE)[0] for word in ("ufrag", "pwd")
        )
        if not shown:
            offer = CANDIDATE.sub("", offer).replace("a=end-of-candidates\r\n", "")
        offer = offer.replace("t=0 0\r\n", "t=0 0\r\na=ice-options:trickle\r\n")
        self._answer = await self._sip.ask(
            "INVITE",
            Uri.of(number, self._domain),
            Uri.of(number, self._domain),
            NameAddr.parse(f"<{CONTACT}>"),
            offer.encode(),
            headers=(("Supported", "trickle-ice"), ("Recv-Info", "trickle-ice")),
        )
        return self._answer

    async def take(self, sdp: str) -> None:
        await self._connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))

    def fragment(self, *candidates: str, end: bool = False, ufrag: str = "") -> bytes:
        """What an INFO says of these candidates."""
        media = (TrickledMedia("0", candidates, end_of_candidates=end),)
        return str(TrickleFragment(ufrag or self._ufrag, self._pwd, media)).encode()

    async def info(self, body: bytes, package: str = "trickle-ice") -> int:
        return (await self._in_dialog("INFO", body, (("Info-Package", package),))).status

    async def bye(self) -> int:
        return (await self._in_dialog("BYE")).status

    async def _in_dialog(self, method: str, body: bytes = b"", headers: build.Fields = ()) -> Response:
        assert self._answer is not None
        assert self._answer.contact is not None
        request = build.request(
            method,
            self._answer.contact.uri,
            from_=self._answer.from_,
            to=self._answer.to,
            call_id=self._answer.call_id,
            cseq=self._sip.next_number(),
            headers=headers,
            body=body,
            content_type=CONTENT_TYPE if body else None,
        )
        await self._sip.send(request)
        return await self._sip.final(method)

    def _listen(self, track: MediaStreamTrack) -> None:
        self._hearing = asyncio.create_task(self._hear(track))

    async def _hear(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                assert isinstance(frame, av.AudioFrame)
                mono = frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0].astype(np.int16)
                self._ear.hear(mono, time.monotonic())

    async def hears_itself(self) -> None:
        """Wait until the echo gives the tone back."""
        async with asyncio.timeout(30):
            while abs((self._ear.tone() or 0) - BROWSER_HZ) > NEAR:  # noqa: ASYNC110  # only asking tells
                await asyncio.sleep(0.05)


@pytest_asyncio.fixture(loop_scope="module")
async def phone(gateway: Gateway) -> AsyncIterator[Phone]:
    """Registered as 1001."""
    domain = gateway.config.domain
    sip = await WebSocketPhone.open(gateway.web.replace("http", "ws", 1) + "/sip", "1001", domain, PASSWORDS["1001"])
    connection = RTCPeerConnection(LOCAL)
    try:
        assert (await sip.register()).status == 200
        yield Phone(sip, connection, domain)
    finally:
        await connection.close()
        await sip.close()
        for call in gateway.app.calls:
            call.stop()
        await gateway.idle()


@pytest.mark.parametrize("gateway", ["full"], indirect=True)
async def test_a_candidate_that_comes_by_info_makes_the_media_come_up(gateway: Gateway, phone: Phone) -> None:
    """The phone reaches nothing of the gateway's and waits for its checks; only the candidates' INFO brings them."""
    with Quiet() as wrong, Quiet() as unreachable, Quiet() as later:
        answer = await phone.call("600", shown=False)
        assert answer.status == 200
        assert "trickle-ice" in (answer.headers.get("Recv-Info") or "")
        sdp = answer.body.decode()
        assert CANDIDATE.search(sdp)
        place, kept = f"a={unreachable.candidate}\r\n", CANDIDATE.sub("", sdp)
        await phone.take(kept.replace("a=end-of-candidates\r\n", "") + place)
        assert await phone.info(phone.fragment(wrong.candidate, ufrag="another")) == 200
        assert await phone.info(phone.fragment(wrong.candidate), package="unheard-of") == 469
        assert await phone.info(b"nonsense") == 400
        assert await phone.info(phone.fragment(*phone.candidates)) == 200
        await phone.hears_itself()
        assert not wrong.was_asked
        every = (*phone.candidates, later.candidate)
        for _ in range(2):
            assert await phone.info(phone.fragment(*every, end=True)) == 200
        await phone.hears_itself()
        assert await phone.bye() == 200
        await gateway.idle()
        assert await phone.info(phone.fragment(*every, end=True)) == 481
    assert len(gateway.app.calls.ended) == 1


@pytest.mark.parametrize("gateway", ["full", "lite"], indirect=True)
async def test_half_trickle_needs_no_info(gateway: Gateway, phone: Phone) -> None:
    """All candidates are in the offer: media comes up by the phone's own checks; INFO that says them again is taken."""
    answer = await phone.call("600", shown=True)
    assert answer.status == 200
    sdp = answer.body.decode()
    assert ("a=ice-lite" in sdp) == (gateway.config.media.ice == "lite")
    await phone.take(sdp)
    assert await phone.info(phone.fragment(*phone.candidates, end=True)) == 200
    await phone.hears_itself()
    assert await phone.bye() == 200
