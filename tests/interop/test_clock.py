"""Somebody sets the clock of a machine, while its gateway is dead and in mid call: no call ends, no record is false."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.app.ws_phone import UdpPhone
from tests.chaos.clock import Clock
from tests.interop.gateway import PASSWORDS, PHONE_HZ
from tests.interop.house import OTHER_HZ, House, talk, two_phones
from tests.interop.stranger import stranger
from tests.media.plane_rig import until

pytestmark = [pytest.mark.wall, pytest.mark.serial, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
DAY, HOUR = 86_400.0, 3_600.0
DRAINS, LATE = 4.0, 3.0
"""`limits.drain_timeout` of one that nobody's hang-up ends, and how much later that may be seen: seconds."""
HANG_UP = "from pathlib import Path\nfrom tests.chaos.clock import Clock\nClock(Path({file!r})).hang_up()\n"


def with_clock(folder: Path) -> tuple[Clock, str]:
    """A clock, and the PYTHONPATH with which processes look at it."""
    clock, site = Clock(folder / "clock"), folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(HANG_UP.format(file=str(clock.file)))
    return clock, f"{site}:{ROOT}"


@asynccontextmanager
async def house_with_clock(folder: Path, **changes: str) -> AsyncIterator[tuple[House, Clock]]:
    """A gateway that looks at a clock of ours."""
    async with AsyncExitStack() as stack:
        clock, path = with_clock(folder)
        gateway = House(folder / "state", stack, CDR__ENABLED="true", **changes)
        (folder / "state").mkdir()
        gateway.environ["PYTHONPATH"] = path
        stack.push_async_callback(gateway.close)
        await gateway.start()
        yield gateway, clock


@pytest.mark.parametrize("sign", [1, -1])
async def test_a_call_goes_on_under_another_clock(tmp_path: Path, sign: int) -> None:
    """Over two deaths, and again when it is set right; its record says how long it was, and phones can register."""
    limits = {"LIMITS__MAX_CALL_DURATION": "3600", "LIMITS__DRAIN_TIMEOUT": "600"}
    async with house_with_clock(tmp_path, **limits) as (gateway, clock):
        one, other = await two_phones(gateway)
        for offset in (DAY, HOUR):
            await gateway.kill()
            clock.offset = sign * offset
            await gateway.start()
            await talk(one, other)
        third = await gateway.phone("1003", PHONE_HZ)  # is challenged, and known
        third.dial("sip:600@gateway.example")
        await third.expect("state", state="answered")
        clock.offset = 0.0
        await talk(one, other)
        for phone in (one, third):
            phone.hangup()
            await phone.expect("state", state="ended")
        await other.expect("state", state="ended")
        await until(lambda: len(gateway.records()) == 2)
        for record in gateway.records():
            assert record["cause"] == "normal"
            assert 0.0 < record["seconds"] < 120.0
        again = await gateway.phone("1003", OTHER_HZ)
        one.dial("sip:1003@gateway.example")
        await again.expect("state", state="answered")


async def test_a_drain_ends_with_its_last_call_whatever_the_clock_says(tmp_path: Path) -> None:
    """Set and set again: nobody is hung up on, whoever registers is challenged once more, the record is right."""
    limits = {"LIMITS__DRAIN_TIMEOUT": "600", "LIMITS__MAX_CALL_DURATION": "3000"}
    async with house_with_clock(tmp_path, **limits) as (gateway, clock), stranger() as socket:
        one, other = await two_phones(gateway)
        third = UdpPhone(socket, ("127.0.0.1", gateway.sip), "1003", "gateway.example", PASSWORDS["1003"])
        contact = f"sip:1003@{socket.place[0]}:{socket.place[1]}"
        assert (await third.register(contact=contact)).status == 200
        await gateway.drain()
        offsets = (HOUR, -HOUR, DAY, -DAY, 0.0)
        for seconds in offsets:
            clock.offset = seconds
            assert (await third.register(contact=contact)).status == 200  # its nonce is of another time
            one.hold()
            one.unhold()
            await talk(one, other)
            assert (await gateway.health())["status"] == "draining"
        assert third.challenges == 1 + len(offsets)
        one.hangup()
        ended = time.monotonic()
        await asyncio.gather(*(phone.expect("state", state="ended") for phone in (one, other)))
        assert await gateway.ended() == 0
        assert time.monotonic() - ended < LATE
        [record] = gateway.records()
        assert record["cause"] == "normal"
        assert 0.0 < record["seconds"] < 120.0


async def test_a_drain_lasts_no_longer_and_no_shorter_under_another_clock(tmp_path: Path) -> None:
    """`limits.drain_timeout` is seconds that have passed; first the clock is set on, then back."""
    async with house_with_clock(tmp_path, LIMITS__DRAIN_TIMEOUT=f"{DRAINS}") as (gateway, clock):
        one, other = await two_phones(gateway)
        began = time.monotonic()
        await gateway.drain()
        clock.offset = HOUR
        await talk(one, other)
        clock.offset = -DAY
        await asyncio.gather(*(phone.expect("state", state="ended") for phone in (one, other)))
        assert DRAINS <= time.monotonic() - began < DRAINS + LATE
        assert await gateway.ended() == 0
