"""PINs of rooms that strangers can dial have six digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config import load
from gateway.errors import ConfigError
from tests.interop.gateway import environment_on_free_ports
from tests.rows import by_row

ROOM = '[{{"name": "team", "pin": "{pin}", "members": [{members}]}}]'
TRUNK = {"TRUNKS": '[{"name": "pbx", "uri": "sip:192.0.2.1"}]'}
GUESTS = {"WEB__GUESTS": "on", "WEB__GUESTS_MAY_CALL": '["8*"]'}
HERE = '[{"match": "801", "to": "room:team"}]'


@by_row(
    ("pin", "members", "changes", "by"),
    [
        ("4711", "", TRUNK, "callers of trunk pbx"),
        ("47114", '"alice", "trunk:pbx"', TRUNK, "callers of trunk pbx"),
        ("4711", "", GUESTS, "guests"),
        ("471147", "", TRUNK | GUESTS, ""),
        ("4711", '"alice"', TRUNK | GUESTS, ""),
        ("4711", "", TRUNK | {"ROUTES": "[]"}, ""),
        ("4711", "", GUESTS | {"WEB__GUESTS_MAY_CALL": '["600"]'}, ""),
        ("4711", "", {}, ""),
    ],
)
def test_a_short_pin_that_strangers_can_try_is_refused(
    tmp_path: Path, pin: str, members: str, changes: dict[str, str], by: str
) -> None:
    """By its key, with the strangers and the remedies; where users alone dial the room, it is taken."""
    values: dict[str, Any] = {"ROUTES": HERE, "ROOMS": ROOM.format(pin=pin, members=members), **changes}
    environ = environment_on_free_ports(tmp_path, **values)
    if not by:
        load(None, environ)
        return
    with pytest.raises(ConfigError, match=f"fewer than 6 digits, and {by} can try it") as error:
        load(None, environ)
    assert error.value.key == "rooms.0.pin"
