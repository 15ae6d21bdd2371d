"""A dialog lives on a flow: who knows all its identifiers but is elsewhere changes nothing, unless proved."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.sip.flow import Flow
from gateway.sip.invite.events import Accepted, Confirmed, Ended, Refused, Verdict
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.message.message import Request, Response
from gateway.sip.transactions.peers import Strangers
from gateway.testing.network import Address
from gateway.testing.sip_peer import Puppet, SessionLog
from tests.rows import by_row
from tests.sip.agents import ALICE, ANSWER, HOLD, OFFER, PuppetCall, Stage, answer, answered_call, stage_with_invite

ELSEWHERE = ("198.51.100.9", 5060)
OTHER_PORT = ("192.0.2.2", 40123)
CHALLENGE = Refused(401, headers=(("WWW-Authenticate", 'Digest realm="r", nonce="n"'),))
CREDENTIALS = (("Authorization", 'Digest username="tester", realm="r", nonce="n", uri="sip:x", response="0"'),)


def digest_only(identity: str = "tester") -> Callable[[Request, Flow], Verdict]:
    """The application lets in whoever signs a request; here every signature is good."""
    return lambda request, source: Accepted(identity) if request.authorization else CHALLENGE


def by_source(*hosts: str) -> Callable[[Request, Flow], Verdict]:
    """The application knows a trunk by its addresses."""
    return lambda request, source: Accepted("trunk:pbx") if source.host in hosts else CHALLENGE


def a_call(
    verdict: Callable[[Request, Flow], Verdict], **how: object
) -> tuple[Stage, PuppetCall, IncomingSession, SessionLog]:
    """A confirmed call from the puppet, whom the application knows by `verdict` from now on."""
    stage = Stage()
    if "trunk" in how:
        stage.agent.verdict = verdict
    caller, session, log = answered_call(stage)
    stage.agent.verdict = verdict
    return stage, caller, session, log


def sends_from(stage: Stage, place: Address, request: Request) -> list[Request | Response]:
    """Have somebody at `place` send a request; what comes back."""
    known = stage.network.nodes.get(place)
    puppet = known if isinstance(known, Puppet) else Puppet(stage.network, place)
    puppet.send(request, ALICE)
    stage.run()
    return puppet.take()


def statuses_from(stage: Stage, place: Address, request: Request) -> list[int]:
    """The same, the responses' status codes."""
    return [one.status for one in sends_from(stage, place, request) if isinstance(one, Response)]


@by_row("place", [ELSEWHERE, OTHER_PORT])
@by_row("method", ["BYE", "INVITE", "UPDATE", "INFO", "PRACK", "OPTIONS", "MESSAGE"])
def test_a_stranger_with_call_id_and_tags_is_challenged_and_changes_nothing(method: str, place: Address) -> None:
    """No event, no new remote target, no higher CSeq: the caller itself goes on with the next number."""
    stage, caller, session, log = a_call(digest_only())
    dialog = session.dialog
    assert dialog is not None
    target = dialog.remote_target
    body = HOLD if method in ("INVITE", "UPDATE") else b""
    thief = caller.make(method, cseq=77, body=body).with_header("Contact", "<sip:thief@198.51.100.9>")
    [challenged] = sends_from(stage, place, thief)
    assert isinstance(challenged, Response)
    assert challenged.status == 401
    assert (log.events, dialog.remote_target, session.remote_body) == ([Confirmed()], target, OFFER)
    caller.next("INFO", body=b"1", kind="application/dtmf")
    assert stage.puppet.statuses() == [200]


def test_who_proves_to_be_somebody_else_is_403() -> None:
    """A user of ours has no part in the calls of another."""
    stage, caller, session, log = a_call(digest_only("mallory"))
    caller.cseq = 5
    [refused] = sends_from(stage, ELSEWHERE, caller.make("BYE", headers=CREDENTIALS))
    assert isinstance(refused, Response)
    assert refused.status == 403
    assert session.is_confirmed
    assert log.kinds == ["Confirmed"]


def test_a_phone_whose_nat_changes_its_port_proves_itself_once_and_goes_on() -> None:
    """401, then with credentials 200; from then on its new port is where the dialog lives, the old one is not."""
    stage, caller, _, log = a_call(digest_only())
    caller.cseq = 2
    assert statuses_from(stage, OTHER_PORT, caller.make("INFO")) == [401]
    caller.cseq = 3
    signed = caller.make("INFO", headers=CREDENTIALS)
    assert statuses_from(stage, OTHER_PORT, signed) == [200]
    caller.cseq = 4
    assert statuses_from(stage, OTHER_PORT, caller.make("BYE")) == [200]
    assert log.events[-1] == Ended("remote")


