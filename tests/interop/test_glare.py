"""Both ends of a call change it in the same moment, again and again; pjsua2 is both phones."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.call.call import Call
from gateway.demo.phone import DeskPhone
from gateway.net.tap import Direction
from gateway.sip.flow import Flow
from tests.interop.gateway import PHONE_HZ, Gateway, config_on_free_ports, gateway_with
from tests.media.engine_support import until
from tests.media.rtpengine_support import shared

pytestmark = [pytest.mark.wall, pytest.mark.nightly, pytest.mark.timeout(300)]

OTHER_HZ = 600
CALLS = 4
"""At once."""
CROSSINGS = 25
"""Of each kind, in each call."""
_PASSWORD = "of-each-phone-0815"


class Statuses:
    """A tap that counts what re-INVITEs are answered, by way and status, and keeps what no re-INVITE should be."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[Direction, bytes]] = Counter()
        self.strange: list[tuple[Direction, str]] = []

    def message(self, direction: Direction, data: bytes, flow: Flow, time: float) -> None:
        if data.startswith(b"SIP/2.0 ") and b" INVITE\r\n" in data:
            self.seen[direction, data[8:11]] += 1
            if data[8:11] in (b"481", b"500"):
                self.strange.append((direction, data.decode()))


async def called(gateway: Gateway, number: int) -> tuple[DeskPhone, DeskPhone, Call]:
    """Two phones that talk, and their call."""
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
    call = next(each for each in gateway.app.calls if each.caller.identity == f"20{number}")
    return one, other, call


async def changed(call: Call, phones: tuple[DeskPhone, DeskPhone], *hold: bool) -> None:
    """Have the phones hold or come back in one moment, the caller first, and wait until the call is as both want."""
    assert call.bridge is not None
    tags = [leg.party.tag for leg in call.bridge.legs]
    for phone, tag, wish in zip(phones, tags, hold, strict=True):
        if wish is not (tag in call.bridge.holding):
            (phone.hold if wish else phone.unhold)()
    await until(is_settled(call, {tag for tag, wish in zip(tags, hold, strict=True) if wish}))


def is_settled(call: Call, holding: set[str]) -> Callable[[], bool]:
    """Whether nothing is under way in a call any more, and these legs hold the other."""

    def settled() -> bool:
        bridge = call.bridge
        return bridge is not None and bridge.exchange is None and bridge.holding == holding

    return settled


async def crossed(one: DeskPhone, other: DeskPhone, call: Call, times: int) -> None:
    """They hold and come back against each other, in each of four kinds, hear each other in the end, and hang up."""
    kinds = [(True, True), (False, False), (True, False), (False, True), (True, False), (False, False)]
    for caller, callee in kinds * times:
        await changed(call, (one, other), caller, callee)
    for phone in (one, other):
        await phone.listen()
    await asyncio.gather(one.expect("tone", 30), other.expect("tone", 30))
    one.hangup()
    await asyncio.gather(one.expect("state", 30, state="ended"), other.expect("state", 30, state="ended"))


@pytest.mark.parametrize(("engine", "times"), [("embedded", CROSSINGS), ("rtpengine", 5)])
async def test_both_ends_offer_at_once_and_no_wish_is_lost(tmp_path: Path, engine: str, times: int) -> None:
    """RFC 3261 section 14, with phones that repeat nothing: the gateway refuses none of theirs, and repeats its own."""
    if engine == "rtpengine":
        engine = "rtpengine:{}:{}".format(*shared().address)
    names = [f"{side}0{number}" for side in (2, 3) for number in range(CALLS)]
    users = json.dumps([{"id": name, "sip": True, "password": _PASSWORD} for name in names])
    config = config_on_free_ports(tmp_path, USERS=users, MEDIA__ENGINE=engine)
    async with gateway_with(config, tmp_path / "gateway.log") as gateway:
        statuses = Statuses()
        gateway.app._user_agent.taps.add(statuses)
        calls = [await called(gateway, number) for number in range(CALLS)]
        async with asyncio.TaskGroup() as group:
            for one, other, call in calls:
                group.create_task(crossed(one, other, call, times))
        assert statuses.seen[Direction.IN, b"491"] > CALLS * times / 10
        assert statuses.seen[Direction.OUT, b"491"] == 0
        assert statuses.strange == []
        await gateway.idle()
