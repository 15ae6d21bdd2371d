"""`gateway backup` and `gateway restore`: the state folder and the configuration in one archive."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from gateway.app.media_settings import DTLS_FILE
from gateway.app.sip_opening import MARK_FILE
from gateway.errors import GatewayError
from gateway.failover.recovery import FILE as CALLS
from gateway.files import DRAFT, draft, sync_folder
from gateway.web.console import FILE_NAME as CONSOLE

FORMAT = 1
"""Of the archive; a higher one is refused."""
_MANIFEST = "manifest.json"
_STATE = "state"
_CONFIG = "gateway.yaml"
_SQLITE = b"SQLite format 3\0"
_LEFT_OUT = (CONSOLE, MARK_FILE, CALLS, DTLS_FILE)
"""What is of the running process and its calls alone."""
_OF_SQLITE = ("-wal", "-shm", "-journal")
_LARGEST = 64 * 1024**3
_LARGEST_MANIFEST = 64 * 1024**2
_CHUNK = 1024**2
_PRIVATE, _READABLE = 0o600, 0o644
"""Rights of every file, and those that the configuration may have had, for a service with a user of its own."""


class BackupError(GatewayError):
    """The archive cannot be made, or not be used."""


def backup(state_dir: Path, config: Path | None, archive: Path) -> int:
    """Write `archive` (tar, gzip, for its owner only); how many files are in it. Raises BackupError.

    Databases are copied as SQLite does it, whole at one moment while others write. It holds passwords and keys.
    """
    if not state_dir.is_dir():
        raise BackupError(f"{state_dir} (state_dir) is not there: no gateway has run on it")
    if archive.resolve().is_relative_to(state_dir.resolve()):
        raise BackupError(f"{archive} is inside {state_dir} (state_dir): the next archive would hold it")
    try:
        with (
            tempfile.TemporaryDirectory(dir=archive.parent) as folder,
            draft(archive) as file,
            tarfile.open(fileobj=file, mode="w:gz") as tar,
        ):
            sums = {}
            for name, path in _contents(state_dir, config):
                whole = _snapshot(path, Path(folder)) if _is_database(path) else path
                with whole.open("rb") as content:
                    found = os.fstat(content.fileno())
                    mode = _PRIVATE if name != _CONFIG else found.st_mode & _READABLE
                    sums[name] = _add(tar, name, content, found.st_size, mode)
            version = metadata.version("sip-webrtc-gateway")
            manifest = {"format": FORMAT, "version": version, "made": time.time(), "files": sums}
            written = json.dumps(manifest, indent=2).encode()
            _add(tar, _MANIFEST, io.BytesIO(written), len(written))
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"{archive} was not written: {error}") from None
    return len(sums)


def _contents(state_dir: Path, config: Path | None) -> Iterator[tuple[str, Path]]:
    if config is not None:
        yield _CONFIG, config
    for path in sorted(state_dir.rglob("*")):
        name = path.relative_to(state_dir).as_posix()
        kept = name not in _LEFT_OUT and not name.endswith((*_OF_SQLITE, ".lock", ".log", DRAFT))
        if kept and stat.S_ISREG(path.lstat().st_mode):
            yield f"{_STATE}/{name}", path


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _snapshot(path: Path, folder: Path) -> Path:
    copy = folder / "database"
    copy.unlink(missing_ok=True)
    source, target = sqlite3.connect(f"file:{path}?mode=ro", uri=True), sqlite3.connect(copy)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()
    return copy


class _Summed:
    """A file that is read once, and the sum of what was read."""

    def __init__(self, file: BinaryIO | IO[bytes]) -> None:
        self._file = file
        self._sum = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self._sum.update(data)
        return data

    @property
    def sum(self) -> str:
        return self._sum.hexdigest()


def _add(tar: tarfile.TarFile, name: str, content: BinaryIO, size: int, mode: int = _PRIVATE) -> str:
    """Write an entry of so many bytes, which may be the beginning of a file that grows; its sum."""
    entry, summed = tarfile.TarInfo(name), _Summed(content)
    entry.size, entry.mode, entry.mtime = size, mode, int(time.time())
    tar.addfile(entry, summed)
    return summed.sum


def restore(archive: Path, state_dir: Path, config: Path | None) -> list[Path]:
    """Put everything back where nothing is yet; what was written. Raises BackupError, and then nothing was.

    `config` None leaves the configuration out. Every sum is checked before the first file is written.
    """
    if state_dir.exists() and any(state_dir.iterdir()):
        raise BackupError(f"{state_dir} (state_dir) is not empty: move it away first, nothing is overwritten")
    if config is not None and config.exists():
        raise BackupError(f"{config} is there already: move it away first, or leave it by --without-config")
    _check(archive)
    # One beside it, renamed in the end; a folder that is there may be a mount and keeps its place.
    beside = not state_dir.exists()
    unpacked = state_dir.with_name(f".{state_dir.name}.{os.getpid()}") if beside else state_dir / ".restored"
    config_draft = None if config is None else config.with_name(f".{config.name}.{os.getpid()}")
    try:
        names = _unpack(archive, unpacked, config_draft)
        if beside:
            unpacked.rename(state_dir)
        else:
            for path in list(unpacked.iterdir()):
                path.rename(state_dir / path.name)
            unpacked.rmdir()
            sync_folder(state_dir)
        sync_folder(state_dir.parent)
        if config is not None and config_draft is not None and _CONFIG in names:
            config_draft.rename(config)
            sync_folder(config.parent)
    except (OSError, EOFError, tarfile.TarError) as error:
        for folder in [unpacked, state_dir] if beside else list(state_dir.iterdir()):
            _clear(folder)
        raise BackupError(f"{state_dir} was not written: {error}") from None
    finally:
        if config_draft is not None:
            with contextlib.suppress(OSError):
                config_draft.unlink()
    state = [state_dir / PurePosixPath(name).relative_to(_STATE) for name in names if name != _CONFIG]
    return state if config is None or _CONFIG not in names else [config, *state]


def _unpack(archive: Path, folder: Path, config: Path | None) -> list[str]:
    """Write what the archive holds; names of its files. Raises OSError, EOFError, TarError."""
    names = []
    folder.mkdir(mode=0o700, parents=True)
    with tarfile.open(archive, "r:gz") as tar:
        for entry in tar:
            content = tar.extractfile(entry)
            if entry.name == _MANIFEST or content is None:
                continue
            path = config if entry.name == _CONFIG else folder / PurePosixPath(entry.name).relative_to(_STATE)
            if path is None:
                continue
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                shutil.copyfileobj(content, file)
                if entry.name == _CONFIG:
                    os.fchmod(file.fileno(), _PRIVATE | entry.mode & _READABLE)
                file.flush()
                os.fsync(file.fileno())
            names.append(entry.name)
    for written in {folder / PurePosixPath(name).relative_to(_STATE).parent for name in names if name != _CONFIG}:
        sync_folder(written)
    return names


def _clear(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _check(archive: Path) -> None:
    """Raises BackupError unless it holds what its manifest says, and nothing else."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            found, written = {}, b""
            for entry in tar:
                content = tar.extractfile(entry) if entry.isfile() and entry.size <= _LARGEST else None
                if content is None or not _is_ours(entry.name):
                    raise BackupError(f"{archive} is not a backup of this gateway: it holds {entry.name!r}")
                if entry.name == _MANIFEST:
                    written = content.read(min(entry.size, _LARGEST_MANIFEST))
                    continue
                summed = _Summed(content)
                while summed.read(_CHUNK):
                    pass
                found[entry.name] = summed.sum
        manifest = json.loads(written)
        number, version, sums = manifest["format"], manifest["version"], manifest["files"]
    except (OSError, EOFError, ValueError, KeyError, TypeError, tarfile.TarError) as error:
        raise BackupError(f"{archive} cannot be read as a backup: {error}") from None
    if number != FORMAT:
        raise BackupError(f"{archive} was made by gateway {version}, in a form that this one does not know")
    if found != sums:
        raise BackupError(f"{archive} is damaged: its files are not those that it lists")


def _is_ours(name: str) -> bool:
    parts = PurePosixPath(name).parts
    if name in (_MANIFEST, _CONFIG):
        return True
    return len(parts) > 1 and parts[0] == _STATE and ".." not in parts and "\0" not in name
