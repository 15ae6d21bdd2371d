"""Two legs that talk: exchanges with numbers, offers that cross, clients that vanish and return."""

from __future__ import annotations

import pytest

from gateway.call.leg import AnswerChanged, Away, Confirmed, HungUp, OfferAnswered, OfferCancelled, Offered, Returned
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.media.engine import Kind, MediaError, MediaFailed, MediaTimeout
from gateway.testing.leg import FakeLeg
from tests.call.rig import ANSWER, OFFER, Rig
from tests.rows import by_row

HOLD = OFFER + "a=sendonly\r\n"


async def test_offers_that_cross_are_refused_to_both_who_come_second() -> None:
    """Who has ours answers it first, and one side has one offer open (RFC 3261 section 14.2)."""
    rig = await Rig().connected()
    await rig.offered(rig.callee)
    await rig.offered(rig.caller, 1)
    await rig.offered(rig.callee, 2)
    await rig.offered(rig.caller, 2, None)
    assert rig.caller.replies == {1: Cause.GLARE, 2: Cause.GLARE}
    assert rig.callee.replies == {2: Cause.GLARE}
    await rig.answers(rig.caller)
    assert isinstance(rig.callee.replies[1], str)


async def test_an_offer_that_waits_lets_the_one_of_its_target_go_first() -> None:
    """The phone has held before the page's hold went out: it is answered, the page sees it, and its own follows."""
    rig = await Rig().connected()
    rig.callee.takes_back = True
    await rig.offered(rig.caller, 1, HOLD)
    [first] = rig.callee.exchanges
    await rig.offered(rig.callee, 7, HOLD)
    assert isinstance(rig.callee.replies[7], str)
    assert rig.callee.verbs[-3:] == ["take_back_offer", "answer_offer", "offer"]
    assert ("held", True) in rig.caller.told
    assert 1 not in rig.caller.replies
    assert rig.callee.exchanges[-1] != first
    await rig.answers(rig.callee)
    assert isinstance(rig.caller.replies[1], str)
    rig.expect(State.CONNECTED)


async def test_an_offer_that_is_refused_before_ours_does_not_stop_ours() -> None:
    """Nonsense of the phone costs the page nothing."""
    rig = await Rig().connected()
    rig.callee.takes_back = True
    await rig.offered(rig.caller, 1, HOLD)
    rig.engine.script("offer", MediaError("no such codec", 488))
    await rig.offered(rig.callee, 7, "nonsense")
    assert rig.callee.replies == {7: Cause.NOT_ACCEPTABLE}
    await rig.answers(rig.callee)
    assert isinstance(rig.caller.replies[1], str)


async def test_an_offer_of_our_own_is_made_again_after_the_one_that_came_first() -> None:
    """After an answer that changed, say: nobody else waits for it."""
    rig = await Rig().connected()
    rig.callee.takes_back = True
    await rig.hears(rig.callee, AnswerChanged())
    await rig.offered(rig.callee, 7, HOLD)
    assert rig.callee.verbs[-4:] == ["offer", "take_back_offer", "answer_offer", "offer"]
    await rig.answers(rig.callee)
    rig.expect(State.CONNECTED)


@pytest.mark.parametrize("answer", [ANSWER, None])
async def test_an_offer_that_waits_is_made_to_a_target_that_asks_for_one(answer: str | None) -> None:
    """In the 200 to its re-INVITE without a description; the ACK brings the answer of the other side, or refuses it."""
    rig = await Rig().connected()
    rig.callee.takes_back = True
    await rig.offered(rig.caller, 1, HOLD)
    offer = rig.callee.told[-1][1]
    await rig.offered(rig.callee, 7, None)
    assert rig.callee.replies == {7: offer}
    await rig.hears(rig.callee, Confirmed(7, answer))
    assert (rig.caller.replies[1] == Cause.NOT_ACCEPTABLE) is (answer is None)
    rig.expect(State.CONNECTED)


async def test_an_offer_that_is_refused_is_refused_for_the_same_reason() -> None:
    """491 of one side is 491 to the other, who will try again."""
    rig = await Rig().connected()
    await rig.offered(rig.callee)
    await rig.hears(rig.caller, OfferAnswered(rig.caller.exchanges[-1], None, Cause.GLARE))
    assert rig.callee.replies == {1: Cause.GLARE}
    rig.expect(State.CONNECTED)


