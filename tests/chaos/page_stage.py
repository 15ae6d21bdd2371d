"""A gateway between one page and one phone, every message of whose calls passes a wire."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Self

import httpx

from tests import peers
from tests.chaos.forked import Forks, Succession, forks
from tests.chaos.page_calls import Desk, Program, Softphone
from tests.chaos.page_wires import HttpWire, MediaWire, RpcWire
from tests.chaos.wire import HOST, Message, Side, Wire
from tests.interop.gateway import BROWSER_HZ, NEAR, PASSWORDS, PHONE_HZ
from tests.ports import free_port, free_ports

PAGE, PHONE, DOMAIN = "alice", "1001", "gateway.example"
SETTLED = 40.0
"""Seconds after which somebody has been left alone: more than 64 T1, and than a page is waited for."""
_LOOKS = 0.05
"""Seconds between two looks at what tells nobody of its news."""
_BESIDE = frozenset(("REGISTER", "OPTIONS"))
"""What passes by the way, and is no message of a call."""
_WHILE = 1.0
"""Seconds in which a tone is heard, where there is any."""


class Kind(StrEnum):
    """Who calls."""

    PAGE = "a page calls a phone"
    PHONE = "a phone calls a page"
    PROGRAM = "a program calls a phone by HTTP"


class PageStage:
    """One call after the other between a page and the same phone."""

    def __init__(self, folder: Path, start: Forks, environ: dict[str, str], sip: int, media: int) -> None:
        """`sip` and `media` are ports of the gateway."""
        self.folder = folder
        self.gateway = Succession(folder, start, environ)
        self._web, self._sip, self._media_port = environ["GATEWAY_WEB__LISTEN"], sip, media
        self._news = asyncio.Event()
        self._kind = Kind.PAGE
        self._accepts: asyncio.Task[None] | None = None
        self.passed: list[Message] = []
        """Messages of the call so far."""
        self.struck = asyncio.Event()
        self.at: Message | None = None
        """Where `strike` is called."""
        self.before: list[Message] = []
        """Messages up to there."""
        self.lost = False
        """Whether that message is lost then."""
        self.strike: Callable[[], None] = self.gateway.strike
        self.phone: Desk
        self.page: Softphone | Program

    async def __aenter__(self) -> Self:
        port = free_port()
        self.wire = Wire(
            "phone",
            port,
            self._sip,
            self._passes,
            ignored=_BESIDE,
            told=lambda data: self.said("phone", data.decode()),
        )
        self._media = MediaWire(self._media_port, self._passes)
        self._rpc = await RpcWire(self._web, self._passes, self._rewrite).__aenter__()
        await self.gateway.start()
        self.phone = await Desk.start(port)
        self.phone.on_incoming(0)
        self.phone.speak(PHONE_HZ)
        self.phone.codecs("PCMU")  # with several it re-INVITEs to lock one
        await self.phone.register(PHONE, PASSWORDS[PHONE], DOMAIN, f"{HOST}:{self.wire.for_phone}", 30.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.phone.close()
        await self.gateway.stop()
        await self._rpc.__aexit__(None, None, None)
        self._media.close()
        self.wire.close()

    def said(self, side: Side, text: str) -> None:
        """The gateway has told that side something, which may describe its media."""

    def _rewrite(self, text: str) -> str:
        self.said("page", text)
        return self._media.rewrite(text)

    def begin(self) -> None:
        """Messages count from here."""
        self.passed = []
        for wire in (self.wire, self._rpc, self._media):
            wire.rewind()

    def news(self) -> None:
        """Something has happened at one of the two."""
        self._news.set()
        self._react()

    def _react(self) -> None:
        """Whoever is called rings, and answers once the caller knows."""
        phone, page = self.phone, self.page
        if self._kind is Kind.PHONE:
            assert isinstance(page, Softphone)  # nobody calls a program
            if page.rings and phone.hears_ringing and (self._accepts is None or self._accepts.done()):
                self._accepts = asyncio.create_task(page.accept())
        elif phone.owes == 180:
            phone.answer(180)
        elif phone.owes and page.hears_ringing:
            phone.answer(200)

    def _passes(self, message: Message) -> bool:
        self.passed.append(message)
        self._news.set()
        if message == self.at and not self.struck.is_set():
            self.struck.set()
            self.before = list(self.passed)
            self.strike()
            return not self.lost
        return True

    @asynccontextmanager
    async def call(self, kind: Kind) -> AsyncIterator[Self]:
        """The page that has it, open; messages count from here."""
        self._kind, self._accepts, self.at, self.lost = kind, None, None, False
        self.struck = asyncio.Event()
        self.page, self.phone.cause = self._page(kind), ""
        self.phone.news = self.news
        try:
            await self.page.sign_on()
            self.begin()
            yield self
        finally:
            self.phone.news = lambda: None
            await self._accept_no_more()
            await self.page.close()

    async def _accept_no_more(self) -> None:
        if self._accepts is not None:
            self._accepts.cancel()
            await asyncio.gather(self._accepts, return_exceptions=True)

    def _page(self, kind: Kind) -> Softphone | Program:
        if kind is Kind.PROGRAM:
            return Program(f"http://{self._web}", PAGE, PASSWORDS[PAGE], HttpWire(self._passes, self._rewrite))
        return Softphone(self._rpc.url, PAGE, PASSWORDS[PAGE], self.news)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for what makes it so."""
        while not is_so():
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOKS):  # wait_for would lose a cancellation at times
                    await self._news.wait()
            self._react()

    async def dial(self) -> None:
        """Whoever calls does, the other answers, and their media is up."""
        async with asyncio.TaskGroup() as group:
            if self._kind is Kind.PHONE:
                self.phone.dial(f"sip:{PAGE}@{DOMAIN}")
            else:
                group.create_task(self.page.dial(PHONE))
            await self.until(lambda: self.are_up and self.page.has_media)

    async def hang_up(self) -> None:
        """Whoever has called does, and both know."""
        if self._kind is Kind.PHONE:
            self.phone.hangup()
        else:
            await self.page.hang_up()
        await self.until(lambda: self.are_over)

    @property
    def are_up(self) -> bool:
        return self.page.is_up and self.phone.is_up

    @property
    def are_over(self) -> bool:
        """Whether nothing is left at either."""
        return self.page.is_over and not self.phone.calls

    async def tones(self) -> tuple[float, float]:
        """Hz that phone and page hear now; 0 for who hears no tone."""
        self.page.listen_anew()
        await self.phone.listen()
        with suppress(TimeoutError):
            async with asyncio.timeout(_WHILE):
                while self.phone.tone is None or self.page.tone_now is None:  # noqa: ASYNC110  # nobody tells of sound
                    await asyncio.sleep(_LOOKS)
        return self.phone.tone or 0.0, self.page.tone_now or 0.0

    async def hear_each_other(self) -> None:
        """Wait until each hears the other's tone of now."""
        while not is_sound(await self.tones(), (BROWSER_HZ, PHONE_HZ)):
            pass

    async def is_forgotten(self) -> None:
        """Wait until the gateway has no call."""
        async with httpx.AsyncClient(timeout=SETTLED) as asking:
            while (await asking.get(f"http://{self._web}/healthz")).json()["active_calls"]:  # noqa: ASYNC110
                await asyncio.sleep(_LOOKS)

    @property
    def state(self) -> str:
        """For who reads what went wrong."""
        page, phone = self.page, self.phone
        sides = {"page": (page.is_up, page.is_over, page.cause), "phone": (phone.is_up, not phone.calls, phone.cause)}
        said = [
            f"{name} {'up' if up else f'over ({cause})' if over else 'left alone'}"
            for name, (up, over, cause) in sides.items()
        ]
        return "; ".join([*said, *page.troubles])


