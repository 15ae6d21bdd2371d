"""What happens in a call after its beginning, with a real rtpengine behind a bad way, and tones found by frequency."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.media.engine import Kind, MediaError, Party
from gateway.media.rtpengine.client import Address
from gateway.media.rtpengine.engine import RtpengineEngine
from tests.media import rtpengine_support
from tests.media.engine_support import Browser, Phone, audio_of, frequency_of, until
from tests.media.rtpengine_support import running
from tests.rows import by_row

pytestmark = pytest.mark.wall

BROWSER = Party("browser", Kind.WEBRTC)
PHONE = Party("phone", Kind.RTP, private_source="127.0.0.1")
NEAR = 8.0
Mischief = Callable[[bytes, int], list[tuple[float, bytes]]]
"""Of a reply, and its number: what comes instead, each after so many seconds."""


class Way(asyncio.DatagramProtocol):
    """Between an engine and a daemon: requests pass, replies come as the mischief has it."""

    def __init__(self, daemon: Address, mischief: Mischief) -> None:
        self._daemon, self._mischief = daemon, mischief
        self._near: asyncio.DatagramTransport
        self._far: asyncio.DatagramTransport
        self._asker: Address | None = None
        self._late: set[asyncio.TimerHandle] = set()
        self.replies = 0

    async def open(self) -> Address:
        loop = asyncio.get_running_loop()
        self._near, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self._far, _ = await loop.create_datagram_endpoint(lambda: _Replies(self._reply), remote_addr=self._daemon)
        address: Address = self._near.get_extra_info("sockname")
        return address

    def close(self) -> None:
        for timer in self._late:
            timer.cancel()
        self._near.close()
        self._far.close()

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._asker = addr
        self._far.sendto(data)

    def _reply(self, data: bytes) -> None:
        self.replies += 1
        loop = asyncio.get_running_loop()
        for seconds, instead in self._mischief(data, self.replies):
            self._late.add(loop.call_later(seconds, self._near.sendto, instead, self._asker))


class _Replies(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._take(data)


def late(data: bytes, number: int) -> list[tuple[float, bytes]]:
    """After the request was sent again, so that there are two."""
    return [(0.2, data)]


def repeated(data: bytes, number: int) -> list[tuple[float, bytes]]:
    """At once, and once more when it may be that something else is asked."""
    return [(0.0, data), (0.0, data), (0.05, data)]


def malformed(data: bytes, number: int) -> list[tuple[float, bytes]]:
    """Behind what is no reply, half of it, its words for somebody else, and one that says nothing."""
    cookie, _, rest = data.partition(b" ")
    strange = b"", b"\xff" * 100, data[: len(data) // 2], cookie, b"0" * 24 + b" " + rest, cookie + b" 4:pong"
    return [*((0.0, each) for each in strange), (0.01, data)]


_LOST: set[bytes] = set()


def first_lost(data: bytes, number: int) -> list[tuple[float, bytes]]:
    """Of each exchange; the daemon answers the repetition as it has answered before."""
    cookie, _, _ = data.partition(b" ")
    if cookie in _LOST:
        return [(0.0, data)]
    _LOST.add(cookie)
    return []


@contextlib.asynccontextmanager
async def way(mischief: Mischief) -> AsyncIterator[tuple[Way, Address]]:
    made = Way(rtpengine_support.shared().address, mischief)
    try:
        yield made, await made.open()
    finally:
        made.close()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def talking(engine: RtpengineEngine) -> AsyncIterator[tuple[Browser, Phone]]:
    """A browser at 600 Hz and a phone at 1000 Hz, who hear each other."""
    browser, phone = Browser(600.0, ("pcmu",)), await Phone(("pcmu",)).open()
    try:
        phone.take(await engine.offer("call", BROWSER, PHONE, await browser.offer()))
        phone.play(1000.0)
        await browser.take_answer(await engine.answer("call", PHONE, BROWSER, phone.sdp()))
        await hear_each_other(browser, phone)
        yield browser, phone
    finally:
        await browser.close()
        await phone.close()


async def hear_each_other(browser: Browser, phone: Phone) -> None:
    """From now on."""
    browser.frames.clear()
    phone.packets.clear()
    await until(lambda: abs(browser.heard() - 1000.0) < NEAR)
    await until(lambda: abs(frequency_of(*phone.heard("pcmu")) - 600.0) < NEAR)


@by_row("mischief", [late, repeated, malformed, first_lost])
async def test_a_call_is_made_held_and_resumed_whatever_comes_beside_the_replies(mischief: Mischief) -> None:
    """Each exchange is carried out once, and what nobody asked for is counted and changes nothing."""
    async with way(mischief) as (between, address), running(rtpengine_support.config(address)) as (engine, _):
        async with talking(engine) as (browser, phone):
            port = phone.remote[1]
            await engine.offer("call", PHONE, BROWSER, phone.sdp(direction="sendonly"))
            assert "a=recvonly" in await engine.accept("call", PHONE)
            await engine.offer("call", PHONE, BROWSER, phone.sdp())
            assert audio_of(await engine.accept("call", PHONE))[1] == port
            await hear_each_other(browser, phone)
            assert (await engine.delete("call")).parties["phone"].received.packets > 25
        (host,) = engine._hosts.all
        exchanges = host._exchanges
        await until(lambda: len(exchanges) == 0)  # a question whether it is there may be under way
        assert host.alive
        if mischief is malformed:
            assert exchanges.malformed >= between.replies
        elif mischief is repeated:
            assert exchanges.strays >= between.replies
        elif mischief is late:
            assert exchanges.strays > 0


async def test_offers_that_cross_leave_the_call_to_the_one_that_is_answered() -> None:
    """Whichever of the two SIP refuses (491): an answer to that one finds nothing, and each still hears the other."""
    async with running() as (engine, _), talking(engine) as (browser, phone):
        port = phone.remote[1]
        said = browser.peer.localDescription.sdp
        for first, second, answer in ((PHONE, BROWSER, phone.sdp()), (BROWSER, PHONE, said)):
            await engine.offer("call", first, second, phone.sdp() if first is PHONE else said)
            crossing = said if first is PHONE else phone.sdp()
            await engine.offer("call", second, first, crossing)
            with pytest.raises(MediaError) as raised:
                await engine.answer("call", second, first, crossing)
            assert raised.value.status == 481
            await engine.answer("call", first, second, answer)
            await hear_each_other(browser, phone)
        assert phone.remote[1] == port
