"""What a process that died has left: each end that it may come to in the next one, and values of all kinds."""

from __future__ import annotations

from typing import cast

import pytest

from gateway.sip.auth.account import Credentials
from gateway.sip.config import CoreConfig
from gateway.sip.dialogs.values import CSEQ_JUMP, dialog_of, is_by_websocket, values_of
from gateway.sip.errors import SipSyntaxError
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Confirmed, Ended, OfferAnswered
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.resumed import MOST_FORKS, ResumedSession, session_asked
from gateway.sip.invite.states import SessionState
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.transactions.config import StackConfig
from gateway.sip.transactions.layer import StackFullError
from gateway.sip.transactions.via import same_way
from gateway.testing.sip_peer import AgentNode, Puppet, SessionLog
from gateway.testing.walk import SETTLED
from tests.sip.agents import ALICE, ANSWER, BOB, HELD, Pair, PuppetCall, Stage, answer, call, is_idle
from tests.sip.resumption import REASON, Kept, answered, farewell, holding, killed, talking

THERE = Flow("udp", *BOB)
THIEF = ("198.51.100.9", 5060)


def left_ringing(told: list[str] | None = None) -> tuple[Stage, AgentNode, Kept]:
    """Our INVITE has been cancelled-to-be by the next process; the puppet has it again."""
    stage = Stage()
    session, _ = call(stage.agent)
    kept = Kept(session)
    stage.run()
    stage.puppet.take()
    node = stage.agent = killed(stage)
    node.core.end_left(kept.values, 503, REASON, farewell(told))
    stage.run()
    return stage, node, kept


def test_an_answer_that_comes_all_the_same_is_acknowledged_and_hung_up() -> None:
    """It crossed the CANCEL; where it comes again, the same ACK goes again and no second BYE."""
    stage, _, _ = left_ringing()
    [invite] = stage.requests("INVITE")
    stage.send(answer(invite, 180))
    stage.send(answer(invite, 180))
    assert len(stage.requests("CANCEL")) == 1
    stage.send(answer(invite, 200, body=ANSWER))
    sent = stage.puppet.take()
    assert [getattr(one, "method", None) for one in sent] == ["ACK", "BYE"]
    stage.send(answer(invite, 200, body=ANSWER))
    assert len(stage.requests("ACK")) == 1


def test_who_has_answered_meanwhile_is_hung_up_without_a_cancel() -> None:
    """No 1xx comes before its 200: nothing rings that could be cancelled."""
    stage, _, _ = left_ringing()
    [invite] = stage.requests("INVITE")
    stage.send(answer(invite, 200, body=ANSWER))
    assert [getattr(one, "method", None) for one in stage.puppet.take()] == ["ACK", "BYE"]


@pytest.mark.parametrize("crosses", [False, True])
def test_a_bye_that_nobody_has_answered_is_said_again(crosses: bool) -> None:
    """Of a call that was up, or of one whose 200 crossed our CANCEL; once it is answered nothing is left to say."""
    stage = Stage()
    session, log = call(stage.agent)
    stage.run()
    [invite] = stage.requests("INVITE")
    stage.send(answer(invite, 180))
    if crosses:
        session.hangup()
        stage.run()
    stage.send(answer(invite, 200, body=ANSWER))
    if not crosses:
        session.hangup()
        stage.run()
    [bye] = stage.requests("BYE")
    assert isinstance(log.events[-1], Ended)
    kept = session.values()
    assert kept is not None
    node = killed(stage)
    node.core.end_left(kept, 503, REASON, farewell())
    stage.run()
    [again] = stage.requests("BYE")
    assert (again.call_id, again.to_tag) == (bye.call_id, bye.to_tag)
    assert again.cseq.number > bye.cseq.number
    stage.send(answer(again, 200))
    stage.run(2 * SETTLED)
    assert is_idle(node.core)


def test_a_bye_that_was_answered_leaves_no_values() -> None:
    """The next process has nothing to say."""
    stage = Stage()
    session, _ = call(stage.agent)
    stage.run()
    [invite] = stage.requests("INVITE")
    stage.send(answer(invite, 200, body=ANSWER))
    session.hangup()
    stage.run()
    [bye] = stage.requests("BYE")
    stage.send(answer(bye, 200))
    assert session.values() is None


