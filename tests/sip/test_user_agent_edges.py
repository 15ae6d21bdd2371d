"""What seldom happens to an INVITE session: refreshes refused, responses that never come, both sides at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.sip.config import CoreConfig
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Accepted, Answered, Ended, Failed, OfferAnswered, Offered
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.session import InviteSession
from gateway.sip.message import build
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.testing.network import Weather
from gateway.testing.sip_peer import SessionLog
from tests.rows import by_row
from tests.sip.agents import (
    ANSWER,
    HOLD,
    OFFER,
    Pair,
    PuppetCall,
    Stage,
    answer,
    answered_call,
    call,
    is_idle,
    stage_with_invite,
)


def ringing_session(stage: Stage, **how: object) -> tuple[PuppetCall, IncomingSession]:
    caller = PuppetCall(stage, **how)  # type: ignore[arg-type]
    session = stage.agent.calls[0].session
    assert isinstance(session, IncomingSession)
    return caller, session


@by_row("seed", range(100))
def test_glare_is_settled_on_both_sides(seed: int) -> None:
    """Both re-offer at the same moment: each hears the other's offer and gets an answer to its own."""
    pair = Pair(Weather(delay=0.02, jitter=0.01), seed=seed)
    pair.bob.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
    session, log = call(pair.alice)
    pair.run(1.0)
    [callee] = pair.bob.calls
    callee.session.offer(ANSWER + b"a=sendonly\r\n")
    session.offer(OFFER + b"a=sendonly\r\n")
    accepted = {log: 0, callee: 0}
    for _ in range(40):
        pair.run(0.5)
        for one, reply in ((log, OFFER), (callee, ANSWER)):
            if len(one.of(Offered)) > accepted[one]:
                accepted[one] += 1
                one.session.answer_offer(one.of(Offered)[-1].exchange, reply)
    assert [(one.status, one.body) for one in log.of(OfferAnswered)] == [(200, ANSWER)]
    assert [(one.status, one.body) for one in callee.of(OfferAnswered)] == [(200, OFFER)]
    session.hangup()
    pair.run(1.0)
    assert (log.kinds[-1], callee.kinds[-1]) == ("Ended", "Ended")


def test_a_peer_without_update_is_refreshed_by_a_reinvite_with_the_same_offer() -> None:
    """The application hears nothing of it (RFC 4028 7.4)."""
    stage = Stage()
    headers = (("Session-Expires", "90;refresher=uas"), ("Supported", "timer"), ("Allow", "INVITE, ACK, BYE"))
    _, _, log = answered_call(stage, headers=headers)
    stage.run(46.0)
    refresh = stage.requests("INVITE")[0]
    assert refresh.body == ANSWER
    assert refresh.session_expires is not None
    stage.send(answer(refresh, 200, body=OFFER))
    assert stage.requests("ACK") != []
    assert log.kinds == ["Confirmed"]


def test_an_update_without_body_refreshes_and_is_not_reported() -> None:
    """200 with Session-Expires (RFC 4028 section 9)."""
    stage = Stage()
    caller, _, log = answered_call(stage)
    caller.next("UPDATE", headers=(("Session-Expires", "600;refresher=uac"), ("Supported", "timer")))
    [ok] = [one for one in stage.puppet.take() if isinstance(one, Response)]
    assert (ok.status, str(ok.session_expires)) == (200, "600;refresher=uac")
    assert log.kinds == ["Confirmed"]


def test_a_reinvite_2xx_without_ack_ends_the_call() -> None:
    """64*T1 after our 200 (RFC 3261 14.2)."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    caller.next("INVITE", body=HOLD)
    session.answer_offer(2, ANSWER)
    stage.run(33.0)
    assert log.events[-1] == Ended("timeout", 408, text="Request Timeout")
    assert stage.requests("BYE") != []


def test_a_reinvite_can_be_cancelled() -> None:
    """487, and the session stays as it was."""
    stage = Stage()
    caller, session, _ = answered_call(stage)
    reinvite = caller.next("INVITE", body=HOLD)
    stage.send(build.cancel(reinvite))
    assert sorted(set(stage.puppet.statuses())) == [200, 487]
    assert session.is_confirmed


def test_a_bye_answers_a_reinvite_that_still_waits_with_487() -> None:
    """RFC 3261 15.1.2."""
    stage = Stage()
    caller, _, log = answered_call(stage)
    caller.next("INVITE", body=HOLD)
    stage.puppet.take()
    caller.next("BYE")
    assert sorted(set(stage.puppet.statuses())) == [200, 487]
    assert log.kinds == ["Confirmed", "Offered", "Ended"]


def test_an_offerless_reinvite_gets_our_offer_and_its_answer_in_the_ack() -> None:
    """Offered with no body, then Confirmed with the answer."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    caller.next("INVITE")
    session.answer_offer(2, OFFER)
    stage.run()
    stage.puppet.take()
    stage.send(caller.make("ACK", body=ANSWER))
    assert log.events[1:] == [Offered(2, b""), OfferAnswered(2, 200, ANSWER)]


