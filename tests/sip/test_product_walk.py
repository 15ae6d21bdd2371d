"""The product of all tables: two real user agents walk at random, and nothing is left of it."""

from __future__ import annotations

import logging

import pytest

from gateway.testing.network import Weather
from gateway.testing.walk import Walk, WalkSettings
from tests.rows import by_row

pytestmark = pytest.mark.no_cover

STEPS = 250
KINDS = {
    "datagrams that are lost, doubled, reordered and malformed": WalkSettings(),
    "a wretched network": WalkSettings(
        weather=Weather(delay=0.05, jitter=1.0, loss=0.3, duplication=0.2), malformed=0.0
    ),
    "malformed headers only": WalkSettings(weather=Weather(delay=0.02, jitter=0.01), malformed=0.1),
    "a connection that breaks": WalkSettings(transport="tcp", weather=Weather(delay=0.02), malformed=0.01, cut=0.1),
}


def test_a_bye_that_was_on_a_connection_as_it_broke_is_sent_again() -> None:
    """By a new connection: else the peer would hold the call until its session timer runs out."""
    walk = Walk(128, KINDS["a connection that breaks"])
    walk.walk(400)
    assert walk.finish() == []


@by_row("seed", [20032, 20107, 20153, 20198])
def test_an_answer_that_was_lost_with_its_connection_is_not_taken_for_agreed(seed: int) -> None:
    """It broke before the 200, with it, or while the answer was thought about; and a BYE crossed another there."""
    walk = Walk(seed, KINDS["a connection that breaks"])
    walk.walk(STEPS)
    assert walk.finish() == []


def test_an_offer_whose_answer_could_not_be_read_is_made_again_though_it_is_refused_then() -> None:
    """The refusal is of a request that came malformed; the answer before it had changed what the peer sends."""
    walk = Walk(60084, KINDS["malformed headers only"])
    walk.walk(STEPS)
    assert walk.finish() == []


@by_row("kind", KINDS)
@by_row("seed", range(4))
def test_a_random_walk_leaves_nothing_and_both_sides_agree(
    kind: str, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """4,000 steps in all: no session, dialog, transaction or timer is left, both sides' descriptions are the same."""
    walk = Walk(seed, KINDS[kind])
    with caplog.at_level(logging.WARNING):
        walk.walk(STEPS)
        faults = walk.finish()
    assert faults == []
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
