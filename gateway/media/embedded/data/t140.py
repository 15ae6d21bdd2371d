"""T.140 text in RTP (RFC 4103): what is typed as packets with redundancy, and packets as what was typed. Sans I/O.

Times are seconds, RTP timestamps milliseconds. Nothing here raises but `TextError`.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sdp import Codec
from sdp.codecs import parameters, payload_number

INTERVAL = 300
"""Milliseconds between two packets (RFC 4103 section 5.1)."""
MOST_GENERATIONS = 2
"""Of redundancy that is sent."""
MOST_OCTETS = 300
"""Of one block, so that three of them are one datagram."""
CPS_SPAN = 10.0
"""Over which characters a second are counted (RFC 4103 section 6)."""
MOST_CPS = 1000
WAIT = 0.5
"""For a packet that no redundancy makes up for, before it counts as lost."""
MOST_AHEAD = 64
"""Blocks that are kept beyond one that is missing."""
MOST_BLOCKS = 8
"""Of one packet."""
MISSING = "\ufffd"
"""Stands where text was lost (RFC 4103 section 5.4)."""
BYTE_ORDER_MARK = "\ufeff"
_LONGEST_AGO = (1 << 14) - 1
_HALF, _TICKS = 1 << 31, 1 << 32


class TextError(Exception):
    """A packet that is not what was agreed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFormat:
    """What one side is sent, or sends."""

    t140: int
    red: int | None = None
    """Payload types; `red` None: without redundancy."""
    generations: int = 0
    """Of redundancy, that are sent."""
    cps: int = 30
    """Characters a second that are sent at most, over ten seconds."""


@dataclass(frozen=True, slots=True)
class Block:
    """One piece of text of a packet."""

    ago: int
    """Milliseconds before the packet's own timestamp."""
    text: bytes


@dataclass(frozen=True, slots=True)
class TextPacket:
    """One packet to be sent."""

    payload_type: int
    marker: bool
    payload: bytes
    advance: int
    """Ticks since the packet before it."""


def text_format(codecs: Iterable[Codec], cps: int) -> TextFormat | None:
    """What these codecs, best first, say; None without T.140. `cps` holds where they say none."""
    known = tuple(codecs)
    text = next((codec for codec in known if codec.key[0] == "t140" and codec.payload_type is not None), None)
    if text is None or text.payload_type is None:
        return None
    said = parameters(text.fmtp).get("cps", "")
    wanted = int(said) if said.isascii() and said.isdigit() and len(said) < 6 else 0
    red = next((codec for codec in known if codec.key[0] == "red" and codec.payload_type is not None), None)
    levels = [payload_number(each) for each in red.fmtp.split("/")] if red is not None and red.fmtp else []
    generations = min(MOST_GENERATIONS, len(levels) - 1) if levels else MOST_GENERATIONS
    return TextFormat(
        t140=text.payload_type,
        red=red.payload_type if red is not None else None,
        generations=generations if red is not None else 0,
        cps=min(wanted or cps, MOST_CPS),
    )


def read_redundancy(payload: bytes, t140: int) -> tuple[Block, ...]:
    """The blocks of a packet, the oldest first, the last its own (RFC 2198 section 3); raises TextError."""
    heads: list[tuple[int, int]] = []
    at = 0
    while True:
        if at >= len(payload) or payload[at] & 0x7F != t140:
            raise TextError("a block of text has no head, or is of another format")
        if not payload[at] & 0x80:
            break
        word = int.from_bytes(payload[at + 1 : at + 4], "big")
        heads.append((word >> 10, word & 0x3FF))
        at += 4
        if len(heads) >= MOST_BLOCKS:
            raise TextError("too many blocks of text")
    at += 1
    if at + sum(length for _, length in heads) > len(payload):
        raise TextError("blocks of text are longer than their packet")
    blocks = []
    for ago, length in heads:
        blocks.append(Block(ago, payload[at : at + length]))
        at += length
    return (*blocks, Block(0, payload[at:]))


def write_redundancy(blocks: Sequence[Block], t140: int) -> bytes:
    """The payload of these blocks, the oldest first, the last the packet's own."""
    heads = b"".join(
        [bytes([0x80 | t140]) + (each.ago << 10 | len(each.text)).to_bytes(3, "big") for each in blocks[:-1]]
    )
    return heads + bytes([t140]) + b"".join([each.text for each in blocks])


