"""Whether a trunk is there: by the answers of its places to OPTIONS."""

from __future__ import annotations

from gateway.trunks.reachability import Change, Reachability, State
from tests.rows import by_row

ONE, TWO = "sip:one.test", "sip:two.test"


@by_row(
    ("status", "state"),
    [
        *((status, "reachable") for status in (200, 401, 404, 483, 500)),
        *((status, "unreachable") for status in (408, 503)),
    ],
)
def test_whoever_answers_is_there(status: int, state: str) -> None:
    """Silence and 503 alone say that nobody is."""
    known = Reachability()
    assert known.of("office") is State.UNKNOWN
    assert known.answered("office", ONE, status) == Change("office", State(state))
    assert known.place("office", ONE) is State(state)


def test_only_what_changes_is_told() -> None:
    """The same answer again is no news, nor is a place that goes while another one stays."""
    known = Reachability()
    assert known.answered("office", ONE, 200) is not None
    assert known.answered("office", ONE, 404) is None
    assert known.answered("office", TWO, 200) is None
    assert known.answered("office", ONE, 408) is None
    assert known.answered("office", TWO, 503) == Change("office", State.UNREACHABLE)
    assert known.answered("office", ONE, 408) is None
    assert known.answered("office", ONE, 200) == Change("office", State.REACHABLE)


def test_calls_ask_places_that_answer_first_and_the_others_too() -> None:
    """What was silent a moment ago is a last resort; without news the order is the configured one."""
    known = Reachability()
    assert known.in_order("office", (ONE, TWO)) == [ONE, TWO]
    known.answered("office", ONE, 408)
    assert known.in_order("office", (ONE, TWO)) == [TWO, ONE]
    known.answered("office", TWO, 408)
    assert known.in_order("office", (ONE, TWO)) == [ONE, TWO]