async def test_an_answer_the_engine_cannot_take_refuses_the_offer() -> None:
    """The call goes on as it was."""
    rig = await Rig().connected()
    await rig.offered(rig.callee)
    rig.engine.script("answer", MediaError("no codec", 488))
    await rig.answers(rig.caller)
    assert rig.callee.replies == {1: Cause.NOT_ACCEPTABLE}
    rig.expect(State.CONNECTED)


async def test_a_cancelled_offer_is_forgotten_and_its_late_answer_put_right() -> None:
    """Who answered what nobody waits for is offered again what stands."""
    rig = await Rig().connected()
    await rig.offered(rig.callee)
    await rig.hears(rig.callee, OfferCancelled(2))
    rig.expect(State.EXCHANGING)
    await rig.hears(rig.callee, OfferCancelled(1))
    rig.expect(State.CONNECTED)
    assert 1 not in rig.callee.replies
    await rig.hears(rig.caller, OfferAnswered(rig.caller.exchanges[0], ANSWER))
    assert rig.engine.verbs()[-1] == "create_offer"
    await rig.answers(rig.caller)
    rig.expect(State.CONNECTED)


@pytest.mark.parametrize("side", ["caller", "callee"])
async def test_a_reinvite_without_an_offer_gets_what_stands_and_its_answer_is_committed(side: str) -> None:
    """Our offer in the 200, its answer from the ACK (RFC 3261 section 14.1)."""
    rig = await Rig(caller_kind=Kind.RTP).connected()
    leg = rig.caller if side == "caller" else rig.callee
    await rig.offered(leg, 3, None)
    rig.expect(State.EXCHANGING)
    assert "create_offer" in str(leg.replies[3])
    await rig.hears(leg, Confirmed(2, "another"))
    rig.expect(State.EXCHANGING)
    await rig.hears(leg, Confirmed(3, ANSWER))
    rig.expect(State.CONNECTED)
    last = rig.engine.requests[-1]
    assert (last.verb, last.source, last.target, last.sdp) == ("answer", leg.party.tag, "", ANSWER)


@pytest.mark.parametrize("answer", [None, ANSWER])
async def test_a_reinvite_without_an_offer_that_is_never_answered_leaves_the_call(answer: str | None) -> None:
    """An ACK without a body, or none within the time."""
    rig = await Rig().connected()
    await rig.offered(rig.callee, 3, None)
    if answer is None:
        await rig.hears(rig.callee, Confirmed(3, None))
    else:
        rig.timers.advance(35)
        await rig.settle()
        await rig.hears(rig.callee, Confirmed(3, answer))
    rig.expect(State.CONNECTED)
    assert rig.engine.verbs()[-1] == "create_offer"


async def test_an_engine_that_makes_no_offers_refuses_a_reinvite_without_one() -> None:
    """488, and the call goes on."""
    rig = await Rig(movable=False).connected()
    await rig.offered(rig.callee, 3, None)
    assert rig.callee.replies == {3: Cause.NOT_ACCEPTABLE}
    rig.expect(State.CONNECTED)


async def test_a_changed_final_answer_reoffers_the_caller_who_cannot_take_a_second_one() -> None:
    """A browser with an early answer is offered again, by ourselves."""
    rig = await Rig(takes_another_answer=False).started()
    rig.engine.script("answer", ANSWER)
    await rig.connected_by_answer()
    rig.expect(State.EXCHANGING)
    assert rig.caller.verbs == ["early_answer", "answer", "offer"]
    await rig.answers(rig.caller)
    rig.expect(State.CONNECTED)
    assert rig.engine.requests[-1].target == ""


async def test_a_caller_that_cannot_be_reoffered_goes_on_with_its_early_answer() -> None:
    """The engine transcodes; no exchange stays open."""
    rig = await Rig(takes_another_answer=False, can_update=False).started()
    rig.engine.script("answer", ANSWER)
    await rig.connected_by_answer()
    rig.expect(State.CONNECTED)
    assert "offer" not in rig.caller.verbs


async def test_an_answer_that_is_the_early_one_reoffers_nobody() -> None:
    """What the browser has already stands."""
    rig = await Rig(takes_another_answer=False).connected()
    assert "offer" not in rig.caller.verbs


