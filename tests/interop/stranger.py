"""Somebody who is no party to any call: raw datagrams from an address of its own, and SIP written by hand."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

HOST = "127.0.0.66"
"""Still loopback, yet not the address of any peer; rate limits and lock-outs are by source address."""

SDP = (
    "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
    "m=audio 40666 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)


class Stranger(asyncio.DatagramProtocol):
    """One UDP socket; what comes back is kept."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, tuple[str, int]]] = []
        self._arrived = asyncio.Event()
        self._transport: asyncio.DatagramTransport
        self._count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.append((data, addr))
        self._arrived.set()

    async def more_than(self, count: int, timeout: float = 30.0) -> None:
        """Wait until more than `count` datagrams have come."""
        async with asyncio.timeout(timeout):
            while len(self.received) <= count:
                self._arrived.clear()
                await self._arrived.wait()

    @property
    def place(self) -> tuple[str, int]:
        host, port = self._transport.get_extra_info("sockname")[:2]
        return str(host), int(port)

    def send(self, data: bytes, target: tuple[str, int]) -> None:
        self._transport.sendto(data, target)

    def close(self) -> None:
        self._transport.close()

    def request(
        self,
        method: str,
        uri: str,
        *,
        user: str = "mallory",
        to: str | None = None,
        call_id: str | None = None,
        from_tag: str = "m4ll0ry",
        to_tag: str = "",
        cseq: int = 1,
        headers: tuple[str, ...] = (),
        body: str = "",
        branch: str | None = None,
    ) -> bytes:
        """A request as text on the wire."""
        self._count += 1
        host, port = self.place
        host = f"[{host}]" if ":" in host else host
        domain = uri.partition(":")[2].rpartition("@")[2]
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {host}:{port};rport;branch={branch or f'z9hG4bK{port}x{self._count}'}",
            "Max-Forwards: 70",
            f"From: <sip:{user}@{domain}>;tag={from_tag}",
            f"To: <{to or uri}>{f';tag={to_tag}' if to_tag else ''}",
            f"Call-ID: {call_id or f'stranger-{port}-{self._count}'}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:{user}@{host}:{port}>",
            *headers,
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    async def ask(self, request: bytes, target: tuple[str, int], timeout: float = 30.0) -> bytes:
        """Send it once; its first final response, which is acknowledged where it answers an INVITE."""
        call_id = re.search(rb"Call-ID: (\S+)", request)
        cseq = re.search(rb"\r\nCSeq: ([^\r]+)", request)
        assert call_id is not None
        assert cseq is not None
        seen = len(self.received)
        self.send(request, target)
        async with asyncio.timeout(timeout):
            while True:
                for data, _ in self.received[seen:]:
                    if _answers(data, call_id[1], cseq[1]):
                        if request.startswith(b"INVITE"):
                            self._acknowledge(request, data, target)
                        return data
                self._arrived.clear()
                await self._arrived.wait()

    def _acknowledge(self, request: bytes, response: bytes, target: tuple[str, int]) -> None:
        to = re.search(rb"\r\n(?:To|t): ?([^\r]+)", response)
        assert to is not None
        head = request.partition(b"\r\n\r\n")[0].replace(b"INVITE", b"ACK")
        head = re.sub(rb"\r\nTo: [^\r]+", lambda _: b"\r\nTo: " + to[1], head)
        head = re.sub(rb"\r\n(Content-[^\r]+|Authorization[^\r]+)", b"", head)
        self.send(head + b"\r\nContent-Length: 0\r\n\r\n", target)

    async def status(self, request: bytes, target: tuple[str, int]) -> int:
        """The status of the final response."""
        return status_of(await self.ask(request, target))


def _answers(data: bytes, call_id: bytes, cseq: bytes) -> bool:
    return call_id in data and cseq in data and not data.startswith(b"SIP/2.0 1")


def status_of(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


def authorization(response: bytes, method: str, uri: str, username: str, password: str) -> str:
    """The Authorization header that answers the challenge in `response` (RFC 7616, MD5, qop=auth)."""
    text = response.decode()
    nonce, realm = re.search(r'nonce="([^"]+)"', text), re.search(r'realm="([^"]+)"', text)
    assert nonce is not None
    assert realm is not None
    cnonce = os.urandom(4).hex()
    ha1 = _md5(f"{username}:{realm[1]}:{password}")
    answer = _md5(f"{ha1}:{nonce[1]}:00000001:{cnonce}:auth:{_md5(f'{method}:{uri}')}")
    return (
        f'Authorization: Digest username="{username}", realm="{realm[1]}", nonce="{nonce[1]}", uri="{uri}", '
        f'response="{answer}", algorithm=MD5, qop=auth, nc=00000001, cnonce="{cnonce}"'
    )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@contextlib.asynccontextmanager
async def stranger(host: str = HOST, port: int = 0) -> AsyncIterator[Stranger]:
    """A socket on `host`; port 0: any."""
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_datagram_endpoint(Stranger, local_addr=(host, port))
    try:
        yield protocol
    finally:
        protocol.close()
        await asyncio.sleep(0)  # the loop closes the socket in its next turn


def own_udp_ports(first: int, last: int) -> list[int]:
    """UDP ports of this process and its packet plane within a range, by the kernel's own table."""
    inodes = set()
    for process in (Path("/proc/self"), *_children()):
        for entry in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(entry.readlink().name)
    found = []
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        port = int(fields[1].rpartition(":")[2], 16)
        if first <= port <= last and f"socket:[{fields[9]}]" in inodes:
            found.append(port)
    return sorted(found)


def _children() -> Iterator[Path]:
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if f"\nPPid:\t{os.getpid()}\n" in status.read_text():
                yield status.parent


@contextlib.asynccontextmanager
async def longest_step() -> AsyncIterator[list[float]]:
    """Ticks while the block runs; [0] is then the longest time the event loop was held up by one step, in ms.

    It is this thread's processor time between two ticks: other processes of a busy machine do not count. What other
    tests have left is not looked at by the collector meanwhile.
    """
    gc.collect()
    gc.freeze()
    worst = [0.0]

    async def tick() -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(0.001)
            now = time.thread_time()
            worst[0] = max(worst[0], (now - before) * 1000)
            before = now

    ticking = asyncio.create_task(tick())
    try:
        await asyncio.sleep(0.01)
        yield worst
        await asyncio.sleep(0.01)
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
