"""Trunks that have answered an OPTIONS are known to the next process."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gateway.trunks.answering import FILE_NAME, AnsweringPlaces
from gateway.trunks.reachability import Reachability

PBX, OTHER = "sip:192.0.2.1", "sip:192.0.2.2"


def lost_of(reachability: Reachability) -> list[tuple[str, bool]]:
    told: list[tuple[str, bool]] = []
    reachability.follow(lambda trunk, is_lost: told.append((trunk, is_lost)))
    return told


@pytest.mark.parametrize("before", [[200], [408], [200, 408]])
def test_a_trunk_is_lost_that_a_process_before_has_heard(tmp_path: Path, before: list[int]) -> None:
    """One that has never answered is not."""
    earlier = Reachability(AnsweringPlaces(tmp_path / FILE_NAME))
    for status in before:
        earlier.answered("pbx", PBX, status)
    later = Reachability(AnsweringPlaces(tmp_path / FILE_NAME))
    told = lost_of(later)
    later.answered("pbx", PBX, 408)
    later.answered("pbx", PBX, 200)
    assert told[:-1] == ([("pbx", True)] if 200 in before else [])
    assert told[-1] == ("pbx", False)


def test_a_trunk_that_is_configured_no_more_is_forgotten(tmp_path: Path) -> None:
    """The file holds the places of today."""
    reachability = Reachability(AnsweringPlaces(tmp_path / FILE_NAME))
    for trunk, uri in (("pbx", PBX), ("other", OTHER)):
        reachability.answered(trunk, uri, 200)
    reachability.keep({"other": [OTHER]})
    kept = AnsweringPlaces(tmp_path / FILE_NAME)
    assert (PBX in kept, OTHER in kept) == (False, True)


@pytest.mark.parametrize("text", ["", "{}", "[", '{"a": 1}', "7"])
def test_a_file_that_cannot_be_read_counts_as_empty(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And is named in the log."""
    (tmp_path / FILE_NAME).write_text(text)
    with caplog.at_level(logging.WARNING):
        assert PBX not in AnsweringPlaces(tmp_path / FILE_NAME)
    assert FILE_NAME in caplog.text
