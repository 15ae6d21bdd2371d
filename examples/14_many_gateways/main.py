"""Example 14: two gateways behind Kamailio share a Redis and an rtpengine; one is killed, and no call is lost."""

from __future__ import annotations

from gateway.lesson import check, run, within

import asyncio
import json
import secrets
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from machines import gateway, kamailio, redis, rtpengine
from waits import HOST, has_calls, said

from gateway import net
from gateway.testing import free_ports

# The phones are the client that example 8 has built.
sys.path.append(str(Path(__file__).resolve().parents[1] / "08_sip_client"))

from client import Call, SipClient

DOMAIN = "gateway.local"
PASSWORD = "secret-of-every-phone-here"
VOICES = {"1001": 500, "1002": 700, "1003": 900}
"""The tone in Hz that each phone says."""


def settings(folder: Path, port: int, web: int, key: str, store: str, media: str) -> dict[str, str]:
    """What gateway.yaml would say; but for addresses and folder it is the same for all."""
    [webrtc] = free_ports(1)
    users = [{"id": user, "sip": True, "password": PASSWORD} for user in VOICES]
    return {
        "SIP__LISTEN": f'["udp:{HOST}:{port}", "tcp:{HOST}:{port}"]',
        "WEB__LISTEN": f"{HOST}:{web}",
        "METRICS__ENABLED": "true",
        "WEBRTC__LISTEN": f"{HOST}:{webrtc}",
        "STATE_DIR": str(folder / str(port)),
        "USERS": json.dumps(users),
        "IDENTITY__STORE": store,
        "CLUSTER__NODE": f"sip:{HOST}:{port}",
        "CLUSTER__KEY": key,
        "CLUSTER__INTERVAL": "0.5",
        "CLUSTER__JOURNAL": store,
        "MEDIA__ENGINE": f"rtpengine:{media}",
    }


async def call(phones: dict[str, SipClient], caller: str, callee: str) -> tuple[Call, Call]:
    """One phone calls another; both have to hear the other's tone."""
    ours = phones[caller].dial(callee)
    theirs = await phones[callee].rings(12)
    theirs.answer()
    await ours.expect(net.Answered)
    await talk((caller, ours), (callee, theirs))
    return ours, theirs


async def talk(one: tuple[str, Call], other: tuple[str, Call]) -> None:
    """Both have to hear the other's tone, of now."""
    for (who, call), (whom, _) in ((one, other), (other, one)):
        call.sound.listen()
        heard = await call.sound.tone(whom)
        check(abs(heard - VOICES[whom]) <= 15, f"{who} hears {heard:.0f} Hz, which {whom} says")


def gateway_of(one: Call) -> str:
    """The gateway that has the call, as the phone sees it: by its Contact."""
    assert one.session.dialog is not None
    contact = one.session.dialog.remote_target
    return f"{contact.host}:{contact.port}"


async def moved(gateway: str, *calls: Call) -> None:
    """Wait until all phones know that another gateway has their call."""
    async with within(10, f"the phones know {gateway}"):
        while any(gateway_of(one) != gateway for one in calls):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def hang_up(ours: Call, theirs: Call) -> None:
    ours.session.hangup()
    await theirs.expect(net.Ended)


async def lesson(folder: Path, stack: AsyncExitStack) -> None:
    enter = stack.enter_async_context
    key, store, media = secrets.token_hex(32), await enter(redis(folder)), await enter(rtpengine(folder))
    *ports, web_one, web_two = free_ports(4)
    one, _ = [
        await enter(gateway(folder, port, settings(folder, port, web, key, store, media)))
        for port, web in zip(ports, (web_one, web_two), strict=True)
    ]
    first, second = (f"{HOST}:{port}" for port in ports)
    proxy = await enter(kamailio(folder, [first, second]))
    print(f"1. Two gateways behind Kamailio at {proxy}, one Redis, one rtpengine")
    phones = {}
    for user, server in (("1001", proxy), ("1002", proxy), ("1003", second)):
        phones[user] = await enter(SipClient(user, PASSWORD, DOMAIN, server, VOICES[user]))
        check((await phones[user].sign_in()).registered, f"{user} is registered at {server}")
    await said(folder / f"gateway-{ports[0]}.log", "another gateway is there")

    print("2. 1001 calls 1002: the first gateway finds it by the proxy's Path")
    ours, theirs = await call(phones, "1001", "1002")
    check(gateway_of(ours) == first, f"the call is at the first gateway, {first}")
    await hang_up(ours, theirs)

    print("3. 1001 calls 1003, who is registered at the second gateway itself")
    ours, theirs = await call(phones, "1001", "1003")
    check((gateway_of(ours), gateway_of(theirs)) == (first, second), "the first gateway has sent it to the second")
    await hang_up(ours, theirs)

    print("4. 1001 calls 1002 again, and the first gateway is killed")
    ours, theirs = await call(phones, "1001", "1002")
    one.kill()
    await one.wait()
    await talk(("1001", ours), ("1002", theirs))
    check(await has_calls(web_two, 1), "the second gateway goes on with the call")
    await moved(second, ours, theirs)
    await talk(("1001", ours), ("1002", theirs))
    await hang_up(ours, theirs)
    check(await has_calls(web_two, 0), "1001 hangs up there, and the second is done with it")

    print("5. 1001 dials again, and nothing else is done")
    ours, theirs = await call(phones, "1001", "1003")
    check(gateway_of(ours) == second, f"Kamailio has sent it to the second gateway, {second}")
    await hang_up(ours, theirs)
    ours, theirs = await call(phones, "1001", "1002")
    check(gateway_of(theirs) == second, "1002 was registered by way of the first, and is found by the second")
    check(await has_calls(web_two, 1), "and it is the second that has the call")
    await hang_up(ours, theirs)
    check(await has_calls(web_two, 0), "both have hung up, and no call is left at the second")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            await lesson(Path(folder), stack)


if __name__ == "__main__":
    run(main, __doc__, log=True, seconds=100)
