"""Which share of new calls is let in where there is more to do than can be done (RFC 6357 section 5.2)."""

from __future__ import annotations

from gateway.call.load import LoadControl, LoadPolicy

CAPACITY = 100.0
"""Calls a second that the simulated gateway can carry."""
REFUSAL = 0.05
"""What a refusal costs, as a share of a call."""


def offered(control: LoadControl, rate: float, seconds: float) -> tuple[float, float]:
    """Offer calls at `rate` to a loop that can do CAPACITY; (completed a second, the longest wait in seconds)."""
    completed, backlog, worst = 0, 0.0, 0.0
    steps = round(seconds * 10)
    carried = 0.0
    for _ in range(steps):
        carried += rate / 10
        while carried >= 1:
            carried -= 1
            let_in = control.admit()
            completed += let_in
            backlog += (1.0 if let_in else REFUSAL) / CAPACITY
        done = min(backlog, 0.1)
        backlog -= done
        worst = max(worst, backlog)
        control.measured(done / 0.1, 0.0)
    return completed / seconds, worst


def test_below_its_capacity_nobody_is_refused() -> None:
    """At nine tenths of it, for a minute."""
    control = LoadControl(LoadPolicy())
    assert offered(control, 90, 60)[0] >= 89.9
    assert control.refused == 0
    assert not control.overloaded


def test_at_twice_and_ten_times_its_capacity_it_completes_what_it_can() -> None:
    """Nine tenths of it, less what the refusals themselves cost, and the wait stays bounded."""
    for times in (2, 10):
        control = LoadControl(LoadPolicy())
        offered(control, CAPACITY, 5)
        completed, worst = offered(control, CAPACITY * times, 60)
        room = CAPACITY * (1 - REFUSAL * times) / (1 - REFUSAL)
        assert completed >= 0.9 * room
        assert worst < 0.5 * times
        assert control.overloaded


def test_it_recovers_within_seconds() -> None:
    """All calls are let in again."""
    control = LoadControl(LoadPolicy())
    offered(control, CAPACITY * 10, 30)
    offered(control, CAPACITY / 2, 4.5)
    assert not control.overloaded
    refused = control.refused
    offered(control, CAPACITY / 2, 10)
    assert control.refused == refused


def test_a_loop_that_is_late_refuses_even_where_it_is_idle() -> None:
    """Something blocks it, or the machine gives it no time."""
    control = LoadControl(LoadPolicy(late=0.5))
    for _ in range(20):
        control.measured(0.1, 0.4)
    assert not control.overloaded
    for _ in range(20):
        control.measured(0.1, 2.0)
    assert control.share < 0.1
    assert [control.admit() for _ in range(200)].count(True) <= 26


def test_a_few_calls_a_second_always_get_through() -> None:
    """One caller has not filled a loop that others leave no time; and of a flood no more than these and the share."""
    control = LoadControl(LoadPolicy())
    for _ in range(500):
        control.measured(1.0, 0.0)
    assert control.overloaded
    for _ in range(20):
        for _ in range(2):
            control.measured(1.0, 0.0)
        assert control.admit()
    for _ in range(20):
        control.measured(1.0, 0.0)
    assert [control.admit() for _ in range(500)].count(True) in range(14, 17)
    flood = [control.admit() for _ in range(500)]
    assert flood.count(True) == 10
    assert all(flood[start : start + 100].count(True) == 2 for start in range(0, 500, 100))


def test_zero_refuses_nobody() -> None:
    """limits.load."""
    control = LoadControl(LoadPolicy(busy=0))
    for _ in range(50):
        control.measured(1.0, 100.0)
    assert all(control.admit() for _ in range(100))


def test_it_refuses_nobody_from_when_it_is_turned_off() -> None:
    """By a reload, in the middle of an overload."""
    control = LoadControl(LoadPolicy())
    for _ in range(50):
        control.measured(1.0, 100.0)
    assert control.share < 1.0
    control.policy = LoadPolicy(busy=0)
    control.measured(1.0, 100.0)
    assert not control.overloaded
    assert all(control.admit() for _ in range(100))


def test_the_fuller_the_packet_threads_are_the_fewer_calls_are_let_in() -> None:
    """From the bound on; none where they are full, not even the few that a busy loop takes; and all again at once."""
    control = LoadControl(LoadPolicy(plane=0.8))
    control.plane = 0.8
    assert all(control.admit() for _ in range(100))
    assert control.reasons == []
    control.plane = 0.9
    assert [control.admit() for _ in range(1_000)].count(True) in range(499, 502)
    control.plane = 1.0
    control.admit()
    assert not any(control.admit() for _ in range(100))
    assert "100%" in control.reasons[0]
    assert "limits.plane_load" in control.reasons[0]
    control.measured(0.1, 0.0)
    assert control.overloaded
    control.plane = 0.5
    assert control.share == 1.0
    assert all(control.admit() for _ in range(100))
    control.policy, control.plane = LoadPolicy(plane=0.0), 1.0
    assert all(control.admit() for _ in range(100))


def test_a_slow_store_refuses_calls_until_it_is_quick_again() -> None:
    """A few a second find out whether it is; a bound of 0 asks for nothing."""
    took = 0.0
    control = LoadControl(LoadPolicy(store=0.5), lambda: took)
    for _ in range(20):
        control.measured(0.1, 0.0)
    assert not control.overloaded
    took = 0.9
    for _ in range(50):
        control.measured(0.1, 0.0)
    assert control.share < 0.05
    assert "0.9 s" in control.reasons[0]
    assert "limits.store_delay" in control.reasons[0]
    assert [control.admit() for _ in range(100)].count(True) in range(5, 10)
    took = 0.1
    for _ in range(20):
        control.measured(0.1, 0.0)
    assert not control.overloaded
    assert control.reasons == []
    took, control.policy = 9.0, LoadPolicy(store=0.0)
    control.measured(0.1, 0.0)
    assert not control.overloaded
    assert control.reasons == []
