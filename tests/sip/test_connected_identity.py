"""Who a session talks with may change while it lasts (RFC 4916), one by one against a puppet."""

from __future__ import annotations

import pytest

from gateway.sip.invite.events import Answered, Identified
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request
from tests.rows import by_row
from tests.sip.agents import ANSWER, OFFER, Stage, answer, answered_call, stage_with_invite

WITH_UPDATE = ("Allow", "INVITE, ACK, BYE, CANCEL, PRACK, UPDATE")
WITHOUT_UPDATE = ("Allow", "INVITE, ACK, BYE, CANCEL")
TAKES_IT = ("Supported", "from-change")
CAROL = NameAddr.parse('"Carol" <sip:carol@example.com>')
ASSERTED = (("P-Asserted-Identity", str(CAROL)),)


def sent(stage: Stage) -> list[Request]:
    return [one for one in stage.puppet.take() if isinstance(one, Request) and one.method in ("UPDATE", "INVITE")]


def test_from_changes_for_who_takes_that() -> None:
    """By an UPDATE without an offer, with the tag that the dialog has; what comes after it is from the new one, too."""
    stage = Stage()
    _, session, _ = answered_call(stage, headers=(WITH_UPDATE, TAKES_IT))
    tag = stage.agent.calls[0].session.dialog.local.tag  # type: ignore[union-attr]
    session.identify(CAROL, ASSERTED)
    stage.run()
    [update] = sent(stage)
    assert (update.method, update.from_, update.body) == ("UPDATE", CAROL.with_tag(tag), b"")
    assert update.headers.get("P-Asserted-Identity") == str(CAROL)
    stage.send(answer(update, 200))
    session.hangup()
    stage.run()
    [bye] = stage.requests("BYE")
    assert bye.from_ == CAROL.with_tag(tag)


def test_from_stays_for_who_does_not() -> None:
    """An assertion goes all the same; without one there is nothing to say."""
    stage = Stage()
    _, session, _ = answered_call(stage, headers=(WITH_UPDATE,))
    before = stage.agent.calls[0].session.dialog.local  # type: ignore[union-attr]
    session.identify(CAROL)
    stage.run()
    assert sent(stage) == []
    session.identify(CAROL, ASSERTED)
    stage.run()
    [update] = sent(stage)
    assert update.from_ == before
    assert update.headers.get("P-Asserted-Identity") == str(CAROL)


def test_without_update_a_reinvite_says_it_and_offers_what_stands() -> None:
    """RFC 4916 section 4.3: either of the two."""
    stage = Stage()
    _, session, log = answered_call(stage, headers=(WITHOUT_UPDATE, TAKES_IT))
    session.identify(CAROL)
    stage.run()
    [again] = sent(stage)
    assert (again.method, again.from_.uri, again.body) == ("INVITE", CAROL.uri, session.local_body)
    before = len(log.events)
    stage.send(answer(again, 200, body=session.remote_body))
    assert len(stage.requests("ACK")) == 1
    assert log.events[before:] == []


def test_who_takes_neither_is_left_alone() -> None:
    """A re-INVITE for a name that it may not even show is too much."""
    stage = Stage()
    _, session, _ = answered_call(stage, headers=(WITHOUT_UPDATE,))
    session.identify(CAROL, ASSERTED)
    stage.run()
    assert sent(stage) == []


def test_of_two_names_that_wait_only_the_last_is_told() -> None:
    """A call that is passed on twice while an answer is out: nobody wants to know who it was in between."""
    stage = Stage()
    _, session, _ = answered_call(stage, headers=(WITH_UPDATE, TAKES_IT))
    for user in ("one", "two", "three"):
        session.identify(NameAddr.parse(f"<sip:{user}@example.com>"))
    stage.run()
    told = []
    while updates := sent(stage):
        told += [update.from_.uri.user for update in updates]
        stage.send(answer(updates[0], 200))
    assert told == ["one", "three"]


@by_row("status", [403, 500, 488])
def test_a_refusal_changes_nothing(status: int) -> None:
    """The call goes on, and nobody is told of it."""
    stage = Stage()
    _, session, log = answered_call(stage, headers=(WITH_UPDATE, TAKES_IT))
    before = len(log.events)
    session.identify(CAROL)
    stage.run()
    [update] = sent(stage)
    stage.send(answer(update, status))
    assert log.events[before:] == []
    assert not session.is_over


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
def test_the_peer_may_become_somebody_else(method: str) -> None:
    """An accepted request with another From is told once, and requests of ours go to that one."""
    stage = Stage()
    caller, session, log = answered_call(stage, headers=(WITH_UPDATE,))
    assert isinstance(session, IncomingSession)
    caller.local = NameAddr.parse('"Carol" <sip:carol@example.net>').with_tag(caller.local.tag)
    body = session.remote_body if method == "INVITE" else b""
    for _ in range(2):
        caller.cseq += 1
        stage.send(caller.make(method, body=body))
        if method == "INVITE":
            stage.send(caller.make("ACK"))
    named = [event.message.from_ for event in log.events if isinstance(event, Identified)]
    assert named == [caller.local]
    stage.puppet.take()
    session.hangup()
    stage.run()
    [bye] = stage.requests("BYE")
    assert bye.to == caller.local


def test_what_is_asserted_is_told_with_the_answer() -> None:
    """A PBX says in its 2xx who has really answered."""
    stage, log, _, invite = stage_with_invite(body=OFFER)
    stage.send(answer(invite, 200, body=ANSWER, headers=ASSERTED))
    kinds = [type(event) for event in log.events]
    assert kinds.index(Identified) < kinds.index(Answered)


def test_a_malformed_assertion_counts_as_none() -> None:
    """Nothing hangs on it, so the UPDATE is answered (RFC 3261 section 8.2)."""
    stage = Stage()
    caller, _, log = answered_call(stage, headers=(WITH_UPDATE,))
    caller.cseq += 1
    stage.puppet.take()
    stage.send(caller.make("UPDATE", headers=(("P-Asserted-Identity", '"<<'),)))
    [response] = stage.puppet.take()
    assert response.status == 200  # type: ignore[union-attr]
    assert not [event for event in log.events if isinstance(event, Identified)]


def test_we_say_that_from_may_change() -> None:
    """In our INVITEs and in our 2xx."""
    core = Stage().agent.core
    for fields in (core.offered_capabilities(OFFER), core.capabilities()):
        assert "from-change" in str(dict(fields)["Supported"]).split(", ")
