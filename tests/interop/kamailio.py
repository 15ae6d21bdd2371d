"""Runs Kamailio, the SIP proxy and registrar, on a configuration of the test's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests import peers
from tests.interop.stranger import Stranger
from tests.processes import end_group

_HEAD = "#!KAMAILIO\nlog_stderror=yes\ndebug=2\nchildren=1\ntcp_children=1\n"
"""One process a listener and kind of transport: what came first goes on first."""


@contextlib.asynccontextmanager
async def kamailio(
    folder: Path, text: str, host: str, port: int, *, only_udp: bool = True, package: str = "kamailio"
) -> AsyncIterator[None]:
    """A Kamailio with the configuration `text`, which listens at that UDP address; ready when it answers OPTIONS.

    `only_udp`: it listens nowhere else. `package` has the modules that it loads.
    """
    program = peers.program("kamailio", package)
    file = folder / "kamailio.cfg"
    file.write_text(text.replace("#!KAMAILIO\n", _HEAD, 1))
    # With -D the main process serves the only listener itself; -DD takes children, whatever the file says.
    command = [
        program,
        "-f",
        str(file),
        "-D" if only_udp else "-DD",
        "-E",
        "-w",
        str(folder),
        "-P",
        str(folder / "kamailio.pid"),
    ]
    with (folder / "kamailio.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, start_new_session=True)
    try:
        if not await _answers(process, host, port):
            raise RuntimeError(f"kamailio does not answer: {_end_of(folder / 'kamailio.log')}")
        yield
    finally:
        # A child that is told to end while it starts goes on for ever, and fills the disk with what it says.
        await end_group(process)


def _end_of(log: Path) -> str:
    return log.read_text()[-2000:]


class _Ear(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.heard = asyncio.Event()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.heard.set()


async def _answers(process: asyncio.subprocess.Process, host: str, port: int) -> bool:
    """Ask until it answers: it says nowhere that it listens. False where it has ended."""
    transport, ear = await asyncio.get_running_loop().create_datagram_endpoint(_Ear, local_addr=(host, 0))
    try:
        own = transport.get_extra_info("sockname")
        for number in range(1, 150):
            if process.returncode is not None:
                return False
            via = f"Via: SIP/2.0/UDP {own[0]}:{own[1]};branch=z9hG4bK{number}"
            transport.sendto(
                f"OPTIONS sip:{host}:{port} SIP/2.0\r\n{via}\r\n"
                f"From: <sip:probe@{host}>;tag=1\r\nTo: <sip:{host}>\r\nCall-ID: probe-{number}\r\n"
                f"CSeq: {number} OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n".encode(),
                (host, port),
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await ear.heard.wait()
                    return True
    finally:
        transport.close()
    return False


def led_astray(sender: Stranger, target: str, proxy: str, elsewhere: str) -> list[bytes]:
    """What would have a proxy send to `elsewhere`, in a dialog that there is not."""
    here = f"Route: <sip:{proxy};lr>"
    ways = (
        (f"sip:x@{elsewhere}", ()),
        (f"sip:x@{elsewhere}", (here,)),
        (f"sip:x@{target}", (here, f"Route: <sip:{elsewhere};lr>")),
        (f"sip:x@{target}", (f"Route: <sip:{elsewhere};lr>",)),
        (f"sip:x@{target}", (here, f"Route: <sip:{elsewhere}>")),
        (f"sip:x@{target}", (f"Route: <sip:{proxy};lr;received=sip:{elsewhere}>",)),
        (f"sip:x@{target};maddr={elsewhere.partition(':')[0]}", (here,)),
        (f"sip:x@{target};alias={elsewhere.replace(':', '~')}~1", (here,)),
        (f"sip:x@{proxy};alias={elsewhere.replace(':', '~')}~1", (here,)),
    )
    return [
        sender.request(method, uri, to_tag="t", headers=routes)
        for method in ("BYE", "INFO", "INVITE", "ACK")
        for uri, routes in ways
    ]


def line_of(data: bytes) -> bytes:
    """The method of a request, or the version that a response begins with."""
    return data.split(b" ", 1)[0]
