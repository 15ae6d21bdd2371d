"""Whole calls over a network that loses, doubles and reorders: they complete, and nothing is left behind."""

from __future__ import annotations

import pytest

from gateway.sip.config import CoreConfig
from gateway.sip.invite.events import InfoReceived, Offered
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.outgoing import OutgoingSession
from gateway.sip.invite.session import InviteSession
from gateway.testing.network import Weather
from gateway.testing.sip_peer import SessionLog
from tests.rows import by_row
from tests.sip.agents import ANSWER, OFFER, Pair, call, is_idle

pytestmark = pytest.mark.no_cover

BAD = Weather(delay=0.02, jitter=0.2, loss=0.3, duplication=0.1)


def auto_answer(session: InviteSession, log: SessionLog) -> None:
    assert isinstance(session, IncomingSession)
    session.ring()
    session.answer(ANSWER)


def assert_forgotten(pair: Pair) -> None:
    """After the longest timers nothing is left on either side."""
    pair.run(200.0)
    for node in (pair.alice, pair.bob):
        assert is_idle(node.core)
        assert node.core.deadline() is None


@by_row("seed", range(20))
def test_a_call_completes_at_30_percent_loss_and_leaves_no_state(seed: int) -> None:
    """INVITE, 200, ACK and BYE get through by retransmission alone."""
    pair = Pair(BAD, seed=seed)
    pair.bob.on_call = auto_answer
    session, log = call(pair.alice)
    pair.run(40.0)
    assert "Answered" in log.kinds, log.kinds
    [callee] = pair.bob.calls
    assert callee.kinds[0] == "Confirmed"
    session.hangup()
    pair.run(40.0)
    assert log.kinds[-1] == "Ended"
    assert callee.kinds[-1] == "Ended"
    assert_forgotten(pair)


@by_row("seed", range(20))
def test_a_cancelled_call_ends_on_both_sides_at_30_percent_loss(seed: int) -> None:
    """CANCEL and 487 get through; where every 180 is lost, CANCEL may not be sent and the callee stops by itself."""
    pair = Pair(BAD, seed=seed, bob=CoreConfig(longest_ringing=60.0))
    pair.bob.on_call = lambda session, log: session.ring() if isinstance(session, IncomingSession) else None
    session, log = call(pair.alice)
    pair.run(3.0)
    session.hangup()
    pair.run(70.0)
    assert log.kinds[-1] == "Ended"
    assert all(one.kinds[-1:] == ["Ended"] for one in pair.bob.calls)
    assert_forgotten(pair)


@by_row("seed", range(10))
def test_a_session_changes_both_ways_at_30_percent_loss(seed: int) -> None:
    """re-INVITEs of both sides and an INFO get through."""
    pair = Pair(BAD, seed=seed)
    pair.bob.on_call = auto_answer
    session, log = call(pair.alice)
    pair.run(40.0)
    [callee] = pair.bob.calls
    peer = callee.session
    session.offer(OFFER + b"a=sendonly\r\n")
    pair.run(40.0)
    [offered] = callee.of(Offered)
    assert offered == Offered(2, OFFER + b"a=sendonly\r\n")
    peer.answer_offer(2, ANSWER)
    pair.run(40.0)
    assert log.kinds.count("OfferAnswered") == 1
    peer.offer(ANSWER + b"a=inactive\r\n")
    pair.run(40.0)
    session.answer_offer(3, OFFER)
    pair.run(40.0)
    assert callee.kinds.count("OfferAnswered") == 1
    session.info("application/dtmf-relay", b"Signal=1\r\n")
    pair.run(40.0)
    assert callee.of(InfoReceived) == [InfoReceived("application/dtmf-relay", b"Signal=1\r\n")]
    peer.hangup()
    pair.run(40.0)
    assert (log.kinds[-1], callee.kinds[-1]) == ("Ended", "Ended")
    assert_forgotten(pair)


def test_a_hundred_calls_at_once_complete_at_30_percent_loss() -> None:
    """Calls do not disturb each other, and the tables are empty afterwards."""
    pair = Pair(BAD, seed=7)
    pair.bob.on_call = auto_answer
    calls = [call(pair.alice) for _ in range(100)]
    pair.run(60.0)
    assert [log.kinds.count("Answered") for _, log in calls] == [1] * 100
    for session, _ in calls:
        session.hangup()
    pair.run(60.0)
    assert {log.kinds[-1] for _, log in calls} == {"Ended"}
    assert 0.2 < pair.network.lost / pair.network.sent < 0.4
    assert_forgotten(pair)


def test_a_call_into_silence_fails_with_408_and_leaves_no_state() -> None:
    """Nobody answers the INVITE: timer B."""
    pair = Pair(Weather(loss=1.0))
    _, log = call(pair.alice)
    pair.run(33.0)
    assert log.kinds == ["Failed"]
    assert log.events[0].status == 408  # type: ignore[attr-defined]
    assert_forgotten(pair)


def test_sessions_are_the_roles_they_should_be() -> None:
    """The caller's handle is a UAC session, the callee's a UAS session."""
    pair = Pair()
    session, _ = call(pair.alice)
    pair.run(1.0)
    assert isinstance(session, OutgoingSession)
    assert session.role == "uac"
    assert pair.bob.calls[0].session.role == "uas"
