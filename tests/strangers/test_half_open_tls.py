"""TLS connections whose handshake never ends, to the page and to SIP."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from pathlib import Path

import pytest

from tests.net.certificates import self_signed
from tests.ports import free_port
from tests.strangers.stage import Stage, Way, stage

pytestmark = pytest.mark.wall

HELD = 60
"""Half-open connections of each source, where 20 are allowed."""
SOURCES = 12


async def still_open(sockets: list[socket.socket]) -> int:
    """Return how many of these the gateway has not closed."""
    loop = asyncio.get_running_loop()

    async def is_open(one: socket.socket) -> bool:
        try:
            async with asyncio.timeout(0.5):
                return bool(await loop.sock_recv(one, 1))
        except TimeoutError:
            return True
        except OSError:
            return False

    return sum(await asyncio.gather(*map(is_open, sockets)))


async def handshake(at: Stage, target: tuple[str, int], network: int) -> ssl.SSLObject:
    """Return the TLS of a whole connection from that network, closed again."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(
        sock=await at.socket(target, network), ssl=context, server_hostname="gw.test"
    )
    found = writer.get_extra_info("ssl_object")
    writer.close()
    assert isinstance(found, ssl.SSLObject)
    return found


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("front", ["page", "sip"])
async def test_handshakes_that_never_end_are_few_and_keep_nobody_out(tmp_path: Path, front: str, ipv6: bool) -> None:
    """A source holds no more of them than whole connections, all together no more than a quarter of all."""
    cert, key = self_signed(tmp_path, "gw.test")
    tls = json.dumps({"cert": str(cert), "key": str(key)})
    port = free_port()
    changes = {
        "WEB__TLS": tls,
        "WEB__LIMITS__MAX_CONNECTIONS": "400",
        "WEB__LIMITS__MAX_CONNECTIONS_PER_SOURCE": "20",
        "SIP__TLS": tls,
        "SIP__LISTEN": json.dumps([f"udp:127.0.0.1:{port}", f"tls:{'[::]' if ipv6 else '0.0.0.0'}:{port}"]),
        "SIP__LIMITS__MAX_CONNECTIONS": "400",
        "SIP__LIMITS__MAX_CONNECTIONS_PER_SOURCE": "20",
        "SIP__DOMAIN": "gw.test",
    }
    changes.pop("SIP__DOMAIN")
    async with stage(tmp_path, Way(ipv6, proxied=False), **changes) as at:
        target = at.web if front == "page" else (at.host.here, port)
        held = [await at.socket(target, 1) for _ in range(HELD)]
        assert await still_open(held) == 20
        for network in range(2, SOURCES + 2):
            held += [await at.socket(target, network) for _ in range(HELD)]
        for _ in range(3):
            assert (await handshake(at, target, SOURCES + 2)).version() == "TLSv1.3"
        assert await still_open(held) <= 100
