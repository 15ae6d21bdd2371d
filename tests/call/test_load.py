"""How many new calls are let in where there is more to do than can be done (RFC 6357 section 5.2)."""

from __future__ import annotations

import heapq
import itertools
import random

import pytest

from gateway.call.load import EVERY, LoadControl, LoadPolicy
from tests.rows import by_row

CAPACITY = 100.0
"""Calls a second that the simulated gateway can carry."""
REFUSAL = 0.05
"""What a refusal costs, as a share of a call."""
_PARTS = ((0.0, 0.45), (0.01, 0.3), (0.11, 0.25))
"""When (s after the INVITE is read) what of a call is to be done: the INVITE, the answer and the ACK, the BYE."""
_REPEATED = 0.03
"""What reading one more copy of an INVITE costs."""


class Gateway:
    """One loop that reads datagrams in the order in which they came, and learns of a call when it reads its INVITE."""

    def __init__(self, control: LoadControl) -> None:
        self.control = control
        self.now = 0.0
        self.completed = 0
        self.longest = 0.0
        """Seconds that a datagram waited."""
        self._measured, self._worked, self._work = 0.0, 0.0, 0.0
        self._order = itertools.count()
        self._coming: list[tuple[float, int, int, float]] = []
        """When, which of all, whose INVITE (or -1), and how long until it is sent again, or what a part costs."""
        self._known: set[int] = set()
        self._offered = 0

    def offered(self, rate: float, seconds: float, chance: random.Random | None = None) -> tuple[float, float]:
        """Offer calls at `rate`, evenly or by `chance`; (completed a second, the longest wait in seconds)."""
        self.completed, self.longest, until = 0, 0.0, self.now + seconds
        at = self.now
        while at < until:
            self._offered += 1
            self._comes(at, self._offered, 0.5)
            at += 1.0 / rate if chance is None else chance.expovariate(rate)
        while self.now < until:
            self._turn(until)
        return self.completed / seconds, self.longest

    def without_time(self, rate: float, seconds: float) -> int:
        """Offer calls at `rate` while others have the processor; how many are let in by the last measurement."""
        let_in = 0
        for _ in range(round(seconds / EVERY)):
            let_in = [self.control.admit(self.now) for _ in range(round(rate * EVERY))].count(True)
            self.control.measured(1.0, 0.0, 0.3)
            self.now += EVERY
        self._measured = self.now
        return let_in

    def _comes(self, at: float, call: int, value: float) -> None:
        heapq.heappush(self._coming, (at, next(self._order), call, value))

    def _turn(self, until: float) -> None:
        if self.now >= self._measured + EVERY:
            passed = self.now - self._measured
            waits = max(0.0, self.now - self._coming[0][0]) if self._coming else 0.0
            self.control.measured((self._work - self._worked) / passed, passed - EVERY, waits)
            self._measured, self._worked = self.now, self._work
        if not self._coming or self._coming[0][0] > self.now:
            self.now = min(self._coming[0][0] if self._coming else until, self._measured + EVERY, until)
            return
        at, _, call, value = heapq.heappop(self._coming)
        self.longest = max(self.longest, self.now - at)
        cost = value if call < 0 else self._invite(at, call, value)
        self._work += cost / CAPACITY
        self.now += cost / CAPACITY

    def _invite(self, at: float, call: int, again: float) -> float:
        if call in self._known:
            return _REPEATED
        if at + again < self.now and again < 32.0:  # it was sent again meanwhile (RFC 3261 17.1.1.2)
            self._comes(at + again, call, 2.0 * again)
        self._known.add(call)
        if not self.control.admit(self.now):
            return REFUSAL
        for after, part in _PARTS[1:]:
            self._comes(self.now + after, -1, part)
        self.completed += 1
        return _PARTS[0][1]


def test_below_its_capacity_nobody_is_refused() -> None:
    """At nine tenths of it, for a minute."""
    control = LoadControl(LoadPolicy())
    assert Gateway(control).offered(90, 60)[0] >= 89.9
    assert control.refused == 0
    assert not control.overloaded


@by_row(("times", "share", "longest"), [(1.2, 0.94, 0.06), (2, 0.93, 0.25), (3, 0.92, 0.4), (8, 0.8, 1.0)])
def test_beyond_its_capacity_it_completes_what_it_can(times: float, share: float, longest: float) -> None:
    """Nine tenths of it, less what refusals cost, once it was late for a second and what waited is read."""
    gateway = Gateway(LoadControl(LoadPolicy()))
    gateway.offered(CAPACITY / 2, 5)
    gateway.offered(CAPACITY * times, 10)
    assert gateway.longest < 0.5 * times
    completed, worst = gateway.offered(CAPACITY * times, 15)
    assert completed >= share * CAPACITY * (1 - REFUSAL * times) / (1 - REFUSAL)
    assert worst < longest
    assert gateway.control.overloaded
    assert gateway.control.share < 1.1 / times


