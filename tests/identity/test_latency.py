"""How long a store takes to answer."""

from __future__ import annotations

from contextlib import ExitStack, suppress

import pytest

from gateway.identity.latency import Latency
from gateway.identity.model import Binding
from gateway.identity.remembering import RememberingStore
from gateway.identity.store import StoreError
from gateway.store.identity_memory import MemoryStore
from gateway.testing.clock import ManualClock


def ask(latency: Latency, clock: ManualClock, *seconds: float) -> None:
    for each in seconds:
        with latency.question():
            clock.advance(each)


def test_half_of_the_answers_of_the_last_two_seconds_took_longer() -> None:
    """One slow answer among many is none; what is older is forgotten."""
    clock = ManualClock()
    latency = Latency(clock)
    assert latency.median() == 0.0
    ask(latency, clock, 0.1, 0.1, 0.1, 0.9)
    assert latency.median() == 0.0, "four questions say nothing"
    ask(latency, clock, 0.1)
    assert latency.median() == pytest.approx(0.1)
    ask(latency, clock, 0.2, 0.2, 0.25, 0.25)
    assert latency.median() == pytest.approx(0.2)
    clock.advance(2.5)
    assert latency.median() == 0.0


def test_what_is_not_answered_yet_counts_from_when_it_is_slower_than_the_others() -> None:
    """A store that hangs is seen before it answers; what fails is no answer."""
    clock = ManualClock()
    latency = Latency(clock)
    ask(latency, clock, *[0.1] * 5)
    with ExitStack() as waiting:
        for _ in range(7):
            waiting.enter_context(latency.question())
        clock.advance(0.05)
        assert latency.median() == pytest.approx(0.1)
        clock.advance(1.0)
        assert latency.median() == pytest.approx(1.05)
        clock.advance(1.5)
        assert latency.median() == pytest.approx(2.55)
    clock.advance(2.5)
    for _ in range(7):
        with suppress(StoreError), latency.question():
            clock.advance(0.1)
            raise StoreError("away")
    assert latency.median() == 0.0


def test_ten_thousand_answers_are_the_latest_few_hundred() -> None:
    """Its memory is bounded."""
    clock = ManualClock()
    latency = Latency(clock)
    ask(latency, clock, *[0.5] * 3, *[0.0001] * 10_000)
    assert latency.median() == pytest.approx(0.0001)
    assert len(latency._took) < 1_000


class Slow(MemoryStore):
    """It takes a while by the clock, or is away."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.clock = clock
        self.is_away = False

    async def put_binding(self, binding: Binding, now: float, limit: int) -> None:
        self.clock.advance(5.0)

    async def bindings(self, aor: str, now: float) -> list[Binding]:
        self.clock.advance(0.3)
        if self.is_away:
            raise StoreError("away")
        return []


async def several(store: RememberingStore) -> None:
    """As many questions as say something."""
    for _ in range(5):
        await store.bindings("sip:a@b", 0.0)


async def test_a_store_that_is_away_is_not_slow() -> None:
    """Who is known is called from memory, and nobody waits for it."""
    clock = ManualClock()
    slow = Slow(clock)
    store = RememberingStore(slow, clock)
    await several(store)
    assert store.took() == pytest.approx(0.3)
    slow.is_away = True
    await store.bindings("sip:a@b", 0.0)
    assert store.took() == 0.0
    slow.is_away = False
    clock.advance(10.0)
    await several(store)
    assert store.took() == pytest.approx(0.3)


async def test_a_phone_that_registers_slowly_keeps_no_call_out() -> None:
    """Its write waits for another process's, what calls ask does not."""
    clock = ManualClock()
    store = RememberingStore(Slow(clock), clock)
    await store.put_binding(Binding(aor="sip:a@b", contact="sip:a@h", expires_at=60.0), 0.0, 10)
    assert store.took() == 0.0
    await several(store)
    assert store.took() == pytest.approx(0.3)
