"""Every (state, input) pair of the four machines does what its figure says, and nothing else does anything."""

from __future__ import annotations

from typing import Any

from gateway.sip.transactions import Input, Reason, State
from tests.rows import by_row
from tests.sip.transaction_harness import (
    MESSAGES,
    Maker,
    brought_to,
    invite_client,
    invite_server,
    non_invite_client,
    non_invite_server,
)

P, S, F = Input.PROVISIONAL, Input.SUCCESS, Input.FAILURE
TIMEOUT = ("failed", Reason.TIMEOUT)
BROKEN = ("failed", Reason.TRANSPORT_ERROR)
GONE = ("terminated", None)

Log = list[tuple[str, Any]]
Row = tuple[Log, State]

# How to reach each state from START, per machine.
PATHS: dict[str, tuple[Maker, dict[State, tuple[Input, ...]]]] = {
    "invite client": (
        invite_client,
        {
            State.CALLING: (),
            State.PROCEEDING: (P,),
            State.COMPLETED: (F,),
            State.ACCEPTED: (S,),
            State.TIMED_OUT: (Input.TIMER_B,),
            State.CANCELLED: (Input.TIMER_B, P),
            State.TERMINATED: (S, Input.TIMER_M),
        },
    ),
    "non-INVITE client": (
        non_invite_client,
        {
            State.TRYING: (),
            State.PROCEEDING: (P,),
            State.COMPLETED: (S,),
            State.TERMINATED: (S, Input.TIMER_K),
        },
    ),
    "invite server": (
        invite_server,
        {
            State.PROCEEDING: (P,),
            State.COMPLETED: (F,),
            State.CONFIRMED: (F, Input.ACK),
            State.ACCEPTED: (S,),
            State.TERMINATED: (S, Input.TIMER_L),
        },
    ),
    "non-INVITE server": (
        non_invite_server,
        {
            State.TRYING: (),
            State.PROCEEDING: (P,),
            State.COMPLETED: (S,),
            State.TERMINATED: (S, Input.TIMER_J),
        },
    ),
}

_LATE: dict[Input, Row] = {
    S: ([("arm", ("M", 132.0)), ("deliver", b"200")], State.ACCEPTED),
    F: ([("send", b"ACK of 486"), ("arm", ("D", 132.0))], State.COMPLETED),
    Input.TIMER_B: ([GONE], State.TERMINATED),
}
"""What ends an INVITE that was given up."""

