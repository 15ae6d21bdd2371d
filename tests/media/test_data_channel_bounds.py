"""What a browser's SCTP may cost: false SACKs, gaps, parts and messages without end. aiortc is the browser."""

from __future__ import annotations

from typing import Any

from aiortc.rtcdatachannel import RTCDataChannel
from aiortc.rtcsctptransport import ForwardTsnChunk

from gateway.media.embedded.data.sctp import (
    LOOK,
    MOST_AHEAD,
    MOST_PARTS,
    MOST_STEPS,
    MOST_STREAMS,
    PLACE,
    WINDOW,
    ChannelKind,
)
from tests.media.engine_support import until
from tests.media.sctp_support import FIRST, LAST, UNORDERED, Pair, paired
from tests.rows import by_row


async def kept_unacknowledged(pair: Pair, messages: int) -> None:
    """Have so many messages of ours under way to a browser that does not answer."""
    pair.deaf = True
    for _ in range(messages):
        pair.opened[0].send(b"x")
    await until(lambda: len(pair.sctp._sent_queue) == messages)


async def test_a_sack_of_what_was_sent_is_taken() -> None:
    """Gaps among it, what is still under way, and one that is late."""
    async with paired() as (pair, _):
        await kept_unacknowledged(pair, 10)
        pair.inject(pair.sack((2, 3), (5, 5), (10, 10), behind=10))
        assert [each._acked for each in pair.sctp._sent_queue] == [n in (2, 3, 5, 10) for n in range(1, 11)]
        pair.inject(pair.sack(behind=4))
        assert len(pair.sctp._sent_queue) == 4
        pair.inject(pair.sack((9, 60_000), behind=10))
        assert not pair.ours.closed
        assert len(pair.sctp._sent_queue) == 4


@by_row(
    "gaps",
    [
        [(0, 65_535)] * 100,
        [(2, 65_535)],
        [(2, 11)],
        [(2, 3), (3, 4)],
        [(5, 6), (2, 3)],
        [(4, 3)],
        [(0, 0)],
    ],
)
async def test_a_sack_of_what_was_not_sent_ends_the_association(gaps: list[tuple[int, int]]) -> None:
    """Before its blocks are counted out one by one."""
    async with paired() as (pair, _):
        await kept_unacknowledged(pair, 10)
        pair.inject(pair.sack(*gaps, behind=10))
        assert pair.ours.closed
        assert not any(each._acked for each in pair.sctp._sent_queue)


async def test_a_sack_of_the_future_ends_the_association() -> None:
    """Nothing so late was sent."""
    async with paired() as (pair, _):
        pair.inject(pair.sack(behind=-1))
        assert pair.ours.closed


async def test_many_sacks_in_one_datagram_end_the_association() -> None:
    """Each would look at all that is under way."""
    async with paired() as (pair, _):
        await kept_unacknowledged(pair, 10)
        pair.inject(*[pair.sack((2, 2), behind=10)] * 2)
        assert pair.ours.closed


async def test_what_comes_beyond_gaps_is_kept_up_to_a_bound_and_comes_again() -> None:
    """As if it had been lost: once the gaps are closed it is taken."""
    async with paired() as (pair, _):
        heard: list[Any] = []
        pair.opened[0].listen(heard.append)
        chunks = [pair.data(2 * number) for number in range(1, 3 * MOST_AHEAD)]
        for chunk in chunks:
            pair.inject(chunk)
        assert len(pair.sctp._sack_misordered) == len(heard) == MOST_AHEAD
        assert not pair.ours.closed
        skipped = ForwardTsnChunk()
        skipped.cumulative_tsn = chunks[MOST_AHEAD].tsn - 1
        pair.inject(skipped)
        pair.inject(chunks[MOST_AHEAD])
        assert len(heard) == MOST_AHEAD + 1
        assert not pair.sctp._sack_misordered


async def test_an_association_goes_on_over_a_lost_datagram() -> None:
    """What overtook it is heard in its order, also where it came twice."""
    async with paired() as (pair, _):
        heard: list[Any] = []
        pair.opened[0].listen(heard.append)
        late, *others = [pair.data(number, octets=number) for number in range(1, 6)]
        for chunk in others:
            pair.inject(chunk, chunk)
        pair.inject(late)
        assert sorted(len(each) for each in heard) == [1, 2, 3, 4, 5]
        assert not pair.sctp._sack_misordered
        assert pair.sctp._last_received_tsn == others[-1].tsn


async def test_parts_without_a_beginning_are_not_searched_for_every_chunk() -> None:
    """One datagram of many looks at them as often as the bound says."""
    async with paired() as (pair, _):
        for _ in range(1100):
            pair.inject(pair.data(1, UNORDERED | LAST))
        assert len(pair.sctp._inbound_streams[0].reassembly) > 1000
        before = pair.sctp._last_received_tsn
        pair.inject(*[pair.data(ahead, UNORDERED | LAST) for ahead in range(1, 51)])
        taken = pair.sctp._last_received_tsn - before
        assert 1 <= taken <= MOST_STEPS // 1000


