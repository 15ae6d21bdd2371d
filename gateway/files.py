"""Files that are whole or not there, over a power cut too, readable by the gateway's user only."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import structlog

log = structlog.get_logger(__name__)

DRAFT = ".new"
"""End of the name of a file that is being written; a process that died may have left one."""
_LEFT = re.compile(rf".+\.[0-9a-f]{{8}}{re.escape(DRAFT)}", re.DOTALL)
_PRIVATE = 0o600
_WITHOUT_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_WITHOUT_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})


def write_whole(path: Path, content: str | bytes, *, first_wins: bool = False, mode: int = _PRIVATE) -> bool:
    """Put `content` in the place of what the file held; False where `first_wins` and there is a file already.

    Blocks, for threads. Raises OSError; then the file holds what it held before, or all of the content.
    """
    try:
        with draft(path, first_wins=first_wins, mode=mode) as file:
            file.write(content.encode() if isinstance(content, str) else content)
    except FileExistsError:
        if not first_wins:
            raise
        return False
    return True


@contextlib.contextmanager
def draft(path: Path, *, first_wins: bool = False, mode: int = _PRIVATE) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` once the block has ended without an exception.

    Blocks, for threads. Raises OSError, FileExistsError where `first_wins` and there is a file already.
    """
    new = Draft(path)
    try:
        with os.fdopen(new.descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        new.put(first_wins=first_wins)
    finally:
        new.discard()
    sync_folder(path.parent)


class Draft:
    """A new file that takes the place of `path` by `put`; its writer syncs and closes the `descriptor`."""

    def __init__(self, path: Path, flags: int = 0) -> None:
        """Open a file beside `path`, with further `flags` of `os.open`. Raises OSError."""
        self._path = path
        self._new = path.with_name(f"{path.name}.{os.urandom(4).hex()}{DRAFT}")
        self.descriptor = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | flags, _PRIVATE)

    def put(self, *, first_wins: bool = False) -> None:
        """Rename the file. Raises OSError, FileExistsError where `first_wins` and there is a file already."""
        if first_wins:
            _put_first(self._new, self._path)
        else:
            os.replace(self._new, self._path)

    def discard(self) -> None:
        """Remove the file where it has not taken its place."""
        self._new.unlink(missing_ok=True)


def remove_drafts(folder: Path, before: float) -> int:
    """Remove drafts that nobody has written to since `before`, in seconds since 1970; return how many.

    Blocks, for threads. A process that died has left them.
    """
    removed = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                is_draft = _LEFT.fullmatch(entry.name) is not None and entry.is_file(follow_symlinks=False)
                if is_draft and entry.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(entry.path)
                    removed += 1
    return removed


def _put_first(new: Path, path: Path) -> None:
    try:
        os.link(new, path)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _WITHOUT_LINKS:
            raise
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE))
        os.replace(new, path)


def sync_folder(folder: Path) -> None:
    """Keep the names in a folder over a power cut. Blocks; raises OSError."""
    _sync(folder, os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Keep the content of a finished file, written by any process, over a power cut. Blocks; raises OSError."""
    _sync(path)


def _sync(path: Path, flags: int = 0) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _WITHOUT_SYNC:
            raise
    finally:
        os.close(descriptor)


class LatestFile:
    """A file that a thread writes after each change, the latest text last; without an event loop at once."""

    def __init__(self, path: Path, text: Callable[[], str], pause: float = 0.0) -> None:
        """`text` gives the whole content of the file; `pause`: seconds between two writes."""
        self._path = path
        self._text = text
        self._pause = pause
        self._hurry = asyncio.Event()
        self._is_stale = False
        self._has_failed = False
        self._order = threading.Lock()
        self._changes = self._written = 0
        self._writing: asyncio.Task[None] | None = None

    def changed(self) -> None:
        """Write the file soon; failures are logged."""
        self._is_stale = True
        if self._writing is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                self._replace(*self._taken())
                return
            self._writing = loop.create_task(self._write())
            self._writing.add_done_callback(self._ended)

    async def written(self) -> None:
        """Wait until the latest change is written."""
        if self._writing is not None:
            self._hurry.set()
            await asyncio.wait([self._writing])

    async def _write(self) -> None:
        self._hurry.clear()
        while self._is_stale:
            await asyncio.to_thread(self._replace, *self._taken())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await self._hurry.wait()

    def _ended(self, writing: asyncio.Task[None]) -> None:
        self._writing = None
        if self._is_stale:  # cancelled, for the loop ends
            self._replace(*self._taken())

    def _taken(self) -> tuple[int, str]:
        self._is_stale = False
        self._changes += 1
        return self._changes, self._text()

    def _replace(self, change: int, text: str) -> None:
        with self._order:
            if change < self._written:
                return
            try:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_whole(self._path, text)
            except OSError as error:
                if not self._has_failed:
                    log.error("changes are not kept over a restart", file=self._path.name, reason=error.strerror)
                self._has_failed = True
            else:
                self._written, self._has_failed = change, False
