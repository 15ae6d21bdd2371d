"""What the tests' peers leave behind."""

from __future__ import annotations

import asyncio

import pytest

from tests.processes import end_group

pytestmark = pytest.mark.wall


async def test_what_a_peer_has_begun_ends_with_it() -> None:
    # It tells of its child, which hears no SIGTERM.
    script = "(trap '' TERM; while :; do sleep 1; done) >/dev/null & echo $!; wait"
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", script, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    child = int(await process.stdout.readline())
    await end_group(process)
    async with asyncio.timeout(5):
        while _lives(child):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _lives(pid: int) -> bool:
    """Whether it is more than what its parent has not asked after."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