async def test_hold_and_resume_of_one_side_are_shown_to_the_other() -> None:
    """Once each, when they have been agreed."""
    rig = await Rig().connected()
    for number, sdp in enumerate((HOLD, HOLD, OFFER), 1):
        await rig.offered(rig.callee, number, sdp)
        await rig.answers(rig.caller)
    assert [told for told in rig.caller.told if told[0] == "held"] == [("held", True), ("held", False)]
    await rig.offered(rig.callee, 4, HOLD)
    await rig.answers(rig.caller, None)
    assert rig.caller.verbs[-1] == "offer"


async def test_a_leg_that_is_away_leaves_the_call_up_and_the_other_in_silence() -> None:
    """The bridge stays, and so does the media session."""
    rig = await Rig().connected()
    await rig.hears(rig.caller, Away())
    rig.expect(State.AWAY)
    assert rig.engine.joined("c1", "callee0") is None
    assert "end" not in rig.callee.verbs
    assert rig.call.machine.away == (rig.caller,)


async def test_media_that_cannot_be_isolated_ends_no_call() -> None:
    """An rtpengine that is silent for a moment: the other side hears what comes, and the client is waited for."""
    rig = await Rig().connected()
    rig.engine.script("isolate", MediaError("rtpengine does not answer", 503))
    await rig.hears(rig.caller, Away())
    rig.expect(State.AWAY)
    await rig.hears(rig.caller, Returned(9, None))
    rig.expect(State.CONNECTED)


@pytest.mark.parametrize("sdp", [None, OFFER])
async def test_a_client_that_returns_talks_again(sdp: str | None) -> None:
    """With a new offer, which is answered at once and without the other side, or as it was."""
    rig = await Rig().connected()
    await rig.hears(rig.caller, Away())
    await rig.hears(rig.caller, Returned(9, sdp))
    rig.expect(State.CONNECTED)
    assert rig.engine.joined("c1", "callee0") == "caller"
    assert (9 in rig.caller.replies) is (sdp is not None)
    assert "offer" not in rig.callee.verbs
    rig.timers.advance(21)
    await rig.settle()
    rig.expect(State.CONNECTED)


async def test_a_client_that_does_not_return_ends_the_call_with_a_cause() -> None:
    """After the reattach time, both sides hear why."""
    rig = await Rig().connected()
    await rig.hears(rig.caller, Away())
    rig.timers.advance(19.9)
    await rig.settle()
    rig.expect(State.AWAY)
    rig.timers.advance(0.2)
    await rig.settle()
    rig.expect(State.ENDED)
    assert rig.callee.told[-1] == ("end", Cause.LOST)
    assert rig.call.record.cause is Cause.LOST
    assert rig.timers.pending == 0


@pytest.mark.parametrize("event", [MediaFailed("c1", "caller", "gone"), MediaTimeout("c1", "caller", 30.0)])
async def test_the_media_of_who_is_away_ends_nothing(event: MediaFailed | MediaTimeout) -> None:
    """It is expected to be gone; that of who is still there is not."""
    rig = await Rig().connected()
    await rig.hears(rig.caller, Away())
    rig.engine.emit(event)
    await rig.settle()
    rig.expect(State.AWAY)
    rig.engine.emit(MediaFailed("c1", "callee0", "gone"))
    await rig.settle()
    rig.expect(State.ENDED)


async def test_who_is_still_there_may_hold_while_the_other_is_away() -> None:
    """The gateway answers alone, in silence; who returns is told."""
    rig = await Rig().connected()
    await rig.hears(rig.caller, Away())
    await rig.offered(rig.callee, 5, HOLD)
    assert isinstance(rig.callee.replies[5], str)
    assert "offer" not in rig.caller.verbs
    assert rig.engine.joined("c1", "callee0") is None
    await rig.offered(rig.callee, 6, None)
    assert rig.callee.replies[6] is Cause.GLARE
    await rig.hears(rig.caller, Returned())
    assert rig.caller.told[-1] == ("held", True)


@pytest.mark.parametrize("side", ["asked", "asking"])
async def test_who_vanishes_in_the_middle_of_an_exchange_gives_it_up(side: str) -> None:
    """The offer is refused to who made it, and a late answer is moot."""
    rig = await Rig().connected()
    await rig.offered(rig.callee)
    await rig.hears(rig.caller if side == "asked" else rig.callee, Away())
    rig.expect(State.AWAY)
    assert rig.callee.replies == {1: Cause.GLARE}


