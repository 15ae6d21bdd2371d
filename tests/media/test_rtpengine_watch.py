"""The one task that looks at every call: how often, how many at a time, and until when."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import cast

import pytest

from gateway.app.media_settings import engine as engine_of
from gateway.config.load import load_values
from gateway.media.engine import Kind, MediaEvent, MediaTimeout, Party
from gateway.media.rtpengine.call import CallState, Patience
from gateway.media.rtpengine.client import NgHost
from gateway.media.rtpengine.statistics import Heard
from gateway.media.rtpengine.watch import Pace, Rhythm, Watch
from tests.media.engine_support import phone_sdp, until
from tests.media.ng_daemon import daemon, friendly

PHONE, OTHER = Party("phone", Kind.RTP), Party("other", Kind.RTP)


class Looks:
    """Counts looks, and how many are under way; `outcomes` says what a look at a call gives."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.outcomes: dict[str, Pace | Exception | None] = {}
        self.under_way = 0
        self.most = 0

    async def __call__(self, call_id: str) -> Pace | None:
        self.count[call_id] += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        outcome = self.outcomes.get(call_id, Pace.SOON)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def watch(looks: Looks, rhythm: Rhythm) -> Watch:
    return Watch(rhythm, asyncio.get_running_loop().time, looks)


async def test_every_call_is_looked_at_with_so_many_looks_at_a_time() -> None:
    """However many calls there are."""
    looks = Looks()
    watching = watch(looks, Rhythm(soon=0.001, steady=0.001, at_once=3))
    watching.start()
    for number in range(20):
        watching.see(f"call{number}")
    await until(lambda: len(looks.count) == 20 and min(looks.count.values()) >= 3)
    await watching.stop()
    assert looks.most <= 3


async def test_awaited_calls_are_looked_at_soon_and_others_steadily() -> None:
    """Here the steady ones are due after the test."""
    looks = Looks()
    looks.outcomes = {"awaited": Pace.SOON, "heard": Pace.STEADY}
    watching = watch(looks, Rhythm(soon=0.001, steady=60.0))
    watching.start()
    watching.see("awaited")
    watching.see("heard")
    await until(lambda: looks.count["awaited"] >= 10)
    await watching.stop()
    assert looks.count["heard"] == 1


async def test_a_call_in_doubt_is_looked_at_at_once_and_closely() -> None:
    """Others keep the steady pace, and a call that nobody looks at is not looked at for a doubt either."""
    looks = Looks()
    looks.outcomes = {"doubted": Pace.STEADY, "other": Pace.STEADY}
    watching = watch(looks, Rhythm(soon=0.001, close=0.001, steady=60.0))
    watching.start()
    for name in looks.outcomes:
        watching.see(name)
    await until(lambda: len(looks.count) == 2)
    looks.outcomes["doubted"] = Pace.CLOSE
    watching.hurry("doubted")
    watching.hurry("unknown")
    await until(lambda: looks.count["doubted"] >= 10)
    await watching.stop()
    assert looks.count == {"doubted": looks.count["doubted"], "other": 1}


@pytest.mark.parametrize("doubted", [frozenset(), frozenset({"trunk:office"})])
@pytest.mark.parametrize("patience", [None, 5.0])
def test_a_call_is_looked_at_closely_where_a_short_silence_ends_it(
    doubted: frozenset[str], patience: float | None
) -> None:
    """Its trunk does not answer, or its early media is listened to."""
    call = CallState("call", cast(NgHost, None), "call")
    for tag in ("a", "b"):
        call.party(Party(tag, Kind.RTP, owner="trunk:office" if tag == "b" else ""), 0.0)
        call.parties[tag].connected_after = 1.0
    call.joined = frozenset({"a", "b"})
    call.parties["b"].patience = patience
    assert call.pace(doubted) is (Pace.CLOSE if doubted or patience else Pace.STEADY)


async def test_patience_with_a_call_that_is_never_heard_ends() -> None:
    """It is looked at like any other then, until it is seen again."""
    looks = Looks()
    watching = watch(looks, Rhythm(soon=0.001, steady=60.0, impatience=0.0))
    watching.start()
    watching.see("call")
    await until(lambda: looks.count["call"] == 1)
    watching.see("call")
    watching.see("other")
    await until(lambda: looks.count["other"] == 1)
    await watching.stop()
    assert looks.count["call"] == 1


async def test_a_call_that_is_gone_is_forgotten() -> None:
    """And nothing of it is kept."""
    looks = Looks()
    looks.outcomes = {"gone": None}
    watching = watch(looks, Rhythm(soon=0.001, steady=0.001))
    watching.start()
    watching.see("gone")
    await until(lambda: not len(watching))
    await watching.stop()
    assert looks.count["gone"] == 1


async def test_a_look_that_fails_stops_neither_that_call_nor_the_others() -> None:
    """It is tried again at the steady pace."""
    looks = Looks()
    looks.outcomes = {"broken": RuntimeError("a fault of ours")}
    watching = watch(looks, Rhythm(soon=0.001, steady=0.001))
    watching.start()
    watching.see("broken")
    watching.see("fine")
    await until(lambda: looks.count["broken"] >= 3 and looks.count["fine"] >= 3)
    await watching.stop()


async def test_stopping_is_idempotent() -> None:
    """Also before the start."""
    watching = watch(Looks(), Rhythm())
    await watching.stop()
    watching.start()
    await watching.stop()
    await watching.stop()


def test_two_that_are_joined_and_have_not_answered_are_waited_for_from_the_beginning() -> None:
    """A newcomer of a transfer, before its answer: its silence counts from when it came."""
    call = CallState("call", cast(NgHost, None), "call")
    for tag in ("stays", "comes"):
        call.party(Party(tag, Kind.RTP), 100.0)
    call.joined = frozenset({"stays", "comes"})
    heard = {"comes": Heard(expected=True)}
    assert call.take(heard, 104.0, Patience(media=5.0)) == []
    assert [type(each) for each in call.take(heard, 106.0, Patience(media=5.0))] == [MediaTimeout]


@pytest.mark.parametrize(("timeout", "ends"), [(5.0, True), (15.0, True), (0.0, False)])
async def test_calls_of_a_silent_daemon_end_in_the_time_that_is_set(timeout: float, ends: bool) -> None:
    """Thirty calls end within 6 s of the timeout, counted from the last answer; without a timeout none does."""
    clock = asyncio.get_running_loop().time
    async with daemon(lambda request: friendly(request) | {"sdp": phone_sdp()}) as (answering, (host, port)):
        engine = engine_of(
            load_values({"media": {"engine": f"rtpengine:{host}:{port}", "rtpengine_timeout": timeout}}), clock
        )
        ended: dict[str, float] = {}

        def note(event: MediaEvent) -> None:
            ended.setdefault(event.call_id, clock())

        engine.subscribe(note)
        await engine.start()
        try:
            for number in range(30):
                await engine.offer(f"call{number}", PHONE, OTHER, phone_sdp())
                await engine.answer(f"call{number}", OTHER, PHONE, phone_sdp())
            answering.answer = lambda request: None
            silent = clock()
            if ends:
                await until(lambda: len(ended) == 30, 60)
                assert timeout <= min(ended.values()) - silent
                assert max(ended.values()) - silent <= timeout + 6
            else:
                await asyncio.sleep(120)
                assert not ended
        finally:
            await engine.close()
