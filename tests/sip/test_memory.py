"""What calls leave behind: everything for as long as RFC 3261 wants it, and then nothing."""

from __future__ import annotations

import gc
import weakref
from collections import Counter

import pytest

from gateway.sip.alarms import Alarm
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.session import InviteSession
from gateway.sip.message.message import Message
from gateway.sip.requests.client import ClientRequest
from gateway.sip.requests.server import ServerRequest
from gateway.sip.transactions import Timers, Transaction
from gateway.testing.network import Weather
from gateway.testing.sip_peer import SessionLog
from tests.sip.agents import ANSWER, Pair, call, is_idle

CALLS = 200
KINDS = (Transaction, InviteSession, Dialog, Message, ClientRequest, ServerRequest, Alarm)
BAD = Weather(delay=0.01, loss=0.05, duplication=0.1)


def alive() -> Counter[str]:
    """How many objects of calls there are anywhere, by kind."""
    gc.collect()
    objects = gc.get_objects()
    return Counter({kind.__name__: sum(isinstance(one, kind) for one in objects) for kind in KINDS})


def one_call(pair: Pair) -> None:
    """A call that is answered, and hung up by who was called."""
    session, _ = call(pair.alice)
    for _ in range(60):
        pair.run(0.25)
        if session.is_confirmed:
            break
    assert session.is_confirmed
    pair.bob.calls.pop().session.hangup()


def test_64_t1_after_the_last_call_nothing_of_any_is_left() -> None:
    """Transactions, dialogs, sessions, alarms and messages, of both sides, on a network that loses and doubles."""

    def pick_up(session: InviteSession, _: SessionLog) -> None:
        assert isinstance(session, IncomingSession)
        session.answer(ANSWER)

    before = alive()
    pair = Pair(BAD, seed=1)
    pair.bob.on_call = pick_up
    for _ in range(CALLS):
        one_call(pair)
    during = alive() - before
    assert CALLS < during["Transaction"] < CALLS * 4, "some are there for what comes late, those of old calls are not"
    # The longest: a BYE that is not answered is sent for 64*T1, and what took it stays as long again.
    pair.run(3 * 64 * Timers().t1)
    for node in (pair.alice, pair.bob):
        assert is_idle(node.core)
        assert node.core.deadline() is None
    assert alive() - before == Counter()


class Keeper:
    """Stands for a leg, which a session tells that its values have changed."""

    def __init__(self, session: InviteSession) -> None:
        self.session = session
        session.changed = self.written
        self.times = 0

    def written(self) -> None:
        self.times += 1


def test_a_session_that_is_over_keeps_nobody_whom_it_told() -> None:
    """Its transactions keep it for 64*T1; the legs, and with them the call, are free at once."""

    def pick_up(session: InviteSession, _: SessionLog) -> None:
        assert isinstance(session, IncomingSession)
        session.answer(ANSWER)

    pair = Pair()
    pair.bob.on_call = pick_up
    session, _ = call(pair.alice)
    keepers = [Keeper(session)]
    pair.run(0.25)
    assert session.is_confirmed
    keepers.append(Keeper(pair.bob.calls.pop().session))
    session.hangup()
    pair.run(0.25)
    assert session.is_over
    assert keepers[1].session.is_over
    gone = [weakref.ref(keeper) for keeper in keepers]
    gc.disable()
    try:
        keepers.clear()
        assert [one() for one in gone] == [None, None]
    finally:
        gc.enable()


def test_what_is_left_of_a_call_waits_for_no_collector() -> None:
    """Of both sides: once their transactions have ended, no session, dialog or request of theirs is in a circle."""

    def pick_up(session: InviteSession, _: SessionLog) -> None:
        assert isinstance(session, IncomingSession)
        session.ring(183, body=ANSWER)
        session.answer(ANSWER)

    pair = Pair()
    pair.bob.on_call = pick_up
    before = alive()
    gc.disable()
    try:
        ours, log = call(pair.alice)
        pair.run(0.25)
        theirs = pair.bob.calls.pop().session
        assert ours.is_confirmed
        ours.offer(ANSWER)
        pair.run(1)
        theirs.hangup()
        pair.run(0.25)
        assert ours.is_over
        assert theirs.is_over
        sessions: list[weakref.ref[InviteSession]] = [weakref.ref(ours), weakref.ref(theirs)]
        del ours, theirs, log
        pair.run(3 * 64 * Timers().t1)
        assert [session() for session in sessions] == [None, None]
        parts = (InviteSession, Dialog, ClientRequest, ServerRequest)
        left = Counter({kind.__name__: sum(isinstance(one, kind) for one in gc.get_objects()) for kind in parts})
        assert left - before == Counter()
    finally:
        gc.enable()


@pytest.mark.parametrize("lost", ["INVITE", "BYE"])
def test_what_nobody_answered_waits_for_no_collector(lost: str) -> None:
    """A call to a phone that is gone, and one whose far end went away: 408 and silence end what a 2xx would."""

    def pick_up(session: InviteSession, _: SessionLog) -> None:
        assert isinstance(session, IncomingSession)
        session.answer(ANSWER)

    pair = Pair(Weather(loss=1.0) if lost == "INVITE" else None)
    pair.bob.on_call = pick_up
    gc.collect()
    gc.disable()
    try:
        session, log = call(pair.alice)
        pair.run(0.25)
        assert session.is_confirmed is (lost == "BYE")
        if lost == "BYE":
            pair.network.weather = Weather(loss=1.0)
            session.hangup()
        pair.run(3 * 64 * Timers().t1)
        assert session.is_over
        gone = weakref.ref(session)
        del session, log
        assert gone() is None
    finally:
        gc.enable()
