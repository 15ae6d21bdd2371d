"""Our sockets as one: which listener a flow uses, and what a peer on it is told of our address."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

from gateway.net.udp import UdpLimits, UdpListener, open_udp
from gateway.sip.flow import Flow

Bound = tuple[str, str, int]
"""(transport, host, port)."""


MAX_ROUTES = 4096
"""Peers whose way out is remembered."""


class Endpoint:
    """All transports behind one `send`; `receive` gets each datagram with its flow."""

    def __init__(
        self,
        receive: Callable[[bytes, Flow], None],
        send_failed: Callable[[Flow], None],
        advertised: tuple[str, int | None] | None = None,
        udp_limits: UdpLimits | None = None,
    ) -> None:
        self._receive = receive
        self._send_failed = send_failed
        self._advertised = advertised
        self._udp_limits = udp_limits
        self._udp: list[UdpListener] = []
        self._by_local: dict[str, UdpListener] = {}
        self._routes: dict[str, str] = {}

    async def open(self, listen: tuple[tuple[str, int], ...]) -> None:
        """Bind every (host, port); raises OSError, and closes what was bound, when one is not to be had."""
        try:
            for host, port in listen:
                listener = await open_udp(host, port, self._receive, self._send_failed, self._udp_limits)
                self._udp.append(listener)
                self._by_local[listener.local] = listener
        except OSError:
            self.close()
            raise

    @property
    def listening(self) -> tuple[Bound, ...]:
        """What is bound, with real ports."""
        return tuple(("udp", listener.host, listener.port) for listener in self._udp)

    @property
    def dropped(self) -> int:
        """Datagrams that the kernel did not take."""
        return sum(listener.dropped for listener in self._udp)

    def send(self, data: bytes, flow: Flow) -> None:
        """Send to a flow; one without `local` goes out by the first listener of its address family."""
        listener = self._by_local.get(flow.local) or self._choose(flow)
        if listener is None:
            self._send_failed(flow)
            return
        listener.send(data, flow)

    def _choose(self, flow: Flow) -> UdpListener | None:
        if flow.transport != "udp":
            return None
        six = ":" in flow.host
        candidates = [listener for listener in self._udp if (":" in listener.host) == six]
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        # A socket bound to loopback reaches nobody outside, and the other way round.
        near = _is_loopback(flow.host)
        return next((one for one in candidates if _is_loopback(one.host) == near), candidates[0])

    def sent_by(self, flow: Flow) -> tuple[str, int | None]:
        """Our (host, port) for a peer on `flow`: the advertised address, else the listener's own."""
        listener = self._by_local.get(flow.local) or self._choose(flow)
        host, port = (listener.host, listener.port) if listener is not None else ("127.0.0.1", 5060)
        if self._advertised is not None and not _is_loopback(flow.host):
            return self._advertised[0], self._advertised[1] or port
        if host in ("0.0.0.0", "::"):
            host = self._own_address(flow.host, host)
        return host, port

    def _own_address(self, peer: str, bound: str) -> str:
        """Which of our addresses the kernel would reach `peer` from; asking it sends nothing."""
        known = self._routes.get(peer)
        if known is None:
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            known = self._routes[peer] = _address_toward(peer, bound)
        return known

    def close(self) -> None:
        """Close every socket."""
        for listener in self._udp:
            listener.close()
        self._udp.clear()
        self._by_local.clear()


def _address_toward(peer: str, bound: str) -> str:
    family = socket.AF_INET6 if bound == "::" else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            ipaddress.ip_address(peer)
            probe.connect((peer, 9))
            address: str = probe.getsockname()[0]
        except (OSError, ValueError):
            return "::1" if family == socket.AF_INET6 else "127.0.0.1"
    return address


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
