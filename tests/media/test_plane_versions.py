"""Gateways and planes of different versions: what either makes of the other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.media.embedded.plane.native import wire
from gateway.media.embedded.plane.native.process import SOCKET
from gateway.media.embedded.plane.protocol import PlaneError
from gateway.media.embedded.plane.values import FlowConfig
from tests.media.plane_rig import Told, figures, leave, native_plane
from tests.rows import by_row

pytestmark = pytest.mark.wall

ROOT = Path(__file__).parents[2]


@contextlib.asynccontextmanager
async def older_plane(state_dir: Path, version: int, flows: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """One that listens in the state folder and holds so many flows."""
    arguments = [sys.executable, "-m", "tests.media.older_plane", str(state_dir), str(version), str(flows)]
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"listening\n"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def said(process: asyncio.subprocess.Process) -> list[str]:
    """Types of the messages that it got, once it has ended."""
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    return output.decode().split()


async def test_an_older_plane_with_calls_goes_on_with_what_it_knows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody asks it for pictures of a room, which the log says once."""
    plane = native_plane(tmp_path)
    async with older_plane(tmp_path, wire.FEEDS - 1, 2) as process:
        with caplog.at_level(logging.WARNING, "gateway.media.plane"):
            inventory = await plane.start(Told())
        assert dict(inventory.flows) == {1: 0, 2: 0}
        plane.feed(1, 2, {})
        plane.keep(1, None)
        await leave(plane)
        assert await said(process) == ["INVENTORY", "KEEP"]
    assert [record.getMessage() for record in caplog.records if "no pictures" in record.getMessage()] != []


@pytest.mark.parametrize("version", [wire.ARRIVALS, wire.FEEDS])
async def test_an_older_plane_is_told_of_no_header_extension_that_it_does_not_know(
    tmp_path: Path, version: int
) -> None:
    """So nobody agrees to one with a peer."""
    plane = native_plane(tmp_path)
    async with older_plane(tmp_path, version, 2) as process:
        await plane.start(Told())
        assert (plane.counts_arrivals, plane.carries_orientation) == (version >= wire.ARRIVALS, False)
        plane.carry_orientation(1, 13)
        plane.count_arrivals(1, None)
        await leave(plane)
        assert await said(process) == ["INVENTORY", *(["COUNT_ARRIVALS"] if version >= wire.ARRIVALS else [])]


async def test_an_older_plane_without_calls_makes_room_for_a_newer_one(tmp_path: Path) -> None:
    """At the start of a gateway; it has ended before the other is asked to bind what it had bound."""
    plane = native_plane(tmp_path)
    async with older_plane(tmp_path, wire.OLDEST, 0) as process:
        assert not (await plane.start(Told())).flows
        assert await said(process) == ["INVENTORY", "SHUTDOWN"]
        assert process.returncode == 0
        assert plane.process_id not in (None, process.pid)
        assert plane._process.version == wire.VERSION
        assert await plane.counters()
        await plane.close()


@by_row("version", [0, wire.OLDEST - 1, wire.VERSION + 1, 0xFFFF])
async def test_a_plane_that_says_a_version_of_nobodys_is_refused_in_words(tmp_path: Path, version: int) -> None:
    """It is left alone: what it holds may be another gateway's."""
    async with older_plane(tmp_path, version, 0) as process:
        with pytest.raises(PlaneError, match=f"speaks version {version}") as caught:
            await native_plane(tmp_path).start(Told())
        assert caught.value.code == "version"
        assert await said(process) == []


async def test_the_plane_speaks_the_version_of_an_older_gateway(tmp_path: Path) -> None:
    """The newest that both know."""
    plane = native_plane(tmp_path)
    await plane.start(Told())
    await plane.open_pair(5, "127.0.0.1", 0)
    plane.open_flow(6, 5, FlowConfig())
    await figures(plane, 6)
    await leave(plane)
    try:
        reader, writer = await asyncio.open_unix_connection(tmp_path / SOCKET)
        greeting = wire.MAGIC + struct.pack("!HH", wire.OLDEST, wire.OLDEST) + bytes(wire.NONCE)
        writer.write(wire.frame(wire.Down.HELLO, greeting))
        async with asyncio.timeout(30):
            _, kind, version = struct.unpack("!IBH", await reader.readexactly(7))
        assert (kind, version) == (wire.Up.HELLO, wire.OLDEST)
        writer.close()
    finally:
        await plane.start(Told())
        await plane.close()
