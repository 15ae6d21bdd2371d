"""Configuration keys from the environment: GATEWAY_SIP__RING_TIMEOUT=30 sets sip.ring_timeout."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from gateway.config import secret_files, shape, yamlfile
from gateway.config.explain import unknown_key
from gateway.config.yamlfile import KeyPath
from gateway.errors import ConfigError

PREFIX = "GATEWAY_"
DELIMITER = "__"
OF_FILE = "_file"
"""Suffix of variables that name a file with a secret: GATEWAY_USERS__ALICE__PASSWORD_FILE."""

OTHER_VARIABLES = ("GATEWAY_CONFIG",)
"""Variables with the prefix that are no keys: the path of the file (read by the command line)."""

ALIASES = {"STUN_SERVER": ("webrtc", "stun_server"), "RESTSEND_TOKEN": ("web", "ice_service_token")}
"""Names without prefix known to clients of the HTTP API; a key by its own name takes precedence."""

# Kubernetes sets these in every container beside a service named "gateway".
_SERVICE_LINK = re.compile(r"GATEWAY_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")


class EnvironmentSource(PydanticBaseSettingsSource):
    """Environment variables, applied over the values of the file.

    Lists are YAML or JSON, or separated by commas. An entry is selected by number, id or name:
    GATEWAY_USERS__ALICE__PASSWORD.
    """

    def __init__(self, settings: type[BaseSettings], environ: Mapping[str, str], data: dict[str, Any]) -> None:
        super().__init__(settings)
        self._environ = environ
        self._data = data
        self.mistakes: list[ConfigError] = []
        """Errors of ignored variables."""
        self.origins: dict[KeyPath, str] = {}
        """Key path -> variable that set the key."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Implement the library's interface; values come from `__call__` only."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the file's values, overridden by the environment; faulty variables go to `mistakes`."""
        data = copy.deepcopy(self._data)
        for name, key in ALIASES.items():
            if self._environ.get(name):
                self._place(data, self.settings_cls, list(key), name)
        # Shorter names first, so that GATEWAY_USERS does not override GATEWAY_USERS__0__PASSWORD.
        for name in sorted(self._environ, key=lambda name: (name.count(DELIMITER), name)):
            if name.upper().startswith(PREFIX) and not self._foreign(name.upper()):
                parts = name[len(PREFIX) :].lower().split(DELIMITER)
                try:
                    self._place(data, self.settings_cls, parts, name)
                except ConfigError as error:
                    self.mistakes.append(error)
        return data

    @staticmethod
    def _foreign(name: str) -> bool:
        return name in OTHER_VARIABLES or _SERVICE_LINK.fullmatch(name) is not None

    def _place(self, data: dict[str, Any], root: type[BaseModel], parts: list[str], name: str) -> None:
        holder: Any = data
        annotation: Any = root
        path: KeyPath = ()
        for depth, part in enumerate(parts):
            step, inner = self._step(annotation, holder, part, path, name)
            path = (*path, step)
            if depth == len(parts) - 1:
                of_file = part != step and isinstance(step, str)
                text = self._environ[name]
                _assign(holder, step, {"file": text} if of_file else _read(text, inner, path, name))
                self.origins[path] = name
                return
            annotation, holder = inner, self._descend(holder, step, inner, path)
            if holder is None:
                raise ConfigError(".".join(map(str, path)), f"is one value and has no keys ({name})")

    def _step(self, annotation: Any, holder: Any, part: str, path: KeyPath, name: str) -> tuple[str | int, Any]:
        """Return the key or index named by `part`, and the annotation found there."""
        inside = shape.section(annotation)
        if inside is not None:
            field = shape.keys(inside).get(part)
            secret = part.removesuffix(OF_FILE)
            if field is None and secret in secret_files.names(inside):
                if (*path, secret) in self.origins:
                    twice = f"is set by {self.origins[(*path, secret)]} and by {name}"
                    raise ConfigError(".".join(map(str, (*path, secret))), twice)
                return secret, None
            if field is None:
                raise unknown_key(self.settings_cls, (*path, part), f"{name} in the environment")
            return part, field.annotation
        index = _index(holder, part)
        if index is None:
            dotted = ".".join(map(str, path))
            raise ConfigError(f"{dotted}.{part}", f"there is no such entry in {dotted} ({name})")
        return index, shape.item(annotation)

    def _descend(self, holder: Any, step: Any, inner: Any, path: KeyPath) -> Any:
        """Return the container below, created if missing from the file; lists start from their default."""
        if shape.section(inner) is None and shape.item(inner) is None:
            return None
        present = holder[step] if isinstance(holder, list) and step < len(holder) else None
        if isinstance(holder, dict):
            present = holder.get(step)
        if not isinstance(present, dict | list):
            present = {} if shape.section(inner) is not None else self._default_list(path)
            _assign(holder, step, present)
        return present

    def _default_list(self, path: KeyPath) -> list[Any]:
        found: Any = self.settings_cls.model_construct().model_dump(mode="json", by_alias=True)
        for part in path:
            found = found.get(part) if isinstance(found, dict) else None
        return list(found or ())


def _assign(holder: Any, step: Any, value: Any) -> None:
    if isinstance(holder, list) and step == len(holder):
        holder.append(value)
    else:
        holder[step] = value


def _index(entries: list[Any], part: str) -> int | None:
    """Return the index of an entry, or for a new one: by id or name first, as ids may be numbers, then by position."""
    for index, entry in enumerate(entries):
        if isinstance(entry, dict) and str(entry.get("id", entry.get("name", ""))).lower() == part:
            return index
    if part.isascii() and part.isdigit() and len(part) < 6 and int(part) <= len(entries):
        return int(part)
    return None


def _read(text: str, annotation: Any, path: KeyPath, name: str) -> Any:
    """Return a variable's text as the value of its key; single values stay text for the models to parse."""
    item = shape.item(annotation)
    if item is None and shape.section(annotation) is None:
        return text
    try:
        value = yamlfile.value(text)
    except ValueError as error:
        raise ConfigError(".".join(map(str, path)), f"{error} ({name})") from None
    if item is not None and shape.section(item) is None and not isinstance(value, list):
        return [part.strip() for part in text.split(",") if part.strip()]
    return value
