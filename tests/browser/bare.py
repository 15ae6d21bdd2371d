"""A headless Chromium without a gateway's page: one a module, a context of its own for every test."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from tests import peers

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Page

FLAGS = [
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]
ORIGIN = "http://localhost/"
"""A secure one, which needs no server."""


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start one, with a synthetic microphone and camera; skips the test, or fails it in CI, where it is not there."""
    executable = peers.chromium()
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield started
        finally:
            await started.close()


async def blank_page(context: BrowserContext) -> Page:
    """An empty page, which the context closes with itself."""
    page = await context.new_page()
    await page.route("**/*", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
    await page.goto(ORIGIN)
    return page
