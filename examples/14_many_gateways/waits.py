"""Waiting for a program: until it takes connections, answers, has written something, or has so many calls."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from gateway.sip import NameAddr, Uri, build

HOST = "127.0.0.1"


class Ear(asyncio.DatagramProtocol):
    """Notices that something has come."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.heard.set()


@asynccontextmanager
async def within(seconds: float, words: str) -> AsyncIterator[None]:
    """Wait so long for what these words say; TimeoutError with them."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TimeoutError(f"{words}: not within {seconds:g} s") from None


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


async def answers(port: int) -> None:
    """Ask by OPTIONS until there is an answer; TimeoutError."""
    transport, ear = await asyncio.get_running_loop().create_datagram_endpoint(Ear, local_addr=(HOST, 0))
    here = transport.get_extra_info("sockname")
    asked = build.request(
        "OPTIONS", Uri.of(None, HOST, port), from_=NameAddr(Uri.of("probe", HOST)).with_tag("1"),
        to=NameAddr(Uri.of(None, HOST)), call_id="probe", cseq=1,
        headers=[("Via", f"SIP/2.0/UDP {here[0]}:{here[1]};branch=z9hG4bK-probe")],
    )  # fmt: skip
    try:
        async with within(60, f"OPTIONS are answered at port {port}"):
            while not ear.heard.is_set():
                transport.sendto(asked.write(), (HOST, port))
                await asyncio.wait([asyncio.create_task(ear.heard.wait())], timeout=0.1)
    finally:
        transport.close()
