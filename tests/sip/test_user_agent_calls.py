"""The rules of INVITE sessions, one by one, against a puppet that sends what a test needs."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.sip.auth.account import Credentials
from gateway.sip.config import CoreConfig
from gateway.sip.invite.events import (
    Accepted,
    Answered,
    Confirmed,
    Ended,
    Failed,
    InfoReceived,
    OfferAnswered,
    Offered,
    Provisional,
    Refused,
)
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.testing.sip_peer import Puppet
from tests.rows import by_row
from tests.sip.agents import (
    ALICE,
    ANSWER,
    BOB,
    HOLD,
    OFFER,
    Pair,
    PuppetCall,
    Stage,
    answer,
    answered_call,
    call,
    stage_with_invite,
    tried_again,
)

# ---- calling


def test_each_2xx_is_acknowledged_and_the_call_answered_once() -> None:
    """A 2xx that comes again gets the same ACK again (RFC 3261 13.2.2.4)."""
    stage, log, _, invite = stage_with_invite()
    for _ in range(3):
        stage.send(answer(invite, 200, body=ANSWER))
    acks = stage.requests("ACK")
    assert len(acks) == 3
    assert {ack.cseq.number for ack in acks} == {invite.cseq.number}
    assert {str(ack.uri) for ack in acks} == {"sip:puppet@192.0.2.2:5060"}
    assert log.events == [Answered(ANSWER, 1)]


def test_a_call_by_a_flow_says_so_in_every_contact() -> None:
    """`ob`, in the INVITE as it goes out and in what changes the session later (RFC 5626 section 4.3)."""
    stage, _, session, invite = stage_with_invite(by_flow=True)
    assert invite.contact is not None
    assert invite.contact.uri.param("ob") == ""
    stage.send(answer(invite, 200, body=ANSWER))
    session.offer(HOLD)
    stage.run()
    again = stage.requests("INVITE")[-1]
    assert again.cseq.number > invite.cseq.number
    assert again.contact == invite.contact


def test_cancel_waits_for_a_provisional_response() -> None:
    """Nothing is sent at hangup; CANCEL follows the first 1xx (RFC 3261 9.1)."""
    stage, log, session, invite = stage_with_invite()
    session.hangup('SIP;cause=200;text="Call completed elsewhere"')
    stage.run()
    assert stage.requests("CANCEL") == []
    stage.send(answer(invite, 180))
    [cancel] = stage.requests("CANCEL")
    assert cancel.top_via.branch == invite.top_via.branch
    assert (cancel.cseq.number, cancel.uri, cancel.to_tag) == (1, invite.uri, None)
    assert cancel.headers.get("Reason") == 'SIP;cause=200;text="Call completed elsewhere"'
    stage.send(answer(cancel, 200))
    stage.send(answer(invite, 487))
    [ack] = stage.requests("ACK")
    assert ack.top_via.branch == invite.top_via.branch
    assert log.events == [Ended("local")]


def test_a_2xx_that_crosses_the_cancel_is_acknowledged_and_ended() -> None:
    """The call exists, so BYE ends it."""
    stage, log, session, invite = stage_with_invite()
    stage.send(answer(invite, 180))
    session.hangup('SIP;cause=200;text="Call completed elsewhere"')
    stage.run()
    stage.send(answer(invite, 200, body=ANSWER))
    sent = [one for one in stage.puppet.take() if isinstance(one, Request)]
    methods = [one.method for one in sent]
    assert methods.index("CANCEL") < methods.index("ACK") < methods.index("BYE")
    assert sent[methods.index("BYE")].headers.get("Reason") == 'SIP;cause=200;text="Call completed elsewhere"'
    assert log.kinds == ["Provisional", "Ended"]


def test_a_second_branch_that_answers_is_acknowledged_and_ended() -> None:
    """One INVITE, two phones: the first 2xx has the call, the other gets ACK and BYE (13.2.2.4)."""
    stage, log, _, invite = stage_with_invite()
    stage.send(answer(invite, 200, tag="one", body=ANSWER))
    stage.puppet.take()
    stage.send(answer(invite, 200, tag="two", body=ANSWER))
    stage.send(answer(invite, 200, tag="two", body=ANSWER))
    seen = [(one.method, one.to_tag) for one in stage.puppet.take() if isinstance(one, Request)]
    assert seen == [("ACK", "two"), ("BYE", "two"), ("ACK", "two")]
    assert log.events == [Answered(ANSWER, 1)]


def test_early_media_and_ringing_are_reported_in_order() -> None:
    """100 is not reported, 180 and 183 are, with their descriptions."""
    stage, log, _, invite = stage_with_invite()
    stage.send(answer(invite, 100))
    stage.send(answer(invite, 180))
    stage.send(answer(invite, 183, body=ANSWER))
    assert log.events == [Provisional(180, "Ringing"), Provisional(183, "Session Progress", ANSWER, 1)]


@by_row("status", [302, 404, 486, 500, 603])
def test_a_failure_is_acknowledged_and_reported_with_its_status(status: int) -> None:
    """The ACK belongs to the INVITE's transaction, the event carries the response."""
    stage, log, _, invite = stage_with_invite()
    stage.send(answer(invite, status, headers=(("X-Why", "because"),)))
    [ack] = stage.requests("ACK")
    assert ack.to_tag == "puppet"
    [failed] = log.events
    assert isinstance(failed, Failed)
    assert (failed.status, failed.headers.get("X-Why")) == (status, "because")


