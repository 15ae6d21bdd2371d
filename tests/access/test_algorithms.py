"""One challenge a response, with the best algorithm that the client has shown to cope with."""

from __future__ import annotations

import pytest

from gateway.access.algorithms import Algorithms
from tests.rows import by_row

EVERY = ("SHA-512-256", "SHA-256", "MD5")
SOURCE = "192.0.2.7"


@by_row("agent", [None, "", "Some phone 1.0"])
def test_who_is_not_known_is_asked_for_the_weakest(agent: str | None) -> None:
    """Phones exist that give up at a challenge they do not know."""
    assert Algorithms(EVERY).choose(agent, SOURCE, None) == "MD5"


@by_row(
    ("allowed", "known", "chosen"),
    [
        (EVERY, None, "SHA-512-256"),
        (("SHA-256", "MD5"), None, "SHA-256"),
        (EVERY, ("SHA-256", "MD5"), "SHA-256"),
        (EVERY, ("MD5",), "MD5"),
    ],
)
def test_a_user_agent_that_copes_is_asked_for_the_best_that_its_user_has(
    allowed: tuple[str, ...], known: tuple[str, ...] | None, chosen: str
) -> None:
    """By the pattern of its name; an algorithm without an HA1 could only fail."""
    assert Algorithms(allowed, ("Good*",)).choose("Good phone 2", SOURCE, known) == chosen


@pytest.mark.parametrize(("allowed", "known"), [(("SHA-512-256", "SHA-256"), None), (EVERY, ("SHA-256",))])
def test_without_the_weak_one_everybody_is_asked_for_what_there_is(
    allowed: tuple[str, ...], known: tuple[str, ...] | None
) -> None:
    """Whoever does not cope cannot be helped."""
    assert Algorithms(allowed).choose("Some phone", SOURCE, known) == "SHA-256"


def test_who_has_signed_with_a_better_one_is_asked_for_it_from_then_on() -> None:
    """All of that name and version, until so many others were seen."""
    chosen = Algorithms(EVERY)
    chosen.signed("Some phone 1.0", SOURCE, "SHA-256")
    assert chosen.choose("Some phone 1.0", "192.0.2.9", None) == "SHA-256"
    assert chosen.choose("Some phone 2.0", SOURCE, None) == "MD5"
    chosen.signed(None, SOURCE, "SHA-256")
    assert chosen.choose(None, SOURCE, None) == "MD5"
    for number in range(1_000):
        chosen.signed(f"Other {number}", SOURCE, "MD5")
    assert chosen.choose("Some phone 1.0", SOURCE, None) == "MD5"


def test_who_leaves_strong_challenges_unanswered_gets_the_weak_one() -> None:
    """A pattern that promises too much does not shut a phone out; an answer begins the count anew."""
    chosen = Algorithms(EVERY, ("Good*",))
    assert [chosen.choose("Good", SOURCE, None) for _ in range(4)] == [*["SHA-512-256"] * 3, "MD5"]
    assert chosen.choose("Good", "192.0.2.9", None) == "SHA-512-256"
    chosen.signed("Good", SOURCE, "MD5")
    assert chosen.choose("Good", SOURCE, None) == "SHA-512-256"
