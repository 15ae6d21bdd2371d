"""Offers after the first, one by one against a puppet: each is answered by its own message and told once."""

from __future__ import annotations

import pytest

from gateway.sip.config import CoreConfig
from gateway.sip.flow import Flow
from gateway.sip.invite import modify
from gateway.sip.invite.events import (
    Answered,
    Confirmed,
    Ended,
    OfferAnswered,
    OfferCancelled,
    Offered,
    Provisional,
)
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.testing.sip_peer import SessionLog
from tests.rows import by_row
from tests.sip.agents import (
    ANSWER,
    BOB,
    HELD,
    HOLD,
    OFFER,
    RELIABLE,
    WITH_UPDATE,
    PuppetCall,
    PuppetDialog,
    Stage,
    answer,
    answered_call,
    finals,
    is_idle,
    stage_with_invite,
)
from tests.sip.resumption import Kept, killed

NO_UPDATE = (("Allow", "INVITE, ACK, BYE, CANCEL, PRACK"),)
WE_REFRESH = (("Session-Expires", "90;refresher=uas"), ("Supported", "timer"))


CONNECTION = Flow("tcp", *BOB, "here")


def refreshing_call(*headers: tuple[str, object]) -> tuple[Stage, PuppetCall, IncomingSession, SessionLog, Request]:
    """A call that our side refreshes by re-INVITE; its first refresh has arrived."""
    stage = Stage()
    caller, session, log = answered_call(stage, headers=(*WE_REFRESH, *NO_UPDATE, *headers))
    stage.run(45.5)
    return stage, caller, session, log, stage.requests("INVITE")[0]


def early_call(**how: object) -> tuple[Stage, PuppetCall, IncomingSession, SessionLog]:
    """The puppet calls and takes reliable responses; it has acknowledged a 183 with our answer."""
    stage = Stage()
    caller = PuppetCall(stage, headers=(("Require", "100rel"), *WITH_UPDATE))
    [log] = stage.agent.calls
    session = log.session
    assert isinstance(session, IncomingSession)
    session.ring(183, body=ANSWER)
    stage.run()
    progress = next(one for one in stage.puppet.take() if isinstance(one, Response) and one.status == 183)
    caller.remote = progress.to
    caller.cseq = 2
    stage.send(caller.make("PRACK", headers=(("RAck", f"{progress.rseq} 1 INVITE"),), **how))  # type: ignore[arg-type]
    return stage, caller, session, log


# ---- ours


def test_a_hold_during_a_refresh_is_sent_after_it() -> None:
    """It has an exchange and an outcome of its own."""
    stage, _, session, log, refresh = refreshing_call()
    number = session.offer(HOLD)
    stage.run()
    assert stage.requests("INVITE") == []
    stage.send(answer(refresh, 200, body=OFFER))
    [hold] = stage.requests("INVITE")
    assert hold.body == HOLD
    stage.send(answer(hold, 200, body=HELD))
    assert log.events[1:] == [OfferAnswered(number, 200, HELD)]
    assert (session.local_body, session.remote_body) == (HOLD, HELD)


def test_a_hold_during_a_refresh_by_update_is_sent_after_it() -> None:
    """UPDATE asks for nothing new, and yet only one change is under way at a time."""
    stage = Stage()
    _, session, log = answered_call(stage, headers=(*WE_REFRESH, *WITH_UPDATE))
    stage.run(45.5)
    refresh, *_ = stage.requests("UPDATE")
    number = session.offer(HOLD)
    stage.run()
    assert stage.requests("INVITE") == []
    stage.send(answer(refresh, 200))
    [hold] = stage.requests("INVITE")
    stage.send(answer(hold, 200, body=HELD))
    assert log.events[1:] == [OfferAnswered(number, 200, HELD)]


def test_a_late_2xx_gets_the_ack_of_its_own_invite() -> None:
    """After hold and resume in quick succession the first 200 comes again."""
    stage = Stage()
    _, session, _ = answered_call(stage)
    session.offer(HOLD)
    stage.run()
    [hold] = stage.requests("INVITE")
    held = answer(hold, 200, body=HELD)
    stage.send(held)
    session.offer(OFFER)
    stage.run()
    [resume] = [one for one in stage.puppet.take() if isinstance(one, Request) and one.method == "INVITE"]
    stage.send(held)
    assert {ack.cseq.number for ack in stage.requests("ACK")} == {hold.cseq.number}
    stage.send(answer(resume, 200, body=ANSWER))
    stage.send(held)
    assert [ack.cseq.number for ack in stage.requests("ACK")] == [resume.cseq.number, hold.cseq.number]


