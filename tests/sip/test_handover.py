"""Dialogs that another user agent goes on with: left without a word, not changed while nobody knows whose they are."""

from __future__ import annotations

import pytest

from gateway.sip import handover
from gateway.sip.flow import Flow
from gateway.sip.handover import TAKEN
from gateway.sip.invite.events import Ended
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.message.message import Request, Response
from gateway.sip.subscription.referral import Referred
from gateway.testing.walk import SETTLED
from tests.rows import by_row
from tests.sip.agents import ANSWER, BOB, HOLD, Pair, PuppetCall, Stage, answered_call, call, is_idle


def statuses(stage: Stage) -> list[int]:
    """Of the responses that the puppet has; takes everything."""
    return [one.status for one in stage.puppet.take() if isinstance(one, Response)]


def test_a_call_is_left_without_a_word() -> None:
    """Who listens hears of its end; nothing of it is left here, and its peer talks on."""
    pair = Pair()
    pair.bob.on_call = lambda session, log: session.answer(ANSWER)  # type: ignore[attr-defined]
    session, log = call(pair.alice)
    pair.run(1)
    sent = pair.network.sent
    pair.alice.core.handover.leave({session.call_id})
    session.hangup()
    session.offer(HOLD)
    pair.run(SETTLED)
    assert pair.network.sent == sent
    assert log.events[-1] == TAKEN
    assert is_idle(pair.alice.core)
    assert pair.alice.core.timers == 0
    assert pair.bob.calls[0].session.is_confirmed


def test_other_calls_go_on() -> None:
    """Only those that were named are left."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    stage.agent.core.handover.leave({"another"})
    caller.next("BYE")
    assert statuses(stage) == [200]
    assert isinstance(log.events[-1], Ended)
    assert session.is_over


def test_what_was_under_way_is_not_sent_again() -> None:
    """An offer of ours, an answer that is owed, a BYE, what waits to be sent: all of it is the other's now."""
    stage = Stage()
    offers, offered, _ = [PuppetCall(stage, call_id=name) for name in ("offers", "offered", "over")]
    for log in stage.agent.calls:
        assert isinstance(log.session, IncomingSession)
        log.session.answer(ANSWER)
    stage.run()
    answers = {one.call_id: one for one in stage.puppet.take() if isinstance(one, Response) and one.status == 200}
    for one in (offers, offered):
        one.remote = answers[one.call_id].to
        stage.send(one.make("ACK"))
    stage.puppet.take()
    by_id = {log.session.call_id: log for log in stage.agent.calls}
    by_id["offers"].session.offer(HOLD)
    offered.next("INVITE", body=HOLD)
    assert by_id["offered"].kinds[-1] == "Offered"
    offered.next("INFO", body=b"Signal=1", kind="application/dtmf-relay")
    assert by_id["offered"].kinds[-1] == "InfoReceived"
    by_id["over"].session.hangup()  # its 200 is repeated still
    stage.run()
    stage.puppet.take()
    by_id["offers"].session.info("application/dtmf-relay", b"Signal=2")
    stage.agent.core.stack.send(b"\r\n\r\n", Flow("udp", *BOB))
    stage.agent.core.handover.leave(by_id.keys())
    assert [data for data, _ in stage.agent.core.datagrams()] == [b"\r\n\r\n"]
    stage.run(SETTLED)
    assert stage.puppet.take() == []
    assert is_idle(stage.agent.core)


def test_a_refer_is_left_with_its_call() -> None:
    """No NOTIFY tells any more what becomes of it."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    caller.next("REFER", headers=(("Refer-To", "<sip:carol@example.com>"),))
    referral = log.of(Referred)[-1].referral
    referral.accept()
    stage.run()
    stage.puppet.take()
    stage.agent.core.handover.leave({session.call_id})
    referral.progress(180)
    referral.finish(200)
    stage.run(SETTLED)
    assert stage.puppet.take() == []
    assert is_idle(stage.agent.core)


def test_requests_of_before_end_nothing() -> None:
    """They were sent before their sender knew who has its call; only who hangs up gets what ends the dialog."""
    stage = Stage()
    caller, session, _ = answered_call(stage)
    stage.agent.core.handover.leave({session.call_id})
    caller.next("UPDATE")
    [response] = [one for one in stage.puppet.take() if isinstance(one, Response)]
    assert response.status == 500
    assert response.retry_after is not None
    caller.next("BYE")
    assert statuses(stage) == [481]
    stage.run(SETTLED)
    caller.next("UPDATE")
    assert statuses(stage) == [481]


def test_few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many calls are taken."""
    monkeypatch.setattr(handover, "_MOST", 2)
    stage = Stage()
    caller, session, _ = answered_call(stage)
    core = stage.agent.core
    core.handover.leave({session.call_id})
    core.handover.leave(["x", "y"])
    caller.next("UPDATE")
    assert statuses(stage) == [481]


@by_row("method", ["INVITE", "UPDATE", "REFER"])
def test_a_call_that_may_be_anothers_is_not_changed(method: str) -> None:
    """Its peer is to ask again; once it is known to be ours, that is done."""
    stage = Stage()
    caller, session, log = answered_call(stage)
    stage.agent.core.handover.is_ours = lambda: False
    headers = (("Refer-To", "<sip:carol@example.com>"),) if method == "REFER" else ()
    body = b"" if method == "REFER" else HOLD
    heard = len(log.events)
    refused = caller.next(method, body=body, headers=headers)
    [response] = [one for one in stage.puppet.take() if isinstance(one, Response) and one.is_final]
    assert (response.status, response.cseq) == (500, refused.cseq)
    assert len(log.events) == heard
    if method == "INVITE":
        stage.send(caller.make("ACK"))
    stage.agent.core.handover.is_ours = lambda: True
    caller.next(method, body=body, headers=headers)
    assert len(log.events) > heard
    assert session.is_confirmed


def test_whoever_hangs_up_is_heard_in_any_case() -> None:
    """And whoever asks what we can do, or sends a digit."""
    stage = Stage()
    caller, _, log = answered_call(stage)
    stage.agent.core.handover.is_ours = lambda: False
    caller.next("OPTIONS")
    caller.next("BYE")
    assert statuses(stage) == [200, 200]
    assert isinstance(log.events[-1], Ended)
    assert not [one for one in stage.puppet.take() if isinstance(one, Request)]