def test_a_call_that_nobody_answers_is_cancelled_and_fails_with_408() -> None:
    """`timeout` seconds of ringing, then CANCEL."""
    stage, log, _, invite = stage_with_invite(timeout=20.0)
    stage.send(answer(invite, 180))
    stage.run(21.0)
    [cancel] = stage.requests("CANCEL")[:1]
    stage.send(answer(cancel, 200))
    stage.send(answer(invite, 487))
    assert log.kinds == ["Provisional", "Failed"]
    assert log.events[-1].status == 408  # type: ignore[attr-defined]


def test_a_cancel_without_final_response_ends_after_64_t1() -> None:
    """The callee vanished after its 180 (RFC 3261 9.1)."""
    stage, log, session, invite = stage_with_invite()
    stage.send(answer(invite, 180))
    session.hangup()
    stage.run(33.0)
    assert log.kinds == ["Provisional", "Ended"]


def test_a_challenge_is_answered_once_and_only_with_credentials_of_the_call() -> None:
    """A second 401 with the same realm is final (RFC 3261 22.2)."""
    challenge = (("WWW-Authenticate", 'Digest realm="trunk", nonce="n1", algorithm=MD5, qop="auth"'),)
    stage, log, _, invite = stage_with_invite(credentials=Credentials("alice", "secret"))
    stage.send(answer(invite, 401, headers=challenge))
    [again] = [one for one in stage.puppet.take() if isinstance(one, Request) and one.method == "INVITE"]
    assert again.cseq.number == invite.cseq.number + 1
    assert again.top_via.branch != invite.top_via.branch
    assert again.authorization[0].get("username") == "alice"
    assert b"secret" not in again.write()
    stage.send(answer(again, 401, headers=challenge))
    assert stage.requests("INVITE") == []
    assert log.events[-1].status == 401  # type: ignore[attr-defined]


def test_without_credentials_a_challenge_is_a_failure() -> None:
    """Nothing is signed that was not asked to be."""
    stage, log, _, invite = stage_with_invite()
    stage.send(answer(invite, 407, headers=(("Proxy-Authenticate", 'Digest realm="x", nonce="n"'),)))
    assert stage.requests("INVITE") == []
    assert log.kinds == ["Failed"]


def test_the_ack_of_a_2xx_repeats_the_credentials_of_its_invite() -> None:
    """RFC 3261 22.1."""
    stage, _, _, invite = stage_with_invite(credentials=Credentials("alice", "secret"))
    stage.send(answer(invite, 407, headers=(("Proxy-Authenticate", 'Digest realm="x", nonce="n"'),)))
    [again] = stage.requests("INVITE")
    stage.send(answer(again, 200, body=ANSWER))
    [ack] = stage.requests("ACK")
    assert ack.headers.get("Proxy-Authorization") == again.headers.get("Proxy-Authorization")


