"""Messages that cross, come twice, too late or never, in calls that are up or nearly so."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gateway.sip.config import CoreConfig
from gateway.sip.flow import Flow
from gateway.sip.invite import changes
from gateway.sip.invite.events import Accepted, Answered, Confirmed, Ended, Failed, OfferAnswered, Offered, Reply
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.session import InviteSession
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.testing.network import Weather
from gateway.testing.sip_peer import Puppet, SessionLog
from tests.rows import by_row
from tests.sip.agents import (
    ALICE,
    ANSWER,
    BOB,
    HELD,
    HOLD,
    OFFER,
    RELIABLE,
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
    stage_with_invite,
    tried_again,
)
from tests.sip.resumption import Kept, killed


def progressing_call() -> tuple[Stage, PuppetCall, IncomingSession, SessionLog, Response]:
    """The puppet calls; it has a reliable 183 with our answer, whose PRACK (its number 2) is not sent yet."""
    stage = Stage()
    caller = PuppetCall(stage, headers=(("Require", "100rel"), *WITH_UPDATE))
    [log] = stage.agent.calls
    session = log.session
    assert isinstance(session, IncomingSession)
    session.ring(183, body=ANSWER)
    stage.run()
    progress = next(one for one in stage.puppet.take() if isinstance(one, Response) and one.status == 183)
    caller.remote = progress.to
    return stage, caller, session, log, progress


def prack_of(caller: PuppetCall, progress: Response) -> Request:
    return caller.make("PRACK", cseq=2, headers=(("RAck", f"{progress.rseq} 1 INVITE"),))


# ---- UPDATE beside PRACK


def test_an_update_that_overtakes_the_prack_is_answered_and_the_prack_counts() -> None:
    """Its number is lower by then, but what it acknowledges has come: the 183 is not repeated until the call fails."""
    stage, caller, session, log, progress = progressing_call()
    stage.send(caller.make("UPDATE", cseq=3, body=HOLD))
    [offered] = log.of(Offered)
    session.answer_offer(offered.exchange, HELD)
    session.answer(HELD)
    stage.run()
    assert [one.body for one in finals(stage, "UPDATE")] == [HELD]
    assert finals(stage, "INVITE") == []
    stage.send(prack_of(caller, progress))
    statuses = [(one.cseq.method, one.status) for one in stage.puppet.take() if isinstance(one, Response)]
    assert ("INVITE", 200) in statuses
    caller.cseq = 1
    stage.send(caller.make("ACK"))
    stage.puppet.take()
    # The number of the PRACK takes nothing back: what was answered is not taken a second time.
    stage.send(caller.make("UPDATE", cseq=3, body=HOLD))
    assert [one.status for one in finals(stage, "UPDATE")] == [500]
    assert len(log.of(Offered)) == 1
    stage.run(40)
    assert log.of(Ended) == []
    assert stage.puppet.take() == []
    assert log.of(Confirmed) == [Confirmed()]


def test_an_update_of_ours_waits_for_the_answer_to_our_prack() -> None:
    """It might overtake the PRACK, which a peer then refuses for its number."""
    stage, log, session, invite = stage_with_invite()
    stage.send(answer(invite, 183, body=ANSWER, headers=(*RELIABLE, *WITH_UPDATE)))
    number = session.offer(HOLD)
    stage.run(1)
    sent = [one for one in stage.puppet.take() if isinstance(one, Request)]
    assert {one.method for one in sent} == {"PRACK"}
    stage.send(answer(sent[0], 200))
    [update] = stage.requests("UPDATE")
    assert update.cseq.number == sent[0].cseq.number + 1
    stage.send(answer(update, 200, body=HELD))
    stage.send(answer(invite, 200))
    assert [one for one in log.events if isinstance(one, OfferAnswered | Answered)] == [
        OfferAnswered(number, 200, HELD),
        Answered(b"", 1),
    ]


def test_an_update_of_ours_waits_for_no_prack_of_another_fork() -> None:
    """Numbers are counted in each dialog by itself."""
    stage, _, session, invite = stage_with_invite()
    for tag in ("one", "two"):
        stage.send(answer(invite, 183, tag=tag, body=ANSWER, headers=(*RELIABLE, *WITH_UPDATE)))
    [prack] = [one for one in stage.requests("PRACK") if one.to_tag == "one"]
    stage.send(answer(prack, 200, tag="one"))
    session.offer(HOLD)
    stage.run(1)
    assert {one.to_tag for one in stage.requests("UPDATE")} == {"one"}


def test_an_update_of_ours_waits_for_the_peers_prack() -> None:
    """RFC 3311 section 5.1: the answer in the 183 is not acknowledged."""
    stage, caller, session, log, progress = progressing_call()
    number = session.offer(HELD)
    stage.run(1)
    assert stage.requests("UPDATE") == []
    stage.send(prack_of(caller, progress))
    [update] = stage.requests("UPDATE")
    stage.send(answer(update, 200, body=HOLD))
    assert log.of(OfferAnswered) == [OfferAnswered(number, 200, HOLD)]


def test_a_prack_that_comes_again_is_answered_again_and_acknowledges_nothing_else() -> None:
    """Its 200 was lost; what it acknowledged is over, and the next 1xx waits for a PRACK of its own."""
    stage, caller, session, _, progress = progressing_call()
    session.ring(180)
    prack = prack_of(caller, progress)
    for _ in range(3):
        stage.send(prack)
    assert [one.status for one in finals(stage, "PRACK")] == [200, 200, 200]
    session.answer(ANSWER)
    stage.run(1)
    again = [one for one in stage.puppet.take() if isinstance(one, Response)]
    assert {(one.status, one.rseq) for one in again} == {(180, (progress.rseq or 0) + 1)}
    stage.send(caller.make("PRACK", cseq=3, headers=(("RAck", f"{progress.rseq} 1 INVITE"),)))
    assert [one.status for one in finals(stage, "PRACK")] == [481]
    stage.send(caller.make("PRACK", cseq=4, headers=(("RAck", f"{again[0].rseq} 1 INVITE"),)))
    assert [(one.status, one.body) for one in finals(stage, "INVITE")] == [(200, b"")]


def test_a_prack_of_ours_that_is_lost_goes_again_until_it_is_answered() -> None:
    """The 183 that comes again meanwhile is acknowledged by the same one."""
    stage, log, _, invite = stage_with_invite()
    progress = answer(invite, 183, body=ANSWER, headers=RELIABLE)
    for _ in range(3):
        stage.send(progress)
        stage.run(1)
    pracks = stage.requests("PRACK")
    assert len(pracks) > 2
    assert len({(one.cseq.number, one.top_via.branch) for one in pracks}) == 1
    stage.send(answer(pracks[0], 200))
    stage.run(5)
    assert stage.requests("PRACK") == []
    assert log.kinds == ["Provisional"]


# ---- 491


def glare(
    pair: Pair, first: InviteSession, second: InviteSession, logs: tuple[SessionLog, SessionLog], turn: int
) -> None:
    """Both offer at the same moment, and each answers what it then hears."""
    mine, yours = OFFER + b"a=x-a:%d\r\n" % turn, ANSWER + b"a=x-b:%d\r\n" % turn
    heard = [len(log.of(Offered)) for log in logs]
    outcomes = [len(log.of(OfferAnswered)) for log in logs]
    first.offer(mine)
    second.offer(yours)
    for _ in range(60):
        pair.run(0.25)
        for place, (session, body) in enumerate(((first, mine), (second, yours))):
            if len(offers := logs[place].of(Offered)) > heard[place]:
                heard[place] = len(offers)
                session.answer_offer(offers[-1].exchange, body)
    assert [len(log.of(OfferAnswered)) for log in logs] == [outcomes[0] + 1, outcomes[1] + 1]
    assert all(log.of(OfferAnswered)[-1].status == 200 for log in logs)


@by_row("seed", range(5))
def test_ten_glares_in_a_row_end_in_agreement(seed: int) -> None:
    """On a network that loses and delays: each offer has its answer, and both sides believe in the same pair."""
    pair = Pair(Weather(delay=0.02, jitter=0.03, loss=0.1), seed=seed)
    pair.bob.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
    session, log = call(pair.alice)
    pair.run(10)
    [callee] = pair.bob.calls
    for turn in range(10):
        glare(pair, session, callee.session, (log, callee), turn)
    pair.run(10)
    assert session.local_body == callee.session.remote_body
    assert session.remote_body == callee.session.local_body
    session.hangup()
    pair.run(100)
    assert is_idle(pair.alice.core)
    assert is_idle(pair.bob.core)


@pytest.mark.parametrize(("is_caller", "shortest", "longest"), [(True, 2.1, 4.0), (False, 0.0, 2.0)])
def test_an_offer_that_meets_491_again_and_again_waits_each_time_and_is_given_up_in_the_end(
    is_caller: bool, shortest: float, longest: float
) -> None:
    """The times of RFC 3261 14.1; who wanted it is told once, and the next offer is made as ever."""
    stage = Stage()
    if is_caller:
        session, log = call(stage.agent)
        stage.run()
        stage.send(answer(stage.requests("INVITE")[0], 200, body=ANSWER))
    else:
        _, session, log = answered_call(stage)  # type: ignore[assignment]
    stage.puppet.take()
    number = session.offer(HOLD)
    refused: list[float] = []
    for _ in range(changes.OFFER_ATTEMPTS):
        for _ in range(500):
            stage.run(0.01)
            if found := stage.requests("INVITE"):
                break
        refused.append(stage.clock.now)
        stage.puppet.send(answer(found[0], 491), ALICE)
    stage.run(5)
    waits = [later - sooner for sooner, later in pairwise(refused)]
    assert all(shortest <= wait <= longest + 0.1 for wait in waits), waits
    assert len(set(waits)) > 1
    assert log.of(OfferAnswered) == [OfferAnswered(number, 491)]
    assert stage.requests("INVITE") == []
    again = session.offer(HOLD)
    stage.run()
    stage.send(answer(stage.requests("INVITE")[0], 200, body=HELD))
    assert log.of(OfferAnswered)[-1] == OfferAnswered(again, 200, HELD)


def crossed(
    config: CoreConfig | None = None,
) -> tuple[Stage, PuppetCall, IncomingSession, SessionLog, Request, Request]:
    """Our re-INVITE and the one of the peer, which was sent before ours came."""
    stage = Stage(config)
    caller, session, log = answered_call(stage)
    session.offer(OFFER)
    stage.run()
    [ours] = stage.requests("INVITE")
    theirs = caller.next("INVITE", body=HOLD)
    return stage, caller, session, log, ours, theirs


def test_an_offer_that_crosses_ours_is_answered_and_ours_follows() -> None:
    """The peer refuses ours by 491 and repeats nothing: its hold is not lost, and no wait is needed."""
    stage, caller, session, log, ours, _ = crossed()
    assert finals(stage, "INVITE") == []
    stage.send(answer(ours, 491))
    [offered] = log.of(Offered)
    session.answer_offer(offered.exchange, HELD)
    stage.run()
    assert [one.status for one in finals(stage, "INVITE")] == [200]
    stage.send(caller.make("ACK"))
    [again] = stage.requests("INVITE")
    assert again.cseq.number == ours.cseq.number + 1
    stage.send(answer(again, 200, body=ANSWER))
    assert log.events[-1] == OfferAnswered(2, 200, ANSWER)


def test_an_offer_that_crosses_ours_is_answered_after_a_peer_that_takes_both() -> None:
    """A peer that accepts ours while its own is open gets the answer to its own next."""
    stage, _, session, log, ours, _ = crossed()
    stage.send(answer(ours, 200, body=ANSWER))
    assert [type(one) for one in log.events[1:]] == [OfferAnswered, Offered]
    session.answer_offer(log.of(Offered)[0].exchange, HELD)
    stage.run()
    assert [one.status for one in finals(stage, "INVITE")] == [200]


@pytest.mark.parametrize("wait", [None, 6.0])
def test_an_offer_that_crosses_one_without_an_end_is_491(wait: float | None) -> None:
    """A second one before that is 500; ours is made again after 0 to 2 s (RFC 3261 14.1)."""
    configured = None if wait is None else CoreConfig(crossing_wait=wait)
    stage, caller, _, log, ours, theirs = crossed(configured)
    caller.next("INVITE", body=HOLD)
    assert [(one.cseq.number, one.status) for one in finals(stage, "INVITE")] == [(theirs.cseq.number + 1, 500)]
    stage.run((wait or CoreConfig().crossing_wait) / 2 - 0.5)
    assert 491 not in [one.status for one in finals(stage, "INVITE")]
    stage.run(0.5)
    assert (theirs.cseq.number, 491) in [(one.cseq.number, one.status) for one in finals(stage, "INVITE")]
    assert log.of(Offered) == []
    stage.send(answer(ours, 491))
    stage.puppet.take()
    stage.run(2.1)
    [again] = {one.cseq.number for one in stage.requests("INVITE")}
    assert again == ours.cseq.number + 1


@by_row(("ends_by", "status"), [("CANCEL", 487), ("BYE", 487), ("hangup", 487)])
def test_an_offer_that_crosses_ours_and_the_end_is_487(ends_by: str, status: int) -> None:
    """Taken back by its sender, or the call is over; nothing waits any more."""
    stage, caller, session, log, ours, theirs = crossed()
    if ends_by == "hangup":
        session.hangup()
        stage.run()
    elif ends_by == "CANCEL":
        stage.send(build.cancel(theirs))
    else:
        caller.next("BYE")
    assert (theirs.cseq.number, status) in [(one.cseq.number, one.status) for one in finals(stage, "INVITE")]
    stage.send(answer(ours, 491))
    stage.run(CoreConfig().crossing_wait)
    assert log.of(Offered) == []


def test_an_update_that_crosses_ours_waits_as_well() -> None:
    """RFC 3311 5.2 would have it refused."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    session.offer(OFFER)
    stage.run()
    [ours] = stage.requests("INVITE")
    caller.next("UPDATE", body=HOLD)
    stage.send(answer(ours, 491))
    session.answer_offer(log.of(Offered)[0].exchange, HELD)
    stage.run()
    assert [one.status for one in finals(stage, "UPDATE")] == [200]
    assert stage.requests("INVITE") == []


