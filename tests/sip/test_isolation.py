"""A mistake of ours ends the call that it is about, with 500 or BYE, and nobody else's."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable

import pytest

from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.invite.events import Accepted, Ended, OfferAnswered, Reply, SessionEvent
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.modify import Modification
from gateway.sip.invite.session import InviteSession
from gateway.sip.invite.session_timer import SessionTimer
from gateway.sip.message.message import Request, Response
from tests.rows import by_row
from tests.sip.agents import (
    ANSWER,
    HOLD,
    OFFER,
    PuppetCall,
    Stage,
    answer,
    answered_call,
    call,
    is_idle,
    stage_with_invite,
)


def breaks(*_: object, **__: object) -> None:
    raise RuntimeError("a bug")


class BrokenModification(Modification):
    """One that cannot refresh."""

    def refresh(self) -> None:
        raise RuntimeError("a bug")


def test_a_mistake_in_one_alarm_leaves_the_others_their_turn(caplog: pytest.LogCaptureFixture) -> None:
    """Counted and logged once; the deadline is always valid."""
    stage = Stage()
    core = stage.agent.core
    done: list[int] = []
    start = stage.clock.now
    core.at(start + 1.0, breaks, None)
    core.at(start + 1.0, lambda: done.append(1), None)
    core.at(start + 2.0, lambda: done.append(2), None)
    called_off = core.at(start + 1.5, lambda: done.append(9), None)
    called_off.cancel()
    with caplog.at_level(logging.ERROR):
        stage.run(1.1)
    assert (done, core.deadline()) == ([1], start + 2.0)
    stage.run(1.0)
    assert (done, core.deadline()) == ([1, 2], None)
    assert core.counts["internal error"] == 1
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_a_mistake_in_the_session_timer_of_one_call_ends_that_call_with_bye() -> None:
    """The other call refreshes itself."""
    stage = Stage()
    headers = (("Session-Expires", "90;refresher=uas"), ("Supported", "timer"))
    _, session, log = answered_call(stage, headers=headers)
    other = PuppetCall(stage, call_id="c2", headers=headers)
    other.confirm()
    assert session.dialog is not None
    session.modification = BrokenModification(weakref.ref(session), session.dialog)
    stage.run(45.5)
    sent = {(one.method, one.call_id) for one in stage.puppet.take() if isinstance(one, Request)}
    assert ("BYE", "c1") in sent
    assert ("INVITE", "c2") in sent
    assert log.events[-1] == Ended("mistake", 500, text="Server Internal Error")
    assert stage.agent.core.counts["internal error"] == 1


def test_a_mistake_while_a_change_is_sent_ends_the_call_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a change that was put off, so that nobody waits whom it could be raised to."""
    stage = Stage()
    _, session, log = answered_call(stage)
    number = session.offer(HOLD)
    stage.run()
    [offer] = stage.requests("INVITE")
    monkeypatch.setattr(SessionTimer, "request_headers", breaks)
    stage.send(answer(offer, 491))
    stage.run(4.1)
    assert stage.agent.core.counts["internal error"] == 1
    assert len({one.cseq.number for one in stage.requests("BYE")}) == 1
    assert log.events[1:] == [OfferAnswered(number, 481), Ended("mistake", 500, text="Server Internal Error")]


def test_a_listener_that_fails_ends_its_own_call() -> None:
    """With BYE, soon; it is told nothing more."""
    stage = Stage()
    caller, session, _ = answered_call(stage)
    told: list[SessionEvent] = []

    def fails(event: SessionEvent) -> None:
        told.append(event)
        raise RuntimeError("listener")

    session.listen(fails)
    caller.next("INFO", body=b"1", kind="application/dtmf")
    stage.run()
    assert 481 in [one.status for one in stage.puppet.received if isinstance(one, Response)]
    assert len(stage.requests("BYE")) == 1
    assert len(told) == 1
    assert session.is_over


def test_a_listener_that_fails_while_it_rings_rejects_with_500() -> None:
    """Or cancels, on the calling side."""
    stage = Stage()
    PuppetCall(stage)
    session = stage.agent.calls[0].session
    session.on_mistake()
    stage.run()
    assert 500 in stage.puppet.statuses()
    stage, _, session, invite = stage_with_invite()
    session.on_mistake()
    stage.send(answer(invite, 180))
    assert len(stage.requests("CANCEL")) == 1


def test_a_mistake_before_anything_was_sent_ends_the_session() -> None:
    """The name is still being looked up."""
    stage = Stage()
    stage.agent.resolve = breaks  # type: ignore[method-assign]
    session, _ = call(stage.agent, host="pbx.example")
    assert session.is_over
    assert is_idle(stage.agent.core)