@by_row("times", [1.2, 1.5, 2, 3, 4])
def test_the_pace_settles_at_what_can_be_carried(times: float) -> None:
    """After ten seconds it is never above capacity again, and nothing waits: it does not swing about what is right."""
    gateway = Gateway(LoadControl(LoadPolicy()))
    gateway.offered(CAPACITY / 2, 5)
    gateway.offered(CAPACITY * times, 10)
    shares: list[float] = []
    gateway.control.told.append(lambda *_: shares.append(gateway.control.share))
    _, worst = gateway.offered(CAPACITY * times, 15)
    assert max(shares) < 1.0 / times
    assert min(shares) > 0.9 * (1 - REFUSAL * times) / (1 - REFUSAL) / times
    assert worst < 0.02


@by_row("seed", range(3))
def test_beyond_its_capacity_it_completes_what_it_can_of_calls_that_come_by_chance(seed: int) -> None:
    """As callers do, who know nothing of each other: for a minute, at 1.2 times what it carries."""
    gateway = Gateway(LoadControl(LoadPolicy()))
    assert gateway.offered(CAPACITY * 1.2, 60, random.Random(seed))[0] >= 0.9 * CAPACITY


def test_a_busy_moment_is_not_said_to_be_overload() -> None:
    """Calls that come by chance fill the loop now and then: of four fifths of what it carries none is refused."""
    control = LoadControl(LoadPolicy())
    said: list[bool] = []
    control.told.append(lambda busy, late: said.append(control.overloaded))
    gateway = Gateway(control)
    gateway.offered(CAPACITY * 0.8, 60, random.Random(1))
    assert control.refused == 0
    assert not any(said)


@pytest.mark.parametrize("busy", [0.8, 1.0])
def test_a_loop_that_is_not_late_refuses_nobody(busy: float) -> None:
    """However long it is busy, or other programs are: what comes is read in time."""
    control = LoadControl(LoadPolicy())
    for step in range(600):
        control.measured(busy, 0.02, 0.2)
        assert all(control.admit(EVERY * step) for _ in range(20))
    assert (control.overloaded, control.limit) == (False, "")


def test_lateness_for_less_than_a_second_refuses_nobody() -> None:
    """Nine measurements in a row, then one that is not late, for a minute; the tenth begins it, and is named."""
    control = LoadControl(LoadPolicy())
    for step in range(600):
        control.measured(1.0, 0.0, 0.0 if step % 10 == 9 else 2.0)
        assert control.admit(EVERY * step)
    for _ in range(12):
        control.measured(1.0, 0.0, 2.0)
    assert control.limit == "limits.delay"
    assert [control.admit(100.0) for _ in range(100)].count(False) > 50


@by_row("late", [0.95, 3.0, 30.0])
def test_one_stall_is_not_said_to_be_overload(late: float) -> None:
    """However long nothing was done: the pace that it leaves is gone within a second."""
    control = LoadControl(LoadPolicy())
    Gateway(control).offered(CAPACITY / 5, 5)
    said: list[bool] = []
    control.measured(0.3, late)
    for _ in range(30):
        said.append(control.overloaded)
        control.measured(0.3, 0.0)
    assert not any(said)


def test_the_second_of_lateness_begins_with_its_first_measurement() -> None:
    """A stall says nothing of the time after it: calls are bounded once a further second was late."""
    control = LoadControl(LoadPolicy())
    control.measured(1.0, 3.0)
    assert control.limit == ""
    for _ in range(9):
        control.measured(1.0, 0.0, 2.0)
        assert control.limit == ""
    for _ in range(2):
        control.measured(1.0, 0.0, 2.0)
    assert control.limit == "limits.delay"


@pytest.mark.parametrize("capacity", [20.0, 100.0])
def test_overload_of_calls_that_come_by_chance_is_said_nearly_all_the_time(
    monkeypatch: pytest.MonkeyPatch, capacity: float
) -> None:
    """Where a third or a fourth is refused; moments in which nobody is do not call callers back."""
    monkeypatch.setattr("tests.call.test_load.CAPACITY", capacity)
    control = LoadControl(LoadPolicy())
    said: list[bool] = []
    control.told.append(lambda busy, late: said.append(control.overloaded))
    Gateway(control).offered(capacity * 1.2, 60, random.Random(5))
    assert control.refused > 0.2 * capacity * 1.2 * 60
    assert sum(said) > 0.9 * len(said)
    assert sum(after != before for before, after in itertools.pairwise(said)) <= 3


def test_it_recovers_within_seconds() -> None:
    """All calls are let in again."""
    control = LoadControl(LoadPolicy())
    gateway = Gateway(control)
    gateway.offered(CAPACITY * 8, 30)
    gateway.offered(CAPACITY / 2, 4.5)
    assert not control.overloaded
    refused = control.refused
    gateway.offered(CAPACITY / 2, 10)
    assert control.refused == refused