def test_an_answer_from_nowhere_is_ended_by_the_flow() -> None:
    """Its Contact cannot be reached: ACK and BYE go where the INVITE went."""
    told = list[str]()
    stage, node, _ = left_ringing(told)
    [invite] = stage.requests("INVITE")
    nowhere = NameAddr(Uri.parse("sip:puppet@nowhere.example"))
    stage.send(answer(invite, 200, body=ANSWER, contact=nowhere))
    _, bye = sent = stage.puppet.take()
    assert [getattr(one, "method", None) for one in sent] == ["ACK", "BYE"]
    stage.send(answer(cast(Request, bye), 200))
    assert told[-1] == "answered"
    stage.run(2 * SETTLED)
    assert is_idle(node.core)


def test_an_answer_without_contact_is_ended_by_the_flow() -> None:
    """ACK and BYE go where the INVITE went, the ACK once more for a repeated answer."""
    told = list[str]()
    stage, node, _ = left_ringing(told)
    [invite] = stage.requests("INVITE")
    bare = answer(invite, 200, body=ANSWER)
    for _ in range(2):
        stage.send(bare.with_headers(bare.headers.without("Contact")))
    sent = stage.puppet.take()
    assert [getattr(one, "method", None) for one in sent] == ["ACK", "BYE", "ACK"]
    stage.send(answer(cast(Request, sent[1]), 200))
    assert (told[-1], node.core.counts["internal error"]) == ("answered", 0)
    stage.run(2 * SETTLED)
    assert is_idle(node.core)


def test_a_goodbye_is_over_once_each_fork_has_answered() -> None:
    """Also the fork whose answer had no Contact."""
    told = list[str]()
    stage, _, _ = left_ringing(told)
    [invite] = stage.requests("INVITE")
    stage.send(answer(invite, 200, body=ANSWER))
    [bye] = stage.requests("BYE")
    bare = answer(invite, 200, tag="bare", body=ANSWER)
    stage.send(bare.with_headers(bare.headers.without("Contact")))
    [other] = stage.requests("BYE")
    stage.send(answer(bye, 200))
    assert "answered" not in told
    stage.send(answer(other, 200))
    assert told[-1] == "answered"


def test_where_nobody_is_there_any_more_the_goodbye_is_over() -> None:
    """Nothing rings; whoever wants it said hears that once, though the answer comes all the same."""
    stage = Stage()
    session, _ = call(stage.agent)
    kept = Kept(session)
    stage.run()
    stage.puppet.take()
    node, told = killed(stage), list[str]()
    node.core.end_left(kept.values, 503, REASON, farewell(told))
    stage.run(2 * SETTLED)
    assert told == ["answered"]
    assert is_idle(node.core)


def test_a_goodbye_is_answered_once() -> None:
    told = list[str]()
    said = farewell(told)
    said.answered()
    said.answered()
    assert told == ["answered"]


def test_what_ends_a_call_again_counts_on() -> None:
    """A third process must not use the numbers of the second; of an INVITE that rings there are none."""
    kept, _ = talking(Pair())
    asked = session_asked(kept.values)
    assert asked["dialog"] == {
        **kept.values["dialog"],
        "local_cseq": kept.values["dialog"]["local_cseq"] + CSEQ_JUMP,
    }
    assert asked["accepted"] is None
    ringing = {"waits": "INVITE"}
    assert session_asked(ringing) is ringing


def test_a_refusal_or_nobody_leaves_nothing() -> None:
    """What cannot be read neither; a full stack refuses to take more up."""
    stage, node, kept = left_ringing()
    [invite] = stage.requests("INVITE")
    stage.send(answer(invite, 486))
    stage.run(2 * SETTLED)
    assert is_idle(node.core)
    full = AgentNode(stage.network, ("192.0.2.77", 5060), CoreConfig(stack=StackConfig(transactions=0)))
    with pytest.raises(StackFullError):
        full.core.end_left(kept.values, 503, REASON, farewell())
    response = {"waits": answer(invite, 200).write().decode(), "flow": "udp:192.0.2.2:5060"}
    with pytest.raises(SipSyntaxError):
        node.core.end_left(response, 503, REASON, farewell())