def test_a_caller_behind_nat_that_moved_is_reached_at_its_new_port() -> None:
    """Our BYE follows the proof."""
    stage = Stage()
    stage.agent.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
    caller = PuppetCall.__new__(PuppetCall)
    caller.stage, caller.call_id, caller.cseq, caller.branches = stage, "nat", 1, 0
    template = PuppetCall(stage, call_id="template")
    caller.local, caller.remote, caller.contact = template.local, template.invite.to, template.contact
    stage.puppet.take()
    caller.invite = caller.make("INVITE", body=OFFER).with_header("Contact", "<sip:puppet@10.0.0.7:5060>")
    stage.send(caller.invite)
    caller.confirm()
    stage.agent.verdict = digest_only()
    caller.cseq = 2
    sends_from(stage, OTHER_PORT, caller.make("INFO", headers=CREDENTIALS))
    stage.agent.calls[-1].session.hangup()
    stage.run()
    moved = stage.network.nodes[OTHER_PORT]
    assert isinstance(moved, Puppet)
    assert [one.method for one in moved.take() if isinstance(one, Request)] == ["BYE"]


def test_a_trunk_may_speak_from_any_of_its_addresses() -> None:
    """Its sources are its proof; a stranger beside them is challenged."""
    stage, caller, _, log = a_call(by_source("192.0.2.2", "198.51.100.9"), trunk=True)
    caller.cseq = 2
    assert statuses_from(stage, ELSEWHERE, caller.make("INFO")) == [200]
    caller.cseq = 3
    assert statuses_from(stage, ("203.0.113.66", 5060), caller.make("BYE")) == [401]
    assert log.kinds == ["Confirmed"]


@pytest.mark.parametrize(("identity", "statuses"), [("1001", [200]), ("1002", [403])])
def test_a_callee_is_known_by_whom_we_called(identity: str, statuses: list[int]) -> None:
    """`invite(identity=...)` says who may go on with the dialog from elsewhere."""
    stage, _, session, invite = stage_with_invite(identity="1001")
    stage.send(answer(invite, 200, body=ANSWER))
    stage.agent.verdict = digest_only(identity)
    caller = PuppetCall.__new__(PuppetCall)
    caller.stage, caller.call_id, caller.cseq, caller.branches = stage, invite.call_id, 9, 0
    caller.local, caller.remote = invite.to.with_tag("puppet"), invite.from_
    caller.contact = PuppetCall(stage, call_id="template").contact
    bye = caller.make("BYE", headers=CREDENTIALS)
    assert statuses_from(stage, ELSEWHERE, bye) == statuses
    assert session.is_over is (statuses == [200])


@pytest.mark.parametrize(("place", "statuses"), [(OTHER_PORT, [200]), (ELSEWHERE, [403])])
def test_a_callee_whom_nobody_named_may_only_change_its_port(place: Address, statuses: list[int]) -> None:
    """Somebody who is let in, at the same IP address; not everybody who has an account."""
    stage, _, _, invite = stage_with_invite()
    stage.send(answer(invite, 200, body=ANSWER))
    caller = PuppetCall.__new__(PuppetCall)
    caller.stage, caller.call_id, caller.cseq, caller.branches = stage, invite.call_id, 9, 0
    caller.local, caller.remote = invite.to.with_tag("puppet"), invite.from_
    caller.contact = PuppetCall(stage, call_id="template").contact
    assert statuses_from(stage, place, caller.make("BYE")) == statuses


def test_an_ack_from_elsewhere_brings_no_answer_into_the_call() -> None:
    """A stranger's SDP would get the call's audio; the real ACK comes for the repeated 200."""
    stage = Stage()
    stage.agent.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
    caller = PuppetCall(stage, body=b"")
    ok = next(one for one in stage.puppet.take() if isinstance(one, Response) and one.status == 200)
    caller.remote = ok.to
    stage.agent.verdict = digest_only()
    [log] = stage.agent.calls
    for headers in ((), CREDENTIALS):
        assert sends_from(stage, ELSEWHERE, caller.make("ACK", body=HOLD, headers=headers)) == []
    assert (log.events, log.session.remote_body) == ([], b"")
    assert stage.agent.core.counts["ACK from elsewhere"] == 2
    stage.run(1.0)
    assert 200 in stage.puppet.statuses()
    stage.send(caller.make("ACK", body=OFFER))
    assert log.events == [Confirmed(OFFER, 1)]


