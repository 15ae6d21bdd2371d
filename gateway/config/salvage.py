"""Removal of unusable values, so that the remaining values are checked too."""

from __future__ import annotations

import copy
from typing import Any

from pydantic import ValidationError

from gateway.config.settings import Config

_ROUNDS = 50
"""Rounds of removal before everything is dropped."""
_STAND_INS: dict[str, dict[str, Any]] = {
    "users": {"id": "unknown", "web": True},
    "trunks": {"name": "unknown", "uri": "sip:unknown.invalid"},
    "groups": {"name": "unknown", "members": ["unknown"]},
    "agents": {"name": "unknown", "url": "ws://unknown.invalid"},
    "rooms": {"name": "unknown"},
    "routes": {"match": "unknown", "to": "service:echo"},
}
"""Placeholders for unusable list entries, by list, so that other entries keep their index."""
_NAMES = ("id", "name")


def salvaged(values: dict[str, Any], error: ValidationError) -> tuple[Config, list[ValidationError]]:
    """Return a configuration of the usable values, and errors that appeared after removing the first ones."""
    left = copy.deepcopy(values)
    further: list[ValidationError] = []
    for _ in range(_ROUNDS):
        for complaint in error.errors(include_url=False, include_context=False, include_input=False):
            _leave_out(left, complaint["loc"])
        try:
            return Config(**left), further
        except ValidationError as again:
            further.append(again)
            error = again
    return Config(), further


def _leave_out(values: dict[str, Any], path: tuple[str | int, ...]) -> None:
    """Remove the key at `path`, or the smallest part around it that may be missing."""
    holder: Any = values
    for depth, part in enumerate(path):
        if isinstance(holder, list):
            _leave_out_of(holder, part, path, depth, values)
            return
        if not isinstance(holder, dict) or part not in holder:
            _drop(values, path[:depth])
            return
        if depth == len(path) - 1:
            del holder[part]
            return
        holder = holder[part]


def _leave_out_of(entries: list[Any], part: str | int, path: tuple[str | int, ...], depth: int, values: Any) -> None:
    """Remove one key of an entry, or insert a required value; otherwise replace the entry by a placeholder."""
    stand_in = _STAND_INS.get(str(path[0])) if depth == 1 else None
    if stand_in is None or not isinstance(part, int):
        _drop(values, path[:depth])
        return
    own = {key: f"{value}-{part}" if key in _NAMES else value for key, value in stand_in.items()}
    entry, key = entries[part], str(path[depth + 1]) if len(path) > depth + 1 else ""
    if isinstance(entry, dict) and key in own and entry.get(key) != own[key]:
        entry[key] = own[key]
    elif isinstance(entry, dict) and key in entry:
        del entry[key]
    else:
        named = entry if isinstance(entry, dict) and not key else {}
        entries[part] = own | {name: named[name] for name in _NAMES if isinstance(named.get(name), str | int)}


def _drop(values: dict[str, Any], path: tuple[str | int, ...]) -> None:
    """Remove a whole section or list."""
    if path:
        _leave_out(values, path)
    else:
        values.clear()
