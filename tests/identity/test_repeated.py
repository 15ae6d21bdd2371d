"""Work with a store that may be away."""

from __future__ import annotations

from collections import deque

from structlog.testing import capture_logs

from gateway.identity.store import StoreError
from gateway.repeated import Repeated


async def test_a_store_that_is_away_is_spoken_of_once_until_it_is_back() -> None:
    """A mistake each time; neither ends the work, and whoever has it knows whether it was done."""
    bug = RuntimeError("bug")
    outcomes = deque([StoreError("no reply"), StoreError("no reply"), bug, None, StoreError("gone"), bug, None])

    async def work() -> None:
        outcome = outcomes.popleft()
        if outcome is not None:
            raise outcome

    repeated, seen = Repeated(work, StoreError, away="is away", failed="failed"), []
    with capture_logs() as logs:
        while outcomes:
            seen.append((await repeated.once(), repeated.is_away))
    done, away = (True, False), (False, True)
    assert seen == [away, away, away, done, away, away, done]
    assert [(entry["event"], entry.get("reason")) for entry in logs] == [
        ("is away", "no reply"),
        ("failed", None),
        ("is away", "gone"),
        ("failed", None),
    ]