def test_an_offer_that_crosses_ours_is_answered_while_ours_waits() -> None:
    """A 500 with Retry-After ends ours for as long (RFC 3261 14.2); another offer of the peer then overlaps its own."""
    stage, caller, session, log, ours, theirs = crossed()
    stage.send(answer(ours, 500, headers=(("Retry-After", "5"),)))
    [offered] = log.of(Offered)
    caller.next("UPDATE", body=HOLD)
    assert [one.status for one in finals(stage, "UPDATE")] == [500]
    session.answer_offer(offered.exchange, HELD)
    stage.run()
    [ok] = finals(stage, "INVITE")
    assert (ok.cseq.number, ok.status) == (theirs.cseq.number, 200)
    stage.send(caller.make("ACK", cseq=theirs.cseq.number))
    stage.run(6.1)
    assert {one.cseq.number for one in stage.requests("INVITE")} == {ours.cseq.number + 1}


def test_an_offer_that_waits_for_one_of_the_peer_can_be_taken_back() -> None:
    """Nothing of it is sent then, and no outcome comes; of one under way both do."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    caller.next("INVITE", body=HOLD)
    number, later = session.offer(OFFER), session.offer(ANSWER)
    for each in (later, number):
        assert session.take_back_offer(each)
        assert not session.take_back_offer(each)
    session.answer_offer(log.of(Offered)[0].exchange, HELD)
    stage.run()
    stage.send(caller.make("ACK"))
    stage.puppet.take()
    stage.run(5)
    assert stage.requests("INVITE") == []
    number = session.offer(OFFER)
    assert not session.take_back_offer(number)


def test_an_offer_taken_back_hurries_no_other() -> None:
    """The one before it waits for the time that the peer has named."""
    stage = Stage()
    _, session, _ = answered_call(stage)
    session.offer(OFFER)
    stage.run()
    [ours] = stage.requests("INVITE")
    stage.send(answer(ours, 500, headers=(("Retry-After", "5"),)))
    assert session.take_back_offer(session.offer(HOLD))
    stage.run(4.8)
    assert stage.requests("INVITE") == []
    stage.run(1.2)
    assert {one.body for one in stage.requests("INVITE")} == {OFFER}


# ---- a phone that registers in the middle of a call

PRIVATE = "sip:puppet@10.0.0.7:5060"


def registered_from(
    place: tuple[str, int],
    contact: str,
    status: int = 200,
    *,
    by: str | None = "tester",
    also: Flow | None = None,
    dies: bool = False,
) -> list[str]:
    """The methods of what a phone behind NAT that called us gets at `place`, having registered from there.

    `by` is who it has proved to be, the caller's own identity or another; None: nobody has asked either of them.
    Somebody else of the same name has registered by `also` before; `dies`: we die after that, and the next process
    goes on.
    """
    stage = Stage()
    stage.agent.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
    if by is None:
        stage.agent.verdict = lambda request, source: Accepted(None)
    caller = PuppetDialog(stage)
    caller.contact = Uri.parse(PRIVATE)
    stage.send(caller.make("INVITE", body=OFFER))
    [ok] = [one for one in stage.puppet.take() if isinstance(one, Response) and one.status == 200]
    caller.remote = ok.to
    stage.send(caller.make("ACK"))
    [log] = stage.agent.calls
    kept = Kept(log.session)
    phone = PuppetDialog(stage, call_id="register")
    phone.contact = Uri.parse(contact)
    stage.agent.reply = lambda request: Reply(status)
    if also is not None:
        stage.agent.core.receive(PuppetDialog(stage, call_id="other").make("REGISTER").write(), also)
    stage.agent.verdict = lambda request, source: Accepted(by)
    puppet = stage.network.nodes.get(place) or Puppet(stage.network, place)
    assert isinstance(puppet, Puppet)
    puppet.send(phone.make("REGISTER"), ALICE)
    stage.run()
    puppet.take()
    session = killed(stage).core.resume(kept.values) if dies else log.session
    session.offer(HOLD)
    stage.run()
    return [one.method for one in puppet.take() if isinstance(one, Request)]


def test_a_phone_whose_nat_gives_it_another_port_is_asked_there_once_it_has_registered() -> None:
    """By UDP nobody hears that a port is another one's: the re-INVITE found nobody, and the call ended."""
    assert registered_from((BOB[0], 40123), PRIVATE) == ["INVITE"]
    assert registered_from((BOB[0], 40123), PRIVATE, also=Flow("tcp", *BOB, "there")) == ["INVITE"]
    assert registered_from((BOB[0], 40123), PRIVATE, dies=True) == ["INVITE"]


