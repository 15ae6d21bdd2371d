"""The journal's file: what was put is found by the next process, whatever ended the one before."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import stat
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.call.journal import JournalError
from gateway.files import DRAFT, Draft
from gateway.store import journal_file
from gateway.store.journal_file import JournalFile
from tests.rows import by_row

KEY = bytes(range(32))
LIMIT = 1 << 20


def journal(path: Path, key: bytes = KEY, limit: int = LIMIT) -> JournalFile:
    return JournalFile(path / "calls.journal", key, os.urandom, limit=limit)


def reopened(file: JournalFile, path: Path) -> dict[str, bytes]:
    """What the next process finds."""
    file.close()
    other = journal(path)
    try:
        return other.open()
    finally:
        other.close()


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file may be longer than so many octets."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[JournalFile]:
    made = journal(tmp_path)
    assert made.open() == {}
    yield made
    made.close()


def test_the_last_of_each_is_found_but_of_what_is_removed(file: JournalFile, tmp_path: Path) -> None:
    """By the id of the call."""
    file.put("a", b"1")
    file.put("b", b"2")
    file.put("a", b"3")
    file.put("c", b"4")
    file.remove("b")
    file.remove("unknown")
    assert reopened(file, tmp_path) == {"a": b"3", "c": b"4"}


def test_nothing_of_a_record_can_be_read_in_the_file(file: JournalFile, tmp_path: Path) -> None:
    """Nor by others than its user, nor with another key, nor under another name."""
    file.put("first", b"a secret word")
    path = tmp_path / "calls.journal"
    assert b"secret" not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    file.close()
    written = path.read_bytes()
    for key, octets in ((bytes(32), written), (KEY, written.replace(b"first", b"other"))):
        path.write_bytes(octets)
        other = journal(tmp_path, key)
        with capture_logs() as logs:
            assert other.open() == {}
        other.close()
        assert [(entry["log_level"], "is lost" in entry["event"]) for entry in logs] == [("error", True)]
        assert path.stat().st_size == 0


def test_what_is_no_record_is_said(file: JournalFile, tmp_path: Path) -> None:
    """With all that comes after it; a journal that is whole says nothing."""
    file.put("a", b"1")
    file.put("b", b"2")
    with capture_logs() as logs:
        assert reopened(file, tmp_path) == {"a": b"1", "b": b"2"}
    assert logs == []
    path = tmp_path / "calls.journal"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b"\xff" * 1000)
    with capture_logs() as logs:
        assert reopened(file, tmp_path) == {"a": b"1"}
    [said] = logs
    assert (said["log_level"], said["unread_octets"]) == ("error", 1000)


@pytest.mark.parametrize("lost", [1, 10, 30])
def test_a_last_record_that_was_cut_off_costs_no_other(file: JournalFile, tmp_path: Path, lost: int) -> None:
    """A machine that stopped while it was written."""
    file.put("a", b"1")
    file.put("b", b"2" * 20)
    path = tmp_path / "calls.journal"
    path.write_bytes(path.read_bytes()[:-lost])
    assert reopened(file, tmp_path) == {"a": b"1"}


@by_row("octets", [b"", b"\0" * 100, b"\xff" * 100, bytes(range(256))])
def test_a_file_of_somebody_else_is_no_journal(tmp_path: Path, octets: bytes) -> None:
    """Nothing is found, and what is put afterwards is."""
    (tmp_path / "calls.journal").write_bytes(octets)
    file = journal(tmp_path)
    assert file.open() == {}
    file.put("a", b"1")
    assert reopened(file, tmp_path) == {"a": b"1"}


def test_one_process_at_a_time_has_it(file: JournalFile, tmp_path: Path) -> None:
    """The other is told, and disturbs nothing."""
    with pytest.raises(JournalError):
        journal(tmp_path).open()
    file.put("a", b"1")
    assert reopened(file, tmp_path) == {"a": b"1"}


def test_a_journal_of_which_nothing_opens_is_kept_aside_for_the_right_key(file: JournalFile, tmp_path: Path) -> None:
    """A key that was put back, or mounted too late; a single record that does not open is no such case."""
    path, aside = tmp_path / "calls.journal", tmp_path / "calls.journal.unread"
    for name in ("one", "two"):
        file.put(name, name.encode())
    file.close()
    for _ in range(2):
        other = journal(tmp_path, bytes(32))
        with capture_logs() as said:
            assert other.open() == {}
        other.close()
        assert (str(aside) in str(said)) is (said != [])
    assert aside.stat().st_mode & 0o777 == 0o600
    aside.replace(path)
    again = journal(tmp_path)
    assert again.open() == {"one": b"one", "two": b"two"}
    again.close()
    path.write_bytes(path.read_bytes().replace(b"two", b"owt"))
    again = journal(tmp_path)
    assert again.open().keys() == {"one"}
    again.close()
    assert not aside.exists()


def test_the_file_does_not_grow_with_time(file: JournalFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written anew when most of it is past, and takes what was put meanwhile along."""
    monkeypatch.setattr(journal_file, "_SPARE", 1000)
    anew = 0
    for number in range(500):
        file.put(f"call {number % 3}", b"%d" % number * 20)
        if file._anew is not None and number % 5 == 0:
            file._anew.result()
            anew += 1
        assert (tmp_path / "calls.journal").stat().st_size < 5000
    assert anew > 10
    assert reopened(file, tmp_path) == {f"call {number % 3}": b"%d" % number * 20 for number in (497, 498, 499)}


