"""How calls end when something is lost: nothing stays behind, and nobody is left talking to nobody."""

from __future__ import annotations

import pytest

from gateway.sip.auth.account import Credentials
from gateway.sip.config import CoreConfig
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Answered, Ended, Failed, FlowLost, InfoReceived
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.transactions import Transaction
from gateway.testing.network import Weather
from gateway.testing.sip_peer import Puppet, SessionLog
from tests.rows import by_row
from tests.sip.agents import (
    ALICE,
    ANSWER,
    BOB,
    OFFER,
    Pair,
    PuppetCall,
    Stage,
    answer,
    answered_call,
    call,
    is_idle,
    stage_with_invite,
    tried_again,
)

CHALLENGE = (("Proxy-Authenticate", 'Digest realm="trunk", nonce="n1"'),)
CONNECTION = Flow("tcp", *BOB, "here")


def methods(stage: Stage) -> list[str]:
    """The methods of the requests that the puppet has; takes everything."""
    return [one.method for one in stage.puppet.take() if isinstance(one, Request)]


def calling_stage(**how: object) -> tuple[Stage, Request]:
    """Our agent has called the puppet over a connection."""
    stage = Stage(transport="tcp")
    call(stage.agent, **how)  # type: ignore[arg-type]
    stage.run()
    [invite] = stage.requests("INVITE")
    return stage, invite


# ---- the calling side


def test_a_phone_that_rings_and_vanishes_costs_no_transaction_for_ever() -> None:
    """64*T1 after the CANCEL the session is over, another 64*T1 later nothing is left (9.1)."""
    stage, log, session, invite = stage_with_invite()
    stage.send(answer(invite, 180))
    session.hangup()
    stage.run(32.5)
    assert log.events[-1] == Ended("local")
    stage.run(32.5)
    assert is_idle(stage.agent.core)
    assert stage.agent.core.deadline() is None


def test_a_connection_lost_while_it_rings_ends_that_branch() -> None:
    """The browser's tab was closed."""
    stage, invite = calling_stage()
    [session] = stage.agent.core.sessions
    seen: list[object] = []
    session.listen(seen.append)
    stage.send(answer(invite, 180))
    stage.agent.core.transport_failed(CONNECTION)
    [_, failed] = seen
    assert isinstance(failed, Failed)
    assert failed.status == 503
    assert is_idle(stage.agent.core)


@pytest.mark.parametrize("final", [487, None])
def test_a_2xx_after_giving_up_gets_ack_and_bye(final: int | None) -> None:
    """Whoever picked up at the last moment does not talk to nobody."""
    stage, log, session, invite = stage_with_invite()
    stage.send(answer(invite, 180))
    session.hangup()
    stage.run()
    if final is not None:
        stage.send(answer(invite, final))
    else:
        stage.run(33.0)
    assert log.events[-1] == Ended("local")
    stage.puppet.take()
    for _ in range(2):
        stage.send(answer(invite, 200, tag="late", body=ANSWER))
    assert methods(stage) == ["ACK", "BYE", "ACK"]


@by_row("final", [487, 200, None])
def test_who_rings_after_we_have_given_up_is_sent_one_cancel(final: int | None) -> None:
    """Nobody waits there any more: the phone stops ringing, whatever becomes of the CANCEL, and nothing is left."""
    stage, log, _, invite = stage_with_invite()
    stage.run(33.0)
    assert log.kinds == ["Failed"]
    stage.puppet.take()
    stage.send(answer(invite, 180))
    [cancel] = stage.requests("CANCEL")
    assert cancel.top_via.branch == invite.top_via.branch
    stage.send(answer(cancel, 200))
    stage.send(answer(invite, 180))
    stage.send(answer(invite, 183, tag="other"))
    assert methods(stage) == []
    for _ in range(2 if final is not None else 0):
        stage.send(answer(invite, final or 0))
    assert methods(stage) == {487: ["ACK", "ACK"], 200: ["ACK", "BYE", "ACK"], None: []}[final]
    assert log.kinds == ["Failed"]
    stage.run(70.0)
    assert is_idle(stage.agent.core)
    assert stage.agent.core.deadline() is None


