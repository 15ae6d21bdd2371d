"""What the chaos suite and the soak judge by: gaps of sound, and what a process holds."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import replace

import pytest

from tests.chaos.ears import PTIME, Ear, Heard
from tests.rows import by_row
from tests.soak.levels import Level, faults


def never(start: float, end: float) -> float:
    return 0.0


def gap(*heard: Heard) -> float:
    """The longest between these, where nobody waited for a core."""
    with contextlib.closing(Ear(1, "127.0.0.1")) as ear:
        ear._heard = list(heard)
        return ear.longest_gap(never)


def test_a_gap_is_what_was_lost_or_late_on_its_way_and_not_what_was_sent_late() -> None:
    """Each packet says when it was sent; copies and what overtakes are none."""
    on_time = [Heard(number, number * PTIME, number * PTIME + 0.001) for number in range(3)]
    assert gap(*on_time) == pytest.approx(PTIME)
    assert gap(on_time[0], Heard(1, 5.0, 5.001)) == pytest.approx(PTIME)
    assert gap(on_time[0], Heard(1, PTIME, PTIME + 0.301)) == pytest.approx(PTIME + 0.3)
    assert gap(on_time[0], Heard(6, 6 * PTIME, 6 * PTIME + 0.001)) == pytest.approx(6 * PTIME)
    assert gap(on_time[1], on_time[1], on_time[0], on_time[2]) == pytest.approx(2 * PTIME)


def test_what_the_plane_waited_for_a_core_is_no_gap() -> None:
    """As far as it did between the two."""
    with contextlib.closing(Ear(1, "127.0.0.1")) as ear:
        ear._heard = [Heard(0, 0.0, 0.0), Heard(1, PTIME, PTIME + 0.3)]
        assert ear.longest_gap(lambda start, end: 0.25 if (start, end) == (0.0, PTIME + 0.3) else 0.0) == pytest.approx(
            PTIME + 0.05
        )
        ear.forget()
        assert ear.longest_gap(never) == 0.0


LEVEL = Level(150.0, 30.0, 12.0, 0.0, 30.0, 600_000.0, Counter({"x.Call": 5}))
CALLS = 480
"""Of one minute, between its middle and its end."""


@by_row(
    "more",
    [
        {"rss": 150.0 + CALLS * 20 / 1024},
        {"heap": 30.0 + CALLS * 4 / 1024},
        {"blocks": 600_000.0 + CALLS * 20},
        {"descriptors": 39.0},
        {"tasks": 21.0},
        {"timers": 9.0},
    ],
)
def test_what_every_call_leaves_is_seen_within_a_minute(more: dict[str, float]) -> None:
    """4 kB of it at once, or twenty small objects; the class that grew most is named."""
    grown = replace(LEVEL, **more, kinds=Counter({"x.Call": 485}))
    found = faults(LEVEL, grown, CALLS)
    assert found[0].startswith(next(iter(more)))
    assert "x.Call +480" in found[-1]


def test_what_comes_and_goes_is_no_leak() -> None:
    """Less than that, or fewer."""
    assert faults(LEVEL, replace(LEVEL, rss=155.0, heap=30.5, blocks=603_000.0, tasks=18.0), CALLS) == []
    assert faults(LEVEL, replace(LEVEL, rss=100.0, heap=1.0, blocks=0.0), CALLS) == []


def test_one_small_object_a_call_is_seen_within_half_an_hour() -> None:
    """What may grow does not rise with the length."""
    found = faults(LEVEL, replace(LEVEL, blocks=600_000.0 + 30 * CALLS), 30 * CALLS)
    assert found[0].startswith("blocks")
