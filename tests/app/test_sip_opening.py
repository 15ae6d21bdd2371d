"""By which mark the nonces of a gateway of a cluster are those of another process than the one before."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.access.bans import BanPolicy, Bans
from gateway.app import settings, sip_opening
from gateway.app.opening import Opening
from gateway.app.sip_opening import MARK_FILE, next_mark, open_gatekeeper
from gateway.config import Config
from gateway.store.identity_memory import MemoryStore
from gateway.trunks.known import Trunks


def always(number: int) -> Callable[[int], bytes]:
    """Chance at its worst."""
    return lambda count: bytes([number]) * count


def test_a_process_has_another_mark_than_the_one_before(tmp_path: Path) -> None:
    """Whatever is drawn: only the first draws, and whoever finds nothing that can be read."""
    folder = tmp_path / "state"
    assert [next_mark(folder, always(number)) for number in (254, 254, 254, 7)] == [254, 255, 0, 1]
    for damaged in ("", "x", "1.5"):
        (folder / MARK_FILE).write_text(damaged)
        assert next_mark(folder, always(9)) == 9
    assert (folder / MARK_FILE).stat().st_mode & 0o077 == 0


def test_where_no_mark_can_be_kept_each_process_draws_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than what stays there would be the same each time."""

    def full(path: Path, content: str) -> bool:
        raise OSError(errno.ENOSPC, "no space left on device")

    (tmp_path / MARK_FILE).write_text("3")
    monkeypatch.setattr(sip_opening, "write_whole", full)
    assert [next_mark(tmp_path, always(number)) for number in (5, 200)] == [5, 200]


@pytest.mark.parametrize(
    "cluster", [{}, {"node": "sip:192.0.2.1:5060", "key": "k" * 32}], ids=["alone", "of a cluster"]
)
async def test_a_gateway_of_a_cluster_gives_its_nonces_that_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: dict[str, str]
) -> None:
    """One that is alone has another key each time, and keeps none."""
    marks: list[int] = []
    made = settings.digest

    def digest(config: Config, secret: bytes, since: float, mark: int) -> object:
        marks.append(mark)
        return made(config, secret, since, mark)

    monkeypatch.setattr(settings, "digest", digest)
    given: dict[str, Any] = {"cluster": cluster} if cluster else {}
    for _ in range(2):
        opening = Opening(Config(state_dir=tmp_path, **given), always(40), lambda: 0.0)
        others = cast(Any, SimpleNamespace(verify=lambda request, source: None))
        identity = opening.config.identity_map()
        bans = Bans(BanPolicy(time=0.0), lambda: 0.0)
        open_gatekeeper(opening, identity, MemoryStore(), Trunks([]), bans, others)
    assert marks == ([40, 41] if cluster else [0, 0])
    assert (tmp_path / MARK_FILE).exists() == bool(cluster)
