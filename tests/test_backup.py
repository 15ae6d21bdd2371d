"""`gateway backup` and `gateway restore`: everything, of a gateway that runs; nothing overwritten, nothing believed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sqlite3
import stat
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway import cli
from gateway.app import GatewayApp
from gateway.app.sip_opening import MARK_FILE
from gateway.commands.backup import BackupError, backup, restore
from gateway.errors import ConfigError
from gateway.failover.recovery import FILE as CALLS
from gateway.store.identity_sqlite import MIGRATIONS, SqliteStore
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.rows import by_row


async def test_users_and_passwords_come_back_on_another_machine(tmp_path: Path) -> None:
    """Taken while the gateway runs and writes; another gateway on the restored folder knows what the first knew."""
    state, elsewhere = tmp_path / "state", tmp_path / "elsewhere" / "state"
    state.mkdir()
    (state / MARK_FILE).write_text("7")
    changes = {"IDENTITY__STORE": "sqlite:gateway.sqlite"}
    app = GatewayApp(config_on_free_ports(state, **changes))
    await app.start()
    try:
        archive = tmp_path / "all.tar.gz"
        assert backup(state, None, archive) >= 2
    finally:
        await app.stop()
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    assert "state/gateway.sqlite" in names
    # Who took up its calls elsewhere would speak into them while they go on here.
    assert (state / CALLS).exists()
    assert not [name for name in names if "calls." in name]
    # The process after the one that was restored over would have its mark.
    assert f"state/{MARK_FILE}" not in names
    assert not [name for name in names if "console" in name or name.endswith(("-wal", "-shm", ".sock"))]
    restore(archive, elsewhere, None)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in elsewhere.iterdir() if path.is_file())
    second = GatewayApp(config_on_free_ports(elsewhere, **changes))
    await second.start()
    try:
        assert second.password("alice") == PASSWORDS["alice"]
    finally:
        await second.stop()


@by_row("version", range(1, len(MIGRATIONS) + 1))
async def test_a_backup_of_an_older_gateway_is_taken_up(tmp_path: Path, version: int) -> None:
    """Whatever version its store was of: phones and passwords are there, and the gateway starts on it."""
    state, elsewhere, archive = tmp_path / "state", tmp_path / "elsewhere", tmp_path / "all.tar.gz"
    state.mkdir()
    with contextlib.closing(sqlite3.connect(state / "gateway.sqlite", isolation_level=None)) as old:
        for statements in MIGRATIONS[:version]:
            for statement in statements:
                old.execute(statement)
        values = {
            "aor": "sip:1001@gateway.local",
            "contact": "sip:a@192.0.2.1",
            "expires_at": 2e10,
            "cseq": 1,
            "q": 1.0,
        }
        values |= {"call_id": "c", "path": "[]", "user_agent": "", "codecs": "[]", "sequence": 1}
        values |= {"key": "sip:a@192.0.2.1"} if version >= 3 else {}
        marks = ", ".join("?" * len(values))
        old.execute(f"INSERT INTO bindings ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))
        old.execute("INSERT INTO credentials VALUES ('1001', 'gateway.local', '{\"MD5\": \"aa\"}')")
        old.execute(f"PRAGMA user_version = {version}")
    backup(state, None, archive)
    restore(archive, elsewhere, None)
    app = GatewayApp(config_on_free_ports(elsewhere, IDENTITY__STORE="sqlite:gateway.sqlite"))
    await app.start()
    try:
        assert (elsewhere / "gateway.sqlite").stat().st_size
    finally:
        await app.stop()
    store = SqliteStore(elsewhere / "gateway.sqlite")
    await store.open()
    try:
        [found] = await store.bindings("sip:1001@gateway.local", 1e9)
        assert (found.contact, found.call_id, found.key) == ("sip:a@192.0.2.1", "c", "sip:a@192.0.2.1")
    finally:
        await store.close()


async def test_a_backup_of_a_newer_gateway_is_restored_and_not_used(tmp_path: Path) -> None:
    """The gateway says whose file it is, and leaves it as it was."""
    state, elsewhere, archive = tmp_path / "state", tmp_path / "elsewhere", tmp_path / "all.tar.gz"
    state.mkdir()
    with contextlib.closing(sqlite3.connect(state / "gateway.sqlite", isolation_level=None)) as newer:
        newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    backup(state, None, archive)
    restore(archive, elsewhere, None)
    app = GatewayApp(config_on_free_ports(elsewhere, IDENTITY__STORE="sqlite:gateway.sqlite"))
    with pytest.raises(ConfigError, match="written by a newer version of the gateway"):
        await app.start()
    await app.stop()
    with contextlib.closing(sqlite3.connect(elsewhere / "gateway.sqlite")) as kept:
        assert kept.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)


def test_a_database_is_taken_whole_while_others_write(tmp_path: Path) -> None:
    """What is committed is there, what is not is not, though both stand in the write-ahead log."""
    state = tmp_path / "state"
    state.mkdir()
    writer = sqlite3.connect(state / "store", isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("CREATE TABLE t (n)")
    writer.execute("INSERT INTO t VALUES (1)")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO t VALUES (2)")
    backup(state, None, tmp_path / "b.tar.gz")
    writer.close()
    restore(tmp_path / "b.tar.gz", tmp_path / "new", None)
    reader = sqlite3.connect(tmp_path / "new" / "store")
    assert reader.execute("SELECT n FROM t").fetchall() == [(1,)]
    reader.close()


def test_the_command_takes_the_configuration_along_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the words of its help."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gateway.yaml").write_text("domain: kept.test\n")
    state = tmp_path / ".gateway" / "greetings"
    state.mkdir(parents=True)
    (state / "alice.ogg").write_bytes(bytes(range(256)))
    run = CliRunner().invoke
    made = run(cli.app, ["backup", "b.tar.gz"])
    assert made.exit_code == 0, made.output
    assert "2 files" in made.output
    again = run(cli.app, ["restore", "b.tar.gz"])
    assert again.exit_code == 2
    os.rename(".gateway", "old")
    assert run(cli.app, ["restore", "b.tar.gz"]).exit_code == 2
    assert not Path(".gateway").exists()
    os.rename("gateway.yaml", "old.yaml")
    done = run(cli.app, ["restore", "b.tar.gz"])
    assert done.exit_code == 0, done.output
    assert Path("gateway.yaml").read_text() == "domain: kept.test\n"
    assert Path(".gateway/greetings/alice.ogg").read_bytes() == bytes(range(256))
    assert "names" not in done.output


def test_a_restored_configuration_that_names_another_folder_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of `gateway init` does, in whole: a gateway that is started on it would find nothing of the backup."""
    monkeypatch.chdir(tmp_path)
    state = tmp_path / "here"
    state.mkdir()
    (state / "secrets.json").write_text("{}")
    Path("gateway.yaml").write_text(f"state_dir: {state}\ncluster: {{node: 'sip:192.0.2.1:5060'}}\n")
    Path("gateway.yaml").chmod(0o664)
    run = CliRunner().invoke
    made = run(cli.app, ["backup", "b.tar.gz"])
    assert (made.exit_code, "2 files" in made.output) == (0, True), made.output
    done = run(cli.app, ["restore", "b.tar.gz", "--state-dir", "there", "--config", "there.yaml"])
    assert done.exit_code == 0, done.output
    assert f"there.yaml names {state}: set its state_dir to {tmp_path / 'there'}." in " ".join(done.output.split())
    assert [stat.S_IMODE(Path(name).stat().st_mode) for name in ("there.yaml", "there/secrets.json")] == [0o644, 0o600]
    state.rename(tmp_path / "away")
    same = run(cli.app, ["restore", "b.tar.gz", "--state-dir", str(state), "--config", "same.yaml"])
    assert (same.exit_code, "names" in same.output) == (0, False)


