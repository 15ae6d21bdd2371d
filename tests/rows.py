"""Tests that walk a table: one item for pytest, one subtest a row, which a failure names."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from tests.virtual import new_loop

Test = Callable[..., Any]
Table = list[tuple[str, dict[str, Any]]]
"""Name and arguments of each row."""


_LIMIT = pytest.StashKey[Any]()
"""Time limit of a test, as pytest-timeout has set it."""


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    """Keep the limit of a test for each of its rows."""
    item.stash[_LIMIT] = settings


def by_row(
    names: str | Sequence[str], rows: Iterable[Any], ids: Callable[[Any], object] | Iterable[object] | None = None
) -> Callable[[Test], Test]:
    """Walk `rows` in one test, as `pytest.mark.parametrize` makes a test of each; two tables are walked as a product.

    A row has its own event loop, time limit, `monkeypatch` and `tmp_path`. For parameters with a mark or a fixture, and
    for tests with fixtures that a row changes, `parametrize` stays.
    """
    titles = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    table = list(_table(titles, list(rows), ids))

    def decorate(test: Test) -> Test:
        inner: tuple[Test, Table] = getattr(test, "walked", (test, [("", {})]))
        return _walk(inner[0], [(f"{a}-{b}".strip("-"), x | y) for a, x in table for b, y in inner[1]])

    return decorate


def _walk(test: Test, table: Table) -> Test:
    wanted = inspect.signature(test).parameters
    own = [name for name in wanted if name not in table[0][1]] if table else list(wanted)

    @functools.wraps(test)
    def walk(*args: Any, subtests: pytest.Subtests | None = None, **fixtures: Any) -> Any:
        if subtests is None:  # a test calls this one, for a row of its own
            return test(*args, **fixtures)
        request: pytest.FixtureRequest = fixtures["request"] if "request" in own else fixtures.pop("request")
        for number, (title, row) in enumerate(table):
            _begin_timeout(request.node)
            with subtests.test(title), _own(fixtures, number) as made:
                result = test(**made, **row)
                if inspect.iscoroutine(result):
                    with asyncio.Runner(loop_factory=new_loop) as runner:
                        runner.run(result)
        return None

    fixtures = dict.fromkeys(("subtests", "request", *own))
    parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in fixtures]
    walk.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    walk.walked = (test, table)  # type: ignore[attr-defined]
    return walk


def _begin_timeout(item: pytest.Item) -> None:
    """Give a row the time of a test."""
    settings = item.stash.get(_LIMIT, None)
    if settings is not None:
        item.ihook.pytest_timeout_cancel_timer(item=item)
        item.ihook.pytest_timeout_set_timer(item=item, settings=settings)


@contextmanager
def _own(fixtures: dict[str, Any], number: int) -> Iterator[dict[str, Any]]:
    """Give a row what the rows before it have not changed."""
    with pytest.MonkeyPatch.context() as patch:
        made = dict(fixtures)
        if "monkeypatch" in made:
            made["monkeypatch"] = patch
        if isinstance(folder := made.get("tmp_path"), Path):
            made["tmp_path"] = folder / str(number)
            made["tmp_path"].mkdir()
        if "capsys" in made:
            made["capsys"].readouterr()
        if "caplog" in made:
            made["caplog"].clear()
        yield made


def _table(titles: list[str], rows: list[Any], ids: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    named = list(ids) if ids is not None and not callable(ids) else None
    for number, row in enumerate(rows):
        values, name = row, named[number] if named else None
        if isinstance(row, pytest.ParameterSet):
            assert not row.marks, "a row with a mark is a parameter"
            values, name = row.values if len(titles) > 1 else row.values[0], row.id or name
        values = list(values) if len(titles) > 1 else [values]
        assert len(values) == len(titles), f"row {number} has {len(values)} values for {titles}"
        words = (_word(value, title, number, ids) for title, value in zip(titles, values, strict=True))
        text = str(name if name is not None else "-".join(words))
        yield text.encode("unicode_escape").decode(), dict(zip(titles, values, strict=True))


def _word(value: Any, title: str, number: int, ids: Any) -> str:
    """Return the word for a value in its row's name, as pytest makes it."""
    word = ids(value) if callable(ids) else None
    if word is None:
        word = (
            value
            if isinstance(value, str | int | float | bytes | bool | Enum | None)
            else getattr(value, "__name__", None)
        )
    return str(word) if word is not None or value is None else f"{title}{number}"