@pytest.mark.parametrize("before", [5, 60])
def test_who_comes_back_after_something_else_had_the_processor_carries_at_once_what_it_did(before: float) -> None:
    """For five seconds no time was left, whatever was let in; a second later the pace is back."""
    control = LoadControl(LoadPolicy())
    gateway = Gateway(control)
    gateway.offered(CAPACITY * 1.5, before)
    assert gateway.without_time(CAPACITY * 1.5, 5) <= 1
    gateway.offered(CAPACITY * 1.5, 1)
    assert control.overloaded
    assert gateway.offered(CAPACITY * 1.5, 1)[0] > 0.8 * CAPACITY


def test_a_loop_that_is_late_refuses_even_where_it_is_idle() -> None:
    """Something blocks it, or the machine gives it no time."""
    control = LoadControl(LoadPolicy(late=0.5))
    for _ in range(20):
        control.measured(0.1, 0.4)
    assert not control.overloaded
    for _ in range(20):
        control.measured(0.1, 2.0)
    assert control.share < 0.1
    assert [control.admit(0.0) for _ in range(200)].count(True) <= 6


def test_a_few_calls_a_second_always_get_through() -> None:
    """One caller has not filled a loop that others leave no time; and of a flood no more than these and the pace."""
    control = LoadControl(LoadPolicy())
    for _ in range(500):
        control.measured(1.0, 0.0, 0.3)
    assert control.overloaded
    for second in range(20):
        for _ in range(2):
            control.measured(1.0, 0.0, 0.3)
        assert control.admit(0.2 * second)
    for _ in range(20):
        control.measured(1.0, 0.0, 0.3)
    assert [control.admit(10.0) for _ in range(500)].count(True) in (5, 6)
    let_in = 0
    for step in range(100):
        control.measured(1.0, 0.0, 0.3)
        let_in += [control.admit(10.0 + step / 10) for _ in range(100)].count(True)
    assert let_in in range(48, 63)


def test_zero_refuses_nobody() -> None:
    """limits.load."""
    control = LoadControl(LoadPolicy(busy=0))
    for _ in range(50):
        control.measured(1.0, 100.0)
    assert all(control.admit(0.0) for _ in range(100))


def test_it_refuses_nobody_from_when_it_is_turned_off() -> None:
    """By a reload, in the middle of an overload."""
    control = LoadControl(LoadPolicy())
    for _ in range(50):
        control.measured(1.0, 100.0)
    assert control.share < 1.0
    control.policy = LoadPolicy(busy=0)
    control.measured(1.0, 100.0)
    assert control.share == 1.0
    assert all(control.admit(0.0) for _ in range(100))
    control.measured(1.0, 100.0)
    assert not control.overloaded


def test_the_fuller_the_packet_threads_are_the_fewer_calls_are_let_in() -> None:
    """From the bound on; none where they are full, not even the few that a busy loop takes; and all again at once."""
    control = LoadControl(LoadPolicy(plane=0.8))
    control.plane = 0.8
    assert all(control.admit(0.0) for _ in range(100))
    assert control.reasons == []
    control.plane = 0.9
    assert [control.admit(0.0) for _ in range(1_000)].count(True) in range(499, 502)
    control.plane = 1.0
    control.admit(0.0)
    assert not any(control.admit(0.0) for _ in range(100))
    assert "100%" in control.reasons[0]
    assert "limits.plane_load" in control.reasons[0]
    control.measured(0.1, 0.0)
    assert control.overloaded
    control.plane = 0.5
    assert control.share == 1.0
    assert all(control.admit(0.0) for _ in range(100))
    control.policy, control.plane = LoadPolicy(plane=0.0), 1.0
    assert all(control.admit(0.0) for _ in range(100))


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
    assert [control.admit(0.0) for _ in range(100)].count(True) in range(5, 10)
    took = 0.1
    for _ in range(20):
        control.measured(0.1, 0.0)
    assert control.share == 1.0
    assert control.reasons == []
    for _ in range(10):
        control.measured(0.1, 0.0)
    assert not control.overloaded
    took, control.policy = 9.0, LoadPolicy(store=0.0)
    control.measured(0.1, 0.0)
    assert not control.overloaded
    assert control.reasons == []


def test_overload_names_a_number_of_calls_never_all_of_them() -> None:
    """At each moment at which it is said, the second after the last refusal included."""
    gateway = Gateway(LoadControl(LoadPolicy()))
    said: list[str] = []
    gateway.control.told.append(lambda *_: said.append(gateway.control.taken) if gateway.control.overloaded else None)
    gateway.offered(CAPACITY * 1.2, 20, random.Random(1))
    gateway.offered(CAPACITY / 2, 5, random.Random(1))
    assert said
    assert not [words for words in said if "100 %" in words or "inf" in words]
    gateway.control.plane = gateway.control.policy.plane + 1e-9
    assert gateway.control.taken == "at most 99 % of new calls"
