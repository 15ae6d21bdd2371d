"""A phone behind NAT, as small as it gets: one request from a bare socket, and the response that finds the way back."""

from __future__ import annotations

import asyncio
import socket
import sys

from gateway.sip import COOKIE, NameAddr, Response, Uri, Via, build, parse_message


async def probe(target: str, way: tuple[NameAddr, ...], max_forwards: int) -> Response:
    """Send an OPTIONS with a Via that claims a private address; the response to it."""
    me = NameAddr(Uri.of("probe", "10.0.0.5"))
    uri = Uri.parse(target)
    request = build.request(
        "OPTIONS", uri, from_=me.with_tag("p"), to=NameAddr(uri), call_id=f"probe-{max_forwards}", cseq=1, route=way,
        max_forwards=max_forwards,
    )  # fmt: skip
    via = Via("UDP", "10.0.0.5", 5060, (("branch", f"{COOKIE}-{max_forwards}"), ("rport", None)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        mine.setblocking(False)
        loop = asyncio.get_running_loop()
        mine.bind(("127.0.0.1", 0))
        await loop.sock_sendto(mine, build.with_via(request, via).write(), (way[0].uri.host, way[0].uri.port))
        try:
            answer = parse_message(await asyncio.wait_for(loop.sock_recv(mine, 65536), 5))
        except TimeoutError:
            sys.exit(f"FAIL: no answer to OPTIONS by way of {way[0].uri.host}:{way[0].uri.port} came within 5 s")
    assert isinstance(answer, Response)
    return answer
