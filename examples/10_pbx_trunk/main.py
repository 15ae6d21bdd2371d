"""Example 10: a gateway beside a PBX. A browser calls a phone of the PBX through a trunk, and is called by it."""

from __future__ import annotations

from gateway.lesson import check, run

import json
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlencode

from pbx import pbx

from gateway import Cause, Gateway, net
from gateway.testing import free_ports, loopback_config
from gateway.testing.peers import SoftphoneBrowser, find_chromium, no_chromium

# The phone is the client that example 8 has built.
sys.path.append(str(Path(__file__).resolve().parents[1] / "08_sip_client"))

from client import Call, SipClient

HOST = "127.0.0.1"
PAGE_HZ, PHONE_HZ = 523, 784
ALICE = {"id": "alice", "web": True, "aliases": ["301"], "may_call": ["*", "trunk:*"]}
ROUTES = [{"match": "0*", "to": "trunk:pbx", "strip": 1}, {"match": "9*", "to": "trunk:mistyped", "strip": 1}]


def settings(port: int) -> dict[str, str]:
    """What gateway.yaml would say: a trunk, one more with a wrong password, and which numbers lead to them."""
    there = {"uri": f"sip:{HOST}:{port}", "username": "gateway", "codecs": ["pcmu"]}
    trunks = [
        {"name": "pbx", **there, "password": "secret-of-the-trunk", "sources": [HOST]},
        {"name": "mistyped", **there, "password": "a guess"},
    ]
    return {"TRUNKS": json.dumps(trunks), "ROUTES": json.dumps(ROUTES)}


async def hear_each_other(page: SoftphoneBrowser, call: Call) -> None:
    """Sound is proved by its frequency, at both ends."""
    at_phone = await call.sound.tone("the browser")
    check(abs(at_phone - PAGE_HZ) <= 15, f"201 hears {at_phone:.0f} Hz, which the browser says")
    at_page = await page.tone(PHONE_HZ)
    check(abs(at_page - PHONE_HZ) <= 15, f"the browser hears {at_page:.0f} Hz, which 201 says")


async def out(page: SoftphoneBrowser, phone: SipClient) -> None:
    print("2. alice dials 0201: the 0 leads to the trunk, 201 is the PBX's")
    await page.dial("0201")
    call = await phone.rings()
    check(call.session.remote.uri.username == "alice", "the phone shows who calls: alice")
    check(len(call.session.request.record_route) == 1, "the PBX stays in the path (Record-Route)")
    call.answer()
    await page.status("talking")
    await hear_each_other(page, call)
    await page.hang_up()
    check((await call.expect(net.Ended)).by == "remote", "alice hangs up, and the phone is told")
    await page.status("ready")


async def back(page: SoftphoneBrowser, phone: SipClient, gateway: Gateway) -> None:
    print("3. 201 dials 301: the PBX sends 3xx to the gateway, where 301 is alice")
    calls = gateway.calls()
    call = phone.dial("301")
    seen = await anext(calls)
    check(seen.caller.user == "201", "the gateway sees who calls: 201")
    await page.status("ringing")
    await page.accept()
    await call.expect(net.Answered)
    await hear_each_other(page, call)
    call.hangup()
    await page.status("ready")
    check((await call.expect(net.Ended)).by == "local", "the phone hangs up, and the page is at rest")


async def refused(page: SoftphoneBrowser, gateway: Gateway, number: str) -> Cause | None:
    """Dial what will not be answered; why."""
    calls = gateway.calls()
    await page.dial(number)
    call = await anext(calls)
    async for _ in call:
        pass
    await page.status("ready")
    return call.cause


def chromium() -> SoftphoneBrowser:
    """A Chromium for the softphone page."""
    executable = find_chromium()
    if executable is None:
        sys.exit(f"FAIL: {no_chromium()}")
    return SoftphoneBrowser(executable, PAGE_HZ)


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        await lesson(folder)


async def lesson(folder: str) -> None:
    [port] = free_ports(1)
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(Gateway(loopback_config(folder, [ALICE], **settings(port))))
        await stack.enter_async_context(pbx(Path(folder), HOST, port, gateway.sip_address))
        phone = await stack.enter_async_context(SipClient("201", "secret-of-201", HOST, f"{HOST}:{port}", PHONE_HZ))
        page = await stack.enter_async_context(chromium())
        print(f"1. A PBX at {HOST}:{port}, and its phone")
        check((await phone.sign_in()).registered, "201 is registered at the PBX")
        await page.open(f"{gateway.page_url}#{urlencode({'user': 'alice', 'token': gateway.password('alice')})}")
        await out(page, phone)
        await back(page, phone, gateway)
        print("4. alice dials 0999, which the PBX does not know")
        check(await refused(page, gateway, "0999") is Cause.NOT_FOUND, "the PBX's 404 becomes a word: not-found")
        print("5. alice dials 9201: the same PBX, but the trunk's password is wrong")
        cause = await refused(page, gateway, "9201")
        check(cause is Cause.FORBIDDEN and phone.calls.empty(), "the PBX does not believe it, and 201 does not ring")
        await gateway.idle()


if __name__ == "__main__":
    run(main, __doc__, log=True, seconds=60)
