"""Leaks: a socket, an event loop or a thread that a test module leaves open fails that module at its last test.

Garbage is collected only where something is open: a full collection takes a third of a second among thousands of tests.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures.thread import _worker as _pool_worker
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

ROOT = str(Path(__file__).parent.parent)
PATIENCE = 2.0
"""Seconds that a thread of a closed part has for its end."""


@dataclass(slots=True)
class _Module:
    """Things that the present module has made, each with the place that made it."""

    sockets: weakref.WeakKeyDictionary[socket.socket, _Place] = field(default_factory=weakref.WeakKeyDictionary)
    loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Place] = field(
        default_factory=weakref.WeakKeyDictionary
    )
    threads: set[threading.Thread] = field(default_factory=set)
    """Threads that were there before."""
    lost: list[str] = field(default_factory=list)
    """Sockets that were collected while they were open."""


_module = _Module()
_test = ""
_is_shared = False
"""Whether a fixture of the whole session is being set up: what it makes stays."""
_make_socket, _make_loop = socket.socket.__init__, asyncio.BaseEventLoop.__init__


def _remember_socket(self: socket.socket, *args: Any, **options: Any) -> None:
    _make_socket(self, *args, **options)
    if _test and not _is_shared:
        _module.sockets[self] = _place()


def _remember_loop(self: asyncio.BaseEventLoop) -> None:
    _make_loop(self)
    if _test and not _is_shared:
        _module.loops[self] = _place()


def _collected(self: socket.socket) -> None:
    """Close a socket that nobody closed, for its module to report."""
    try:
        if self.fileno() != -1:
            _module.lost.append(f"{self!r} {_module.sockets.get(self, '')}")
            self.close()
    except (AttributeError, OSError):
        return


@dataclass(frozen=True, slots=True)
class _Place:
    """Test, and innermost lines of our own code, that make something; shown only where that is a leak."""

    test: str
    lines: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        lines = (f"{Path(name).relative_to(ROOT)}:{number}" for name, number in self.lines)
        return f"made in {self.test} at {' < '.join(lines)}"


def _place() -> _Place:
    frame: FrameType | None = sys._getframe(2)
    lines: list[tuple[str, int]] = []
    while frame is not None and len(lines) < 3:
        name = frame.f_code.co_filename
        if name.startswith(ROOT) and "site-packages" not in name:
            lines.append((name, frame.f_lineno))
        frame = frame.f_back
    return _Place(_test, tuple(lines))


def pytest_configure() -> None:
    socket.socket.__init__ = _remember_socket  # type: ignore[method-assign]
    asyncio.BaseEventLoop.__init__ = _remember_loop  # type: ignore[method-assign,assignment]
    socket.socket.__del__ = _collected  # type: ignore[attr-defined]


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
    global _is_shared
    before, _is_shared = _is_shared, _is_shared or fixturedef.scope == "session"
    try:
        return (yield)
    finally:
        _is_shared = before


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    global _test
    _test = item.nodeid


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Look for leaks once the fixtures of a module are torn down."""
    global _module
    yield
    if nextitem is not None and nextitem.path == item.path:
        return
    if still_open():
        gc.collect()  # a cycle that nobody holds may have a socket that its end closes
    found = still_open() + still_running()
    _module = _Module(threads=set(threading.enumerate()))
    if found:
        pytest.fail(f"{item.path.name} leaves open:\n" + "\n".join(found), pytrace=False)


def still_open() -> list[str]:
    """Return a line for each socket and event loop of the module that is not closed, or was collected unclosed."""
    found = [f"socket {place}: {each!r}" for each, place in _module.sockets.items() if each.fileno() != -1]
    found += [f"collected while it was open: {line}" for line in _module.lost]
    return found + [f"event loop {place}" for each, place in _module.loops.items() if not each.is_closed()]


def still_running() -> list[str]:
    """Return a line for each thread of the module that does not end; daemons and pools end with the process."""
    found = []
    for thread in set(threading.enumerate()) - _module.threads - {threading.main_thread()}:
        if not thread.daemon and getattr(thread, "_target", None) is not _pool_worker:
            thread.join(PATIENCE)
            found += [f"thread {thread.name}"] if thread.is_alive() else []
    return found
