"""One request each way, whatever becomes of it: an outcome, once, and nothing left behind."""

from __future__ import annotations

import pytest

from gateway.sip.auth.account import MAX_PLACES, Authenticator, Credentials
from gateway.sip.config import CoreConfig
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Failed, OfferAnswered, Refused, Reply
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.transactions.config import StackConfig
from gateway.sip.transactions.machine import Reason
from gateway.testing.sip_peer import Puppet
from tests.rows import by_row
from tests.sip.agents import (
    ALICE,
    BOB,
    PuppetCall,
    Stage,
    answer,
    answered_call,
    call,
    is_idle,
    stage_with_invite,
    tried_again,
)

CHALLENGE = (("WWW-Authenticate", 'Digest realm="trunk", nonce="n1"'),)


class Asked:
    """An OPTIONS of ours and its outcomes."""

    def __init__(self, stage: Stage, target: Uri | Flow, *, body: bytes = b"", signed: bool = False) -> None:
        self.statuses: list[int] = []
        self.numbers = iter(range(1, 100))
        self.body = body
        token = stage.agent.core.token
        signer = Authenticator(Credentials("alice", "secret"), token) if signed else None
        self.request = stage.agent.core.request(
            self.make, target, lambda response: self.statuses.append(response.status), authenticator=signer
        )
        stage.run()

    def make(self, flow: Flow) -> Request:
        here = NameAddr(Uri.of("alice", *ALICE))
        return build.request(
            "OPTIONS",
            Uri.of("bob", *BOB),
            from_=here.with_tag("t"),
            to=NameAddr(Uri.of("bob", *BOB)),
            call_id="options",
            cseq=next(self.numbers),
            body=self.body,
        )


TO_BOB = Uri.of("bob", *BOB)


@pytest.mark.parametrize("hop", [Uri.parse("tel:+123"), Uri.parse("sip:[2001:db8::1];transport=sctp")])
def test_a_hop_that_leads_nowhere_is_503(hop: Uri) -> None:
    """Said at once."""
    assert Asked(Stage(), hop).statuses == [503]


def test_a_request_that_cannot_be_written_is_503_and_counted() -> None:
    """A body without a type, a full stack."""
    stage = Stage()
    assert Asked(stage, TO_BOB, body=b"x").statuses == [503]
    full = Stage(CoreConfig(stack=StackConfig(transactions=0)))
    assert Asked(full, TO_BOB).statuses == [503]
    assert stage.agent.core.counts["request not built"] == full.agent.core.counts["request not built"] == 1


def test_silence_is_408_and_a_broken_transport_503() -> None:
    """RFC 3261 8.1.3.1."""
    stage = Stage()
    silent = Asked(stage, TO_BOB)
    stage.run(33.0)
    assert silent.statuses == [408]
    broken = Asked(stage, TO_BOB)
    stage.agent.core.transport_failed(Flow("udp", *BOB))
    assert broken.statuses == [503]


def test_who_has_answered_once_is_not_tried_elsewhere() -> None:
    """It may have passed the request on (RFC 3263 4.3)."""
    stage = Stage()
    stage.agent.names["pbx.example"] = (Flow("udp", *BOB), Flow("udp", "192.0.2.3", 5060))
    asked = Asked(stage, Uri.parse("sip:pbx.example"))
    [options] = stage.requests("OPTIONS")
    stage.send(answer(options, 100))
    stage.agent.core.transport_failed(Flow("udp", *BOB))
    assert asked.statuses == [503]


def test_a_challenge_is_no_answer_to_the_try_that_follows_it() -> None:
    """Which may go to the next server, should the first one vanish in between."""
    stage = Stage()
    stage.agent.names["pbx.example"] = (Flow("udp", *BOB), Flow("udp", *BOB, "second"))
    asked = Asked(stage, Uri.parse("sip:pbx.example"), signed=True)
    [options] = stage.requests("OPTIONS")
    stage.send(answer(options, 401, headers=CHALLENGE))
    assert asked.request.transaction is not None
    asked.request.on_failed(asked.request.transaction, Reason.TRANSPORT_ERROR)
    stage.run()
    assert asked.statuses == []
    assert len(stage.requests("OPTIONS")) == 2, "the signed one, and the one to the next server"


