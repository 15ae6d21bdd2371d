"""Real-time text of a browser: data channels of the protocol "t140" (RFC 8865), as one end of a conversation."""

from __future__ import annotations

from codecs import IncrementalDecoder, getincrementaldecoder
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gateway.media.embedded.data.t140 import BYTE_ORDER_MARK, MISSING
from gateway.media.engine import TextStatistics
from sdp.text import T140

if TYPE_CHECKING:
    from gateway.media.embedded.data.sctp import Channel
    from gateway.media.embedded.data.text import TextEnd


MOST_AT_ONCE = 250
"""Characters of one message: no browser takes only shorter ones than these are."""


def is_text(channel: Channel) -> bool:
    """Whether it was opened for text (RFC 8865 section 4.1)."""
    return channel.kind.protocol.lower() == T140


class TextChannels:
    """The channels for text of one browser while a phone reads them; one is opened where the browser has none."""

    def __init__(self, open_channel: Callable[[], Channel | None], most_waiting: int) -> None:
        """`open_channel` opens one, None: it cannot now; `most_waiting` characters may wait for that."""
        self.listener: TextEnd | None = None
        """Who reads."""
        self._open, self._most = open_channel, most_waiting
        self._channels: list[tuple[Channel, IncrementalDecoder]] = []
        self._waiting = ""
        self._received = self._sent = self._dropped = 0
        self._used = False

    def tell(self, listener: TextEnd | None) -> None:
        """Have what the browser types told to `listener`; None: there is no text."""
        if listener is not self.listener:
            self.listener, self._waiting = listener, ""
        if listener is None:
            self._channels = []

    def take(self, channels: Sequence[Channel], *, opens: bool) -> None:
        """Read those for text from now on; where none is, one is opened: now, or with the first text."""
        self._used = True
        known = [channel for channel, _ in self._channels]
        for channel in channels:
            if is_text(channel) and not channel.closed and channel not in known:
                self._read(channel)
        if opens or self._waiting:
            self._open_one()
        self._flush()

    def type(self, text: str) -> None:
        """Show it to the browser, as soon as there is a channel."""
        room = max(0, self._most - len(self._waiting))
        self._waiting += text[:room]
        if len(text) > room:
            self._dropped += len(text) - room
            if not self._waiting.endswith(MISSING):
                self._waiting += MISSING
        self._open_one()
        self._flush()

    @property
    def statistics(self) -> TextStatistics | None:
        """None where no phone ever read it."""
        if not self._used:
            return None
        return TextStatistics(received=self._received, sent=self._sent, dropped=self._dropped)

    def _open_one(self) -> None:
        if self._newest() is None and (opened := self._open()) is not None:
            self._read(opened)

    def _newest(self) -> Channel | None:
        self._channels = [each for each in self._channels if not each[0].closed]
        return self._channels[-1][0] if self._channels else None

    def _read(self, channel: Channel) -> None:
        decoder = getincrementaldecoder("utf-8")("replace")
        self._channels.append((channel, decoder))
        channel.listen(lambda message: self._heard(message, decoder))

    def _heard(self, message: str | bytes, decoder: IncrementalDecoder) -> None:
        text = message if isinstance(message, str) else decoder.decode(message)
        text = text.replace(BYTE_ORDER_MARK, "")
        self._received += len(text)
        if text and self.listener is not None:
            self.listener.type(text)

    def _flush(self) -> None:
        channel = self._newest()
        if channel is not None and self._waiting:
            text, self._waiting = self._waiting, ""
            self._sent += len(text)
            for at in range(0, len(text), MOST_AT_ONCE):
                channel.send(text[at : at + MOST_AT_ONCE])
