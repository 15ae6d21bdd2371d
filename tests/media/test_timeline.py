"""A phone's streams go on by the clock where another process begins them: timestamps never seem to go back."""

from __future__ import annotations

from functools import partial
from random import Random

from gateway.media.embedded.timeline import Timeline
from gateway.media.engine import Kind, Party
from tests.media.engine_support import phone_sdp, running, written_down
from tests.media.three_streams import RATES, StreamPhone, agree_anew, hear_each_other, stepped, steps

LEFT, RIGHT = Party("left", Kind.RTP), Party("right", Kind.RTP)
BEGAN = 1_900_000_000.0
"""Unix seconds."""


def test_a_timeline_goes_by_its_clock_and_begins_anywhere() -> None:
    """RFC 3550 section 5.1: at random, then a tick for each of the clock, over the wrap."""
    drawn = {Timeline.draw(Random(seed), 1000.0).at(1000.0, 8000) for seed in range(100)}
    assert len(drawn) == 100
    assert max(drawn) > 1 << 31 > min(drawn)
    line = Timeline(0xFFFFFF00, 1000.0)
    assert [line.at(1000.0 + passed, 8000) for passed in (0.0, 0.02, 0.04)] == [0xFFFFFF00, 0xFFFFFFA0, 0x40]
    assert line.at(1001.0, 90_000) - line.at(1000.5, 90_000) == 45_009


def test_a_stream_of_a_fast_clock_is_not_ahead_of_what_is_begun_after_it() -> None:
    """The clock of who made it and ours may be 100 ppm off, each in its direction: 0.7 s in an hour, 7 s in ten."""
    line = Timeline(1000, 50.0)
    for hours in (1, 10):
        sent = 1000 + hours * 3600 * 8000 * (1 + 2e-4)
        assert 0 <= line.at(50.0 + hours * 3600, 8000) - sent < 1


async def test_the_next_process_begins_a_stream_where_the_one_before_would_be() -> None:
    """Voice, picture and text of phones whose call is made anew, twice, 2.5 s and an hour after they began."""
    async with StreamPhone() as left, StreamPhone() as right:
        async with running(wall_clock=lambda: BEGAN) as (engine, _):
            right.take(await engine.offer("call", LEFT, RIGHT, left.sdp()))
            left.take(await engine.answer("call", RIGHT, LEFT, right.sdp()))
            await hear_each_other(left, right, 1)
            values = written_down(engine)
        for times, passed in ((2, 2.5), (3, 3602.5)):
            async with running(wall_clock=partial(float, BEGAN + passed)) as (engine, _):
                await engine.restore("call", values)
                await agree_anew(engine, {LEFT: left, RIGHT: right})
                await hear_each_other(left, right, times)
                values = written_down(engine)
        for phone in (left, right):
            assert steps(phone) == {kind: stepped(rate, 2.5, 3602.5) for kind, rate in RATES.items()}


async def test_who_takes_up_the_flows_of_a_call_knows_its_timelines() -> None:
    """For what it begins later: a picture, or all of it where the plane dies."""
    async with running() as (engine, _):
        await engine.offer("call", LEFT, RIGHT, phone_sdp())
        await engine.answer("call", RIGHT, LEFT, phone_sdp(port=41002))
        values = written_down(engine)
        del engine._sessions["call"]
        await engine.resume("call", values)
        before, after = ([each["timeline"] for each in of["parties"]] for of in (values, written_down(engine)))
        assert before == after
        assert before[0] != before[1]


async def test_a_record_of_before_there_were_timelines_is_gone_on_with() -> None:
    """Its streams begin anywhere, as they did then."""
    async with StreamPhone() as left, StreamPhone() as right, running() as (engine, _):
        await engine.offer("call", LEFT, RIGHT, left.sdp())
        await engine.answer("call", RIGHT, LEFT, right.sdp())
        values = written_down(engine)
        for each in values["parties"]:
            del each["timeline"]
        await engine.delete("call")
        await engine.restore("call", values)
        await agree_anew(engine, {LEFT: left, RIGHT: right})
        await hear_each_other(left, right, 1)
