"""The journal of calls in a file: records are sealed (AES-256-GCM) and appended, what is over is left behind.

A record is in the system's hands when `put` returns: nothing that ends this process takes it back. It is not forced to
the disk, for the calls would not outlive the machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.call.journal import JournalError

_NONCE = 12
_HEAD = struct.Struct("!IB")
"""Octets of name and record, octets of the name. A record of no octets says that the call is over."""
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
        self._kept: dict[str, bytes] = {}
        """Records as they stand in the file."""
        self._octets = 0

    def open(self) -> dict[str, bytes]:
        """What a process before has left, by the id of the call; what does not open with the key is left out.

        Raises JournalError where another process has it, or the file cannot be used.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                self._read(self._path.read_bytes())
            try:
                self._rewrite()
            except OSError:
                # There is no room for another file, yet what was read is worth going on with.
                self._go_on()
        except OSError as error:
            self.close()
            raise JournalError(f"{self._path} cannot be used: {error.strerror}") from None
        found = {}
        for name, sealed in self._kept.items():
            with contextlib.suppress(InvalidTag):
                found[name] = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], name.encode())
        return found

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
        if call_id in self._kept:
            self._append(call_id, b"")

    def close(self) -> None:
        """Let go of the file; idempotent."""
        for descriptor in (self._file, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._lock = None

    def _append(self, call_id: str, sealed: bytes) -> None:
        if self._file is None:
            raise JournalError("the journal is not open")
        frame = _frame(call_id, sealed)
        try:
            written = os.write(self._file, frame)
            if written < len(frame):
                raise OSError(None, "no space is left")
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise JournalError(f"{self._path} cannot be written: {error.strerror}") from None
        self._size += written
        self._take(call_id, sealed)
        if self._size > 4 * self._octets + _SPARE:
            try:
                self._rewrite()
            except OSError as error:
                raise JournalError(f"{self._path} cannot be written anew: {error.strerror}") from None

    def _take(self, call_id: str, sealed: bytes) -> None:
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

    def _rewrite(self) -> None:
        """Write what is kept to a file that takes the place of this one."""
        draft = self._path.with_suffix(".new")
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        whole = b"".join([_frame(name, sealed) for name, sealed in self._kept.items()])
        try:
            if os.write(file, whole) < len(whole):
                raise OSError(None, "no space is left")
            draft.replace(self._path)
        except OSError:
            os.close(file)
            draft.unlink(missing_ok=True)
            raise
        if self._file is not None:
            os.close(self._file)
        self._file, self._size = file, len(whole)


def _frame(call_id: str, sealed: bytes) -> bytes:
    name = call_id.encode()
    return _HEAD.pack(len(name) + len(sealed), len(name)) + name + sealed