@by_row(
    ("status", "headers"),
    [(491, ()), (500, (("Retry-After", 3),)), (500, ()), (422, (("Min-SE", "120"),)), (503, ()), (404, ())],
)
def test_a_refresh_that_is_refused_is_made_again(status: int, headers: build.Fields) -> None:
    """Before the interval is over, and the call lives on."""
    stage, _, _, log, refresh = refreshing_call()
    stage.send(answer(refresh, status, headers=headers))
    stage.run(8.0)
    again = stage.requests("INVITE")
    assert again[0].cseq.number == refresh.cseq.number + 1
    if status == 422:
        assert again[0].session_expires is not None
        assert again[0].session_expires.seconds == 120
    stage.send(answer(again[0], 200, body=OFFER))
    stage.run(30.0)
    assert log.kinds == ["Confirmed"]


@pytest.mark.parametrize(("seconds", "again"), [(3, 1), (11, 0)])
def test_a_hold_that_is_to_wait_is_sent_again_after_that_time_unless_it_is_long(seconds: int, again: int) -> None:
    """500 with Retry-After (RFC 3261 14.2): not before it, and not at all after more than ten seconds."""
    stage = Stage()
    _, session, _ = answered_call(stage)
    session.offer(HOLD)
    stage.run()
    [hold] = stage.requests("INVITE")
    stage.send(answer(hold, 500, headers=(("Retry-After", seconds),)))
    stage.run(2.5)
    assert stage.requests("INVITE") == []
    stage.run(12.0)
    assert [one.cseq.number for one in stage.requests("INVITE")][:1] == [hold.cseq.number + 1] * again


@pytest.mark.parametrize("status", [481, 408])
def test_a_refresh_that_nobody_knows_ends_the_call(status: int) -> None:
    """RFC 3261 12.2.1.2."""
    stage, _, _, log, refresh = refreshing_call()
    stage.send(answer(refresh, status))
    assert log.kinds == ["Confirmed", "Ended"]


def test_a_refresh_waits_for_a_change_under_way() -> None:
    """Which refreshes the session, too, if it succeeds."""
    stage = Stage()
    _, session, log = answered_call(stage, headers=(*WE_REFRESH, *NO_UPDATE))
    stage.run(44.0)
    session.offer(HOLD)
    stage.run(2.0)
    invites = stage.requests("INVITE")
    assert {one.cseq.number for one in invites} == {1}
    stage.send(answer(invites[0], 488))
    stage.run(3.0)
    assert [one.body for one in stage.requests("INVITE")][:1] == [ANSWER]
    assert log.kinds == ["Confirmed", "OfferAnswered"]


@pytest.mark.parametrize("status", [405, 501])
def test_a_peer_that_refuses_update_is_refreshed_by_reinvite(status: int) -> None:
    """Its Allow said otherwise."""
    stage = Stage()
    answered_call(stage, headers=(*WE_REFRESH, *WITH_UPDATE))
    stage.run(45.5)
    update = stage.requests("UPDATE")[0]
    assert update.body == b""
    stage.send(answer(update, status))
    assert stage.requests("INVITE")[0].body == ANSWER


def test_a_changed_answer_to_a_refresh_is_told() -> None:
    """The peer has put the call on hold in its answer."""
    stage, _, session, log, refresh = refreshing_call()
    stage.send(answer(refresh, 200, body=HOLD))
    [changed] = log.of(OfferAnswered)
    assert changed.body == HOLD
    assert session.remote_body == HOLD


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
def test_a_refresh_without_any_description_is_lawful(method: str) -> None:
    """A call that has agreed on nothing is kept alive as well."""
    stage = Stage()
    allow = WITH_UPDATE if method == "UPDATE" else NO_UPDATE
    caller, session, _ = answered_call(stage, headers=(*WE_REFRESH, *allow))
    session.commit(b"", b"", answers=False)
    stage.run(45.5)
    refresh = stage.requests(method)[0]
    assert refresh.body == b""
    stage.send(answer(refresh, 200))
    stage.run(1.0)
    caller.cseq = 2
    caller.next("BYE")
    assert session.is_over


