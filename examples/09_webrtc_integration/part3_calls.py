"""Part 3: the softphone page in Chromium and a desk phone call each other through a gateway."""

from __future__ import annotations

from gateway.lesson import check, run

import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

from chromium import near

from gateway import Gateway, net
from gateway.testing import loopback_config
from gateway.testing.peers import SoftphoneBrowser, find_chromium, no_chromium

# The phone is the client that example 8 has built.
sys.path.append(str(Path(__file__).resolve().parents[1] / "08_sip_client"))

from client import Call, SipClient

USERS: list[dict[str, object]] = [{"id": "alice", "web": True}, {"id": "1001", "sip": True}]


@asynccontextmanager
async def page_of(user: str, gateway: Gateway, hz: int) -> AsyncIterator[SoftphoneBrowser]:
    """A Chromium on the softphone page, signed in, with a tone for a microphone."""
    executable = find_chromium()
    if executable is None:
        sys.exit(f"FAIL: {no_chromium()}")
    async with SoftphoneBrowser(executable, hz) as page:
        await page.open(f"{gateway.page_url}#{urlencode({'user': user, 'token': gateway.password(user)})}")
        yield page


async def hear_each_other(page: SoftphoneBrowser, page_hz: int, call: Call, phone_hz: int) -> None:
    """Sound is proved by its frequency, at both ends."""
    at_phone = await call.sound.tone("the browser")
    check(near(at_phone, page_hz), f"the phone hears {at_phone:.0f} Hz, which the browser says")
    at_page = await page.tone(phone_hz)
    check(near(at_page, phone_hz), f"the browser hears {at_page:.0f} Hz, which the phone says")


async def page_calls_phone(page: SoftphoneBrowser, phone: SipClient) -> None:
    print("  alice dials 1001 in the browser")
    await page.dial("1001")
    call = await phone.rings()
    offered = call.offered.decode()
    check("RTP/AVP" in offered and "ice-ufrag" not in offered, "the phone rings, and is offered plain RTP")
    call.answer()
    await page.status("talking")
    await hear_each_other(page, 523, call, 784)
    await page.hang_up()
    ended = await call.expect(net.Ended)
    check((ended.by, ended.q850) == ("remote", 16), "alice hangs up: BYE reaches the phone, Q.850 cause 16")
    await page.status("ready")


async def phone_calls_page(page: SoftphoneBrowser, phone: SipClient) -> None:
    print("  1001 dials alice on the phone")
    call = phone.dial("alice")
    await page.status("ringing")
    check((await call.expect(net.Provisional)).status == 180, "the page rings, and the phone hears that")
    await page.accept()
    await call.expect(net.Answered)
    await hear_each_other(page, 523, call, 784)
    call.hangup()
    await page.status("ready")
    check((await call.expect(net.Ended)).by == "local", "the phone hangs up: BYE, and the page is at rest again")


async def main() -> None:
    print("Part 3: a browser and a desk phone, through the gateway")
    with tempfile.TemporaryDirectory() as folder:
        async with Gateway(loopback_config(folder, USERS)) as gateway:
            await calls(gateway)


async def calls(gateway: Gateway) -> None:
    domain, place = gateway.config.domain, gateway.sip_address
    async with (
        SipClient("1001", gateway.password("1001"), domain, place, hz=784) as phone,
        page_of("alice", gateway, 523) as page,
    ):
        check((await phone.sign_in()).registered, f"1001 is registered at {place}")
        check(await page.page.inner_text("#me") == "alice", f"alice is signed in at {gateway.page_url}")
        await page_calls_phone(page, phone)
        await phone_calls_page(page, phone)
        await gateway.idle()
        check(phone.strays == 0 and gateway.active_calls == 0, "both calls are gone, each after a single BYE")


if __name__ == "__main__":
    run(main, __doc__, log=True)
