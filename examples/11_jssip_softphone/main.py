"""Example 11: a softphone of our own with JsSIP: SIP over WebSocket in a browser, beside a desk phone."""

from __future__ import annotations

from gateway.lesson import check, run

import argparse
import json
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlencode

from pages import settled, shows, site

from gateway import Gateway, GatewayError, net
from gateway.testing import loopback_config
from gateway.testing.peers import SoftphoneBrowser, find_chromium, no_chromium

# The desk phone is the client that example 8 has built.
sys.path.append(str(Path(__file__).resolve().parents[1] / "08_sip_client"))

from client import Call, SipClient

PAGE_HZ, PHONE_HZ, TONE_HZ = 523, 784, 440
USERS: list[dict[str, object]] = [{"id": "1001", "sip": True}, {"id": "1002", "sip": True}]


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
    at_page = await browser.tone(PHONE_HZ)
    check(abs(at_page - PHONE_HZ) <= 15, f"the page hears {at_page:.0f} Hz, which 1001 says")


async def page_calls(browser: SoftphoneBrowser, phone: SipClient) -> None:
    print("2. The page dials 601, the gateway's steady tone, and then the desk phone")
    await dial(browser, "601")
    await shows(browser.page, "talking")
    heard = await browser.tone(TONE_HZ)
    check(abs(heard - TONE_HZ) <= 15, f"it hears {heard:.0f} Hz")
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
    check(await shows(browser.page, "ringing") == "1001", "the page shows who calls: 1001")
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
    said = await shows(browser.page, "refused")
    check("Authentication" in said, f"a wrong password; the page says: {said}")
    elsewhere = origin.replace("localhost", "127.0.0.1")
    await browser.page.goto(account(gateway, elsewhere, gateway.password("1002")))
    outside = await settled(browser.page)
    check(outside == "offline", f"the same account from {elsewhere}: its origin is not one of web.allowed_origins")
    await browser.page.goto(account(gateway, origin, gateway.password("1002")))
    check(await settled(browser.page) == "ready", f"and from {origin}, which is one, it is let in")


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
        said = await settled(browser.page)
        check(said == "ready", f"1002 is registered, by SIP over a WebSocket; the page says: {said}")
        await page_calls(browser, phone)
        await phone_calls(browser, phone)
        await gateway.idle()
        await turned_away(browser, gateway, origin)


async def main(port: int) -> None:
    executable = find_chromium()
    if executable is None:
        raise GatewayError(no_chromium())
    from playwright.async_api import Error

    with site(port) as origin:
        try:
            await lesson(origin, executable)
        except Error as error:
            raise GatewayError(error.message.partition("\n")[0]) from None


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=0, help="where the page is served; any free port by itself")
    run(lambda: main(options.parse_args().port), options, log=True, seconds=60)
