"""Values without their mistakes: each unusable one is left out, so that the others are checked too."""

from __future__ import annotations

import copy
from typing import Any

from pydantic import ValidationError

from gateway.config.settings import Config

_ROUNDS = 50
"""Times that more is left out before all is."""
_STAND_INS: dict[str, dict[str, Any]] = {
    "users": {"id": "unknown", "web": True},
    "trunks": {"name": "unknown", "uri": "sip:unknown.invalid"},
    "groups": {"name": "unknown", "members": ["unknown"]},
    "agents": {"name": "unknown", "url": "ws://unknown.invalid"},
    "rooms": {"name": "unknown"},
    "routes": {"match": "unknown", "to": "service:echo"},
}
"""Entries that stand in the place of those that cannot be used, by list: the others keep their places."""
_NAMES = ("id", "name")


def salvaged(values: dict[str, Any], error: ValidationError) -> tuple[Config, list[ValidationError]]:
    """A configuration of what can be used, and the errors that came up when the first ones were out of the way."""
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
    """Take the key at `path` out, or the smallest thing around it that can be had without it."""
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
    """Take one key of an entry out, or put in what it cannot be without; else something stands in for the entry."""
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
    """Take a whole section or list out."""
    if path:
        _leave_out(values, path)
    else:
        values.clear()