def test_a_challenge_from_another_host_in_the_dialog_is_not_answered() -> None:
    """The callee behind the trunk gets no digest to crack (CVE-2021-41158)."""
    stage, _, session, invite = stage_with_invite(credentials=Credentials("alice", "secret"))
    stranger = Puppet(stage.network, ("198.51.100.9", 5060))
    ok = answer(invite, 200, body=ANSWER)
    stage.send(ok.with_header("Contact", "<sip:evil@198.51.100.9:5060>"))
    session.info("text/plain", b"x")
    stage.run()
    [info] = [one for one in stranger.take() if isinstance(one, Request) and one.method == "INFO"]
    challenge = (("WWW-Authenticate", 'Digest realm="trunk", nonce="n1"'),)
    stranger.send(answer(info, 401, headers=challenge), ALICE)
    stage.run()
    assert [one for one in stranger.take() if isinstance(one, Request)] == []


@by_row("status", [100, 180, 407, 486])
def test_any_response_shows_that_somebody_is_there(status: int) -> None:
    """A 100, a challenge and a refusal too; without one a trunk is silent, and another of its places is called."""
    stage, _, session, invite = stage_with_invite()
    assert not session.has_responded
    stage.send(answer(invite, status))
    assert session.has_responded


def test_the_next_address_is_tried_when_the_first_is_dead() -> None:
    """503 and silence move on to the next flow of the name (RFC 3263 4.3)."""
    stage, second, log, first, again = tried_again()
    assert again.top_via.branch != first.top_via.branch
    second.send(answer(again, 200, body=ANSWER), ALICE)
    stage.run()
    assert log.events == [Answered(ANSWER, 1)]


def test_a_name_that_does_not_resolve_fails_the_call_with_503() -> None:
    """There is nobody to send to."""
    stage = Stage()
    _, log = call(stage.agent, host="nowhere.invalid")
    assert [event.status for event in log.events if isinstance(event, Failed)] == [503]


def test_a_reliable_183_is_pracked_once_and_out_of_order_ones_are_passed_over() -> None:
    """RFC 3262 section 4."""
    stage, log, _, invite = stage_with_invite()
    reliable = (("Require", "100rel"), ("RSeq", 7))
    first = answer(invite, 183, body=ANSWER, headers=reliable)
    stage.send(first)
    stage.send(first)
    stage.send(answer(invite, 180, headers=(("Require", "100rel"), ("RSeq", 9))))
    pracks = [one for one in stage.requests("PRACK")]
    assert {str(one.rack) for one in pracks} == {"7 1 INVITE"}
    assert len({one.top_via.branch for one in pracks}) == 1
    assert log.kinds == ["Provisional"]


def test_a_2xx_without_contact_goes_on_by_the_flow() -> None:
    """ACK and BYE go where the INVITE went."""
    stage, log, session, invite = stage_with_invite()
    bare = answer(invite, 200, body=ANSWER)
    stage.send(bare.with_headers(bare.headers.without("Contact")))
    assert log.kinds == ["Answered"]
    session.hangup()
    stage.run()
    assert [one.method for one in stage.puppet.take() if isinstance(one, Request)] == ["ACK", "BYE"]


def test_an_offerless_call_answers_in_the_ack() -> None:
    """The 2xx brings the offer; `acknowledge` sends ours in the ACK, which is repeated for a 2xx again."""
    stage, log, session, invite = stage_with_invite(body=b"")
    assert invite.body == b""
    stage.send(answer(invite, 200, body=OFFER))
    assert log.events == [Answered(OFFER, 1, True)]
    assert stage.requests("ACK") == []
    session.answer_offer(1, ANSWER)
    stage.run()
    stage.send(answer(invite, 200, body=OFFER))
    assert [ack.body for ack in stage.requests("ACK")] == [ANSWER, ANSWER]


def test_422_is_answered_with_the_interval_that_the_peer_wants() -> None:
    """Min-SE of the peer becomes our Session-Expires (RFC 4028 7.3)."""
    stage, _, _, invite = stage_with_invite()
    stage.send(answer(invite, 422, headers=(("Min-SE", "3600"),)))
    [again] = stage.requests("INVITE")
    assert again.session_expires is not None
    assert again.session_expires.seconds == 3600


# ---- being called


