"""Journal of calls in an append-only file of sealed records (AES-256-GCM).

After `put` the operating system holds the record, safe from the end of the process. No sync to disk, as calls do not
survive the machine anyway. A thread rewrites the file without ended calls.
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
"""Octets of name and record, octets of the name. An empty record means the end of the call."""
_OUTDATED = b"!"
"""Marker instead of a record: the previous record no longer describes the call."""
_SPARE = 4 << 20
"""Octets beyond four times the live records at which the file is rewritten."""


class JournalFile:
    """`JournalStore` over one file, readable only by its owner and locked by one process."""

    def __init__(self, path: Path, key: bytes, random: Callable[[int], bytes], *, limit: int) -> None:
        """`key`: 32 octets. `limit`: octets of all records together; further records are rejected."""
        self._path = path
        self._cipher = AESGCM(key)
        self._nonce = int.from_bytes(random(_NONCE))
        self._limit = limit
        self._file: int | None = None
        self._lock: int | None = None
        self._size = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._anew: Future[tuple[Draft, int]] | None = None
        """Replacement file in progress."""
        self._since: list[bytes] = []
        """Records appended meanwhile."""
        self._late: dict[str, bytes] = {}
        """Changes of records without room on the disk yet."""
        self.outdated: set[str] = set()
        """Records of calls changed since."""
        self._refused = 0
        """File size at a failed rewrite; the next attempt follows after equal growth."""
        self._kept: dict[str, bytes] = {}
        """Records in the file."""
        self._octets = 0

    def open(self) -> dict[str, bytes]:
        """Return the records left by a previous process, by call id; records that the key cannot open are logged and
        skipped.

        Raise JournalError if another process has the file, or for an unusable file.
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
                # Without room for a second file, continue appending to the present one.
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
        """Return the readable records, and the names of unreadable ones, which are dropped."""
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
        """Keep the unreadable file under another name too, for its original key; return a note with the path."""
        aside = self._path.with_suffix(f"{self._path.suffix}.unread")
        try:
            aside.unlink(missing_ok=True)
            aside.hardlink_to(self._path)
        except OSError:
            return ""  # on a file system without links the records are lost
        return f"; none opens, and all are kept in {aside}"

    def put(self, call_id: str, record: bytes) -> None:
        # A process starts at a random number below 2**96 and counts up: no nonce repeats under the key.
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
        """Mark a record as outdated by changing one octet in place, possible even on a full disk."""
        if self._file is None:
            return
        file = os.open(self._path, os.O_RDWR)
        try:
            with mmap.mmap(file, 0, prot=mmap.PROT_READ) as whole:
                place = whole.rfind(sealed)
            if place >= 0:  # otherwise already marked
                os.pwrite(file, _changed(sealed)[:1], place)
        finally:
            os.close(file)

    def close(self) -> None:
        """Release the file; idempotent."""
        self._writer.shutdown()
        if self._anew is not None:
            # Changes known only by a mark in this file go into the next file, or the rewrite is abandoned.
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
        """Start a rewrite once most of the file is outdated; switch to the new file once complete."""
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
        """Read all complete records; a truncated last record is ignored."""
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
        """Append to the present file, after its last complete record."""
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        os.ftruncate(self._file, self._size)
        self._refused = self._size

    def _replace(self, new: Draft, size: int, since: Sequence[bytes]) -> None:
        """Replace the file by a draft plus the records appended since. Raise OSError."""
        late = b"".join(since)
        with _discarded_on_failure(new):
            _write_all(new.descriptor, late)
            new.put()
        if self._file is not None:
            os.close(self._file)
        self._file, self._size, self._refused = new.descriptor, size + len(late), 0


def _write(path: Path, frames: Sequence[tuple[str, bytes]]) -> tuple[Draft, int]:
    """Return a draft with the given records, open for appending, and its size. Raise OSError."""
    whole = b"".join([_frame(name, sealed) for name, sealed in frames])
    new = Draft(path, os.O_APPEND)
    with _discarded_on_failure(new):
        _write_all(new.descriptor, whole)
        os.fsync(new.descriptor)  # before the draft replaces a complete file
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
    """Sync the new journal and its name to the disk; blocks, so run in the thread."""
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
    """Return a record made unreadable by inverting its first octet; a second call restores the record."""
    return bytes((sealed[0] ^ 0xFF,)) + sealed[1:]


def _frame(call_id: str, sealed: bytes) -> bytes:
    name = call_id.encode()
    return _HEAD.pack(len(name) + len(sealed), len(name)) + name + sealed
