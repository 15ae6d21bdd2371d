"""Configuration errors as one sentence that names the key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.config import shape
from gateway.errors import ConfigError

_SENTENCES = {
    "missing": "is missing",
    "tuple_type": "must be a list",
    "model_type": "must be a section with keys of its own, not a single value",
    "model_attributes_type": "must be a section with keys of its own, not a single value",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "path_type": "must be the path of a file",
    "is_instance_of": "must be text, such as an address or a range",
}
_SHOWS_VALUE = ("parsing", "literal_error", "greater_than", "less_than", "int_from_float", "_type")


def unknown_key(root: type[BaseModel], path: Sequence[str | int], where: str) -> ConfigError:
    """Return the error for an unknown key, with the most similar known key."""
    parent = shape.section(shape.annotation_at(root, path[:-1]))
    wrong = str(path[-1])
    siblings = list(shape.keys(parent)) if parent is not None else []
    close = difflib.get_close_matches(wrong.lower(), siblings, n=1, cutoff=0.6)
    suggestion = ".".join(map(str, (*path[:-1], close[0]))) if close else _elsewhere(root, wrong.lower())
    hint = f"did you mean {suggestion}?" if suggestion else f"known here: {', '.join(siblings)}"
    return ConfigError(".".join(map(str, path)), f"unknown key, {hint}" + (f" ({where})" if where else ""))


def _elsewhere(root: type[BaseModel], wrong: str) -> str | None:
    """Return a key of that name in another section, or the most similar one."""
    known = {".".join(path): path[-1] for path, _ in shape.paths(root)}
    for dotted, name in known.items():
        if name == wrong:
            return dotted
    close = difflib.get_close_matches(wrong, known.values(), n=1, cutoff=0.75)
    return next((dotted for dotted, name in known.items() if close and name == close[0]), None)


def explained(
    error: ValidationError,
    root: type[BaseModel],
    lines: Mapping[tuple[str | int, ...], int],
    origins: Mapping[tuple[str | int, ...], str],
    name: str,
) -> list[ConfigError]:
    """Return each pydantic error as a ConfigError, unknown keys first."""
    complaints = error.errors(include_url=False, include_context=True)
    complaints.sort(key=lambda one: one["type"] != "extra_forbidden")
    return [_explained(one, root, origin(tuple(one["loc"]), lines, origins, name)) for one in complaints]


def _explained(complaint: ErrorDetails, root: type[BaseModel], where: str) -> ConfigError:
    path, kind = tuple(complaint["loc"]), complaint["type"]
    if kind == "extra_forbidden":
        return unknown_key(root, path, where)
    reason = _sentence(kind, complaint["msg"]) + _got(root, path, kind, complaint.get("input"))
    return ConfigError(".".join(map(str, path)), f"{reason} ({where})" if where else reason)


def origin(
    path: tuple[str | int, ...],
    lines: Mapping[tuple[str | int, ...], int],
    origins: Mapping[tuple[str | int, ...], str],
    name: str,
) -> str:
    """Return the origin of a key's value: a variable, or a line of the file."""
    for length in range(len(path), 0, -1):
        if path[:length] in origins:
            return f"{origins[path[:length]]} in the environment"
        if path[:length] in lines:
            return f"{name}, line {lines[path[:length]]}"
    return ""


def _sentence(kind: str, message: str) -> str:
    known = _SENTENCES.get(kind)
    if known is not None:
        return known
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind in ("too_short", "string_too_short"):
        return "must not be empty"
    return message.replace("Input should be", "must be", 1)


def _got(root: type[BaseModel], path: tuple[str | int, ...], kind: str, value: Any) -> str:
    """Return the offending value, if short and not secret."""
    annotation = shape.annotation_at(root, path)
    if annotation is None or shape.is_secret(annotation) or not any(part in kind for part in _SHOWS_VALUE):
        return ""
    if not isinstance(value, str | int | float) or len(str(value)) > 60:
        return ""
    return f", not {value!r}"
