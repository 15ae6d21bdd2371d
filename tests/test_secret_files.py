"""Secrets stand in the file, in a variable, or in a file of their own, whichever an operator likes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from gateway.config import Config, examine, load, load_values, shape
from gateway.config.secret_files import is_secret
from gateway.errors import ConfigError
from tests.rows import by_row

GOOD = "kJ7-qZ4_wT9x"
OTHERS = {
    "identity.store": "redis://:kJ7-qZ4_wT9x@127.0.0.1:6379/0",
    "cluster.journal": "redis://:kJ7-qZ4_wT9x@127.0.0.1:6379/0",
    "cluster.key": "kJ7-qZ4_wT9xkJ7-qZ4_wT9xkJ7-qZ4_wT9x",
    "users.0.ha1.md5": "0" * 31 + "1",
    "users.0.ha1.sha_256": "0" * 63 + "1",
    "users.0.ha1.sha_512_256": "0" * 63 + "1",
    "rooms.0.pin": "4711",
    "otel.headers": "api-key=kJ7-qZ4_wT9x",
}
"""What is no password."""
BESIDE: dict[str, Any] = {
    "users": [{"id": "alice", "web": True}],
    "trunks": [{"name": "pbx", "uri": "sip:pbx.test", "username": "gateway"}],
    "agents": [{"name": "bot", "url": "ws://bot.test"}],
    "rooms": [{"name": "board"}],
    "web": {"ice_servers": [{"urls": "turn:turn.test"}]},
    "cluster": {"node": "sip:10.0.0.1:5060", "key": OTHERS["cluster.key"]},
    "identity": {"store": "redis://127.0.0.1:6379/0"},
    "accounts": {"registrars": ["pbx"]},
}
ACCOUNT = {"registrar": "pbx", "username": "1001", "password": GOOD}


def secrets(model: type[BaseModel] = Config, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every key that holds one, with 0 for the first entry of a list."""
    for name, field in shape.keys(model).items():
        item, inside = shape.item(field.annotation), shape.section(field.annotation)
        if is_secret(field):
            yield ".".join((*path, name))
        elif inside is not None:
            yield from secrets(inside, (*path, name))
        elif item is not None and (entry := shape.section(item)) is not None:
            yield from secrets(entry, (*path, name, "0"))


KEYS = tuple(secrets())


def base(key: str) -> dict[str, Any]:
    """What the key needs around it."""
    data: dict[str, Any] = yaml.safe_load(yaml.safe_dump(BESIDE))
    if ".account." in key:
        data["users"][0]["account"] = dict(ACCOUNT)
    return data


def value_at(config: Config, key: str) -> str:
    found: Any = config
    for part in key.split("."):
        found = found[int(part)] if part.isdigit() else getattr(found, part)
    return str(found.get_secret_value() if hasattr(found, "get_secret_value") else found)


def with_value(data: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    holder: Any = data
    *front, last = key.split(".")
    for part in front:
        holder = holder[int(part)] if part.isdigit() else holder.setdefault(part, {})
    holder[last] = value
    return data


@by_row("key", KEYS)
@by_row("way", ["variable", "variable of a file", "file", "mapping"])
def test_every_secret_can_stand_elsewhere(tmp_path: Path, key: str, way: str) -> None:
    """Its last line break is no part of it."""
    wanted, data, path, kept = OTHERS.get(key, GOOD), base(key), tmp_path / "gateway.yaml", tmp_path / "kept"
    kept.write_text(f"{wanted}\n")
    variable = f"GATEWAY_{key.upper().replace('.', '__')}"
    environ = {"variable": {variable: wanted}, "variable of a file": {f"{variable}_FILE": str(kept)}}.get(way, {})
    if way in ("file", "mapping"):
        data = with_value(data, key, {"file": str(kept)})
    path.write_text(yaml.safe_dump(data))
    found = load_values(data) if way == "mapping" else load(path, environ)
    assert value_at(found, key) == wanted


@by_row(
    ("content", "words"), [(None, "No such file"), (b"", "is empty"), (b"\xff", "not UTF-8"), (b"x" * 65_537, "larger")]
)
def test_a_file_that_holds_no_secret_is_a_mistake(tmp_path: Path, content: bytes | None, words: str) -> None:
    """The key and the file are named, nothing of what it holds."""
    kept = tmp_path / "kept"
    if content is not None:
        kept.write_bytes(content)
    (tmp_path / "gateway.yaml").write_text(f"users: [{{id: alice, web: true, password: {{file: {kept}}}}}]")
    [mistake] = examine(tmp_path / "gateway.yaml", {}).mistakes
    assert mistake.key == "users.0.password"
    assert words in mistake.reason
    assert str(kept) in mistake.reason
    assert "gateway.yaml, line 1" in mistake.reason


@by_row("value", ["{}", "{path: x}", "{file: [x]}", "{file: x, password: y}"])
def test_another_section_in_the_place_of_a_secret_is_a_mistake(tmp_path: Path, value: str) -> None:
    """One word is known there."""
    (tmp_path / "gateway.yaml").write_text(f"cluster: {{key: {value}}}")
    [mistake] = examine(tmp_path / "gateway.yaml", {}).mistakes
    assert (mistake.key, "{file: /run/secrets/name}" in mistake.reason) == ("cluster.key", True)


def test_a_secret_by_variable_and_by_file_is_a_mistake(tmp_path: Path) -> None:
    """Nobody knows which of them was meant."""
    kept = tmp_path / "kept"
    kept.write_text(GOOD)
    environ = {"GATEWAY_WEBRTC__TURN_SECRET": GOOD, "GATEWAY_WEBRTC__TURN_SECRET_FILE": str(kept)}
    with pytest.raises(ConfigError, match="is set by GATEWAY_WEBRTC__TURN_SECRET and by") as caught:
        load(None, environ)
    assert caught.value.key == "webrtc.turn_secret"