def test_calls_that_the_state_does_not_allow_do_nothing() -> None:
    """A second answer, an answer to no offer, a re-offer of nothing, INFO after the end."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    session.answer(ANSWER)
    session.answer_offer(2, ANSWER)
    session.refuse_offer(2)
    session.ring()
    stage.run()
    assert stage.puppet.take() == []
    caller.next("BYE")
    stage.puppet.take()
    session.hangup()
    session.info("text/plain", b"x")
    session.offer(OFFER)
    stage.run()
    assert stage.puppet.take() == []
    assert log.kinds == ["Confirmed", "Ended"]


@by_row(
    "misuse",
    [lambda one: one.ring(200), lambda one: one.ring(100), lambda one: one.reject(200), lambda one: one.reject(700)],
)
def test_a_status_of_the_wrong_class_is_a_value_error(misuse: Callable[[IncomingSession], None]) -> None:
    """Our own mistake, said at once."""
    _, session = ringing_session(Stage())
    with pytest.raises(ValueError, match="is"):
        misuse(session)


def test_ringing_is_repeated_every_minute() -> None:
    """So that proxies keep the INVITE (RFC 3261 13.3.1.1)."""
    stage = Stage()
    _, session = ringing_session(stage)
    session.ring()
    stage.run(121.0)
    assert stage.puppet.statuses() == [180, 180, 180]


def test_a_call_that_rings_too_long_is_480() -> None:
    """`longest_ringing` bounds what a forgotten session holds."""
    stage = Stage(CoreConfig(longest_ringing=30.0))
    ringing_session(stage)
    stage.run(31.0)
    assert stage.puppet.statuses()[-1] == 480
    assert stage.agent.calls[0].events == [Ended("timeout", 480, text="Rang too long")]


def test_without_prack_the_call_is_504() -> None:
    """64*T1 after a reliable 1xx (RFC 3262 section 3)."""
    stage = Stage()
    _, session = ringing_session(stage, headers=(("Require", "100rel"),))
    session.ring()
    stage.run(33.0)
    assert stage.puppet.statuses()[-1] == 504
    assert stage.agent.calls[0].events == [Ended("timeout", 504, text="No PRACK")]


def test_reliable_responses_go_out_one_after_the_other() -> None:
    """The second waits for the first one's PRACK."""
    stage = Stage()
    caller, session = ringing_session(stage, headers=(("Require", "100rel"),))
    session.ring(180)
    session.ring(183, body=ANSWER)
    stage.run()
    first = [one for one in stage.puppet.take() if isinstance(one, Response) and one.status > 100]
    assert [one.status for one in first] == [180]
    caller.remote = first[0].to
    caller.next("PRACK", headers=(("RAck", f"{first[0].rseq} 1 INVITE"),))
    second = [one for one in stage.puppet.take() if isinstance(one, Response) and one.status == 183]
    assert second[0].rseq == (first[0].rseq or 0) + 1


def test_an_offer_that_is_never_acknowledged_ends_the_call() -> None:
    """The application forgets `acknowledge`: ACK and BYE after 30 s."""
    stage, log, _, invite = stage_with_invite(body=b"")
    stage.send(answer(invite, 200, body=OFFER))
    stage.run(31.0)
    methods = [one.method for one in stage.puppet.take() if isinstance(one, Request)]
    assert methods[-2:] == ["ACK", "BYE"] or "BYE" in methods
    assert log.events == [Answered(OFFER, 1, True), Ended("mistake", 500, text="Server Internal Error")]


