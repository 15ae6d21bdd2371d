"""Reaching somebody: callers without an offer, branches that fail alone, clients that vanish while it rings."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.call.leg import Answered, Away, Confirmed, HungUp, Rejected, Returned, Ringing
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.media.engine import Kind, MediaError, MediaFailed
from tests.call.rig import ANSWER, OFFER, Rig
from tests.rows import by_row


async def offerless(**options: Any) -> Rig:
    """A phone that called without an offer, and its callee rings."""
    rig = await Rig(caller_kind=Kind.RTP, offer=None, **options).started()
    await rig.hears(rig.callee, Ringing())
    return rig


async def test_a_caller_without_an_offer_gets_ours_once_the_callee_has_answered_ours() -> None:
    """The callee gets an offer of the engine, the caller another, and both are joined."""
    rig = await offerless()
    assert [request.verb for request in rig.engine.requests] == ["create_offer"]
    assert rig.caller.verbs == ["ring"]
    await rig.hears(rig.callee, Answered(ANSWER))
    rig.expect(State.CONFIRMING)
    assert "create_offer" in str(rig.caller.told[-1][1])
    assert rig.caller.verbs[-1] == "answer"
    await rig.hears(rig.caller, Confirmed(0, ANSWER))
    rig.expect(State.CONNECTED)
    assert rig.engine.verbs() == ["create_offer", "answer", "create_offer", "answer", "join"]
    assert rig.engine.joined("c1", "caller") == "callee0"
    assert rig.learned == [("pcma", "pcmu")]
    assert rig.timers.pending == 1


async def test_of_several_callees_of_such_a_caller_one_is_joined() -> None:
    """The others are ended and their media released."""
    rig = await Rig(callees=3, caller_kind=Kind.RTP, offer=None).started()
    await rig.hears(rig.callees[1], Ringing(ANSWER))
    await rig.hears(rig.callees[1], Answered(None))
    rig.expect(State.CONFIRMING)
    assert rig.callees[0].told[-1] == ("end", Cause.ELSEWHERE)
    await rig.hears(rig.caller, Confirmed(0, ANSWER))
    assert rig.engine.parties("c1") == {"caller", "callee1"}


@by_row(
    ("event", "cause"),
    [
        (Confirmed(0, None), Cause.NOT_ACCEPTABLE),
        (HungUp(), Cause.NORMAL),
        (None, Cause.NOT_ACCEPTABLE),
    ],
)
async def test_a_caller_that_never_answers_our_offer_ends_the_call(
    event: Confirmed | HungUp | None, cause: Cause
) -> None:
    """No body in the ACK, a hang-up, or no ACK within the time."""
    rig = await offerless()
    await rig.hears(rig.callee, Answered(ANSWER))
    if event is None:
        rig.timers.advance(35)
        await rig.settle()
    else:
        await rig.hears(rig.caller, event)
    rig.expect(State.ENDED)
    assert rig.callee.told[-1] == ("end", cause)
    assert rig.timers.pending == 0


async def test_a_callee_that_hangs_up_before_the_caller_has_confirmed_ends_the_call() -> None:
    """The caller was answered already and hears the end."""
    rig = await offerless()
    await rig.hears(rig.callee, Answered(ANSWER))
    await rig.hears(rig.callee, HungUp())
    rig.expect(State.ENDED)
    assert rig.caller.told[-1] == ("end", Cause.NORMAL)


async def test_an_engine_that_makes_no_offers_refuses_a_caller_without_one() -> None:
    """488: that is all such a caller can be told."""
    rig = await Rig(caller_kind=Kind.RTP, offer=None, movable=False).started()
    assert rig.caller.told == [("end", Cause.NOT_ACCEPTABLE)]


async def test_the_media_of_one_ringing_callee_fails_and_the_others_ring_on() -> None:
    """Only that branch ends."""
    rig = await Rig(callees=2).started()
    rig.engine.emit(MediaFailed("c1", "callee0", "no ICE"))
    await rig.settle()
    rig.expect(State.CALLING)
    assert rig.callees[0].told[-1] == ("end", Cause.MEDIA_FAILED)
    assert "end" not in rig.callees[1].verbs
    assert "callee0" not in rig.engine.parties("c1")
    await rig.hears(rig.callees[1], Answered(ANSWER))
    rig.expect(State.CONNECTED)


async def test_the_media_of_the_last_callee_fails_and_the_caller_hears_that() -> None:
    """The most telling refusal of all that were asked."""
    rig = await Rig(callees=2).started()
    await rig.hears(rig.callees[1], Rejected(Cause.UNAVAILABLE))
    rig.engine.emit(MediaFailed("c1", "callee0", "no ICE"))
    await rig.settle()
    assert rig.caller.told[-1] == ("end", Cause.MEDIA_FAILED)


async def test_the_shortest_time_that_any_of_those_who_refused_has_named_is_the_callers() -> None:
    """Whoever comes last."""
    rig = await Rig(callees=3).started()
    for callee, seconds in zip(rig.callees, (20, None, 30), strict=True):
        await rig.hears(callee, Rejected(Cause.OVERLOADED, seconds))
    assert (rig.caller.told[-1], rig.caller.limit_of(Cause.OVERLOADED)) == (("end", Cause.OVERLOADED), ("", 20))


async def test_the_media_of_the_caller_fails_and_nobody_rings_any_more() -> None:
    """There is nobody to answer for."""
    rig = await Rig(callees=2).started()
    rig.engine.emit(MediaFailed("c1", "caller", "no ICE"))
    await rig.settle()
    rig.expect(State.ENDED)


async def test_an_answer_without_a_body_commits_the_latest_early_description() -> None:
    """The second 183 of a callee takes effect with its answer."""
    rig = await Rig(caller_kind=Kind.RTP).started()
    await rig.hears(rig.callee, Ringing(ANSWER))
    await rig.hears(rig.callee, Ringing(OFFER))
    assert rig.engine.verbs().count("answer") == 1
    await rig.hears(rig.callee, Answered(None))
    assert rig.engine.requests[-1].sdp == OFFER


VIDEO = OFFER + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 {name}/90000\r\n"


@pytest.mark.parametrize(("name", "verbs"), [("VP8", []), ("H263-1998", ["early_answer"])])
async def test_an_offer_with_a_picture_waits_for_the_callees_answer(name: str, verbs: list[str]) -> None:
    """Which video there will be is the callee's to say; video that does not pass is refused at once with the voice."""
    rig = await Rig(offer=VIDEO.format(name=name)).started()
    assert rig.caller.verbs == verbs
    await rig.hears(rig.callee, Answered(ANSWER))
    rig.expect(State.CONNECTED)


