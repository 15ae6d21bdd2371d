"""Example 8: two SIP clients register at a gateway, hear its tone, call each other, and go."""

from __future__ import annotations

from gateway.lesson import check, run

import asyncio
import tempfile

from client import CallError, SipClient
from silence import call_silence

from gateway import Gateway, net
from gateway.testing import loopback_config


def near(heard: float, hz: float | None) -> bool:
    """Whether a frequency that was heard is the one that was said."""
    return hz is not None and abs(heard - hz) <= 15


async def hear_the_tone(client: SipClient) -> None:
    print("2. 1001 dials 601, the gateway's steady tone")
    call = client.dial("601")
    await call.expect(net.Answered)
    heard = await call.sound.tone("the gateway")
    check(near(heard, 440), f"heard {heard:.0f} Hz, 440 expected")
    call.hangup()
    check((await call.expect(net.Ended)).by == "local", "1001 hung up")


async def call_each_other(caller: SipClient, callee: SipClient) -> None:
    print("3. 1002 calls 1001")
    outgoing = caller.dial("1001")
    check((await outgoing.expect(net.Provisional)).status == 180, "1002 hears it ring")
    incoming = await callee.rings()
    check(incoming.session.remote.uri.username == "1002", "1001 sees who calls")
    incoming.answer()
    await outgoing.expect(net.Answered)
    there, here = await asyncio.gather(incoming.sound.tone("1002"), outgoing.sound.tone("1001"))
    check(near(there, caller.hz), f"1001 hears {there:.0f} Hz, which 1002 says")
    check(near(here, callee.hz), f"1002 hears {here:.0f} Hz, which 1001 says")
    incoming.hangup()
    check((await outgoing.expect(net.Ended)).by == "remote", "1001 hangs up, and 1002 is told")


async def refused(phone: SipClient) -> str:
    """Why it cannot register."""
    try:
        await phone.sign_in()
    except CallError as error:
        return str(error)
    return "it can"


async def not_there(caller: SipClient, number: str, status: int) -> None:
    call = caller.dial(number)
    failed = await call.expect(net.Failed)
    check(failed.status == status, f"{number}: {failed.status} {failed.reason}")


async def main() -> None:
    users = [{"id": "1001", "sip": True}, {"id": "1002", "sip": True}]
    with tempfile.TemporaryDirectory() as folder:
        async with Gateway(loopback_config(folder, users)) as gateway:
            await phones(gateway)
    nobody_at_all()


async def phones(gateway: Gateway) -> None:
    domain, place = gateway.config.domain, gateway.sip_address
    async with (
        SipClient("1001", gateway.password("1001"), domain, place, hz=523) as first,
        SipClient("1002", gateway.password("1002"), domain, place, hz=784) as second,
        SipClient("1001", "a guess", domain, place, hz=1000) as guesser,
    ):
        print(f"1. Registering at {place}")
        registrations = await asyncio.gather(first.sign_in(), second.sign_in())
        check(all(one.registered for one in registrations), f"for {registrations[0].expires} s each")
        check("401" in await refused(guesser), "not with a wrong password")
        await hear_the_tone(first)
        await call_each_other(second, first)
        print("4. Who is not there")
        await not_there(second, "999", 404)
        await registrations[0].unregister()
        await not_there(second, "1001", 480)


def nobody_at_all() -> None:
    print("5. A peer that never says a word")
    times, end, status = call_silence()
    print(f"  the INVITE is sent after {', '.join(f'{time:g}' for time in times)} s")
    check(times == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5], "each wait is twice the one before (timer A)")
    check((end, status) == (32, 408), f"after {end:g} s the call is given up: {status} (timer B)")


if __name__ == "__main__":
    run(main, __doc__, log=True, seconds=60)
