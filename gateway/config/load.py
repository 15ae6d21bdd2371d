"""From a file and the environment to a Config, or to one ConfigError."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.config import shape, yamlfile
from gateway.config.environment import EnvironmentSource
from gateway.config.explain import explain, origin, unknown_key
from gateway.config.settings import VERSION, Config
from gateway.config.yamlfile import KeyPath
from gateway.errors import ConfigError


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
