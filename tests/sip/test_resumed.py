"""A process that dies in the middle of calls, and the next one at its address that goes on from values."""

from __future__ import annotations

import pytest

from gateway.sip.dialogs.values import CSEQ_JUMP
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Confirmed, Ended, Failed, OfferAnswered, Offered, Reply, SessionEvent
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.resumed import ResumedSession, bare, session_moved
from gateway.sip.invite.session import InviteSession
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request
from gateway.sip.message.parser import parse_message
from gateway.sip.message.uri import Uri
from gateway.testing.sip_peer import AgentNode, Puppet, SessionLog
from gateway.testing.walk import SETTLED
from tests.rows import by_row
from tests.sip.agents import (
    ALICE,
    ANSWER,
    BOB,
    HELD,
    HOLD,
    OFFER,
    WITH_UPDATE,
    Pair,
    PuppetCall,
    PuppetDialog,
    Stage,
    answer,
    answered_call,
    call,
    finals,
    is_idle,
)
from tests.sip.resumption import KEY, REASON, Kept, answered, farewell, holding, killed, talking


def test_the_caller_goes_on_with_its_call() -> None:
    """Offers go both ways, a hang-up of the far end arrives; numbers are past all that may have been sent."""
    pair = Pair()
    kept, theirs = talking(pair)
    alice = pair.alice = killed(pair)
    session = alice.core.resume(kept.values)
    ours = SessionLog(session, lambda event: _answer(session, event))
    number = session.offer(HOLD)
    theirs._react = lambda event: _answer(theirs.session, event)
    pair.run(1)
    assert ours.of(OfferAnswered) == [OfferAnswered(number, 200, HELD)]
    assert theirs.session.dialog is not None
    assert (theirs.session.dialog.remote_cseq or 0) > CSEQ_JUMP
    theirs.session.offer(HOLD.replace(b"a 1 2", b"a 1 3"))
    pair.run(5)
    assert len(ours.of(Offered)) == 1
    theirs.session.hangup()
    pair.run(1)
    assert isinstance(ours.events[-1], Ended)
    pair.run(SETTLED)
    assert is_idle(alice.core)


def _answer(session: InviteSession, event: SessionEvent) -> None:
    if isinstance(event, Offered):
        session.answer_offer(event.exchange or 0, HELD)


def test_the_caller_hangs_up_in_the_next_process() -> None:
    """BYE arrives with a number that the peer takes."""
    pair = Pair()
    kept, theirs = talking(pair)
    alice = killed(pair)
    alice.core.resume(kept.values).hangup(REASON)
    pair.run(1)
    assert theirs.of(Ended) == [Ended("remote", 503, text="lost")]
    pair.run(SETTLED)
    assert is_idle(alice.core)


def test_the_callee_is_refreshed_and_ends() -> None:
    """The same on the side that was called; the caller's refresh is answered with what stands."""
    pair = Pair()
    pair.bob.on_call = lambda session, log: answered(session)
    session, ours = call(pair.alice)
    pair.run(1)
    kept = Kept(pair.bob.calls[0].session)
    bob = pair.bob = killed(pair, BOB)
    theirs = SessionLog(bob.core.resume(kept.values))
    session.offer(OFFER)
    pair.run(1)
    assert ours.of(OfferAnswered)[-1].status == 200
    assert theirs.events == []
    session.hangup()
    pair.run(1)
    assert theirs.kinds == ["Ended"]


def test_a_callee_that_is_not_known_to_have_asked_goes_on_past_what_it_may_have_asked() -> None:
    """An INFO of the process before has the number 1 at the caller, which would take the next request for a copy."""
    pair = Pair()
    pair.bob.on_call = lambda session, log: answered(session)
    session, ours = call(pair.alice)
    pair.run(1)
    kept = Kept(pair.bob.calls[0].session)
    bob = pair.bob = killed(pair, BOB)
    bob.core.resume(kept.values).offer(HOLD)
    pair.run(1)
    assert len(ours.of(Offered)) == 1
    assert session.dialog is not None
    assert (session.dialog.remote_cseq or 0) > CSEQ_JUMP


