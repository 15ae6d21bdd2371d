"""Whole files on disks that fail: the one writer, and all that is kept by it."""

from __future__ import annotations

import ast
import asyncio
import errno
import os
import resource
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway import files
from gateway.app.sip_opening import next_mark
from gateway.call.rules import Rules
from gateway.commands.backup import BackupError, backup
from gateway.commands.init import Answers, write
from gateway.errors import ConfigError
from gateway.files import LatestFile, draft, remove_drafts, write_whole
from gateway.identity.passwords import resolve
from gateway.media.embedded.plane.native.process import PlaneProcess
from gateway.store.rules_file import FileRules
from gateway.trunks.accounts import Account
from gateway.trunks.vault import Vault, VaultError, read_key
from gateway.web.auth.sign_ins import SignIns
from gateway.web.console import ConsoleAccess, offer
from gateway.web.push.sender import read_key as read_push_key
from gateway.web.push.subscriptions import Subscriptions
from tests.web.push_support import PushBrowser

ROOT = Path(__file__).parents[1]


class Disk:
    """A disk that fails at one step, and tells the steps it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        self.fails_at, self.error = "", errno.EIO
        for name in ("replace", "link"):
            self._watch(monkeypatch, name, lambda *_, name=name: name)
        self._watch(monkeypatch, "fsync", self._synced)

    @staticmethod
    def _synced(descriptor: int) -> str:
        return "sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file"

    def _watch(self, monkeypatch: pytest.MonkeyPatch, name: str, step_of: Callable[..., str]) -> None:
        real = getattr(os, name)

        def step(*arguments: Any) -> Any:
            self.steps.append(step_of(*arguments))
            if self.steps[-1] == self.fails_at:
                raise OSError(self.error, os.strerror(self.error))
            return real(*arguments)

        monkeypatch.setattr(os, name, step)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_content_is_on_the_disk_before_its_name(tmp_path: Path, disk: Disk) -> None:
    """A power cut at any moment finds the old content or the new one, for the file's user only."""
    before = os.umask(0)
    try:
        with draft(tmp_path / "a") as file:
            assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()} == {0o600}
            file.write(b"text")
    finally:
        os.umask(before)
    assert disk.steps == ["sync file", "replace", "sync folder"]
    assert [(each.name, stat.S_IMODE(each.stat().st_mode)) for each in tmp_path.iterdir()] == [("a", 0o600)]


@pytest.mark.parametrize(
    ("step", "held"),
    [("sync file", b"old"), ("replace", b"old"), ("sync folder", b"new")],
)
def test_a_disk_that_fails_leaves_a_whole_file(tmp_path: Path, disk: Disk, step: str, held: bytes) -> None:
    """The error is raised, and no draft is left."""
    write_whole(tmp_path / "a", "old")
    disk.fails_at = step
    with pytest.raises(OSError, match="Input/output error"):
        write_whole(tmp_path / "a", "new")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a", held)]


def test_a_disk_without_room_leaves_the_old_file(tmp_path: Path) -> None:
    """The system refuses the write itself."""
    write_whole(tmp_path / "a", "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_whole(tmp_path / "a", "x" * 200_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a", "old")]


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_syncs_no_folders_is_no_failure(tmp_path: Path, disk: Disk, error: int) -> None:
    disk.fails_at, disk.error = "sync folder", error
    assert write_whole(tmp_path / "a", "text")


@pytest.mark.parametrize("has_links", [True, False])
def test_the_first_of_two_writers_wins(tmp_path: Path, disk: Disk, has_links: bool) -> None:
    """On file systems without hard links too."""
    if not has_links:
        disk.fails_at, disk.error = "link", errno.EPERM
    assert write_whole(tmp_path / "a", "first", first_wins=True)
    assert not write_whole(tmp_path / "a", "second", first_wins=True)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a", "first")]


def _passwords(folder: Path, number: int) -> None:
    resolve({f"user{one}": "auto" for one in range(number)}, folder, os.urandom)


def _vault(folder: Path, number: int) -> None:
    account = Account(user="alice", registrar="pbx", username=str(number), password="secret")
    Vault(folder, bytes(32), os.urandom).write([account], lambda name: name)


def _rules(folder: Path, number: int) -> None:
    FileRules(folder / "a").put("alice", Rules(always=str(number)))


def _sign_ins(folder: Path, number: int) -> None:
    SignIns(lambda: 0.0, folder / "a").begin(str(number), "mark")


def _subscriptions(folder: Path, number: int) -> None:
    table = Subscriptions(folder / "a", str)
    table.add("alice", PushBrowser().subscription(f"https://fcm.example.com/{number}"))


def _console(folder: Path, number: int) -> None:
    offer(folder, ConsoleAccess("http://127.0.0.1:9", str(number)))


def _archive(folder: Path, number: int) -> None:
    state = folder.parent / "state"
    state.mkdir(exist_ok=True)
    (state / "kept").write_text(str(number))
    backup(state, None, folder / "a")


def _configuration(folder: Path, number: int) -> None:
    answers = Answers(domain=f"gateway{number}.example", address="192.0.2.1")
    before = write(folder / "a", answers, overwrite=True)
    if before is not None:
        before.unlink()


