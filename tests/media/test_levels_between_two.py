"""How large a picture one of two may send: as the other one takes it, also where that one came later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.engine import Kind, MediaEvent, OfferWanted, Party
from tests.media.engine_support import running
from tests.media.levels_support import ALIKE, LARGE, LARGER, SMALL, level, phone, said
from tests.media.rtp_support import ManualClock

CALLER, CALLEE, THIRD = (Party(tag, Kind.RTP) for tag in ("caller", "callee", "third"))


class Call:
    """One call of an engine, in which nobody is real."""

    def __init__(self, engine: EmbeddedEngine, events: list[MediaEvent], clock: ManualClock) -> None:
        self.engine, self.events, self.clock = engine, events, clock

    async def up(self, offer: str, answer: str, parties: tuple[Party, Party] = (CALLER, CALLEE)) -> str:
        """A call, or another offer in it; what who offered was answered."""
        await self.engine.offer("call", *parties, offer)
        return await self.engine.answer("call", parties[1], parties[0], answer)

    async def reoffered(self, party: Party, peer: Party, answer: str) -> str:
        """What a party is offered by us, which it answers."""
        offered = await self.engine.create_offer("call", party, peer)
        await self.engine.answer("call", party, None, answer)
        return offered

    async def wanted(self) -> list[str]:
        """Who is to be made an offer, since this was asked last."""
        await asyncio.sleep(0)  # events come in the loop's next round
        found = sorted({each.tag for each in self.events if isinstance(each, OfferWanted)})
        self.events.clear()
        return found

    async def pass_seconds(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1.0)
            await self.engine.sweep()


@pytest_asyncio.fixture
async def call() -> AsyncIterator[Call]:
    clock = ManualClock()
    async with running(clock=clock) as (engine, events):
        yield Call(engine, events, clock)


@pytest.mark.parametrize(
    ("caller", "callee"),
    [
        (LARGE, SMALL),
        (SMALL, LARGE),
        (LARGE, LARGE),
        (LARGE, "x=y"),
        (ALIKE.format("42e01f"), ALIKE.format("42e028")),  # told the lower of both, which is less than the other takes
    ],
)
async def test_a_call_says_it_once(call: Call, caller: str, callee: str) -> None:
    """Each was told what the other one takes as the call began, and nobody is offered anything more."""
    await call.up(phone(caller), phone(callee))
    await call.pass_seconds(60)
    assert await call.wanted() == []


async def test_who_is_passed_on_to_a_slower_phone_is_told_what_that_one_takes(call: Call) -> None:
    """At once, and once; from there to a faster one after half a minute, in which it might be passed on again."""
    await call.up(phone(LARGE), phone(LARGE))
    assert level(await call.reoffered(THIRD, CALLER, phone(SMALL))) == "1f"
    await call.engine.join("call", CALLER.tag, THIRD.tag)
    assert await call.wanted() == ["caller"]
    assert level(await call.reoffered(CALLER, THIRD, phone(LARGE))) == "0c"
    await call.engine.join("call", CALLER.tag, THIRD.tag)
    await call.pass_seconds(60)
    assert await call.wanted() == []
    await call.engine.join("call", CALLER.tag, CALLEE.tag)
    await call.pass_seconds(28)
    assert await call.wanted() == []
    await call.pass_seconds(3)
    assert await call.wanted() == ["caller"]
    assert level(await call.reoffered(CALLER, CALLEE, phone(LARGE))) == "1f"
    await call.pass_seconds(60)
    assert await call.wanted() == []


async def test_who_offers_less_in_mid_call_is_sent_no_more_by_whoever_comes_later(call: Call) -> None:
    """The other one is told in the same exchange, and who takes its place in the offer that it is made."""
    await call.up(phone(LARGE), phone(LARGE))
    assert level(await call.up(phone(SMALL), phone(LARGE))) == "1f"
    await call.pass_seconds(60)
    assert await call.wanted() == []
    assert level(await call.reoffered(THIRD, CALLER, phone(LARGER))) == "0c"
    await call.engine.join("call", CALLER.tag, THIRD.tag)
    await call.pass_seconds(28)
    assert await call.wanted() == []
    await call.pass_seconds(3)
    assert await call.wanted() == ["caller"]
    assert level(await call.reoffered(CALLER, THIRD, phone(SMALL))) == "28"


async def test_two_who_are_joined_are_told_what_the_other_takes_of_vp8(call: Call) -> None:
    """`max-fs` and `max-fr` of who came last (RFC 7741 section 6.1)."""
    await call.up(phone("", "VP8"), phone("", "VP8"))
    await call.reoffered(THIRD, CALLER, phone("max-fs=396;max-fr=15", "VP8"))
    await call.engine.join("call", CALLER.tag, THIRD.tag)
    assert await call.wanted() == ["caller"]
    assert said(await call.reoffered(CALLER, THIRD, phone("", "VP8"))) == {"max-fr": "15", "max-fs": "396"}
    await call.pass_seconds(60)
    assert await call.wanted() == []


@pytest.mark.parametrize(
    ("codec", "large", "small", "name", "value"),
    [("VP8", "", "max-fs=396", "max-fs", "396"), ("H264", LARGE, SMALL, "profile-level-id", "42e00c")],
)
async def test_who_takes_less_when_it_answers_an_offer_of_ours_is_sent_less_and_then_more(
    call: Call, codec: str, large: str, small: str, name: str, value: str
) -> None:
    """An answer says what its side takes as an offer does, whatever that side has said before (RFC 7741 6.1)."""
    await call.up(phone(large, codec), phone(large, codec))
    await call.reoffered(CALLEE, CALLER, phone(small, codec))
    await call.engine.join("call", CALLER.tag, CALLEE.tag)
    assert await call.wanted() == ["caller"]
    assert said(await call.reoffered(CALLER, CALLEE, phone(large, codec)))[name] == value
    await call.reoffered(CALLEE, CALLER, phone(large, codec))
    await call.engine.join("call", CALLER.tag, CALLEE.tag)
    assert said(await call.reoffered(CALLER, CALLEE, phone(large, codec))) == said(phone(large, codec))


@pytest.mark.parametrize(
    ("codec", "large", "small"),
    [
        ("VP8", "max-fs=3600", "max-fs=396"),
        ("VP9", "max-fs=3600", "max-fs=396"),
        ("AV1", "level-idx=8;tier=0", "level-idx=4;tier=0"),
        ("H264", LARGE, SMALL),
        ("H264", ALIKE.format("42e01f"), ALIKE.format("42e00c")),
    ],
)
async def test_who_answers_what_it_is_offered_is_sent_as_much_as_before_and_told_more_again(
    call: Call, codec: str, large: str, small: str
) -> None:
    """As Asterisk does: what it was offered for somebody slower is not what it takes; what it offers itself is."""
    await call.up(phone(large, codec), phone(large, codec))
    await call.reoffered(THIRD, CALLER, phone(small, codec))
    await call.engine.join("call", CALLER.tag, THIRD.tag)
    await call.reoffered(CALLER, THIRD, phone(small, codec))
    await call.engine.join("call", CALLER.tag, CALLEE.tag)
    await call.wanted()
    await call.pass_seconds(31)
    assert await call.wanted() == ["caller"]
    assert said(await call.reoffered(CALLER, CALLEE, phone(large, codec))) == said(phone(large, codec))
    await call.up(phone(small, codec), phone(large, codec))
    assert said(await call.reoffered(CALLEE, CALLER, phone(large, codec))) == said(phone(small, codec))


async def test_who_comes_back_to_a_slower_one_within_half_a_minute_is_told_nothing_more(call: Call) -> None:
    """It was told what that one takes, and nothing else since."""
    await call.up(phone(LARGE), phone(LARGE))
    await call.reoffered(THIRD, CALLER, phone(SMALL))
    await call.engine.join("call", CALLER.tag, THIRD.tag)
    await call.reoffered(CALLER, THIRD, phone(LARGE))
    await call.wanted()
    for _ in range(5):
        for other in (CALLEE, THIRD):
            await call.engine.join("call", CALLER.tag, other.tag)
            await call.pass_seconds(20)
    assert await call.wanted() == []


async def test_who_does_not_take_what_it_is_offered_is_offered_it_three_times(call: Call) -> None:
    """An offer that crosses another one, or that a phone refuses, is made again five seconds later."""
    await call.up(phone(LARGE), phone(LARGE))
    await call.reoffered(THIRD, CALLER, phone(SMALL))
    await call.engine.join("call", CALLER.tag, THIRD.tag)
    times = 0
    for _ in range(60):
        times += len(await call.wanted())
        await call.pass_seconds(1)
    assert times == 3
    assert level(await call.reoffered(CALLER, THIRD, phone(LARGE))) == "0c"


async def test_what_is_answered_in_mid_call_stands_also_after_a_transfer_there_and_back(call: Call) -> None:
    """Who was passed on and came back is not offered at once more than it has just been answered."""
    await call.up(phone(LARGE), phone(LARGE))
    await call.reoffered(THIRD, CALLER, phone(LARGE))
    for other in (THIRD, CALLEE):
        await call.engine.join("call", CALLER.tag, other.tag)
    await call.pass_seconds(60)
    assert level(await call.up(phone(LARGE), phone(SMALL))) == "0c"
    await call.pass_seconds(60)
    assert await call.wanted() == []


async def test_who_was_passed_on_is_told_more_once_the_same_one_takes_more(call: Call) -> None:
    """Half a minute later, as after a transfer."""
    await call.up(phone(LARGE), phone(LARGE))
    await call.reoffered(THIRD, CALLER, phone(SMALL))
    await call.engine.join("call", CALLER.tag, THIRD.tag)
    await call.reoffered(CALLER, THIRD, phone(LARGE))
    await call.reoffered(THIRD, CALLER, phone(LARGE))
    await call.engine.join("call", CALLER.tag, THIRD.tag)
    await call.wanted()
    await call.pass_seconds(28)
    assert await call.wanted() == []
    await call.pass_seconds(3)
    assert await call.wanted() == ["caller"]


async def test_who_is_passed_on_to_one_who_takes_as_much_is_told_so_if_it_was_told_less(call: Call) -> None:
    """The lower of both levels was made for the first one; the offer waits, for it might be passed on again."""
    most = ALIKE.format("42e028")
    await call.up(phone(ALIKE.format("42e01f")), phone(most))
    await call.engine.create_offer("call", THIRD, CALLER)
    await call.engine.answer("call", THIRD, None, phone(most))
    await call.pass_seconds(60)
    await call.engine.join("call", CALLER.tag, THIRD.tag)
    await call.pass_seconds(28)
    assert await call.wanted() == []
    await call.pass_seconds(3)
    assert await call.wanted() == ["caller"]
