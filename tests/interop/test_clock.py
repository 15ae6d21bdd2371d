"""Somebody sets the clock of a machine, while its gateway is dead and in mid call: no call ends, no record is false."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.chaos.clock import Clock
from tests.interop.gateway import PHONE_HZ
from tests.interop.house import OTHER_HZ, House, talk
from tests.media.plane_rig import until

pytestmark = [pytest.mark.peer, pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
HANG_UP = "from pathlib import Path\nfrom tests.chaos.clock import Clock\nClock(Path({file!r})).hang_up()\n"


def with_clock(folder: Path) -> tuple[Clock, str]:
    """A clock, and the PYTHONPATH with which processes look at it."""
    clock, site = Clock(folder / "clock"), folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(HANG_UP.format(file=str(clock.file)))
    return clock, f"{site}:{ROOT}"


@pytest.mark.parametrize("offset", [86_400.0, -86_400.0])
async def test_a_call_goes_on_under_another_clock(tmp_path: Path, offset: float) -> None:
    """Over a death, and again when it is set right; its record says how long it was, and phones can register."""
    async with AsyncExitStack() as stack:
        clock, path = with_clock(tmp_path)
        limits = {"LIMITS__MAX_CALL_DURATION": "3600", "CDR__ENABLED": "true", "LIMITS__DRAIN_TIMEOUT": "600"}
        gateway = House(tmp_path / "state", stack, **limits)
        (tmp_path / "state").mkdir()
        gateway.environ["PYTHONPATH"] = path
        stack.push_async_callback(gateway.close)
        await gateway.start()
        one, other = await gateway.phone("1001", PHONE_HZ), await gateway.phone("1002", OTHER_HZ)
        one.dial("sip:1002@gateway.example")
        for phone in (one, other):
            await phone.expect("state", state="answered")
        await talk(one, other)
        await gateway.kill()
        clock.offset = offset
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