@by_row(
    ("kind", "offer", "heard"),
    [
        (Kind.RTP, OFFER, True),
        (Kind.WEBRTC, OFFER, False),
        (Kind.RTP, VIDEO.format(name="VP8"), False),
        (Kind.RTP, VIDEO.format(name="H263-1998"), True),
    ],
)
async def test_phones_that_call_with_voice_alone_hear_the_ringback(kind: Kind, offer: str, heard: bool) -> None:
    """A page rings by itself; which video there will be is the callee's to say, so the caller is not answered early."""
    rig = await Rig(caller_kind=kind, offer=offer, owner="alice", ringbacks=frozenset({"from alice"})).started()
    await rig.hears(rig.callee, Ringing())
    assert ("from alice" in [request.target for request in rig.engine.requests]) is heard
    assert rig.caller.verbs[-1] == "ring"
    assert (rig.caller.told[-1][1] is not None) is heard


@by_row("kind", [Kind.RTP, Kind.WEBRTC])
@by_row(("chosen", "again"), [("8", True), ("0", False), ("8 0", False)])
async def test_a_caller_answered_early_is_asked_again_where_the_callee_chose_another_codec(
    kind: Kind, chosen: str, again: bool
) -> None:
    """For a ringback as for a page: the early answer began with PCMU."""
    rig = Rig(caller_kind=kind, owner="alice", ringbacks=frozenset({"from alice"}))
    rig.engine.script("accept", ANSWER.replace("AVP 8 0", "AVP 0 8"))
    await rig.started()
    await rig.hears(rig.callee, Ringing())
    await rig.hears(rig.callee, Answered(ANSWER.replace("AVP 8 0", f"AVP {chosen}")))
    rig.expect(State.EXCHANGING if again else State.CONNECTED)
    assert ("offer" in rig.caller.verbs) is again