def test_offers_go_out_in_the_order_they_were_wanted() -> None:
    """One at a time; what waits when the call ends is told 481."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    numbers = [session.offer(body) for body in (HOLD, OFFER, HELD)]
    stage.run()
    [first] = stage.requests("INVITE")
    stage.send(answer(first, 200, body=HELD))
    [second] = stage.requests("INVITE")
    assert (first.body, second.body) == (HOLD, OFFER)
    caller.next("BYE")
    assert log.events[1:] == [
        OfferAnswered(numbers[0], 200, HELD),
        OfferAnswered(numbers[1], 481),
        OfferAnswered(numbers[2], 481),
        Ended("remote"),
    ]
    stage.run(70.0)
    assert is_idle(stage.agent.core)


def test_an_offer_whose_answer_cannot_be_read_is_made_again() -> None:
    """The peer has taken it; the same offer gets the same answer."""
    stage = Stage()
    _, session, log = answered_call(stage)
    number = session.offer(HOLD)
    stage.run()
    [hold] = stage.requests("INVITE")
    stage.send(answer(hold, 200, body=HELD).with_header("Content-Type", "multipart/mixed;boundary=b"))
    assert len(stage.requests("ACK")) == 1
    stage.run(1.0)
    again = stage.requests("INVITE")[0]
    assert again.body == HOLD
    stage.send(answer(again, 200, body=HELD))
    assert log.events[1:] == [OfferAnswered(number, 200, HELD)]


def test_an_offer_that_is_never_answered_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After OFFER_ATTEMPTS."""
    monkeypatch.setattr(modify, "OFFER_ATTEMPTS", 2)
    stage = Stage()
    _, session, log = answered_call(stage)
    number = session.offer(HOLD)
    for status in (200, 200):
        stage.run(1.2)
        stage.send(answer(stage.requests("INVITE")[0], status))
    assert log.events[1:] == [OfferAnswered(number, 200)]
    number = session.offer(HOLD)
    for _ in range(2):
        stage.run(2.2)
        stage.send(answer(stage.requests("INVITE")[0], 491))
    assert log.events[2:] == [OfferAnswered(number, 491)]


def test_an_unreadable_route_in_the_answer_of_an_offer_changes_nothing() -> None:
    """The route set of a dialog is never changed (RFC 3261 12.2.1.2), so that the header is not needed."""
    stage = Stage()
    _, session, log = answered_call(stage, headers=WITH_UPDATE)
    session.offer(HOLD)
    stage.run()
    [hold] = stage.requests("INVITE")
    stage.send(answer(hold, 200, body=HELD).with_header("Record-Route", "???"))
    assert log.kinds == ["Confirmed", "OfferAnswered"]


@by_row("status", [488, 403, 603])
def test_a_refusal_after_a_peers_own_502_is_told_at_once(status: int) -> None:
    """A 502 that could be read is a refusal as any other, and what waited behind it is offered at once."""
    stage = Stage()
    _, session, log = answered_call(stage)
    first, second = session.offer(HOLD), session.offer(OFFER)
    for refusal in (502, status):
        stage.run(0.2)
        [offer] = stage.requests("INVITE")
        stage.send(answer(offer, refusal))
    assert log.events[1:] == [OfferAnswered(first, 502), OfferAnswered(second, status)]
    stage.run(10.0)
    assert not stage.requests("INVITE")


def doubted_offer() -> tuple[Stage, SessionLog, int, Request]:
    """The peer has answered an offer in a way that cannot be read; its repetition has arrived."""
    stage = Stage()
    _, session, log = answered_call(stage)
    number = session.offer(HOLD)
    stage.run()
    [hold] = stage.requests("INVITE")
    stage.send(answer(hold, 200))
    stage.run(1.2)
    [again] = stage.requests("INVITE")
    assert (again.body, again.cseq.number > hold.cseq.number) == (HOLD, True)
    return stage, log, number, again


@by_row("status", [403, 488, 502])
def test_an_offer_without_an_answer_is_made_until_it_has_one_though_its_repetition_is_refused(status: int) -> None:
    """The refusal of the repetition says nothing of what the peer has taken before it."""
    stage, log, number, again = doubted_offer()
    stage.send(answer(again, status))
    stage.run(1.2)
    [third] = stage.requests("INVITE")
    assert third.body == HOLD
    stage.send(answer(third, 200, body=HELD))
    assert log.events[1:] == [OfferAnswered(number, 200, HELD)]


