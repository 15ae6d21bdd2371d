"""Ends of tasks."""

from __future__ import annotations

import asyncio

import pytest

from gateway.tasks import ended


@pytest.mark.parametrize("fault", [None, OSError("the disk is full")])
async def test_an_ended_task_has_let_go_of_its_things(fault: Exception | None) -> None:
    """Its own exception does not keep others from being ended."""
    let_go: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            let_go.append(True)
            if fault is not None:
                raise fault

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await ended(task)
    assert let_go == [True]
    assert task.done()