def test_who_rings_on_after_a_cancel_that_it_never_heard_is_sent_one_more() -> None:
    """Its network was away for as long as the CANCEL was said; the 1xx says that it is back (RFC 3261 13.3.1.1)."""
    stage, log, session, invite = stage_with_invite()
    stage.send(answer(invite, 180))
    session.hangup()
    stage.run(33.0)
    assert log.events[-1] == Ended("local")
    stage.puppet.take()
    for _ in range(2):
        stage.send(answer(invite, 180))
    [cancel] = stage.requests("CANCEL")
    stage.send(answer(cancel, 200))
    stage.send(answer(invite, 487))
    assert methods(stage) == ["ACK"]
    stage.run(70.0)
    assert is_idle(stage.agent.core)


def test_a_server_that_rings_once_the_next_is_asked_is_cancelled_alone() -> None:
    """One call does not ring in two places, and who has it hears nothing of the other."""
    stage = Stage()
    second = Puppet(stage.network, ("192.0.2.3", 5060))
    stage.agent.names["pbx.example"] = (Flow("udp", *BOB), Flow("udp", "192.0.2.3", 5060))
    _, log = call(stage.agent, host="pbx.example")
    stage.run(33.0)
    first = stage.requests("INVITE")[0]
    again = next(one for one in second.take() if isinstance(one, Request))
    stage.send(answer(first, 180))
    [cancel] = stage.requests("CANCEL")
    assert cancel.top_via.branch == first.top_via.branch
    stage.send(answer(cancel, 200))
    stage.send(answer(first, 487))
    assert methods(stage) == ["ACK"]
    contact = NameAddr(Uri.of("second", "192.0.2.3", 5060))
    second.send(answer(again, 180, tag="second", contact=contact), ALICE)
    second.send(answer(again, 200, tag="second", body=ANSWER, contact=contact), ALICE)
    stage.run()
    assert [one.method for one in second.take() if isinstance(one, Request)] == ["ACK"]
    assert log.kinds == ["Provisional", "Answered"]


def test_the_bye_to_who_answered_too_late_goes_by_a_new_connection_where_its_own_breaks() -> None:
    """Nothing rang before, so the session has no dialog but the one that it ends."""
    stage, invite = calling_stage()
    [session] = stage.agent.core.sessions
    log = SessionLog(session)
    stage.send(answer(invite, 100))
    session.hangup()
    stage.run()
    stage.run(33.0)
    contact = NameAddr(Uri.of("puppet", *BOB).with_param("transport", "tcp"))
    stage.send(answer(invite, 200, tag="late", body=ANSWER, contact=contact))
    [bye] = stage.requests("BYE")
    stage.agent.core.transport_failed(CONNECTION)
    stage.run()
    [again] = stage.requests("BYE")
    assert again.cseq.number > bye.cseq.number
    stage.send(answer(again, 200))
    assert log.events == [Ended("local")]
    stage.run(65)
    assert is_idle(stage.agent.core)


def test_an_early_dialog_that_was_given_up_and_answers_gets_ack_and_bye() -> None:
    """Its PRACK had taken a number, and its BYE takes the next."""
    stage, _, session, invite = stage_with_invite()
    stage.send(answer(invite, 183, headers=(("Require", "100rel"), ("RSeq", 1))))
    session.hangup()
    stage.run()
    stage.send(answer(invite, 487, tag="other"))
    stage.puppet.take()
    stage.send(answer(invite, 200, body=ANSWER))
    requests = [one for one in stage.puppet.take() if isinstance(one, Request)]
    assert [(one.method, one.cseq.number) for one in requests if one.method != "PRACK"] == [("ACK", 1), ("BYE", 3)]


def test_a_2xx_of_the_try_before_gets_ack_with_its_own_number() -> None:
    """The server that answered 503 forks to one that did not hear of it."""
    stage, second, log, first, again = tried_again()
    stage.puppet.take()
    stage.send(answer(first, 200, body=ANSWER))
    late = [one for one in stage.puppet.take() if isinstance(one, Request)]
    assert [(one.method, one.cseq.number) for one in late] == [("ACK", 1), ("BYE", 3)]
    second.send(answer(again, 200, tag="second", body=ANSWER), ALICE)
    stage.run()
    assert log.events == [Answered(ANSWER, 1)]


