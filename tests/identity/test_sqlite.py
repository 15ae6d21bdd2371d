"""What only the SQLite store has to keep: files, restarts, several processes, migrations."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.identity.model import Binding, Credential
from gateway.identity.store import StoreError
from gateway.store import sqlite as sqlite_store
from gateway.store.identity_sqlite import MIGRATIONS, SqliteStore
from tests.chaos.places import locked

NOW = 1_700_000_000.0
AOR = "sip:1001@gateway.local"


def binding(contact: str) -> Binding:
    return Binding(aor=AOR, contact=contact, expires_at=NOW + 60)


async def test_bindings_survive_a_restart(tmp_path: Path) -> None:
    """A second store over the same file finds what the first one kept."""
    first = SqliteStore(tmp_path / "identity.sqlite")
    await first.open()
    await first.put_binding(binding("sip:a@h"), NOW, 10)
    await first.put_credential(Credential("1001", "gateway.local", {"MD5": "aa"}))
    await first.close()
    second = SqliteStore(tmp_path / "identity.sqlite")
    await second.open()
    assert await second.bindings(AOR, NOW) == [binding("sip:a@h")]
    assert await second.credential("1001", "gateway.local") == Credential("1001", "gateway.local", {"MD5": "aa"})
    await second.close()


async def test_flows_of_a_file_from_before_they_had_names_of_their_own_are_kept(tmp_path: Path) -> None:
    """RFC 5626: a second flow of the same contact fits in, and the first is refreshed in its place."""
    path = tmp_path / "identity.sqlite"
    old = sqlite3.connect(path, isolation_level=None)
    for statement in MIGRATIONS[0]:
        old.execute(statement)
    row = (AOR, "sip:a@h", NOW + 60, "c", 1, 1.0, "urn:uuid:1", 1, "[]", None, "", "[]", 1)
    old.execute(f"INSERT INTO bindings VALUES ({', '.join('?' * len(row))})", row)
    old.execute("INSERT INTO bindings SELECT aor, 'sip:b@h', ?, '', 0, 1.0, NULL, NULL, '[]', NULL, '', '[]', 2 "
                "FROM bindings", (NOW + 60,))  # fmt: skip
    old.execute("PRAGMA user_version = 1")
    old.close()
    store = SqliteStore(path)
    await store.open()
    first = replace(binding("sip:a@h"), call_id="c", cseq=1, instance="urn:uuid:1", reg_id=1)
    assert await store.bindings(AOR, NOW) == [binding("sip:b@h"), first]
    second, again = replace(first, reg_id=2), replace(first, cseq=2)
    assert await store.change_bindings(AOR, [first, binding("sip:b@h")], (), [again, second], NOW)
    assert await store.bindings(AOR, NOW) == [second, again, binding("sip:b@h")]
    await store.close()


async def test_files_are_private(tmp_path: Path) -> None:
    """The folder, the file and SQLite's files beside it can be read by their owner only."""
    store = SqliteStore(tmp_path / "state" / "identity.sqlite")
    await store.open()
    await store.put_binding(binding("sip:a@h"), NOW, 10)
    files = list((tmp_path / "state").iterdir())
    assert {file.name for file in files} >= {"identity.sqlite", "identity.sqlite-wal"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    await store.close()


async def test_event_loop_goes_on_while_the_file_is_locked(tmp_path: Path) -> None:
    """A write that has to wait for another process's lock holds neither the loop nor other tasks."""
    path = tmp_path / "identity.sqlite"
    store = SqliteStore(path)
    await store.open()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(store.put_binding(binding("sip:a@h"), NOW, 10))
    ticks = 0
    for _ in range(100):
        await asyncio.sleep(0)
        ticks += 1
    assert ticks == 100
    assert not waiting.done()
    other.execute("COMMIT")
    other.close()
    await waiting
    assert len(await store.bindings(AOR, NOW)) == 1
    await store.close()


async def test_no_sql_runs_in_the_event_loop_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection is made in a thread of the store's own, and SQLite itself refuses any other."""
    seen: list[int] = []
    connect = sqlite3.connect

    def watched(*args: object, **options: object) -> sqlite3.Connection:
        seen.append(threading.get_ident())
        return connect(*args, **options)  # type: ignore[call-overload, no-any-return]  # passed on as it came

    monkeypatch.setattr("gateway.store.identity_sqlite.sqlite3.connect", watched)
    store = SqliteStore(tmp_path / "identity.sqlite")
    await store.open()
    assert len(seen) == 2
    assert threading.get_ident() not in seen
    await store.close()


def _register(path: Path, name: str) -> None:
    sqlite_store.BUSY_TIMEOUT = 30.0  # a disk that others keep busy is no fault

    async def run() -> None:
        store = SqliteStore(path)
        await store.open()
        for number in range(10):
            try:
                await store.put_binding(binding(f"sip:{name}{number}@h"), NOW, 12)
            except StoreError as error:
                if "more than 12" not in str(error):
                    raise
        await store.close()

    asyncio.run(run())


async def test_several_processes_keep_one_limit(tmp_path: Path) -> None:
    """Three processes that register at once neither fail nor pass the limit together."""
    path = tmp_path / "identity.sqlite"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_register, args=(path, name)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join(40)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    store = SqliteStore(path)
    await store.open()
    assert len(await store.bindings(AOR, NOW)) == 12
    await store.close()


async def test_schema_version_is_recorded(tmp_path: Path) -> None:
    """user_version tells how many migrations a file has seen."""
    path = tmp_path / "identity.sqlite"
    store = SqliteStore(path)
    await store.open()
    await store.close()
    with sqlite3.connect(path) as plain:
        assert plain.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    plain.close()


async def test_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """A file that a later gateway wrote is left alone with a clear sentence."""
    path = tmp_path / "identity.sqlite"
    plain = sqlite3.connect(path)
    plain.execute("PRAGMA user_version = 99")
    plain.close()
    store = SqliteStore(path)
    with pytest.raises(StoreError, match="newer version"):
        await store.open()
    await store.close()


async def test_damaged_file_is_a_store_error(tmp_path: Path) -> None:
    """What is no database ends in a StoreError that names the file, not in a traceback of the driver."""
    path = tmp_path / "identity.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match=r"identity\.sqlite"):
        await SqliteStore(path).open()


async def test_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    """A path below a plain file is refused."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        await SqliteStore(tmp_path / "file" / "identity.sqlite").open()


async def test_closed_store_says_so(tmp_path: Path) -> None:
    """Use before open and after close is a StoreError."""
    store = SqliteStore(tmp_path / "identity.sqlite")
    with pytest.raises(StoreError, match="not open"):
        await store.bindings(AOR, NOW)
    await store.open()
    await store.close()
    with pytest.raises(StoreError, match="not open"):
        await store.expire(NOW)


async def test_who_is_known_is_found_while_another_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change waits for it, and nobody who asks waits for the change."""
    monkeypatch.setattr("gateway.store.sqlite.BUSY_TIMEOUT", 60.0)
    store = SqliteStore(tmp_path / "identity.sqlite")
    await store.open()
    try:
        await store.put_binding(binding("sip:a@h"), NOW, 10)
        with locked(tmp_path / "identity.sqlite"):
            putting = asyncio.create_task(store.put_binding(binding("sip:b@h"), NOW, 10))
            assert await asyncio.wait_for(store.bindings(AOR, NOW), 30) == [binding("sip:a@h")]
            assert not putting.done()
        await putting
        assert await store.bindings(AOR, NOW) == [binding("sip:b@h"), binding("sip:a@h")]
    finally:
        await store.close()


async def test_a_full_disk_is_said_as_that_and_takes_nothing_with_it(tmp_path: Path) -> None:
    """SQLite has taken back what it had begun."""
    store = sqlite_store.SqliteFile(tmp_path / "a.sqlite", "the store", (("CREATE TABLE a (b TEXT)",),), StoreError)
    await store.open()

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 10")
        for _ in range(100):
            connection.execute("INSERT INTO a VALUES (?)", ("x" * 3_000,))

    with pytest.raises(StoreError, match="database or disk is full"):
        await store.transaction(fill)
    await store.changed("INSERT INTO a VALUES ('y')")
    assert await store.rows("SELECT b FROM a") == [("y",)]
    await store.close()