@pytest.mark.parametrize("status", [408, 481])
def test_an_offer_in_doubt_is_not_repeated_in_a_dialog_that_is_gone(status: int) -> None:
    """It ends the call as any other offer does (RFC 3261 12.2.1.2)."""
    stage, log, number, again = doubted_offer()
    stage.send(answer(again, status))
    stage.run(10.0)
    assert not stage.requests("INVITE")
    assert log.events[1] == OfferAnswered(number, status)
    assert log.kinds == ["Confirmed", "OfferAnswered", "Ended"]


def test_an_early_offer_goes_as_update_once_the_answer_is_acknowledged() -> None:
    """RFC 3311 5.1: not before, and only where the caller's Allow names it."""
    stage, _, session, log = early_call()
    number = session.offer(HOLD)
    stage.run()
    [update] = stage.requests("UPDATE")
    assert update.body == HOLD
    session.answer(ANSWER)
    stage.run()
    assert finals(stage, "INVITE") == []
    stage.send(answer(update, 200, body=HELD))
    assert log.events == [OfferAnswered(number, 200, HELD)]
    [ok] = finals(stage, "INVITE")
    assert (ok.status, ok.body) == (200, b"")


def test_an_early_offer_waits_for_the_confirmed_call_where_update_is_not_allowed() -> None:
    """RFC 3311 section 4: a peer whose Allow lacks UPDATE cannot be sent one."""
    stage, log, session, invite = stage_with_invite()
    stage.send(answer(invite, 183, body=ANSWER, headers=(*RELIABLE, *NO_UPDATE)))
    number = session.offer(HOLD)
    stage.run()
    assert stage.requests("UPDATE") == []
    stage.send(answer(invite, 200, headers=NO_UPDATE))
    [reinvite] = [one for one in stage.requests("INVITE") if one.to_tag is not None]
    stage.send(answer(reinvite, 200, body=HELD))
    assert log.events[1:] == [Answered(b"", 1), OfferAnswered(number, 200, HELD)]


def test_a_changed_answer_after_a_reliable_one_is_offered_afterwards() -> None:
    """The 200 has no body, and the number of the offer that follows is returned."""
    stage, caller, session, log = early_call()
    number = session.answer(HELD)
    stage.run()
    [ok] = finals(stage, "INVITE")
    assert ok.body == b""
    caller.cseq = 1
    stage.send(caller.make("ACK"))
    [reinvite] = stage.requests("INVITE")
    assert reinvite.body == HELD
    stage.send(answer(reinvite, 200, body=HOLD))
    assert number is not None
    assert log.events == [Confirmed(), OfferAnswered(number, 200, HOLD)]


# ---- the peer's


def test_an_update_before_our_answer_is_500_and_not_told() -> None:
    """RFC 3311 5.2: the INVITE's offer is open."""
    stage = Stage()
    caller = PuppetCall(stage)
    stage.agent.calls[0].session.ring(180)  # type: ignore[attr-defined]
    stage.run()
    ringing = next(one for one in stage.puppet.take() if isinstance(one, Response) and one.status == 180)
    caller.remote = ringing.to
    caller.next("UPDATE", body=HOLD)
    [refused] = finals(stage, "UPDATE")
    assert refused.status == 500
    assert refused.retry_after is not None
    assert stage.agent.calls[0].events == []


def test_an_early_update_after_the_reliable_answer_is_answered() -> None:
    """And the 200 waits for it."""
    stage, caller, session, log = early_call()
    caller.next("UPDATE", body=HOLD)
    [offered] = log.of(Offered)
    session.answer(ANSWER)
    stage.run()
    assert finals(stage, "INVITE") == []
    session.answer_offer(offered.exchange, HELD)
    stage.run()
    responses = [one for one in stage.puppet.take() if isinstance(one, Response) and one.status == 200]
    assert [(one.cseq.method, one.body) for one in responses] == [("UPDATE", HELD), ("INVITE", b"")]
    assert (session.local_body, session.remote_body) == (HELD, HOLD)


def test_an_offer_in_prack_is_answered_in_its_200() -> None:
    """RFC 3262 section 5."""
    stage, _, session, log = early_call(body=HOLD)
    [offered] = log.of(Offered)
    assert offered.body == HOLD
    assert finals(stage, "PRACK") == []
    session.answer_offer(offered.exchange, HELD)
    stage.run()
    [ok] = finals(stage, "PRACK")
    assert (ok.status, ok.body) == (200, HELD)


