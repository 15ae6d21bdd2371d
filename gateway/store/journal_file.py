"""The journal of calls in a file: records are sealed (AES-256-GCM) and appended, what is over is left behind.

A record is in the system's hands when `put` returns: nothing that ends this process takes it back. It is not forced to
the disk, for the calls would not outlive the machine. The file is written anew, without what is over, in a thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.call.journal import JournalError
from gateway.files import Draft, sync_folder

log = structlog.get_logger(__name__)

_NONCE = 12
_HEAD = struct.Struct("!IB")
"""Octets of name and record, octets of the name. A record of no octets says that the call is over."""
_OUTDATED = b"!"
"""In place of a record: the one before it no more tells how the call stands."""
_SPARE = 4 << 20
"""Octets that the file may have beside four times what is kept, before it is written anew."""


class JournalFile:
    """`JournalStore` over one file, which only this user can read and one process at a time has."""

    def __init__(self, path: Path, key: bytes, random: Callable[[int], bytes], *, limit: int) -> None:
        """`key` has 32 octets; `limit`: octets that records may have together, others are refused."""
        self._path = path
        self._cipher = AESGCM(key)
        self._nonce = int.from_bytes(random(_NONCE))
        self._limit = limit
        self._file: int | None = None
        self._lock: int | None = None
        self._size = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._anew: Future[tuple[Draft, int]] | None = None
        """A file that is being written to take the place of this one."""
        self._since: list[bytes] = []
        """What was appended to this one meanwhile."""
        self._late: dict[str, bytes] = {}
        """What is to be said of records, for which there was no room yet."""
        self.outdated: set[str] = set()
        """Records of calls that have changed since."""
        self._refused = 0
        """Size of the file when it could not be written anew; it is given as much room again before the next try."""
        self._kept: dict[str, bytes] = {}
        """Records as they stand in the file."""
        self._octets = 0

    def open(self) -> dict[str, bytes]:
        """What a process before has left, by the id of the call; what does not open with the key is left out, and said.

        Raises JournalError where another process has it, or the file cannot be used.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            data = self._path.read_bytes() if self._path.exists() else b""
            self._read(data)
            (found, lost), unread = self._unseal(), len(data) - self._size
            aside = self._keep_aside() if lost and not found else ""
            try:
                self._replace(*_write(self._path, self._frames()), ())
                self._writer.submit(_settle, self._path)
            except OSError:
                # There is no room for another file, yet what was read is worth going on with.
                self._go_on()
        except OSError as error:
            self.close()
            raise JournalError(f"{self._path} cannot be used: {error.strerror}") from None
        for name in lost:
            reason = f"another key, or a damaged file{aside}"
            log.error("a call of the gateway before is lost", call_id=name, reason=reason)
        if unread:
            log.error("calls of the gateway before may be lost", path=str(self._path), unread_octets=unread)
        return found

    def _unseal(self) -> tuple[dict[str, bytes], list[str]]:
        """The records that are kept, and the names of those that do not open, which are kept no longer."""
        found, lost = {}, []
        for name, sealed in tuple(self._kept.items()):
            if (record := self._opened(name, sealed)) is not None:
                found[name] = record
            elif (record := self._opened(name, _changed(sealed))) is not None:
                found[name], self._kept[name] = record, _changed(sealed)
                self.outdated.add(name)
            else:
                self._take(name, b"")
                lost.append(name)
        return found, lost

    def _opened(self, name: str, sealed: bytes) -> bytes | None:
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], name.encode())
        except (InvalidTag, ValueError):
            return None

    def _keep_aside(self) -> str:
        """Have the file that was read under another name too, for the key that it was written with; where it is."""
        aside = self._path.with_suffix(f"{self._path.suffix}.unread")
        try:
            aside.unlink(missing_ok=True)
            aside.hardlink_to(self._path)
        except OSError:
            return ""  # on a file system without links they are lost
        return f"; none opens, and all are kept in {aside}"

    def put(self, call_id: str, record: bytes) -> None:
        # A process begins anywhere among 2**96 and counts: none comes twice under the key.
        self._nonce = (self._nonce + 1) % (1 << 8 * _NONCE)
        nonce = self._nonce.to_bytes(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, record, call_id.encode())
        before = len(self._kept.get(call_id, b""))
        if self._octets - before + len(sealed) > self._limit:
            raise JournalError(f"records of more than {self._limit} octets")
        self._append(call_id, sealed)

    def remove(self, call_id: str) -> None:
        self._say(call_id, b"")

    def outdate(self, call_id: str) -> None:
        self._say(call_id, _OUTDATED)

    def _say(self, call_id: str, what: bytes) -> None:
        if call_id not in self._kept:
            return
        self._late[call_id] = what
        try:
            self._append(call_id, what)
        except JournalError:
            with contextlib.suppress(OSError):
                self._mark(self._kept[call_id])
            raise

    def _mark(self, sealed: bytes) -> None:
        """Have a record found as outdated by another octet in its place: a full disk has room for that."""
        if self._file is None:
            return
        file = os.open(self._path, os.O_RDWR)
        try:
            with mmap.mmap(file, 0, prot=mmap.PROT_READ) as whole:
                place = whole.rfind(sealed)
            if place >= 0:  # else it was marked before
                os.pwrite(file, _changed(sealed)[:1], place)
        finally:
            os.close(file)

    def close(self) -> None:
        """Let go of the file; idempotent."""
        self._writer.shutdown()
        if self._anew is not None:
            # What this file alone knows by a mark goes into the next one, or that is given up.
            self._since += [_frame(call_id, what) for call_id, what in self._late.items()]
            self._finish_anew(self._anew, is_closing=True)
        for descriptor in (self._file, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._lock = None

    def _append(self, call_id: str, sealed: bytes) -> None:
        if self._file is None:
            raise JournalError("the journal is not open")
        late = {name: what for name, what in self._late.items() if name != call_id}
        frames = b"".join(_frame(name, what) for name, what in ((call_id, sealed), *late.items()))
        try:
            written = os.write(self._file, frames)
            if written < len(frames):
                raise OSError(None, "no space is left")
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise JournalError(f"{self._path} cannot be written: {error.strerror}") from None
        self._size += written
        self._take(call_id, sealed)
        for name, what in late.items():
            self._take(name, what)
        self._late.clear()
        self._go_on_anew(frames)

    def _go_on_anew(self, frames: bytes) -> None:
        """Have the file written anew where most of it is past; take it over once it is there."""
        if self._anew is None:
            if self._size > 4 * self._octets + _SPARE + self._refused:
                self._since = []
                self._anew = self._writer.submit(_write, self._path, self._frames())
            return
        self._since.append(frames)
        if self._anew.done():
            self._finish_anew(self._anew)

    def _finish_anew(self, anew: Future[tuple[Draft, int]], *, is_closing: bool = False) -> None:
        since, self._since, self._anew = self._since, [], None
        try:
            self._replace(*anew.result(), since)
        except OSError as error:
            self._refused = self._size
            log.warning("the journal cannot be written anew", path=str(self._path), reason=error.strerror)
            return
        if is_closing:
            _settle(self._path)
        else:
            self._writer.submit(_settle, self._path)

    def _frames(self) -> list[tuple[str, bytes]]:
        return [*self._kept.items(), *((name, _OUTDATED) for name in self.outdated)]

    def _take(self, call_id: str, sealed: bytes) -> None:
        if sealed == _OUTDATED:
            self.outdated.update({call_id} & self._kept.keys())
            return
        self.outdated.discard(call_id)
        self._octets += len(sealed) - len(self._kept.pop(call_id, b""))
        if sealed:
            self._kept[call_id] = sealed

    def _read(self, data: bytes) -> None:
        """Take every whole record; a last one that was cut off never was."""
        place = 0
        while place + _HEAD.size <= len(data):
            length, name = _HEAD.unpack_from(data, place)
            start = place + _HEAD.size
            place = start + length
            if place > len(data) or name > length:
                return
            with contextlib.suppress(UnicodeDecodeError):
                self._take(data[start : start + name].decode(), data[start + name : place])
            self._size = place

    def _go_on(self) -> None:
        """Append to the file that was read, after its last whole record."""
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        os.ftruncate(self._file, self._size)
        self._refused = self._size

    def _replace(self, new: Draft, size: int, since: Sequence[bytes]) -> None:
        """Take a draft, and what was appended since it was begun, in place of this file. Raises OSError."""
        late = b"".join(since)
        with _discarded_on_failure(new):
            _write_all(new.descriptor, late)
            new.put()
        if self._file is not None:
            os.close(self._file)
        self._file, self._size, self._refused = new.descriptor, size + len(late), 0


def _write(path: Path, frames: Sequence[tuple[str, bytes]]) -> tuple[Draft, int]:
    """Return a draft with these that can be appended to, and its size. Raises OSError."""
    whole = b"".join([_frame(name, sealed) for name, sealed in frames])
    new = Draft(path, os.O_APPEND)
    with _discarded_on_failure(new):
        _write_all(new.descriptor, whole)
        os.fsync(new.descriptor)  # before it takes the place of a file that is whole
    return new, len(whole)


def _write_all(file: int, data: bytes) -> None:
    if os.write(file, data) < len(data):
        raise OSError(None, "no space is left")


@contextlib.contextmanager
def _discarded_on_failure(new: Draft) -> Iterator[None]:
    try:
        yield
    except OSError:
        os.close(new.descriptor)
        new.discard()
        raise


def _settle(path: Path) -> None:
    """Force the new journal, with what was appended to it, and its name to the disk; blocks, for the thread."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)
        sync_folder(path.parent)
    except OSError as error:
        log.warning("the journal may be lost by a power cut", path=str(path), reason=error.strerror)


def _changed(sealed: bytes) -> bytes:
    """A record that opens no more, and this again gives what it was."""
    return bytes((sealed[0] ^ 0xFF,)) + sealed[1:]


def _frame(call_id: str, sealed: bytes) -> bytes:
    name = call_id.encode()
    return _HEAD.pack(len(name) + len(sealed), len(name)) + name + sealed
