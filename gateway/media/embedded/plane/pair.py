"""A phone's two sockets in the Python plane, and the rule of whom they are listened to (see `rtp.latching`)."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

from gateway.media.embedded.plane.around import FlowHost
from gateway.media.embedded.plane.flow import SHORTEST_RTCP, Flow
from gateway.media.embedded.plane.packet import HEADER_SIZE, MAXIMUM_SIZE
from gateway.media.embedded.plane.receive_keys import ReceiveKeys
from gateway.media.embedded.plane.routes import NO_ROUTE
from gateway.media.embedded.plane.send_keys import SendKeys
from gateway.media.embedded.plane.shared import READS
from gateway.media.embedded.plane.srtp import WORKSPACE, SendContext, SrtpKey
from gateway.media.embedded.plane.values import NEVER, Address, Bound, FlowConfig

TAKEN_ALONE = 3
"""Calls in which one datagram is taken, after one in which there was no second."""
STRANGERS_PER_SECOND = 50
"""Packets of other addresses that the engine is asked about, for each flow; the rest is only counted."""
_DATA = WORKSPACE.data


class PairFlow(Flow):
    """One phone: a source that is named or learned, and no other."""

    __slots__ = (
        "_description",
        "_destination",
        "_named",
        "_port",
        "_rtcp_destination",
        "_rtcp_receive_keys",
        "_rtcp_sender",
        "_rtcp_senders",
        "_strangers",
        "_strangers_second",
        "source",
    )

    def __init__(self, number: int, config: FlowConfig, host: FlowHost, port: PairPort) -> None:
        super().__init__(number, config, host)
        self.source: Any = None
        """The only address listened to, as the socket reports it."""
        self._port = port
        self._socket = port.rtp
        self._named: Address | None = None
        self._description = 0
        self._destination: Address | None = None
        self._rtcp_destination: Address | None = None
        self._rtcp_receive_keys = ReceiveKeys(self.discarded)
        self._rtcp_sender: SendContext | None = None
        self._rtcp_senders = SendKeys(self.unsent)
        self._strangers_second = NEVER
        self._strangers = 0
        self.update()

    # What the engine brings

    def expect(self, named: Address | None, description: int) -> None:
        """Packets from `named` become the source by themselves; a changed one or another number forgets the source."""
        if (named, description) != (self._named, self._description):
            self._named, self._description, self.source = named, description, None
        self.update()

    def set_destination(self, rtp: Address | None, rtcp: Address | None) -> None:
        """Where to send while there is no source, and where RTCP goes."""
        self._destination, self._rtcp_destination = rtp, rtcp
        self.update()

    @property
    def is_probed(self) -> bool:
        return False

    def forward(
        self,
        second: int,
        sequence_number: int,
        timestamp: int,
        highest: int,
        start: int,
        end: int,
        now: float,
        turned: int | None = None,
    ) -> None:
        if start < end:
            super().forward(second, sequence_number, timestamp, highest, start, end, now, turned)
        elif self.stream is not None:
            self.stream.skip()

    def set_rtcp_keys(self, receive: SrtpKey, send: SrtpKey) -> None:
        """Keys of RTCP alone; those used before go on where they stopped, and under a spent one nothing leaves."""
        self._rtcp_receive_keys.set(receive, b"", self._host.clock())
        self._rtcp_sender = self._rtcp_senders.context(send)
        if self._rtcp_sender is None:
            # It would go under the key of RTP.
            self.sender = None
            self.update()

    def drop_keys(self) -> None:
        self._rtcp_receive_keys.drop()
        self._rtcp_sender = None
        super().drop_keys()

    @property
    def rtcp_keys(self) -> ReceiveKeys:
        apart = self._rtcp_receive_keys
        return self.receive_keys if apart.current is None else apart

    @property
    def rtcp_sender(self) -> SendContext | None:
        return self._rtcp_sender or self.sender

    @property
    def _learned(self) -> Address | None:
        """The source without what a socket of IPv6 says beside it: the engine, which may have named it, has no more."""
        return None if self.source is None else self.source[:2]

    def update(self) -> None:
        self._address = self.source or self._destination
        mux = self.config.mux
        self._rtcp_address = self._address if mux else self._rtcp_destination
        self._rtcp_socket = self._port.rtp if mux else self._port.rtcp
        super().update()

    def close(self) -> None:
        self.source = self._destination = self._rtcp_destination = None
        super().close()

    def admit_source(self, source: Address, datagram: bytes, now: float) -> None:
        """Listen to `source` if its datagram is authentic, which is then processed."""
        size = WORKSPACE.put(datagram)
        if size < HEADER_SIZE or size > MAXIMUM_SIZE:
            return
        if self._accept(size, source, now):
            self.discarded["wrong_source"] = self.discarded.get("wrong_source", 1) - 1
            if not self.discarded["wrong_source"]:
                del self.discarded["wrong_source"]

    # What the network brings

    def datagram(self, size: int, address: Any, now: float) -> None:
        """One datagram on the RTP socket."""
        if is_dtls(size):
            self._dtls(size, self._port.rtp_bound.path, address, now)
        elif size < HEADER_SIZE or size > MAXIMUM_SIZE or _DATA[0] >> 6 != 2:
            if SHORTEST_RTCP <= size <= MAXIMUM_SIZE and _DATA[0] >> 6 == 2 and 192 <= _DATA[1] <= 223:
                self._rtcp_beside_rtp(size, address, now)
            else:
                self.discard("malformed")
        elif 192 <= _DATA[1] <= 223:
            self._rtcp_beside_rtp(size, address, now)
        elif address == self.source:
            self.receive(size, now)
        elif address[:2] in (self._named, self._learned):
            self._accept(size, address, now)
        else:
            self._stranger(size, address, now)

    def _rtcp_beside_rtp(self, size: int, address: Any, now: float) -> None:
        """RTCP on the RTP socket."""
        if self.config.mux:
            self.rtcp_datagram(size, address, now)
        else:
            self.discard("unexpected_rtcp")

    def _accept(self, size: int, address: Any, now: float) -> bool:
        """Make `address` the source if its packet may come, and is authentic or at least well-formed."""
        action = self._table.action
        if action[_DATA[1] & 0x7F] == NO_ROUTE and any(each != NO_ROUTE for each in action):
            self.discard("wrong_source")
            return False
        before, learned = self.source, self._learned
        self.source = address
        self.update()
        if self.receive(size, now, is_source=learned == address[:2]):
            if learned != address[:2]:
                self._host.handler.source_learned(self.number, address[:2], self._description, now)
            return True
        self.source = before
        self.update()
        return False

    def _stranger(self, size: int, address: Any, now: float) -> None:
        self.discard("wrong_source")
        if self._may_ask(now):
            data = bytes(_DATA[:size])
            path = self._port.rtp_bound.path
            self._host.handler.stranger(self.number, path, address[:2], data, self.heard, now)

    def _is_peer(self, address: Address) -> bool:
        """Whether RTCP from there is the peer's as far as addresses tell (RFC 3550 section 11, RFC 3605)."""
        if not self.config.mux and address == self._rtcp_destination:
            return True
        known = self.source or self._named
        return known is not None and address == (known[0], known[1] + (not self.config.mux))

    def _may_ask(self, now: float) -> bool:
        if now - self._strangers_second >= 1.0:
            self._strangers_second, self._strangers = now, 0
        self._strangers += 1
        return self._strangers <= STRANGERS_PER_SECOND

    def _dtls(self, size: int, path: int, address: Any, now: float) -> None:
        """One DTLS datagram; from whom it is taken the handler knows."""
        source: Address = address[:2]
        if not self.config.secure:
            self.discard("malformed")
        elif source in (self._named, self._rtcp_destination, self._learned):
            self.receive_dtls(size, path, source, now)
        elif self._may_ask(now):
            self._host.handler.dtls(self.number, path, source, bytes(_DATA[:size]), now)
        else:
            self.discard("rate")

    def rtcp_socket_datagram(self, size: int, address: Any, now: float) -> None:
        """One datagram on the RTCP socket."""
        if is_dtls(size):
            self._dtls(size, self._port.rtcp_bound.path, address, now)
        else:
            self.rtcp_datagram(size, address, now)

    def rtcp_datagram(self, size: int, address: Any, now: float) -> None:
        """One datagram that is RTCP, on either socket; its source is for the handler to judge.

        Of others than the peer few are taken: they count for its packets a second.
        """
        if not SHORTEST_RTCP <= size <= MAXIMUM_SIZE or _DATA[0] >> 6 != 2 or not 192 <= _DATA[1] <= 223:
            self.discard("malformed")
        elif not self._is_peer(address[:2]) and not self._may_ask(now):
            self.discard("rate")
        else:
            bound = self._port.rtp_bound if self.config.mux else self._port.rtcp_bound
            self.receive_rtcp(size, bound.path, address[:2], now)

    def addresses(self) -> tuple[Address | None, Address | None, Mapping[tuple[int, Address], float]]:
        return self._learned, self._address[:2] if self._address is not None else None, {}


