"""The call tables, driven with legs and an engine that do as they are told."""

from __future__ import annotations

import asyncio

import pytest

from gateway.call.leg import Answered, CandidateAdded, DigitPressed, HungUp, Rejected, Ringing
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.media.engine import Connected, Kind, MediaError, MediaFailed, MediaTimeout
from tests.call.rig import ANSWER, Rig
from tests.rows import by_row


async def test_a_browser_is_answered_before_the_phone_is_asked() -> None:
    """The early answer goes out first, so that ICE and DTLS run while the phone rings."""
    rig = await Rig().started()
    assert rig.engine.verbs("c1") == ["offer", "accept"]
    assert rig.caller.verbs == ["early_answer"]
    assert rig.callee.verbs == ["invite"]


async def test_a_phone_that_calls_is_not_answered_early() -> None:
    """Only a browser's media is ours to answer before the callee does."""
    rig = await Rig(caller_kind=Kind.RTP).started()
    assert rig.engine.verbs("c1") == ["offer"]
    assert rig.caller.verbs == []


async def test_ringing_and_answer_reach_the_caller() -> None:
    """180 and 200 of the callee become ring and answer of the caller, in order."""
    rig = await Rig().connected()
    assert rig.caller.verbs == ["early_answer", "ring", "answer"]
    assert rig.changes == [State.CALLING, State.RINGING, State.CONNECTED]
    assert rig.learned == [("pcma", "pcmu")]


async def test_early_media_is_answered_at_once_and_the_answer_without_sdp_stands() -> None:
    """183 with SDP is committed when it comes; a 200 without a body keeps it."""
    rig = await Rig(caller_kind=Kind.RTP).started()
    await rig.hears(rig.callee, Ringing(ANSWER))
    rig.expect(State.EARLY)
    assert rig.caller.told[0][0] == "ring"
    assert rig.caller.told[0][1] is not None
    await rig.hears(rig.callee, Answered(None))
    rig.expect(State.CONNECTED)
    assert rig.caller.told[1] == ("answer", rig.caller.told[0][1])


async def test_an_answer_without_any_description_fails_the_call() -> None:
    """A callee that accepts without ever describing its media cannot be joined."""
    rig = await Rig(caller_kind=Kind.RTP).started()
    await rig.hears(rig.callee, Answered(None))
    rig.expect(State.ENDED)
    assert rig.caller.told[-1] == ("end", Cause.NOT_ACCEPTABLE)
    assert rig.callee.told[-1] == ("end", Cause.NOT_ACCEPTABLE)
    assert rig.engine.calls == frozenset()


@pytest.mark.parametrize("side", ["caller", "callee"])
async def test_either_side_hangs_up_and_the_other_is_told(side: str) -> None:
    """BYE from one side ends the other leg and deletes the media."""
    rig = await Rig().connected()
    gone, left = (rig.caller, rig.callee) if side == "caller" else (rig.callee, rig.caller)
    await rig.hears(gone, HungUp())
    rig.expect(State.ENDED)
    assert left.told[-1] == ("end", Cause.NORMAL)
    assert "end" not in gone.verbs
    assert rig.engine.calls == frozenset()
    assert rig.timers.pending == 0
    await asyncio.wait_for(rig.call.finished(), 30)


async def test_a_caller_who_gives_up_cancels_the_callee() -> None:
    """Hanging up before the answer is a cancellation for the callee."""
    rig = await Rig().started()
    await rig.hears(rig.callee, Ringing())
    await rig.hears(rig.caller, HungUp())
    assert rig.callee.told[-1] == ("end", Cause.CANCELLED)
    assert rig.call.record.cause is Cause.CANCELLED


@by_row("cause", [Cause.BUSY, Cause.DECLINED, Cause.UNAVAILABLE, Cause.NOT_FOUND, Cause.ERROR])
async def test_a_refusal_reaches_the_caller_as_what_it_was(cause: Cause) -> None:
    """Busy is busy and declined is declined on the other side too."""
    rig = await Rig().started()
    await rig.hears(rig.callee, Rejected(cause))
    assert rig.caller.told[-1] == ("end", cause)
    rig.expect(State.ENDED)


