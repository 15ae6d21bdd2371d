"""The short form of `make chaos`: a kill of the packet plane, then one of gateway and plane, with two calls up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import chaos
from tests.chaos import Fate, Kill, Outcome, is_kept, strikes, table

pytestmark = [pytest.mark.peer, pytest.mark.serial]


async def test_two_kills_lose_nothing(tmp_path: Path) -> None:
    """The death of a plane ends no call, nor that of gateway and plane; the gateway's alone: test_recovered_calls."""
    outcomes = [each async for each in strikes(tmp_path, [Kill.PLANE, Kill.BOTH])]
    assert [each.fates for each in outcomes] == [(Fate.KEPT,) * 2] * 2
    assert is_kept(outcomes)
    assert table(outcomes).row_count == 2


@pytest.mark.parametrize("fate", [Fate.ENDED, Fate.LOST])
def test_a_call_that_a_death_takes_along_is_a_loss(fate: Fate) -> None:
    """It is one whether it was told of or not."""
    assert not any(is_kept([Outcome(kill, (Fate.KEPT, fate), 1.0)]) for kill in Kill)


@pytest.mark.parametrize("kills", ["0", "-1", "1001", "many"])
def test_the_number_of_kills_is_bounded(kills: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and how it is called."""
    with pytest.raises(SystemExit) as raised:
        chaos.main(["--kills", kills])
    assert raised.value.code == 2
    assert "usage: python -m tests.chaos" in capsys.readouterr().err
