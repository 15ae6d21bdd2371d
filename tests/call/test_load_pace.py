"""How the pace of new calls falls, rises and ends, measurement by measurement; test_load.py plays whole gateways."""

from __future__ import annotations

import itertools

from gateway.call.load import EVERY, LoadControl, LoadPolicy
from tests.rows import by_row

ALL = 1_000
"""Callers of a flood, more than any pace lets in at once."""


USUAL = LoadPolicy()
LATE = 1.01 * USUAL.late


class Loop:
    """Says how busy it is, and asks for calls; time passes by measurements alone."""

    def __init__(self, policy: LoadPolicy = USUAL) -> None:
        self.took = 0.0
        """Seconds that the store takes."""
        self.control = LoadControl(policy, lambda: self.took)
        self.now = 100.0

    def measured(self, busy: float, times: int = 1, *, calls: int = 0) -> int:
        """So often, each time after so many calls, which come evenly; how many were let in."""
        let_in = 0
        for _ in range(times):
            for _ in range(calls):
                self.now += EVERY / calls
                let_in += self.control.admit(self.now)
            if not calls:
                self.now += EVERY
            # A loop without time left has messages waiting, here for hardly longer than they may.
            self.control.measured(busy, 0.0, LATE if busy >= USUAL.busy else 0.0)
        return let_in

    def at_once(self) -> int:
        """How many of a flood are let in now."""
        return [self.control.admit(self.now) for _ in range(ALL)].count(True)

    def in_a_second(self) -> int:
        """How many of a flood are let in by the pace that there is, once what is let in at once was used up."""
        self.at_once()
        let_in = 0
        for _ in range(round(1 / EVERY)):
            self.now += EVERY
            let_in += self.at_once()
        return let_in


def full(policy: LoadPolicy = USUAL, busy: float = 1.0) -> Loop:
    """100 calls a second have just filled it, so that it is `busy`."""
    loop = Loop(policy)
    loop.measured(0.5, 100, calls=10)
    while loop.control.share == 1.0:
        loop.measured(busy, calls=10)
    return loop


def test_the_first_pace_is_what_was_let_in_in_the_last_second() -> None:
    """Not before, and not in the last moment alone."""
    loop = Loop()
    loop.measured(0.5, 100, calls=5)
    while loop.control.share == 1.0:
        loop.measured(1.0, calls=15)
    assert loop.in_a_second() in range(120, 140)


def test_the_first_pace_is_of_the_calls_that_were_let_in_and_not_of_those_that_the_packet_threads_refused() -> None:
    """Half of 200 calls a second."""
    loop = Loop(LoadPolicy(plane=0.8))
    loop.control.plane = 0.9
    assert loop.measured(0.5, 100, calls=20) in range(999, 1_002)
    while loop.control.share == 0.5:
        loop.measured(1.0, calls=20)
    loop.control.plane = 0.0
    assert loop.in_a_second() in range(90, 110)


def test_what_the_packet_threads_refuse_takes_nothing_from_the_pace() -> None:
    """Of 200 calls a second they leave a half, and the loop a hundred: these are the same."""
    loop = full(LoadPolicy(plane=0.8))
    loop.control.plane = 0.9
    assert loop.measured(0.95, 10, calls=20) > 85


def test_a_tenth_of_a_second_of_the_pace_is_let_in_at_once() -> None:
    """However long nobody called; the few beside it are used up."""
    loop = full()
    loop.at_once()
    loop.now += 60
    assert loop.at_once() in range(8, 12)


@by_row(("busy", "least", "most"), [(0.97, 0.8, 0.9), (0.985, 0.1, 0.4), (1.0, 0.1, 0.35)])
def test_where_no_time_is_left_the_pace_falls_faster_and_faster(busy: float, least: float, most: float) -> None:
    """What waits in the sockets cannot be seen; where a little is left it falls by what is too little."""
    loop = full(busy=busy)
    loop.measured(busy, 10, calls=10)
    assert least < loop.control.share < most


def test_one_slow_answer_of_the_store_halves_the_pace() -> None:
    """However slow it was."""
    loop = Loop()
    loop.measured(0.5, 100, calls=10)
    loop.took = 100.0
    loop.measured(0.5, calls=10)
    assert 0.45 < loop.control.share < 0.55


def test_a_pace_comes_back_by_doubling_to_three_fifths_of_what_was_let_in_too_late() -> None:
    """And from there in small steps, at most a sixth of it each: not all that was begun was carried."""
    loop = full()
    loop.measured(1.0, 10, calls=10)
    before = loop.control.share
    assert before < 0.3
    shares = []
    while loop.control.share < 1.0:
        loop.measured(0.6, calls=10)
        shares.append(loop.control.share)
    doubled = [share for share in shares if share < 0.55]
    assert all(after > 1.9 * one for one, after in zip([before, *doubled], doubled, strict=False))
    assert 0.57 < shares[len(doubled)] < 0.63
    assert all(after < 1.2 * one for one, after in itertools.pairwise(shares[len(doubled) : -1]))


def test_beyond_what_was_too_much_the_pace_grows_by_a_sixth_at_each_measurement() -> None:
    """However much time is left, as long as there are more calls than that."""
    loop = full()
    loop.measured(1.0, 8, calls=100)
    while loop.in_a_second() < 110:
        loop.measured(0.5, calls=100)
    before = loop.in_a_second()
    loop.measured(0.5, 4, calls=100)
    assert 1.7 < loop.in_a_second() / before < 1.95


def test_after_long_overload_all_calls_are_let_in_again_within_a_second() -> None:
    """Not at the first quick answer, though nobody called meanwhile; of a flood hardly more is let in before than those
    few that always are.
    """
    loop = Loop()
    loop.took = 9.0
    loop.measured(0.1, 30)
    loop.at_once()
    assert loop.measured(0.1, 1_000, calls=20) in range(507, 514)
    loop.measured(0.1, 1_000)
    loop.took = 0.1
    said = []
    for _ in range(10):
        loop.measured(0.1)
        said.append(loop.control.share < 1.0)
    assert said.index(False) in range(1, 7)


def test_the_few_are_those_of_the_time_that_has_passed() -> None:
    """A loop that comes late has had no other measurement meanwhile."""
    loop = Loop()
    loop.took = 9.0
    loop.measured(0.1, 30)
    loop.at_once()
    loop.control.measured(0.1, 0.9)
    assert loop.at_once() == 5


def test_what_was_left_of_an_overload_is_not_let_in_at_the_next() -> None:
    """At its first moment the pace has let in nobody, and has room for nobody."""
    loop = full()
    loop.now += 60
    loop.control.admit(loop.now)
    while loop.control.share < 1.0:
        loop.measured(0.1)
    loop.measured(0.5, 10, calls=10)
    while loop.control.share == 1.0:
        loop.measured(1.0, calls=10)
    loop.control.measured(1.0, 0.0)
    assert loop.at_once() <= 6