async def test_no_answer_ends_both_sides_after_the_ring_timeout() -> None:
    """A callee that only rings is given up, and both sides are told."""
    rig = await Rig().started()
    await rig.hears(rig.callee, Ringing())
    rig.timers.advance(29.9)
    await rig.settle()
    rig.expect(State.RINGING)
    rig.timers.advance(0.2)
    await rig.settle()
    assert rig.caller.told[-1] == ("end", Cause.NO_ANSWER)
    assert rig.callee.told[-1] == ("end", Cause.NO_ANSWER)


async def test_a_call_ends_at_its_longest_duration() -> None:
    """The limit counts from the answer, not from the dialling."""
    rig = await Rig().connected()
    rig.timers.advance(599)
    await rig.settle()
    rig.expect(State.CONNECTED)
    rig.timers.advance(2)
    await rig.settle()
    rig.expect(State.ENDED)


async def test_the_first_of_several_callees_to_answer_has_the_call() -> None:
    """The others stop ringing, and what they say afterwards changes nothing."""
    rig = await Rig(callees=3).started()
    await rig.hears(rig.callees[1], Ringing())
    await rig.hears(rig.callees[1], Answered(ANSWER))
    assert rig.callees[0].told[-1] == ("end", Cause.ELSEWHERE)
    assert rig.callees[2].told[-1] == ("end", Cause.ELSEWHERE)
    await rig.hears(rig.callees[2], Rejected(Cause.BUSY))
    await rig.hears(rig.callees[0], Answered(ANSWER))
    rig.expect(State.CONNECTED)
    await rig.hears(rig.caller, HungUp())
    assert rig.callees[1].told[-1] == ("end", Cause.NORMAL)


async def test_early_media_of_one_of_several_callees_is_heard() -> None:
    """The others ring on; a 200 without a body makes the early description the answer."""
    rig = await Rig(callees=2, caller_kind=Kind.RTP).started()
    await rig.hears(rig.callees[0], Ringing(ANSWER))
    [(verb, sdp)] = rig.caller.told
    assert (verb, isinstance(sdp, str)) == ("ring", True)
    await rig.hears(rig.callees[0], Answered(None))
    rig.expect(State.CONNECTED)
    assert [one.sdp for one in rig.engine.requests if one.verb == "answer"] == [ANSWER]
    assert rig.callees[1].told[-1] == ("end", Cause.ELSEWHERE)


async def test_of_several_refusals_the_most_telling_is_passed_on() -> None:
    """Busy says more than unreachable, whichever came first."""
    rig = await Rig(callees=3).started()
    await rig.hears(rig.callees[0], Rejected(Cause.UNAVAILABLE))
    await rig.hears(rig.callees[1], Rejected(Cause.BUSY))
    rig.expect(State.CALLING)
    await rig.hears(rig.callees[2], Rejected(Cause.NOT_FOUND))
    assert rig.caller.told[-1] == ("end", Cause.BUSY)


async def test_hold_is_offered_to_the_other_side_and_its_answer_comes_back() -> None:
    """A re-INVITE of the phone becomes an update of the browser, and the answer returns."""
    rig = await Rig().connected()
    await rig.offered(rig.callee)
    rig.expect(State.EXCHANGING)
    assert rig.caller.verbs[-1] == "offer"
    await rig.answers(rig.caller)
    assert rig.callee.verbs[-1] == "answer_offer"
    assert rig.callee.told[-1][1] is not Cause.NOT_ACCEPTABLE
    rig.expect(State.CONNECTED)


async def test_a_side_that_cannot_be_updated_does_not_stop_the_other_from_holding() -> None:
    """The engine answers the re-offer itself when the far leg has no way to be asked."""
    rig = await Rig(can_update=False).connected()
    await rig.offered(rig.callee)
    assert rig.engine.verbs("c1")[-2:] == ["offer", "accept"]
    assert rig.callee.verbs[-1] == "answer_offer"
    rig.expect(State.CONNECTED)


async def test_a_refused_update_leaves_the_call_as_it_was() -> None:
    """488 to the one who asked, and both still talk."""
    rig = await Rig().connected()
    await rig.offered(rig.callee)
    await rig.answers(rig.caller, None)
    assert rig.callee.told[-1] == ("answer_offer", Cause.NOT_ACCEPTABLE)
    rig.expect(State.CONNECTED)


async def test_a_reoffer_the_engine_cannot_take_is_refused_and_the_call_goes_on() -> None:
    """Nonsense in a re-INVITE never ends the call it came in."""
    rig = await Rig().connected()
    rig.engine.script("offer", MediaError("no such codec", 488))
    await rig.offered(rig.callee, sdp="nonsense")
    assert rig.callee.told[-1] == ("answer_offer", Cause.NOT_ACCEPTABLE)
    rig.expect(State.CONNECTED)


