"""Example 13: a conference. Three phones in a room hear each other; one is muted, one is sent out, one stays out."""

from __future__ import annotations

from gateway.lesson import check, run

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from api import Rooms

from gateway import Gateway, net
from gateway.testing import loopback_config

# The phones are the client that example 8 has built.
sys.path.append(str(Path(__file__).resolve().parents[1] / "08_sip_client"))

from client import Call, SipClient

ROOM = "team"
VOICES = {"1001": 500, "1002": 700, "1003": 900}
"""The tone in Hz that each of them says."""
USERS: list[dict[str, object]] = [{"id": user, "sip": True, "web": True} for user in (*VOICES, "1004")]
SETTINGS = {
    "ROUTES": json.dumps([{"match": "800", "to": f"room:{ROOM}"}]),
    "ROOMS": json.dumps([{"name": ROOM, "moderators": ["1001"], "tones": False}]),
}


def wrong(call: Call, others: tuple[str, ...]) -> list[str]:
    """Who of `others` is not heard loud by a phone, and who else is heard by it at all."""
    levels = {user: call.sound.level(hz) for user, hz in VOICES.items()}
    return [user for user, level in levels.items() if not (level > 0.3 if user in others else level < 0.03)]


async def hears(user: str, call: Call, *others: str) -> None:
    """Wait until a phone hears exactly these; TimeoutError with what it hears instead."""
    names = " and ".join(others) or "nobody"
    try:
        async with asyncio.timeout(8):
            while wrong(call, others):
                await call.sound.heard()
    except TimeoutError:
        told = " and ".join(f"{one} ({call.sound.level(VOICES[one]):.2f})" for one in wrong(call, others))
        raise TimeoutError(
            f"{user} should hear {names} and nobody else; within 8 s it does not for {told}: "
            "0.00 is a phone that is silent or muted; --verbose shows the gateway's log"
        ) from None
    levels = "   ".join(f"{hz} Hz {call.sound.level(hz):4.2f}" for hz in VOICES.values())
    check(not wrong(call, others), f"{user} hears {names:13} | {levels}")


async def everybody(calls: dict[str, Call], muted: str = "") -> None:
    """Each phone hears all the others who are not muted, and never itself."""
    for user, call in calls.items():
        await hears(user, call, *[other for other in calls if other not in (user, muted)])


async def join(phones: dict[str, SipClient], *users: str) -> dict[str, Call]:
    """They dial 800, and are let in."""
    calls = {user: phones[user].dial("800") for user in users}
    for call in calls.values():
        await call.expect(net.Answered)
    return calls


@asynccontextmanager
async def signed_in(gateway: Gateway, voices: Mapping[str, float | None]) -> AsyncIterator[dict[str, SipClient]]:
    """A phone for each of these users, with the tone in Hz that it says; None says nothing."""
    async with AsyncExitStack() as stack:
        phones = {}
        for user, hz in voices.items():
            one = SipClient(user, gateway.password(user), gateway.config.domain, gateway.sip_address, hz)
            phones[user] = await stack.enter_async_context(one)
            await one.sign_in()
        yield phones


async def conference(phones: dict[str, SipClient], rooms: Rooms) -> None:
    print("1. Three phones dial 800")
    calls = await join(phones, *VOICES)
    members = await rooms.members(ROOM)
    check(members.keys() == VOICES.keys(), f"in the room: {', '.join(sorted(members))}")
    print("2. Who hears whom")
    await everybody(calls)

    print("3. 1001, the moderator, mutes 1003")
    check(await rooms.change(ROOM, "mute", members["1003"]["id"]) == 204, "POST /api/rooms/team: 204")
    await everybody(calls, muted="1003")
    await rooms.change(ROOM, "unmute", members["1003"]["id"])
    await everybody(calls)

    print("4. The room is locked")
    await rooms.change(ROOM, "lock")
    failed = await phones["1004"].dial("800").expect(net.Failed)
    check(failed.status >= 400, f"1004 does not come in: {failed.status} {failed.reason}")

    print("5. 1002 is sent out, and the others hang up")
    await rooms.change(ROOM, "kick", members["1002"]["id"])
    check((await calls.pop("1002").expect(net.Ended)).by == "remote", "the gateway ends 1002's call")
    await everybody(calls)
    for call in calls.values():
        call.hangup()
        await call.expect(net.Ended)


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with Gateway(loopback_config(folder, USERS, **SETTINGS)) as gateway:
            await lesson(gateway)


async def lesson(gateway: Gateway) -> None:
    async with signed_in(gateway, VOICES | {"1004": 1100}) as phones:
        rooms = Rooms(gateway.page_url, "1001", gateway.password("1001"))
        await conference(phones, rooms)
        await gateway.idle()
        check(await rooms.members(ROOM) == {}, "with its last member the room is gone")
        again = await join(phones, "1004")
        check((await rooms.members(ROOM)).keys() == {"1004"}, "and the lock with it: 1004 comes in")
        again["1004"].hangup()
        await again["1004"].expect(net.Ended)


if __name__ == "__main__":
    run(main, __doc__, log=True, seconds=60)