async def given_up(task: asyncio.Task[None]) -> None:
    """Cancel it until it is over: `asyncio.wait_for` loses a cancellation that comes with what it waits for."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_WHILE)


def lasting(passed: Sequence[Message]) -> list[Message]:
    """Those that come each time; whether a 100 does depends on how long an answer takes (RFC 3261 17.2.1)."""
    return [each for each in passed if not each.what.startswith("100 ")]


def is_sound(heard: tuple[float, float], wanted: tuple[float, float]) -> bool:
    """Whether these are those tones; 0 is wanted of nobody."""
    return all(not hz or abs(one - hz) <= NEAR for one, hz in zip(heard, wanted, strict=True))


@asynccontextmanager
async def environment(folder: Path, **changes: str) -> AsyncIterator[tuple[Forks, dict[str, str], int, int]]:
    """What a `PageStage` is made of beside its folder."""
    peers.pjsua2()
    peers.plane()
    web, sip, webrtc, rtp = free_ports(4)
    users = [{"id": PAGE, "web": True, "may_call": ["*"]}, {"id": PHONE, "sip": True}]
    values = {
        "WEB__LISTEN": f"{HOST}:{web}",
        "SIP__LISTEN": f'["udp:{HOST}:{sip}"]',
        "WEBRTC__LISTEN": f"{HOST}:{webrtc}",
        "RTP__PORTS": f"{rtp}-{rtp + 99}",
        "IDENTITY__STORE": "sqlite:gateway.sqlite",
        "STATE_DIR": str(folder),
        "DOMAIN": DOMAIN,
        "MEDIA__PLANE": "native",
        "LIMITS__LOAD": "0",
        "LIMITS__REATTACH_TIME": "20",
        "USERS": json.dumps(users),
        **{f"USERS__{user}__PASSWORD": PASSWORDS[user] for user in (PAGE, PHONE)},
        **changes,
    }
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
    environ |= {f"GATEWAY_{key}": value for key, value in values.items()}
    async with forks() as started:
        yield started, environ, sip, webrtc