def _archive(path: Path, files: dict[str, bytes], manifest: object, link: str = "") -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in {**files, "manifest.json": json.dumps(manifest).encode()}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        if link:
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc"
            tar.addfile(entry)
    return path


@by_row(
    ("files", "manifest", "link", "says"),
    [
        ({"state/../../evil": b""}, {}, "", "holds"),
        ({"/etc/evil": b""}, {}, "", "holds"),
        ({"other/file": b""}, {}, "", "holds"),
        ({}, {}, "state/link", "holds"),
        ({}, [], "", "cannot be read"),
        ({}, {"format": 1}, "", "cannot be read"),
        ({}, {"format": 2, "version": "9.9", "files": {}}, "", "made by gateway 9.9"),
        ({"state/a": b"x"}, {"format": 1, "version": "1", "files": {"state/a": "00"}}, "", "damaged"),
        ({"state/a": b"x"}, {"format": 1, "version": "1", "files": {}}, "", "damaged"),
    ],
)
def test_an_archive_that_is_not_ours_changes_nothing(
    tmp_path: Path, files: dict[str, bytes], manifest: object, link: str, says: str
) -> None:
    """Names that lead elsewhere, links, other forms, other sums."""
    archive = _archive(tmp_path / "x.tar.gz", files, manifest, link)
    with pytest.raises(BackupError, match=says):
        restore(archive, tmp_path / "state", tmp_path / "gateway.yaml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.tar.gz"]


