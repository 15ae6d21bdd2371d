"""What one peer of the Python plane is sent: its keys, its stream with all its numbering, and the way out."""

from __future__ import annotations

import socket
from typing import Any

from gateway.media.embedded.plane.event import has_end
from gateway.media.embedded.plane.kept import Kept
from gateway.media.embedded.plane.outgoing import OutgoingStream
from gateway.media.embedded.plane.packet import HEADER, HEADER_SIZE, one_octet_extension, put_packet
from gateway.media.embedded.plane.send_keys import SendKeys
from gateway.media.embedded.plane.srtp import WORKSPACE, SendContext, SrtpKey
from gateway.media.embedded.plane.values import FlowConfig

_WRAP = 0xFFFFFFFF
_PACK_INTO = HEADER.pack_into
_DATA = WORKSPACE.data


class SendHalf:
    """The half of a flow that sends."""

    __slots__ = (
        "_address",
        "_open",
        "_rtcp_address",
        "_rtcp_socket",
        "_senders",
        "_socket",
        "config",
        "flowing",
        "kept",
        "muted",
        "number",
        "orientation",
        "sender",
        "stream",
        "unsent",
    )

    def __init__(self, number: int, config: FlowConfig) -> None:
        self.number = number
        self.config = config
        self.unsent: dict[str, int] = {}
        self.stream: OutgoingStream | None = None
        self.sender: SendContext | None = None
        self.kept: Kept | None = None
        """What may be sent again."""
        self.orientation = 0
        """Identifier of the header extension that says how a picture lies, both ways; 0: there is none."""
        self.flowing = False
        """Whether relayed packets go out: open, not muted, and there is somewhere to send to."""
        self.muted = False
        self._senders = SendKeys(self.unsent)
        self._open = False
        self._socket: socket.socket | None = None
        self._rtcp_socket: socket.socket | None = None
        self._address: Any = None
        self._rtcp_address: Any = None

    def set_send_key(self, key: SrtpKey) -> None:
        """A key that was used before goes on counting where it was, and nothing leaves under one that is spent."""
        self.sender = self._senders.context(key)
        self.update()

    def start_stream(
        self, ssrc: int, sequence_number: int, timestamp: int, clock_rate: int, *, ends_frames: bool = False
    ) -> None:
        if self.stream is None or self.stream.ssrc != ssrc:
            self.stream = OutgoingStream(ssrc, sequence_number, timestamp, clock_rate, ends_frames=ends_frames)
        else:
            self.stream.set_clock(clock_rate)
        self.update()

    def set_open(self, value: bool) -> None:
        self._open = value
        self.update()

    def set_muted(self, value: bool) -> None:
        self.muted = value
        if self.stream is not None:
            self.stream.event.release()
        self.update()

    @property
    def ready(self) -> bool:
        """Whether anything that is sent would leave."""
        return self._address is not None and (
            self.sender is not None or (self._senders.is_empty and not self.config.secure)
        )

    @property
    def rtcp_sender(self) -> SendContext | None:
        """Context that protects RTCP."""
        return self.sender

    def update(self) -> None:
        """Something that `flowing` depends on has changed."""
        self.flowing = self._open and not self.muted and self.stream is not None and self.ready

    def _extension(self, turned: int | None) -> bytes:
        """The header extension of a packet whose picture lies so, where the peer is to be told."""
        return one_octet_extension(self.orientation, turned) if turned is not None and self.orientation else b""

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
        """Send the payload in the workspace in the place of the incoming packet; only while `flowing`.

        `turned`: how its picture lies, which the header extension before the payload has said.
        """
        stream = self.stream
        if stream is None:
            return
        when = (timestamp + stream.offset) & _WRAP
        if (
            stream.steady
            and sequence_number == highest
            and (when - stream.last_timestamp) & _WRAP <= stream.leap
        ):  # fmt: skip
            # What `place` would find, without the call.
            out = (sequence_number + stream.sequence_offset) & 0xFFFF
            stream.last_sequence_number = out
            stream.last_timestamp = when
            stream.last_sent = now
        else:
            placed = stream.place(sequence_number, timestamp, highest, now)
            if placed is None:
                self.count_unsent("late")
                return
            out, when, marker = placed
            second |= marker
        if self.kept is not None:
            self.kept.keep(out, second, when, bytes(_DATA[start:end]), turned)
        base = start - HEADER_SIZE
        if turned is None or not (said := self._extension(turned)):
            _PACK_INTO(_DATA, base, 0x80, second, out, when, stream.ssrc)
        else:  # there is room, since an extension has come before it
            base -= len(said)
            _PACK_INTO(_DATA, base, 0x90, second, out, when, stream.ssrc)
            _DATA[base + HEADER_SIZE : start] = said
        size = end - base
        if self.sender is not None:
            size = self.sender.seal(base, size)
            if not size:
                return
        try:
            self._socket.sendto(_DATA[base : base + size], self._address)  # type: ignore[union-attr]  # flowing
        except OSError:
            self.count_unsent("socket")
        else:
            stream.packets += 1
            stream.octets += end - start

    def forward_event(
        self, second: int, sequence_number: int, timestamp: int, highest: int, payload: bytes, now: float
    ) -> None:
        """Send a packet of a telephone-event in the place of the incoming one; only while `flowing`."""
        stream = self.stream
        if stream is None:
            return
        placed = stream.place_event(sequence_number, timestamp, highest, now, payload)
        if placed is None:
            self.count_unsent("late")
            return
        out, when, marker = placed
        self.emit(second | marker, out, when, payload, stream)

    def inject(self, second: int, payload: bytes, advance: int | None, now: float, *, event: bool = False) -> bool:
        """Send a packet of our own after all others, `second` being marker and payload type; whether it went."""
        stream = self.stream
        if stream is None or not self.ready:
            self.count_unsent("not_ready")
            return False
        if event:
            out, when, _ = stream.inject_event(advance, now, ends=has_end(payload))
        elif stream.event.holds(now) and not self.muted:
            return False
        else:
            out, when, _ = stream.inject(advance, now)
        self.emit(second, out, when, payload, stream)
        return True

    def emit(
        self, second: int, out: int, when: int, payload: bytes, stream: OutgoingStream, turned: int | None = None
    ) -> None:
        said = self._extension(turned)
        if HEADER_SIZE + len(said) + len(payload) > len(_DATA):
            self.count_unsent("too_long")
            return
        size = put_packet(_DATA, second, out, when, stream.ssrc, payload, said)
        if self.sender is not None:
            size = self.sender.seal(0, size)
            if not size:
                return
        if self._send(self._socket, size, self._address):
            stream.sent(len(payload))

    def repeat(
        self, second: int, number: int, timestamp: int, ssrc: int, payload: bytes, turned: int | None = None
    ) -> None:
        """Send a retransmission, which is none of the stream's packets."""
        size = put_packet(_DATA, second, number, timestamp, ssrc, payload, self._extension(turned))
        if self.sender is not None:
            size = self.sender.seal(0, size)
        if size:
            self._send(self._socket, size, self._address)

    def send_rtcp(self, packet: bytes) -> None:
        """One compound packet in the clear, protected where there is a key."""
        if self._rtcp_address is None or not self.ready:
            self.count_unsent("not_ready")
            return
        size, sender = WORKSPACE.put(packet), self.rtcp_sender
        if sender is not None:
            size = sender.seal_rtcp(size)
            if not size:
                return
        self._send(self._rtcp_socket, size, self._rtcp_address)

    def _send(self, bound: socket.socket | None, size: int, address: Any) -> bool:
        if bound is None:
            return False
        try:
            bound.sendto(_DATA[:size], address)
        except OSError:
            self.count_unsent("socket")
            return False
        return True

    def count_unsent(self, reason: str) -> None:
        self.unsent[reason] = self.unsent.get(reason, 0) + 1