@by_row(
    ("place", "contact", "status", "by"),
    [
        (("192.0.2.77", 40123), PRIVATE, 200, "tester"),
        ((BOB[0], 40123), "sip:puppet@10.0.0.8:5060", 200, "tester"),
        ((BOB[0], 40123), "sip:puppet@10.0.0.7:5062", 200, "tester"),
        ((BOB[0], 40123), PRIVATE, 403, "tester"),
        ((BOB[0], 40123), PRIVATE, 200, "a colleague"),
        ((BOB[0], 40123), PRIVATE, 200, None),
    ],
)
def test_another_phone_that_registers_changes_no_call(
    place: tuple[str, int], contact: str, status: int, by: str | None
) -> None:
    """Behind another NAT, of another name, refused, or of another user of the same office and name."""
    assert registered_from(place, contact, status, by=by) == []


# ---- ends that cross answers


def test_two_forks_that_answer_after_the_cancel_are_both_acknowledged_and_ended() -> None:
    """Each by its own ACK, again for each repetition, and one BYE; nothing is left of either."""
    stage, log, session, invite = stage_with_invite()
    for tag in ("one", "two"):
        stage.send(answer(invite, 180, tag=tag))
    session.hangup()
    stage.run()
    [cancel] = stage.requests("CANCEL")
    stage.send(answer(cancel, 200))
    for _ in range(2):
        for tag in ("one", "two"):
            stage.send(answer(invite, 200, tag=tag, body=ANSWER))
    sent = [one for one in stage.puppet.take() if isinstance(one, Request)]
    assert sorted((one.method, one.to_tag) for one in sent) == [
        *[("ACK", "one")] * 2,
        *[("ACK", "two")] * 2,
        ("BYE", "one"),
        ("BYE", "two"),
    ]
    for bye in (one for one in sent if one.method == "BYE"):
        stage.send(answer(bye, 200, tag=bye.to_tag or ""))
    assert [type(one) for one in log.events[-1:]] == [Ended]
    stage.run(70)
    assert is_idle(stage.agent.core)


