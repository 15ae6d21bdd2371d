"""Other programs beside a test: one that runs as long as it is needed, and whether it answers SIP."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from gateway.errors import GatewayError
from gateway.sip import NameAddr, Uri, build


@asynccontextmanager
async def running(
    log: Path, package: str, program: str, *options: str, environ: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program and its children, ended with the context; what it says is in `log`.

    Raises GatewayError, which names the Debian package, where it is not installed.
    """
    path = shutil.which(program)
    if path is None:
        raise GatewayError(f"there is no {program}; install the Debian package {package}")
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            path, *options, stdout=output, stderr=output, env=environ, start_new_session=True
        )
    try:
        yield process
    finally:
        try:
            await _end(process, signal.SIGTERM)
        finally:  # a child of Kamailio's misses the first while it starts; and Ctrl-C may cut its wait short
            await _end(process, signal.SIGKILL)


async def _end(process: asyncio.subprocess.Process, by: signal.Signals) -> None:
    """Send it to the process and its children, and give the process 5 s to end."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, by)
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), 5)


class _Ear(asyncio.DatagramProtocol):
    """Notices that something has come."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.heard.set()


async def answers_options(
    host: str, port: int, seconds: float = 60.0, program: asyncio.subprocess.Process | None = None
) -> None:
    """Ask this UDP address by OPTIONS, ten times a second, until it answers; TimeoutError after `seconds`.

    GatewayError as soon as the `program` that should answer has ended.
    """
    transport, ear = await asyncio.get_running_loop().create_datagram_endpoint(_Ear, local_addr=(host, 0))
    here = transport.get_extra_info("sockname")
    asked = build.request(
        "OPTIONS", Uri.of(None, host, port), from_=NameAddr(Uri.of("probe", host)).with_tag("1"),
        to=NameAddr(Uri.of(None, host)), call_id="probe", cseq=1,
        headers=[("Via", f"SIP/2.0/UDP {here[0]}:{here[1]};branch=z9hG4bK-probe")],
    )  # fmt: skip
    try:
        async with asyncio.timeout(seconds):
            while not ear.heard.is_set():
                if program is not None and program.returncode is not None:
                    raise GatewayError(f"what should answer at {host}:{port} has ended with {program.returncode}")
                transport.sendto(asked.write(), (host, port))
                with suppress(TimeoutError):
                    await asyncio.wait_for(ear.heard.wait(), 0.1)
    except TimeoutError:
        raise TimeoutError(f"OPTIONS to {host}:{port}: no answer within {seconds:g} s") from None
    finally:
        transport.close()