def test_a_server_that_is_lost_once_it_has_refused_takes_the_next_one_not_with_it() -> None:
    """Its ACK, or a repeated refusal, has no way any more: the try that runs elsewhere goes on."""
    stage, second, log, _, again = tried_again()
    stage.agent.core.transport_failed(Flow("udp", *BOB))
    stage.run()
    assert log.kinds == []
    second.send(answer(again, 486), ALICE)
    stage.run()
    assert [one.status for one in log.of(Failed)] == [486]


def test_a_server_that_challenges_without_end_is_answered_four_times() -> None:
    """Each with a new nonce; without credentials never."""
    stage = Stage()
    asked = Asked(stage, TO_BOB, signed=True)
    for number in range(6):
        requests = stage.requests("OPTIONS")
        if not requests:
            break
        stale = f'Digest realm="trunk", nonce="n{number}", stale=true'
        stage.send(answer(requests[-1], 401, headers=(("WWW-Authenticate", stale),)))
    assert asked.statuses == [401]
    assert next(asked.numbers) == 6
    unsigned = Asked(stage, TO_BOB)
    stage.send(answer(stage.requests("OPTIONS")[-1], 401, headers=CHALLENGE))
    assert unsigned.statuses == [401]


def test_a_failure_after_the_final_response_is_no_second_outcome() -> None:
    """The ACK of a 486 cannot be sent: the call has failed already."""
    stage, log, _, invite = stage_with_invite()
    stage.send(answer(invite, 486))
    stage.agent.core.transport_failed(Flow("udp", *BOB))
    assert log.kinds == ["Failed"]


def test_an_abandoned_request_takes_the_next_outcome() -> None:
    """No other server is tried."""
    stage = Stage()
    stage.agent.names["pbx.example"] = (Flow("udp", *BOB), Flow("udp", "192.0.2.3", 5060))
    asked = Asked(stage, Uri.parse("sip:pbx.example"))
    asked.request.abandon()
    assert not asked.request.again()
    stage.run(33.0)
    assert asked.statuses == [408]


def test_a_request_that_is_withdrawn_is_sent_no_more() -> None:
    """Neither before it had a flow nor after its answer is there anything to end."""
    stage = Stage()
    waiting = Asked(stage, TO_BOB)
    waiting.request.withdraw()
    stage.run(33.0)
    assert len(stage.requests("OPTIONS")) == 1
    nowhere = Asked(stage, Uri.parse("tel:+123"))
    nowhere.request.withdraw()
    answered = Asked(stage, TO_BOB)
    stage.send(answer(stage.requests("OPTIONS")[-1], 200))
    answered.request.withdraw()
    assert (waiting.statuses, nowhere.statuses, answered.statuses) == ([503], [503], [200])


@by_row(("family", "calls"), [(0, False), (4, True), (6, False)])
def test_an_invite_may_be_kept_to_one_ip_version(family: int, calls: bool) -> None:
    """By the other one its description would be of no use."""
    stage = Stage()
    stage.agent.names["pbx.example"] = (Flow("udp", "2001:db8::1", 5060), Flow("udp", *BOB))
    call(stage.agent, host="pbx.example", family=family)
    stage.run()
    assert bool(stage.requests("INVITE")) is calls


def test_a_name_that_has_no_address_of_that_version_leads_nowhere() -> None:
    """The call has failed, as where nobody is there."""
    stage = Stage()
    stage.agent.names["pbx.example"] = (Flow("udp", *BOB),)
    _, log = call(stage.agent, host="pbx.example", family=6)
    stage.run()
    assert log.kinds == ["Failed"]


def test_a_contact_that_no_name_server_knows_is_reached_by_the_flow() -> None:
    """ACK and BYE go where the INVITE went; the ACK as often as the 2xx comes."""
    stage, log, session, invite = stage_with_invite()
    stage.send(answer(invite, 200).with_header("Contact", "<sip:bob@nowhere.invalid>"))
    stage.send(answer(invite, 200).with_header("Contact", "<sip:bob@nowhere.invalid>"))
    assert len(stage.requests("ACK")) == 2
    session.hangup()
    stage.run()
    [bye] = stage.requests("BYE")
    stage.send(answer(bye, 200))
    stage.run(70.0)
    assert log.kinds == ["Answered", "Ended"]
    assert is_idle(stage.agent.core)


