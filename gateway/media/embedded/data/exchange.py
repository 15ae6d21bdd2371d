"""The data channels of one party, and the party whose browser they are mirrored at, or whose phone reads their text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from gateway.media.embedded.data.text_channel import TextChannels, is_text
from gateway.media.embedded.settings import DataConfig
from gateway.media.engine import TextStatistics
from sdp import DataChannelPlan, MediaAgreement, MediaDescription
from sdp.attributes import DcMap
from sdp.negotiation import Side
from sdp.passing import named_channels, sctp_port
from sdp.text import T140

if TYPE_CHECKING:
    from gateway.media.embedded.data.sctp import Channel, SctpAssociation
    from gateway.media.embedded.data.text import TextEnd

OUR_PORT = 5000
TEXT_READ = "t140-read"
"""Attribute of ours by which a page says how many characters it has read in this call, over other connections."""
_DEFAULT_MESSAGE = 65536
"""Octets, where a description does not say (RFC 8841 section 6.1)."""


@lru_cache(maxsize=1)
def is_available() -> bool:
    """Whether what speaks SCTP is installed."""
    return find_spec("aiortc") is not None


def prepare() -> None:
    """Import what speaks SCTP: a tenth of a second that no call should wait for."""
    if is_available():
        import_module("gateway.media.embedded.data.sctp")


@dataclass(slots=True)
class Mirrored:
    """One channel of the party, with what stands for it at the other."""

    channel: Channel
    mirror: Channel | None = None


class DataChannels:
    """What the session holds of one browser's data. Made when DTLS is up, anew with each DTLS association."""

    def __init__(self, config: DataConfig, send: Callable[[bytes], None], most_text: int) -> None:
        """`most_text`: characters that may wait for a channel."""
        self._config = config
        self._send = send
        self._text = TextChannels(self._open_text, most_text)
        self._agreed: tuple[int, int, bool] | None = None
        """Port and longest message of the peer, and whether we are the DTLS client."""
        self._has_answered = False
        """Whether anything was agreed with the browser, with data or without."""
        self._read: int | None = None
        """Characters of text that the browser says it has read, before the association that comes."""
        self._association: SctpAssociation | None = None
        self._dtls: int | None = None
        """Number of the DTLS association that is up."""
        self._channels: list[Mirrored] = []
        self._named: dict[int, DcMap] = {}
        """Channels that the descriptions name (RFC 8864), by stream."""
        self._peer: DataChannels | None = None
        self._is_joined = False
        self._opens_text = False
        """Whether the browser expects that we open a channel for text."""

    @property
    def plan(self) -> DataChannelPlan | None:
        """What our descriptions say; None: nothing."""
        config = self._config
        if not config.max_channels or not is_available():
            return None
        return DataChannelPlan(OUR_PORT, config.max_message, config.max_channels)

    @property
    def is_agreed(self) -> bool:
        """Whether there may be channels."""
        return self._agreed is not None

    @property
    def has_text(self) -> bool:
        """Whether a channel for text is open."""
        return any(is_text(each.channel) for each in self._channels if not each.channel.closed)

    @property
    def text(self) -> TextStatistics | None:
        """Figures of the text that goes to and from a phone; None: there is none."""
        return self._text.statistics

    def type(self, text: str) -> None:
        """Show the browser what a phone has typed."""
        self._text.type(text)

    def agree(self, agreement: MediaAgreement | None, remote: MediaDescription | None, side: Side) -> None:
        """Take what was agreed of the section, and what the peer's own says; `side` is who of the two offered."""
        self._has_answered = True
        if agreement is None or remote is None:
            self._agreed = None
            self.stop()
            if self._peer is not None:
                self._peer._mirror_all()  # what waits there for this one waits for nothing
            return
        port, longest = sctp_port(remote, OUR_PORT), remote.value("max-message-size")
        # Who offered data channels first opens what it wants (RFC 8832 has no rule): two for one text are one too many.
        self._opens_text = self._opens_text or side == "offerer" or self._agreed is not None
        self._agreed = (
            port,
            _number(longest, _DEFAULT_MESSAGE, 1 << 40),
            agreement.dtls_role == "active",
        )
        read = _number(remote.value(TEXT_READ), -1, 1 << 40)
        self._read = read if read >= 0 else None
        self._named = named_channels(remote, self._config.max_channels)
        if self._dtls is not None and self._association is None:
            self._start()
        elif self._association is not None:
            self._open_named()

    def connected(self, number: int) -> None:
        """DTLS is up; with another number it is another association, and nothing of the one before goes on."""
        if number != self._dtls:
            self._dtls = number
            self._start()

    def _start(self) -> None:
        self.stop()
        self._text.has_read(self._read)
        if self._agreed is None:
            return
        # Here, since it is an extra; `prepare` has imported it before.
        from gateway.media.embedded.data.sctp import SctpAssociation

        port, longest, is_client = self._agreed
        config = self._config
        self._association = SctpAssociation(
            self._send,
            self._opened,
            is_client=is_client,
            port=OUR_PORT,
            max_channels=config.max_channels,
            max_message=config.max_message,
            max_waiting=config.max_waiting,
        )
        self._association.start(port, longest)
        self._open_named()
        if self._peer is not None:
            self._peer._mirror_all()
        self._mirror_all()

    def _open_named(self) -> None:
        """Take the channels that the descriptions name, but those that are there; each is told of as it is opened."""
        from gateway.media.embedded.data.sctp import ChannelKind

        for stream, named in self._named.items():
            said = named.parameters
            retransmits, lifetime = said.get("max-retr"), said.get("max-time")
            kind = ChannelKind(
                label=said.get("label", ""),
                protocol=said.get("subprotocol", ""),
                ordered=said.get("ordered", "true") != "false",
                max_retransmits=_number(retransmits, 0, 65535) if retransmits is not None else None,
                max_lifetime_ms=_number(lifetime, 0, 65535) if lifetime is not None and retransmits is None else None,
            )
            opened = self._association.open(kind, stream) if self._association is not None else None
            if opened is not None:
                self._opened(opened)

    def receive(self, data: bytes) -> None:
        """One datagram that came by DTLS."""
        if self._association is not None:
            self._association.receive(data)

    def stop(self) -> None:
        """End the association and all that mirrors it; idempotent."""
        association, self._association = self._association, None
        if association is not None:
            association.close()
        self._channels = []

    def join(self, peer: DataChannels | None, text: TextEnd | None = None) -> None:
        """Mirror the channels at `peer`: itself for an echo, None: at nobody, and they close.

        Called for both sides. Those that were opened before there was a peer are mirrored now. Where there is `text`,
        which a phone reads, those for text stay, or one is opened.
        """
        if peer is self._peer and text is self._text.listener and self._is_joined:
            return
        self._peer, self._is_joined = peer, True
        self._text.tell(text, text or peer)
        self._mirror_all()

    def part(self) -> None:
        """Nobody hears it for now."""
        if self._is_joined:
            self.join(None)
            self._is_joined = False

    def _opened(self, channel: Channel) -> None:
        self._channels.append(Mirrored(channel))
        self._mirror_all()
        self._opens_text = self._opens_text or is_text(channel)

    def _mirror_all(self) -> None:
        """Open at the peer what is not there yet, once it can be; until then messages wait in the channel."""
        peer, text = self._peer, self._text
        if self._is_joined and peer is None:
            for each in self._channels:
                if text.listener is None or not is_text(each.channel):
                    each.channel.close()
        self._channels = [each for each in self._channels if not each.channel.closed]
        if text.listener is not None:
            text.take([each.channel for each in self._channels], opens=self._opens_text)
        if peer is None:
            return
        for each in self._channels:
            if each.mirror is None and not each.channel.closed:
                self._mirror(each, peer)

    def _open_text(self) -> Channel | None:
        """A channel of ours for text; None where there can be none now."""
        if self._association is None:
            return None
        from gateway.media.embedded.data.sctp import ChannelKind

        channel = self._association.open(ChannelKind(label="text", protocol=T140))
        if channel is not None:
            self._channels.append(Mirrored(channel))
        return channel

    def _mirror(self, opened: Mirrored, peer: DataChannels) -> None:
        channel = opened.channel
        if peer is self:
            opened.mirror = channel
            channel.listen(channel.send)
            return
        if peer._association is None:
            if peer._has_answered and not peer.is_agreed:
                channel.close()
            return
        mirror = opened.mirror = peer._association.open(channel.kind)
        if mirror is None:
            channel.close()
            return
        channel.on_close, mirror.on_close = mirror.close, channel.close
        is_typed = is_text(channel)
        if is_typed:
            self._text.carry(channel, peer)
            peer._text.carry(mirror, self)
        mirror.listen(partial(self._text.pass_on, channel) if is_typed else channel.send)
        channel.listen(partial(peer._text.pass_on, mirror) if is_typed else mirror.send)


def _number(text: str | None, otherwise: int, most: int) -> int:
    usable = text is not None and text.isascii() and text.isdigit() and len(text) < 16
    return min(int(text), most) if text is not None and usable else otherwise
