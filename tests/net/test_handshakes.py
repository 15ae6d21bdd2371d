"""A TLS handshake that a peer does not go on with ends in its time."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from gateway.handshakes import Handshakes
from tests.net.certificates import Authority

SECONDS = 3.0


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"])
async def test_a_handshake_ends_in_its_time(tmp_path: Path, sent: bytes) -> None:
    """Silent or with one octet a second, the connection is closed and counts no more."""
    cert, key = Authority(tmp_path).issue("one.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    loop, handshakes = asyncio.get_running_loop(), Handshakes(context, 100, 100, SECONDS)
    server = await loop.create_server(lambda: handshakes.incoming(asyncio.Protocol), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    begun = loop.time()

    async def drip() -> None:
        for octet in sent:
            writer.write(bytes((octet,)))
            await asyncio.sleep(1.0)

    dripping = asyncio.create_task(drip())
    try:
        assert await reader.read() == b""
    except ConnectionResetError:
        pass
    assert SECONDS <= loop.time() - begun < SECONDS + 0.5
    assert len(handshakes) == 0
    dripping.cancel()
    writer.close()
    server.close()
