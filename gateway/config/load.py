"""Loading of a file and the environment into a Config, or into every ConfigError."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.config import rules, secret_files, shape, yamlfile
from gateway.config.environment import PREFIX, EnvironmentSource
from gateway.config.explain import explained, origin, unknown_key
from gateway.config.salvage import salvaged
from gateway.config.settings import VERSION, Config
from gateway.config.yamlfile import KeyPath
from gateway.errors import ConfigError

_STATE_DIR = "state_dir"


@dataclass(frozen=True, slots=True)
class Examined:
    """Configuration with all its errors."""

    config: Config | None
    """Complete configuration, even if cross-section rules are broken; None with any unusable value."""
    mistakes: tuple[ConfigError, ...]
    usable: Config | None = None
    """Configuration without the unusable values; None for an unreadable file."""
    placed: Callable[[ConfigError], ConfigError] = lambda error: error
    """Adds to an error the origin of its key: file and line, or variable."""


@dataclass(slots=True)
class _Source:
    """Origin of values."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)

    def placed(self, error: ConfigError) -> ConfigError:
        """Return the error with the origin of its key."""
        parts = tuple(int(part) if part.isdigit() else part for part in error.key.split("."))
        where = origin(parts, self.lines, self.origins, self.name)
        return type(error)(error.key, f"{error.reason} ({where})") if where else error


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read `path` (None: defaults only), overridden by `environ`.

    Raise ConfigError with the key, its fault and its origin.
    """
    return _whole(examine(path, environ))


def load_values(values: Mapping[str, Any]) -> Config:
    """Return the configuration for a mapping with the keys of the file; raise ConfigError."""
    return _whole(_examined(_Source("", copy.deepcopy(dict(values))), {}))


def _whole(found: Examined) -> Config:
    for mistake in found.mistakes:
        raise mistake from None
    assert found.config is not None
    return found.config


def examine(path: Path | None, environ: Mapping[str, str]) -> Examined:
    """Return the configuration of `path` and `environ` with all errors, in order of detection."""
    if path is None:
        return _examined(_Source("the defaults"), environ)
    try:
        data, lines, mistakes = yamlfile.examine(path)
    except ConfigError as error:
        return Examined(None, (error,))
    version = data.get("version")
    if isinstance(version, int) and version > VERSION:
        reason = f"{path} is of version {version}, for a newer gateway; this one reads versions up to {VERSION}"
        return Examined(None, (ConfigError("version", reason),))
    found = _examined(_Source(path.name, data, lines), environ)
    return replace(found, config=None if mistakes else found.config, mistakes=(*mistakes, *found.mistakes))


def _examined(source: _Source, environ: Mapping[str, str]) -> Examined:
    mistakes: list[ConfigError] = []
    for key in list(source.data):
        if key not in shape.keys(Config):
            where = f"{source.name}, line {source.lines[(key,)]}" if (key,) in source.lines else ""
            mistakes.append(unknown_key(Config, (key,), where))
            del source.data[key]
    environment = EnvironmentSource(Config, environ, source.data)
    values = environment()
    source.origins = environment.origins
    unread: list[ConfigError] = []
    secret_files.read_files(values, Config, unread)
    mistakes += [*environment.mistakes, *(source.placed(error) for error in unread)]
    try:
        config, is_whole = Config(**values), not mistakes
    except ValidationError as error:
        mistakes += explained(error, Config, source.lines, source.origins, source.name)
        config, further = salvaged(values, error)
        for each in further:
            mistakes += explained(each, Config, source.lines, source.origins, source.name)
        is_whole = False
    broken = [source.placed(error) for error in rules.mistakes(config)]
    every = list(_first_of_each([*mistakes, *broken]))
    return Examined(config if is_whole else None, tuple(every), config, source.placed)


def _first_of_each(mistakes: list[ConfigError]) -> Iterator[ConfigError]:
    """Skip errors that follow from an earlier error: of an equal or containing key."""
    told: list[str] = []
    for mistake in mistakes:
        if not any(mistake.key == key or mistake.key.startswith(f"{key}.") for key in told):
            yield mistake
        if mistake.key:
            told.append(mistake.key)


def state_folder(path: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the state directory of a file and environment, regardless of other faults. Raise ConfigError.

    Operators can thus locate the directory without the secrets in the gateway's own environment.
    """
    data = {} if path is None else yamlfile.read(path)[0]
    kept = {name: value for name, value in data.items() if name == _STATE_DIR}
    variables = {name: value for name, value in environ.items() if name.upper() == f"{PREFIX}{_STATE_DIR}".upper()}
    try:
        return Config(**EnvironmentSource(Config, variables, kept)()).state_dir
    except ValidationError:
        raise ConfigError(_STATE_DIR, "is not the path of a folder") from None