def test_hanging_up_before_the_name_is_resolved_sends_nothing() -> None:
    """The INVITE never leaves, however late the answer of DNS comes."""
    stage = Stage()
    late: list[Callable[[tuple[Flow, ...]], None]] = []

    def never(uri: Uri, done: Callable[[tuple[Flow, ...]], None]) -> None:
        late.append(done)

    stage.agent.resolve = never  # type: ignore[method-assign]
    session, log = call(stage.agent, host="slow.example")
    session.hangup()
    assert log.events == [Ended("local")]
    late[0]((Flow("udp", "192.0.2.2", 5060),))
    stage.run(1.0)
    assert stage.puppet.take() == []
    assert is_idle(stage.agent.core)


def test_a_timeout_before_the_name_is_resolved_is_408() -> None:
    """The no-answer time covers the look-up, too."""
    stage = Stage()
    stage.agent.resolve = lambda uri, done: None  # type: ignore[method-assign]
    _, log = call(stage.agent, host="slow.example", timeout=5.0)
    stage.run(6.0)
    assert [event.status for event in log.events if isinstance(event, Failed)] == [408]


def test_a_bye_of_an_early_branch_cancels_the_call() -> None:
    """The callee takes its 180 back (RFC 3261 15)."""
    stage, log, _, invite = stage_with_invite()
    stage.send(answer(invite, 180))
    bye = build.request(
        "BYE",
        Uri.of("alice", "192.0.2.1", 5060),
        from_=invite.to.with_tag("puppet"),
        to=invite.from_,
        call_id=invite.call_id,
        cseq=1,
    )
    stage.send(bye.with_headers(bye.headers.prepend("Via", "SIP/2.0/UDP 192.0.2.2:5060;rport;branch=z9hG4bKbye")))
    got = stage.puppet.take()
    assert [one.status for one in got if isinstance(one, Response)] == [200]
    assert [one.method for one in got if isinstance(one, Request)] == ["CANCEL"]
    stage.send(answer(invite, 487))
    assert log.kinds[0] == "Provisional"
    assert log.kinds[-1] in ("Failed", "Ended")
    stage.run(70.0)
    assert is_idle(stage.agent.core)


def test_an_unknown_method_in_the_dialog_is_405() -> None:
    """With Allow; the call goes on."""
    stage = Stage()
    caller, session, _ = answered_call(stage)
    caller.next("MESSAGE", body=b"hi", kind="text/plain")
    caller.next("REGISTER")
    caller.next("OPTIONS")
    refused, _, served = responses = [one for one in stage.puppet.take() if isinstance(one, Response)]
    assert [one.status for one in responses] == [405, 405, 200]
    assert set(refused.allow) == set(served.allow) >= {"INVITE", "BYE"}
    assert session.is_confirmed


def test_a_closing_gateway_takes_no_new_calls() -> None:
    """503 with Retry-After, OPTIONS too."""
    stage = Stage()
    stage.agent.core.refusing = True
    caller = PuppetCall(stage)
    stage.send(caller.make("OPTIONS", call_id="other"))
    assert set(stage.puppet.statuses()) == {503}
    assert stage.agent.calls == []


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_reoffer_that_crosses_our_bye_is_answered_481(method: str) -> None:
    """Nobody is left to answer it, and a transaction without an answer would stay for ever."""
    stage = Stage()
    caller, session, _ = answered_call(stage)
    session.hangup()
    stage.run()
    stage.puppet.take()
    caller.next(method, body=OFFER)
    assert stage.puppet.statuses()[-1] == 481
    stage.run(70.0)
    assert is_idle(stage.agent.core)


def test_a_caller_let_in_without_a_name_gets_its_answers_whole() -> None:
    """Nobody proved who calls, and the 200 is longer than the INVITE; without its Record-Route no dialog would come."""
    pair = Pair()
    pair.bob.verdict = lambda request, source: Accepted(None)

    def answered(session: InviteSession, log: SessionLog) -> None:
        assert isinstance(session, IncomingSession)
        session.answer(ANSWER)

    pair.bob.on_call = answered
    route = "<sip:192.0.2.1:5060;lr>"
    session, log = call(pair.alice, headers=(("Record-Route", route),))
    pair.run(1)
    assert "Answered" in log.kinds
    assert session.dialog is not None
    assert [str(hop) for hop in session.dialog.route_set] == [route]
