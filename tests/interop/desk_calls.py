"""A browser and baresip, each of which calls the other; who hears what is found by frequency."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tests.interop.baresip import Baresip, baresip
from tests.interop.gateway import BROWSER_HZ, PASSWORDS, Gateway, RpcBrowser

SINE_HZ = 660


def desk_phone(
    gateway: Gateway, folder: Path, source: str, transport: str
) -> contextlib.AbstractAsyncContextManager[Baresip]:
    """Baresip as 1001."""
    account = ("1001", PASSWORDS["1001"], gateway.sip, gateway.config.domain)
    return baresip(folder, *account, codec="PCMU/8000/1", source=source, transport=transport)


async def browser_calls_baresip(gateway: Gateway, browser: RpcBrowser, folder: Path, transport: str) -> None:
    """It is called by the connection it registered over; its sine is found in the browser, which hangs up."""
    async with desk_phone(gateway, folder, f"ausine,{SINE_HZ}", transport) as phone:
        await phone.expect("REGISTER_OK")
        await browser.dial("1001")
        await browser.status("talking")
        await phone.expect("CALL_ESTABLISHED")
        await browser.tone(SINE_HZ)
        await browser.hang_up()
        await phone.expect("CALL_CLOSED")
        await gateway.idle()


async def baresip_calls_browser(gateway: Gateway, browser: RpcBrowser, folder: Path, transport: str) -> None:
    """The page rings; its tone returns through baresip's bridge; baresip hangs up."""
    async with desk_phone(gateway, folder, "aubridge,ear", transport) as phone:
        await phone.expect("REGISTER_OK")
        phone.command("dial", gateway.uri("alice"))
        await browser.status("ringing")
        await browser.accept()
        await phone.expect("CALL_ESTABLISHED")
        await browser.tone(BROWSER_HZ)
        phone.command("hangup")
        await browser.status("ready")
        await gateway.idle()
