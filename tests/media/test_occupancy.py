"""How full the threads of a packet plane are."""

from __future__ import annotations

import pytest

from gateway.media.embedded.occupancy import Occupancy

SECOND = 1_000_000_000


def told(now: float, *threads: tuple[float, float]) -> dict[str, int]:
    found = {"now": round(now * SECOND), "turns": 7}
    for index, (worked, waited) in enumerate(threads):
        found |= {f"worked_{index}": round(worked * SECOND), f"waited_{index}": round(waited * SECOND)}
    return found


def test_the_thread_with_most_room_counts() -> None:
    """Since the last look, which what is new goes to; the first look knows nothing."""
    occupancy = Occupancy()
    assert occupancy.read(told(100, (50, 0), (50, 0))) is None
    assert occupancy.read(told(102, (51, 0), (50.5, 0))) == pytest.approx(0.25)
    assert occupancy.read(told(103, (51, 0), (51.5, 0))) == 0.0
    assert occupancy.read(told(104, (52, 0), (52.5, 0))) == 1.0


def test_who_waits_for_a_processor_is_not_full_for_that() -> None:
    """What others take from it is not its own: full is who had no time left of what it was given."""
    occupancy = Occupancy()
    occupancy.read(told(0, (0, 0)))
    assert occupancy.read(told(1, (0.01, 0.9))) == pytest.approx(0.1)
    assert occupancy.read(told(2, (0.51, 1.4))) == 1.0
    assert occupancy.read(told(3, (0.51, 2.4))) == 0.0


def test_another_plane_begins_anew_and_an_older_one_tells_nothing() -> None:
    """One that was started in the place of one that died has worked less."""
    occupancy = Occupancy()
    occupancy.read(told(5, (4, 0)))
    assert occupancy.read(told(6, (0.1, 0))) is None
    assert occupancy.read(told(7, (0.3, 0))) == pytest.approx(0.2)
    assert occupancy.read({"turns": 3}) is None
    assert occupancy.read({"worked_0": 3}) is None
    assert occupancy.read(told(8, (0.4, 0))) is None
