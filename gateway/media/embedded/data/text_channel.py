"""Real-time text of a browser: data channels of the protocol "t140" (RFC 8865), as one end of a conversation."""

from __future__ import annotations

from codecs import IncrementalDecoder, getincrementaldecoder
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from gateway.media.embedded.data.t140 import BYTE_ORDER_MARK
from gateway.media.embedded.data.waiting_text import WaitingText
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
        self._open = open_channel
        self._channels: list[tuple[Channel, IncrementalDecoder]] = []
        self._waiting = WaitingText(most_waiting)
        self._writer: object = None
        """Whose words wait, and go on waiting while nobody is joined."""
        self._shown, self._most = "", most_waiting
        """The last of them that the browser was sent."""
        self._put_back_now = 0
        """Characters that were put back since it was sent any."""
        self._before = 0
        """How many more characters its page counts than were sent from here; less than 0: how many fewer."""
        self._received = self._sent = 0
        self._used = False

    def tell(self, listener: TextEnd | None, writer: object) -> None:
        """Have what the browser types told to `listener`; None: there is no text.

        `writer` is who types to it from now on, None: nobody. What another one has typed is shown no more.
        """
        self.listener = listener
        if writer is not None:
            self._shows(writer)
        if listener is None:
            self._channels = []

    def carry(self, channel: Channel, writer: object) -> None:
        """Show the browser by this channel what `writer` types: what waits now, and what it does not acknowledge."""
        self._shows(writer)
        channel.on_unread = partial(self._put_back, writer)
        self._show_by(channel)

    def _shows(self, writer: object) -> None:
        if writer is not self._writer:
            self._writer, self._shown = writer, ""
            self._waiting.take()

    def _put_back(self, writer: object, unread: bytes) -> None:
        text = unread.decode(errors="replace")
        self._sent -= len(text)
        if writer is self._writer:
            self._shown = self._shown[: -len(text)]
            self._put_back_now += len(text)
            self._waiting.put_back(text)

    def has_read(self, characters: int | None) -> None:
        """So many the browser's page has read in all; None: it does not say, and counts from now on if it ever does.

        Called between two associations. What SCTP acknowledged while a page was on its way out was read by nobody.
        """
        if characters is None:
            self._before = -self._sent
            return
        unread = self._sent + self._before - characters
        if 0 < unread <= len(self._shown):
            again, self._shown = self._shown[-unread:], self._shown[:-unread]
            self._sent -= unread
            self._waiting.put_back(again)
        elif unread < 0:
            read = self._waiting.take(min(-unread, self._put_back_now))
            self._sent += len(read)
        self._before = characters - self._sent

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
        self._waiting.add(text)
        self._open_one()
        self._flush()

    @property
    def statistics(self) -> TextStatistics | None:
        """None where no phone ever read it."""
        if not self._used:
            return None
        return TextStatistics(received=self._received, sent=self._sent, dropped=self._waiting.dropped)

    def _open_one(self) -> None:
        if self._newest() is None and (opened := self._open()) is not None:
            self._read(opened)

    def _newest(self) -> Channel | None:
        self._channels = [each for each in self._channels if not each[0].closed]
        return self._channels[-1][0] if self._channels else None

    def _read(self, channel: Channel) -> None:
        decoder = getincrementaldecoder("utf-8")("replace")
        self._channels.append((channel, decoder))
        channel.on_unread = partial(self._put_back, self._writer)
        channel.listen(lambda message: self._heard(message, decoder))

    def _heard(self, message: str | bytes, decoder: IncrementalDecoder) -> None:
        text = message if isinstance(message, str) else decoder.decode(message)
        text = text.replace(BYTE_ORDER_MARK, "")
        self._received += len(text)
        if text and self.listener is not None:
            self.listener.type(text)

    def _flush(self) -> None:
        channel = self._newest()
        if channel is not None:
            self._show_by(channel)

    def _show_by(self, channel: Channel) -> None:
        while self._waiting and not channel.closed:
            self._send(channel, text := self._waiting.take(MOST_AT_ONCE), text)

    def pass_on(self, channel: Channel, message: str | bytes) -> None:
        """Show it what another browser has typed, as it came."""
        self._send(channel, message if isinstance(message, str) else message.decode(errors="replace"), message)

    def _send(self, channel: Channel, text: str, message: str | bytes) -> None:
        self._sent += len(text)
        self._shown = (self._shown + text)[-self._most :]
        self._put_back_now = 0
        channel.send(message)
