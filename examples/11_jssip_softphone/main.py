"""Example 11: a softphone of our own with JsSIP: SIP over WebSocket in a browser, beside a desk phone."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlencode

from pages import shows, site

from gateway import Gateway, GatewayError, log, net
from gateway.testing import loopback_config
from gateway.testing.peers import SoftphoneBrowser, find_chromium, no_chromium

# The desk phone is the client that example 8 has built.
sys.path.append(str(Path(__file__).resolve().parents[1] / "08_sip_client"))

from client import Call, CallError, SipClient

PAGE_HZ, PHONE_HZ, TONE_HZ = 523, 784, 440
NOT_DONE = "not done after 60 s; --verbose shows the gateway's log"
USERS: list[dict[str, object]] = [{"id": "1001", "sip": True}, {"id": "1002", "sip": True}]


def check(condition: bool, words: str) -> None:
    """Print what holds; where it does not hold, say so and end the program with status 1."""
    if not condition:
        sys.exit(f"FAIL: {words}")
    print(f"  ok: {words}")


def account(gateway: Gateway, origin: str, password: str) -> str:
    """The page's URL with the account of 1002 in its fragment, which no server sees."""
    server = gateway.page_url.replace("http", "ws", 1) + "sip"
    given = {"server": server, "user": "1002", "domain": gateway.config.domain, "password": password}
    return f"{origin}/#{urlencode(given)}"


async def dial(browser: SoftphoneBrowser, number: str) -> None:
    await browser.page.fill("#dial", number)
    await browser.page.press("#dial", "Enter")


async def hear_each_other(browser: SoftphoneBrowser, call: Call) -> None:
    """Sound is proved by its frequency, at both ends."""
    at_phone = await call.sound.tone("the page")
    check(abs(at_phone - PAGE_HZ) <= 15, f"1001 hears {at_phone:.0f} Hz, which the page says")
    check(True, f"the page hears {await browser.tone(PHONE_HZ):.0f} Hz, which 1001 says")


async def page_calls(browser: SoftphoneBrowser, phone: SipClient) -> None:
    print("2. The page dials 601, the gateway's steady tone, and then the desk phone")
    await dial(browser, "601")
    await shows(browser.page, "talking")
    check(True, f"it hears {await browser.tone(TONE_HZ):.0f} Hz")
    await browser.page.click("#hangup")
    await shows(browser.page, "ready")
    await dial(browser, "1001")
    call = await phone.rings()
    check(b"RTP/AVP" in call.offered and b"ice-ufrag" not in call.offered, "the phone is offered plain RTP")
    call.answer()
    await shows(browser.page, "talking")
    await hear_each_other(browser, call)
    await browser.page.click("#hangup")
    check((await call.expect(net.Ended)).by == "remote", "the page hangs up, and the phone is told")
    await shows(browser.page, "ready")


async def phone_calls(browser: SoftphoneBrowser, phone: SipClient) -> None:
    print("3. The desk phone dials 1002")
    call = phone.dial("1002")
    await shows(browser.page, "ringing")
    check(await browser.page.inner_text("#status") == "1001", "the page shows who calls: 1001")
    await browser.page.click("#answer")
    await call.expect(net.Answered)
    await hear_each_other(browser, call)
    call.hangup()
    await shows(browser.page, "ready")
    check((await call.expect(net.Ended)).by == "local", "the phone hangs up, and the page is at rest")


async def turned_away(browser: SoftphoneBrowser, gateway: Gateway, origin: str) -> None:
    print("4. Who does not come in")
    await browser.page.goto("about:blank")
    await browser.page.goto(account(gateway, origin, "a guess"))
    await shows(browser.page, "refused")
    check(True, f"a wrong password; the page says: {await browser.page.inner_text('#status')}")
    elsewhere = origin.replace("localhost", "127.0.0.1")
    await browser.page.goto(account(gateway, elsewhere, gateway.password("1002")))
    await shows(browser.page, "offline")
    check(True, f"the same account from {elsewhere}: its origin is not one of web.allowed_origins")
    await browser.page.goto(account(gateway, origin, gateway.password("1002")))
    await shows(browser.page, "ready")
    check(True, f"and from {origin}, which is one, it is let in")


async def lesson(origin: str, executable: str) -> None:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        config = loopback_config(folder, USERS, WEB__ALLOWED_ORIGINS=json.dumps([origin]))
        gateway = await stack.enter_async_context(Gateway(config))
        secret, domain = gateway.password("1001"), config.domain
        phone = await stack.enter_async_context(SipClient("1001", secret, domain, gateway.sip_address, PHONE_HZ))
        browser = await stack.enter_async_context(SoftphoneBrowser(executable, PAGE_HZ))
        print(f"1. The page at {origin}, the gateway at {gateway.page_url}")
        await phone.sign_in()
        await browser.page.goto(account(gateway, origin, gateway.password("1002")) + "&raw=1")
        await shows(browser.page, "ready")
        check(True, "1002 is registered, by SIP over a WebSocket")
        await page_calls(browser, phone)
        await phone_calls(browser, phone)
        await gateway.idle()
        await turned_away(browser, gateway, origin)


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=0, help="where the page is served; any free port by itself")
    options.add_argument("--verbose", action="store_true", help="the gateway's log")
    given = options.parse_args()
    executable = find_chromium()
    if executable is None:
        sys.exit(f"FAIL: {no_chromium()}")
    from playwright.async_api import Error

    finish_log = log.configure("info" if given.verbose else "error")
    with site(given.port) as origin:
        try:
            await asyncio.wait_for(lesson(origin, executable), 60)
        except (CallError, GatewayError, Error, TimeoutError) as error:
            sys.exit(f"FAIL: {str(error).splitlines()[0] if str(error) else NOT_DONE}")
    finish_log()


if __name__ == "__main__":
    asyncio.run(main())
    print("PASS")
