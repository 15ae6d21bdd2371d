"""The table that every benchmark writes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from bench import path, table
from bench.table import Result, faster, medians, report
from tests.rows import by_row


@by_row(
    ("result", "met"),
    [
        (Result("a", 1, "µs"), None),
        (Result("a", 300, "ms", "value <= 300"), True),
        (Result("a", 301, "ms", "value <= 300"), False),
        (Result("a", 5, "calls/s", "value >= 10"), False),
        (Result("a", 5, "µs", "ratio >= 2", "peer", 10, 2.0), True),
        (Result("a", 5, "µs", "ratio >= 2"), False),
    ],
)
def test_a_goal_is_met_or_not(result: Result, met: bool | None) -> None:
    """By the value or by the ratio to the peer; without a peer's figure a ratio is missed."""
    assert result.met is met


def test_a_goal_of_another_form_is_refused() -> None:
    """A goal that cannot be checked is no goal."""
    with pytest.raises(ValueError, match="a goal is"):
        _ = Result("a", 1, "µs", "fast").met


def test_faster_says_how_many_times() -> None:
    """Seconds in, µs out."""
    result = faster("parse", 0.001, "peer", 0.01, "ratio >= 10")
    assert (result.value, result.peer_value, result.ratio, result.unit) == (1000, 10000, 10, "µs")


def test_medians_take_every_call_in_turns() -> None:
    """Each call runs warm times, then batch times a turn."""
    order: list[str] = []
    taken = medians({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=2, warm=1, batch=2)
    assert order == ["a", "b", "a", "a", "b", "b", "a", "a", "b", "b"]
    assert set(taken) == {"a", "b"}
    assert all(seconds >= 0 for seconds in taken.values())


def test_a_report_is_a_table_and_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is a list of the results' fields; the return value says whether every goal is met."""
    monkeypatch.setattr(table, "RESULTS", tmp_path / "results")
    console = Console(file=io.StringIO(), width=160)
    results = [Result("quick", 12345.6, "µs", "value <= 20000"), Result("slow", 1.5, "s")]
    assert report("name", results, console)
    text = (tmp_path / "results" / "name.json").read_text(encoding="utf-8")
    assert json.loads(text)[0] == {
        "name": "quick",
        "value": 12345.6,
        "unit": "µs",
        "goal": "value <= 20000",
        "peer": None,
        "peer_value": None,
        "ratio": None,
    }
    shown = console.file.getvalue() if isinstance(console.file, io.StringIO) else ""
    assert "12,346" in shown
    assert "met" in shown
    assert not report("name", [Result("slow", 2, "s", "value <= 1")], console)


def test_the_packet_paths_arguments_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    """With --help, in place of measuring."""
    with pytest.raises(SystemExit) as ended:
        path.main(["--help"])
    assert ended.value.code == 0
    assert "rtpengine" in capsys.readouterr().out