def test_an_offer_in_prack_can_be_refused() -> None:
    """488 to the PRACK."""
    stage, _, session, log = early_call(body=HOLD)
    session.refuse_offer(log.of(Offered)[0].exchange, 200)
    stage.run()
    assert [one.status for one in finals(stage, "PRACK")] == [488]


def test_the_same_offer_again_is_a_refresh_that_nobody_hears_of() -> None:
    """What stands is the answer (RFC 4028 7.4)."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    caller.next("INVITE", body=OFFER)
    [ok] = finals(stage, "INVITE")
    assert (ok.status, ok.body) == (200, ANSWER)
    stage.send(caller.make("ACK"))
    caller.next("UPDATE", body=OFFER)
    assert [one.body for one in finals(stage, "UPDATE")] == [ANSWER]
    assert log.kinds == ["Confirmed"]
    assert session.is_confirmed


@by_row("method", ["INVITE", "UPDATE"])
@by_row("dies", [False, True])
def test_our_own_offer_is_no_answer_to_a_refresh(method: str, dies: bool) -> None:
    """The peer repeats its answer as an offer (RFC 3264 6): the listener answers it once, also after a restart."""
    stage, _, session, invite = stage_with_invite()
    kept = Kept(session)
    stage.send(answer(invite, 200, body=ANSWER))
    kept.take()
    stage.puppet.take()
    callee = PuppetDialog(stage, call_id=invite.call_id)
    callee.local, callee.remote = NameAddr(invite.to.uri).with_tag("puppet"), invite.from_
    going_on = killed(stage).core.resume(kept.values) if dies else session
    log = SessionLog(going_on)
    callee.next(method, body=ANSWER)
    [offered] = log.of(Offered)
    assert (offered.body, offered.repeats) == (ANSWER, True)
    going_on.answer_offer(offered.exchange, HELD)
    stage.run()
    assert [one.body for one in finals(stage, method)] == [HELD]
    if method == "INVITE":
        stage.send(callee.make("ACK"))
    callee.next("UPDATE", body=ANSWER)
    assert [one.body for one in finals(stage, "UPDATE")] == [HELD]
    assert len(log.of(Offered)) == 1


def test_an_update_in_a_call_is_answered() -> None:
    """With our Contact, and told once."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    caller.next("UPDATE", body=HOLD)
    session.answer_offer(2, HELD)
    session.answer_offer(2, HELD)
    session.refuse_offer(2)
    stage.run()
    [ok] = finals(stage, "UPDATE")
    assert (ok.body, ok.contact is not None) == (HELD, True)
    assert log.events[1:] == [Offered(2, HOLD)]


def test_an_empty_answer_refuses() -> None:
    """488."""
    stage = Stage()
    caller, session, _ = answered_call(stage)
    caller.next("UPDATE", body=HOLD)
    session.answer_offer(2, b"")
    stage.run()
    assert [one.status for one in finals(stage, "UPDATE")] == [488]


def test_a_cancelled_reinvite_is_told_to_the_listener() -> None:
    """Nobody waits for its answer any more."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    reinvite = caller.next("INVITE", body=HOLD)
    stage.send(build.cancel(reinvite))
    assert log.events[1:] == [Offered(2, HOLD), OfferCancelled(2)]
    session.answer_offer(2, HELD)
    stage.run()
    assert sorted(set(stage.puppet.statuses())) == [200, 487]
    assert session.remote_body == OFFER


def test_a_cancel_of_another_request_changes_nothing() -> None:
    """The re-INVITE was answered before it."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    reinvite = caller.next("INVITE", body=HOLD)
    session.answer_offer(2, HELD)
    stage.send(build.cancel(reinvite))
    assert log.kinds == ["Confirmed", "Offered"]


def unacknowledged_call() -> tuple[Stage, PuppetCall, IncomingSession, SessionLog]:
    """Our 200 has arrived, and its ACK is lost."""
    stage = Stage()
    stage.agent.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
    caller = PuppetCall(stage)
    [ok] = finals(stage, "INVITE")
    caller.remote = ok.to
    [log] = stage.agent.calls
    assert isinstance(log.session, IncomingSession)
    return stage, caller, log.session, log