def is_dtls(size: int) -> bool:
    """Whether the datagram in the workspace is DTLS (RFC 7983)."""
    return SHORTEST_RTCP <= size <= MAXIMUM_SIZE and 20 <= _DATA[0] <= 63


class PairPort:
    """Two bound sockets: even for RTP, the next for RTCP (RFC 3550 section 11)."""

    shared = False

    def __init__(self, rtp: socket.socket, rtcp: socket.socket, paths: tuple[int, int]) -> None:
        self.rtp, self.rtcp = rtp, rtcp
        self.rtp_bound = Bound(path=paths[0], address=rtp.getsockname()[:2])
        self.rtcp_bound = Bound(path=paths[1], address=rtcp.getsockname()[:2])
        self.flow: PairFlow | None = None

    @property
    def bounds(self) -> tuple[Bound, ...]:
        return self.rtp_bound, self.rtcp_bound

    @property
    def flows(self) -> tuple[Flow, ...]:
        return () if self.flow is None else (self.flow,)

    def readers(
        self, clock: Callable[[], float], failed: Callable[[], None]
    ) -> list[tuple[socket.socket, Callable[[], None]]]:
        """What to call when each socket can be read."""
        return [
            (self.rtp, self._reader(self.rtp, PairFlow.datagram, clock, failed)),
            (self.rtcp, self._reader(self.rtcp, PairFlow.rtcp_socket_datagram, clock, failed)),
        ]

    def _reader(
        self,
        bound: socket.socket,
        take: Callable[[PairFlow, int, Any, float], None],
        clock: Callable[[], float],
        failed: Callable[[], None],
    ) -> Callable[[], None]:
        """What takes the datagrams that wait in a socket, up to a number: strangers may send more than the phone does.

        A phone sends no bursts, and asking for what is not there costs a third of a packet. So where there was one
        alone, the next few calls take one without asking for more.
        """
        receive = bound.recvfrom_into
        alone = 0

        def read() -> None:
            nonlocal alone
            for number in range(READS):
                try:
                    size, address = receive(_DATA)
                except OSError:
                    # Nothing more, or an ICMP error that the media timer will tell of.
                    alone = TAKEN_ALONE if number == 1 else 0
                    return
                flow = self.flow
                if flow is not None:
                    try:
                        take(flow, size, address, clock())
                    except Exception:
                        # An exception that reached the event loop here could cost every other call.
                        flow.discard("internal_error")
                        failed()
                if alone:
                    alone -= 1
                    return

        return read

    def send(self, path: int, data: bytes, address: Address) -> bool:
        """Send a datagram as it is by the socket that `path` names, at once or not at all."""
        try:
            (self.rtp if path == self.rtp_bound.path else self.rtcp).sendto(data, address)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close both sockets."""
        if self.flow is not None:
            self.flow.close()
            self.flow = None
        self.rtp.close()
        self.rtcp.close()
