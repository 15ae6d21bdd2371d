"""Walks of seven requests through a whole gateway may only get shorter: `tests/data/walks.json` has their figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.sip.message.addresses import NameAddr
from tests import walks
from tests.walks import Walk


async def test_no_walk_passes_more_doors(tmp_path: Path) -> None:
    """No request enters more files of the composition root, or passes more doors between rooms, than before."""
    found = await walks.walks(tmp_path)
    assert list(found) == list(walks.WALKS)
    assert all(walk.steps for walk in found.values())
    assert walks.risen(found, json.loads(walks.RATCHET.read_text())) == []


def test_a_door_counts_once_a_walk() -> None:
    """Calls within a room, and calls of the event loop, pass no door."""
    walk = Walk(
        [
            ("", "gateway/net/udp.py", "receive"),
            ("gateway/net/udp.py", "gateway/sip/core.py", "read"),
            ("gateway/net/udp.py", "gateway/sip/core.py", "read"),
            ("gateway/sip/core.py", "gateway/sip/parser.py", "parse"),
            ("gateway/sip/core.py", "gateway/app/root.py", "begin"),
        ]
    )
    assert walk.figures() == {"doors": 2, "files of app": 1}
    assert walk.changes() == 2


@pytest.mark.parametrize("allowed", [{}, {"one": {"doors": 0, "files of app": 1}}])
def test_a_longer_walk_is_named(allowed: dict[str, dict[str, int]]) -> None:
    """A walk without figures in the ratchet may pass no door."""
    walk = Walk([("gateway/net/udp.py", "gateway/sip/core.py", "read")])
    [line] = walks.risen({"one": walk}, allowed)
    assert line.startswith("one: doors 0 -> 1")


def test_calls_of_tests_are_no_steps() -> None:
    """Peers in this process use the gateway's own parser."""
    with walks.Recorder().recording() as walk:
        NameAddr.parse("<sip:1001@gateway.example>")
    assert walk.steps == []
