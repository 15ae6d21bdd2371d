"""kill -9 of the gateway at every message by which a page's call is set up, taken back after a cut, and ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from gateway.client.errors import ClientError
from gateway.demo.chromium import BrowserError
from gateway.demo.phone import PhoneError
from tests.chaos.fates import Fate
from tests.chaos.messages import Aftermath, Death, deaths
from tests.chaos.page_calls import Softphone
from tests.chaos.page_stage import SETTLED, Kind, PageStage, environment, given_up, lasting
from tests.chaos.wire import Message

_ANSWERED = {
    Kind.PAGE: Message("page", False, "call_state answered"),
    Kind.PHONE: Message("phone", False, "200 INVITE"),
    Kind.PROGRAM: Message("page", False, "200 GET /webrtc/sessions answered"),
}
"""By which the caller knows that the call is up: from there on it goes on."""
_ENDED = {
    Kind.PAGE: Message("page", True, "disconnect"),
    Kind.PHONE: Message("phone", True, "BYE"),
    Kind.PROGRAM: Message("page", True, "POST /webrtc/close"),
}


async def _talk(stage: PageStage) -> None:
    """A call that is set up, whose page loses its socket and comes back, and that is hung up."""
    await stage.dial()
    await stage.until(lambda: any(each.what == "ACK" and each.side == "phone" for each in stage.passed))
    if isinstance(stage.page, Softphone):
        await stage.page.come_back()
    if stage.struck.is_set():
        return  # who hears of its call in the moment of the death hangs up no more
    await stage.hang_up()
    await stage.until(lambda: any(each.what == "200 BYE" for each in stage.passed))


async def _die(stage: PageStage, kind: Kind, death: Death) -> tuple[Aftermath, bool]:
    """Kill the gateway there, start the next, and see what becomes of the call; whether that may be."""
    async with stage.call(kind):
        stage.at, stage.lost = death.at, death.lost
        talking = asyncio.create_task(_talk(stage))
        async with asyncio.timeout(SETTLED):
            await asyncio.wait([talking, asyncio.create_task(stage.struck.wait())], return_when="FIRST_COMPLETED")
        assert stage.struck.is_set(), f"there was no {death.at}"
        await given_up(talking)
        await stage.gateway.kill()
        await stage.gateway.start()
        began = time.monotonic()
        fate, told = await _fate(stage)
        return Aftermath(fate, told, time.monotonic() - began), fate in _allowed(kind, stage.before)


async def _fate(stage: PageStage) -> tuple[Fate, str]:
    try:
        async with asyncio.timeout(SETTLED):
            await stage.page.come_back()
            await stage.until(lambda: stage.are_up or stage.are_over)
            told, was_up = stage.state, stage.are_up
            if was_up:
                await stage.hear_each_other()
                await stage.hang_up()
            await stage.is_forgotten()
    except (TimeoutError, BrowserError, PhoneError, ClientError) as error:
        return Fate.LOST, f"{stage.state} {error!r}"
    return (Fate.KEPT, "") if was_up else (Fate.ENDED, told)


def _allowed(kind: Kind, passed: Sequence[Message]) -> set[Fate]:
    """Of a call whose messages passed so far, the last of them as the gateway died."""
    if _ENDED[kind] in passed:
        return {Fate.ENDED}
    return {Fate.KEPT} if _ANSWERED[kind] in passed else {Fate.KEPT, Fate.ENDED}


async def deaths_of_page_calls(
    folder: Path, chosen: Callable[[Kind, Death], bool], kinds: Sequence[Kind] = tuple(Kind)
) -> AsyncIterator[tuple[Kind, Death, Aftermath, bool]]:
    """Every death of a call of each kind that is chosen, what became of it, and whether that may be.

    Raises AssertionError where a gateway logged an exception.
    """
    async with environment(folder) as parts, PageStage(folder, *parts) as stage:
        for kind in kinds:
            async with stage.call(kind), asyncio.timeout(SETTLED):
                await _talk(stage)
                passed = lasting(stage.passed)
            for death in deaths(passed):
                if chosen(kind, death):
                    yield kind, death, *await _die(stage, kind, death)
        faults = stage.gateway.faults()
        assert not faults, faults[0]
