"""A stateless SIP proxy in one screen: what RFC 3261 section 16.11 asks of it, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib

from hops import Hops

from gateway.net import Flow
from gateway.sip import COOKIE, NameAddr, Request, Response, Uri, Via, build, parse_message, stamp
from gateway.sip import locate as routing


class Proxy(asyncio.DatagramProtocol):
    """One UDP socket that passes requests on and stays in the path of the dialogs they make."""

    def __init__(self, hops: Hops) -> None:
        self.hops = hops
        self.passed: list[str] = []
        """Methods of the requests that went through it."""

    async def start(self) -> None:
        """Bind; the proxy's address becomes a loose route."""
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
        self.host, self.port = self.transport.get_extra_info("sockname")
        self.route = NameAddr(Uri.of(None, self.host, self.port).with_param("lr"))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = parse_message(data)
        self.hops.saw(addr[1], self.port, message)
        if isinstance(message, Request):
            self.forward(message, Flow("udp", *addr))
            return
        # Ours is the top Via; the one below it says where the response goes on to.
        onward = message.with_header("Via", *message.via[1:])
        target = routing.response_targets(onward.top_via)[0]
        self.send(onward, target)

    def forward(self, request: Request, source: Flow) -> None:
        """Stamp, count down, take our Route off, record ourselves, put our Via on top."""
        request = request.with_headers(stamp(request.headers, source))
        left = routing.forward_limit(request)
        if isinstance(left, build.Refusal):
            answer = left.response(request, to_tag="none-left")
            self.send(answer, routing.response_targets(request.top_via)[0])
            return
        request = routing.strip_own_route(request, {(self.host, self.port)}).with_header("Max-Forwards", left)
        if request.method == "INVITE":
            request = request.with_headers(request.headers.prepend("Record-Route", self.route))
        # Without state, one request must always get the same branch, so that repetitions and CANCEL fit.
        branch = COOKIE + hashlib.sha256((request.top_via.branch or "").encode()).hexdigest()[:16]
        onward = build.with_via(request, Via("UDP", self.host, self.port, (("branch", branch),)))
        self.passed.append(onward.method)
        self.send(onward, routing.target_of(routing.next_hop(onward)))

    def send(self, message: Request | Response, target: routing.Target) -> None:
        """Names are not looked up here: on loopback all are addresses."""
        self.hops.saw(self.port, target.port or 5060, message)
        self.transport.sendto(message.write(), (target.host, target.port or 5060))
