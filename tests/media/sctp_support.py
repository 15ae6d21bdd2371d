"""Our SCTP association and a browser's, which is aiortc's, over a wire that may go deaf."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiortc.rtcdatachannel import RTCDataChannel, RTCDataChannelParameters
from aiortc.rtcsctptransport import (
    Chunk,
    DataChunk,
    RTCSctpCapabilities,
    RTCSctpTransport,
    SackChunk,
    serialize_packet,
)

from gateway.media.embedded.data.sctp import Channel, SctpAssociation
from tests.media.engine_support import until

UNORDERED, FIRST, LAST = 4, 2, 1
BINARY = 53


class Wire:
    """What the browser's aiortc has for DTLS: each datagram arrives in the order it was sent, soon."""

    state = "connected"
    _role = "client"

    def __init__(self, deliver: Callable[[bytes], None]) -> None:
        self._deliver = deliver

    def _register_data_receiver(self, receiver: object) -> None: ...

    def _unregister_data_receiver(self, receiver: object) -> None: ...

    async def _send_data(self, data: bytes) -> None:
        asyncio.get_running_loop().call_soon(self._deliver, data)


class Pair:
    """Our association and the browser's."""

    def __init__(self, max_channels: int, max_waiting: int) -> None:
        self.opened: list[Channel] = []
        self.deaf = False
        self.ours = SctpAssociation(
            self._arrive,
            self.opened.append,
            is_client=False,
            port=5000,
            max_channels=max_channels,
            max_message=65_536,
            max_waiting=max_waiting,
        )
        self.sctp: Any = self.ours._sctp
        self.browser: Any = RTCSctpTransport(Wire(self.ours.receive), 5000)  # type: ignore[arg-type]
        self._arriving: asyncio.Queue[bytes] = asyncio.Queue()
        self.reader = asyncio.create_task(self._read())

    def _arrive(self, data: bytes) -> None:
        if not self.deaf:
            self._arriving.put_nowait(data)

    async def _read(self) -> None:
        while True:
            await self.browser._handle_data(await self._arriving.get())

    def open(self, label: str) -> RTCDataChannel:
        return RTCDataChannel(self.browser, RTCDataChannelParameters(label=label))

    def inject(self, *chunks: Chunk) -> None:
        """One datagram of the browser, with all of these."""
        bodies = b"".join(bytes(chunk) for chunk in chunks[1:])
        whole = Joined(bytes(chunks[0]) + bodies)
        self.ours.receive(serialize_packet(5000, 5000, self.browser._remote_verification_tag, whole))

    def sack(self, *gaps: tuple[int, int], behind: int = 0) -> SackChunk:
        """One of what we sent last but `behind`."""
        chunk = SackChunk()
        chunk.cumulative_tsn = (self.sctp._local_tsn - 1 - behind) % 2**32
        chunk.advertised_rwnd = 65_536
        chunk.gaps = list(gaps)
        return chunk

    def data(self, ahead: int, flags: int = UNORDERED | FIRST | LAST, stream: int = 0, octets: int = 1) -> DataChunk:
        """One whose TSN is so far ahead of what came."""
        chunk = DataChunk(flags)
        chunk.tsn = (self.sctp._last_received_tsn + ahead) % 2**32
        chunk.stream_id, chunk.protocol, chunk.user_data = stream, BINARY, b"x" * octets
        return chunk


class Joined(Chunk):
    """Several chunks where one is expected."""

    def __init__(self, octets: bytes) -> None:
        super().__init__()
        self._octets = octets

    def __bytes__(self) -> bytes:
        return self._octets


@asynccontextmanager
async def paired(channels: int = 1, max_waiting: int = 1_048_576) -> AsyncIterator[tuple[Pair, list[RTCDataChannel]]]:
    """With so many channels, each open at both."""
    pair = Pair(max(channels, 2), max_waiting)
    try:
        pair.ours.start(5000, 65_536)
        await pair.browser.start(RTCSctpCapabilities(maxMessageSize=65_536), 5000)
        theirs = [pair.open(str(number)) for number in range(channels)]
        await until(lambda: all(each.readyState == "open" for each in theirs))
        await until(lambda: not pair.sctp._sent_queue)
        yield pair, theirs
    finally:
        pair.ours.close()
        await pair.browser.stop()
        pair.reader.cancel()
