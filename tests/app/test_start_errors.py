"""What keeps the gateway from starting is said in a sentence that names its key, never in a traceback."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.app import GatewayApp
from gateway.cli import AWAY, fail
from gateway.errors import ConfigError, may_pass
from gateway.identity import passwords
from gateway.media.embedded.plane.native.process import SOCKET, PlaneProcess
from gateway.media.embedded.plane.protocol import PlaneError
from gateway.observe.ledger import SqliteLedger
from tests import peers
from tests.interop.gateway import config_on_free_ports
from tests.rows import by_row


async def _refused(folder: Path, **changes: str) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        await GatewayApp(config_on_free_ports(folder, **changes)).start()
    return refused.value


async def test_a_database_that_is_none_is_said(tmp_path: Path) -> None:
    """Garbage where the SQLite file should be; to start again would not mend it."""
    (tmp_path / "gateway.sqlite").write_bytes(b"this is no database" * 100)
    error = await _refused(tmp_path, IDENTITY__STORE="sqlite:gateway.sqlite")
    assert error.key == "identity.store"
    assert fail(error).exit_code == 2


async def test_a_redis_that_is_not_there_is_said(tmp_path: Path) -> None:
    """Without the URL, which may hold a password, and with a status for which a service manager starts it again."""
    error = await _refused(tmp_path, IDENTITY__STORE="redis://:secret@127.0.0.1:9/0")
    assert error.key == "identity.store"
    assert "secret" not in str(error)
    assert fail(error).exit_code == AWAY


async def test_a_shared_journal_that_is_not_there_is_said(tmp_path: Path) -> None:
    """The same."""
    key = "the-key-of-a-cluster-in-these-tests-0815"
    changes = {"CLUSTER__NODE": "sip:127.0.0.1:9", "CLUSTER__KEY": key, "CLUSTER__JOURNAL": "redis://127.0.0.1:9/0"}
    error = await _refused(tmp_path, IDENTITY__STORE="sqlite:gateway.sqlite", MEDIA__PLANE="python", **changes)
    assert error.key == "cluster.journal"
    assert fail(error).exit_code == AWAY


@pytest.mark.wall
async def test_a_state_folder_that_another_gateway_has_is_said(tmp_path: Path) -> None:
    """The one before may be ending yet: to start again is worth a try, and it is not disturbed."""
    peers.plane()
    first = GatewayApp(config_on_free_ports(tmp_path, MEDIA__PLANE="native"))
    await first.start()
    try:
        error = await _refused(tmp_path, MEDIA__PLANE="native")
        assert (tmp_path / SOCKET).exists()
    finally:
        await first.stop()
    assert (error.key, fail(error).exit_code) == ("media.plane", AWAY)
    assert "another gateway" in str(error)


@by_row(("code", "status"), [("lost", AWAY), ("version", AWAY), ("refused", 2)])
async def test_a_plane_that_does_not_answer_may_do_so_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, status: int
) -> None:
    """One that its own unit starts, or of another version, which ends by itself; not one with another secret."""

    async def connect(process: PlaneProcess) -> None:
        raise PlaneError(code, "nobody is there")

    monkeypatch.setattr(PlaneProcess, "connect", connect)
    error = await _refused(tmp_path, MEDIA__PLANE="native", MEDIA__PLANE_START="false")
    assert (error.key, fail(error).exit_code) == ("media.plane", status)


async def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where passwords have to be written."""

    def full(*arguments: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(passwords, "write_whole", full)
    error = await _refused(tmp_path, USERS__alice__PASSWORD="auto")
    assert error.key == "state_dir"
    assert "No space left" in str(error)
    assert fail(error).exit_code == AWAY


def locked(path: Path) -> sqlite3.Connection:
    """Somebody else who writes into that file for long."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection


async def test_a_store_that_is_locked_may_be_free_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its service manager starts the gateway again, which goes on with the calls of the one before."""
    monkeypatch.setattr("gateway.store.sqlite.BUSY_TIMEOUT", 0.1)
    with closing(locked(tmp_path / "gateway.sqlite")):
        error = await _refused(tmp_path, IDENTITY__STORE="sqlite:gateway.sqlite")
    assert (error.key, fail(error).exit_code) == ("identity.store", AWAY)


async def test_call_records_that_are_locked_or_anothers_may_be_free_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is written over, nor is a gateway down for good that was killed meanwhile."""
    monkeypatch.setattr("gateway.observe.ledger._BUSY_TIMEOUT", 0.1)
    with closing(locked(tmp_path / "cdr.sqlite")):
        error = await _refused(tmp_path, CDR__ENABLED="true", MEDIA__PLANE="python")
    assert (error.key, fail(error).exit_code) == ("cdr", AWAY)
    other = SqliteLedger(tmp_path / "cdr.sqlite", 1.0)
    other.open(0.0)
    try:
        error = await _refused(tmp_path, CDR__ENABLED="true", MEDIA__PLANE="python")
    finally:
        other.close()
    assert (error.key, fail(error).exit_code) == ("cdr", AWAY)
    assert "another gateway" in str(error)


def test_a_disk_without_room_for_a_store_may_have_some_later(tmp_path: Path) -> None:
    """As SQLite says it."""
    with closing(sqlite3.connect(tmp_path / "full.sqlite")) as connection:
        connection.execute("PRAGMA max_page_count = 1")
        with pytest.raises(sqlite3.Error) as full:
            connection.execute("CREATE TABLE more (text TEXT)")
    assert may_pass(full.value)


def test_a_folder_that_cannot_be_written_will_do_when_nothing_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The passwords of an earlier start are read; a new one is refused."""
    wanted = {"alice": "auto", "bob": "chosen"}
    made = passwords.resolve(wanted, tmp_path, os.urandom)

    def read_only(*arguments: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(passwords, "_locked", read_only)
    assert passwords.resolve(wanted, tmp_path, os.urandom).values == made.values
    with pytest.raises(ConfigError, match="Read-only"):
        passwords.resolve(wanted | {"carol": "auto"}, tmp_path, os.urandom)


@by_row(("code", "passes"), [(13, True), (778, True), (517, True), (261, True), (262, True), (11, False)])
def test_errors_of_sqlite_that_may_pass_are_told_by_their_plain_code(code: int, passes: bool) -> None:
    """FULL, IOERR_WRITE, BUSY_SNAPSHOT, BUSY_RECOVERY; not CORRUPT."""
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorcode = code
    assert may_pass(error) is passes