def test_a_2xx_is_retransmitted_until_its_ack() -> None:
    """T1, doubling to T2 (RFC 3261 13.3.1.4)."""
    stage = Stage()
    stage.agent.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
    caller = PuppetCall(stage)
    stage.run(7.6)
    assert stage.puppet.statuses() == [200] * 5
    stage.agent.core.random()
    caller.remote = caller.remote.with_tag(stage.agent.calls[0].session.local.tag)
    stage.send(caller.make("ACK"))
    stage.run(10.0)
    assert stage.puppet.statuses() == []
    assert stage.agent.calls[0].events == [Confirmed()]


def test_a_2xx_that_is_never_acknowledged_ends_the_call_with_bye() -> None:
    """After 64*T1 (RFC 3261 13.3.1.4)."""
    stage = Stage()
    stage.agent.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
    PuppetCall(stage)
    stage.run(33.0)
    assert len(stage.requests("BYE")) >= 1
    assert stage.agent.calls[0].events == [Ended("timeout", 408, text="No ACK")]


def test_hanging_up_before_the_ack_waits_for_it() -> None:
    """A callee sends no BYE before the ACK (RFC 3261 15)."""
    stage = Stage()
    stage.agent.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
    caller = PuppetCall(stage)
    stage.agent.calls[0].session.hangup()
    stage.run()
    assert [one for one in stage.puppet.received if isinstance(one, Request)] == []
    caller.confirm()
    assert len(stage.requests("BYE")) == 1
    assert stage.agent.calls[0].events == [Ended("local")]


def test_a_rejection_carries_status_reason_and_headers() -> None:
    """What the application says is what the caller hears."""
    stage = Stage()
    stage.agent.on_call = lambda session, log: session.reject(486, "Out", (("Retry-After", 60),))  # type: ignore[attr-defined]
    PuppetCall(stage)
    [response] = [one for one in stage.puppet.take() if isinstance(one, Response)]
    assert (response.status, response.phrase, response.retry_after) == (486, "Out", 60)
    assert response.to_tag is not None


def test_a_cancel_ends_a_ringing_call_with_487() -> None:
    """200 to the CANCEL, 487 to the INVITE, and the reason reaches the application."""
    stage = Stage()
    caller = PuppetCall(stage)
    cancel = build.cancel(caller.invite, headers=(("Reason", 'SIP;cause=200;text="Call completed elsewhere"'),))
    stage.send(cancel)
    assert sorted(set(stage.puppet.statuses())) == [200, 487]
    assert stage.agent.calls[0].events == [Ended("remote", 200, None, "Call completed elsewhere")]


@pytest.mark.parametrize("change", ["branch", "source"])
def test_a_cancel_from_elsewhere_or_for_another_branch_is_481(change: str) -> None:
    """A guessed or copied CANCEL ends nobody's call."""
    stage = Stage()
    caller = PuppetCall(stage)
    stage.puppet.take()
    cancel = build.cancel(caller.invite)
    if change == "branch":
        cancel = cancel.with_header("Via", f"SIP/2.0/UDP {BOB[0]}:{BOB[1]};rport;branch=z9hG4bKother")
        stage.send(cancel)
        assert stage.puppet.statuses() == [481]
    else:
        thief = Puppet(stage.network, ("198.51.100.9", 5060))
        thief.send(cancel, ALICE)
        stage.run()
        assert thief.statuses() == [481]
    assert stage.agent.calls[0].events == []


def test_a_cancel_before_the_verdict_ends_the_invite() -> None:
    """The application never hears of a call that was given up while it was asked who calls."""
    stage = Stage()
    stage.agent.verdict = lambda request, source: None
    caller = PuppetCall(stage)
    stage.send(build.cancel(caller.invite))
    assert sorted(set(stage.puppet.statuses())) == [200, 487]
    stage.agent.open_verdicts[0](Accepted("late"))
    stage.run()
    assert stage.agent.calls == []


def test_a_refused_caller_leaves_no_state_and_hears_it_once() -> None:
    """401 without a transaction: nothing is retransmitted to a stranger."""
    stage = Stage()
    stage.agent.verdict = lambda request, source: Refused(
        401, headers=(("WWW-Authenticate", 'Digest realm="r", nonce="n"'),)
    )
    PuppetCall(stage)
    assert len(stage.agent.core.stack) == 0
    stage.run(40.0)
    assert stage.puppet.statuses() == [401]