def test_a_challenged_try_leaves_no_early_dialog_and_no_1xx_behind() -> None:
    """The CANCEL waits for a 1xx of the INVITE that is under way, and its dialogs are the only ones."""
    stage, _, session, invite = stage_with_invite(credentials=Credentials("alice", "secret"))
    stage.send(answer(invite, 183, tag="first"))
    stage.send(answer(invite, 407, headers=CHALLENGE))
    [again] = stage.requests("INVITE")
    session.hangup()
    stage.run()
    assert stage.requests("CANCEL") == []
    stage.send(answer(again, 180, tag="second"))
    assert len(stage.requests("CANCEL")) == 1
    stage.send(answer(again, 487, tag="second"))
    stage.run(70.0)
    assert is_idle(stage.agent.core)


@pytest.mark.parametrize("heard", [False, True])
def test_a_cancelled_call_that_is_answered_422_is_over(heard: bool) -> None:
    """Nothing is sent again, and the session does not stay for ever."""
    stage, log, session, invite = stage_with_invite()
    if heard:
        stage.send(answer(invite, 180))
    session.hangup()
    stage.send(answer(invite, 422, headers=(("Min-SE", "3600"),)))
    assert log.events[-1] == Ended("local")
    assert stage.agent.core.sessions == set()


def test_a_name_found_after_the_hangup_is_not_called() -> None:
    """An abandoned request always ends its session."""
    stage = Stage()
    found: list[object] = []
    stage.agent.resolve = lambda uri, done: found.append(done)  # type: ignore[method-assign]
    session, log = call(stage.agent, host="slow.example")
    session.hangup()
    found[0]((Flow("udp", *BOB),))  # type: ignore[operator]
    stage.run()
    assert (log.events, stage.puppet.take(), is_idle(stage.agent.core)) == ([Ended("local")], [], True)


def test_the_ack_to_another_contact_carries_no_credentials() -> None:
    """The callee behind the trunk could guess the password from them."""
    stage, _, _, invite = stage_with_invite(credentials=Credentials("alice", "secret"))
    stranger = Puppet(stage.network, ("198.51.100.9", 5060))
    stage.send(answer(invite, 407, headers=CHALLENGE))
    [again] = stage.requests("INVITE")
    assert "Proxy-Authorization" in again.headers
    stage.send(answer(again, 200, body=ANSWER).with_header("Contact", "<sip:x@198.51.100.9:5060>"))
    [ack] = [one for one in stranger.take() if isinstance(one, Request)]
    assert (ack.method, "Proxy-Authorization" in ack.headers) == ("ACK", False)


def test_a_bye_of_one_early_branch_leaves_the_others() -> None:
    """RFC 3261 15: it ends that dialog only."""
    stage, log, session, invite = stage_with_invite()
    for tag in ("one", "two"):
        stage.send(answer(invite, 180, tag=tag))
    stage.puppet.take()
    bye = build.request(
        "BYE",
        Uri.of("alice", *ALICE),
        from_=invite.to.with_tag("one"),
        to=invite.from_,
        call_id=invite.call_id,
        cseq=1,
    )
    stage.send(bye.with_headers(bye.headers.prepend("Via", "SIP/2.0/UDP 192.0.2.2:5060;rport;branch=z9hG4bKbye")))
    assert stage.puppet.statuses() == [200]
    stage.send(answer(invite, 200, tag="two", body=ANSWER))
    assert log.kinds == ["Provisional", "Provisional", "Answered"]
    assert session.is_confirmed


def test_too_many_branches_make_no_more_dialogs() -> None:
    """They are counted, the call goes on, and whoever of them answers has it, or is told that another one has."""
    for first, second in (("t0", "t67"), ("t67", "t66")):
        stage, log, _, invite = stage_with_invite()
        for number in range(68):
            stage.send(answer(invite, 180, tag=f"t{number}"))
        assert stage.agent.core.counts["1xx that makes no dialog"] == 4
        stage.puppet.take()
        stage.send(answer(invite, 200, tag=first, body=ANSWER))
        assert log.kinds[-1] == "Answered"
        assert [one.method for one in stage.puppet.take() if isinstance(one, Request)] == ["ACK"]
        stage.send(answer(invite, 200, tag=second, body=ANSWER))
        assert [one.method for one in stage.puppet.take() if isinstance(one, Request)] == ["ACK", "BYE"]