class TextSender:
    """What was typed, as packets: 300 ms apart at least, each with what the last ones said as well."""

    def __init__(self, form: TextFormat, most_waiting: int) -> None:
        """`most_waiting` characters may wait; where there are more stands one MISSING, and they are `dropped`."""
        self.form = form
        self.sent = self.dropped = 0
        """Characters."""
        self._most = most_waiting
        self._waiting: deque[str] = deque()
        self._said: deque[tuple[int, bytes]] = deque()
        """Ticks and text of the last packets."""
        self._repeats = 0
        """Packets that are still to go for the sake of redundancy alone."""
        self._counted: deque[tuple[float, int]] = deque()
        """When how many characters went, within the last ten seconds."""
        self._last: int | None = None
        """Ticks of the last packet."""

    def type(self, text: str) -> None:
        """Send this after all that waits."""
        room = max(0, self._most - len(self._waiting))
        self._waiting.extend(text[:room])
        if len(text) > room:
            self.dropped += len(text) - room
            if not self._waiting or self._waiting[-1] != MISSING:
                self._waiting.append(MISSING)

    def cut(self) -> None:
        """Somebody else types from now on: what waits is given up for one MISSING, and they are `dropped`."""
        if self._waiting:
            self.dropped += len(self._waiting)
            self._waiting.clear()
            self._waiting.append(MISSING)

    @property
    def is_busy(self) -> bool:
        """Whether anything is to be sent, now or later."""
        return bool(self._waiting or self._repeats)

    def take(self, now: float) -> TextPacket | None:
        """The packet that is due, if one is."""
        ticks = round(now * 1000)
        pause = ticks - self._last if self._last is not None else None
        if not self.is_busy or (pause is not None and pause < INTERVAL):
            return None
        text = self._next_block(now)
        if not text and not self._repeats:
            return None
        form, payload = self.form, text
        # After a pause, when all was said (RFC 4103 section 5.2).
        marker = pause is None or pause > 2 * INTERVAL
        if form.red is not None:
            blocks = [Block(min(ticks - when, _LONGEST_AGO), said) for when, said in self._said]
            payload = write_redundancy((*blocks, Block(0, text)), form.t140)
            self._said.append((ticks, text))
            while len(self._said) > form.generations:
                self._said.popleft()
        self._repeats = form.generations if text else self._repeats - 1
        self._last = ticks
        return TextPacket(form.t140 if form.red is None else form.red, marker, payload, pause or 0)

    def _next_block(self, now: float) -> bytes:
        """Whole characters, as many as may go."""
        while self._counted and now - self._counted[0][0] >= CPS_SPAN:
            self._counted.popleft()
        most = max(self.form.cps, 1) * round(CPS_SPAN) - sum(count for _, count in self._counted)
        block, count = bytearray(), 0
        while self._waiting and count < most:
            character = self._waiting[0].encode("utf-8", "replace")
            if len(block) + len(character) > MOST_OCTETS:
                break
            block += character
            count += 1
            self._waiting.popleft()
        if count:
            self._counted.append((now, count))
            self.sent += count
        return bytes(block)


class TextReceiver:
    """Packets as what was typed: in order, each block once, MISSING where one is lost for good."""

    def __init__(self) -> None:
        self.received = self.missing = 0
        """Characters that came, and how often MISSING had to stand for some."""
        self._begin()

    def _begin(self) -> None:
        self._next: int | None = None
        """Number of the block that is waited for; they count on where sequence numbers wrap."""
        self._ahead: dict[int, tuple[int, bytes]] = {}
        """Timestamp and text of blocks after that one, by number."""
        self._missed_at: float | None = None
        self._last_said: int | None = None
        """Timestamp of the last block that had text."""
        self._decoder = getincrementaldecoder("utf-8")("replace")

    def restart(self) -> str:
        """Another stream begins; what was kept of the one before."""
        rest = ""
        while self._ahead:
            rest += self._give_up() + self._drain()
        self._begin()
        return rest

    def skip(self) -> None:
        """Nobody is to read what is kept, nor what comes late of it."""
        if self._ahead:
            self._next = max(self._ahead) + 1
            self._ahead.clear()
        self._missed_at = None
        self._decoder.reset()

    @property
    def is_waiting(self) -> bool:
        """Whether `expire` has something to do, now or later."""
        return bool(self._ahead)

    def receive(self, sequence_number: int, timestamp: int, blocks: Sequence[Block], now: float) -> str:
        """One packet; what can be read now."""
        number = sequence_number
        if self._next is None:
            self._next = sequence_number - len(blocks) + 1
        else:
            number = self._next + ((sequence_number - self._next + 0x8000) & 0xFFFF) - 0x8000
        for index, block in enumerate(blocks):
            place = number - len(blocks) + 1 + index
            if place < self._next or place in self._ahead:
                continue
            when = (timestamp - block.ago) % _TICKS
            # Some senders leave empty blocks out: what has been read already tells its time, not its place.
            text = b"" if index + 1 < len(blocks) and self._has_read(when) else block.text
            self._ahead[place] = when, text
        return self._drain() + self.expire(now)

    def expire(self, now: float) -> str:
        """What can be read now that the time for what is missing may be over."""
        said = ""
        while self._ahead:
            if self._missed_at is None:
                self._missed_at = now
            if now - self._missed_at < WAIT and len(self._ahead) <= MOST_AHEAD:
                return said
            said += self._give_up() + self._drain()
        self._missed_at = None
        return said

    def _has_read(self, when: int) -> bool:
        return self._last_said is not None and (self._last_said - when) % _TICKS < _HALF

    def _give_up(self) -> str:
        """Go on after what is missing."""
        self._next = min(self._ahead)
        self._decoder.reset()
        self.missing += 1
        return MISSING

    def _drain(self) -> str:
        """The text of the blocks that are in turn."""
        said = ""
        while self._next is not None and self._next in self._ahead:
            when, text = self._ahead.pop(self._next)
            self._next += 1
            self._missed_at = None
            if text:
                self._last_said = when
                said += self._decoder.decode(text)
        said = said.replace(BYTE_ORDER_MARK, "")
        self.received += len(said)
        return said