def test_reliable_ringing_waits_for_prack_before_the_answer() -> None:
    """With 100rel required: 183 again until PRACK, then the 200 (RFC 3262 section 3)."""
    stage = Stage()
    caller = PuppetCall(stage, headers=(("Require", "100rel"),))
    session = stage.agent.calls[0].session
    assert isinstance(session, IncomingSession)
    session.ring(183, body=ANSWER)
    session.answer(ANSWER)
    stage.run(0.6)
    responses = [one for one in stage.puppet.take() if isinstance(one, Response) and one.status > 100]
    assert [one.status for one in responses] == [183, 183]
    rseq = responses[0].rseq
    caller.remote = responses[0].to
    caller.next("PRACK", headers=(("RAck", f"{rseq} 1 INVITE"),))
    final = [one for one in stage.puppet.take() if isinstance(one, Response) and one.cseq.method == "INVITE"]
    assert [(one.status, one.body) for one in final] == [(200, b"")]


def test_a_prack_for_nothing_is_481() -> None:
    """A wrong RAck acknowledges nothing."""
    stage = Stage()
    caller = PuppetCall(stage, headers=(("Require", "100rel"),))
    session = stage.agent.calls[0].session
    assert isinstance(session, IncomingSession)
    session.ring(180)
    stage.run()
    ringing = next(one for one in stage.puppet.take() if isinstance(one, Response) and one.status == 180)
    caller.remote = ringing.to
    caller.next("PRACK", headers=(("RAck", f"{(ringing.rseq or 0) + 1} 1 INVITE"),))
    assert 481 in stage.puppet.statuses()


def test_a_call_over_the_limit_is_503() -> None:
    """`sessions` bounds the calls; the next one hears which limit that is, and when to come again."""
    stage = Stage(CoreConfig(sessions=1))
    PuppetCall(stage, call_id="one")
    stage.puppet.take()
    PuppetCall(stage, call_id="two")
    [refused] = [one for one in stage.puppet.take() if isinstance(one, Response) and one.cseq.method == "INVITE"]
    assert (refused.status, refused.retry_after) == (503, 10)
    assert [reason.param("text") for reason in refused.reason] == ["limit: sip.limits.max_dialogs"]
    assert len(stage.agent.calls) == 1


def test_an_interval_below_ours_is_422() -> None:
    """Session-Expires of 30 s is too small (RFC 4028 section 6)."""
    stage = Stage()
    PuppetCall(stage, headers=(("Session-Expires", "30"), ("Supported", "timer")))
    [refused] = [one for one in stage.puppet.take() if isinstance(one, Response)]
    assert (refused.status, refused.min_se and refused.min_se.seconds) == (422, 90)
    assert stage.agent.calls == []


# ---- in the dialog


@by_row("wrong", ["call_id", "local", "remote"])
@by_row("method", ["BYE", "INVITE", "INFO"])
def test_a_request_with_one_wrong_identifier_is_481_and_changes_nothing(method: str, wrong: str) -> None:
    """Call-ID and both tags must match (RFC 3261 12.2.2)."""
    stage = Stage()
    caller, _, log = answered_call(stage)
    forged: dict[str, Any] = {
        "call_id": "other",
        "local": caller.local.with_tag("other"),
        "remote": caller.remote.with_tag("other"),
    }
    caller.next(method, **{wrong: forged[wrong]})
    assert stage.puppet.statuses() == [481]
    assert log.kinds == ["Confirmed"]


def test_an_old_cseq_is_500_and_changes_nothing() -> None:
    """CSeq must rise (RFC 3261 12.2.2)."""
    stage = Stage()
    caller, _, log = answered_call(stage)
    caller.next("INFO", body=b"1", kind="application/dtmf")
    caller.cseq -= 2
    caller.next("BYE")
    assert stage.puppet.statuses() == [200, 500]
    assert log.events[1:] == [InfoReceived("application/dtmf", b"1")]


