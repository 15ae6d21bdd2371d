"""What carried the media is gone: both sides are offered another transport, and who does not take it ends the call."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.call.leg import Away, Confirmed, HungUp, OfferAnswered, Returned, Ringing
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.media.engine import Kind, MediaError
from gateway.testing.leg import FakeLeg
from tests.call.rig import ANSWER, OFFER, Rig
from tests.rows import by_row

HOLD = OFFER + "a=sendonly\r\n"


async def lost(rig: Rig) -> Rig:
    """The plane has died and is there again."""
    rig.engine.lose("c1")
    await rig.settle()
    return rig


def talk(rig: Rig) -> bool:
    """Whether the engine lets both sides hear each other."""
    return rig.call.state is State.CONNECTED and rig.engine.joined("c1", "caller") == "callee0"


async def test_each_side_is_offered_what_the_engine_has_made_anew() -> None:
    """One after the other; then they hear each other, and nobody is asked twice."""
    rig = await lost(await Rig().connected())
    assert (len(rig.caller.exchanges), len(rig.callee.exchanges)) == (1, 0)
    await rig.answers(rig.caller)
    await rig.answers(rig.callee)
    assert talk(rig)
    assert rig.engine.verbs()[-5:] == ["create_offer", "answer", "create_offer", "answer", "join"]
    assert (len(rig.caller.exchanges), len(rig.callee.exchanges)) == (1, 1)


async def test_a_call_of_a_dead_process_is_offered_again_as_well() -> None:
    """`Call.resume` with the media made anew."""
    rig = Rig(caller_kind=Kind.RTP)
    await rig.engine.restore("c1", {"agreed": ["caller", "callee0"]})
    rig.call.resume(rig.caller, rig.callee, away=(), holding=(), left=60.0, silent=True)
    await rig.settle()
    await rig.answers(rig.caller)
    await rig.answers(rig.callee)
    assert talk(rig)


async def test_a_service_is_not_asked() -> None:
    """The engine speaks for it."""
    rig = await Rig(caller_kind=Kind.RTP).connected()
    rig.callee._party = FakeLeg("callee0", Kind.SERVICE, service="echo").party
    rig.call.resume(rig.caller, rig.callee, away=(), holding=(), left=60.0, silent=True)
    await rig.settle()
    await rig.answers(rig.caller)
    rig.expect(State.CONNECTED)
    assert rig.callee.exchanges == []


async def refuses(rig: Rig) -> None:
    await rig.answers(rig.caller, None)


async def answers_nonsense(rig: Rig) -> None:
    rig.engine.script("answer", MediaError("no codec", 488))
    await rig.answers(rig.caller)


async def says_nothing(rig: Rig) -> None:
    rig.timers.advance(36)
    await rig.settle()


@by_row("way", [refuses, answers_nonsense, says_nothing])
async def test_who_does_not_take_it_ends_the_call(way: Callable[[Rig], object]) -> None:
    """Nothing would ever be heard again; both are told, and the other side is not offered anything any more."""
    rig = await lost(await Rig().connected())
    await way(rig)  # type: ignore[misc]
    rig.expect(State.ENDED)
    assert rig.call.cause is Cause.MEDIA_FAILED
    assert [leg.told[-1] for leg in (rig.caller, rig.callee)] == [("end", Cause.MEDIA_FAILED)] * 2
    assert rig.callee.exchanges == []


async def test_a_front_end_that_carries_no_offer_ends_the_call() -> None:
    """A bare HTTP session."""
    rig = await Rig(can_update=False).connected()
    await lost(rig)
    rig.expect(State.ENDED)
    assert rig.call.cause is Cause.MEDIA_FAILED


async def test_an_engine_without_a_port_left_ends_the_call() -> None:
    """The cause is told."""
    rig = await Rig().connected()
    rig.engine.script("create_offer", MediaError("no RTP port is left", 503))
    await lost(rig)
    rig.expect(State.ENDED)
    assert rig.call.cause is Cause.MEDIA_FAILED


async def test_a_call_that_is_being_set_up_ends_with_a_cause() -> None:
    """Both sides hear it."""
    rig = await Rig().started()
    await rig.hears(rig.callee, Ringing())
    await lost(rig)
    rig.expect(State.ENDED)
    assert rig.call.cause is Cause.MEDIA_FAILED
    assert [leg.told[-1] for leg in (rig.caller, rig.callee)] == [("end", Cause.MEDIA_FAILED)] * 2


async def test_offers_meanwhile_are_refused_as_crossing() -> None:
    """Who offers something itself tries again later (RFC 3261 section 14.1)."""
    rig = await lost(await Rig().connected())
    await rig.offered(rig.caller, 5)
    await rig.offered(rig.callee, 6)
    assert (rig.caller.replies[5], rig.callee.replies[6]) == (Cause.GLARE, Cause.GLARE)
    await rig.answers(rig.caller)
    await rig.answers(rig.callee)
    assert talk(rig)


async def test_an_engine_that_waits_for_its_own_offer_has_that_of_a_side_refused_as_crossing() -> None:
    """MediaError 491 is no other refusal."""
    rig = await Rig().connected()
    rig.engine.script("offer", MediaError("another connection is about to be offered", 491))
    await rig.offered(rig.caller, 5)
    assert rig.caller.replies[5] is Cause.GLARE


async def test_an_exchange_that_was_open_is_finished_first() -> None:
    """Its answer belongs to media that is gone, and ends nothing; the offer of before does not count as the new one."""
    rig = await Rig().connected()
    await rig.offered(rig.callee, 1)
    await lost(rig)
    rig.expect(State.EXCHANGING)
    rig.engine.script("answer", MediaError("no offer of this party is waiting for an answer", 481))
    await rig.answers(rig.caller)
    assert rig.callee.replies[1] is Cause.NOT_ACCEPTABLE
    for leg in (rig.caller, rig.callee):
        await rig.answers(leg)
    assert talk(rig)


async def test_a_side_that_agrees_by_an_offer_of_its_own_is_not_asked_again() -> None:
    """It got the new transport in the answer; the other one in the offer that was passed on."""
    rig = await Rig(caller_kind=Kind.RTP).connected()
    await rig.offered(rig.callee, 1)
    rig.engine.lose("c1")
    rig.call.leg_event(rig.caller, OfferAnswered(rig.caller.exchanges[-1], ANSWER))
    await rig.settle()
    assert talk(rig)
    assert (len(rig.caller.exchanges), rig.callee.exchanges) == (1, [])


async def test_a_reinvite_without_an_offer_brings_the_new_transport() -> None:
    """Its answer in the ACK counts."""
    rig = await Rig(caller_kind=Kind.RTP).connected()
    await rig.offered(rig.callee, 3, None)
    await lost(rig)
    await rig.engine.create_offer("c1", rig.callee.party)
    await rig.hears(rig.callee, Confirmed(3, ANSWER))
    await rig.answers(rig.caller)
    assert talk(rig)
    assert rig.callee.exchanges == []


@pytest.mark.parametrize("offer", [None, OFFER])
async def test_who_is_away_gets_it_on_return(offer: str | None) -> None:
    """With an offer of its own it has agreed by that; the other side waits so long."""
    rig = await Rig().connected()
    await rig.hears(rig.caller, Away())
    await lost(rig)
    rig.expect(State.AWAY)
    assert rig.callee.exchanges == []
    await rig.hears(rig.caller, Returned(9, offer))
    if offer is None:
        await rig.answers(rig.caller)
    await rig.answers(rig.callee)
    assert talk(rig)
    assert len(rig.caller.exchanges) == (offer is None)


async def test_who_goes_away_in_the_middle_gets_it_on_return() -> None:
    """A page that is reloaded while it is offered another connection."""
    rig = await lost(await Rig().connected())
    await rig.hears(rig.caller, Away())
    rig.expect(State.AWAY)
    await rig.hears(rig.caller, Returned(9, OFFER))
    await rig.answers(rig.callee)
    assert talk(rig)


async def test_who_lost_its_connection_as_well_is_waited_for() -> None:
    """An offer would find nobody; when nobody comes the call ends for that reason."""
    rig = await Rig().connected()
    rig.callee.loses_signalling()
    await lost(rig)
    rig.expect(State.AWAY)
    assert rig.callee.exchanges == []
    rig.timers.advance(21)
    await rig.settle()
    rig.expect(State.ENDED)
    assert rig.call.cause is Cause.LOST


async def test_a_second_death_in_the_middle_begins_anew() -> None:
    """What was answered already is gone as well."""
    rig = await lost(await Rig().connected())
    await rig.answers(rig.caller)
    await lost(rig)
    await rig.answers(rig.callee)
    await rig.answers(rig.caller)
    rig.engine.lose("c1")
    rig.call.leg_event(rig.callee, OfferAnswered(rig.callee.exchanges[-1], ANSWER))
    await rig.settle()
    while rig.call.state is State.EXCHANGING:
        await rig.answers(rig.caller)
        await rig.answers(rig.callee)
    assert talk(rig)


async def test_an_answer_that_the_next_death_has_overtaken_is_asked_for_again() -> None:
    """The engine knows of no offer any more before the call has heard that it is gone."""
    rig = await lost(await Rig().connected())
    rig.engine.script("answer", MediaError("no offer of ours is open", 481))
    await rig.answers(rig.caller)
    rig.expect(State.EXCHANGING)
    await rig.answers(rig.callee)
    await rig.answers(rig.caller)
    assert talk(rig)


async def test_a_hang_up_in_the_middle_is_a_hang_up() -> None:
    """No offer follows."""
    rig = await lost(await Rig().connected())
    await rig.hears(rig.callee, HungUp())
    rig.expect(State.ENDED)
    assert rig.call.cause is Cause.NORMAL


async def test_a_hold_that_the_answer_does_not_say_any_more_is_over() -> None:
    """And one that it says goes on."""
    rig = await Rig(caller_kind=Kind.RTP).connected()
    for leg, other in ((rig.callee, rig.caller), (rig.caller, rig.callee)):
        await rig.offered(leg, 1, HOLD)
        await rig.answers(other)
    await lost(rig)
    await rig.answers(rig.caller, ANSWER + "a=sendonly\r\n")
    await rig.answers(rig.callee)
    assert talk(rig)
    assert [rig.caller.told[-1], [what for what in rig.callee.told if what[0] == "held"]] == [
        ("held", False),
        [("held", True)],
    ]