def test_the_session_timer_goes_on() -> None:
    """Whoever refreshed does so in the next process too; without a refresh the session would be over."""
    pair = Pair()
    kept, theirs = talking(pair)
    pair.run(600)
    kept.take()
    alice = pair.alice = killed(pair)
    log = SessionLog(alice.core.resume(kept.values))
    pair.run(7200)
    assert theirs.of(Ended) == []
    assert log.of(Ended) == []


def test_the_time_without_a_process_counts_for_the_session_timer() -> None:
    """A refresh that became due meanwhile is sent at once: the peer's own timer went on."""
    pair = Pair()
    kept, _ = talking(pair)
    alice = pair.alice = killed(pair)
    later = alice.core.resume(kept.values, elapsed=7200.0).timer.deadline
    other = killed(pair)
    at_once = other.core.resume(kept.values).timer.deadline
    assert later is not None
    assert at_once is not None
    assert later - alice.core.now() < 60 < at_once - other.core.now()


def unacknowledged() -> tuple[Pair, SessionLog, Kept]:
    """A call that Bob has answered and whose 200s are lost from now on; what the caller hears, and Bob's values."""
    pair = Pair()
    pair.bob.on_call = lambda session, log: answered(session)
    pair.network.drop = lambda source, _, data: source == BOB and data.startswith(b"SIP/2.0 200")
    _, ours = call(pair.alice)
    pair.run(0.3)
    return pair, ours, Kept(pair.bob.calls[0].session)


def test_an_answer_goes_on_being_repeated_until_it_is_acknowledged() -> None:
    """The caller has not got the 200 of the process before: the next one sends it."""
    pair, ours, kept = unacknowledged()
    pair.network.drop = None
    bob = pair.bob = killed(pair, BOB)
    theirs = SessionLog(bob.core.resume(kept.values))
    pair.run(1)
    assert ours.kinds == ["Answered"]
    assert theirs.events == [Confirmed()]
    theirs.session.hangup()
    pair.run(1)
    assert isinstance(ours.events[-1], Ended)


def test_a_hold_before_the_ack_waits_for_it() -> None:
    """What is early by RFC 3311 ended with the process before: nothing is offered until the 200 is acknowledged."""
    pair, ours, kept = unacknowledged()
    bob = pair.bob = killed(pair, BOB)
    theirs = SessionLog(bob.core.resume(kept.values))
    theirs.session.offer(HOLD)
    pair.run(1)
    assert (ours.kinds, theirs.kinds) == ([], [])
    pair.network.drop = None
    pair.run(5)
    assert (ours.kinds, theirs.kinds) == (["Answered", "Offered"], ["Confirmed"])


def test_an_ack_that_brings_nothing_need_not_be_known() -> None:
    """Nothing is written for it: the next process repeats the 200 at once and gets another ACK."""
    pair, ours, kept = unacknowledged()
    before = kept.text
    pair.network.drop = None
    pair.run(5)
    assert (pair.bob.calls[0].session.is_confirmed, kept.text) == (True, before)
    bob = pair.bob = killed(pair, BOB)
    theirs = SessionLog(bob.core.resume(kept.values, 5.0))
    pair.run(0.1)
    assert (ours.kinds, theirs.events) == (["Answered"], [Confirmed()])


def test_an_answer_of_long_ago_has_had_its_ack() -> None:
    """Nobody would acknowledge it again (RFC 3261 13.2.2.4): the next process does not ask, and may go on at once."""
    pair, ours, kept = unacknowledged()
    pair.network.drop = None
    pair.run(25)
    bob = pair.bob = killed(pair, BOB)
    sent: list[bytes] = []

    def watch(source: object, _: object, data: bytes) -> bool:
        if source == BOB:
            sent.append(data)
        return False

    pair.network.drop = watch
    theirs = SessionLog(bob.core.resume(kept.values, 25.0))
    pair.run(40)
    assert (sent, theirs.events, theirs.session.is_confirmed) == ([], [], True)
    pair.network.drop = None
    theirs.session.hangup()
    pair.run(1)
    assert isinstance(ours.events[-1], Ended)