@by_row("method", ["INFO", "UPDATE", "OPTIONS"])
def test_a_request_whose_handling_fails_is_500_and_ends_the_call(method: str) -> None:
    """Answered in any case, so that no transaction waits for ever."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    session._in_dialog = {method: breaks}  # type: ignore[misc]
    caller.next(method)
    assert 500 in [one.status for one in stage.puppet.received if isinstance(one, Response)]
    assert len(stage.requests("BYE")) == 1
    assert log.events[-1] == Ended("mistake", 500, text="Server Internal Error")


def test_a_hook_that_fails_on_a_new_call_rejects_it_with_500() -> None:
    """And the next call is taken."""
    stage = Stage()
    stage.agent.on_call = breaks
    PuppetCall(stage)
    assert 500 in stage.puppet.statuses()
    stage.agent.on_call = None
    PuppetCall(stage, call_id="next")
    assert len(stage.agent.calls) == 2
    assert len(stage.agent.core.sessions) == 1


@pytest.mark.parametrize("method", ["authenticate", "register"])
def test_a_hook_that_fails_on_a_request_costs_only_that(method: str) -> None:
    """What the shell could not catch."""
    stage = Stage()
    if method == "register":
        stage.agent.reply = breaks  # type: ignore[assignment]
    else:
        stage.agent.verdict = breaks
    caller = PuppetCall(stage)
    stage.send(caller.make("REGISTER", call_id="r"))
    assert stage.agent.core.counts["internal error"] >= 1
    if method == "register":
        assert 500 in stage.puppet.statuses()
    stage.agent.verdict = lambda request, source: Accepted("tester")
    stage.agent.reply = lambda request: Reply(200)
    stage.send(caller.make("REGISTER", call_id="s"))
    assert 200 in stage.puppet.statuses()


def failing(name: str) -> Callable[[InviteSession], None]:
    return lambda session: setattr(session, name, breaks)


def test_a_session_without_a_listener_can_be_dropped() -> None:
    """Nobody is told."""
    stage = Stage()
    stage.agent.invited = lambda session, identity: None  # type: ignore[method-assign]
    PuppetCall(stage)
    [session] = stage.agent.core.sessions
    session.drop()
    assert stage.agent.core.sessions == set()


@pytest.mark.parametrize("also", [(), ("drop",)])
def test_a_session_that_cannot_even_be_ended_is_dropped(also: tuple[str, ...]) -> None:
    """No call may stay for ever because of a mistake; the listener still hears of the end where that is possible."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    core = stage.agent.core
    for name in ("on_mistake", *also):
        failing(name)(session)
    core.guard(session, breaks)
    core.guard(session, breaks)
    assert core.sessions == set()
    caller.next("INFO")
    assert 481 in stage.puppet.statuses()
    if not also:
        assert log.kinds[-1] == "Ended"


def test_a_session_that_fails_twice_is_dropped() -> None:
    """The first time it is ended as its state wants, the second time at once."""
    stage = Stage()
    _, session, log = answered_call(stage)
    session._handler = None
    session.on_mistake = lambda: None  # type: ignore[method-assign]
    core = stage.agent.core
    core.guard(session, breaks)
    assert session in core.sessions
    core.guard(session, breaks)
    assert core.sessions == set()
    assert isinstance(log.session, IncomingSession)


def test_a_usage_that_fails_on_an_ack_or_a_lost_flow_is_ended() -> None:
    """Each usage of a dialog for itself."""
    stage = Stage(transport="tcp")
    stage.agent.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
    caller = PuppetCall(stage)
    session = stage.agent.calls[0].session
    session.on_ack = breaks  # type: ignore[method-assign]
    caller.confirm()
    assert session.machine.state.name == "LEAVING"
    del session.on_ack
    stage.send(caller.make("ACK"))
    assert session.is_over
    assert stage.agent.calls[0].events[-1] == Ended("mistake", 500, text="Server Internal Error")


def test_a_response_whose_handling_fails_ends_its_call() -> None:
    """The answer to our offer finds a bug."""
    stage = Stage()
    _, session, log = answered_call(stage)
    session.offer(OFFER + b"a=x\r\n")
    stage.run()
    session.commit = breaks  # type: ignore[method-assign]
    [reinvite] = stage.requests("INVITE")
    stage.send(answer(reinvite, 200, body=ANSWER))
    assert log.kinds[-1] == "Ended"
    assert "BYE" in [one.method for one in stage.puppet.received if isinstance(one, Request)]


class Stranger:
    """A usage of another kind in the dialog of a call."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def claims(self, request: Request) -> bool:
        return request.method == "MESSAGE"

    def on_request(self, request: object, dialog: Dialog) -> None:
        self.seen.append("request")

    def on_ack(self, ack: Request, dialog: Dialog) -> None:
        self.seen.append("ack")

    def on_flow_lost(self, flow: object) -> None:
        self.seen.append("flow lost")

    def on_mistake(self) -> None:
        self.seen.append("mistake")

    def drop(self) -> None:
        self.seen.append("dropped")


def test_a_dialog_outlives_the_call_while_another_usage_has_it() -> None:
    """RFC 5057: the BYE ends the call; the dialog answers 481 only when nobody uses it any more."""
    stage = Stage(transport="tcp")
    caller, session, log = answered_call(stage)
    core, other = stage.agent.core, Stranger()
    assert session.dialog is not None
    core.add_usage(session.dialog, other)
    core.guard(other, breaks)
    caller.next("BYE")
    assert log.kinds[-1] == "Ended"
    caller.next("INFO")
    assert stage.puppet.statuses() == [200, 481]
    core.remove_usage(session.dialog, other)
    core.usage_over(other)
    caller.next("INFO")
    assert stage.puppet.statuses() == [481]
    assert other.seen == ["mistake"]
