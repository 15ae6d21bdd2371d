"""T.140 in RTP (RFC 4103): what is typed arrives once, in order, as long as one packet of three does."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.media.embedded.data.t140 import (
    INTERVAL,
    MISSING,
    MOST_AHEAD,
    MOST_OCTETS,
    WAIT,
    Block,
    TextError,
    TextFormat,
    TextPacket,
    TextReceiver,
    TextSender,
    read_redundancy,
    text_format,
    write_redundancy,
)
from sdp import Codec
from tests.rows import by_row

RED = TextFormat(t140=98, red=99, generations=2, cps=MOST_OCTETS)
PLAIN = TextFormat(t140=98, cps=MOST_OCTETS)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff"), max_size=40)


def packets_of(form: TextFormat, typed: list[str], most: int = 10_000) -> list[TextPacket]:
    """What goes out where one of `typed` is typed in each interval, until there is no more."""
    sender, now, sent = TextSender(form, most), 0.0, []
    waiting = list(typed)
    while waiting or sender.is_busy:
        if waiting:
            sender.type(waiting.pop(0))
        now += INTERVAL / 1000
        packet = sender.take(now)
        sent += [packet] if packet is not None else []
    return sent


class Reader:
    """Reads packets as they come."""

    def __init__(self, form: TextFormat, first: int = 65_530) -> None:
        self.receiver = TextReceiver()
        self.text = ""
        self._form, self._first = form, first
        self.now = 0.0

    def read(self, sent: list[TextPacket], order: list[int]) -> str:
        timestamps, timestamp = [], 4_294_967_000
        for packet in sent:
            timestamp += packet.advance
            timestamps.append(timestamp % 2**32)
        for index in order:
            self.now += 0.02
            self.text += self.receiver.expire(self.now)
            payload = sent[index].payload
            blocks = read_redundancy(payload, 98) if self._form.red is not None else (Block(0, payload),)
            number = (self._first + index) & 0xFFFF
            self.text += self.receiver.receive(number, timestamps[index], blocks, self.now)
        while self.receiver.is_waiting:
            self.now += 1
            self.text += self.receiver.expire(self.now)
        return self.text


@settings(max_examples=50)
@given(st.lists(texts, max_size=12))
@pytest.mark.parametrize("form", [RED, PLAIN])
def test_what_is_typed_is_read(form: TextFormat, typed: list[str]) -> None:
    """Of any script, with redundancy and without; no block is longer than may be."""
    sent = packets_of(form, typed)
    assert Reader(form).read(sent, list(range(len(sent)))) == "".join(typed)
    assert all(len(packet.payload) <= 3 * MOST_OCTETS + 9 for packet in sent)


@settings(max_examples=50)
@given(st.lists(texts, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_two_packets_of_three_may_be_lost(typed: list[str], dice: random.Random) -> None:
    """Whichever they are, the first ones included, and whatever comes twice or, the first one apart, late."""
    sent = packets_of(RED, typed)
    kept: list[int] = []
    for index in range(len(sent)):
        if (index >= 2 and not {index - 1, index - 2} & set(kept)) or dice.random() < 0.5:
            kept.append(index)
    kept += [index for index in kept if dice.random() < 0.3]
    order = kept[:1] + sorted(kept[1:], key=lambda index: index + dice.choice((0, 0, 0, 1.5)))
    read = Reader(RED).read(sent, order)
    assert read == "".join(typed)


def test_a_fifth_of_the_packets_is_lost_at_random() -> None:
    """Nothing is missing where at most two in a row are; where more are, one mark stands for it."""
    dice = random.Random(4103)
    typed = [chr(97 + index % 26) for index in range(2000)]
    sent = packets_of(TextFormat(t140=98, red=99, generations=2, cps=30), typed)
    kept = [index for index in range(len(sent)) if dice.random() >= 0.2]
    gaps = sum(later - earlier > 3 for earlier, later in pairwise(kept))
    reader = Reader(RED)
    read = reader.read(sent, kept)
    assert read.count(MISSING) == reader.receiver.missing == gaps > 0
    lost = sum(max(0, later - earlier - 3) for earlier, later in pairwise(kept))
    assert len(read) - gaps == len(typed) - lost


def test_what_redundancy_cannot_make_up_for_is_waited_for_and_then_marked() -> None:
    """Once for all that is missing in a row, and what comes afterwards is not read."""
    sent = packets_of(RED, list("abcdefgh"))
    receiver = TextReceiver()

    def take(index: int, now: float) -> str:
        return receiver.receive(index, 1000 + index * 300, read_redundancy(sent[index].payload, 98), now)

    assert take(0, 0.0) == "a"
    assert take(5, 1.0) == ""
    assert receiver.expire(1.0 + WAIT / 2) == ""
    assert take(3, 1.0 + WAIT / 2) == "bcdef"
    assert receiver.missing == 0
    receiver.restart()
    assert take(0, 2.0) == "a"
    assert take(5, 2.0) == ""
    assert receiver.expire(2.0 + WAIT) == f"{MISSING}def"
    assert take(2, 3.0) == ""
    assert not receiver.is_waiting


def test_what_nobody_is_to_read_is_skipped() -> None:
    """What waited for a lost packet, and what comes late; the next is read, without a mark for what was lost."""
    receiver = TextReceiver()
    assert receiver.receive(1, 300, (Block(0, b"a"),), 0.0) == "a"
    assert receiver.receive(4, 1200, (Block(0, b"d"),), 0.1) == ""
    receiver.skip()
    assert not receiver.is_waiting
    assert receiver.receive(2, 600, (Block(0, b"b"),), 0.2) == ""
    assert receiver.receive(5, 1500, (Block(300, b"d"), Block(0, b"e")), 0.3) == "e"
    assert receiver.expire(1.0) == ""


def test_the_first_after_a_pause_is_marked() -> None:
    """It goes at once, with the marker; the others one each 300 ms, the last two for redundancy alone."""
    sender = TextSender(RED, 100)
    sender.type("a")
    first = sender.take(5.0)
    assert first == TextPacket(99, True, b"\x62a", 0)
    sender.type("b")
    assert sender.take(5.29) is None
    second = sender.take(5.3)
    assert second is not None
    assert (second.marker, second.advance) == (False, 300)
    assert read_redundancy(second.payload, 98) == (Block(300, b"a"), Block(0, b"b"))
    third, fourth = sender.take(5.6), sender.take(5.9)
    assert third is not None
    assert read_redundancy(third.payload, 98) == (
        Block(600, b"a"),
        Block(300, b"b"),
        Block(0, b""),
    )
    assert fourth is not None
    assert read_redundancy(fourth.payload, 98) == (
        Block(600, b"b"),
        Block(300, b""),
        Block(0, b""),
    )
    assert not sender.is_busy
    assert sender.take(6.2) is None
    sender.type("c")
    again = sender.take(60.0)
    assert again is not None
    assert (again.marker, again.advance) == (True, 54_100)
    assert [block.ago for block in read_redundancy(again.payload, 98)] == [16_383, 16_383, 0]


def test_no_more_characters_a_second_go_than_the_phone_takes() -> None:
    """Over any ten seconds; the rest waits, and what finds no room is dropped and marked."""
    sender = TextSender(TextFormat(t140=98, red=99, generations=2, cps=5), 200)
    sender.type("x" * 250)
    assert sender.dropped == 50
    came: list[tuple[float, int]] = []
    for tick in range(3000):
        packet = sender.take(tick * 0.02)
        if packet is not None:
            text = read_redundancy(packet.payload, 98)[-1].text.decode()
            came += [(tick * 0.02, 1)] * len(text)
    assert sum(count for _, count in came) == 201
    for start, _ in came:
        assert sum(count for when, count in came if start <= when < start + 10) <= 50


def test_characters_are_never_split_and_split_ones_are_read() -> None:
    """Ours are whole; a sender that cuts one in two is understood, and the byte order mark is nobody's text."""
    sent = packets_of(PLAIN, ["€" * 150])
    assert [len(packet.payload) % 3 for packet in sent] == [0, 0]
    receiver = TextReceiver()
    octets = "\ufeffé€".encode()
    read = [receiver.receive(index, index, (Block(0, octets[index : index + 1]),), 0.0) for index in range(len(octets))]
    assert "".join(read) == "é€"
    assert receiver.received == 2


