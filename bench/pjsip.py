"""The conference bridge of pjsua2 as a transcoding PBX for benches: plain SIP, each bridge in a process of its own."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any, Protocol

_SETUP = 20.0
"""Seconds in which both sides are called."""
_KEPT = ("via", "from", "call-id", "cseq")


class End(Protocol):
    """A phone that is called."""

    def sdp(self) -> str: ...

    def take(self, sdp: str) -> None: ...


class _Door(asyncio.DatagramProtocol):
    """Answers each INVITE for the phone that it names, and each BYE."""

    def __init__(self) -> None:
        self.ends: dict[str, tuple[End, asyncio.Event]] = {}
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    @property
    def port(self) -> int:
        """Where it listens on loopback."""
        return int(self.transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: Any) -> None:
        head, _, body = data.decode().partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        called = re.match(r"(INVITE|BYE) sip:([^@]+)@", first)
        if called is None:
            return
        name, sdp = called[2], ""
        if called[1] == "INVITE":
            end, up = self.ends[name]
            end.take(body)
            sdp = end.sdp()
            up.set()
        kept = [line for line in lines if line.partition(":")[0].lower() in _KEPT]
        to = next(line for line in lines if line.lower().startswith("to:"))
        said = [
            *("SIP/2.0 200 OK", *kept, to if ";tag=" in to else f"{to};tag=end"),
            f"Contact: <sip:{name}@127.0.0.1:{self.port}>",
            *(["Content-Type: application/sdp"] if sdp else []),
            f"Content-Length: {len(sdp)}",
        ]
        self.transport.sendto(("\r\n".join(said) + "\r\n\r\n" + sdp).encode(), addr)


class Bridges:
    """One bridge a call."""

    def __init__(self, door: _Door) -> None:
        self._door = door
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def joined(self, call: str, left: End, right: End) -> None:
        """A call of the two; raises TimeoutError."""
        names = f"{call}-left", f"{call}-right"
        for name, end in zip(names, (left, right), strict=True):
            self._door.ends[name] = end, asyncio.Event()
        self._running[call] = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.pjsip_bridge"),
            *(f"sip:{name}@127.0.0.1:{self._door.port}" for name in names),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(_SETUP):
            for name in names:
                await self._door.ends[name][1].wait()
        await asyncio.sleep(1)  # until both sides are connected in it, of which it tells nothing

    async def delete(self, call: str) -> None:
        """End it."""
        process = self._running.pop(call)
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


@asynccontextmanager
async def bridges() -> AsyncIterator[Bridges | None]:
    """None where there is no pjsua2."""
    if find_spec("pjsua2") is None:
        yield None
        return
    transport, door = await asyncio.get_running_loop().create_datagram_endpoint(_Door, local_addr=("127.0.0.1", 0))
    made = Bridges(door)
    try:
        yield made
    finally:
        for call in tuple(made._running):
            await made.delete(call)
        transport.close()
