"""Attempts that count from their beginning: never more under way than may fail, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Hashable

from gateway.identity.turns import Turns
from tests.rows import by_row


class Refused(Exception):
    """No attempt may be made any more."""


@by_row("seed", range(30))
async def test_no_more_attempts_are_under_way_than_may_fail(seed: int) -> None:
    """Of two kinds of keys, with attempts that fail, succeed, are given up, and keys that are full for good."""
    chance, turns = random.Random(seed), Turns()
    left: Counter[Hashable] = Counter({key: chance.randint(1, 6) for key in ("a", "b", ("u",), ("v",))})
    under_way: Counter[Hashable] = Counter()
    outcomes: Counter[str] = Counter()

    def room(keys: tuple[Hashable, ...]) -> dict[Hashable, int]:
        if any(left[key] <= 0 for key in keys):
            raise Refused
        return {key: left[key] for key in keys}

    async def attempt() -> None:
        keys = chance.choice(("a", "b")), chance.choice((("u",), ("v",)))
        await asyncio.sleep(chance.random())
        try:
            async with turns.turn(lambda: room(keys)):
                under_way.update(keys)
                try:
                    assert all(under_way[key] <= left[key] for key in keys)
                    await asyncio.sleep(chance.random())
                    if chance.random() < 0.2:
                        left.subtract(keys)
                        outcomes["wrong"] += 1
                finally:
                    under_way.subtract(keys)
        except Refused:
            outcomes["refused"] += 1

    tries = [asyncio.ensure_future(attempt()) for _ in range(60)]
    await asyncio.sleep(0.7)
    for one in chance.sample(tries, 10):
        one.cancel()
    async with asyncio.timeout(120):
        found = await asyncio.gather(*tries, return_exceptions=True)
    assert not [one for one in found if isinstance(one, Exception)]
    assert min(left.values()) >= 0
    assert (turns._under_way, turns._waiting) == (Counter(), {})