@pytest.mark.parametrize("who", ["we hang up", "the peer hangs up"])
def test_the_200_to_our_reinvite_that_crosses_a_bye_is_acknowledged(who: str) -> None:
    """As often as it comes: the peer repeats it until then, and perhaps ends the call once more (RFC 5407 3.2.1)."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    number = session.offer(HOLD)
    stage.run()
    [hold] = stage.requests("INVITE")
    if who == "we hang up":
        session.hangup()
        stage.run()
    else:
        caller.next("BYE")
    stage.puppet.take()
    for _ in range(3):
        stage.send(answer(hold, 200, body=HELD))
    acks = stage.requests("ACK")
    assert [(one.method, one.cseq.number) for one in acks] == [("ACK", hold.cseq.number)] * 3
    assert log.of(OfferAnswered) == [OfferAnswered(number, 481)]
    assert log.kinds.count("Ended") == 1
    stage.run(70)
    assert is_idle(stage.agent.core)


@pytest.mark.parametrize("who", ["we hang up", "the peer hangs up"])
def test_our_200_to_a_reinvite_is_not_repeated_after_a_bye(who: str) -> None:
    """It crosses the 200, so no ACK need come any more; one that comes late changes nothing."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    hold = caller.next("INVITE", body=HOLD)
    session.answer_offer(log.of(Offered)[0].exchange, HELD)
    stage.run()
    if who == "we hang up":
        session.hangup()
        stage.run()
        [bye] = stage.requests("BYE")
        stage.send(answer(bye, 200))
    else:
        caller.next("BYE")
    stage.puppet.take()
    stage.run(3)
    assert stage.puppet.take() == []
    stage.send(caller.make("ACK", cseq=hold.cseq.number))
    stage.run(70)
    assert stage.puppet.take() == []
    assert log.kinds.count("Ended") == 1
    assert is_idle(stage.agent.core)


