"""SCTP and data channels (RFC 8831, RFC 8832) by aiortc; ours are the bounds of what a peer costs."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from struct import pack
from typing import Any

from aiortc.rtcdatachannel import RTCDataChannel, RTCDataChannelParameters
from aiortc.rtcsctptransport import (
    WEBRTC_BINARY,
    WEBRTC_STRING,
    DataChunk,
    ForwardTsnChunk,
    RTCSctpCapabilities,
    RTCSctpTransport,
    SackChunk,
)
from aiortc.utils import uint32_gt, uint32_gte

logger = logging.getLogger("gateway.media")

Message = str | bytes
WINDOW = 256 * 1024
"""Octets that the peer may send before they were read, and that are under way to it."""
PLACE = 64
"""Octets that a message takes which waits, and a packet under way, beside its own."""
MOST_AHEAD = 1024
"""TSNs that are kept beyond one that is missing; later ones are as if lost, and come again."""
MOST_DUPLICATES = 64
"""TSNs that came again and are told in one SACK."""
MOST_STEPS = 4096
"""Parts of messages that are looked at for one datagram; what would take more is as if lost."""
MOST_PARTS = 4096
"""Parts of messages that are not whole yet."""
MOST_STREAMS = 1200
"""Streams that the peer has used; browsers number theirs below 1024."""
MOST_NAME = 65535
"""Octets of a label or a protocol (RFC 8832 section 5.1)."""
LOOK = 32
"""Datagrams between two looks at them."""
_TSNS = 2**32
_MESSAGES = (WEBRTC_STRING, WEBRTC_BINARY)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelKind:
    """What a channel is opened as (RFC 8832 section 5.1)."""

    label: str = ""
    protocol: str = ""
    ordered: bool = True
    max_retransmits: int | None = None
    max_lifetime_ms: int | None = None


class Channel:
    """One channel; what is sent before it is open waits, and where there is no room for it the channel closes."""

    def __init__(self, channel: RTCDataChannel, has_room: Callable[[], bool], most_octets: int) -> None:
        """`has_room` says whether one more message may wait in the association."""
        self.kind = ChannelKind(
            label=channel.label,
            protocol=channel.protocol,
            ordered=channel.ordered,
            max_retransmits=channel.maxRetransmits,
            max_lifetime_ms=channel.maxPacketLifeTime,
        )
        self.on_close: Callable[[], None] = lambda: None
        self.on_unread: Callable[[bytes], None] = lambda unread: None
        """Gets, in order, what was to be sent and can no more be: the peer has not acknowledged it."""
        self.closed = False
        self._channel = channel
        self._has_room, self._most_octets = has_room, most_octets
        self._listener: Callable[[Message], None] | None = None
        self._early: list[Message] = []
        self.kept_octets = 0
        """Of what waits to be sent before it is open, or to be heard, with its places."""
        self._heard: list[Message] = []
        channel.on("message", self._message)
        channel.on("open", self._opened)
        channel.on("close", self._closed)

    def send(self, message: Message) -> None:
        """Send it, or close the channel: a reliable one may lose nothing."""
        size = len(message.encode()) if isinstance(message, str) else len(message)
        if self.closed or size > self._most_octets:
            self.close()
        elif self._channel.readyState == "open" and not self._early:
            self._give(message)
        else:
            self._keep(self._early, message, size)

    def listen(self, listener: Callable[[Message], None]) -> None:
        """Have every message told, those that came before as well."""
        self._listener = listener
        heard, self._heard, self.kept_octets = self._heard, [], 0
        for message in heard:
            listener(message)

    def _keep(self, waiting: list[Message], message: Message, size: int) -> None:
        waiting.append(message)
        if self._has_room():
            self.kept_octets += size + PLACE
        else:
            self.close()

    def _give(self, message: Message) -> None:
        if not self._has_room():
            self._early.append(message)
            self.close()
            return
        try:
            self._channel.send(message)
        except Exception as error:
            logger.debug("a message cannot be sent on a data channel: %s", error)
            self.close()

    def close(self) -> None:
        """Send nothing more; idempotent."""
        if not self.closed:
            self._closed()
            self._channel.close()

    def _message(self, message: Message) -> None:
        if self.closed:
            return
        if self._listener is not None:
            self._listener(message)
        else:
            self._keep(self._heard, message, len(message))

    def _opened(self) -> None:
        early, self._early, self.kept_octets = self._early, [], 0
        for message in early:
            self.send(message)

    def _closed(self) -> None:
        if not self.closed:
            self.closed = True
            early, self._early, self._heard, self.kept_octets = self._early, [], [], 0
            self._unread(b"".join(each.encode() if isinstance(each, str) else each for each in early))
            self.on_close()

    @property
    def is_there(self) -> bool:
        """Whether the association knows it: what was sent before it was closed is still on its way."""
        return self._channel.readyState != "closed"

    def ended(self, unacknowledged: Mapping[int, bytes]) -> None:
        """Its association is over; what the peer has not acknowledged of each stream."""
        self._closed()
        if self._channel.id is not None:
            self._unread(unacknowledged.get(self._channel.id, b""))

    def _unread(self, octets: bytes) -> None:
        if octets:
            self.on_unread(octets)


class _Dtls:
    """What `RTCSctpTransport` wants of an RTCDtlsTransport."""

    state = "connected"

    def __init__(self, send: Callable[[bytes], None], *, is_client: bool) -> None:
        self._role = "client" if is_client else "server"
        self._send = send

    def _register_data_receiver(self, receiver: object) -> None: ...

    def _unregister_data_receiver(self, receiver: object) -> None: ...

    async def _send_data(self, data: bytes) -> None:
        self._send(data)


class SctpError(Exception):
    """The peer says what cannot be."""


class BoundedTransport(RTCSctpTransport):
    """An association whose peer is believed in nothing that costs; raises `SctpError` out of `_handle_data`."""

    _sacks = _forwards = _steps = 0
    """Of the datagram that is taken now."""

    def __init__(self, dtls: object, port: int) -> None:
        """`dtls`: as much of an RTCDtlsTransport as is used."""
        super().__init__(dtls, port)  # type: ignore[arg-type]
        self._advertised_rwnd = WINDOW
        self._unacknowledged: deque[tuple[int, int]] = deque()
        """Last TSN and octets of each message that was given to the network."""
        self._unacknowledged_octets = 0

    @property
    def waiting(self) -> int:
        """Octets of messages that the peer has not acknowledged, with their places."""
        self._let_go()
        queued = sum(channel.bufferedAmount for channel in self._data_channels.values())
        return queued + PLACE * len(self._data_channel_queue) + self._unacknowledged_octets

    def unacknowledged(self) -> dict[int, bytes]:
        """Of each stream what the peer has not told its user: from the first chunk on that it has not acknowledged.

        So it is on channels that keep order; on others some of it may have been told.
        """
        unread: dict[int, bytearray] = {}
        for chunk in (*self._sent_queue, *self._outbound_queue):
            if chunk.protocol in _MESSAGES and (chunk.stream_id in unread or not chunk._acked):
                unread.setdefault(chunk.stream_id, bytearray()).extend(chunk.user_data)
        for channel, protocol, data in self._data_channel_queue:
            if protocol in _MESSAGES and channel.id is not None:
                unread.setdefault(channel.id, bytearray()).extend(data)
        return {stream: bytes(octets) for stream, octets in unread.items()}

    def _let_go(self) -> None:
        """Forget what was acknowledged, or given up (RFC 3758)."""
        told = self._last_sacked_tsn
        if uint32_gt(self._advanced_peer_ack_tsn, told):
            told = self._advanced_peer_ack_tsn
        while self._unacknowledged and uint32_gte(told, self._unacknowledged[0][0]):
            self._unacknowledged_octets -= self._unacknowledged.popleft()[1]

    async def _handle_data(self, data: bytes) -> None:
        self._sacks = self._forwards = self._steps = 0
        await super()._handle_data(data)
        self._cwnd = min(self._cwnd, WINDOW)
        self._let_go()

    async def _send(
        self,
        stream_id: int,
        pp_id: int,
        user_data: bytes,
        expiry: float | None = None,
        max_retransmits: int | None = None,
        ordered: bool = True,
    ) -> None:
        await super()._send(stream_id, pp_id, user_data, expiry, max_retransmits, ordered)
        size = len(user_data) + PLACE
        self._unacknowledged.append(((self._local_tsn - 1) % _TSNS, size))
        self._unacknowledged_octets += size

    def _data_channel_open(self, channel: RTCDataChannel) -> None:
        """aiortc's, but for the lengths in it: octets, where it counts characters (RFC 8832 section 5.1)."""
        super()._data_channel_open(channel)
        of, protocol, said = self._data_channel_queue.pop()
        lengths = pack("!HH", len(channel.label.encode()), len(channel.protocol.encode()))
        self._data_channel_queue.append((of, protocol, said[:8] + lengths + said[12:]))

    def _flight_size_increase(self, chunk: DataChunk) -> None:
        """Each chunk is a packet of its own here, and its headers are under way as well."""
        chunk._book_size = max(chunk._book_size, PLACE)
        super()._flight_size_increase(chunk)

    async def _receive_sack_chunk(self, chunk: SackChunk) -> None:
        self._sacks += 1
        if self._sacks > 1 or not self._may_be_true(chunk):
            raise SctpError("a SACK of what was not sent")
        await super()._receive_sack_chunk(chunk)

    def _may_be_true(self, sack: SackChunk) -> bool:
        """Whether it tells of TSNs that were sent, each once (RFC 9260 section 3.3.4); an old one tells nothing."""
        if uint32_gt(self._last_sacked_tsn, sack.cumulative_tsn):
            return True
        after = self._outbound_queue[0].tsn if self._outbound_queue else self._local_tsn
        sent = (after - 1 - sack.cumulative_tsn) % _TSNS
        if sent >= _TSNS // 2:
            return False
        end = 0
        for first, last in sack.gaps:
            if not end < first <= last <= sent:
                return False
            end = last
        return True

    async def _receive_forward_tsn_chunk(self, chunk: ForwardTsnChunk) -> None:
        self._forwards += 1
        if self._forwards > 1:
            raise SctpError("several FORWARD TSN at once")
        chunk.streams = list(dict(chunk.streams).items())  # each looked at once; the last is the furthest
        await super()._receive_forward_tsn_chunk(chunk)

    async def _receive_data_chunk(self, chunk: DataChunk) -> None:
        self._sack_needed = True
        stream = self._inbound_streams.get(chunk.stream_id)
        steps = self._steps + (len(stream.reassembly) if stream is not None else 0)
        if self._steps and steps > MOST_STEPS:
            return
        self._steps = steps
        if len(self._sack_misordered) >= MOST_AHEAD and chunk.tsn != self._expected_tsn:
            return
        await super()._receive_data_chunk(chunk)

    @property
    def _expected_tsn(self) -> int | None:
        return None if self._last_received_tsn is None else (self._last_received_tsn + 1) % _TSNS

    def _mark_received(self, tsn: int) -> bool:
        """aiortc's, but for the time it takes: it sorts all that is kept for each chunk."""
        last = self._last_received_tsn
        if last is None:
            raise SctpError("DATA before the association")
        ahead = self._sack_misordered
        if uint32_gte(last, tsn) or tsn in ahead:
            if len(self._sack_duplicates) < MOST_DUPLICATES:
                self._sack_duplicates.append(tsn)
            return True
        ahead.add(tsn)
        while (following := (last + 1) % _TSNS) in ahead:
            ahead.remove(following)
            last = following
        self._last_received_tsn = last
        return False


