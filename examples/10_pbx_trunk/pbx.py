"""A Kamailio that plays the PBX: started on kamailio.cfg, ready when it answers OPTIONS."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.sip import NameAddr, Uri, build

CONFIG = Path(__file__).with_name("kamailio.cfg")


class Ear(asyncio.DatagramProtocol):
    """Notices that something has come."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.heard.set()


@asynccontextmanager
async def pbx(folder: Path, host: str, port: int, gateway: str) -> AsyncIterator[None]:
    """A running PBX at that UDP address; its numbers 301 to 399 are at `gateway` ("host:port")."""
    program = shutil.which("kamailio")
    if program is None:
        sys.exit("FAIL: there is no Kamailio to play the PBX; install the Debian package kamailio")
    file, log = folder / "kamailio.cfg", folder / "kamailio.log"
    file.write_text(CONFIG.read_text().replace("PBX\n", f"{host}:{port}\n").replace("GATEWAY", gateway))
    (folder / "secret.cfg").write_text(f'#!define SECRET "{secrets.token_hex(32)}"\n')
    command = [program, "-f", str(file), "-DD", "-E", "-w", str(folder), "-P", str(folder / "kamailio.pid")]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
    try:
        if not await answers(process, host, port):
            sys.exit(f"FAIL: Kamailio does not answer at {host}:{port}, it says: {log.read_text()[-300:]}")
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def answers(process: asyncio.subprocess.Process, host: str, port: int) -> bool:
    """Ask by OPTIONS until there is an answer; False where the process has ended or 10 s have passed."""
    transport, ear = await asyncio.get_running_loop().create_datagram_endpoint(Ear, local_addr=(host, 0))
    here = transport.get_extra_info("sockname")
    asked = build.request(
        "OPTIONS", Uri.of(None, host, port), from_=NameAddr(Uri.of("probe", host)).with_tag("1"),
        to=NameAddr(Uri.of(None, host)), call_id="probe", cseq=1,
        headers=[("Via", f"SIP/2.0/UDP {here[0]}:{here[1]};branch=z9hG4bK-probe")],
    )  # fmt: skip
    try:
        async with asyncio.timeout(10):
            while process.returncode is None and not ear.heard.is_set():
                transport.sendto(asked.write(), (host, port))
                await asyncio.wait([asyncio.create_task(ear.heard.wait())], timeout=0.1)
    except TimeoutError:
        pass
    finally:
        transport.close()
    return ear.heard.is_set()