def test_a_session_that_has_begun_nothing_yet_has_no_values() -> None:
    """Its name is being looked up; and one that is over has none any more."""
    stage = Stage()
    session, _ = call(stage.agent, host="somewhere.example")
    assert session.values() is None
    caller = PuppetCall(stage)
    [log] = stage.agent.calls
    assert isinstance(log.session, IncomingSession)
    assert "asks" in (log.session.values() or {})
    log.session.reject(486)
    stage.run()
    assert log.session.values() is None
    assert caller.call_id


def test_credentials_and_late_answers_of_the_process_before() -> None:
    """A late 2xx gets its ACK, by the flow where its Contact leads nowhere; of another INVITE it changes nothing."""
    stage = Stage()
    kept, again = holding(stage, credentials=Credentials("alice", "secret"))
    node = stage.agent = killed(stage)
    resumed = node.core.resume(kept.values)
    assert isinstance(resumed, ResumedSession)
    assert resumed.authenticator is not None
    log = SessionLog(resumed)
    late = answer(again, 200, body=HELD)
    resumed.on_late_success(late, THERE)
    stage.run()
    assert log.kinds == ["OfferAnswered"]
    later = answer(again.with_headers(again.headers.with_("CSeq", f"{CSEQ_JUMP * 3} INVITE")), 200, body=HELD)
    resumed.on_late_success(later, THERE)
    stage.run()
    assert log.of(OfferAnswered)[1:] == []
    assert resumed.dialog is not None
    resumed.dialog.remote_target = Uri.parse("sip:nobody@somewhere.example")
    resumed.dialog.flow = THERE
    resumed.dialog.is_direct = False
    stage.puppet.take()
    resumed.on_late_success(late, THERE)
    stage.run()
    assert len(stage.requests("ACK")) == 1


def test_a_late_2xx_whose_peer_is_nowhere_is_acknowledged_where_it_came_from() -> None:
    """Connections of the process before are gone, and the Contact leads nowhere."""
    stage = Stage(transport="tcp")
    kept, again = holding(stage)
    values = kept.values
    values["dialog"] |= {"target": "sip:puppet@nowhere.example", "flow": str(Flow("tcp", *BOB, "before"))}
    node = stage.agent = AgentNode(stage.network, ALICE, transport="tcp")
    node.core.resume(values)
    stage.send(answer(again, 200, body=HELD))
    assert [one.cseq.number for one in stage.requests("ACK")] == [again.cseq.number]


def test_an_answer_that_nobody_acknowledges_again_stands() -> None:
    """Its ACK may have gone to the process before; whether anybody is there the media says, and the session timer."""
    pair = Pair()
    pair.bob.on_call = lambda session, log: answered(session)
    pair.network.drop = lambda source, _, data: data.startswith((b"SIP/2.0 200", b"ACK"))
    call(pair.alice)
    pair.run(0.3)
    kept = Kept(pair.bob.calls[0].session)
    bob = pair.bob = killed(pair, pair.bob.address)
    theirs = SessionLog(bob.core.resume(kept.values))
    pair.run(9)
    assert (theirs.events, theirs.session.is_confirmed) == ([Confirmed()], True)


def test_an_answer_by_a_connection_that_is_gone_stands() -> None:
    """It cannot be repeated there, and there what was sent was got."""
    stage = Stage()
    stage.agent.on_call = lambda session, log: answered(session)
    PuppetCall(stage)
    [log] = stage.agent.calls
    values = Kept(log.session).values
    values["accepted"][1] = "tcp:192.0.2.1:5060"
    stage.puppet.take()
    theirs = SessionLog(killed(stage).core.resume(values))
    stage.run(5)
    assert (theirs.session.is_confirmed, stage.puppet.take()) == (True, [])


def test_a_second_ack_of_a_resumed_answer_is_passed_over() -> None:
    """The first has confirmed it."""
    stage = Stage()
    stage.agent.on_call = lambda session, log: answered(session)
    caller = PuppetCall(stage)
    [log] = stage.agent.calls
    kept = Kept(log.session)
    node = stage.agent = killed(stage)
    theirs = SessionLog(node.core.resume(kept.values))
    caller.confirm()
    stage.send(caller.make("ACK"))
    assert theirs.kinds == ["Confirmed"]


