"""What a stranger throws at a leg."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Iterator

from gateway.media.embedded.plane.srtp import SrtpKey, SrtpProfile
from gateway.media.embedded.webrtc.leg import WebRtcLeg
from tests.media.dtls_support import CLIENT_HELLO_NULL_CIPHER, CLOSE_NOTIFY, FATAL_ALERT, client_hello
from tests.media.ice_support import HEADER, with_fingerprint
from tests.media.srtp_pair import SrtpSession
from tests.media.webrtc_support import (
    binding_request,
    rtp,
)


def arsenal(leg: WebRtcLeg) -> list[bytes]:
    """One of each: hello, alert, close, junk, fake RTP and RTCP, forged SRTP, bad STUN."""
    noise = random.Random(5)
    strangers_key = SrtpKey.generate(SrtpProfile.AEAD_AES_128_GCM, noise.randbytes)
    forger = SrtpSession(strangers_key, strangers_key)
    forged = forger.protect(rtp(60000))
    assert forged is not None
    return [
        client_hello(b"\xc0\x2b"),
        CLIENT_HELLO_NULL_CIPHER,
        FATAL_ALERT,
        CLOSE_NOTIFY,
        b"\x16" + noise.randbytes(60),
        noise.randbytes(100),
        rtp(1),
        b"\x80\xc9\x00\x01" + bytes(8),
        b"\x80\xcb\x00\x01\x11\x22\x33\x44",
        b"\x80\xc8\x00\x00",
        forged,
        binding_request(leg, password="wrong"),
        binding_request(leg, username="nobody:peer"),
        with_fingerprint(HEADER + b"\0\x06\xff\xff\0\0\0\0"),
        with_fingerprint(HEADER + b"\0\x24\0\x01\0\0\0\0"),
        b"\0\x01" + noise.randbytes(50),
    ]


@contextlib.contextmanager
def attacking_sockets(count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(count)]
        for attacker in sockets:
            attacker.setblocking(False)
            attacker.bind(("127.0.0.1", 0))
        yield sockets


@contextlib.asynccontextmanager
async def spraying(target: tuple[str, int], weapons: list[bytes]) -> AsyncIterator[dict[str, int]]:
    """Spray from four sockets, about 2,000 datagrams a second, until the block ends; counts what came back."""
    counts = {"sent": 0, "received": 0}

    async def spray(attackers: list[socket.socket]) -> None:
        while True:
            for attacker in attackers:
                for weapon in weapons:
                    with contextlib.suppress(BlockingIOError):
                        attacker.sendto(weapon, target)
                        counts["sent"] += 1
                with contextlib.suppress(BlockingIOError):
                    while attacker.recv(2000):
                        counts["received"] += 1
            await asyncio.sleep(0.03)

    with attacking_sockets(4) as attackers:
        task = asyncio.create_task(spray(attackers))
        try:
            yield counts
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