def test_who_reinvites_has_had_the_200_whose_ack_is_missing() -> None:
    """It goes on from there (RFC 5407 3.1.4): each 200 is sent once, and a late ACK is nothing new."""
    stage, caller, session, log = unacknowledged_call()
    hold = caller.next("INVITE", body=HOLD)
    assert log.kinds == ["Confirmed", "Offered"]
    session.answer_offer(2, HELD)
    stage.run()
    caller.next("INVITE", body=OFFER)  # nor has the ACK of that one come
    session.answer_offer(3, ANSWER)
    stage.send(caller.make("ACK", cseq=1))
    stage.send(caller.make("ACK", cseq=hold.cseq.number))
    stage.send(caller.make("ACK"))
    stage.run(5.0)
    assert [(one.status, one.cseq.number) for one in finals(stage, "INVITE")] == [(200, 2), (200, 3)]
    assert log.kinds == ["Confirmed", "Offered", "Offered"]
    assert (session.local_body, session.remote_body) == (ANSWER, OFFER)


@pytest.mark.parametrize(("breaks", "offered"), [("before our 200", [HELD]), ("behind our 200", [HELD]), ("", [])])
def test_a_200_that_may_be_lost_with_its_connection_is_offered_again(breaks: str, offered: list[bytes]) -> None:
    """Once our user has refused the next offer of the peer; an ACK alone that is lost leaves no doubt."""
    stage = Stage(transport="tcp")
    caller, session, _ = answered_call(stage)
    caller.next("INVITE", body=HOLD)
    if breaks == "before our 200":
        stage.agent.core.transport_failed(CONNECTION)
    session.answer_offer(2, HELD)
    if breaks == "behind our 200":
        stage.agent.core.transport_failed(CONNECTION)
    stage.run()
    caller.next("INVITE", body=OFFER)
    session.refuse_offer(3, 488)
    stage.send(caller.make("ACK"))
    assert 488 in [one.status for one in stage.puppet.received if isinstance(one, Response)]
    assert [one.body for one in stage.requests("INVITE")] == offered


def test_who_reinvites_without_an_ack_after_we_have_hung_up_gets_the_bye() -> None:
    """It waited for the ACK alone (RFC 3261 section 15); the offer is for no call any more."""
    stage, caller, session, _ = unacknowledged_call()
    session.hangup()
    stage.run()
    assert stage.requests("BYE") == []
    caller.next("INVITE", body=HOLD)
    came = stage.puppet.take()
    assert [one.method for one in came if isinstance(one, Request)] == ["BYE"]
    assert {one.status for one in came if isinstance(one, Response) and one.cseq.method == "INVITE"} == {481}


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_an_offer_that_nobody_answers_is_500_before_the_peer_gives_up(method: str) -> None:
    """`answer_patience`; its listener is told."""
    stage = Stage(CoreConfig(answer_patience=5.0))
    caller, _, log = answered_call(stage)
    caller.next(method, body=HOLD)
    stage.run(6.0)
    assert finals(stage, method)[0].status == 500
    assert log.events[1:] == [Offered(2, HOLD), OfferCancelled(2)]


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_small_interval_in_a_change_is_422(method: str) -> None:
    """With our Min-SE, and without a change."""
    stage = Stage()
    caller, _, log = answered_call(stage)
    caller.next(method, body=HOLD, headers=(("Session-Expires", 60), ("Supported", "timer")))
    [refused] = finals(stage, method)
    assert (refused.status, refused.min_se and refused.min_se.seconds) == (422, 90)
    caller.next("UPDATE", headers=(("Session-Expires", 60), ("Supported", "timer")))
    assert [one.status for one in finals(stage, "UPDATE")] == [422]
    assert log.kinds == ["Confirmed"]