def test_what_is_no_archive_says_so(tmp_path: Path) -> None:
    """Empty, cut off, or something else; and a folder that is not there cannot be kept."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "a").write_bytes(os.urandom(5000))
    whole = tmp_path / "whole.tar.gz"
    backup(state, None, whole)
    for data in (b"", b"hello", whole.read_bytes()[:2000]):
        (tmp_path / "broken").write_bytes(data)
        with pytest.raises(BackupError, match="cannot be read"):
            restore(tmp_path / "broken", tmp_path / "new", None)
    with pytest.raises(BackupError, match="is not there"):
        backup(tmp_path / "nowhere", None, tmp_path / "b.tar.gz")
    with pytest.raises(BackupError, match="was not written"):
        backup(state, None, tmp_path / "no-such-folder" / "b.tar.gz")


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The system lets nobody write more than so many bytes to one file, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_write_that_fails_midway_leaves_nothing(tmp_path: Path, is_there: bool) -> None:
    """Neither of the state nor of the configuration, nor a draft; and once it can be written, it is."""
    state, place = tmp_path / "old", tmp_path / "place"
    state.mkdir()
    (state / "a").write_bytes(b"small")
    (state / "b").write_bytes(os.urandom(300_000))
    (tmp_path / "old.yaml").write_text("domain: kept.test\n")
    archive = tmp_path / "b.tar.gz"
    with largest_file(100_000), pytest.raises(BackupError, match="was not written"):
        backup(state, tmp_path / "old.yaml", archive)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "old.yaml"]
    backup(state, tmp_path / "old.yaml", archive)
    place.mkdir()
    if is_there:
        (place / "state").mkdir()
    with largest_file(100_000), pytest.raises(BackupError, match="was not written"):
        restore(archive, place / "state", place / "gateway.yaml")
    (tmp_path / "file").touch()
    with pytest.raises(BackupError, match="was not written"):
        restore(archive, place / "state", tmp_path / "file" / "gateway.yaml")
    assert sorted(path.name for path in place.rglob("*")) == (["state"] if is_there else [])
    written = restore(archive, place / "state", place / "gateway.yaml")
    assert written == [place / "gateway.yaml", place / "state" / "a", place / "state" / "b"]
    assert sorted(path for path in place.rglob("*") if path.is_file()) == sorted(written)
    assert (place / "state" / "b").read_bytes() == (state / "b").read_bytes()


def test_an_archive_is_not_written_into_what_it_keeps(tmp_path: Path) -> None:
    """The next one would hold it; by any name of the folder."""
    state = tmp_path / "state"
    state.mkdir()
    (tmp_path / "link").symlink_to(state)
    for archive in (state / "b.tar.gz", tmp_path / "link" / "b.tar.gz", state / "sub" / "b.tar.gz"):
        with pytest.raises(BackupError, match="is inside"):
            backup(state, None, archive)
    assert list(state.iterdir()) == []


def test_large_files_are_passed_on_in_pieces(tmp_path: Path) -> None:
    """In both directions: a state folder of hours of recordings does not have to fit into memory."""
    state = tmp_path / "state"
    state.mkdir()
    with (state / "long.opus").open("wb") as file:
        file.truncate(50_000_000)
    tracemalloc.start()
    try:
        backup(state, None, tmp_path / "b.tar.gz")
        restore(tmp_path / "b.tar.gz", tmp_path / "new", None)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert (tmp_path / "new" / "long.opus").stat().st_size == 50_000_000
