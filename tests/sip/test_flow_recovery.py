"""A connection of ours that ends under a call: the peer is looked for again (RFC 5626 section 4.5)."""

from __future__ import annotations

import itertools

import pytest

from gateway.sip.flow import Flow
from gateway.sip.invite.events import FlowFound, FlowLost
from gateway.sip.invite.outgoing import OutgoingSession
from gateway.sip.invite.recovery import DELAYS
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri
from gateway.testing.sip_peer import SessionLog
from tests.sip.agents import ANSWER, BOB, Stage, answer, call

CONTACT = NameAddr(Uri.of("bob", *BOB).with_param("transport", "tcp"))
DIALLED = Flow("tcp", *BOB, "1", dialled=True)


def talking(allow: str = "INVITE, ACK, BYE, UPDATE") -> tuple[Stage, OutgoingSession, SessionLog]:
    """A confirmed call of ours by a connection of ours."""
    stage = Stage(transport="tcp")
    session, log = call(stage.agent)
    stage.run()
    [invite] = stage.requests("INVITE")
    stage.send(answer(invite, 200, body=ANSWER, headers=(("Allow", allow),), contact=CONTACT))
    assert log.kinds == ["Answered"]
    stage.puppet.take()
    return stage, session, log


def lost(stage: Stage) -> None:
    stage.agent.core.transport_failed(DIALLED)


@pytest.mark.parametrize(("allow", "method"), [("INVITE, ACK, BYE, UPDATE", "UPDATE"), ("INVITE, ACK, BYE", "INVITE")])
def test_a_connection_of_ours_that_ends_is_made_anew(allow: str, method: str) -> None:
    """By the refresh that the peer takes; who then answers is found again."""
    stage, _, log = talking(allow)
    lost(stage)
    assert log.events[1:] == [FlowLost()]
    stage.run(DELAYS[0] + 0.1)
    [refresh] = stage.requests(method)
    assert refresh.contact is not None
    stage.send(answer(refresh, 200, body=ANSWER if method == "INVITE" else b""))
    assert log.events[2:] == [FlowFound()]


def test_a_connection_that_the_peer_made_is_left_to_the_peer() -> None:
    """It is the one who knows where to connect to."""
    stage, _, log = talking()
    stage.agent.core.transport_failed(Flow("tcp", *BOB, "1"))
    stage.run(sum(DELAYS))
    assert log.events[1:] == [FlowLost()]
    assert stage.puppet.take() == []


def test_a_peer_that_is_away_is_looked_for_ever_more_rarely_and_not_for_ever() -> None:
    """Each try ends where its connection does; the call goes on, for its media may."""
    stage, _, log = talking()
    sent: list[float] = []

    def refused(source: tuple[str, int], destination: tuple[str, int], data: bytes) -> bool:
        sent.append(stage.clock.now)
        return True

    stage.network.drop = refused
    sent.append(stage.clock.now)
    lost(stage)
    for _ in range(300):
        stage.run(0.25)
        stage.agent.core.transport_failed(Flow("tcp", *BOB))  # nobody takes the connection
    waits = [later - earlier for earlier, later in itertools.pairwise(sent)]
    assert len(waits) == len(DELAYS)
    assert all(delay <= wait <= delay + 0.5 for wait, delay in zip(waits, DELAYS, strict=True))
    assert not {"Ended", "FlowFound"} & set(log.kinds)


def test_who_comes_back_late_is_found_and_may_be_lost_again() -> None:
    """The second loss begins with the shortest wait."""
    stage, _, log = talking()
    lost(stage)
    stage.run(DELAYS[0] + 0.1)
    assert len(stage.requests("UPDATE")) == 1
    stage.agent.core.transport_failed(Flow("tcp", *BOB))
    for _ in range(2):
        stage.run(DELAYS[1] + 0.1)
        [refresh] = stage.requests("UPDATE")
        stage.send(answer(refresh, 200, contact=CONTACT))
        assert log.events[-1] == FlowFound()
        lost(stage)


def test_nothing_is_looked_for_once_the_call_is_over() -> None:
    """A BYE in between ends it."""
    stage, session, log = talking()
    lost(stage)
    session.hangup()
    stage.run(0.01)
    [bye] = stage.requests("BYE")
    stage.send(answer(bye, 200))
    stage.run(sum(DELAYS))
    assert stage.requests("UPDATE") == []
    assert log.kinds == ["Answered", "FlowLost", "Ended"]


@pytest.mark.parametrize("status", [408, 481])
def test_a_peer_that_does_not_know_the_call_any_more_ends_it(status: int) -> None:
    """Nor does one that a proxy behind the new connection does not reach: neither has been found again."""
    stage, _, log = talking()
    lost(stage)
    stage.run(DELAYS[0] + 0.1)
    [refresh] = stage.requests("UPDATE")
    stage.send(answer(refresh, status))
    assert log.kinds == ["Answered", "FlowLost", "Ended"]


def test_a_second_loss_is_no_second_search_and_an_answer_after_the_end_finds_nobody() -> None:
    """The connection that was made anew ends while the refresh is on its way, and then the call does."""
    stage, session, log = talking()
    lost(stage)
    session._recovery.begin()
    stage.run(DELAYS[0] + 0.1)
    [refresh] = stage.requests("UPDATE")
    session._recovery.stop()
    stage.send(answer(refresh, 200))
    assert log.of(FlowFound) == []
