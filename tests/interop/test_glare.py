"""Both ends of a call change it in the same moment, again and again; pjsua2 is both phones."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from gateway.demo.phone import DeskPhone, PhoneError
from gateway.net.tap import Direction
from gateway.sip.flow import Flow
from tests.interop.gateway import PHONE_HZ, config_on_free_ports, gateway_with

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(180)]

OTHER_HZ = 600
CROSSINGS = 15
"""A hundred take a minute and more."""
_AGAIN = 4
"""How often a phone comes back from its hold at most: pjsua2 does not try again what was answered 491."""


class Statuses:
    """A tap that counts what re-INVITEs are answered, either way."""

    def __init__(self) -> None:
        self.seen: Counter[bytes] = Counter()

    def message(self, direction: Direction, data: bytes, flow: Flow, time: float) -> None:
        if data.startswith(b"SIP/2.0 ") and b" INVITE\r\n" in data:
            self.seen[data[8:11]] += 1


async def both(one: DeskPhone, other: DeskPhone, verb: str) -> None:
    """At once; until both have begun."""
    for phone in (one, other):
        getattr(phone, verb)()
    await asyncio.gather(one.listen(), other.listen())


async def test_both_ends_offer_at_once_again_and_again(tmp_path: Path) -> None:
    """RFC 3261 section 14: some are refused with 491, none ends the call, and both are heard once both are back."""
    async with gateway_with(config_on_free_ports(tmp_path), tmp_path / "gateway.log") as gateway:
        statuses = Statuses()
        gateway.app._user_agent.taps.add(statuses)
        one, other = await gateway.phone("1001", PHONE_HZ), await gateway.phone("1002", OTHER_HZ)
        for phone in (one, other):
            phone.codecs("PCMU")
        other.on_incoming(200)
        one.dial(gateway.uri("1002"))
        await one.expect("state", state="answered")
        await asyncio.gather(one.expect("tone", 30), other.expect("tone", 30))
        for number in range(CROSSINGS):
            await both(one, other, ("hold", "unhold")[number % 2])
        for _ in range(_AGAIN):
            # One after the other: what the gateway tries again meanwhile may cross as well.
            for phone in (one, other):
                phone.unhold()
                await phone.listen()
            try:
                await asyncio.gather(one.expect("tone"), other.expect("tone"))
                break
            except PhoneError:
                continue
        else:
            pytest.fail("they do not hear each other any more")
        assert statuses.seen[b"491"] > 0
        assert statuses.seen[b"481"] == statuses.seen[b"500"] == 0
        one.hangup()
        await asyncio.gather(one.expect("state", 30, state="ended"), other.expect("state", 30, state="ended"))
        await gateway.idle()
