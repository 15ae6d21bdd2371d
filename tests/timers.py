"""What the event loop was asked to do later comes when a test says so, however busy the machine is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from gateway.testing.timers import ManualTimer, ManualTimers


def by_hand(monkeypatch: pytest.MonkeyPatch) -> ManualTimers:
    """From now on `call_later` of the running loop, and so `asyncio.sleep`, waits for `advance`."""
    timers = ManualTimers()

    def later(delay: float, callback: Callable[..., object], *arguments: object) -> ManualTimer:
        return timers.call_later(delay, partial(callback, *arguments))

    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", later)
    return timers
