"""Waiting for a program: until it takes connections, has written something, or has so many calls."""

from __future__ import annotations

from gateway.lesson import within

import asyncio
import urllib.request
from contextlib import suppress
from pathlib import Path

HOST = "127.0.0.1"


async def is_open(port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except ConnectionError:
        return False
    writer.close()
    return True


async def has_calls(web: int, number: int) -> bool:
    """Whether the gateway at that web port comes to have so many calls, by its own /metrics, within half a minute."""

    def asked() -> str:
        with urllib.request.urlopen(f"http://{HOST}:{web}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

    with suppress(OSError):  # of a gateway that is gone, or says nothing
        async with asyncio.timeout(30):
            while f"\ngateway_calls_active {number}.0\n" not in await asyncio.to_thread(asked):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            return True
    return False


async def said(log: Path, words: str) -> None:
    """Wait until a program has written that; TimeoutError."""
    async with within(60, f"{log.stem} says {words!r}"):
        while words not in log.read_text():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.05)
