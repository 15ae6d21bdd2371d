"""`gateway backup` and `gateway restore`: the state folder and the configuration in one archive."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import stat
import tarfile
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path, PurePosixPath

from gateway.app.console import FILE_NAME as CONSOLE
from gateway.errors import GatewayError

FORMAT = 1
"""Of the archive; a higher one is refused."""
_MANIFEST = "manifest.json"
_STATE = "state"
_CONFIG = "gateway.yaml"
_SQLITE = b"SQLite format 3\0"
_LEFT_OUT = (CONSOLE,)
"""What is of the running process alone."""
_OF_SQLITE = ("-wal", "-shm", "-journal")
_LARGEST = 64 * 1024**3


class BackupError(GatewayError):
    """The archive cannot be made, or not be used."""


def backup(state_dir: Path, config: Path | None, archive: Path) -> int:
    """Write `archive` (tar, gzip, for its owner only); how many files are in it. Raises BackupError.

    Databases are copied as SQLite does it, whole at one moment while others write. It holds passwords and keys.
    """
    if not state_dir.is_dir():
        raise BackupError(f"{state_dir} (state_dir) is not there: no gateway has run on it")
    draft = archive.with_name(f".{archive.name}.{os.getpid()}")
    try:
        with (
            tempfile.TemporaryDirectory(dir=archive.parent) as folder,
            os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file,
            tarfile.open(fileobj=file, mode="w:gz") as tar,
        ):
            sums = {}
            for name, path in _contents(state_dir, config):
                whole = _snapshot(path, Path(folder)) if _is_database(path) else path
                data = whole.read_bytes()
                sums[name] = hashlib.sha256(data).hexdigest()
                _add(tar, name, data)
            version = metadata.version("sip-webrtc-gateway")
            manifest = {"format": FORMAT, "version": version, "made": time.time(), "files": sums}
            _add(tar, _MANIFEST, json.dumps(manifest, indent=2).encode())
        draft.replace(archive)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"{archive} was not written: {error}") from None
    finally:
        draft.unlink(missing_ok=True)
    return len(sums)


def _contents(state_dir: Path, config: Path | None) -> Iterator[tuple[str, Path]]:
    if config is not None:
        yield _CONFIG, config
    for path in sorted(state_dir.rglob("*")):
        name = path.relative_to(state_dir).as_posix()
        kept = name not in _LEFT_OUT and not name.endswith((*_OF_SQLITE, ".lock", ".log"))
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


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
    tar.addfile(entry, io.BytesIO(data))


def restore(archive: Path, state_dir: Path, config: Path | None) -> list[Path]:
    """Put everything back where nothing is yet; what was written. Raises BackupError, and then nothing was.

    `config` None leaves the configuration out. Every sum is checked before the first file is written.
    """
    if state_dir.exists() and any(state_dir.iterdir()):
        raise BackupError(f"{state_dir} (state_dir) is not empty: move it away first, nothing is overwritten")
    if config is not None and config.exists():
        raise BackupError(f"{config} is there already: move it away first, or leave it by --without-config")
    files = _read(archive)
    written = []
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, data in files.items():
            path = config if name == _CONFIG else state_dir / PurePosixPath(name).relative_to(_STATE)
            if path is None:
                continue
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
            written.append(path)
    except OSError as error:
        raise BackupError(f"{state_dir} was not written: {error}") from None
    return written


def _read(archive: Path) -> dict[str, bytes]:
    """The archive's files by name, each as its manifest says."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            found = {}
            for entry in tar:
                data = tar.extractfile(entry) if entry.isfile() and entry.size <= _LARGEST else None
                if data is None or not _is_ours(entry.name):
                    raise BackupError(f"{archive} is not a backup of this gateway: it holds {entry.name!r}")
                found[entry.name] = data.read()
        manifest = json.loads(found.pop(_MANIFEST))
        number, version, sums = manifest["format"], manifest["version"], manifest["files"]
    except (OSError, EOFError, ValueError, KeyError, TypeError, tarfile.TarError) as error:
        raise BackupError(f"{archive} cannot be read as a backup: {error}") from None
    if number != FORMAT:
        raise BackupError(f"{archive} was made by gateway {version}, in a form that this one does not know")
    if {name: hashlib.sha256(data).hexdigest() for name, data in found.items()} != sums:
        raise BackupError(f"{archive} is damaged: its files are not those that it lists")
    return found


def _is_ours(name: str) -> bool:
    parts = PurePosixPath(name).parts
    if name in (_MANIFEST, _CONFIG):
        return True
    return len(parts) > 1 and parts[0] == _STATE and ".." not in parts and "\0" not in name