def test_a_sender_that_leaves_empty_blocks_out_is_not_read_twice() -> None:
    """Redundancy that has been read already is told by its time."""
    receiver = TextReceiver()
    assert receiver.receive(1, 1000, (Block(0, b"a"),), 0.0) == "a"
    assert receiver.receive(4, 1900, (Block(900, b"a"), Block(0, b"b")), 0.1) == ""
    assert receiver.expire(1.0) == f"{MISSING}b"


@by_row(
    "payload",
    [
        b"",
        b"\xe2\x00\x00",
        b"\x63x",
        b"\xe2\x00\x03\xff\x62a",
        bytes([0xE2, 0, 0, 0]) * 9 + b"\x62",
        b"\xe2\x00\x00\x01",
        b"\xe2\xff\xff\xff" * 16_000,
        b"\xe2\xff\xff\xff" * 8 + b"\x62" + b"a" * 1000,
        b"\xe3\x00\x00\x00\x62a",
    ],
)
def test_malformed_redundancy_is_refused(payload: bytes) -> None:
    """Cut short, of another format, longer than its packet, of too many blocks."""
    with pytest.raises(TextError):
        read_redundancy(payload, 98)


@given(st.binary(max_size=200))
def test_nothing_but_its_own_error_comes_of_any_payload(payload: bytes) -> None:
    """And what is read is bounded by what came."""
    try:
        blocks = read_redundancy(b"\xe2" + payload, 98)
    except TextError:
        return
    assert sum(len(block.text) for block in blocks) <= len(payload)
    TextReceiver().receive(0, 0, blocks, 0.0)