@pytest.mark.parametrize(
    "writer", [_passwords, _vault, _rules, _sign_ins, _subscriptions, _console, _archive, _configuration, next_mark]
)
@pytest.mark.parametrize("step", ["sync file", "replace"])
def test_all_that_is_kept_survives_a_failing_disk(
    tmp_path: Path, disk: Disk, writer: Callable[[Path, Any], Any], step: str
) -> None:
    """Each file holds its former content after a failure, and the next one after that."""

    def act(number: int) -> None:
        writer(folder, number if writer is not next_mark else lambda size: bytes([number] * size))

    def held() -> dict[str, bytes]:
        return {each.name: each.read_bytes() for each in folder.iterdir() if each.suffix not in (".lock", ".before")}

    folder = tmp_path / "folder"
    folder.mkdir()
    act(1)
    [(name, first)] = held().items()
    disk.fails_at = step
    with suppress(ConfigError, VaultError, BackupError):
        act(2)
    assert step in disk.steps
    assert held() == {name: first}
    disk.fails_at = ""
    del disk.steps[:]
    act(3)
    assert disk.steps[-3:] == ["sync file", "replace", "sync folder"]
    assert list(held()) == [name]
    assert held()[name] != first
    assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: read_key(folder, os.urandom),
        lambda folder: PlaneProcess(Path("gateway-plane"), folder)._secret(),
        lambda folder: read_push_key(folder / "push.pem").private_numbers().private_value,
    ],
    ids=["vault", "plane", "push"],
)
def test_a_key_is_whole_or_made_again(tmp_path: Path, disk: Disk, make: Callable[[Path], object]) -> None:
    """A disk that fails keeps no part of one; once made it stays."""
    disk.fails_at = "sync file"
    with suppress(OSError):
        make(tmp_path)
    assert list(tmp_path.iterdir()) == []
    disk.fails_at = ""
    assert make(tmp_path) == make(tmp_path)
    assert [stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()] == [0o600]


async def test_the_latest_of_many_changes_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread, not for each change, while the loop goes on."""
    writers: list[int] = []
    real = write_whole

    def noted(path: Path, text: str) -> bool:
        writers.append(threading.get_ident())
        return real(path, text)

    monkeypatch.setattr(files, "write_whole", noted)
    texts = iter(map(str, range(1_000)))
    file = LatestFile(tmp_path / "a", lambda: next(texts))
    for _ in range(100):
        file.changed()
    await file.written()
    assert (tmp_path / "a").read_text() == "0"
    file.changed()
    await file.written()
    assert (tmp_path / "a").read_text() == "1"
    assert len(writers) == 2
    assert threading.get_ident() not in writers


def test_an_older_change_never_replaces_a_newer_one(tmp_path: Path) -> None:
    """The thread of a cancelled write may end after the write that followed."""
    file = LatestFile(tmp_path / "a", lambda: "never asked")
    file._replace(2, "newer")
    file._replace(1, "older")
    assert (tmp_path / "a").read_text() == "newer"


def test_a_change_before_the_loop_ends_is_written(tmp_path: Path) -> None:
    """Though its task never began."""

    async def change() -> None:
        LatestFile(tmp_path / "a", lambda: "text").changed()

    asyncio.run(change())
    assert (tmp_path / "a").read_text() == "text"


_MOVES = {"gateway/files.py", "gateway/commands/backup.py"}
"""The writer of whole files, and a restore, which moves whole folders."""


def _moves_files(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.keywords:
        return False
    named = node.func.attr
    of_os = isinstance(node.func.value, ast.Name) and node.func.value.id == "os"
    return (of_os and named in ("replace", "rename")) or (named in ("replace", "rename") and len(node.args) == 1)


def test_nothing_but_the_one_writer_puts_files_in_place() -> None:
    """A second writer would forget a sync, or the rights of its draft."""
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "gateway").rglob("*.py")
        if any(map(_moves_files, ast.walk(ast.parse(path.read_text()))))
    }
    assert found <= _MOVES


def test_drafts_that_nobody_writes_to_are_removed(tmp_path: Path) -> None:
    """By the form of their names alone; one that is written to stays, and so does a folder."""
    old, young = tmp_path / "calls.journal.0123abcd.new", tmp_path / "secrets.json.89abcdef.new"
    others = [tmp_path / name for name in ("a.new", "a.0123abc.new", "a.0123abcd", ".0123abcd.new", "a.0123ABCD.new")]
    for path in (old, young, *others):
        path.write_text("x")
        os.utime(path, (1_000, 1_000))
    os.utime(young, (3_000, 3_000))
    (folder := tmp_path / "b.0123abcd.new").mkdir()
    os.utime(folder, (1_000, 1_000))
    assert remove_drafts(tmp_path, 2_000) == 1
    assert set(tmp_path.iterdir()) == {young, folder, *others}
    assert remove_drafts(tmp_path / "nowhere", 2_000) == 0


async def test_a_file_with_a_pause_is_written_no_more_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The latest text is in it all the same; who waits for it does not wait for the pause."""
    written: list[str] = []
    monkeypatch.setattr(files, "write_whole", lambda path, text: written.append(text))
    loop, texts = asyncio.get_running_loop(), iter(map(str, range(100)))
    file, begun = LatestFile(tmp_path / "a", lambda: next(texts), pause=1.0), loop.time()
    for _ in range(35):
        file.changed()
        await asyncio.sleep(0.1)
    assert written == ["0", "1", "2", "3"]
    file.changed()
    await file.written()
    assert written[4:] == ["4"]
    assert loop.time() - begun < 4.9