class SctpAssociation:
    """The association of one browser, which either side begins (RFC 8841 section 9.3)."""

    def __init__(
        self,
        send: Callable[[bytes], None],
        opened: Callable[[Channel], None],
        *,
        is_client: bool,
        port: int,
        max_channels: int,
        max_message: int,
        max_waiting: int,
    ) -> None:
        """`send` takes a datagram for DTLS; `opened` gets each channel that the peer opens. Sizes in octets."""
        self._opened = opened
        self._most = max_channels
        self._max_message, self._max_waiting = max_message, max_waiting
        self._dtls = _Dtls(send, is_client=is_client)
        self._sctp: Any = BoundedTransport(self._dtls, port)
        self._sctp._inbound_streams_max = max(2 * max_channels, 64)
        self._sctp.on("datachannel", self._on_channel)
        self._channels: list[Channel] = []
        self._taken = 0
        self.closed = False

    def start(self, remote_port: int, remote_max_message: int) -> None:
        """Begin; the peer's port and longest message (0: any) are of its description (RFC 8841 section 6)."""
        self._run(self._sctp.start(RTCSctpCapabilities(maxMessageSize=remote_max_message), remote_port))

    def receive(self, data: bytes) -> None:
        """One datagram that came by DTLS; nonsense ends the association."""
        if not self.closed:
            self._run(self._sctp._handle_data(data))
            self._taken += 1
            if self._holds_too_much() or self._sctp.state == "closed":
                self.close()

    def open(self, kind: ChannelKind, stream: int | None = None) -> Channel | None:
        """A channel of ours; None where there are too many, or no message could wait in it.

        `stream`: both descriptions named it (RFC 8864), so that nothing of it is said in-band; None as well where that
        stream has a channel already.
        """
        longest = max(len(kind.label.encode()), len(kind.protocol.encode()))
        if self.closed or self._is_full() or not self._has_room() or longest > MOST_NAME:
            return None
        parameters = RTCDataChannelParameters(
            label=kind.label,
            protocol=kind.protocol,
            ordered=kind.ordered,
            maxRetransmits=kind.max_retransmits,
            maxPacketLifeTime=kind.max_lifetime_ms,
            negotiated=stream is not None,
            id=stream,
        )
        if stream is not None and stream in self._sctp._data_channels:
            return None
        return self._known(RTCDataChannel(self._sctp, parameters))

    def close(self) -> None:
        """Abort; idempotent."""
        if self.closed:
            return
        self.closed = True
        unacknowledged = self._sctp.unacknowledged()
        self._run(self._sctp.stop())
        channels, self._channels = self._channels, []
        for channel in reversed(channels):
            channel.ended(unacknowledged)

    def _holds_too_much(self) -> bool:
        """Whether the peer has sent more than it was told that it may, or in too many parts, or opens without end."""
        if self._sctp._advertised_rwnd < 0 or len(self._sctp._data_channels) > 4 * self._most + 64:
            return True
        streams = self._sctp._inbound_streams
        if len(streams) > MOST_STREAMS:
            return True
        if self._taken % LOOK:
            return False
        return sum(len(each.reassembly) for each in streams.values()) > MOST_PARTS

    def _is_full(self) -> bool:
        self._channels = [each for each in self._channels if each.is_there]
        return sum(not each.closed for each in self._channels) >= self._most

    def _has_room(self) -> bool:
        """Whether one more message may wait, on its way to the peer or from it, of all channels together."""
        kept = sum(each.kept_octets for each in self._channels)
        return bool(self._sctp.waiting + kept < self._max_waiting)

    def _known(self, channel: RTCDataChannel) -> Channel:
        known = Channel(channel, self._has_room, self._max_message)
        self._channels.append(known)
        return known

    def _on_channel(self, channel: RTCDataChannel) -> None:
        if self._is_full():
            channel.close()
        else:
            self._opened(self._known(channel))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it to its end: nothing in it waits, since `_send_data` does not."""
        try:
            work.send(None)
        except StopIteration:
            return
        except Exception as error:
            logger.debug("an SCTP association ends: %s", type(error).__name__)
        else:
            work.close()
        self.close()