def test_an_ack_to_a_reinvite_that_is_lost_for_all_of_its_time_ends_the_call() -> None:
    """The 200 goes on by T1 doubling up to T2 for 64*T1 (RFC 3261 13.3.1.4), then BYE; the late ACK is no news."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    hold = caller.next("INVITE", body=HOLD)
    session.answer_offer(log.of(Offered)[0].exchange, HELD)
    began = stage.clock.now
    sent: list[float] = []
    while not log.of(Ended):
        stage.run(0.1)
        for one in stage.puppet.take():
            if isinstance(one, Response):
                sent.append(stage.clock.now - began)
            else:
                bye = one
    assert 31.5 < stage.clock.now - began < 32.5
    gaps = [later - sooner for sooner, later in pairwise(sent)]
    assert gaps == pytest.approx([0.5, 1, 2, *[4] * 7], abs=0.11)
    assert len(sent) == 11
    assert bye.method == "BYE"
    stage.send(caller.make("ACK", cseq=hold.cseq.number))
    stage.send(answer(bye, 200))
    assert log.events[-1] == Ended("timeout", 408, text="Request Timeout")
    stage.run(70)
    assert is_idle(stage.agent.core)


@pytest.mark.parametrize("rang", [True, False])
def test_a_2xx_after_the_invite_has_timed_out_is_acknowledged_and_ended(rang: bool) -> None:
    """Who was away for longer than 64*T1 and answers then talks to nobody: it hears so at once."""
    stage, log, session, invite = stage_with_invite()
    if rang:
        stage.send(answer(invite, 180))
        session.hangup()
    stage.run(33)
    assert log.kinds[-1] in ("Ended", "Failed")
    stage.puppet.take()
    for _ in range(2):
        stage.send(answer(invite, 200, tag="late", body=ANSWER))
    sent = [(one.method, one.to_tag) for one in stage.puppet.take() if isinstance(one, Request)]
    assert sent == [("ACK", "late"), ("BYE", "late"), ("ACK", "late")]
    stage.run(140)
    assert is_idle(stage.agent.core)


@pytest.mark.parametrize("first_is", ["503", "silent"])
def test_a_late_2xx_of_the_try_before_does_not_answer_for_the_next_one(first_is: str) -> None:
    """It is acknowledged and ended; that nobody answers the second try is heard all the same."""
    if first_is == "503":
        stage, second, log, first, _ = tried_again()
    else:
        stage = Stage()
        second = Puppet(stage.network, ("192.0.2.3", 5060))
        stage.agent.names["pbx.example"] = (Flow("udp", *BOB), Flow("udp", "192.0.2.3", 5060))
        _, log = call(stage.agent, host="pbx.example")
        stage.run(33)
        first, *_ = stage.requests("INVITE")
    assert any(isinstance(one, Request) for one in second.take()) is (first_is == "silent")
    stage.puppet.take()
    stage.send(answer(first, 200, body=ANSWER))
    sent = [one for one in stage.puppet.take() if isinstance(one, Request)]
    assert [one.method for one in sent] == ["ACK", "BYE"]
    stage.send(answer(sent[1], 200))
    assert log.events == []
    stage.run(33)
    assert [(type(one), getattr(one, "status", 0)) for one in log.events] == [(Failed, 408)]
    stage.run(70)
    assert is_idle(stage.agent.core)


@by_row("second_is", ["busy by TCP", "not there"])
@by_row("after", [0.5, 25.0])
def test_a_late_2xx_of_the_try_before_is_ended_though_the_next_one_is_over(second_is: str, after: float) -> None:
    """Nothing is left of the try that came last; the one before is there for another 64*T1."""
    stage = Stage()
    second = Flow("tcp" if second_is == "busy by TCP" else "udp", "192.0.2.3", 5060)
    puppet = Puppet(stage.network, ("192.0.2.3", 5060))
    stage.agent.names["pbx.example"] = (Flow("udp", *BOB), second)
    _, log = call(stage.agent, host="pbx.example")
    stage.run(33)
    first, *_ = stage.requests("INVITE")
    [again] = [one for one in puppet.take() if isinstance(one, Request)][:1]
    if second_is == "not there":
        stage.agent.core.transport_failed(second)
    else:
        stage.agent.core.receive_message(answer(again, 486), second, 300)
    assert log.kinds == ["Failed"]
    stage.run(after)
    stage.puppet.take()
    stage.send(answer(first, 200, body=ANSWER))
    sent = [one for one in stage.puppet.take() if isinstance(one, Request)]
    assert [one.method for one in sent] == ["ACK", "BYE"]
    stage.send(answer(sent[1], 200))
    stage.run(70)
    assert is_idle(stage.agent.core)


@by_row(
    "order",
    [("first", "first", "second"), ("second", "first", "second", "first"), ("first", "second", "first", "second")],
)
def test_a_reinvite_that_two_places_of_a_trunk_answer_is_acknowledged_at_each_by_its_number(
    order: tuple[str, ...],
) -> None:
    """The first was silent for 32 s, so that the second was asked, and answers after all."""
    stage, log, session, invite = stage_with_invite()
    second = Puppet(stage.network, ("192.0.2.3", 5060))
    stage.agent.names["pbx.example"] = (Flow("udp", *BOB), Flow("udp", "192.0.2.3", 5060))
    stage.send(answer(invite, 200, body=ANSWER, contact=NameAddr(Uri.parse("sip:puppet@pbx.example"))))
    stage.puppet.take()
    number = session.offer(HOLD)
    stage.run(33)
    first, *_ = stage.requests("INVITE")
    again, *_ = [one for one in second.take() if isinstance(one, Request)]
    assert again.cseq.number > first.cseq.number
    numbers = {"first": first.cseq.number, "second": again.cseq.number}
    for who in order:
        if who == "first":
            stage.send(answer(first, 200, body=HELD))
        else:
            second.send(answer(again, 200, body=HELD), ALICE)
            stage.run()
    acks = [one.cseq.number for one in stage.puppet.take() if isinstance(one, Request)]
    assert acks == [numbers[who] for who in order]
    assert log.of(OfferAnswered) == [OfferAnswered(number, 200, HELD)]


def test_an_offer_of_ours_that_is_crossed_each_time_is_given_up_in_the_end() -> None:
    """A peer that refuses each with 491 and offers itself meanwhile has its offers answered."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    number, tries = session.offer(HOLD), 0
    for _ in range(2 * changes.OFFER_ATTEMPTS):
        stage.run(0.01)
        invites = stage.requests("INVITE")
        if not invites:
            break
        tries += 1
        theirs = caller.next("INVITE", body=OFFER + b"a=x-a:%d\r\n" % tries)
        stage.send(answer(invites[0], 491))
        session.answer_offer(log.of(Offered)[-1].exchange, ANSWER)
        stage.run(0.01)
        stage.send(caller.make("ACK", cseq=theirs.cseq.number))
    stage.run(5)
    assert tries == changes.OFFER_ATTEMPTS
    assert log.of(OfferAnswered) == [OfferAnswered(number, 491)]
    assert len(log.of(Offered)) == tries