def test_a_late_2xx_without_contact_is_acknowledged_and_ended() -> None:
    """The phone that sent it would talk to nobody; one without a description is counted."""
    stage, log, session, invite = stage_with_invite()
    stage.send(answer(invite, 200))
    assert stage.agent.core.counts["2xx without a description"] == 1
    session.hangup()
    stage.run()
    stage.puppet.take()
    bare = answer(invite, 200, tag="bare", body=ANSWER)
    stage.send(bare.with_headers(bare.headers.without("Contact")))
    assert [one.method for one in stage.puppet.take() if isinstance(one, Request)] == ["ACK", "BYE"]
    assert log.events == [Answered(b"", 1), Ended("local")]


def test_a_reliable_1xx_before_our_prack_is_acknowledged_only_in_order() -> None:
    """And a description that comes out of place is counted, not told."""
    stage, log, _, invite = stage_with_invite(body=b"")
    reliable = (("Require", "100rel"), ("RSeq", 1))
    stage.send(answer(invite, 183, body=OFFER, headers=reliable))
    stage.send(answer(invite, 183, body=ANSWER, headers=(("Require", "100rel"), ("RSeq", 2))))
    assert stage.agent.core.counts["description out of place"] == 1
    assert log.kinds == ["Provisional", "Provisional"]


# ---- the called side and the dialog


def test_a_caller_whose_connection_closed_gets_its_bye_at_its_contact() -> None:
    """PBXs close idle connections; FlowLost is told once, and the call goes on."""
    stage = Stage(transport="tcp")
    _, session, log = answered_call(stage)
    stage.agent.core.transport_failed(CONNECTION)
    assert log.events[1:] == [FlowLost()]
    sent: list[Flow] = []
    send_request = stage.agent.core.stack.send_request

    def spied(request: Request, flow: Flow, now: float) -> Transaction:
        sent.append(flow)
        return send_request(request, flow, now)

    stage.agent.core.stack.send_request = spied  # type: ignore[method-assign]
    session.hangup()
    stage.run()
    assert methods(stage) == ["BYE"]
    assert sent == [Flow("tcp", *BOB)]
    stage.agent.core.transport_failed(CONNECTION)
    assert log.kinds == ["Confirmed", "FlowLost", "Ended"]


def test_a_bye_that_the_connection_cannot_carry_tries_the_contact() -> None:
    """The connection is found dead only when it is used."""
    stage = Stage(transport="tcp")
    _, session, _ = answered_call(stage)
    stage.network.drop = lambda source, destination, data: data.startswith(b"BYE")
    session.hangup()
    stage.network.flush()
    stage.network.drop = None
    stage.agent.core.transport_failed(CONNECTION)
    stage.run()
    assert methods(stage) == ["BYE"]


def test_200_to_cancel_and_487_carry_the_same_to_tag() -> None:
    """RFC 3261 9.2, before the application answered and while it still is asked."""
    for verdict in (True, False):
        stage = Stage()
        if not verdict:
            stage.agent.verdict = lambda request, source: None
        caller = PuppetCall(stage)
        stage.send(build.cancel(caller.invite))
        finals = [one for one in stage.puppet.take() if isinstance(one, Response) and one.status >= 200]
        assert {one.status for one in finals} == {200, 487}
        assert len({one.to_tag for one in finals}) == 1


def test_a_cancel_with_a_malformed_reason_still_cancels() -> None:
    """Nobody can refuse it."""
    stage = Stage()
    caller = PuppetCall(stage)
    stage.send(build.cancel(caller.invite).with_header("Reason", ";;;"))
    assert stage.agent.calls[0].events == [Ended("remote")]


def test_a_bye_with_malformed_headers_still_ends_the_call() -> None:
    """Its sender is gone."""
    stage = Stage()
    caller, _, log = answered_call(stage)
    caller.next("BYE", headers=(("Require", "@"), ("Reason", ";;;")))
    assert stage.puppet.statuses() == [200]
    assert log.events[-1] == Ended("remote")


