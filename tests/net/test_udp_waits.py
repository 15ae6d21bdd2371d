"""How long datagrams wait to be read, as the kernel has stamped them: what a process knows of its own lateness."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import closing
from types import SimpleNamespace

import pytest

from gateway.net import packet_info, udp
from gateway.net.udp import UdpLimits, UdpListener, open_udp
from gateway.sip.flow import Flow
from tests.rows import by_row


async def _listener(host: str, read: asyncio.Queue[bytes], buffer: int = 1 << 20) -> UdpListener:
    def receive(data: bytes, flow: Flow) -> None:
        read.put_nowait(data)

    return await open_udp(host, 0, receive, lambda data, flow: None, UdpLimits(receive_buffer=buffer))


@pytest.mark.wall
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_a_datagram_that_waited_is_told_once(host: str) -> None:
    """The longest since the last question; a loop that reads in time has none that waited for long."""
    read: asyncio.Queue[bytes] = asyncio.Queue()
    listener = await _listener(host, read)
    with closing(listener), closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        sender.sendto(b"late", ("127.0.0.1", listener.port))
        time.sleep(0.3)  # noqa: ASYNC251  # the loop is held up
        assert await asyncio.wait_for(read.get(), 10) == b"late"
        assert listener.waited() >= 0.29
        assert listener.waited() == 0.0


@by_row(("waited", "counted"), [(0.01, 0.01), (0.1, 0.5), (0.7, 0.7)])
async def test_datagrams_without_room_count_where_what_is_read_is_late(
    monkeypatch: pytest.MonkeyPatch, waited: float, counted: float
) -> None:
    """A flood of junk fills the buffer of a loop that is in time: nobody's call is refused for that."""

    def came_at(ancillary: packet_info.Ancillary) -> tuple[float, int]:
        return 1000.0 - waited, real(ancillary)[1]

    real = packet_info.came_at
    monkeypatch.setattr(packet_info, "came_at", came_at)
    monkeypatch.setattr(udp, "time", SimpleNamespace(time=lambda: 1000.0))
    read: asyncio.Queue[bytes] = asyncio.Queue()
    listener = await _listener("127.0.0.1", read, buffer=4096)
    with closing(listener), closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        for _ in range(200):
            sender.sendto(bytes(1000), ("127.0.0.1", listener.port))
        await asyncio.wait_for(read.get(), 10)
        while not read.empty():
            read.get_nowait()
        listener.waited()
        sender.sendto(b"after", ("127.0.0.1", listener.port))
        async with asyncio.timeout(10):
            while await read.get() != b"after":
                pass
        assert listener.waited() == pytest.approx(counted)
