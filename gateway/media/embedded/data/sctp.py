"""SCTP and its data channels (RFC 8831, RFC 8832) by aiortc; ours are the bounds of what a peer makes it hold."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from aiortc.rtcdatachannel import RTCDataChannel, RTCDataChannelParameters
from aiortc.rtcsctptransport import RTCSctpCapabilities, RTCSctpTransport

logger = logging.getLogger("gateway.media")

Message = str | bytes
WINDOW = 256 * 1024
"""Octets that the peer may send before they were read."""
PLACE = 64
"""Octets that a message takes which waits, beside its own."""
MOST_PARTS = 4096
"""Parts of messages that are not whole yet."""
LOOK = 32
"""Datagrams between two looks at them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelKind:
    """What a channel is opened as (RFC 8832 section 5.1)."""

    label: str = ""
    protocol: str = ""
    ordered: bool = True
    max_retransmits: int | None = None
    max_lifetime_ms: int | None = None


class Channel:
    """One channel; what is sent before it is open waits, and where too much does it closes."""

    def __init__(self, channel: RTCDataChannel, most_waiting: int, most_octets: int) -> None:
        self.kind = ChannelKind(
            label=channel.label,
            protocol=channel.protocol,
            ordered=channel.ordered,
            max_retransmits=channel.maxRetransmits,
            max_lifetime_ms=channel.maxPacketLifeTime,
        )
        self.on_close: Callable[[], None] = lambda: None
        self.closed = False
        self._channel = channel
        self._most_waiting, self._most_octets = most_waiting, most_octets
        self._listener: Callable[[Message], None] | None = None
        self._early: list[Message] = []
        self._early_octets = 0
        """Of what waits to be sent, or to be heard."""
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
        heard, self._heard, self._early_octets = self._heard, [], 0
        for message in heard:
            listener(message)

    def _keep(self, waiting: list[Message], message: Message, size: int) -> None:
        self._early_octets += size + PLACE
        if self._early_octets > self._most_waiting:
            self.close()
        else:
            waiting.append(message)

    def _give(self, message: Message) -> None:
        try:
            self._channel.send(message)
        except Exception as error:
            logger.debug("a message cannot be sent on a data channel: %s", error)
            self.close()
        else:
            if self._channel.bufferedAmount > self._most_waiting:
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
        early, self._early, self._early_octets = self._early, [], 0
        for message in early:
            if not self.closed:
                self._give(message)

    def _closed(self) -> None:
        if not self.closed:
            self.closed = True
            self._early, self._heard = [], []
            self.on_close()


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
        self._sctp: Any = RTCSctpTransport(self._dtls, port)  # type: ignore[arg-type]  # as much of one as it uses
        self._sctp._advertised_rwnd = WINDOW
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

    def open(self, kind: ChannelKind) -> Channel | None:
        """A channel of ours; None where there are too many."""
        if self.closed or self._is_full():
            return None
        parameters = RTCDataChannelParameters(
            label=kind.label,
            protocol=kind.protocol,
            ordered=kind.ordered,
            maxRetransmits=kind.max_retransmits,
            maxPacketLifeTime=kind.max_lifetime_ms,
        )
        return self._known(RTCDataChannel(self._sctp, parameters))

    def close(self) -> None:
        """Abort; idempotent."""
        if self.closed:
            return
        self.closed = True
        self._run(self._sctp.stop())
        for channel in self._channels:
            channel._closed()
        self._channels = []

    def _holds_too_much(self) -> bool:
        """Whether the peer has sent more than it was told that it may, or in too many parts, or opens without end."""
        if self._sctp._advertised_rwnd < 0 or len(self._sctp._data_channels) > 4 * self._most + 64:
            return True
        if self._taken % LOOK:
            return False
        streams = self._sctp._inbound_streams
        return len(streams) > MOST_PARTS or sum(len(each.reassembly) for each in streams.values()) > MOST_PARTS

    def _is_full(self) -> bool:
        self._channels = [each for each in self._channels if not each.closed]
        return len(self._channels) >= self._most

    def _known(self, channel: RTCDataChannel) -> Channel:
        known = Channel(channel, self._max_waiting, self._max_message)
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
