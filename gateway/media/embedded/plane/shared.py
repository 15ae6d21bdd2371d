"""The browsers' one port in the Python plane: STUN, DTLS and SRTP told apart by the first byte (RFC 7983).

Everything but STUN finds its flow by the address it comes from, and only `admit_pair` puts an address into
that table: a stranger's ClientHello, alert or RTP meets no flow at all.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from gateway.media.embedded.plane.around import FlowHost
from gateway.media.embedded.plane.flow import Flow
from gateway.media.embedded.plane.limits import PuntLimit
from gateway.media.embedded.plane.packet import MAXIMUM_SIZE
from gateway.media.embedded.plane.protocol import PlaneHandler
from gateway.media.embedded.plane.srtp import WORKSPACE
from gateway.media.embedded.plane.stun import plain_check, success_response
from gateway.media.embedded.plane.values import Address, Bound, FlowConfig

SHORTEST_SRTP = 12
"""Bytes; an SRTCP header with its index, or an RTP header."""
LONGEST_STUN = 1280
MAX_SENT_SOURCES = 32
"""Sources that may be sent through one transport in its life."""
READS = 32
"""Datagrams read before the loop looks at other sockets."""
_BINDING_REQUEST, _BINDING_SUCCESS = b"\x00\x01", b"\x01\x01"
_DATA = WORKSPACE.data


class SharedHost(FlowHost, Protocol):
    """What the port needs of its plane."""

    handler: PlaneHandler
    strangers: PuntLimit
    """Of STUN of addresses that no check has proved."""
    admitted: PuntLimit
    """Of STUN of those that one has."""

    def count(self, reason: str) -> None: ...

    def internal_error(self) -> None: ...


class SharedFlow(Flow):
    """One browser: the pairs that checks have proved, and the one that is used."""

    __slots__ = ("_keys", "_sources", "pairs", "selected")

    def __init__(self, number: int, config: FlowConfig, host: FlowHost) -> None:
        super().__init__(number, config, host)
        self.pairs: dict[tuple[int, Address], float] = {}
        self.selected: tuple[int, Address] | None = None
        self._keys: dict[str, bytes] = {}
        self._sources: dict[int, int] = {}
        """Flow by the SSRC that it sends with, of all that share this transport."""

    def claim(self, ssrc: int, flow: int) -> bool:
        """Let `flow` send as `ssrc`, unless another flow of this transport has or there were too many."""
        if ssrc not in self._sources and len(self._sources) >= MAX_SENT_SOURCES:
            return False
        return self._sources.setdefault(ssrc, flow) == flow

    def owns(self, ssrc: int, flow: int) -> bool:
        """Whether reports of `ssrc` may go by `flow`; they all may where it shares its transport with none."""
        return not self.bundled or self._sources.get(ssrc) == flow

    def set_credentials(self, credentials: Sequence[tuple[str, str]]) -> None:
        """Our (ufrag, password) in force."""
        self._keys = {ufrag: password.encode() for ufrag, password in credentials}

    def select(self, path: SharedPath, source: Address) -> None:
        """Send everything there."""
        if (path.number, source) in self.pairs:
            self.selected = path.number, source
            self._socket = self._rtcp_socket = path.socket
            self._address = self._rtcp_address = source
            self.update()

    def forget(self, path: int, source: Address) -> None:
        """One pair less."""
        self.pairs.pop((path, source), None)
        if self.selected == (path, source):
            self.selected = self._address = self._rtcp_address = None
            self.update()

    def answer_check(self, data: bytes, path: SharedPath, source: Address, now: float) -> bool:
        """Answer a check of an admitted pair that asks for nothing but an answer; False for all others."""
        found = plain_check(data, self._keys.get, selected=self.selected == (path.number, source), limit=LONGEST_STUN)
        if found is None:
            return False
        self.pairs[path.number, source] = self.heard = now
        path.send(success_response(found[0], source, found[1]), source)
        return True

    def addresses(self) -> tuple[Address | None, Address | None, Mapping[tuple[int, Address], float]]:
        address: Address | None = self._address
        return address, address, self.pairs


class SharedPath:
    """One bound socket of the port, and the flows behind the addresses proved on it."""

    def __init__(self, bound: socket.socket, number: int, host: SharedHost, only_from: frozenset[str]) -> None:
        self.socket = bound
        self.number = number
        self.bound = Bound(path=number, address=bound.getsockname()[:2])
        self.flows: dict[Address, SharedFlow] = {}
        self._host = host
        self._only_from = only_from

    def send(self, data: bytes, address: Address) -> bool:
        """Send at once or not at all: late media is worthless, and a queue would have no bound."""
        try:
            self.socket.sendto(data, address)
        except OSError:
            return False
        return True

    def read(self, receive: Callable[[memoryview], tuple[int, Any]], clock: Callable[[], float]) -> None:
        """Take what waits in the socket, up to a number."""
        for _ in range(READS):
            try:
                size, address = receive(_DATA)
            except BlockingIOError:
                return
            except OSError:
                self._host.count("socket_error")
                return
            self.datagram(size, address if len(address) == 2 else address[:2], clock())

    def datagram(self, size: int, address: Address, now: float) -> None:
        """The packet path: one datagram in the workspace."""
        try:
            if self._only_from and address[0] not in self._only_from:
                self._host.count("foreign")
                return
            if size < SHORTEST_SRTP:
                self._host.count("short")
                return
            first = _DATA[0]
            flow = self.flows.get(address)
            if 128 <= first <= 191:
                if flow is None:
                    self._host.count("unproved_media")
                elif size > MAXIMUM_SIZE:
                    flow.discard("malformed")
                elif 192 <= _DATA[1] <= 223:
                    flow.receive_rtcp(size, self.number, address, now)
                else:
                    flow.receive(size, now)
            elif first <= 3:
                self._stun(size, flow, address, now)
            elif 20 <= first <= 63:
                if flow is None:
                    self._host.count("unproved_dtls")
                else:
                    flow.receive_dtls(size, self.number, address, now)
            else:
                self._host.count("unknown_protocol")
        except Exception:
            # An exception that reached the event loop here would close the port under every call.
            self._host.internal_error()

    def _stun(self, size: int, flow: SharedFlow | None, address: Address, now: float) -> None:
        data, host = bytes(_DATA[:size]), self._host
        if data[:2] not in (_BINDING_REQUEST, _BINDING_SUCCESS):
            host.count("stun_not_request")
        elif data[:2] == _BINDING_REQUEST and flow is not None and flow.answer_check(data, self, address, now):
            pass
        elif (host.strangers if flow is None else host.admitted).allows(address, now):
            host.handler.stun(self.number, address, data, now)
        else:
            host.count("punts_limited")


class SharedPort:
    """The sockets of the port."""

    shared = True

    def __init__(self, paths: Sequence[SharedPath]) -> None:
        self.paths = tuple(paths)
        self._paths = {path.number: path for path in paths}
        self.members: set[SharedFlow] = set()

    @property
    def bounds(self) -> tuple[Bound, ...]:
        return tuple([path.bound for path in self.paths])

    @property
    def flows(self) -> tuple[Flow, ...]:
        return tuple(self.members)

    def readers(
        self, clock: Callable[[], float], failed: Callable[[], None]
    ) -> list[tuple[socket.socket, Callable[[], None]]]:
        """What to call when each socket can be read."""

        def reader(path: SharedPath) -> Callable[[], None]:
            receive = path.socket.recvfrom_into
            return lambda: path.read(receive, clock)

        return [(path.socket, reader(path)) for path in self.paths]

    def forget(self, flow: SharedFlow) -> None:
        """The flow is closed: its addresses are nobody's."""
        for number, address in flow.pairs:
            path = self._paths.get(number)
            if path is not None and path.flows.get(address) is flow:
                del path.flows[address]
        flow.close()
        self.members.discard(flow)

    def close(self) -> None:
        """Close every socket."""
        for flow in tuple(self.members):
            self.forget(flow)
        for path in self.paths:
            path.socket.close()
