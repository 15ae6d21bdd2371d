"""When the machines retransmit and when they give up, by a clock turned by hand."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.timer_queue import SWEEP_FLOOR
from gateway.sip.transactions import Input, Reason, State, TimerQueue, Transaction
from tests.rows import by_row
from tests.sip.transaction_harness import (
    Maker,
    RecordingLayer,
    brought_to,
    invite_client,
    invite_server,
    non_invite_client,
    non_invite_server,
)


def run(transaction: Transaction, layer: RecordingLayer, until: float) -> list[tuple[float, str]]:
    """Fire armed timers in order up to `until`; what was sent or reported, with its time."""
    happened: list[tuple[float, str]] = []
    while transaction.armed:
        timer, deadline = min(transaction.armed.items(), key=lambda item: item[1])
        if deadline > until:
            break
        assert transaction.due(timer, deadline, deadline)
        happened += [
            (deadline, "send" if what == "send" else str(detail))
            for what, detail in layer.take()
            if what in ("send", "failed")
        ]
    return happened


def test_an_unanswered_invite_is_sent_seven_times_and_given_up_after_64_t1() -> None:
    """Timer A doubles from T1 until timer B ends it (RFC 3261 section 17.1.1.2)."""
    transaction, layer = brought_to(invite_client, ())
    happened = run(transaction, layer, 100.0)
    sent = [(t, "send") for t in (0.5, 1.5, 3.5, 7.5, 15.5, 31.5)]
    assert happened == [*sent, (32.0, str(Reason.TIMEOUT))]
    assert transaction.state is State.TERMINATED


def test_an_unanswered_request_is_sent_at_doubling_intervals_up_to_t2() -> None:
    """Timer E doubles from T1 to T2 and stays there (RFC 3261 section 17.1.2.2)."""
    transaction, layer = brought_to(non_invite_client, ())
    happened = run(transaction, layer, 100.0)
    sent = [(t, "send") for t in (0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5)]
    assert happened == [*sent, (32.0, str(Reason.TIMEOUT))]


def test_a_provisional_response_slows_a_request_down_to_t2() -> None:
    """In Proceeding, timer E is reset to T2 each time it fires."""
    transaction, layer = brought_to(non_invite_client, (Input.PROVISIONAL,))
    assert run(transaction, layer, 13.0) == [(0.5, "send"), (4.5, "send"), (8.5, "send"), (12.5, "send")]


def test_an_unacknowledged_failure_is_retransmitted_until_timer_h() -> None:
    """Timer G doubles from T1 to T2 until timer H reports that no ACK came (RFC 3261 section 17.2.1)."""
    transaction, layer = brought_to(invite_server, (Input.FAILURE,))
    happened = run(transaction, layer, 100.0)
    assert happened[:5] == [(0.5, "send"), (1.5, "send"), (3.5, "send"), (7.5, "send"), (11.5, "send")]
    assert happened[-1] == (32.0, str(Reason.TIMEOUT))


def test_an_ack_stops_the_retransmissions_of_a_failure() -> None:
    """Confirmed absorbs in silence and ends after T4."""
    transaction, layer = brought_to(invite_server, (Input.FAILURE, Input.ACK))
    assert run(transaction, layer, 100.0) == []
    assert transaction.state is State.TERMINATED


def test_a_silent_transaction_user_has_100_trying_sent_for_it() -> None:
    """After 200 ms without a response the server transaction says 100 itself."""
    transaction, layer = brought_to(invite_server, ())
    assert run(transaction, layer, 1.0) == [(0.2, "send")]


def test_a_response_within_200_ms_stops_the_automatic_100() -> None:
    """No 100 follows a response of the transaction user."""
    transaction, layer = brought_to(invite_server, (Input.PROVISIONAL,))
    assert run(transaction, layer, 1.0) == []


@by_row(
    ("make", "path", "timer"),
    [
        (invite_client, (Input.FAILURE,), Input.TIMER_D),
        (non_invite_client, (Input.SUCCESS,), Input.TIMER_K),
        (invite_server, (Input.FAILURE, Input.ACK), Input.TIMER_I),
        (non_invite_server, (Input.SUCCESS,), Input.TIMER_J),
    ],
)
def test_over_a_reliable_transport_nothing_lingers(make: Maker, path: tuple[Input, ...], timer: Input) -> None:
    """Timers D, I, J and K are zero where the transport does not lose (RFC 3261 table 4)."""
    transaction, _ = brought_to(make, path, reliable=True)
    assert transaction.armed == {timer: 0.0}


@by_row(
    ("make", "path", "giving_up"),
    [
        (invite_client, (), Input.TIMER_B),
        (non_invite_client, (), Input.TIMER_F),
        (invite_server, (Input.FAILURE,), Input.TIMER_H),
    ],
)
def test_over_a_reliable_transport_nothing_is_retransmitted(
    make: Maker, path: tuple[Input, ...], giving_up: Input
) -> None:
    """Timers A, E and G are not set where the transport does not lose."""
    transaction, _ = brought_to(make, path, reliable=True)
    assert list(transaction.armed) == [giving_up]


def test_a_disarmed_timer_does_not_fire() -> None:
    """`due` of a timer that was stopped or re-armed does nothing."""
    transaction, layer = brought_to(invite_client, (Input.PROVISIONAL,))
    assert not transaction.due(Input.TIMER_A, 0.5, 0.5)
    assert layer.take() == []


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=60))
def test_the_queue_gives_live_entries_in_order_and_drops_the_dead(entries: list[tuple[float, bool]]) -> None:
    """Popping at the end of time yields exactly the live entries, sorted by deadline."""
    alive = {index for index, (_, lives) in enumerate(entries) if lives}
    queue: TimerQueue[int] = TimerQueue(lambda key, _: key in alive)
    for index, (deadline, _) in enumerate(entries):
        queue.push(deadline, index)
    popped = []
    while (item := queue.pop_due(101.0)) is not None:
        popped.append(item)
    assert [deadline for deadline, _ in popped] == sorted(entries[index][0] for index in alive)
    assert {key for _, key in popped} == alive
    assert len(queue) == 0


def test_the_earliest_moment_is_never_after_the_next_that_counts() -> None:
    """It asks nobody whether an entry counts, so that it may be too early, and is infinite where there is none."""
    queue: TimerQueue[bool] = TimerQueue(lambda live, _: live)
    assert queue.earliest() == math.inf
    queue.push(2.0, True)
    queue.push(1.0, False)
    assert (queue.earliest(), queue.deadline()) == (1.0, 2.0)
    assert queue.earliest() == 2.0


def test_the_queue_does_not_grow_with_cancelled_timers() -> None:
    """Ten times the sweep floor of dead entries leave a heap no longer than the floor."""
    queue: TimerQueue[int] = TimerQueue(lambda key, _: False)
    for index in range(10 * SWEEP_FLOOR):
        queue.push(1000.0 + index, index)
    assert len(queue) <= SWEEP_FLOOR