def test_a_reason_of_another_protocol_gives_its_words_only() -> None:
    """RFC 3326: SIP and Q.850 have causes that we know."""
    stage = Stage()
    caller, _, log = answered_call(stage)
    caller.next("BYE", headers=(("Reason", 'X-Queue;cause=3;text="moved on"'),))
    assert log.events[-1] == Ended("remote", None, None, "moved on")


def test_refusals_in_a_dialog_say_what_would_be_taken() -> None:
    """405 with Allow, 415 with Accept, 469 with Recv-Info (RFC 6086 4.2.2)."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    caller.next("MESSAGE", body=b"hi", kind="text/plain")
    caller.next("INVITE", body=b"x", kind="application/x-y")
    caller.next("INFO", body=b"x", kind="text/plain", headers=(("Info-Package", "conference"),))
    refused = [one for one in stage.puppet.take() if isinstance(one, Response) and one.status >= 300]
    said = [(one.status, name) for one in refused for name in ("Allow", "Accept", "Recv-Info") if name in one.headers]
    assert said == [(405, "Allow"), (415, "Accept"), (469, "Recv-Info")]
    assert log.kinds == ["Confirmed"]
    assert session.is_confirmed


def test_trickle_candidates_in_info_are_delivered_with_their_package() -> None:
    """RFC 8840."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    kind = "application/trickle-ice-sdpfrag"
    caller.next("INFO", body=b"a=x\r\n", kind=kind, headers=(("Info-Package", "Trickle-ICE;v=1"),))
    caller.next("INFO")
    assert stage.puppet.statuses() == [200, 200]
    assert log.events[1:] == [InfoReceived(kind, b"a=x\r\n", "trickle-ice")]
    statuses: list[int] = []
    session.info(kind, b"a=y\r\n", package="trickle-ice", done=statuses.append)
    stage.run()
    [info] = stage.requests("INFO")
    assert info.headers.get("Info-Package") == "trickle-ice"
    stage.send(answer(info, 200))
    caller.next("BYE")
    session.info(kind, b"", done=statuses.append)
    assert statuses == [200, 481]


@pytest.mark.parametrize("supported", ["100rel, Trickle-ICE", "100rel"])
def test_who_trickles_candidates_hears_before_the_answer_that_it_may(supported: str) -> None:
    """Supported and Recv-Info in every 1xx (RFC 8840 section 4.3.1); others are spared it."""
    stage = Stage()
    stage.agent.on_call = lambda session, log: session.ring(183, body=ANSWER)  # type: ignore[attr-defined]
    PuppetCall(stage, headers=(("Supported", supported),))
    stage.run()
    [ringing] = [one for one in stage.puppet.take() if isinstance(one, Response) and one.status == 183]
    trickles = "Trickle" in supported
    assert ("trickle-ice" in ringing.supported) is trickles
    assert ("trickle-ice" in ringing.recv_info) is trickles


def test_an_agent_that_takes_no_trickled_candidates_says_so() -> None:
    """469 with what it takes (RFC 6086 section 4.2.2), and 420 to who insists."""
    stage = Stage(CoreConfig().without("trickle-ice"))
    caller, _, log = answered_call(stage)
    caller.next("INFO", body=b"a=x\r\n", kind="application/x", headers=(("Info-Package", "trickle-ice"),))
    [refused] = [one for one in stage.puppet.take() if isinstance(one, Response)]
    assert (refused.status, refused.recv_info) == (469, ("infodtmf",))
    assert log.kinds == ["Confirmed"]
    PuppetCall(stage, headers=(("Require", "trickle-ice"),), call_id="c2")
    assert stage.puppet.statuses()[-1] == 420