async def test_two_reoffers_at_once_are_glare() -> None:
    """The second gets 491 (RFC 3261 section 14.2)."""
    rig = await Rig().connected()
    await rig.offered(rig.callee)
    await rig.offered(rig.caller)
    assert rig.caller.told[-1] == ("answer_offer", Cause.GLARE)
    rig.expect(State.EXCHANGING)


async def test_candidates_go_to_the_engine_and_digits_into_the_media() -> None:
    """Trickled candidates and signalled digits reach the side of the media they belong to."""
    rig = await Rig().connected()
    await rig.hears(rig.caller, CandidateAdded("candidate:1 1 udp 1 192.0.2.1 5 typ host", "0"))
    await rig.hears(rig.caller, DigitPressed("5"))
    assert rig.engine.verbs("c1")[-2:] == ["trickle", "send_dtmf"]
    assert rig.engine.requests[-1].source == "callee0"


async def test_a_bad_candidate_is_only_a_bad_candidate() -> None:
    """The engine's refusal of one candidate leaves the call alone."""
    rig = await Rig().connected()
    rig.engine.script("trickle", MediaError("malformed", 400))
    await rig.hears(rig.caller, CandidateAdded("junk"))
    rig.expect(State.CONNECTED)


@pytest.mark.parametrize(
    ("event", "cause"),
    [
        (MediaFailed("c1", "caller", "DTLS failed"), Cause.MEDIA_FAILED),
        (MediaTimeout("c1", "callee0", 30.0), Cause.MEDIA_TIMEOUT),
    ],
)
async def test_lost_media_ends_the_call_and_says_so(event: MediaFailed | MediaTimeout, cause: Cause) -> None:
    """Both sides hear that it was the media."""
    rig = await Rig().connected()
    rig.engine.emit(event)
    await rig.settle()
    assert rig.caller.told[-1] == ("end", cause)
    assert rig.callee.told[-1] == ("end", cause)


async def test_media_up_on_both_sides_is_noted_once() -> None:
    """The record says how long it took until both could hear."""
    rig = await Rig().connected()
    rig.timers.advance(0.25)
    rig.engine.emit(Connected("c1", "caller"))
    await rig.settle()
    assert rig.call.record.media_after_ms is None
    rig.engine.emit(Connected("c1", "callee0"))
    await rig.settle()
    assert rig.call.record.media_after_ms == pytest.approx(250)


@by_row(
    ("error", "cause"),
    [
        (MediaError("no line", 400), Cause.NOT_ACCEPTABLE),
        (MediaError("nothing in common", 488), Cause.NOT_ACCEPTABLE),
        (MediaError("no port", 503, limit="rtp.ports"), Cause.LIMIT),
        (MediaError("rtpengine does not answer", 503), Cause.OUT_OF_SERVICE),
        (MediaError("broken", 500), Cause.ERROR),
    ],
)
async def test_an_offer_the_engine_refuses_ends_the_call_with_its_reason(error: MediaError, cause: Cause) -> None:
    """The engine's status becomes the cause the caller is told, and no callee is asked."""
    rig = Rig()
    rig.engine.script("offer", error)
    await rig.started()
    assert rig.caller.told == [("end", cause)]
    assert "invite" not in rig.callee.verbs
    rig.expect(State.ENDED)


async def test_a_leg_that_breaks_ends_its_own_call_cleanly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in one leg is that call's fault, and the rest is still tidied up."""
    rig = Rig()

    async def broken(sdp: str, caller: object) -> None:
        raise RuntimeError("bug")

    monkeypatch.setattr(rig.callee, "invite", broken)
    await rig.started()
    rig.expect(State.ENDED)
    assert rig.caller.told[-1] == ("end", Cause.ERROR)
    assert rig.engine.calls == frozenset()


async def test_a_flood_of_inputs_ends_the_call_not_the_gateway() -> None:
    """A peer that sends faster than the call works is cut off within bounds."""
    rig = await Rig().connected()
    for _ in range(10_000):
        rig.caller.says(DigitPressed("1"))
    await rig.settle()
    rig.expect(State.ENDED)
    assert rig.engine.verbs("c1").count("send_dtmf") <= 200