async def test_a_repeated_early_answer_is_committed_once() -> None:
    """A 200 that says what the 183 said changes nothing."""
    rig = await Rig(caller_kind=Kind.RTP).started()
    await rig.hears(rig.callee, Ringing(ANSWER))
    await rig.hears(rig.callee, Answered(ANSWER))
    assert rig.engine.verbs().count("answer") == 1
    assert rig.caller.told[-1][1] == rig.caller.told[-2][1]


async def test_a_caller_that_reloads_while_it_rings_is_taken_back() -> None:
    """Its new offer is answered at once, and the callees ring on."""
    rig = await Rig(callees=2).started()
    await rig.hears(rig.caller, Away())
    rig.expect(State.CALLING)
    await rig.hears(rig.caller, Returned(3, OFFER + "a=x-new:1\r\n"))
    assert isinstance(rig.caller.replies[3], str)
    assert rig.callees[0].verbs == rig.callees[1].verbs == ["invite"]
    assert rig.timers.pending == 1
    await rig.hears(rig.callees[0], Answered(ANSWER))
    rig.expect(State.CONNECTED)


async def test_a_caller_that_stays_away_while_it_rings_ends_the_call() -> None:
    """The callees hear why."""
    rig = await Rig(callees=1).started()
    await rig.hears(rig.caller, Away())
    rig.timers.advance(20)
    await rig.settle()
    rig.expect(State.ENDED)
    assert rig.callee.told[-1] == ("end", Cause.LOST)


async def test_a_caller_that_is_away_when_it_is_answered_is_waited_for_in_the_bridge() -> None:
    """The callee hears silence until the caller is back."""
    rig = await Rig().started()
    await rig.hears(rig.caller, Away())
    await rig.hears(rig.callee, Answered(ANSWER))
    rig.expect(State.AWAY)
    await rig.hears(rig.caller, Returned())
    rig.expect(State.CONNECTED)


async def test_a_callee_that_reloads_while_it_rings_is_waited_for() -> None:
    """The caller does not hear "not reachable" for a reload."""
    rig = await Rig().started()
    await rig.hears(rig.callee, Ringing())
    await rig.hears(rig.callee, Away())
    await rig.hears(rig.callee, Returned())
    rig.timers.advance(29)
    await rig.settle()
    rig.expect(State.RINGING)
    await rig.hears(rig.callee, Answered(ANSWER))
    rig.expect(State.CONNECTED)


async def test_a_callee_that_stays_away_ends_its_own_branch_only() -> None:
    """The others ring on; alone, it is unavailable."""
    rig = await Rig(callees=2).started()
    await rig.hears(rig.callees[0], Away())
    rig.timers.advance(19.9)
    rig.timers.advance(0.05)
    await rig.hears(rig.callees[1], Ringing())
    rig.timers.advance(0.06)
    await rig.settle()
    assert rig.callees[0].told[-1] == ("end", Cause.UNAVAILABLE)
    assert "end" not in rig.callees[1].verbs


async def test_a_hang_up_that_crosses_the_answer_is_not_lost() -> None:
    """What happened is read when its turn comes: the callee's hang-up ends the bridge that its answer made."""
    rig = await Rig().started()
    rig.callee.says(Answered(ANSWER))
    rig.callee.says(HungUp())
    await rig.settle()
    rig.expect(State.ENDED)
    assert rig.caller.told[-1] == ("end", Cause.NORMAL)


async def test_a_party_that_cannot_be_released_is_only_logged() -> None:
    """Its ports stay until the end of the call."""
    rig = await Rig(callees=2).started()
    rig.engine.script("release", MediaError("no reply", 504))
    await rig.hears(rig.callees[0], Answered(ANSWER))
    rig.expect(State.CONNECTED)