def test_a_dialog_on_a_connection_is_taken_up_as_lost() -> None:
    """Connections end with their process; who made a WebSocket makes the next one."""
    kept, _ = talking(Pair())
    values = dict(kept.values["dialog"])
    for flow, by_websocket in (("tcp:192.0.2.2:5060", False), ("ws:192.0.2.2:0/w1", True), (None, False)):
        values["flow"] = flow
        assert is_by_websocket(values) is by_websocket
        dialog = dialog_of(values)
        assert values_of(dialog)["flow"] == flow
        dialog.found_again()
    assert same_way(Flow("tls", "192.0.2.2", 5061), Flow("tls", "192.0.2.2", 5061))
    one, other = (Flow("tls", "192.0.2.2", 5061, name=name) for name in ("a.test", "b.test"))
    assert not same_way(one, other)


def test_a_caller_with_a_gruu_of_ours_is_reached_at_its_device() -> None:
    """The Request-URI is the contact behind it (RFC 5627 section 6.1)."""
    stage = Stage()
    stage.agent.on_call = lambda session, log: answered(session)
    PuppetCall(stage)
    [log] = stage.agent.calls
    assert isinstance(log.session, IncomingSession)
    device = Uri.parse("sip:1001@192.0.2.2:5060")
    log.session.reach_at(device)
    assert log.session.dialog is not None
    log.session.dialog.remote_target = Uri.parse("sip:alice@gw.test;gr=urn:uuid:1")
    assert log.session.dialog.route()[0] == device


def test_nobody_is_told_of_a_name_before_the_call_is_answered() -> None:
    """There is no dialog to say it in."""
    stage = Stage()
    session, _ = call(stage.agent)
    stage.run()
    stage.puppet.take()
    session.identify(NameAddr.parse("<sip:bob@gw.test>"))
    stage.run()
    assert stage.puppet.take() == []


def test_a_dialog_whose_way_is_not_known_stays_where_it_is() -> None:
    """Nothing of ours has gone to the peer yet."""
    stage = Stage()
    session, _ = call(stage.agent)
    stage.run()
    [invite] = stage.requests("INVITE")
    stage.send(answer(invite, 200, body=ANSWER))
    dialog = session.dialog
    assert dialog is not None
    dialog.sent_to(())
    before = dialog.flow
    dialog.found_again()
    assert dialog.flow == before
    session._client.transaction = None
    session.machine.state = SessionState.CALLING
    assert session.values() is None
    session.machine.state = SessionState.CONFIRMED


def test_whoever_asks_for_something_in_the_call_has_the_answer_to_it() -> None:
    """The ACK went to the process before, or was on its way: a REFER is no 491, and the 200 goes no second time."""
    stage = Stage()
    stage.agent.on_call = lambda session, log: answered(session)
    caller = PuppetCall(stage)
    [log] = stage.agent.calls
    kept = Kept(log.session)
    [ok] = [one for one in stage.puppet.take() if not isinstance(one, Request) and one.status == 200]
    caller.remote = ok.to
    node = stage.agent = killed(stage)
    theirs = SessionLog(node.core.resume(kept.values))
    stage.run()
    assert stage.puppet.statuses() == [200]
    stage.send(caller.make("REFER", cseq=2, headers=(("Refer-To", "<sip:carol@example.org>"),)))
    assert theirs.kinds == ["Confirmed", "Referred"]
    stage.run(5)
    assert stage.puppet.statuses() == []
    stage.run(2)
    assert 200 not in stage.puppet.statuses()


def test_a_2xx_of_a_stranger_does_nothing_in_a_call_of_the_process_before() -> None:
    """It knows the Call-ID and both tags; no branch is known any more that it would have to know."""
    stage = Stage()
    kept, again = holding(stage)
    node = stage.agent = killed(stage)
    session = node.core.resume(kept.values)
    log, body = SessionLog(session), session.remote_body
    thief = Puppet(stage.network, THIEF)
    for number in range(200):
        made_up = answer(again, 200, body=ANSWER.replace(b"192.0.2.2", b"198.51.100.9")).with_header(
            "CSeq", f"{number} INVITE"
        )
        thief.send(made_up.with_header("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKmadeup"), ALICE)
    stage.run()
    assert (stage.requests("ACK"), log.events, session.remote_body) == ([], [], body)
    assert node.core.counts["stray 2xx"] == 200