@by_row(
    ("flags", "octets", "streams"),
    [(FIRST, 1100, 1), (0, 1100, 1), (UNORDERED | FIRST, 1100, 40), (FIRST, 1, 1), (UNORDERED, 1, 40)],
)
async def test_messages_that_never_end_end_the_association(flags: int, octets: int, streams: int) -> None:
    """What is held of them is bounded in octets and in parts, over all streams."""
    async with paired() as (pair, _):
        for number in range(MOST_PARTS + 2 * LOOK):
            if not pair.ours.closed:
                pair.inject(pair.data(1, flags, stream=number % streams, octets=octets))
        held = [part for stream in pair.sctp._inbound_streams.values() for part in stream.reassembly]
        assert pair.ours.closed
        assert len(held) <= MOST_PARTS + LOOK
        assert sum(len(part.user_data) for part in held) <= WINDOW + octets


async def test_who_uses_streams_without_end_has_none_left() -> None:
    """Each is held for as long as the association is."""
    async with paired() as (pair, _):
        for stream in range(MOST_STREAMS + 1):
            pair.inject(pair.data(1, stream=stream))
        assert pair.ours.closed


@by_row(("channels", "octets"), [(16, 10_000), (1, 1), (16, 1)])
async def test_what_waits_is_bounded_for_all_channels_together(channels: int, octets: int) -> None:
    """Small messages count with what each takes, and what is under way counts until it is acknowledged."""
    most = 65_536
    async with paired(channels, most) as (pair, _):
        pair.deaf = True
        for _ in range(2 * most // (octets + PLACE) // channels + 2):
            for channel in pair.opened:
                channel.send(b"x" * octets)
        assert most <= pair.sctp.waiting < most + octets + PLACE
        held = [*pair.sctp._sent_queue, *pair.sctp._outbound_queue]
        queued = pair.sctp._data_channel_queue
        size = sum(len(each.user_data) + PLACE for each in held) + sum(len(each[2]) + PLACE for each in queued)
        assert size < most + octets + PLACE * (len(held) + 1)
        assert all(channel.closed for channel in pair.opened)


async def test_what_is_acknowledged_makes_room_again() -> None:
    """More than the bound passes in all, by each of the channels."""
    async with paired(2, 65_536) as (pair, theirs):
        heard: list[int] = []
        for their in theirs:
            their.on("message", lambda message: heard.append(len(message)))
        for number in range(20):
            for channel in pair.opened:
                channel.send(b"x" * 10_000)
            expected = 2 * (number + 1)
            await until(lambda expected=expected: len(heard) == expected)
            await until(lambda: pair.sctp.waiting == 0)


async def test_messages_that_nobody_hears_yet_count_together() -> None:
    """They wait in the channels."""
    async with paired(4, 65_536) as (pair, theirs):
        for _ in range(4):
            for their in theirs:
                their.send(b"x" * 10_000)
        await until(lambda: any(channel.closed for channel in pair.opened))
        await until(lambda: not pair.browser._data_channel_queue)
        assert sum(channel.kept_octets for channel in pair.opened) <= 65_536 + 10_000 + PLACE


async def test_no_channel_is_opened_that_no_message_could_wait_in() -> None:
    """Who sends to one that reads nothing would open another with each message: each costs as much as what waits."""
    async with paired(1, 65_536) as (pair, _):
        pair.deaf = True
        while not pair.opened[0].closed:
            pair.opened[0].send(b"x" * 10_000)
        assert pair.ours.open(ChannelKind(label="text")) is None


async def test_names_of_channels_are_measured_in_octets() -> None:
    """A label and a protocol of any script; one that no message can hold is of no channel."""
    async with paired() as (pair, _):
        came: list[RTCDataChannel] = []
        pair.browser.on("datachannel", came.append)
        assert pair.ours.open(ChannelKind(label="ü" * 32_768)) is None
        assert pair.ours.open(ChannelKind(label="Grüße", protocol="t140")) is not None
        await until(lambda: bool(came))
        assert (came[0].label, came[0].protocol) == ("Grüße", "t140")


async def test_who_acknowledges_for_ever_has_no_more_under_way_to_it_than_the_window() -> None:
    """Its congestion window would grow with each SACK (RFC 9260 section 7.2.1), and so would what it may let wait."""
    async with paired(1, 6 * WINDOW) as (pair, _):
        pair.deaf = True
        pair.sctp._cwnd, pair.sctp._ssthresh = WINDOW // 2, 4 * WINDOW  # where its slow start may go
        for _ in range(5 * WINDOW // 1000):
            pair.opened[0].send(b"x" * 1000)
        await until(lambda: bool(pair.sctp._outbound_queue))
        for _ in range(2 * WINDOW // 1000):
            sack = pair.sack()
            sack.cumulative_tsn = pair.sctp._sent_queue[0].tsn
            pair.inject(sack)
        assert pair.sctp._outbound_queue, "everything was sent, so nothing was held back"
        under_way = sum(len(each.user_data) for each in pair.sctp._sent_queue)
        assert WINDOW // 2 < under_way <= WINDOW + 5000


async def test_small_chunks_count_with_the_packet_that_each_is() -> None:
    """A thousand letters are a thousand packets, and not one."""
    async with paired(1) as (pair, _):
        pair.deaf = True
        for _ in range(1000):
            pair.opened[0].send(b"x")
        await until(lambda: bool(pair.sctp._outbound_queue))
        assert len(pair.sctp._sent_queue) * PLACE <= pair.sctp._cwnd + PLACE
