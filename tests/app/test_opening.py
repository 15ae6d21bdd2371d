"""What opens a gateway's rooms: which refusals may pass, what is swept, and that it goes on being swept."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.app import GatewayApp
from gateway.app.opening import Opening
from gateway.config import Config
from gateway.errors import AwayError, ConfigError
from gateway.media.engine import MediaError, PortTakenError
from gateway.store.identity_sqlite import SqliteStore
from tests.interop.gateway import config_on_free_ports
from tests.rows import by_row


def opening() -> Opening:
    return Opening(Config(), os.urandom, time.time)


@by_row(
    ("error", "kind"),
    [
        (OSError(errno.EADDRINUSE, "Address already in use"), AwayError),
        (PortTakenError("port 5004 is taken"), AwayError),
        (OSError(errno.EACCES, "Permission denied"), ConfigError),
        (MediaError("there is no such address"), ConfigError),
    ],
)
async def test_what_another_program_has_may_be_free_later(error: Exception, kind: type[ConfigError]) -> None:
    """Nothing else that the system refuses."""

    async def refused() -> None:
        raise error

    with pytest.raises(ConfigError) as raised:
        await opening().opened("rtp.ports", refused())
    assert (type(raised.value), raised.value.key) == (kind, "rtp.ports")


async def test_what_goes_wrong_in_a_sweep_ends_no_later_one() -> None:
    """A fault of ours would else fill the store for as long as the process lives."""
    again = asyncio.Event()
    asked: list[float] = []

    async def expire(now: float) -> int:
        asked.append(now)
        if len(asked) == 1:
            raise RuntimeError("a test's own")
        again.set()
        return 0

    opened = opening()
    async with opened.stack, asyncio.timeout(30):
        opened.sweep(expire, 0.01)
        await again.wait()


async def test_bindings_and_links_are_swept_and_the_store_is_closed_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told to a store that nobody sweeps stays for ever; one that nobody closes leaves its threads."""
    swept: list[str] = []
    sweep = Opening.sweep

    def listed(self: Opening, expire: Callable[[float], Awaitable[int]], interval: float = 60.0) -> None:
        swept.append(getattr(expire, "__qualname__", ""))
        sweep(self, expire, interval)

    monkeypatch.setattr(Opening, "sweep", listed)
    stores: list[SqliteStore] = []
    made = SqliteStore.__init__

    def kept(self: SqliteStore, path: Path) -> None:
        made(self, path)
        stores.append(self)

    monkeypatch.setattr(SqliteStore, "__init__", kept)
    app = GatewayApp(config_on_free_ports(tmp_path, IDENTITY__STORE="sqlite:gateway.sqlite"))
    await app.start()
    try:
        assert {"ProvisionedStore.expire", "GuestLinks.expire"} <= set(swept)
    finally:
        await app.stop()
    [store] = stores
    assert (store._file._writing, store._file._reading) == (None, None)