def refused(stage: Stage, caller: PuppetCall) -> Request:
    """The ACK of the refusal that has come."""
    final = [one for one in stage.puppet.take() if isinstance(one, Response) and one.status >= 300][-1]
    return build.ack_for_failure(caller.invite, final)


def test_who_ends_a_call_of_another_process_is_told_of_the_answer() -> None:
    """What rings has refused; what was answered all the same has answered its BYE, which a third process could say."""
    for refuses in (True, False):
        stage = Stage()
        session, _ = call(stage.agent)
        kept = Kept(session)
        stage.run()
        stage.puppet.take()
        node = stage.agent = killed(stage)
        told: list[str] = []
        node.core.end_left(kept.values, 503, REASON, farewell(told))
        stage.run()
        [invite] = stage.requests("INVITE")
        stage.send(answer(invite, 180))
        assert told == []
        stage.send(answer(invite, 487) if refuses else answer(invite, 200, body=ANSWER))
        if not refuses:
            assert told == ["dialog"]
            [bye] = [one for one in stage.puppet.take() if isinstance(one, Request) and one.method == "BYE"]
            stage.send(answer(bye, 200))
        assert told == ([] if refuses else ["dialog"]) + ["answered"]


def test_of_forks_that_answer_the_last_bye_ends_a_goodbye() -> None:
    """What one of them has answered forgets nobody else who is still to be told."""
    stage = Stage()
    session, _ = call(stage.agent)
    kept = Kept(session)
    stage.run()
    stage.puppet.take()
    node = stage.agent = killed(stage)
    told: list[str] = []
    node.core.end_left(kept.values, 503, REASON, farewell(told))
    stage.run()
    [invite] = stage.requests("INVITE")
    for tag in ("one", "other"):
        stage.send(answer(invite, 200, tag=tag, body=ANSWER))
    byes = [one for one in stage.puppet.take() if isinstance(one, Request) and one.method == "BYE"]
    assert len(byes) == 2
    stage.send(answer(byes[0], 200))
    assert told == ["dialog", "another dialog"]
    stage.send(answer(byes[1], 200))
    assert told == ["dialog", "another dialog", "answered"]


def test_no_more_forks_than_the_limit_are_told_that_it_is_over() -> None:
    """Whoever invents tags without end has as many dialogs made and goodbyes written down, and no more."""
    told: list[str] = []
    stage, node, _ = left_ringing(told)
    [invite] = stage.requests("INVITE")
    for number in range(MOST_FORKS + 5):
        stage.send(answer(invite, 200, tag=f"tag{number}", body=ANSWER))
    byes = {one.to_tag: one for one in stage.requests("BYE")}
    assert len(byes) == MOST_FORKS
    assert len(told) == MOST_FORKS
    for tag, bye in byes.items():
        stage.send(answer(bye, 200, tag=tag or ""))
    assert told[MOST_FORKS:] == ["answered"]
    stage.run(2 * SETTLED)
    assert is_idle(node.core)


def test_a_fork_that_answers_again_while_it_is_looked_for_is_ended_once() -> None:
    """Its Contact is a name that takes its time."""
    stage, node, _ = left_ringing()
    [invite] = stage.requests("INVITE")
    found: list[object] = []
    node.resolve = lambda uri, done: found.append(done)  # type: ignore[method-assign]
    slow = NameAddr(Uri.parse("sip:puppet@slow.example"))
    for _ in range(3):
        stage.send(answer(invite, 200, body=ANSWER, contact=slow))
    assert len(found) == 1
    while found:
        found.pop()((THERE,))  # type: ignore[operator]
    stage.run()
    sent = [one for one in stage.puppet.take() if isinstance(one, Request)]
    assert [one.method for one in sent] == ["ACK", "BYE"]


@pytest.mark.parametrize("answers", [True, False])
def test_who_refuses_for_another_process_is_told_of_the_ack(answers: bool) -> None:
    """Or that none comes (64 T1)."""
    stage = Stage()
    caller = PuppetCall(stage)
    [log] = stage.agent.calls
    kept = Kept(log.session)
    stage.puppet.take()
    node = stage.agent = killed(stage)
    told: list[str] = []
    node.core.end_left(kept.values, 503, REASON, farewell(told))
    stage.run()
    assert told == []
    if answers:
        stage.send(refused(stage, caller))
    else:
        stage.run(33)
    assert told == ["answered"]
