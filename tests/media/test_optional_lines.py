"""Lines of a description that no call needs: whatever is left of them, the call comes about."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.fuzzing.descriptions import Base, Bench, bases, fault, mutated

SEED = 8866
MUTATIONS = 1_500


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


@pytest.fixture(scope="module")
def known(bench: Bench) -> list[Base]:
    found = bases(bench)
    assert len(found) > 40
    return found


def test_no_call_needs_an_optional_line(bench: Bench, known: list[Base]) -> None:
    """Each of them dropped, and each emptied, of our own descriptions."""
    own = [base for base in known if base.name.startswith("phone")]
    assert len(own) == 10
    faults = []
    for base in own:
        for place in base.optional:
            line, before, after = base.lines[place], base.lines[:place], base.lines[place + 1 :]
            empty = line.partition(":")[0] + ":" if ":" in line else line[:2]
            faults += [fault(bench, base, (*before, *after)), fault(bench, base, (*before, empty, *after))]
    assert [each for each in faults if each is not None] == []


def test_no_call_ends_by_a_garbled_optional_line(bench: Bench, known: list[Base]) -> None:
    """Seeded mutations of everything that a call comes about with; `make fuzz` goes on for as long as asked."""
    chance = random.Random(SEED)
    faults = []
    for _ in range(MUTATIONS):
        base = chance.choice(known)
        faults.append(fault(bench, base, mutated(base, chance.choice(base.optional), chance)))
    assert [each for each in faults if each is not None] == []


def test_a_needed_line_is_told_from_an_optional_one(bench: Bench, known: list[Base]) -> None:
    """Without the only fingerprint, or without its codecs, a call is refused: what this file does would see it."""
    dtls = next(base for base in known if base.name == "phone with DTLS" and not base.is_answer)
    for needed in ("a=fingerprint", "m=audio"):
        left = [line for line in dtls.lines if not line.startswith(needed)]
        assert fault(bench, dtls, left) is not None