@pytest.mark.parametrize("ended", ["killed", "closed"])
def test_what_is_put_while_the_file_is_written_anew_is_found(
    file: JournalFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: str
) -> None:
    """Whether the process dies before the new one takes its place, or closes it."""
    begun, may_end = threading.Event(), threading.Event()
    write = journal_file._write

    def slowly(draft: Path, kept: Sequence[tuple[str, bytes]]) -> tuple[Draft, int]:
        begun.set()
        assert may_end.wait(30)
        return write(draft, kept)

    monkeypatch.setattr(journal_file, "_SPARE", 100)
    file.put("a", b"1" * 10)
    file.put("b", b"2" * 10)
    monkeypatch.setattr(journal_file, "_write", slowly)
    for _ in range(200):
        file.put("a", b"3" * 10)
    assert begun.wait(30)
    file.put("c", b"4")
    file.remove("b")
    if ended == "killed":
        shutil.copytree(tmp_path, tmp_path / "found")
        other = journal(tmp_path / "found")
        monkeypatch.setattr(journal_file, "_write", write)
        assert other.open() == {"a": b"3" * 10, "c": b"4"}
        other.close()
    may_end.set()
    assert reopened(file, tmp_path) == {"a": b"3" * 10, "c": b"4"}


def test_a_file_that_cannot_be_written_anew_goes_on(
    file: JournalFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It grows by as much again, and the next try succeeds."""
    tries = 0
    write = journal_file._write

    def full(draft: Path, kept: Sequence[tuple[str, bytes]]) -> tuple[Draft, int]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError(None, "no space is left")
        return write(draft, kept)

    monkeypatch.setattr(journal_file, "_SPARE", 100)
    monkeypatch.setattr(journal_file, "_write", full)
    path = tmp_path / "calls.journal"
    sizes = []
    for number in range(300):
        file.put("a", b"%d" % number)
        sizes.append(path.stat().st_size)
        if file._anew is not None:
            wait([file._anew])
    assert tries > 2
    assert max(sizes) < 5000
    assert sizes[-1] < max(sizes)
    assert reopened(file, tmp_path) == {"a": b"299"}


def test_records_have_a_limit_together(tmp_path: Path) -> None:
    """The one that is too much is refused, the others stay; there is room again when one is removed."""
    file = journal(tmp_path, limit=300)
    file.open()
    file.put("a", bytes(100))
    file.put("b", bytes(100))
    with pytest.raises(JournalError):
        file.put("c", bytes(100))
    file.put("a", bytes(90))
    file.remove("b")
    file.put("c", bytes(80))
    assert sorted(reopened(file, tmp_path)) == ["a", "c"]


def test_a_full_disk_costs_the_record_and_no_other(file: JournalFile, tmp_path: Path) -> None:
    """What does not fit whole is taken out again; later ones are found."""
    file.put("a", b"1")
    size = (tmp_path / "calls.journal").stat().st_size
    with full_disk(size + 50), pytest.raises(JournalError):
        file.put("b", bytes(200))
    file.put("c", b"3")
    assert reopened(file, tmp_path) == {"a": b"1", "c": b"3"}


def test_what_cannot_be_removed_on_a_full_disk_is_removed_when_there_is_room(file: JournalFile, tmp_path: Path) -> None:
    """With the next record, whichever it is of."""
    file.put("a", b"1")
    file.put("b", b"2")
    size = (tmp_path / "calls.journal").stat().st_size
    with full_disk(size), pytest.raises(JournalError):
        file.remove("a")
    file.put("c", b"3")
    assert reopened(file, tmp_path) == {"b": b"2", "c": b"3"}


def test_a_record_of_a_call_that_has_changed_since_is_found_as_one(
    file: JournalFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk had room for no more than that, or with the next record; until it is put again, or removed."""
    path = tmp_path / "calls.journal"
    for name in "abcd":
        file.put(name, b"1" * 100)
    with full_disk(path.stat().st_size + 10):
        with pytest.raises(JournalError):
            file.put("a", b"2" * 100)
        file.outdate("a")
        for name in "bc":
            with pytest.raises(JournalError):
                file.outdate(name)
        file.outdate("unknown")
    file.put("b", b"2" * 100)
    file.outdate("d")
    file.remove("d")
    monkeypatch.setattr(journal_file, "_SPARE", -1_000_000)
    file.put("e", b"1")  # the file is written anew
    assert file._anew is not None
    wait([file._anew])
    for _ in range(2):
        assert reopened(file, tmp_path) == {"a": b"1" * 100, "b": b"2" * 100, "c": b"1" * 100, "e": b"1"}
        file = journal(tmp_path)
        file.open()
        assert file.outdated == {"a", "c"}
    file.put("a", b"3")
    file.remove("c")
    assert file.outdated == set()
    assert reopened(file, tmp_path) == {"a": b"3", "b": b"2" * 100, "e": b"1"}


def test_that_a_call_has_changed_is_found_though_the_disk_has_no_room_at_all(file: JournalFile, tmp_path: Path) -> None:
    """Of each of many, said again or not; so is that one is over. Once there is room it is as it was put last."""
    path = tmp_path / "calls.journal"
    names = [f"call {number}" for number in range(50)]
    for name in names:
        file.put(name, b"1" * 100)
    with full_disk(path.stat().st_size):
        for name in (*names, *names[:3]):
            with pytest.raises(JournalError):
                file.put(name, b"2" * 100)
            with pytest.raises(JournalError):
                (file.remove if name == "call 7" else file.outdate)(name)
        for number in range(2):  # the second goes on with the file of the first, and cannot write it anew either
            shutil.copytree(tmp_path, tmp_path / f"killed {number}", ignore=shutil.ignore_patterns("killed *"))
            killed = journal(tmp_path / f"killed {number}")
            assert killed.open() == dict.fromkeys(names, b"1" * 100)
            assert killed.outdated == set(names)
            killed.close()
    file.put("call 0", b"3")
    found = reopened(file, tmp_path)
    assert found == {"call 0": b"3"} | {name: b"1" * 100 for name in names if name not in ("call 0", "call 7")}
    again = journal(tmp_path)
    again.open()
    assert again.outdated == set(found) - {"call 0"}
    again.close()


@pytest.mark.parametrize("is_over", [False, True])
@pytest.mark.parametrize("room", [0, 40])
def test_that_a_call_has_changed_is_found_though_the_file_was_being_written_anew(
    file: JournalFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, is_over: bool
) -> None:
    """The draft was made before: closed in good order, it takes that along, or is given up; also that it is over."""
    monkeypatch.setattr(journal_file, "_SPARE", 100)
    file.put("a", b"1" * 10)
    while file._anew is None:
        file.put("b", b"2" * 10)
    wait([file._anew])
    [draft] = tmp_path.glob(f"calls.journal.*{DRAFT}")
    with full_disk(draft.stat().st_size + room), capture_logs():
        with pytest.raises(JournalError):
            (file.remove if is_over else file.outdate)("a")
        file.close()
    is_found = not (is_over and room)
    again = journal(tmp_path)
    assert again.open() == ({"a": b"1" * 10} if is_found else {}) | {"b": b"2" * 10}
    assert again.outdated == ({"a"} if is_found else set())
    again.close()


def test_a_file_that_is_not_on_the_disk_takes_no_other_ones_place(
    file: JournalFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut would leave an empty journal in the place of a whole one."""

    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, "the disk fails")

    monkeypatch.setattr(journal_file, "_SPARE", 100)
    monkeypatch.setattr(os, "fsync", refuse)
    path = tmp_path / "calls.journal"
    before = path.stat().st_ino
    with capture_logs() as logs:
        for number in range(100):
            file.put("a", b"%d" % number * 10)
            if file._anew is not None:
                file._anew.exception(30)
    assert {entry["reason"] for entry in logs} == {"the disk fails"}
    assert path.stat().st_ino == before
    monkeypatch.undo()
    assert reopened(file, tmp_path) == {"a": b"99" * 10}


def test_a_new_journal_and_its_name_are_forced_to_the_disk(
    file: JournalFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was appended while the draft was written is synced after the rename, and the folder last."""
    file.put("a", b"1" * 10)
    file._writer.submit(int).result(30)
    steps: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def replaced(draft: Path, path: Path) -> None:
        steps.append("replace")
        replace(draft, path)

    monkeypatch.setattr(journal_file, "_SPARE", 100)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    while file._anew is None:
        file.put("a", b"2" * 10)
    wait([file._anew])
    file.put("a", b"3" * 10)
    file._writer.submit(int).result(30)
    assert steps == ["file", "replace", "file", "folder"]
    assert reopened(file, tmp_path) == {"a": b"3" * 10}


def test_a_full_disk_at_the_start_costs_no_call(file: JournalFile, tmp_path: Path) -> None:
    """The file cannot be written anew: what it holds is found, a record that was cut off is taken out of it."""
    file.put("a", b"1" * 100)
    file.put("b", b"2" * 100)
    file.close()
    path = tmp_path / "calls.journal"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    again = journal(tmp_path)
    with full_disk(50), capture_logs() as logs:  # whose file is no larger either
        assert again.open() == {"a": b"1" * 100, "b": b"2" * 100}
        with pytest.raises(JournalError):
            again.remove("a")
    assert [entry["unread_octets"] for entry in logs] == [20]
    assert path.stat().st_size == len(whole)
    assert not list(tmp_path.glob(f"*{DRAFT}"))
    again.put("c", b"3")
    assert reopened(again, tmp_path) == {"b": b"2" * 100, "c": b"3"}


def test_a_disk_that_fills_again_and_again_costs_no_call_that_was_written_since(
    file: JournalFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was to be removed while it was full, and was written again, stays; the rest does not come back."""
    path = tmp_path / "calls.journal"
    file.put("over", b"0")
    for number in range(3):
        file.put("call", b"%d" % number)
        with full_disk(path.stat().st_size), pytest.raises(JournalError):
            file.remove("call")
        if not number:
            with full_disk(path.stat().st_size), pytest.raises(JournalError):
                file.remove("over")
        file.put("call", b"again %d" % number)
        shutil.copytree(tmp_path, tmp_path / f"killed {number}", ignore=shutil.ignore_patterns("killed *"))
        killed = journal(tmp_path / f"killed {number}")
        assert killed.open()["call"] == b"again %d" % number
        killed.close()
        file.put("other", b"%d" % number)
    monkeypatch.setattr(journal_file, "_SPARE", 0)
    for number in range(20):  # written anew meanwhile
        file.put("last", b"%d" % number)
        if file._anew is not None:
            wait([file._anew])
    assert reopened(file, tmp_path) == {"call": b"again 2", "other": b"2", "last": b"19"}


def test_no_two_records_are_sealed_alike(tmp_path: Path) -> None:
    """Of one call or of two, in one process or the next: a nonce comes once under the key."""
    nonces: list[bytes] = []
    for _ in range(3):
        file = journal(tmp_path)
        file.open()
        for number in range(5):
            file.put(f"call {number % 2}", b"the same words")
            nonces.append(file._kept[f"call {number % 2}"][: journal_file._NONCE])
        file.close()
    assert len(set(nonces)) == len(nonces)


def test_a_record_outlives_sigkill(tmp_path: Path) -> None:
    """From the moment that `put` has returned."""
    numbers = count()
    child = os.fork()
    if child == 0:
        file = journal(tmp_path)
        file.open()
        for _ in range(50):
            file.put(f"{next(numbers)}", b"x" * 5000)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    found = journal(tmp_path)
    assert len(found.open()) == 50
    found.close()