def test_an_invite_without_contact_is_sent_as_it_is() -> None:
    """Whoever builds one knows why."""
    stage = Stage()
    here = NameAddr(Uri.of("alice", *ALICE)).with_tag("t")
    invite = build.request("INVITE", TO_BOB, from_=here, to=NameAddr(TO_BOB), call_id="bare", cseq=1)
    stage.agent.core.invite(invite, TO_BOB)
    stage.run()
    assert "Contact" not in stage.requests("INVITE")[0].headers


# ---- the peer's


def test_a_refusal_or_reply_that_cannot_be_written_is_500() -> None:
    """The application's words hold control bytes."""
    stage = Stage()
    stage.agent.verdict = lambda request, source: Refused(403, "a\r\nX-Evil: 1")
    caller = PuppetCall(stage)
    assert stage.puppet.statuses() == [500]
    stage = Stage()
    stage.agent.reply = lambda request: Reply(200, "a\r\nX-Evil: 1")
    caller = PuppetCall(stage)
    stage.puppet.take()
    stage.send(caller.make("REGISTER", call_id="r"))
    assert stage.puppet.statuses() == [500]


def test_a_verdict_after_the_cancel_changes_nothing() -> None:
    """And a CANCEL after the answer neither; a lost ACK of a refusal is nobody's business."""
    stage = Stage()
    stage.agent.verdict = lambda request, source: None
    caller = PuppetCall(stage)
    stage.send(build.cancel(caller.invite))
    stage.agent.open_verdicts[0](Refused(403))
    stage.send(build.cancel(caller.invite))
    assert 403 not in stage.puppet.statuses()
    stage.run(40.0)
    assert is_idle(stage.agent.core)


def test_a_cancel_that_comes_after_the_refusal_is_answered_and_no_more() -> None:
    """The INVITE has its 503 already."""
    stage = Stage(CoreConfig(sessions=0))
    caller = PuppetCall(stage)
    stage.send(build.cancel(caller.invite))
    responses = [one for one in stage.puppet.take() if isinstance(one, Response)]
    assert {(one.status, one.cseq.method) for one in responses} >= {(503, "INVITE"), (200, "CANCEL")}
    assert {one.status for one in responses if one.cseq.method == "INVITE"} <= {100, 503}


def test_what_comes_by_stream_is_taken_like_datagrams() -> None:
    """A message, and one that cannot be used."""
    stage = Stage(transport="tcp")
    flow = Flow("tcp", *BOB, "here")
    caller = PuppetCall(stage)
    options = caller.make("OPTIONS", call_id="stream")
    stage.agent.core.receive_message(options, flow, 100)
    stage.run()
    assert 200 in stage.puppet.statuses()


def test_a_call_that_nobody_may_hang_up_for_ringing_too_long() -> None:
    """`longest_ringing` of 0."""
    stage = Stage(CoreConfig(longest_ringing=0.0))
    PuppetCall(stage)
    stage.run(400.0)
    assert not stage.agent.calls[0].session.is_over


def test_ringing_that_was_acknowledged_is_not_repeated() -> None:
    """A PRACK is as good as a repetition (RFC 3262 section 3)."""
    stage = Stage(CoreConfig(longest_ringing=0.0))
    caller = PuppetCall(stage, headers=(("Require", "100rel"),))
    stage.agent.calls[0].session.ring()  # type: ignore[attr-defined]
    stage.run()
    ringing = next(one for one in stage.puppet.take() if isinstance(one, Response) and one.status == 180)
    caller.remote = ringing.to
    caller.next("PRACK", headers=(("RAck", f"{ringing.rseq} 1 INVITE"),))
    stage.puppet.take()
    stage.run(130.0)
    assert stage.puppet.statuses() == []