# Written from the RFC's figures, not from the tables: (machine, state, input) -> what happens at time 100.
EXPECTED: dict[tuple[str, State, Input], Row] = {
    # RFC 3261 figure 5 and RFC 6026 figure 3
    ("invite client", State.CALLING, Input.START): (
        [("send", b"INVITE"), ("arm", ("A", 100.5)), ("arm", ("B", 132.0))],
        State.CALLING,
    ),
    ("invite client", State.CALLING, Input.TIMER_A): ([("send", b"INVITE"), ("arm", ("A", 101.0))], State.CALLING),
    ("invite client", State.CALLING, Input.TIMER_B): ([TIMEOUT, ("arm", ("B", 132.0))], State.TIMED_OUT),
    ("invite client", State.CALLING, Input.TRANSPORT_ERROR): ([BROKEN, GONE], State.TERMINATED),
    ("invite client", State.CALLING, P): ([("deliver", b"180")], State.PROCEEDING),
    ("invite client", State.CALLING, S): ([("arm", ("M", 132.0)), ("deliver", b"200")], State.ACCEPTED),
    ("invite client", State.CALLING, F): (
        [("send", b"ACK of 486"), ("arm", ("D", 132.0)), ("deliver", b"486")],
        State.COMPLETED,
    ),
    ("invite client", State.PROCEEDING, P): ([("deliver", b"180")], State.PROCEEDING),
    ("invite client", State.PROCEEDING, S): ([("arm", ("M", 132.0)), ("deliver", b"200")], State.ACCEPTED),
    ("invite client", State.PROCEEDING, F): (
        [("send", b"ACK of 486"), ("arm", ("D", 132.0)), ("deliver", b"486")],
        State.COMPLETED,
    ),
    # Beyond the figures: a connection that is lost while it rings, 64*T1 after a CANCEL (9.1), and a 2xx of another
    # branch after the failure of the first (16.7).
    ("invite client", State.PROCEEDING, Input.TRANSPORT_ERROR): ([BROKEN, GONE], State.TERMINATED),
    ("invite client", State.PROCEEDING, Input.TIMER_B): ([TIMEOUT, ("arm", ("B", 132.0))], State.TIMED_OUT),
    ("invite client", State.COMPLETED, S): ([("deliver", b"200")], State.COMPLETED),
    ("invite client", State.COMPLETED, F): ([("send", b"ACK of 486")], State.COMPLETED),
    ("invite client", State.COMPLETED, Input.TRANSPORT_ERROR): ([BROKEN, GONE], State.TERMINATED),
    ("invite client", State.COMPLETED, Input.TIMER_D): ([GONE], State.TERMINATED),
    # Who says something after all once we have given up: it is cancelled once, and every end of it acknowledged.
    ("invite client", State.TIMED_OUT, P): ([("cancel", None)], State.CANCELLED),
    **{
        ("invite client", state, what): row
        for state in (State.TIMED_OUT, State.CANCELLED)
        for what, row in _LATE.items()
    },
    ("invite client", State.ACCEPTED, S): ([("deliver", b"200")], State.ACCEPTED),
    ("invite client", State.ACCEPTED, Input.TIMER_M): ([GONE], State.TERMINATED),
    # RFC 3261 figure 6
    ("non-INVITE client", State.TRYING, Input.START): (
        [("send", b"OPTIONS"), ("arm", ("E", 100.5)), ("arm", ("F", 132.0))],
        State.TRYING,
    ),
    ("non-INVITE client", State.TRYING, Input.TIMER_E): ([("send", b"OPTIONS"), ("arm", ("E", 101.0))], State.TRYING),
    ("non-INVITE client", State.TRYING, Input.TIMER_F): ([TIMEOUT, GONE], State.TERMINATED),
    ("non-INVITE client", State.TRYING, Input.TRANSPORT_ERROR): ([BROKEN, GONE], State.TERMINATED),
    ("non-INVITE client", State.TRYING, P): ([("deliver", b"180")], State.PROCEEDING),
    ("non-INVITE client", State.TRYING, S): ([("arm", ("K", 105.0)), ("deliver", b"200")], State.COMPLETED),
    ("non-INVITE client", State.TRYING, F): ([("arm", ("K", 105.0)), ("deliver", b"486")], State.COMPLETED),
    ("non-INVITE client", State.PROCEEDING, Input.TIMER_E): (
        [("send", b"OPTIONS"), ("arm", ("E", 104.0))],
        State.PROCEEDING,
    ),
    ("non-INVITE client", State.PROCEEDING, Input.TIMER_F): ([TIMEOUT, GONE], State.TERMINATED),
    ("non-INVITE client", State.PROCEEDING, Input.TRANSPORT_ERROR): ([BROKEN, GONE], State.TERMINATED),
    ("non-INVITE client", State.PROCEEDING, P): ([("deliver", b"180")], State.PROCEEDING),
    ("non-INVITE client", State.PROCEEDING, S): ([("arm", ("K", 105.0)), ("deliver", b"200")], State.COMPLETED),
    ("non-INVITE client", State.PROCEEDING, F): ([("arm", ("K", 105.0)), ("deliver", b"486")], State.COMPLETED),
    ("non-INVITE client", State.COMPLETED, Input.TIMER_K): ([GONE], State.TERMINATED),
    # RFC 3261 figure 7 and RFC 6026 figure 5
    ("invite server", State.PROCEEDING, Input.START): ([("arm", ("200 ms without response", 100.2))], State.PROCEEDING),
    ("invite server", State.PROCEEDING, Input.TIMER_100): ([("send", b"100")], State.PROCEEDING),
    ("invite server", State.PROCEEDING, Input.REQUEST): ([("send", b"180")], State.PROCEEDING),
    ("invite server", State.PROCEEDING, P): ([("send", b"180")], State.PROCEEDING),
    ("invite server", State.PROCEEDING, S): ([("send", b"200"), ("arm", ("L", 132.0))], State.ACCEPTED),
    ("invite server", State.PROCEEDING, F): (
        [("send", b"486"), ("arm", ("G", 100.5)), ("arm", ("H", 132.0))],
        State.COMPLETED,
    ),
    ("invite server", State.PROCEEDING, Input.TRANSPORT_ERROR): ([BROKEN], State.PROCEEDING),
    ("invite server", State.COMPLETED, Input.REQUEST): ([("send", b"486")], State.COMPLETED),
    ("invite server", State.COMPLETED, Input.TIMER_G): ([("send", b"486"), ("arm", ("G", 101.0))], State.COMPLETED),
    ("invite server", State.COMPLETED, Input.TIMER_H): ([TIMEOUT, GONE], State.TERMINATED),
    ("invite server", State.COMPLETED, Input.ACK): ([("arm", ("I", 105.0))], State.CONFIRMED),
    ("invite server", State.COMPLETED, Input.TRANSPORT_ERROR): ([BROKEN], State.COMPLETED),
    ("invite server", State.CONFIRMED, Input.REQUEST): ([], State.CONFIRMED),
    ("invite server", State.CONFIRMED, Input.ACK): ([], State.CONFIRMED),
    ("invite server", State.CONFIRMED, Input.TIMER_I): ([GONE], State.TERMINATED),
    ("invite server", State.ACCEPTED, Input.REQUEST): ([], State.ACCEPTED),
    ("invite server", State.ACCEPTED, S): ([("send", b"200")], State.ACCEPTED),
    ("invite server", State.ACCEPTED, Input.ACK): ([("deliver", b"ACK")], State.ACCEPTED),
    ("invite server", State.ACCEPTED, Input.TIMER_L): ([GONE], State.TERMINATED),
    ("invite server", State.ACCEPTED, Input.TRANSPORT_ERROR): ([BROKEN], State.ACCEPTED),
    # RFC 3261 figure 8
    ("non-INVITE server", State.TRYING, Input.START): ([], State.TRYING),
    ("non-INVITE server", State.TRYING, Input.REQUEST): ([], State.TRYING),
    ("non-INVITE server", State.TRYING, P): ([("send", b"180")], State.PROCEEDING),
    ("non-INVITE server", State.TRYING, S): ([("send", b"200"), ("arm", ("J", 132.0))], State.COMPLETED),
    ("non-INVITE server", State.TRYING, F): ([("send", b"486"), ("arm", ("J", 132.0))], State.COMPLETED),
    ("non-INVITE server", State.PROCEEDING, Input.REQUEST): ([("send", b"180")], State.PROCEEDING),
    ("non-INVITE server", State.PROCEEDING, P): ([("send", b"180")], State.PROCEEDING),
    ("non-INVITE server", State.PROCEEDING, S): ([("send", b"200"), ("arm", ("J", 132.0))], State.COMPLETED),
    ("non-INVITE server", State.PROCEEDING, F): ([("send", b"486"), ("arm", ("J", 132.0))], State.COMPLETED),
    ("non-INVITE server", State.PROCEEDING, Input.TRANSPORT_ERROR): ([BROKEN, GONE], State.TERMINATED),
    ("non-INVITE server", State.COMPLETED, Input.REQUEST): ([("send", b"200")], State.COMPLETED),
    ("non-INVITE server", State.COMPLETED, S): ([], State.COMPLETED),
    ("non-INVITE server", State.COMPLETED, F): ([], State.COMPLETED),
    ("non-INVITE server", State.COMPLETED, Input.TIMER_J): ([GONE], State.TERMINATED),
    ("non-INVITE server", State.COMPLETED, Input.TRANSPORT_ERROR): ([BROKEN, GONE], State.TERMINATED),
}

