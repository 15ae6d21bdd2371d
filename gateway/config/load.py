"""From a file and the environment to a Config, or to one ConfigError."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.config import shape, yamlfile
from gateway.config.environment import PREFIX, EnvironmentSource
from gateway.config.explain import explain, origin, unknown_key
from gateway.config.settings import VERSION, Config
from gateway.config.yamlfile import KeyPath
from gateway.errors import ConfigError

_STATE_DIR = "state_dir"


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read `path` (None: only the defaults) and lay `environ` over it.

    Raises ConfigError, which names the key, says what is wrong with it, and where it was set.
    """
    data: dict[str, Any] = {}
    lines: dict[KeyPath, int] = {}
    name = "the defaults"
    if path is not None:
        data, lines = yamlfile.read(path)
        name = path.name
        version = data.get("version")
        if isinstance(version, int) and version > VERSION:
            reason = f"{path} is of version {version}, for a newer gateway; this one reads versions up to {VERSION}"
            raise ConfigError("version", reason)
    for key in data:
        if key not in shape.keys(Config):
            raise unknown_key(Config, (key,), f"{name}, line {lines[(key,)]}")
    source = EnvironmentSource(Config, environ, data)
    values = source()
    try:
        return Config(**values).check()
    except ValidationError as error:
        raise explain(error, Config, lines, source.origins, name) from None
    except ConfigError as error:
        parts = tuple(int(part) if part.isdigit() else part for part in error.key.split("."))
        where = origin(parts, lines, source.origins, name)
        raise ConfigError(error.key, f"{error.reason} ({where})" if where else error.reason) from None


def state_folder(path: Path | None, environ: Mapping[str, str]) -> Path:
    """Where the gateway of that file and environment keeps what it keeps, whatever else they hold.

    So its operator finds it without the passwords that only the gateway's own environment has. Raises ConfigError.
    """
    data = {} if path is None else yamlfile.read(path)[0]
    kept = {name: value for name, value in data.items() if name == _STATE_DIR}
    variables = {name: value for name, value in environ.items() if name.upper() == f"{PREFIX}{_STATE_DIR}".upper()}
    try:
        return Config(**EnvironmentSource(Config, variables, kept)()).state_dir
    except ValidationError:
        raise ConfigError(_STATE_DIR, "is not the path of a folder") from None
