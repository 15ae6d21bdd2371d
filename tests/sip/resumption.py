"""Processes that die in the middle of calls, and the next one at their address."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.sip.invite.events import SessionEvent
from gateway.sip.invite.farewell import Farewell
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.resumed import session_values
from gateway.sip.invite.session import InviteSession
from gateway.sip.message.message import Request
from gateway.testing.sip_peer import AgentNode, SessionLog
from tests.sip.agents import ALICE, ANSWER, HOLD, Pair, Stage, answer, call

REASON = 'SIP;cause=503;text="lost"'
KEY = b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n"


class Kept:
    """What a session gave of itself last: at each of its changes and events, as whoever keeps calls takes it."""

    def __init__(self, session: InviteSession) -> None:
        self.session = session
        self.text = "null"
        session.changed = self.take
        self.take()

    def take(self, event: SessionEvent | None = None) -> None:
        self.text = json.dumps(session_values(self.session))

    @property
    def values(self) -> Any:
        return json.loads(self.text)


def killed(pair: Pair | Stage, address: tuple[str, int] = ALICE) -> AgentNode:
    """The next process at that address; of the one before nothing is sent any more."""
    return AgentNode(pair.network, address)


def farewell(told: list[str] | None = None) -> Farewell:
    """Says in `told` what becomes of a goodbye."""
    heard: list[str] = [] if told is None else told

    def changed(values: Mapping[str, Any], is_beside: bool) -> None:
        heard.append(("another " if is_beside else "") + ("dialog" if "dialog" in values else "?"))

    return Farewell(lambda: heard.append("answered"), changed)


def talking(pair: Pair, body: bytes = ANSWER) -> tuple[Kept, SessionLog]:
    """Alice has called Bob, who has answered; what Alice kept, and Bob's side."""
    pair.bob.on_call = lambda session, log: answered(session, body)
    session, ours = call(pair.alice)
    kept = Kept(session)
    ours._react = kept.take
    pair.run(1)
    [log] = pair.bob.calls
    assert log.session.is_confirmed
    return kept, log


def holding(stage: Stage, **changes: Any) -> tuple[Kept, Request]:
    """A call to the puppet that is up and whose hold has just been asked for; what was kept of it before that."""
    session, _ = call(stage.agent, **changes)
    kept = Kept(session)
    stage.run()
    [invite] = stage.requests("INVITE")
    stage.send(answer(invite, 200, body=ANSWER))
    kept.take()
    stage.puppet.take()
    session.offer(HOLD)
    stage.run()
    [again] = stage.requests("INVITE")
    return kept, again


def answered(session: InviteSession, body: bytes = ANSWER) -> None:
    assert isinstance(session, IncomingSession)
    session.answer(body)