def test_an_answer_that_moves_waits_for_no_ack() -> None:
    """Taken over by another gateway: phones would send the ACK that they have sent, to where the first one is."""
    _, _, kept = unacknowledged()
    contact = NameAddr(Uri.parse("sip:other.example:5070"))
    moved = session_moved(kept.values, lambda flow, former: contact)
    assert (moved["dialog"]["contact"], Flow.parse(moved["dialog"]["flow"]).local) == (str(contact), "")
    assert (kept.values["accepted"] is not None, moved["accepted"]) == (True, None)
    of_no_dialog = {"waits": "INVITE", "flow": "udp:192.0.2.1:5060"}
    assert session_moved(of_no_dialog, lambda flow, former: contact) == of_no_dialog


def test_a_call_by_a_connection_moves_with_the_name_of_that_connection() -> None:
    """A WebSocket is known by it: whoever has the same address at the next gateway is not taken for it."""
    stage = Stage(transport="ws")
    _, session, _ = answered_call(stage)
    moved = session_moved(Kept(session).values, lambda flow, former: NameAddr(former))
    assert Flow.parse(moved["dialog"]["flow"]) == Flow("ws", *BOB, "here")


def test_whoever_keeps_calls_is_told_before_a_100() -> None:
    """It is the first thing that the caller sees of the process; a 180 before it keeps it away."""
    pair = Pair()
    seen: list[str] = []

    def noticed(session: InviteSession) -> None:
        assert isinstance(session, IncomingSession)
        session.noticed = lambda: seen.append("told")
        assert session.is_silent

    pair.bob.on_call = lambda session, log: noticed(session)

    def watch(source: object, _: object, data: bytes) -> bool:
        if source == BOB:
            seen.append(data[8:11].decode())
        return False

    pair.network.drop = watch
    call(pair.alice)
    pair.run(0.1)
    assert seen == []
    pair.run(0.2)
    [log] = pair.bob.calls
    assert isinstance(log.session, IncomingSession)
    assert (seen, log.session.is_silent) == (["told", "100"], False)


def test_no_key_is_among_the_values() -> None:
    """Descriptions with a=crypto are left out, of the session and of an answer that is not acknowledged."""
    stage = Stage()
    stage.agent.on_call = lambda session, log: answered(session, ANSWER + KEY)
    PuppetCall(stage, body=OFFER + KEY)
    [log] = stage.agent.calls
    assert "inline" not in Kept(log.session).text
    waiting, _ = call(stage.agent, body=OFFER + KEY)
    stage.run()
    assert "inline" not in Kept(waiting).text
    assert "waits" in Kept(waiting).values


def test_a_2xx_to_a_re_invite_of_the_process_before_is_acknowledged() -> None:
    """As often as it comes; the listener hears of a description that nobody here has asked for, once."""
    stage = Stage()
    kept, again = holding(stage)
    agent = stage.agent = killed(stage)
    log = SessionLog(agent.core.resume(kept.values))
    for _ in range(2):
        stage.send(answer(again, 200, body=HELD))
        [ack] = stage.requests("ACK")
        assert ack.cseq.number == again.cseq.number
    assert log.kinds == ["OfferAnswered"]