@given(st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 2**32 - 1), st.binary(max_size=20)), max_size=300))
def test_a_hostile_sender_fills_no_memory(packets: list[tuple[int, int, bytes]]) -> None:
    """Whatever numbers it sends, a bounded number of blocks is kept."""
    receiver = TextReceiver()
    for number, timestamp, text in packets:
        receiver.receive(number, timestamp, (Block(100, text), Block(0, text)), 0.0)
        assert len(receiver._ahead) <= MOST_AHEAD


@given(st.lists(st.tuples(st.integers(0, 16383), st.binary(max_size=300)), min_size=1, max_size=8))
def test_redundancy_reads_as_it_was_written(blocks: list[tuple[int, bytes]]) -> None:
    """RFC 2198: the heads, then the texts; the last block has no time of its own."""
    made = [Block(ago, text) for ago, text in blocks]
    made[-1] = Block(0, made[-1].text)
    assert read_redundancy(write_redundancy(made, 98), 98) == tuple(made)


def test_what_was_agreed_is_read_from_the_codecs() -> None:
    """Generations as many as the phone takes and two at most, characters a second as it says."""
    text = Codec("t140", 1000, 1, 97)
    assert text_format((), 30) is None
    assert text_format((text,), 30) == TextFormat(t140=97, cps=30)
    red = Codec("red", 1000, 1, 100, "97/97")
    assert text_format((red, text.with_fmtp("cps=150")), 30) == TextFormat(t140=97, red=100, generations=1, cps=150)
    assert text_format((red.with_fmtp("97/97/97/97"), text.with_fmtp("cps=x")), 30) == TextFormat(
        t140=97, red=100, generations=2, cps=30
    )
