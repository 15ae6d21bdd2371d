"""kill -9 of the packet plane at every message of a re-offer: a hold, its end, an ICE restart, a transfer."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from unittest import mock

from bench.process import plane_of
from gateway.client.errors import ClientError
from gateway.demo.chromium import BrowserError
from gateway.demo.phone import PhoneError
from tests.chaos.fates import Fate
from tests.chaos.forked import Forks
from tests.chaos.page_calls import Softphone
from tests.chaos.page_stage import DOMAIN, SETTLED, Kind, PageStage, environment, given_up, is_sound, lasting
from tests.chaos.wire import Message, Side
from tests.interop.gateway import BROWSER_HZ, PHONE_HZ, TONE_HZ

SOON = 5.0
"""Seconds from the death of the plane until both hear each other again."""
_TONE = "601"
_SECRETS = re.compile(r"a=(?:fingerprint:sha-256 |ice-ufrag:|crypto:\d+ \S+ inline:)([\w:+/=]+)")


class Change(StrEnum):
    """What is asked for."""

    PHONE_HOLDS = "the phone holds"
    PHONE_TAKES_BACK = "the phone takes the call back"
    PAGE_HOLDS = "the page holds"
    PAGE_TAKES_BACK = "the page takes the call back"
    PAGE_RESTARTS = "the page restarts ICE"
    PHONE_PASSES_ON = "the phone passes the call on"
    PAGE_PASSES_ON = "the page passes the call on"


_PHONES = (Change.PHONE_HOLDS, Change.PHONE_TAKES_BACK)
_PAGES = (Change.PAGE_HOLDS, Change.PAGE_TAKES_BACK)
_PASSED_ON = (Change.PHONE_PASSES_ON, Change.PAGE_PASSES_ON)


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What became of a call whose plane died."""

    fate: Fate
    told: str
    """What each side was told of the end, or what went wrong."""
    seconds: float
    """From the death until that was so."""

    def is_right(self, change: Change) -> bool:
        """Whether both hear each other soon; of a call that was being passed on: or both were told of the end."""
        if change in _PASSED_ON and self.fate is Fate.ENDED:
            return True
        return self.fate is Fate.KEPT and self.seconds <= SOON


class KeyedStage(PageStage):
    """One whose phone speaks SRTP with keys in SDP, and that remembers what the gateway has told of its own."""

    def __init__(self, folder: Path, start: Forks, environ: dict[str, str], sip: int, media: int) -> None:
        super().__init__(folder, start, environ, sip, media)
        self._keys: dict[Side, set[str]] = {"page": set(), "phone": set()}
        """Fingerprints, ICE credentials and SRTP keys of the description that each side was told last."""
        self._gone: set[str] = set()
        """All that were told before the plane died."""
        self._all: set[str] = set()

    def said(self, side: Side, text: str) -> None:
        found = set(_SECRETS.findall(text))
        if found:
            self._keys[side] = found
            self._all |= found

    def plane_dies(self) -> None:
        """What was told until now is not to be used again."""
        self._gone = set(self._all)

    @property
    def repeated(self) -> set[str]:
        """What a side that has a call was told last, and was told before the death of the plane as well."""
        sides: dict[Side, bool] = {"page": self.page.is_up, "phone": self.phone.is_up}
        return {each for side, is_up in sides.items() if is_up for each in self._keys[side] & self._gone}


async def _change(stage: PageStage, change: Change) -> None:
    """Ask for it, and wait until it is answered."""
    page, phone = stage.page, stage.phone
    assert isinstance(page, Softphone)
    answers, acks = page.answers, _acks(stage.passed)
    match change:
        case Change.PHONE_HOLDS:
            phone.hold()
        case Change.PHONE_TAKES_BACK:
            phone.unhold()
        case Change.PHONE_PASSES_ON:
            phone.transfer(f"sip:{_TONE}@{DOMAIN}")
            await stage.until(lambda: not phone.calls or phone.is_refused)
        case Change.PAGE_RESTARTS:
            await page.restart_ice()
        case Change.PAGE_PASSES_ON:
            await page.pass_on(_TONE)
            await stage.until(lambda: page.is_over)
        case _:
            await page.hold(change is Change.PAGE_HOLDS)
    if change in _PHONES:
        await stage.until(lambda: _acks(stage.passed) > acks)
    elif change not in _PASSED_ON:
        await stage.until(lambda: page.answers > answers)


def _acks(passed: Sequence[Message]) -> int:
    return sum(each.what == "ACK" and each.side == "phone" and each.to_gateway for each in passed)