def test_an_ack_without_the_answer_to_our_reoffer_ends_the_call() -> None:
    """The peer counts our offer as answered, and nobody knows how."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    caller.next("INVITE")
    session.answer_offer(2, HOLD)
    stage.run()
    stage.send(caller.make("ACK"))
    assert log.events[1:3] == [Offered(2), OfferAnswered(2, 400)]
    assert log.kinds[-1] == "Ended"


# ---- without an offer in the INVITE


def test_an_offer_in_a_reliable_183_is_answered_in_its_prack() -> None:
    """RFC 3262 section 5: the PRACK waits for our user."""
    stage, log, session, invite = stage_with_invite(body=b"")
    stage.send(answer(invite, 183, body=OFFER, headers=RELIABLE))
    assert log.events == [Provisional(183, "Session Progress", OFFER, 1, True)]
    assert stage.requests("PRACK") == []
    session.answer_offer(1, ANSWER)
    stage.run()
    [prack] = stage.requests("PRACK")
    assert prack.body == ANSWER
    stage.send(answer(invite, 200))
    assert log.events[1:] == [Answered(b"", 1)]
    assert (session.local_body, session.remote_body) == (ANSWER, OFFER)
    session.answer_offer(1, HELD)
    session.refuse_offer(1)
    stage.run()
    assert stage.requests("PRACK") == []


def test_a_2xx_that_overtakes_that_prack_is_answered_in_the_ack() -> None:
    """The offer is the same, told once more with the 2xx."""
    stage, log, session, invite = stage_with_invite(body=b"")
    stage.send(answer(invite, 183, body=OFFER, headers=RELIABLE))
    stage.send(answer(invite, 200))
    assert log.events[1:] == [Answered(OFFER, 1, True)]
    session.answer_offer(1, ANSWER)
    stage.run()
    assert [ack.body for ack in stage.requests("ACK")] == [ANSWER]


@pytest.mark.parametrize("status", [183, 200])
def test_an_offer_that_our_user_refuses_ends_the_call(status: int) -> None:
    """Nothing else refuses what a response offers: CANCEL, or ACK and BYE."""
    stage, log, session, invite = stage_with_invite(body=b"")
    stage.send(answer(invite, status, body=OFFER, headers=RELIABLE if status == 183 else ()))
    session.answer_offer(1, b"")
    stage.run()
    methods = [one.method for one in stage.puppet.take() if isinstance(one, Request)]
    assert methods == (["PRACK", "CANCEL"] if status == 183 else ["ACK", "BYE"])
    stage.send(answer(invite, 487))
    assert log.kinds[-1] == "Ended"


def test_hanging_up_before_the_answer_to_a_2xx_acknowledges_it_first() -> None:
    """ACK, then BYE."""
    stage, _, session, invite = stage_with_invite(body=b"")
    stage.send(answer(invite, 200, body=OFFER))
    session.hangup()
    stage.run()
    assert [one.method for one in stage.puppet.take() if isinstance(one, Request)] == ["ACK", "BYE"]


def test_a_reinvite_of_ours_may_ask_for_the_peers_offer() -> None:
    """`Offered` with its number; the answer goes into the ACK, again for each repetition of the 2xx."""
    stage = Stage()
    _, session, log = answered_call(stage)
    number = session.request_offer()
    stage.run()
    [reinvite] = stage.requests("INVITE")
    assert reinvite.body == b""
    ok = answer(reinvite, 200, body=HOLD)
    stage.send(ok)
    stage.send(ok)
    assert stage.requests("ACK") == []
    assert log.events[1:] == [Offered(number, HOLD)]
    session.answer_offer(number, HELD)
    stage.run()
    stage.send(ok)
    assert [ack.body for ack in stage.requests("ACK")] == [HELD, HELD]
    assert (session.local_body, session.remote_body) == (HELD, HOLD)


def test_a_peer_that_makes_no_offer_is_told_as_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused, or a 2xx without one."""
    monkeypatch.setattr(modify, "OFFER_ATTEMPTS", 1)
    stage = Stage()
    _, session, log = answered_call(stage)
    for status in (488, 200):
        session.request_offer()
        stage.run()
        stage.send(answer(stage.requests("INVITE")[0], status))
    assert log.events[1:] == [OfferAnswered(2, 488), OfferAnswered(3, 200)]


@by_row("way", ["refuse", "wait", "hang up"])
def test_an_offer_of_a_2xx_that_is_not_answered_ends_the_call(way: str) -> None:
    """There is no refusing it (RFC 3261 14.1): ACK and BYE."""
    stage = Stage(CoreConfig(answer_patience=5.0))
    _, session, log = answered_call(stage)
    number = session.request_offer()
    stage.run()
    stage.send(answer(stage.requests("INVITE")[0], 200, body=HOLD))
    if way == "refuse":
        session.refuse_offer(number)
    elif way == "hang up":
        session.hangup()
    stage.run(6.0)
    methods = [one.method for one in stage.puppet.take() if isinstance(one, Request)]
    assert {"ACK", "BYE"} <= set(methods)
    assert log.kinds[-1] == "Ended"


