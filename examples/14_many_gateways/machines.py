"""What a site with two gateways runs: Redis, rtpengine, Kamailio, and the gateways, each a process of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from gateway.sip import NameAddr, Uri, build
from gateway.testing import free_ports

HOST = "127.0.0.1"
CONFIG = Path(__file__).with_name("kamailio.cfg")


class Ear(asyncio.DatagramProtocol):
    """Notices that something has come."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.heard.set()


@asynccontextmanager
async def running(
    log: Path, package: str, program: str, *options: str, environ: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program, ended with the context; what it says is in `log`."""
    path = shutil.which(program)
    if path is None:
        sys.exit(f"FAIL: there is no {program}; install the Debian package {package}")
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            path, *options, stdout=output, stderr=output, env=environ, start_new_session=True
        )
    try:
        yield process
    finally:
        for each in (signal.SIGTERM, signal.SIGKILL):  # a child of Kamailio's misses the first while it starts
            with suppress(ProcessLookupError):
                os.killpg(process.pid, each)
            await process.wait()


@asynccontextmanager
async def redis(folder: Path) -> AsyncIterator[str]:
    """The URL of a Redis that keeps nothing on disk."""
    [port] = free_ports(1)
    options = ("--port", str(port), "--bind", HOST, "--save", "", "--dir", str(folder))
    async with running(folder / "redis.log", "redis-server", "redis-server", *options):
        async with asyncio.timeout(10):
            while not await is_open(port):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        yield f"redis://{HOST}:{port}/0"


async def is_open(port: int) -> bool:
    """Whether somebody takes connections there."""
    with suppress(ConnectionError):
        _, writer = await asyncio.open_connection(HOST, port)
        writer.close()
        return True
    return False


@asynccontextmanager
async def rtpengine(folder: Path) -> AsyncIterator[str]:
    """Host and port at which an rtpengine takes commands."""
    control, first = free_ports(2)
    options = (
        *("--config-file=none", "--foreground", "--log-stderr", "--table=-1", f"--interface={HOST}"),
        *(f"--listen-ng={HOST}:{control}", f"--port-min={first}", f"--port-max={first + 99}"),
    )
    async with running(folder / "rtpengine.log", "rtpengine-daemon", "rtpengine", *options):
        yield f"{HOST}:{control}"


@asynccontextmanager
async def kamailio(folder: Path, gateways: list[str]) -> AsyncIterator[str]:
    """Host and port of a proxy in front of these gateways ("host:port"); it asks the first that lives."""
    [port] = free_ports(1)
    file, places = folder / "kamailio.cfg", folder / "dispatcher.list"
    places.write_text("".join(f"1 sip:{one} 0 {10 - rank}\n" for rank, one in enumerate(gateways)))
    file.write_text(CONFIG.read_text().replace("PROXY\n", f"{HOST}:{port}\n").replace("LIST", str(places)))
    options = ("-f", str(file), "-DD", "-E", "-w", str(folder), "-P", str(folder / "kamailio.pid"))
    async with running(folder / "kamailio.log", "kamailio", "kamailio", *options):
        await answers(port)
        yield f"{HOST}:{port}"


@asynccontextmanager
async def gateway(folder: Path, port: int, settings: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A gateway at that SIP port; `settings` are GATEWAY_ variables without their prefix."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    environ = {**kept, **{f"GATEWAY_{name}": value for name, value in settings.items()}}
    empty = folder / "gateway.yaml"
    empty.touch()  # not the reader's own, which is in the folder that this was begun in
    log, command = folder / f"gateway-{port}.log", (sys.executable, "-m", "gateway", "run", "--config", str(empty))
    async with running(log, "python3", *command, environ=environ) as process:
        await answers(port)
        yield process


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
    async with asyncio.timeout(60):
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
        async with asyncio.timeout(60):
            while not ear.heard.is_set():
                transport.sendto(asked.write(), (HOST, port))
                await asyncio.wait([asyncio.create_task(ear.heard.wait())], timeout=0.1)
    finally:
        transport.close()
