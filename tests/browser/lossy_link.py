"""A way between browsers and the gateway that loses packets of media, or is narrow: a UDP relay, a socket a browser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from random import Random
from types import TracebackType
from typing import Any

from gateway.media.embedded.engine import EmbeddedEngine

Address = tuple[str, int]
_MEDIA = range(128, 192)
"""First octets of RTP and RTCP (RFC 7983)."""


def by(engine: EmbeddedEngine, sdp: str, port: int) -> str:
    """The description with the gateway behind a link at that port."""
    ours = f"127.0.0.1 {engine.port.addresses[0][1]} typ"
    lines = [line for line in sdp.splitlines() if not line.startswith("a=candidate") or ours in line]
    return "".join(f"{line}\r\n" for line in lines).replace(ours, f"127.0.0.1 {port} typ")


class _Bottleneck:
    """One direction's narrow place, with a queue before it."""

    def __init__(self) -> None:
        self.bits: float | None = None
        """Bits a second that come through, IP and UDP counted in; None: any number."""
        self.queue = 0.4
        """Seconds that a datagram may wait for its turn; more are lost."""
        self._free_at = 0.0

    def pass_on(self, size: int, send: Callable[[], None]) -> None:
        """Have a datagram of `size` octets sent when it is through; where the queue is full it is lost."""
        if self.bits is None:
            send()
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        begins = max(now, self._free_at)
        if begins - now < self.queue:
            self._free_at = begins + 8 * (size + 28) / self.bits
            loop.call_at(self._free_at, send)


class LossyLink:
    """An async context manager. What is lost is decided by `share`, from 0 to 1, which may be changed at any time."""

    def __init__(self, port: int, gateway: Address, seed: int = 1) -> None:
        """Listens at 127.0.0.1:`port`, and passes on to `gateway`."""
        self.share = 0.0
        self.from_browsers, self.to_browsers = _Bottleneck(), _Bottleneck()
        self._port, self._gateway = port, gateway
        self._random = Random(seed)
        self._front: asyncio.DatagramTransport
        self._ways: dict[Address, asyncio.Future[asyncio.DatagramTransport]] = {}

    async def __aenter__(self) -> LossyLink:
        loop = asyncio.get_running_loop()
        self._front, _ = await loop.create_datagram_endpoint(
            lambda: _Receiver(self._from_browser), local_addr=("127.0.0.1", self._port)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._front.close()
        for way in self._ways.values():
            (await way).close()

    def _is_lost(self, data: bytes) -> bool:
        return bool(data) and data[0] in _MEDIA and self._random.random() < self.share

    def _from_browser(self, data: bytes, source: Address) -> None:
        way = self._ways.get(source)
        if way is None:
            way = self._ways[source] = asyncio.ensure_future(self._open(source))
        if not self._is_lost(data):
            self.from_browsers.pass_on(len(data), partial(way.add_done_callback, partial(_send_by, data)))

    def _to_browser(self, data: bytes, browser: Address) -> None:
        if not self._front.is_closing():
            self._front.sendto(data, browser)

    async def _open(self, browser: Address) -> asyncio.DatagramTransport:
        def back(data: bytes, _: Address) -> None:
            if not self._is_lost(data):
                self.to_browsers.pass_on(len(data), partial(self._to_browser, data, browser))

        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Receiver(back), remote_addr=self._gateway)
        return transport


def _send_by(data: bytes, way: asyncio.Future[asyncio.DatagramTransport]) -> None:
    if not way.result().is_closing():
        way.result().sendto(data)


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, received: Any) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._received(data, addr)