@by_row("role", ["caller", "callee"])
@by_row("after", range(11))
def test_a_kill_after_any_message_of_a_set_up_leaves_nothing_behind(role: str, after: int) -> None:
    """However far it was: the far end hears of an end, and no transaction or session is left on either side."""
    pair = Pair()
    mine, address = (pair.alice, ALICE) if role == "caller" else (pair.bob, BOB)
    kept: list[Kept] = []

    def rings(session: InviteSession, log: SessionLog) -> None:
        assert isinstance(session, IncomingSession)
        if role == "callee":
            kept.append(Kept(session))
        session.ring(180)
        session.core.at(session.core.now() + 0.5, accept, session)

    def accept() -> None:
        answered(pair.bob.calls[0].session)
        for one in kept:
            one.take()

    pair.bob.on_call = rings
    session, log = call(pair.alice)
    if role == "caller":
        kept.append(Kept(session))
        log._react = kept[0].take
    pair.network.run(1.5, until=lambda: pair.network.delivered >= after)
    pair.network.flush()
    node = killed(pair, address)
    for one in kept:
        if one.values is not None:
            node.core.end_left(one.values, 503, REASON, farewell())
    pair.run(2 * SETTLED)
    other = pair.bob if mine is pair.alice else pair.alice
    assert is_idle(node.core)
    assert is_idle(other.core)
    for each in other.calls if role == "caller" else [log]:
        assert isinstance(each.events[-1], Ended | Failed)


def test_an_invite_that_rings_is_cancelled_at_once() -> None:
    """The peer takes the INVITE for a retransmission, says again that it rings, and gets CANCEL."""
    stage = Stage()
    session, _ = call(stage.agent)
    kept = Kept(session)
    stage.run()
    [invite] = stage.requests("INVITE")
    stage.send(answer(invite, 180))
    killed(stage).core.end_left(kept.values, 503, REASON, farewell())
    stage.run()
    [again] = stage.requests("INVITE")
    assert again.top_via == invite.top_via
    stage.send(answer(invite, 180))
    [cancel] = stage.requests("CANCEL")
    assert cancel.top_via == invite.top_via
    assert cancel.headers.get("Reason") == REASON


def test_whoever_calls_hears_the_tag_that_rang() -> None:
    """The final response is of the dialog that the caller knows (RFC 3261 section 12)."""
    stage = Stage()
    caller = PuppetCall(stage)
    [log] = stage.agent.calls
    assert isinstance(log.session, IncomingSession)
    log.session.ring(180)
    stage.run()
    [rings] = [one for one in stage.puppet.take() if not isinstance(one, Request) and one.status == 180]
    killed(stage).core.end_left(Kept(log.session).values, 503, REASON, farewell())
    stage.run()
    final = parse_message(stage.puppet.raw[-1])
    assert not isinstance(final, Request)
    assert (final.status, final.to_tag) == (503, rings.to_tag)
    assert caller.call_id == final.call_id


def test_a_resumed_session_is_one_of_the_core() -> None:
    """It counts among the calls, and is ended with them."""
    pair = Pair()
    kept, _ = talking(pair)
    alice = killed(pair)
    session = alice.core.resume(kept.values)
    assert isinstance(session, ResumedSession)
    assert alice.core.sessions == {session}


AGAIN = (BOB[0], 40123)


def registers(stage: Stage, contact: str) -> Puppet:
    """The peer has connected anew, and registers; what it is reached by."""
    puppet = stage.network.nodes.get(AGAIN) or Puppet(stage.network, AGAIN)
    assert isinstance(puppet, Puppet)
    phone = PuppetDialog(stage, call_id="register")
    phone.contact = Uri.parse(contact)
    puppet.send(phone.make("REGISTER"), ALICE)
    stage.run()
    assert 200 in puppet.statuses()
    return puppet


