"""SIP over TCP through the whole gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.app import GatewayApp
from gateway.config import load
from tests.ports import free_ports


async def test_a_phone_reaches_the_gateway_over_tcp_too(tmp_path: Path) -> None:
    """`sip.listen` with tcp: answers OPTIONS on the connection it came by, and is told among the addresses."""
    web, sip, webrtc, rtp = free_ports(4)
    environ = {
        "GATEWAY_SIP__LISTEN": f'["udp:127.0.0.1:{sip}", "tcp:127.0.0.1:{sip}"]',
        "GATEWAY_WEB__LISTEN": f"127.0.0.1:{web}",
        "GATEWAY_WEBRTC__LISTEN": f"127.0.0.1:{webrtc}",
        "GATEWAY_RTP__PORTS": f"{rtp}-{rtp + 9}",
        "GATEWAY_IDENTITY__STORE": "memory",
        "GATEWAY_STATE_DIR": str(tmp_path),
    }
    app = GatewayApp(load(None, environ))
    await app.start()
    try:
        assert f"tcp:127.0.0.1:{sip}" in app.sip_addresses
        reader, writer = await asyncio.open_connection("127.0.0.1", sip)
        writer.write(
            b"OPTIONS sip:gateway.local SIP/2.0\r\n"
            b"Via: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bKtcp1\r\n"
            b"From: <sip:probe@gateway.local>;tag=a\r\nTo: <sip:gateway.local>\r\n"
            b"Call-ID: tcp-probe\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        )
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        writer.close()
        assert head.startswith(b"SIP/2.0 200 ")
        assert b"\r\nAllow: " in head
    finally:
        await app.stop()