def test_bye_ends_the_call_once_and_a_second_one_is_481() -> None:
    """200, the event, and nothing left."""
    stage = Stage()
    caller, _, log = answered_call(stage)
    caller.next("BYE", headers=(("Reason", "Q.850;cause=31"),))
    caller.next("BYE")
    assert stage.puppet.statuses() == [200, 481]
    assert log.events[1:] == [Ended("remote", None, 31)]


def test_a_second_reinvite_before_the_first_is_answered_is_500() -> None:
    """With Retry-After of 0 to 10 s (RFC 3261 14.2)."""
    stage = Stage()
    caller, _, log = answered_call(stage)
    caller.next("INVITE", body=HOLD)
    stage.puppet.take()
    caller.next("INVITE", body=HOLD)
    [refused] = [one for one in stage.puppet.take() if isinstance(one, Response) and one.status == 500]
    assert refused.retry_after is not None
    assert 0 <= refused.retry_after <= 10
    assert log.kinds == ["Confirmed", "Offered"]


def test_a_refused_reoffer_leaves_the_session_as_it_was() -> None:
    """488 both ways is an event, not the end."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    caller.next("INVITE", body=HOLD)
    session.refuse_offer(2, 488)
    stage.run()
    assert 488 in stage.puppet.statuses()
    session.offer(OFFER)
    stage.run()
    stage.send(answer(stage.requests("INVITE")[0], 488))
    assert log.events[1:] == [Offered(2, HOLD), OfferAnswered(3, 488, None)]
    assert session.is_confirmed


def test_481_to_our_reinvite_ends_the_call() -> None:
    """The peer has forgotten the dialog (RFC 3261 12.2.1.2)."""
    stage = Stage()
    _, session, log = answered_call(stage)
    session.offer(OFFER)
    stage.run()
    stage.send(answer(stage.requests("INVITE")[0], 481))
    assert log.kinds == ["Confirmed", "OfferAnswered", "Ended"]
    assert log.events[-1] == Ended("error", 481, text="Call/Transaction Does Not Exist")


def test_requests_go_where_a_caller_behind_nat_sent_from() -> None:
    """A private Contact of a direct caller is not used."""
    stage = Stage()
    stage.agent.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
    caller = PuppetCall.__new__(PuppetCall)
    caller.stage, caller.call_id, caller.cseq, caller.branches = stage, "nat", 1, 0
    caller.contact = Uri.of("puppet", *BOB)
    caller.local = NameAddr(Uri.of("puppet", "example.net")).with_tag("ptag")
    caller.remote = NameAddr(Uri.of("alice", *ALICE))
    caller.invite = caller.make("INVITE", body=OFFER).with_header("Contact", "<sip:puppet@10.0.0.7:5060>")
    stage.send(caller.invite)
    caller.confirm()
    stage.agent.calls[0].session.hangup()
    stage.run()
    [bye] = stage.requests("BYE")
    assert str(bye.uri) == "sip:puppet@10.0.0.7:5060"


def test_requests_in_the_dialog_follow_the_record_route() -> None:
    """Route is the Record-Route of the INVITE, and its first hop is where the request goes."""
    stage = Stage()
    proxy = Puppet(stage.network, ("192.0.2.50", 5060))
    _, session, _ = answered_call(stage, headers=(("Record-Route", "<sip:192.0.2.50;lr>"),))
    session.hangup()
    stage.run()
    [bye] = [one for one in proxy.take() if isinstance(one, Request)]
    assert (bye.method, [str(hop) for hop in bye.route]) == ("BYE", ["<sip:192.0.2.50;lr>"])


def test_a_session_timer_that_nobody_refreshes_ends_the_call() -> None:
    """Our refresh stays without answer: BYE before the interval is over (RFC 4028 section 10)."""
    stage = Stage()
    _, _, log = answered_call(stage, headers=(("Session-Expires", "90;refresher=uas"), ("Supported", "timer")))
    stage.run(100.0)
    assert log.kinds[-1] == "Ended"
    assert log.events[-1].by == "timeout"  # type: ignore[attr-defined]
    assert stage.requests("BYE") != []


def test_a_call_refreshes_itself_while_both_sides_live() -> None:
    """An hour with a session timer of 90 s: refreshed, never reported to the application."""
    pair = Pair()
    pair.bob.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
    session, log = call(pair.alice, headers=(("Session-Expires", "90"),))
    pair.run(3600.0)
    assert log.kinds == ["Answered"]
    assert pair.bob.calls[0].kinds == ["Confirmed"]
    session.hangup()
    pair.run(1.0)
    assert log.kinds[-1] == "Ended"


def test_a_listener_that_fails_hurts_nobody() -> None:
    """The exception is logged, the call goes on."""

    def fails(event: object) -> None:
        raise RuntimeError("listener")

    stage = Stage()
    caller, session, _ = answered_call(stage)
    session.listen(fails)
    caller.next("INFO", body=b"1", kind="application/dtmf")
    caller.next("BYE")
    assert stage.puppet.statuses() == [481, 200]
    assert session.is_over


def test_events_before_anybody_listens_are_kept() -> None:
    """listen delivers them in order."""
    stage = Stage()
    caller, session, _ = answered_call(stage)
    session._handler = None
    caller.next("INFO", body=b"1", kind="application/dtmf")
    caller.next("BYE")
    seen: list[object] = []
    session.listen(seen.append)
    assert [type(event).__name__ for event in seen] == ["InfoReceived", "Ended"]


# ---- what must not break a call


MULTIPART = "multipart/mixed;boundary=b"


def test_a_description_inside_a_multipart_is_found() -> None:
    """RFC 5621: the SDP part is the offer."""
    stage = Stage()
    stage.agent.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
    body = (
        b"--b\r\nContent-Type: application/sdp\r\n\r\n" + OFFER + b"\r\n--b\r\nContent-Type: x/y\r\n\r\nz\r\n--b--\r\n"
    )
    caller = PuppetCall(stage)
    stage.puppet.take()
    caller.call_id, caller.remote = "multi", NameAddr(Uri.of("alice", *ALICE))
    stage.send(caller.make("INVITE", body=body, kind=MULTIPART))
    assert stage.agent.calls[1].session.initial_offer.startswith(b"v=0")  # type: ignore[attr-defined]


def test_a_broken_multipart_is_400_and_leaves_the_call_as_it_was() -> None:
    """A later re-INVITE still works."""
    stage = Stage()
    caller, _, log = answered_call(stage)
    caller.next("INVITE", body=b"no boundary in sight", kind=MULTIPART)
    assert stage.puppet.statuses() == [400]
    caller.next("INVITE", body=HOLD)
    assert log.events[1:] == [Offered(2, HOLD)]


def test_a_reason_with_control_bytes_still_ends_the_call() -> None:
    """Header smuggling by the words of a page: the BYE goes out without them."""
    stage = Stage()
    _, session, _ = answered_call(stage)
    session.hangup('SIP;cause=200;text="x"\r\nX-Evil: 1')
    stage.run()
    [bye] = stage.requests("BYE")
    assert "Reason" not in bye.headers
    assert "X-Evil" not in bye.headers


def test_a_rejection_that_cannot_be_written_still_rejects() -> None:
    """The status goes out, the unusable words do not."""
    stage = Stage()
    stage.agent.on_call = lambda session, log: session.reject(486, "a\r\nX-Evil: 1")  # type: ignore[attr-defined]
    PuppetCall(stage)
    [response] = [one for one in stage.puppet.take() if isinstance(one, Response)]
    assert (response.status, response.phrase, "X-Evil" in response.headers) == (486, "Busy Here", False)


def test_many_branches_do_not_end_the_call_that_one_has() -> None:
    """More 2xx than anybody forks to are counted, the first keeps the call."""
    stage, log, session, invite = stage_with_invite()
    for number in range(40):
        stage.send(answer(invite, 200, tag=f"branch{number}", body=ANSWER))
    assert log.events == [Answered(ANSWER, 1)]
    session.hangup()
    stage.run()
    assert log.events[-1] == Ended("local")


def test_a_2xx_with_a_broken_body_is_still_answered() -> None:
    """The application hears of it, without a description."""
    stage, log, _, invite = stage_with_invite()
    ok = answer(invite, 200, body=ANSWER).with_header("Content-Type", MULTIPART)
    stage.send(ok)
    assert log.events == [Answered(b"", 1)]