async def test_both_may_be_away_and_both_must_return() -> None:
    """One that is back waits for the other."""
    rig = await Rig().connected()
    await rig.hears(rig.caller, Away())
    await rig.hears(rig.callee, Away())
    await rig.hears(rig.caller, Away())
    await rig.hears(rig.caller, Returned())
    rig.expect(State.AWAY)
    assert rig.engine.joined("c1", "caller") is None
    await rig.hears(rig.callee, Returned())
    rig.expect(State.CONNECTED)
    assert rig.engine.joined("c1", "caller") == "callee0"


async def test_a_client_that_comes_back_before_it_was_missed_is_taken_back() -> None:
    """A reload is quicker than the old socket's end; an open exchange is given up for it."""
    rig = await Rig().connected()
    await rig.offered(rig.callee)
    await rig.hears(rig.caller, Returned(4, OFFER))
    rig.expect(State.CONNECTED)
    assert rig.callee.replies == {1: Cause.GLARE}
    assert isinstance(rig.caller.replies[4], str)


async def test_who_is_away_can_still_be_hung_up_on() -> None:
    """And hears it, should its front end still reach it."""
    rig = await Rig().connected()
    await rig.hears(rig.caller, Away())
    await rig.hears(rig.callee, HungUp())
    rig.expect(State.ENDED)
    assert rig.caller.told[-1] == ("end", Cause.NORMAL)
    assert rig.timers.pending == 0


async def test_a_return_the_engine_cannot_take_is_refused_and_the_call_goes_on() -> None:
    """The client may try again with another offer."""
    rig = await Rig().connected()
    await rig.hears(rig.caller, Away())
    rig.engine.script("offer", MediaError("no ICE", 400))
    await rig.hears(rig.caller, Returned(2, "nonsense"))
    assert rig.caller.replies == {2: Cause.NOT_ACCEPTABLE}
    rig.expect(State.CONNECTED)


async def test_an_engine_that_moves_nobody_keeps_the_call_of_who_is_away_all_the_same() -> None:
    """Without isolation the other side hears nothing, which is no reason to end the call."""
    rig = await Rig(movable=False).connected()
    await rig.hears(rig.caller, Away())
    rig.expect(State.AWAY)
    await rig.hears(rig.caller, Returned())
    rig.expect(State.CONNECTED)


async def test_a_leg_that_comes_in_for_one_who_is_in_an_exchange_takes_its_place() -> None:
    """The exchange is given up, the media of who leaves is released, who stays is joined to who comes."""
    rig = await Rig().connected()
    await rig.offered(rig.callee)
    new = FakeLeg("transfer")
    await rig.engine.create_offer("c1", new.party, rig.caller.party)
    await rig.engine.answer("c1", new.party, None, ANSWER)
    rig.call.replace(rig.callee, new)
    await rig.settle()
    rig.expect(State.CONNECTED)
    assert rig.callee.replies == {1: Cause.GLARE}
    assert rig.engine.parties("c1") == {"caller", "transfer"}
    await rig.hears(rig.callee, HungUp())
    rig.expect(State.CONNECTED)
    await rig.hears(new, Offered(1, OFFER))
    await rig.answers(rig.caller)
    assert isinstance(new.replies[1], str)
    await rig.hears(new, HungUp())
    rig.expect(State.ENDED)


@by_row("narrow", ["caller", "coming", None])
async def test_a_new_peer_is_offered_audio_both_ways_where_the_former_gave_less(narrow: str | None) -> None:
    """The engine says to whom; nobody else is asked anything."""
    rig = await Rig(caller_kind=Kind.RTP).connected()
    coming = FakeLeg("coming")
    await rig.engine.create_offer("c1", coming.party)
    await rig.engine.answer("c1", coming.party, None, ANSWER)
    rig.engine.narrowed = {narrow} if narrow else set()
    rig.call.replace(rig.callee, coming, lambda cause: None, held=False)
    await rig.settle()
    offered = [leg.party.tag for leg in (rig.caller, coming) if "offer" in leg.verbs]
    assert offered == ([narrow] if narrow else [])