@pytest.mark.parametrize("port", [BOB[1], AGAIN[1]])
def test_a_phone_by_a_connection_is_reached_again_once_it_has_registered(port: int) -> None:
    """Its Contact leads nowhere, as behind NAT, and may name the port of the connection that is gone."""
    stage = Stage(transport="tcp")
    caller, session, _ = answered_call(stage)
    dialog = session.dialog
    assert dialog is not None
    dialog.remote_target = Uri.parse(f"sip:puppet@192.168.1.2:{BOB[1]};transport=tcp")
    dialog.identity = "tester"
    values = Kept(session).values
    node = stage.agent = killed(stage)
    node.transport = "tcp"
    resumed = node.core.resume(values)
    again = registers(stage, f"sip:puppet@192.168.1.2:{port};transport=tcp")
    again.take()
    resumed.offer(HOLD)
    stage.run()
    [offer] = [one for one in again.take() if isinstance(one, Request)]
    assert (offer.method, offer.call_id) == ("INVITE", caller.call_id)
    again.send(answer(offer, 488), ALICE)
    stage.run()
    resumed.hangup()
    stage.run()
    assert [one.method for one in again.take() if isinstance(one, Request)] == ["ACK", "BYE"]


@by_row(
    ("identity", "contact", "status"),
    [
        ("somebody", "sip:puppet@192.168.1.2:5060;transport=tcp", 200),
        ("tester", "sip:puppet@192.168.1.3:5060;transport=tcp", 200),
        ("tester", "sip:other@192.168.1.2:5060;transport=tcp", 200),
        ("tester", "sip:puppet@192.168.1.2:5060;transport=tcp", 403),
    ],
)
def test_nobody_else_who_registers_is_taken_for_the_phone(identity: str, contact: str, status: int) -> None:
    """Another user, another phone of the same user, a registration that was refused."""
    stage = Stage(transport="tcp")
    _, session, _ = answered_call(stage)
    dialog = session.dialog
    assert dialog is not None
    dialog.remote_target = Uri.parse("sip:puppet@192.168.1.2:5060;transport=tcp")
    dialog.identity = identity
    dialog.is_direct = True
    stage.agent.core.transport_failed(Flow("tcp", *BOB, "here"))
    stage.agent.reply = lambda request: Reply(status)
    flow = Flow("tcp", *AGAIN, "there")
    phone = PuppetDialog(stage, call_id="register")
    phone.contact = Uri.parse(contact)
    stage.agent.core.receive(phone.make("REGISTER").write(), flow)
    assert list(dialog.hops) == [dialog.remote_target]


@pytest.mark.parametrize("hop", [None, "<sip:192.0.2.9;transport=tcp;lr>"])
def test_a_phone_behind_a_proxy_is_reached_by_the_proxy(hop: str | None) -> None:
    """Its route set stays what it is (RFC 3261 section 12.2.1.1), wherever it registers."""
    stage = Stage(transport="tcp")
    _, session, _ = answered_call(stage)
    dialog = session.dialog
    assert dialog is not None
    dialog.remote_target = Uri.parse("sip:puppet@192.168.1.2:5060;transport=tcp")
    dialog.identity = "tester"
    dialog.route_set = (NameAddr.parse(hop),) if hop else ()
    before = list(dialog.hops)
    stage.agent.core.transport_failed(Flow("tcp", *BOB, "here"))
    again = Flow("tcp", *AGAIN, "there")
    dialog.registered("tester", [NameAddr(dialog.remote_target)], again)
    assert (dialog.flow == again) is (hop is None)
    assert (list(dialog.hops) == before) is (hop is not None)


@by_row(("transport", "moves"), [("tcp", False), ("ws", False), ("tls", True), ("wss", True)])
def test_a_dialog_by_tls_goes_on_by_tls(transport: str, moves: bool) -> None:
    """A re-INVITE has the keys of SRTP in it: they go by no other connection in the clear."""
    stage = Stage(transport="tcp")
    _, session, _ = answered_call(stage)
    dialog = session.dialog
    assert dialog is not None
    dialog.identity, dialog.is_direct = "tester", True
    dialog.flow = Flow("tls", *BOB, "here")
    stage.agent.core.transport_failed(dialog.flow)
    flow = Flow(transport, *AGAIN, "there")
    stage.agent.core.receive(PuppetDialog(stage, call_id="register").make("REGISTER").write(), flow)
    assert (dialog.hops[0] == flow) is moves