def test_no_more_infos_wait_for_an_answer_than_the_limit_and_none_for_ever() -> None:
    """What is beyond it is to be tried again later; what nobody answers is 500 in the end, what is over 481."""
    stage = Stage()
    caller, session, _ = answered_call(stage)
    session.listen(lambda _: None)
    for _ in range(18):
        caller.next("INFO", body=b"1", kind="application/dtmf")
    refused = stage.puppet.take()
    assert [one.status for one in refused if isinstance(one, Response)] == [500, 500]
    assert refused[0].headers.get("Retry-After") == "1"
    session.answer_info(1, 200)
    session.answer_info(1, 488)
    stage.run()
    assert stage.puppet.statuses() == [200]
    stage.run(31)
    assert stage.puppet.statuses() == [500] * 15
    caller.next("INFO", body=b"1", kind="application/dtmf")
    caller.next("BYE")
    assert stage.puppet.statuses() == [200, 481]


def test_infos_of_ours_go_out_one_after_the_other() -> None:
    """Two at once could overtake each other; one whose type is not taken is said in the other way in its place."""
    stage = Stage()
    caller, session, _ = answered_call(stage)
    statuses: list[int] = []
    session.info("application/dtmf-relay", b"1", done=statuses.append, instead=("application/dtmf", b"1"))
    session.info("application/dtmf-relay", b"2", done=statuses.append)
    stage.run()
    [info] = stage.requests("INFO")
    stage.send(answer(info, 415))
    stage.run()
    [info] = stage.requests("INFO")
    assert (info.body, str(info.content_type)) == (b"1", "application/dtmf")
    stage.send(answer(info, 200))
    stage.run()
    [info] = stage.requests("INFO")
    assert info.body == b"2"
    assert statuses == [200]
    for _ in range(70):
        session.info("application/dtmf", b"3", done=statuses.append)
    assert statuses == [200, *[503] * 6]
    caller.next("BYE")
    assert statuses[7:] == [481] * 65


def test_an_info_that_nobody_knows_ends_the_call() -> None:
    """RFC 3261 12.2.1.2."""
    stage = Stage()
    _, session, log = answered_call(stage)
    session.info("application/dtmf", b"1")
    stage.run()
    stage.send(answer(stage.requests("INFO")[0], 481))
    assert log.kinds[-1] == "Ended"


@by_row("header", ["Request-URI", "Contact", "Record-Route"])
def test_a_call_by_sips_gets_a_sips_contact(header: str) -> None:
    """RFC 5630."""
    stage = Stage(transport="tls")
    stage.agent.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
    caller = PuppetCall(stage)
    invite = caller.make("INVITE", body=OFFER, call_id="secure")
    if header == "Request-URI":
        invite = invite.with_uri(Uri.parse("sips:alice@192.0.2.1"))
    else:
        invite = invite.with_header(header, "<sips:puppet@192.0.2.2;lr>")
    stage.puppet.take()
    stage.send(invite)
    ok = next(one for one in stage.puppet.take() if isinstance(one, Response) and one.status == 200)
    assert ok.contact is not None
    assert ok.contact.uri.scheme == "sips"
    assert stage.agent.core.contact(Flow("tls", *BOB), "a").uri.scheme == "sip"


def test_a_call_of_ours_to_a_sips_uri_has_a_sips_contact_whenever_it_is_sent() -> None:
    """RFC 5630 4.2: in the first INVITE, and in the one that answers a challenge."""
    stage = Stage(transport="tls")
    call(stage.agent, secure=True, credentials=Credentials("alice", "secret"))
    stage.run()
    [first] = stage.requests("INVITE")
    stage.puppet.send(answer(first, 401, headers=(("WWW-Authenticate", 'Digest realm="x", nonce="n"'),)), ALICE)
    stage.run()
    [again] = stage.requests("INVITE")
    assert again.authorization
    for invite in (first, again):
        assert invite.uri.scheme == "sips"
        assert invite.contact is not None
        assert invite.contact.uri.scheme == "sips"


def test_more_reliable_responses_than_anybody_waits_for() -> None:
    """The description is not the one that is left out."""
    stage = Stage()
    caller = PuppetCall(stage, headers=(("Require", "100rel"),))
    session = stage.agent.calls[0].session
    assert isinstance(session, IncomingSession)
    for _ in range(12):
        session.ring(180)
    session.ring(183, body=ANSWER)
    got: list[bytes] = []
    for _ in range(12):
        stage.run()
        for one in stage.puppet.take():
            if isinstance(one, Response) and one.rseq is not None and one.cseq.method == "INVITE":
                got.append(one.body)
                caller.remote = one.to
                caller.next("PRACK", headers=(("RAck", f"{one.rseq} 1 INVITE"),))
    assert got.count(ANSWER) == 1
    assert len(got) == 9