def test_our_offer_in_a_reliable_183_is_answered_by_prack() -> None:
    """The caller's INVITE had none; the 200 then has none either."""
    stage = Stage()
    caller = PuppetCall(stage, body=b"", headers=(("Supported", "100rel"),))
    [log] = stage.agent.calls
    session = log.session
    assert isinstance(session, IncomingSession)
    session.ring(183, body=OFFER)
    session.answer(OFFER)
    stage.run()
    progress = next(one for one in stage.puppet.take() if isinstance(one, Response) and one.status == 183)
    assert progress.body == OFFER
    caller.remote = progress.to
    rack = (("RAck", f"{progress.rseq} 1 INVITE"),)
    caller.next("PRACK", headers=rack)
    assert [one.status for one in finals(stage, "PRACK")] == [400]
    caller.next("PRACK", headers=rack, body=ANSWER)
    assert log.events == [OfferAnswered(1, 200, ANSWER)]
    [ok] = finals(stage, "INVITE")
    assert (ok.status, ok.body) == (200, b"")
    assert (session.local_body, session.remote_body) == (OFFER, ANSWER)


def test_a_caller_without_100rel_gets_our_offer_in_the_200_only() -> None:
    """An offer may not go unreliably."""
    stage = Stage()
    caller = PuppetCall(stage, body=b"")
    session = stage.agent.calls[0].session
    assert isinstance(session, IncomingSession)
    session.ring(183, body=OFFER)
    session.answer(OFFER)
    stage.run()
    got = [(one.status, one.body) for one in stage.puppet.take() if isinstance(one, Response) and one.status > 100]
    assert got == [(183, b""), (200, OFFER)]
    caller.remote = caller.remote.with_tag(session.local.tag)
    stage.send(caller.make("ACK"))
    assert stage.agent.calls[0].events == [Confirmed(), Ended("error", 400, text="No answer in the ACK")]
    assert len(stage.requests("BYE")) == 1


# ---- forks


def test_each_early_dialog_has_its_own_answer() -> None:
    """The one that answers counts; its earlier answer is told again where another was shown since."""
    stage, log, session, invite = stage_with_invite()
    stage.send(answer(invite, 183, tag="one", body=ANSWER, headers=RELIABLE))
    stage.send(answer(invite, 183, tag="two", body=HELD, headers=RELIABLE))
    number = session.offer(HOLD)
    stage.send(answer(invite, 183, tag="two", body=OFFER, headers=(("Require", "100rel"), ("RSeq", 8))))
    stage.send(answer(invite, 200, tag="two"))
    assert log.of(Answered) == [Answered(b"", 1)]
    assert session.remote_body == HELD
    [reinvite] = [one for one in stage.requests("INVITE") if one.to_tag is not None]
    stage.send(answer(reinvite, 200, tag="two", body=HOLD))
    assert log.of(OfferAnswered) == [OfferAnswered(number, 200, HOLD)]


def test_the_first_fork_that_answers_after_another_was_shown_says_its_answer_again() -> None:
    """The early media of the second was the last that our user saw."""
    stage, log, session, invite = stage_with_invite()
    stage.send(answer(invite, 183, tag="one", body=ANSWER, headers=RELIABLE))
    stage.send(answer(invite, 183, tag="two", body=HELD, headers=RELIABLE))
    stage.send(answer(invite, 200, tag="one"))
    assert log.events[-1] == Answered(ANSWER, 1)
    assert (session.local_body, session.remote_body) == (OFFER, ANSWER)


def test_a_2xx_that_leaves_out_what_an_unreliable_183_showed_takes_that() -> None:
    """Against RFC 3261 13.2.1, but seen."""
    stage, log, session, invite = stage_with_invite()
    stage.send(answer(invite, 183, body=ANSWER))
    stage.send(answer(invite, 200))
    assert log.kinds == ["Provisional", "Answered"]
    assert session.remote_body == ANSWER


def test_a_2xx_may_change_what_an_unreliable_183_showed() -> None:
    """The 183 was a preview, the 200 is the answer."""
    stage, log, session, invite = stage_with_invite()
    stage.send(answer(invite, 183, body=ANSWER))
    stage.send(answer(invite, 200, body=HELD))
    assert log.events[-1] == Answered(HELD, 1)
    assert session.remote_body == HELD


def test_a_second_answer_after_a_reliable_one_is_a_repetition() -> None:
    """The first stands; the second counts only where the first could not be used."""
    stage, log, session, invite = stage_with_invite()
    stage.send(answer(invite, 183, body=ANSWER, headers=RELIABLE))
    stage.send(answer(invite, 200, body=HELD))
    assert log.events[-1] == Answered(b"", 1, repeated=HELD)
    assert session.remote_body == ANSWER