async def _is_heard(stage: PageStage, change: Change) -> bool:
    """Whether each hears the other now; or, where one has passed it on, who is left hears whom it was passed to."""
    heard = await stage.tones()
    if stage.are_up:
        return is_sound(heard, (BROWSER_HZ, PHONE_HZ))
    if change is Change.PHONE_PASSES_ON and not stage.phone.calls:
        return stage.page.is_up and is_sound(heard, (0.0, TONE_HZ))
    return change is Change.PAGE_PASSES_ON and stage.page.is_over and is_sound(heard, (TONE_HZ, 0.0))


async def _take_back(stage: PageStage, change: Change) -> None:
    """Whoever has held wants to talk again, and asks for it as often as it takes."""
    if change in _PHONES:
        stage.phone.unhold()
    elif change in _PAGES and isinstance(stage.page, Softphone) and stage.page.is_up:
        with suppress(BrowserError, TimeoutError):
            await stage.page.hold(False)


async def _fate(stage: KeyedStage, change: Change, changing: asyncio.Task[None]) -> tuple[Fate, str]:
    try:
        async with asyncio.timeout(SETTLED):
            await asyncio.wait([changing], timeout=SOON)
            while not stage.are_over:
                await _take_back(stage, change)
                if await _is_heard(stage, change):
                    repeated = stage.repeated
                    return (Fate.LOST, f"used again: {repeated}") if repeated else (Fate.KEPT, "")
    except (TimeoutError, BrowserError, PhoneError, ClientError) as error:
        return Fate.LOST, f"{stage.state} {error!r}"
    return Fate.ENDED, stage.state


async def _die(stage: KeyedStage, change: Change, at: Message) -> Aftermath:
    """Kill the plane there, and see what becomes of the call."""
    plane, died = plane_of(str(stage.folder)), 0.0
    assert plane is not None

    def strike() -> None:
        nonlocal died
        os.kill(plane, signal.SIGKILL)
        died = time.monotonic()
        stage.plane_dies()

    async with stage.call(Kind.PAGE):
        stage.strike = strike
        async with asyncio.timeout(SETTLED):
            await _prepared(stage, change)
        stage.at = at
        changing = asyncio.create_task(_change(stage, change))
        async with asyncio.timeout(SETTLED):
            await asyncio.wait([changing, asyncio.create_task(stage.struck.wait())], return_when="FIRST_COMPLETED")
        assert stage.struck.is_set(), f"there was no {at}"
        fate, told = await _fate(stage, change, changing)
        seconds = time.monotonic() - died
        await given_up(changing)
        try:
            async with asyncio.timeout(SETTLED):
                await _over(stage)
        except TimeoutError:
            return Aftermath(Fate.LOST, f"{told} does not end: {stage.state}", seconds)
    return Aftermath(fate, told, seconds)


async def _prepared(stage: PageStage, change: Change) -> None:
    """A call that is up, and held where it is to be taken back; messages count from there."""
    await stage.dial()
    await stage.until(lambda: any(each.what == "ACK" for each in stage.passed))
    for held, before in ((Change.PHONE_TAKES_BACK, Change.PHONE_HOLDS), (Change.PAGE_TAKES_BACK, Change.PAGE_HOLDS)):
        if change is held:
            await _change(stage, before)
    stage.begin()


async def _over(stage: PageStage) -> None:
    """Whoever still has the call hangs up."""
    if stage.page.is_up:
        await stage.page.hang_up()
    elif stage.phone.calls:
        stage.phone.hangup()
    await stage.until(lambda: stage.are_over)
    await stage.is_forgotten()


async def deaths_of_planes(
    folder: Path, chosen: Callable[[Change, Message], bool], changes: Sequence[Change] = tuple(Change)
) -> AsyncIterator[tuple[Change, Message, Aftermath]]:
    """The plane dies at every message of each change that is chosen: what became of the call.

    Raises AssertionError where the gateway logged an exception.
    """
    srtp = {"RTP__SRTP": "required", "RTP__SRTP_KEYING": "sdes"}
    with mock.patch.dict(os.environ, PHONE_SRTP="1"):
        async with environment(folder, **srtp) as parts, KeyedStage(folder, *parts) as stage:
            for change in changes:
                async with stage.call(Kind.PAGE), asyncio.timeout(SETTLED):
                    await _prepared(stage, change)
                    await _change(stage, change)
                    passed = lasting(stage.passed)
                    await _over(stage)
                for message in passed:
                    if chosen(change, message):
                        yield change, message, await _die(stage, change, message)
            faults = stage.gateway.faults()
            assert not faults, faults[0]
