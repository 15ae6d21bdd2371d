"""Firefox on the page of a whole gateway."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from tests.browser.firefox import Firefox
from tests.interop.gateway import config_on_free_ports, gateway_with

WATCH = """
  const Original = RTCPeerConnection;
  window.__peers = [];
  window.RTCPeerConnection = class extends Original {
    constructor(...given) { super(...given); window.__peers.push(this); }
  };
"""
DIAL = "document.getElementById('dial').value = '{}'; document.getElementById('call').click();"
TEXT = "return document.getElementById('status').textContent"


async def until(firefox: Firefox, script: str, wanted: object) -> None:
    """Wait until a script returns what is wanted; only asking tells."""
    found: object = None
    try:
        async with asyncio.timeout(30):
            while (found := await firefox.run(script)) != wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    except TimeoutError:
        said = await firefox.run(TEXT)
        raise AssertionError(f"{script} is {found!r}, not {wanted!r}; the page says {said!r}") from None


async def press(firefox: Firefox, selector: str) -> None:
    await firefox.run(f"document.querySelector({selector!r}).click()")


@contextlib.asynccontextmanager
async def dialled(
    executable: str,
    folder: Path,
    preferences: Mapping[str, object] | None = None,
    watch: str = "",
    number: str = "600",
    **changes: str,
) -> AsyncIterator[Firefox]:
    """Firefox on the page of a gateway on loopback, as after `make run`; `number` is dialled."""
    async with (
        gateway_with(config_on_free_ports(folder, **changes), folder / "gateway.log") as gateway,
        Firefox(executable, preferences) as firefox,
    ):
        await firefox.open(gateway.app.signed_in_url("alice"))
        async with asyncio.timeout(30):
            while await firefox.run("return document.body.dataset.view") != "idle":  # noqa: ASYNC110  # only asking tells
                await asyncio.sleep(0.1)
        await firefox.run(watch or WATCH)
        await firefox.run(DIAL.format(number))
        yield firefox