def test_a_session_timer_that_is_looked_at_too_early_changes_nothing() -> None:
    """It is looked at again when it is due."""
    stage = Stage()
    headers = (("Session-Expires", "90;refresher=uas"), ("Supported", "timer"))
    _, session, log = answered_call(stage, headers=headers)
    session._timer_due()
    stage.run()
    assert stage.puppet.take() == []
    stage.run(45.5)
    assert len({one.cseq.number for one in stage.requests("INVITE")}) == 1
    assert log.kinds == ["Confirmed"]


def test_nothing_follows_the_last_event() -> None:
    """Whoever tells it."""
    stage = Stage()
    _, session, log = answered_call(stage)
    session.hangup()
    session.emit(log.events[0])
    session.emit_last(log.events[0])
    assert log.kinds == ["Confirmed", "Ended"]


def test_a_call_of_ours_whose_dialog_is_unknown_ends() -> None:
    """481 to a re-INVITE of the caller."""
    stage, log, session, invite = stage_with_invite()
    stage.send(answer(invite, 200, body=b"v=0"))
    session.offer(b"v=1")
    stage.run()
    [reinvite] = [one for one in stage.requests("INVITE") if one.to_tag is not None]
    stage.send(answer(reinvite, 481))
    assert log.kinds == ["Answered", "OfferAnswered", "Ended"]


def test_a_challenge_in_a_dialog_that_is_over_is_answered_by_nothing() -> None:
    """The peer hangs up while our INFO is under way, and challenges that afterwards."""
    stage, log, session, invite = stage_with_invite(credentials=Credentials("alice", "secret"))
    stage.send(answer(invite, 200, body=b"v=0"))
    told: list[int] = []
    session.info("application/dtmf", b"1", done=told.append)
    stage.run()
    [info] = stage.requests("INFO")
    assert invite.contact is not None
    to = NameAddr(invite.contact.uri)
    bye = build.request("BYE", to.uri, from_=info.to, to=info.from_, call_id=info.call_id, cseq=1)
    via = f"SIP/2.0/UDP {BOB[0]}:{BOB[1]};branch=z9hG4bKbye"
    stage.send(bye.with_headers(bye.headers.prepend("Via", via)))
    assert log.kinds == ["Answered", "Ended"]
    stage.puppet.take()
    stage.send(answer(info, 401, headers=CHALLENGE))
    assert stage.puppet.take() == []
    assert told == [481]
    stage.run(65)
    assert is_idle(stage.agent.core)
    assert stage.agent.core.counts["request not built"] == 0


def test_an_offer_that_waits_in_an_early_dialog_survives_the_next_try() -> None:
    """The INVITE is challenged after a 183; the offer goes out in the dialog that comes of it."""
    stage = Stage()
    session, log = call(stage.agent, credentials=Credentials("alice", "secret"))
    stage.run()
    [invite] = stage.requests("INVITE")
    stage.send(answer(invite, 183, tag="old"))
    number = session.offer(b"v=1")
    stage.send(answer(invite, 401, tag="old", headers=CHALLENGE))
    session.offer(b"v=2")
    [again] = stage.requests("INVITE")
    stage.send(answer(again, 200, tag="new", body=b"v=0"))
    [reinvite] = [one for one in stage.requests("INVITE") if one.to_tag == "new"]
    assert reinvite.body == b"v=1"
    stage.send(answer(reinvite, 200, body=b"v=9"))
    assert [event.exchange for event in log.of(OfferAnswered)] == [number]


def test_a_change_under_way_or_put_off_when_the_call_ends_is_told() -> None:
    """Our UPDATE without an answer, a re-INVITE after a 491, the peer's whose ACK is missing."""
    for state in ("update", "retry", "unacknowledged", "asked"):
        stage = Stage()
        caller, session, log = answered_call(stage)
        if state == "retry":
            session.offer(b"v=1")
            stage.run()
            stage.send(answer(stage.requests("INVITE")[0], 491))
        elif state == "unacknowledged":
            caller.next("INVITE", body=b"v=1")
            session.answer_offer(2, b"v=2")
            stage.run()
            stage.send(caller.make("ACK", cseq=1))
        elif state == "update":
            caller.next("UPDATE", body=b"v=1")
        else:
            caller.next("INVITE")
        stage.run()
        caller.next("BYE")
        assert log.kinds[-1] == "Ended"
        assert ("OfferAnswered" in log.kinds) == (state == "retry")
        stage.run(140.0)
        assert is_idle(stage.agent.core)


