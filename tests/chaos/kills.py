"""Kill the gateway, its packet plane, or both, again and again, with calls of real phones and of a page up."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from rich.table import Table

from gateway.demo.chromium import BrowserError
from gateway.demo.phone import DeskPhone, PhoneError
from tests.chaos.fates import Fate
from tests.interop.gateway import PHONE_HZ, RpcBrowser
from tests.interop.house import OTHER_HZ, House, hear_each_other, house, talk

KILLS = 20
MOST = 1000
_A_KILL = 60.0
"""Seconds that each may take on the average, with the calls set up before it and looked after behind it."""
AGREED = "input=offer-answered"
_PATIENCE = 30.0
"""Seconds in which a call is up."""


class Kill(StrEnum):
    """What gets SIGKILL."""

    GATEWAY = "gateway"
    PLANE = "plane"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one kill."""

    kill: Kill
    fates: tuple[Fate, ...]
    back: float
    """Seconds of wall clock until SIP was answered again; for the plane, until all four sides had agreed anew."""


class Held(Protocol):
    """A call that is looked after."""

    async def set_up(self) -> None:
        """Dial, and hear each other."""

    async def talk(self) -> None:
        """Hear each other; raises where they do not."""

    async def told(self) -> None:
        """Hear on both sides that it is over; raises where they do not."""

    async def hang_up(self) -> None:
        """End it, which both sides hear."""


class PhonesCall:
    """1001 talks with 1002."""

    def __init__(self, one: DeskPhone, other: DeskPhone) -> None:
        self._one, self._other = one, other

    async def set_up(self) -> None:
        for phone in (self._one, self._other):
            phone.seen.clear()
        self._one.dial("sip:1002@gateway.example")
        for phone in (self._one, self._other):
            await phone.expect("state", _PATIENCE, state="answered")
        await self.talk()

    async def talk(self) -> None:
        await talk(self._one, self._other)

    async def told(self) -> None:
        await asyncio.gather(_told(self._one), _told(self._other))

    async def hang_up(self) -> None:
        self._one.hangup()
        await self.told()


class PagesCall:
    """Alice's page talks with 1003."""

    def __init__(self, gateway: House, phone: DeskPhone) -> None:
        self._gateway, self._phone = gateway, phone
        self._page = AsyncExitStack()
        self._browser: RpcBrowser
        self._state: object = None
        """Of the call, as the page that came back was told."""

    async def set_up(self) -> None:
        await self.close()
        self._state = None
        self._phone.seen.clear()
        self._browser = await self._page.enter_async_context(self._gateway.browser())
        await self._browser.dial("1003")
        await self._phone.expect("state", state="answered")
        await self.talk()

    async def come_back(self) -> None:
        """Connect again, and name the call."""
        self._state = (await self._gateway.take_back(self._browser))["state"]

    async def talk(self) -> None:
        await hear_each_other(self._browser, self._phone)

    async def told(self) -> None:
        await _told(self._phone)
        if self._state != "ended":
            await self._browser.status("ready")

    async def hang_up(self) -> None:
        await self._browser.hang_up()
        await _told(self._phone)

    async def close(self) -> None:
        """Close the page."""
        await self._page.aclose()


async def _told(phone: DeskPhone) -> None:
    if not any(event.name == "state" and event.details["state"] == "ended" for event in phone.seen):
        await phone.expect("state", state="ended")


async def _fate(call: Held) -> Fate:
    for fate, way in ((Fate.KEPT, call.talk), (Fate.ENDED, call.told)):
        with suppress(PhoneError, BrowserError, AssertionError):
            await way()
            return fate
    return Fate.LOST


async def _strike(gateway: House, kill: Kill) -> None:
    """Kill and start again; the plane is started by its gateway, which offers its calls again."""
    if kill is Kill.PLANE:
        plane, agreed = gateway.plane, gateway.log.read_text(encoding="utf-8").count(AGREED)
        assert plane is not None
        os.kill(plane, signal.SIGKILL)
        await _agreed(gateway, agreed)
        return
    await gateway.kill()
    if kill is Kill.BOTH:
        await gateway.kill_plane()
    await gateway.start()


async def _agreed(gateway: House, before: int) -> None:
    """Wait until both sides of both calls have agreed to what they were offered; whether they have shows later."""
    with suppress(TimeoutError):
        await gateway.logged(AGREED, before + 4)


async def strikes(folder: Path, kills: Sequence[Kill]) -> AsyncIterator[Outcome]:
    """Each of them on a gateway with two calls up: those that it has left, and new ones for those that it has not.

    Raises what phones and pages raise where a call cannot be set up any more, or TimeoutError.
    """
    async with asyncio.timeout(_A_KILL * (len(kills) + 1)), house(folder) as gateway, AsyncExitStack() as stack:
        phones = (("1001", PHONE_HZ), ("1002", OTHER_HZ), ("1003", PHONE_HZ))
        one, other, third = [await gateway.phone(user, hz) for user, hz in phones]
        between, page = PhonesCall(one, other), PagesCall(gateway, third)
        stack.push_async_callback(page.close)
        calls: list[Held] = [between, page]
        for call in calls:
            await call.set_up()
        for kill in kills:
            began = time.monotonic()
            await _strike(gateway, kill)
            back = time.monotonic() - began
            if kill is not Kill.PLANE:
                back = gateway.recoveries[-1].signalling
                await page.come_back()
            if kill is Kill.BOTH:
                await _agreed(gateway, 0)
            fates = [await _fate(call) for call in calls]
            for call, fate in zip(calls, fates, strict=True):
                if fate is not Fate.KEPT:
                    await call.set_up()
            yield Outcome(kill, tuple(fates), back)
        for call in calls:
            await call.hang_up()


def table(outcomes: Sequence[Outcome], what: str = "Calls of real phones and of a page") -> Table:
    """A line for each kind of kill."""
    made = Table(title=f"{what}, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for name in ("killed", "times", "calls up", *Fate, "back after, p50", "max"):
        made.add_column(name, justify="left" if name == "killed" else "right")
    for kill in Kill:
        mine = [each for each in outcomes if each.kill is kill]
        if mine:
            fates = [fate for each in mine for fate in each.fates]
            backs = [each.back for each in mine]
            figures = [len(mine), len(fates), *(fates.count(fate) for fate in Fate)]
            made.add_row(kill, *map(str, figures), f"{statistics.median(backs):.2f} s", f"{max(backs):.2f} s")
    return made


def is_kept(outcomes: Sequence[Outcome]) -> bool:
    """Whether nothing was lost: no death ends a call."""
    return all(set(each.fates) <= {Fate.KEPT} for each in outcomes)
