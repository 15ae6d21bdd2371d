"""A new offer before the answer, by UPDATE (RFC 3311 section 5.1, RFC 6337 section 3)."""

from __future__ import annotations

import pytest

from gateway.call.leg import Answered, Offered, Ringing
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.media.engine import Kind, MediaError
from gateway.sip.invite import events
from tests.call.rig import ANSWER, OFFER, Rig
from tests.call.walk import World

MOVED = ANSWER.replace("192.0.2.8", "192.0.2.77")


@pytest.mark.parametrize("who", ["callee", "caller"])
async def test_who_has_its_early_answer_may_offer_anew(who: str) -> None:
    """Through two real user agents and the engine; the call is then answered as if nothing had been."""
    world = World(0)
    caller, callee = world.phones[0], world.phones[1]
    caller.well_behaved = callee.well_behaved = True
    caller.call("3")
    await world.run(1)
    [ringing] = callee.ringing
    ringing.ring(183, body=callee.description())
    await world.run(2)
    phone, session = (callee, ringing) if who == "callee" else (caller, caller.sessions[0])
    number = session.offer(phone.description("sendonly"))
    await world.run(2)
    log = next(one for one in phone.talking if one.session is session)
    assert [one.status for one in log.of(events.OfferAnswered) if one.exchange == number] == [200]
    ringing.answer(ringing.local_body)
    await world.run(2)
    assert caller.sessions[0].is_confirmed
    assert ringing.is_confirmed


async def early() -> Rig:
    """The callee plays something before it answers."""
    rig = await Rig(caller_kind=Kind.RTP).started()
    await rig.hears(rig.callee, Ringing(ANSWER))
    rig.expect(State.EARLY)
    return rig


async def test_a_callee_whose_announcement_moves_is_heard_from_there() -> None:
    """The 200 without a description, or with that one, changes nothing more."""
    rig = await early()
    await rig.hears(rig.callee, Offered(1, MOVED))
    assert isinstance(rig.callee.replies[1], str)
    before = len(rig.engine.requests)
    await rig.hears(rig.callee, Answered(None))
    rig.expect(State.CONNECTED)
    assert [one.verb for one in rig.engine.requests[before:] if one.verb == "answer"] == []


async def test_a_caller_that_offers_anew_is_answered_with_that_in_the_200_too() -> None:
    """A description that differs from what it was answered last would be offered again."""
    rig = await early()
    await rig.hears(rig.caller, Offered(1, OFFER))
    given = rig.caller.replies[1]
    assert isinstance(given, str)
    await rig.hears(rig.callee, Answered(None))
    rig.expect(State.CONNECTED)
    assert ("answer", given) in rig.caller.told


async def test_an_offer_beside_the_first_is_491() -> None:
    """Nothing has been answered yet."""
    rig = await Rig(caller_kind=Kind.RTP).started()
    for leg in (rig.caller, rig.callee):
        await rig.hears(leg, Offered(1, MOVED))
        assert leg.replies == {1: Cause.GLARE}


async def test_an_early_offer_of_one_of_several_callees_is_491() -> None:
    """Nobody knows which of them will have the call; the one of the caller, which has an early answer, is answered."""
    rig = await Rig(callees=2, caller_kind=Kind.RTP).started()
    await rig.hears(rig.callee, Ringing(ANSWER))
    await rig.hears(rig.callee, Offered(1, MOVED))
    assert rig.callee.replies == {1: Cause.GLARE}
    await rig.hears(rig.caller, Offered(1, MOVED))
    assert isinstance(rig.caller.replies[1], str)


async def test_an_offer_that_the_engine_cannot_take_is_488_and_the_call_rings_on() -> None:
    """Whatever it holds."""
    rig = await early()

    async def fails(*_: object) -> str:
        raise MediaError("no codec in common", 488)

    rig.engine.offer = fails  # type: ignore[method-assign, assignment]
    for leg in (rig.caller, rig.callee):
        await rig.hears(leg, Offered(1, MOVED))
        assert leg.replies == {1: Cause.NOT_ACCEPTABLE}
    rig.expect(State.EARLY)
