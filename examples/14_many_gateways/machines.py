"""What a site with two gateways runs: Redis, rtpengine, Kamailio, and the gateways, each a process of its own."""

from __future__ import annotations

from gateway.lesson import within

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from waits import HOST, is_open

from gateway import GatewayError
from gateway.testing import answers_options, free_ports, running

CONFIG = Path(__file__).with_name("kamailio.cfg")


@asynccontextmanager
async def redis(folder: Path) -> AsyncIterator[str]:
    """The URL of a Redis that keeps nothing on disk."""
    [port] = free_ports(1)
    options = ("--port", str(port), "--bind", HOST, "--save", "", "--dir", str(folder))
    async with running(folder / "redis.log", "redis-server", "redis-server", *options):
        async with within(10, f"Redis takes connections at port {port}"):
            while not await is_open(port):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        yield f"redis://{HOST}:{port}/0"


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
    log = folder / "kamailio.log"
    async with running(log, "kamailio", "kamailio", *options) as process:
        await _answers(port, process, log)
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
        await _answers(port, process, log)
        yield process


async def _answers(port: int, program: asyncio.subprocess.Process, log: Path) -> None:
    """Wait until it does; where it has ended, GatewayError with its last words."""
    try:
        await answers_options(HOST, port, program=program)
    except GatewayError as error:
        raise GatewayError(f"{error}: {_end_of(log)}") from None


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-300:].strip()
