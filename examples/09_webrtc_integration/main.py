"""Example 9: WebRTC and SIP, in four parts; each is a program of its own too."""

from __future__ import annotations

from gateway.lesson import run

import part1_offer
import part2_signalling
import part3_calls
import part4_application
from chromium import chromium


async def main() -> None:
    async with chromium() as browser:
        await part1_offer.lesson(browser)
        await part2_signalling.lesson(browser)
    await part3_calls.main()
    await part4_application.main()


if __name__ == "__main__":
    run(main, __doc__, log=True)