PAIRS = [(machine, state, what) for machine, (_, states) in PATHS.items() for state in states for what in Input]


@by_row(("machine", "state", "what"), PAIRS, ids=[f"{m}, {s.value}, {w.value}" for m, s, w in PAIRS])
def test_each_state_and_input_does_what_the_figure_says(machine: str, state: State, what: Input) -> None:
    """A pair of the figure acts and moves as drawn; any other is counted and changes nothing."""
    make, paths = PATHS[machine]
    transaction, layer = brought_to(make, paths[state])
    assert transaction.state is state
    armed = dict(transaction.armed)

    transaction.step(what, 100.0, MESSAGES.get(what))

    expected = EXPECTED.get((machine, state, what))
    if expected is None:
        assert (layer.take(), transaction.state) == ([], state)
        assert transaction.armed == armed
        assert layer.ignored_inputs == [(state, what)]
    else:
        assert (layer.take(), transaction.state) == expected
        assert layer.ignored_inputs == []


def test_the_tables_have_no_row_beyond_the_figures() -> None:
    """Each table holds exactly the rows that the figures draw."""
    for machine, (make, paths) in PATHS.items():
        table = type(brought_to(make, paths[State.TERMINATED])[0]).table
        assert set(table) == {(state, what) for name, state, what in EXPECTED if name == machine}
