"""Ends of tasks that somebody has begun."""

from __future__ import annotations

import asyncio
from typing import Any


async def ended(task: asyncio.Future[Any]) -> None:
    """Cancel `task` and wait until it has let go of all that it used; an exception of the task is dropped."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
