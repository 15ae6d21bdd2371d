"""Parsing of `gateway.yaml` into plain values, with the line of every key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from gateway.errors import ConfigError

KeyPath = tuple[str | int, ...]

MAX_BYTES = 1_048_576
MAX_DEPTH = 16
MAX_NODES = 100_000


class _Loader(yaml.SafeLoader):
    """YAML loader with the scalars of version 1.2's core schema.

    PyYAML reads version 1.1, where `off` is false, `0044` is 36 and `+4930` loses its plus sign, all ordinary values in
    the file.
    """


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"-?(?:0|[1-9][0-9]*)\Z"), list("-0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"-?[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?\Z"), list("-0123456789")
)


Read = tuple[dict[str, Any], dict[KeyPath, int], tuple[ConfigError, ...]]
"""Values, the line (from 1) of every key, and errors of skipped keys."""


def read(path: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Return the file's values and the line of every key; raise ConfigError."""
    return _whole(examine(path))


def parse(text: str, name: str = "configuration") -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Return the values and lines of a YAML text; raise ConfigError."""
    return _whole(_examined(text, name))


def _whole(found: Read) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    data, lines, mistakes = found
    for mistake in mistakes:
        raise mistake from None
    return data, lines


def examine(path: Path) -> Read:
    """Return values, lines and all errors of a file; raise ConfigError with an empty key for an unreadable file."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError("", f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError("", f"{path} is larger than {MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("", f"{path} is not UTF-8 text (byte {error.start})") from None
    return _examined(text, str(path))


def _examined(text: str, name: str) -> Read:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        builder = _Builder(loader, name)
        data = {} if node is None else builder.build(node, ())
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}" if error.problem_mark is not None else "somewhere"
        raise ConfigError("", f"{name} is not valid YAML, {where}: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise ConfigError("", f"{name} is not valid YAML") from None
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError("", f"{name} must hold keys and values, as in `domain: example.com`")
    return data, builder.lines, tuple(builder.mistakes)


def value(text: str) -> Any:
    """Parse one value written as YAML or JSON; raise ValueError."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else _Builder(loader, "value").build(node, ())
    except (yaml.YAMLError, RecursionError, ConfigError):
        raise ValueError("is not valid YAML or JSON") from None


class _Builder:
    """Converter of YAML nodes to values; keys are always text and must be unique."""

    def __init__(self, loader: _Loader, name: str) -> None:
        self._loader = loader
        self._name = name
        self._nodes = 0
        self.lines: dict[KeyPath, int] = {}
        self.mistakes: list[ConfigError] = []

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self._nodes += 1
        # Anchors may make the tree endless or exponentially large.
        if len(path) > MAX_DEPTH or self._nodes > MAX_NODES:
            raise ConfigError(".".join(map(str, path[:3])), f"{self._name} is nested too deeply or too large")
        self.lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*path, index)) for index, child in enumerate(node.value)]
        return self._loader.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            where = (*path, str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?")
            dotted = ".".join(map(str, where))
            if not isinstance(key_node, yaml.ScalarNode):
                reason = f"a key must be a plain word ({self._name}, line {line})"
                self.mistakes.append(ConfigError(dotted, reason))
                continue
            if key_node.value in result:
                reason = f"appears twice, on lines {self.lines[where]} and {line} of {self._name}"
                self.mistakes.append(ConfigError(dotted, reason))
                continue
            result[key_node.value] = self.build(value_node, where)
            self.lines[where] = line
        return result
