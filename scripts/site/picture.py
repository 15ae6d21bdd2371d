"""docs/softphone.png: the page of today in a call, in a Chromium, with phones (pjsua2) that call and are called.

python -m scripts.site.picture [FILE] makes it, and prints what the buttons of the call are called: README and
docs/index.md name them beside the picture (tests/browser/test_picture.py).
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from gateway import Gateway, log
from gateway.demo.browser import SoftphoneBrowser
from gateway.demo.chromium import find_chromium
from gateway.demo.phone import DeskPhone
from gateway.testing import loopback_config

FILE = Path(__file__).resolve().parents[2] / "docs" / "softphone.png"
WIDTH, HEIGHT = 1280, 840
NAMES = {"1001": "Reception", "1002": "Bob Builder", "1003": "Workshop"}
USERS: list[dict[str, object]] = [
    {"id": "alice", "display_name": "Alice", "web": True},
    *({"id": user, "display_name": name, "sip": True} for user, name in NAMES.items()),
]


async def picture(file: Path, chromium: str) -> list[str]:
    """Write it; the buttons of the call, from left to right."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        gateway = await stack.enter_async_context(Gateway(loopback_config(folder, USERS, RECORDING__BY_USERS="true")))
        browser = await stack.enter_async_context(SoftphoneBrowser(chromium, 523))
        phones = {}
        for user in NAMES:
            phones[user] = phone = await DeskPhone.start()
            stack.push_async_callback(phone.close)
            phone.speak(784)
            await phone.register(user, gateway.password(user), gateway.config.domain, gateway.sip_address)
        page = browser.page
        await page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        await browser.open(f"{gateway.page_url}#user=alice&token={gateway.password('alice')}")
        await _recent(browser, phones, gateway.config.domain)
        phones["1001"].dial(f"sip:alice@{gateway.config.domain}")
        await browser.status("ringing")
        await browser.accept()
        await browser.status("talking")
        await browser.tone(784)
        await page.locator("#quality:not([hidden])").wait_for()
        await page.mouse.move(1, 1)  # nothing looks pressed
        await page.locator("#timer", has_text=re.compile(r"0:(0[7-9]|[1-5]\d)")).wait_for()
        names = [name.strip() for name in await page.locator(".actions button:visible").all_inner_texts()]
        await page.screenshot(path=file)
        await browser.hang_up()
        await gateway.idle()
    return names


async def _recent(browser: SoftphoneBrowser, phones: dict[str, DeskPhone], domain: str) -> None:
    """One call that was missed, and one that was not."""
    phones["1003"].dial(f"sip:alice@{domain}")
    await browser.status("ringing")
    phones["1003"].hangup()
    await browser.status("ready")
    phones["1002"].dial(f"sip:alice@{domain}")
    await browser.status("ringing")
    await browser.accept()
    await browser.status("talking")
    phones["1002"].hangup()
    await browser.status("ready")


def main() -> None:
    """Make the picture of the documents, or FILE."""
    chromium = find_chromium()
    if chromium is None:
        sys.exit("there is no Chromium; install the Debian package chromium")
    log.configure("error")
    file = Path(sys.argv[1]) if sys.argv[1:] else FILE
    sys.stdout.write(f"{file}: {', '.join(asyncio.run(picture(file, chromium)))}\n")


if __name__ == "__main__":
    main()
