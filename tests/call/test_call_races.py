"""What crosses on its way: losers, liars, silence, and legs or engines that break at the end."""

from __future__ import annotations

import pytest

from gateway.call.leg import (
    Answered,
    CandidateAdded,
    DigitPressed,
    HungUp,
    LegEvent,
    OfferAnswered,
    Rejected,
    Ringing,
)
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.media.engine import Kind, MediaError, MediaFailed, MediaTimeout
from tests.call.rig import ANSWER, Rig
from tests.rows import by_row


async def test_what_a_losing_callee_had_said_already_does_not_end_the_call() -> None:
    """Two answer at once, and the second hangs up before the first answer is worked off."""
    rig = await Rig(callees=2).started()
    rig.callees[0].says(Answered(ANSWER))
    rig.callees[1].says(Answered(ANSWER))
    await rig.hears(rig.callees[1], HungUp())
    rig.expect(State.CONNECTED)
    assert rig.callees[1].told[-1] == ("end", Cause.ELSEWHERE)
    assert rig.callees[0].verbs == ["invite"]


@pytest.mark.parametrize("event", [MediaFailed("c1", "callee1", "no ICE"), MediaTimeout("c1", "callee1", 9.0)])
async def test_lost_media_of_a_losing_callee_does_not_end_the_call(event: MediaFailed | MediaTimeout) -> None:
    """Only the media of those who talk matters."""
    rig = await Rig(callees=2).connected()
    rig.engine.emit(event)
    await rig.settle()
    rig.expect(State.CONNECTED)


@by_row("event", [Ringing(), Ringing(ANSWER), Answered(ANSWER), Rejected(Cause.BUSY)])
async def test_a_caller_cannot_answer_its_own_call(event: LegEvent) -> None:
    """A confused or malicious caller's words of a callee change nothing."""
    rig = await Rig().started()
    await rig.hears(rig.caller, event)
    rig.expect(State.CALLING)
    assert rig.callee.verbs == ["invite"]


async def test_a_caller_that_gave_up_during_the_offer_lets_no_phone_ring() -> None:
    """What ends the call while the engine works is seen before anybody is invited."""
    rig = Rig()
    rig.call.start()
    rig.caller.says(HungUp())
    await rig.settle()
    rig.expect(State.ENDED)
    assert rig.call.record.cause is Cause.CANCELLED
    assert "invite" not in rig.callee.verbs
    assert rig.engine.calls == frozenset()


async def test_candidates_that_came_before_the_call_was_made_reach_the_engine() -> None:
    """A browser trickles as soon as it has dialled; the callee is still being looked up then."""
    rig = Rig()
    rig.caller.says(CandidateAdded("candidate:1 1 udp 1 192.0.2.1 5 typ host", "0"))
    await rig.started()
    assert rig.engine.verbs("c1") == ["offer", "accept", "trickle"]


async def test_a_reoffer_before_the_answer_is_refused_at_once() -> None:
    """An UPDATE in an early dialog always gets its final response (RFC 3311 section 5.2)."""
    rig = await Rig(caller_kind=Kind.RTP).started()
    await rig.hears(rig.callee, Ringing())
    await rig.offered(rig.caller)
    assert rig.caller.told[-1] == ("answer_offer", Cause.GLARE)
    rig.expect(State.RINGING)


async def test_a_reoffer_that_is_never_answered_is_refused_in_the_end() -> None:
    """A page that forgets to answer must not block every later change of the call."""
    rig = await Rig().connected()
    await rig.offered(rig.callee)
    rig.timers.advance(35)
    await rig.settle()
    assert rig.callee.told[-1] == ("answer_offer", Cause.NOT_ACCEPTABLE)
    rig.expect(State.CONNECTED)
    await rig.offered(rig.callee, 2)
    await rig.answers(rig.caller)
    assert rig.callee.replies[1] is Cause.NOT_ACCEPTABLE
    assert isinstance(rig.callee.replies[2], str)
    await rig.hears(rig.callee, HungUp())
    assert rig.timers.pending == 0


async def test_a_late_answer_is_not_taken_for_that_of_the_next_offer() -> None:
    """Each answer names its exchange; who answered late is offered again what stands."""
    rig = await Rig().connected()
    await rig.offered(rig.callee)
    rig.timers.advance(35)
    await rig.settle()
    await rig.offered(rig.callee, 2)
    first, second = rig.caller.exchanges
    await rig.hears(rig.caller, OfferAnswered(first, "late"))
    assert 2 not in rig.callee.replies
    assert all(request.sdp != "late" for request in rig.engine.requests)
    await rig.hears(rig.caller, OfferAnswered(second, ANSWER))
    assert isinstance(rig.callee.replies[2], str)
    assert rig.engine.verbs()[-1] == "create_offer"
    assert len(rig.caller.exchanges) == 3
    await rig.answers(rig.caller)
    rig.expect(State.CONNECTED)
    assert rig.timers.pending == 1, "the longest duration only"


async def test_who_made_a_reoffer_cannot_answer_it() -> None:
    """Only the other side's answer counts."""
    rig = await Rig().connected()
    await rig.offered(rig.callee)
    await rig.hears(rig.callee, OfferAnswered(rig.caller.exchanges[-1], ANSWER))
    rig.expect(State.EXCHANGING)
    assert "answer_offer" not in rig.callee.verbs


async def test_a_leg_that_cannot_be_ended_keeps_no_other_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in one leg leaves no phone ringing for ever."""
    rig = await Rig().connected()

    async def broken(cause: Cause) -> None:
        raise RuntimeError("bug")

    monkeypatch.setattr(rig.caller, "end", broken)
    rig.call.stop()
    await rig.settle()
    rig.expect(State.ENDED)
    assert rig.callee.told[-1] == ("end", Cause.NORMAL)
    assert rig.engine.calls == frozenset()


async def test_media_that_cannot_be_deleted_does_not_change_why_the_call_ended() -> None:
    """An engine that is away at the end is a warning, not the cause of the end."""
    rig = await Rig().connected()
    rig.engine.script("delete", MediaError("no reply", 504))
    await rig.hears(rig.callee, HungUp())
    assert rig.call.record.cause is Cause.NORMAL
    assert rig.engine.verbs("c1").count("delete") == 1


async def test_digits_reach_an_announcement_before_the_answer() -> None:
    """Early media may ask for digits."""
    rig = await Rig(caller_kind=Kind.RTP).started()
    await rig.hears(rig.callee, Ringing(ANSWER))
    await rig.hears(rig.caller, DigitPressed("5"))
    assert rig.engine.requests[-1].verb == "send_dtmf"
