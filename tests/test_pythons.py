"""scripts/pythons.py: what is resolved for other Pythons, and which newest releases our ranges do not take."""

from __future__ import annotations

import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from scripts import pythons
from tests.rows import by_row


def test_every_extra_is_resolved_but_the_one_with_wheels_for_few() -> None:
    """Dependencies, client, browser, data, otel, docs, test and dev; the project itself is none of them."""
    project = tomllib.loads(pythons.PROJECT.read_text())["project"]
    names = {one.name for one in pythons.requirements()}
    every = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {Requirement(one).name for each in every for one in each}
    assert wanted - names == {"sip-webrtc-gateway", "pjsua2-python"}
    assert {"av", "ruff", "mypy", "hypothesis", "aiortc", "opentelemetry-sdk", "mkdocs-material"} <= names


@by_row(
    ("newest", "told"),
    [
        ("1.4", []),
        ("2.0", ["a 2.0 is there, and pyproject.toml has <2,>=1: try it, and widen the range"]),
        (None, ["a: the index does not say what is newest"]),
    ],
)
def test_a_newest_release_beyond_a_range_is_told(newest: str | None, told: list[str]) -> None:
    """One that nobody knows too; what has no upper end is not asked for."""
    asked: list[str] = []

    def index(name: str) -> str | None:
        asked.append(name)
        return newest

    assert pythons.beyond([Requirement("a>=1,<2"), Requirement("b>=1")], index) == told
    assert asked == ["a"]


def test_a_library_without_a_wheel_is_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says for which Python."""
    asked: list[tuple[str, set[str]]] = []

    def resolve(version: str, wanted: list[Requirement]) -> bool:
        asked.append((version, {one.name for one in wanted}))
        return version != "3.14"

    monkeypatch.setattr(pythons, "resolve", resolve)
    monkeypatch.setattr(pythons, "newest", lambda name: "0")
    assert pythons.main(["3.13", "3.14"]) == 1
    assert capsys.readouterr().out == "Python 3.13: every library has a wheel\nPython 3.14: see above\n"
    assert asked[0][1].isdisjoint({"http-ece", "sip-webrtc-gateway"})


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 1)])
def test_an_index_that_cannot_be_reached_fails_ci_alone(
    ci: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said everywhere: a developer may be on a train, but CI has then proved nothing."""
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(pythons, "newest", lambda name: None)
    assert pythons.main([]) == status
    assert capsys.readouterr().out == "The index cannot be reached: nothing was looked at\n"


@pytest.mark.wall
def test_the_index_is_asked_by_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first line has the newest; an error is no version."""
    words = ["-c", "print('uvicorn (0.54.1)'); print('Available versions: 0.54.1, 0.54.0')"]
    monkeypatch.setattr(pythons, "PIP", (sys.executable, *words))
    assert pythons.newest("uvicorn") == "0.54.1"
    monkeypatch.setattr(pythons, "PIP", (sys.executable, "-c", "raise SystemExit(1)"))
    assert pythons.newest("uvicorn") is None