def test_an_ack_from_another_address_of_the_trunk_counts() -> None:
    """Some PBXs send it from another of their servers."""
    stage = Stage()
    stage.agent.verdict = by_source("192.0.2.2", "198.51.100.9")
    stage.agent.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
    caller = PuppetCall(stage)
    ok = next(one for one in stage.puppet.take() if isinstance(one, Response) and one.status == 200)
    caller.remote = ok.to
    sends_from(stage, ELSEWHERE, caller.make("ACK"))
    assert stage.agent.calls[0].events == [Confirmed()]


def test_credentials_that_cannot_be_read_are_400() -> None:
    """Nobody is asked whose they are."""
    stage, caller, _, log = a_call(digest_only())
    caller.cseq = 5
    bad = caller.make("BYE", headers=(("Authorization", 'Digest realm="r", realm="s"'),))
    assert statuses_from(stage, ELSEWHERE, bad) == [400]
    assert log.kinds == ["Confirmed"]


def test_a_dialog_that_ended_while_its_mover_was_judged_is_481() -> None:
    """The verdict may take its time."""
    stage, caller, session, _ = a_call(digest_only())
    stage.agent.verdict = lambda request, source: None
    caller.cseq = 5
    assert sends_from(stage, OTHER_PORT, caller.make("INFO")) == []
    caller.cseq = 2
    stage.send(caller.make("BYE"))
    stage.agent.open_verdicts[0](Accepted("tester"))
    stage.agent.open_verdicts[0](Accepted("tester"))
    stage.run()
    moved = stage.network.nodes[OTHER_PORT]
    assert isinstance(moved, Puppet)
    assert moved.statuses() == [481]
    assert session.is_over


class Providers(Strangers):
    """Two accounts at one provider: two trunks whose calls come from the same addresses."""

    hosts = ("192.0.2.2", "198.51.100.9")

    def are_one(self, source: Flow, other: Flow) -> bool:
        return source.host in self.hosts and other.host in self.hosts

    def speaks_for(self, identity: str, source: Flow) -> bool:
        return identity in ("trunk:pbx", "trunk:other") and source.host in self.hosts


def test_the_second_of_two_trunks_of_one_provider_may_speak_from_its_other_address() -> None:
    """Whom the application names there is the first of them."""
    stage = Stage()
    stage.agent.verdict = lambda request, source: Accepted("trunk:other")
    caller, session, _ = answered_call(stage)
    stage.agent.verdict = by_source(*Providers.hosts)
    caller.cseq = 5
    assert statuses_from(stage, ELSEWHERE, caller.make("INFO")) == [403]
    stage.agent.core.stack.peers = Providers()
    caller.cseq = 6
    assert statuses_from(stage, ELSEWHERE, caller.make("BYE")) == [200]
    assert session.is_over


@by_row("status", [183, 200, 481])
def test_who_answers_our_requests_from_elsewhere_changes_nothing(status: int) -> None:
    """All is known to the stranger, the branch too; another address of the same trunk may answer."""
    stage, log, session, invite = stage_with_invite()
    stage.send(answer(invite, 200, body=ANSWER))
    session.offer(HOLD)
    stage.run()
    [again] = stage.requests("INVITE")
    body = ANSWER.replace(b"192.0.2.2", b"198.51.100.9") if status == 200 else b""
    thief = Puppet(stage.network, ELSEWHERE)
    thief.send(answer(again, status, body=body), ALICE)
    stage.run()
    assert (log.kinds[-1], session.is_over, session.remote_body) == ("Answered", False, ANSWER)
    assert stage.agent.core.stack.counts["foreign response"] == 1
    stage.agent.core.stack.peers = Providers()
    thief.send(answer(again, 200, body=ANSWER + b"a=x-elsewhere\r\n"), ALICE)
    stage.run()
    assert session.remote_body == ANSWER + b"a=x-elsewhere\r\n"


def test_who_answers_our_invite_from_elsewhere_gets_no_call() -> None:
    """Neither the call nor its end is the stranger's."""
    stage, log, _, invite = stage_with_invite()
    stage.send(answer(invite, 180))
    thief = Puppet(stage.network, ELSEWHERE)
    thief.send(answer(invite, 200, tag="thief", body=ANSWER), ALICE)
    thief.send(answer(invite, 486), ALICE)
    stage.run()
    assert "Answered" not in log.kinds
    assert "Failed" not in log.kinds
    stage.send(answer(invite, 200, body=ANSWER))
    assert log.kinds[-1] == "Answered"