def test_a_call_that_ended_while_its_200_waited_for_prack_stays_ended() -> None:
    """The caller gave up; the answer that waited goes nowhere."""
    stage = Stage()
    caller = PuppetCall(stage, headers=(("Require", "100rel"),))
    session = stage.agent.calls[0].session
    assert isinstance(session, IncomingSession)
    session.ring(183, body=ANSWER)
    assert session.answer(ANSWER) is None
    assert session.answer(ANSWER) is None
    stage.send(build.cancel(caller.invite))
    stage.run(1.0)
    assert 200 not in {one.status for one in stage.puppet.take() if isinstance(one, Response) and one.body}
    assert session.is_over


def test_a_request_in_a_call_that_is_over_is_481_but_bye_is_200() -> None:
    """While our own BYE waits for its answer (RFC 3261 15.1.2)."""
    stage = Stage()
    caller, session, _ = answered_call(stage)
    session.hangup()
    stage.run()
    stage.puppet.take()
    caller.next("INFO")
    caller.next("PRACK", headers=(("RAck", "1 1 INVITE"),))
    caller.next("BYE")
    assert stage.puppet.statuses() == [481, 481, 200]


def test_a_reinvite_that_rings_when_the_peer_hangs_up_is_cancelled() -> None:
    """Whoever said BYE need not answer it any more, and its transaction must not wait for ever."""
    for heard in (True, False):
        stage = Stage()
        caller, session, _ = answered_call(stage)
        session.offer(OFFER + b"a=x\r\n")
        stage.run()
        [reinvite] = stage.requests("INVITE")
        if heard:
            stage.send(answer(reinvite, 100))
        caller.next("BYE")
        if not heard:
            stage.send(answer(reinvite, 100))
        assert "CANCEL" in methods(stage)
        stage.send(answer(reinvite, 200, body=ANSWER))
        stage.send(answer(reinvite, 200, body=ANSWER))
        assert methods(stage) == ["ACK", "ACK"]
        stage.run(140.0)
        assert is_idle(stage.agent.core)


def test_what_an_application_asks_too_early_or_too_late_does_nothing() -> None:
    """Before the first 1xx there is no dialog."""
    stage, log, session, invite = stage_with_invite()
    session.offer(OFFER)
    session.answer_offer(2, ANSWER)
    session.refuse_offer(2)
    session.refuse_offer(1)
    session.answer_offer(1, ANSWER)
    stage.send(answer(invite, 486))
    assert log.kinds == ["Failed"]
    assert stage.requests("UPDATE") == []


def test_a_prack_to_a_caller_is_481() -> None:
    """Only a callee sends what it acknowledges."""
    stage, log, _, invite = stage_with_invite()
    stage.send(answer(invite, 200, body=ANSWER))
    caller = PuppetCall.__new__(PuppetCall)
    caller.stage, caller.call_id, caller.cseq, caller.branches = stage, invite.call_id, 1, 0
    caller.local, caller.remote, caller.contact = invite.to.with_tag("puppet"), invite.from_, Uri.of("puppet", *BOB)
    stage.puppet.take()
    stage.send(caller.make("PRACK", headers=(("RAck", "1 1 INVITE"),)))
    assert stage.puppet.statuses() == [481]
    assert log.kinds == ["Answered"]


def test_requests_that_belong_to_no_dialog_are_counted() -> None:
    """A stray ACK, a stray 2xx, a response that is none."""
    pair = Pair(Weather())
    pair.bob.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
    session, _ = call(pair.alice)
    pair.run(1.0)
    session.hangup()
    pair.run(200.0)
    stage = Stage()
    caller = PuppetCall(stage)
    stage.send(caller.make("ACK", remote=caller.remote.with_tag("nobody")))
    stage.send(answer(caller.make("INVITE"), 200))
    counts = stage.agent.core.counts
    assert (counts["stray ACK"], counts["stray 2xx"]) == (1, 1)
    assert is_idle(pair.alice.core)