def test_a_phone_whose_connection_lives_stays_there() -> None:
    """Its other registrations, by a second connection, change nothing; neither do those by UDP."""
    stage = Stage(transport="tcp")
    _, session, _ = answered_call(stage)
    dialog = session.dialog
    assert dialog is not None
    dialog.identity, dialog.is_direct = "tester", True
    before = list(dialog.hops)
    for flow in (Flow("tcp", *AGAIN, "there"), Flow("udp", *AGAIN, "there")):
        stage.agent.core.receive(PuppetDialog(stage, call_id="register").make("REGISTER").write(), flow)
        assert list(dialog.hops) == before


def test_a_device_behind_a_gruu_is_known_by_its_own_contact_after_a_kill() -> None:
    """What it registers is not what it calls itself (RFC 5627)."""
    stage = Stage(transport="tcp")
    _, session, _ = answered_call(stage)
    dialog = session.dialog
    assert dialog is not None
    dialog.identity = "tester"
    dialog.device = Uri.parse("sip:puppet@192.168.1.2:5060;transport=tcp")
    dialog.remote_target = Uri.parse("sip:alice@gw.test;gr=urn:uuid:1")
    values = Kept(session).values
    node = stage.agent = killed(stage)
    node.transport = "tcp"
    resumed = node.core.resume(values)
    again = registers(stage, "sip:puppet@192.168.1.2:5060;transport=tcp")
    again.take()
    resumed.hangup()
    stage.run()
    [bye] = [one for one in again.take() if isinstance(one, Request)]
    assert (bye.method, str(bye.uri)) == ("BYE", "sip:puppet@192.168.1.2:5060;transport=tcp")


def test_of_another_version_the_dialog_alone_is_enough_for_a_goodbye() -> None:
    """What else it has of the session may be anything; what rang is ended by its own values."""
    pair = Pair()
    kept, theirs = talking(pair)
    alice = killed(pair)
    others = {"dialog": kept.values["dialog"], "timer": "otherwise", "more": 1}
    alice.core.end_left(bare(others), 503, REASON, farewell())
    pair.run(1)
    assert [type(event) for event in theirs.of(Ended)] == [Ended]
    pair.run(SETTLED)
    assert is_idle(alice.core)
    rang = {"waits": "x", "flow": "y"}
    assert bare(rang) == rang


@by_row("method", ["INVITE", "UPDATE"])
@by_row("body", [HOLD, OFFER])
def test_a_change_whose_answer_was_lost_with_its_process_is_answered_by_the_next(method: str, body: bytes) -> None:
    """The peer sends it again, with the number that was written down with it: a hold, or the refresh of its session."""
    stage = Stage()
    caller, session, log = answered_call(
        stage, headers=(("Session-Expires", "90;refresher=uac"), ("Supported", "timer"))
    )
    kept = Kept(session)
    asked = caller.next(method, body=body)
    if body == HOLD:
        session.answer_offer(log.of(Offered)[0].exchange, HELD)
        stage.run()
    assert kept.values["dialog"]["remote_cseq"] == asked.cseq.number
    stage.puppet.take()
    node = stage.agent = killed(stage)
    resumed = node.core.resume(kept.values, 0.5)
    ours = SessionLog(resumed, lambda event: _answer(resumed, event))
    stage.send(asked)
    stage.run()
    assert 200 in stage.puppet.statuses()
    assert len(ours.of(Offered)) == (body == HOLD)
    stage.send(caller.make(method, cseq=asked.cseq.number, body=body))
    assert [one.status for one in finals(stage, method) if one.status != 200] == [500]


