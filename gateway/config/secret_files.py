"""Secrets in separate files: `password: {file: /run/secrets/alice}`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.config import shape
from gateway.config.yamlfile import KeyPath
from gateway.errors import ConfigError

_KEY = "file"
_MAX = 65_536
"""Largest secret file in bytes."""


def is_secret(field: FieldInfo) -> bool:
    """Return True if a key may be in a file: a secret, or a URL that may hold one."""
    return shape.is_secret(field.annotation) or not field.repr


def names(model: type[BaseModel]) -> set[str]:
    """Return the keys of a section that may be in files."""
    return {name for name, field in shape.keys(model).items() if is_secret(field)}


def read_files(data: dict[str, Any], model: type[BaseModel], mistakes: list[ConfigError], path: KeyPath = ()) -> None:
    """Replace file references of secrets by the files' content.

    An unreadable file is added to `mistakes`, and its key removed.
    """
    for name, field in shape.keys(model).items():
        value, where = data.get(name), (*path, name)
        if isinstance(value, dict) and is_secret(field):
            try:
                data[name] = _read(value, ".".join(map(str, where)))
            except ConfigError as error:
                mistakes.append(error)
                del data[name]
        elif isinstance(value, dict):
            if (inside := shape.section(field.annotation)) is not None:
                read_files(value, inside, mistakes, where)
        elif isinstance(value, list) and (entry := shape.section(shape.item(field.annotation))) is not None:
            _read_entries(value, entry, mistakes, where)


def _read_entries(entries: list[Any], model: type[BaseModel], mistakes: list[ConfigError], path: KeyPath) -> None:
    for index, each in enumerate(entries):
        if isinstance(each, dict):
            read_files(each, model, mistakes, (*path, index))


def _read(value: dict[str, Any], key: str) -> str:
    if list(value) != [_KEY] or not isinstance(value[_KEY], str):
        raise ConfigError(key, "must be text, or the name of a file that holds it, as in {file: /run/secrets/name}")
    path = Path(value[_KEY])
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX + 1)
        text = raw.decode("utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigError(key, f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(key, f"{path} is not UTF-8 text") from None
    if not text or len(raw) > _MAX:
        raise ConfigError(key, f"{path} is empty" if not text else f"{path} is larger than {_MAX} bytes")
    return text