def test_an_early_update_under_way_when_the_call_is_refused_is_told() -> None:
    """481: the dialog is over."""
    stage, log, session, invite = stage_with_invite()
    allow = ("Allow", "INVITE, ACK, BYE, UPDATE, PRACK")
    stage.send(answer(invite, 183, body=b"v=0", headers=(("Require", "100rel"), ("RSeq", 1), allow)))
    number = session.offer(b"v=1")
    stage.run()
    stage.send(answer(stage.requests("PRACK")[0], 200))
    assert len(stage.requests("UPDATE")) == 1
    stage.send(answer(invite, 486))
    assert [(one.exchange, one.status) for one in log.of(OfferAnswered)] == [(number, 481)]


def test_a_multipart_update_without_description_only_refreshes() -> None:
    """What else is in it is not for us."""
    stage = Stage()
    caller, _, log = answered_call(stage)
    body = b"--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--\r\n"
    caller.next("UPDATE", body=body, kind="multipart/mixed;boundary=b")
    assert stage.puppet.statuses() == [200]
    assert log.kinds == ["Confirmed"]


def test_an_ack_again_is_nothing_new() -> None:
    """Of a re-INVITE's 2xx, and of the first."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    caller.next("INVITE", body=b"v=1")
    session.answer_offer(2, b"v=2")
    stage.run()
    for number in (2, 2, 1):
        stage.send(caller.make("ACK", cseq=number))
    assert log.kinds == ["Confirmed", "Offered"]
    stage.run(40.0)
    assert session.is_confirmed


class Large(Asked):
    """A request with a body that is too large for a datagram, or of another size."""

    def __init__(self, stage: Stage, target: Uri | Flow, size: int = 1300) -> None:
        super().__init__(stage, target, body=b"x" * size)

    def make(self, flow: Flow) -> Request:
        body, self.body = self.body, b""
        request = super().make(flow)
        self.body = body
        return build.request(
            "MESSAGE",
            request.uri,
            from_=request.from_,
            to=request.to,
            call_id=f"m{next(self.numbers)}",
            cseq=1,
            body=body,
            content_type="text/plain",
        )


def tcp_stage() -> Stage:
    return Stage(CoreConfig(large_by_tcp=True))


def sent_by(stage: Stage) -> list[str]:
    """The transports of the requests that came since the last look."""
    return [one.top_via.transport for one in stage.puppet.take() if isinstance(one, Request)]


def test_what_is_too_large_for_udp_goes_by_tcp() -> None:
    """RFC 3261 18.1.1; its answer is final, even one that sends elsewhere."""
    stage = tcp_stage()
    asked = Large(stage, TO_BOB)
    [request] = stage.requests("MESSAGE")
    assert request.top_via.transport == "TCP"
    stage.send(answer(request, 503))
    assert asked.statuses == [503]
    assert sent_by(stage) == []


def test_a_full_stack_is_503_for_what_is_too_large_for_udp_too() -> None:
    """Said at once, and the place is not given TCP and UDP in turn without end."""
    full = Stage(CoreConfig(large_by_tcp=True, stack=StackConfig(transactions=0)))
    assert Large(full, TO_BOB).statuses == [503]
    assert full.agent.core.counts["request not built"] == 1


@by_row(
    ("stage", "target", "size"),
    [
        (Stage(), TO_BOB, 1300),
        (tcp_stage(), TO_BOB, 300),
        (tcp_stage(), TO_BOB.with_param("transport", "udp"), 1300),
        (tcp_stage(), Flow("udp", *BOB), 1300),
    ],
)
def test_other_requests_go_by_udp(stage: Stage, target: Uri | Flow, size: int) -> None:
    """Where we do not listen on TCP, of a usual size, to who wants UDP, and back to who came by it."""
    Large(stage, target, size)
    assert sent_by(stage) == ["UDP"]


def test_where_nobody_takes_tcp_it_goes_by_udp() -> None:
    """At once where the connection is refused; others do not try again for ten minutes."""
    stage = tcp_stage()
    asked = Large(stage, TO_BOB)
    assert sent_by(stage) == ["TCP"]
    stage.agent.core.transport_failed(Flow("tcp", *BOB))
    stage.run()
    [request] = stage.requests("MESSAGE")
    assert request.top_via.transport == "UDP"
    stage.send(answer(request, 200))
    assert asked.statuses == [200]
    Large(stage, TO_BOB)
    assert set(sent_by(stage)) == {"UDP"}
    stage.run(601.0)
    sent_by(stage)
    Large(stage, TO_BOB)
    assert sent_by(stage) == ["TCP"]


def test_a_silent_tcp_server_is_asked_by_udp() -> None:
    """And where that is silent as well, it is a 408, once; what was given up is tried no further."""
    stage = tcp_stage()
    asked = Large(stage, TO_BOB)
    stage.run(70.0)
    assert asked.statuses == [408]
    assert set(sent_by(stage)) == {"TCP", "UDP"}
    given_up = tcp_stage()
    abandoned = Large(given_up, TO_BOB)
    abandoned.request.abandon()
    given_up.agent.core.transport_failed(Flow("tcp", *BOB))
    given_up.run()
    assert abandoned.statuses == [503]


def test_places_without_tcp_are_forgotten_when_there_are_too_many() -> None:
    """What is remembered is bounded."""
    core = tcp_stage().agent.core
    for number in range(3000):
        core.only_by_udp(Flow("udp", "192.0.2.9", number + 1))
    assert len(core._udp_only) <= 1024


def test_a_bye_to_another_contact_carries_no_credentials() -> None:
    """Another port of the server's host is somebody else until it asks; the place that challenged is signed to."""
    for port in (BOB[1], 5099):
        stage, _, session, invite = stage_with_invite(credentials=Credentials("alice", "secret"))
        challenge = (("Proxy-Authenticate", 'Digest realm="trunk", nonce="n1"'),)
        stage.send(answer(invite, 407, headers=challenge))
        [again] = stage.requests("INVITE")
        there = stage.puppet if port == BOB[1] else Puppet(stage.network, (BOB[0], port))
        stage.send(answer(again, 200, body=b"").with_header("Contact", f"<sip:x@{BOB[0]}:{port}>"))
        session.hangup()
        stage.run()
        ack, bye = (one for one in there.take() if isinstance(one, Request))
        assert (ack.method, bye.method) == ("ACK", "BYE")
        assert ["Proxy-Authorization" in one.headers for one in (ack, bye)] == [port == BOB[1]] * 2
        there.send(answer(bye, 407, headers=challenge), ALICE)
        stage.run()
        repeated = [one for one in there.take() if isinstance(one, Request) and one.method == "BYE"]
        assert ["Proxy-Authorization" in one.headers for one in repeated] == [True]


def test_what_was_challenged_by_tls_is_not_signed_in_the_clear() -> None:
    """Neither of itself nor when somebody there asks; nor after a restart. The oldest of many places is forgotten."""
    challenge = answer(stage_with_invite()[3], 407, headers=(("Proxy-Authenticate", 'Digest realm="t", nonce="n"'),))
    request = stage_with_invite()[3]
    tls, udp, other = Flow("tls", "192.0.2.2", 5061), Flow("udp", "192.0.2.2", 5070), Flow("tls", "192.0.2.9", 5061)
    signer = Authenticator(Credentials("alice", "secret"), iter("abcdefghijklm").__next__)
    signer.bind((tls,))
    for one in (signer, Authenticator.resumed(signer.values(), iter("nopqrstuvwxyz").__next__)):
        assert [one.challenged(challenge, flow) for flow in (udp, other, tls)] == [False, False, True]
        assert "Proxy-Authorization" in one.authorize(request, tls).headers
        assert "Proxy-Authorization" not in one.authorize(request, udp).headers
    for port in range(MAX_PLACES):
        assert signer.challenged(challenge, Flow("tls", "192.0.2.2", port + 1))
    assert "Proxy-Authorization" not in signer.authorize(request, tls).headers
