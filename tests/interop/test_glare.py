"""Both ends of a call change it in the same moment, again and again; pjsua2 is both phones."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from gateway.demo.phone import DeskPhone, PhoneError
from gateway.net.tap import Direction
from gateway.sip.flow import Flow
from tests.interop.gateway import PHONE_HZ, Gateway, config_on_free_ports, gateway_with

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(180)]

OTHER_HZ = 600
CALLS = 5
"""At once: a crossing takes a second, most of which is the wait of whoever was refused (RFC 3261 section 14.1)."""
CROSSINGS = 20
"""Of each."""
_PASSWORD = "of-each-phone-0815"
_AGAIN = 4
"""How often a phone comes back from its hold at most: pjsua2 does not try again what was answered 491."""


class Statuses:
    """A tap that counts what re-INVITEs are answered, either way, and keeps what no re-INVITE should be."""

    def __init__(self) -> None:
        self.seen: Counter[bytes] = Counter()
        self.strange: list[tuple[Direction, str]] = []

    def message(self, direction: Direction, data: bytes, flow: Flow, time: float) -> None:
        if data.startswith(b"SIP/2.0 ") and b" INVITE\r\n" in data:
            self.seen[data[8:11]] += 1
            if data[8:11] in (b"481", b"500"):
                self.strange.append((direction, data.decode()))


async def called(gateway: Gateway, number: int) -> tuple[DeskPhone, DeskPhone]:
    """Two phones that talk."""
    phones = []
    for user, hz in ((f"20{number}", PHONE_HZ), (f"30{number}", OTHER_HZ)):
        phone = await gateway.spare_phone()
        phone.speak(hz)
        phone.codecs("PCMU")
        await phone.register(user, _PASSWORD, gateway.config.domain, gateway.app.sip_hostport)
        phones.append(phone)
    one, other = phones
    other.on_incoming(200)
    one.dial(gateway.uri(f"30{number}"))
    await one.expect("state", state="answered")
    await asyncio.gather(one.expect("tone", 30), other.expect("tone", 30))
    return one, other


async def both(one: DeskPhone, other: DeskPhone, verb: str) -> None:
    """At once; until both have begun."""
    for phone in (one, other):
        getattr(phone, verb)()
    await asyncio.gather(one.listen(), other.listen())


async def crossed(one: DeskPhone, other: DeskPhone) -> None:
    """They hold and come back, again and again, hear each other in the end, and hang up."""
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
    one.hangup()
    await asyncio.gather(one.expect("state", 30, state="ended"), other.expect("state", 30, state="ended"))


async def test_both_ends_offer_at_once_again_and_again(tmp_path: Path) -> None:
    """RFC 3261 section 14: some are refused with 491, none ends the call, and both are heard once both are back."""
    names = [f"{side}0{number}" for side in (2, 3) for number in range(CALLS)]
    users = json.dumps([{"id": name, "sip": True, "password": _PASSWORD} for name in names])
    async with gateway_with(config_on_free_ports(tmp_path, USERS=users), tmp_path / "gateway.log") as gateway:
        statuses = Statuses()
        gateway.app._user_agent.taps.add(statuses)
        calls = [await called(gateway, number) for number in range(CALLS)]
        async with asyncio.TaskGroup() as group:
            for one, other in calls:
                group.create_task(crossed(one, other))
        assert statuses.seen[b"491"] > CALLS * CROSSINGS / 10
        assert statuses.strange == []
        await gateway.idle()
