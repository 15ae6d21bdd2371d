"""A call of a browser with a channel for text, which is aiortc, and a phone with text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.settings import TextConfig
from gateway.media.engine import Kind, Party, TextStatistics
from tests.media.data_support import Talker
from tests.media.engine_support import config, running
from tests.media.text_support import TextPhone

BROWSER = Party("browser", Kind.WEBRTC)
PHONE, OTHER = (Party(tag, Kind.RTP, private_source="127.0.0.1") for tag in ("phone", "other"))


def typed(browser: Talker) -> str:
    """What the browser was shown."""
    return "".join(message for _, message in browser.messages)


async def figures(engine: EmbeddedEngine, tag: str) -> TextStatistics | None:
    return (await engine.query("call")).parties[tag].text


@asynccontextmanager
async def called(
    *, loses: Callable[[int], bool] = lambda number: False, **text: Any
) -> AsyncIterator[tuple[EmbeddedEngine, Talker, TextPhone]]:
    """A browser, which has opened a channel for text, calls a phone with text."""
    async with running(config(text=TextConfig(**text))) as (engine, _):
        browser, phone = Talker(), await TextPhone(loses=loses).open()
        try:
            browser.open("typing", protocol="t140")
            offer = await engine.offer("call", BROWSER, PHONE, await browser.offer())
            phone.take(offer)
            await browser.take_answer(await engine.answer("call", PHONE, BROWSER, phone.sdp()))
            yield engine, browser, phone
        finally:
            await browser.close()
            await phone.close()