def test_of_the_changes_before_a_kill_the_last_alone_is_answered_again() -> None:
    """A hold that was taken back since would put the call on hold once more."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    kept = Kept(session)
    held = caller.next("INVITE", body=HOLD)
    for body in (HELD, ANSWER):
        session.answer_offer(log.of(Offered)[-1].exchange, body)
        stage.run()
        stage.send(caller.make("ACK"))
        if body == HELD:
            caller.next("INVITE", body=OFFER)
    stage.puppet.take()
    node = stage.agent = killed(stage)
    ours = SessionLog(node.core.resume(kept.values, 0.5))
    stage.send(caller.make("INVITE", cseq=held.cseq.number, body=HOLD))
    assert stage.puppet.statuses() == [500]
    assert ours.of(Offered) == []


def test_a_digit_whose_answer_was_lost_with_its_process_is_not_pressed_twice() -> None:
    """What is no change of the session has been done."""
    stage = Stage()
    caller, session, _ = answered_call(stage)
    kept = Kept(session)
    pressed = caller.next("INFO", body=b"Signal=5", kind="application/dtmf-relay")
    kept.take()
    node = stage.agent = killed(stage)
    ours = SessionLog(node.core.resume(kept.values))
    stage.puppet.take()
    stage.send(pressed)
    assert stage.puppet.statuses() == [500]
    assert ours.events == []


@pytest.mark.parametrize("moves", [False, True])
def test_a_refresh_under_way_when_its_process_died_is_made_by_the_next(moves: bool) -> None:
    """At the same address or at another gateway's: within two seconds, once, and the 200 to the first does nothing."""
    stage = Stage()
    headers = (("Session-Expires", "90;refresher=uas"), ("Supported", "timer"), *WITH_UPDATE)
    _, session, _ = answered_call(stage, headers=headers)
    kept = Kept(session)
    stage.run(45.05)
    first, *_ = stage.requests("UPDATE")
    values = kept.values
    killed(stage)
    place = ("192.0.2.8", 5060) if moves else ALICE
    node = AgentNode(stage.network, place)
    if moves:
        values = session_moved(values, lambda flow, uri: node.core.contact(flow, uri.user))
    log = SessionLog(node.core.resume(values, 45.1))
    stage.puppet.send(answer(first, 200), place)
    stage.run(2)
    again = stage.requests("UPDATE")
    assert {one.cseq.number for one in again} == {again[0].cseq.number}
    assert again[0].cseq.number > first.cseq.number
    assert again[0].contact is not None
    assert again[0].contact.uri.host == place[0]
    agreed = (("Session-Expires", "90;refresher=uac"), ("Require", "timer"))
    stage.puppet.send(answer(again[0], 200, headers=agreed), place)
    stage.run(44)
    assert stage.requests("UPDATE") == []
    stage.run(2)
    assert stage.requests("UPDATE") != []
    assert log.events == []


@pytest.mark.parametrize(("headers", "method"), [(WITH_UPDATE, "UPDATE"), ((), "INVITE")])
def test_who_takes_a_call_over_tells_the_peer_at_once_where_it_is(headers: build.Fields, method: str) -> None:
    """By a target refresh with what stands, once; from then on it is the peer's own word where the call is."""
    stage = Stage()
    _, session, _ = answered_call(stage, headers=headers)
    values, place = Kept(session).values, ("192.0.2.8", 5060)
    killed(stage)
    stage.puppet.take()
    node = AgentNode(stage.network, place)
    taken = node.core.resume(session_moved(values, lambda flow, uri: node.core.contact(flow, uri.user)))
    log = SessionLog(taken)
    taken.refresh_target()
    stage.run(0.01)
    [refresh] = stage.requests(method)
    assert refresh.contact is not None
    assert (refresh.contact.uri.host, refresh.body) == (place[0], ANSWER if method == "INVITE" else b"")
    stage.puppet.send(answer(refresh, 200, body=OFFER if method == "INVITE" else b""), place)
    stage.run(SETTLED)
    assert stage.requests(method) == []
    assert log.kinds == ["FlowFound"]
    assert taken.is_confirmed