def test_a_session_keeps_no_more_events_than_its_limit() -> None:
    """But always its last one."""
    stage = Stage(CoreConfig())
    caller, session, _ = answered_call(stage)
    session._handler = None
    for _ in range(70):
        session.emit(FlowLost())
    caller.next("BYE")
    seen: list[object] = []
    session.listen(seen.append)
    assert len(seen) == 64
    assert seen[-1] == Ended("remote")


def test_a_callee_that_wants_a_longer_interval_each_time_is_asked_twice() -> None:
    """422 says how long the session interval has to be at least (RFC 4028 section 7.3), once."""
    stage, log, _, invite = stage_with_invite()
    for number in range(4):
        stage.send(answer(invite, 422, headers=(("Min-SE", 7200 + number),)))
        again = stage.requests("INVITE")
        if not again:
            break
        [invite] = again
    assert number == 1
    assert [one.status for one in log.of(Failed)] == [422]


def rings(transport: str = "tcp") -> tuple[Stage, PuppetCall, SessionLog, Flow]:
    """The puppet has called by a connection, which breaks while it rings."""
    stage = Stage(transport=transport)
    caller = PuppetCall(stage)
    [log] = stage.agent.calls
    assert isinstance(log.session, IncomingSession)
    log.session.ring()
    stage.run()
    stage.puppet.take()
    broken = Flow(transport, *BOB, "here")
    stage.agent.core.transport_failed(broken)
    return stage, caller, log, broken


def test_a_caller_whose_connection_breaks_while_it_rings_hears_the_end_by_a_new_one() -> None:
    """It is made to where the caller spoke from (RFC 3261 18.2.2), and hears at once what was said last."""
    stage, _, log, _ = rings()
    flows = [(data[:11], flow.local) for data, flow in stage.agent.core.datagrams()]
    assert flows == [(b"SIP/2.0 180", "")]
    log.session.reject(486)  # type: ignore[attr-defined]
    assert [(data[:11], flow.local) for data, flow in stage.agent.core.datagrams()] == [(b"SIP/2.0 486", "")]


def test_a_caller_that_cannot_be_connected_to_has_given_up() -> None:
    """Nobody rings on for it."""
    stage, _, log, _ = rings()
    stage.agent.core.transport_failed(Flow("tcp", *BOB))
    assert log.events[-1] == Ended("timeout", 480, text="Connection lost")
    stage.run(65)
    assert is_idle(stage.agent.core)


def test_a_caller_by_websocket_whose_connection_breaks_has_given_up() -> None:
    """Nobody can connect to a browser."""
    _, _, log, _ = rings("ws")
    assert log.events[-1] == Ended("timeout", 480, text="Connection lost")


def test_a_connection_that_breaks_before_anything_was_said_is_made_anew_for_what_is() -> None:
    """Whoever was not let in yet has no connection made to it."""
    stage = Stage(transport="tcp")
    stage.agent.on_call = lambda session, log: None
    PuppetCall(stage)
    [log] = stage.agent.calls
    stage.agent.core.transport_failed(CONNECTION)
    assert stage.agent.core.datagrams() == []
    log.session.ring()  # type: ignore[attr-defined]
    stage.agent.core.datagrams()
    stage.agent.core.transport_failed(CONNECTION)
    assert [(data[:11], flow.local) for data, flow in stage.agent.core.datagrams()] == [(b"SIP/2.0 180", "")]
    assert not log.session.is_over


def test_a_cancel_by_the_next_connection_of_the_same_phone_ends_the_ringing() -> None:
    """That of another host does not, whatever it knows, nor over UDP that to another socket of ours."""
    stage, caller, log, _ = rings()
    cancel = build.cancel(caller.invite).write()
    for source in (Flow("tcp", "198.51.100.9", BOB[1], "a stranger"), Flow("udp", *BOB, "another")):
        stage.agent.core.receive(cancel, source)
    assert not log.session.is_over
    stage.agent.core.receive(cancel, Flow("tcp", BOB[0], 40000, "the next one"))
    assert log.session.is_over
