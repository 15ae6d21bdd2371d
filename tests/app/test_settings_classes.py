"""Settings are named where they are given: a field put between two others must never move a value."""

from __future__ import annotations

import ast
import importlib
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import gateway
from tests.rows import by_row

ROOT = Path(gateway.__file__).parents[1]
NAMED = re.compile(r"\w*(Settings|Config|Limits|Policy|Timers|Rules|Options|Patience|Retries|Rhythm|LockOut|Choice)")
SDP_ATTRIBUTES = ("IceOptions",)
"""Lines of a session description that happen to be called so (RFC 8839)."""


def settings_classes() -> list[Any]:
    """Every dataclass of the product whose name says that it holds settings."""
    found = []
    for path in [file for room in ("gateway", "sdp") for file in sorted((ROOT / room).rglob("*.py"))]:
        tree = ast.parse(path.read_text())
        names = [node.name for node in tree.body if isinstance(node, ast.ClassDef) and NAMED.fullmatch(node.name)]
        if names:
            module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
            made = [getattr(module, name) for name in names if name not in SDP_ATTRIBUTES]
            found += [each for each in made if is_dataclass(each)]
    return found


CLASSES = settings_classes()


def test_the_settings_are_found() -> None:
    """Of every room, as far as they have any."""
    rooms = {each.__module__.split(".")[1] for each in CLASSES}
    assert {"access", "call", "legs", "media", "net", "sip", "web"} <= rooms
    assert len(CLASSES) > 25


@by_row("settings", CLASSES, ids=lambda each: f"{each.__module__}.{each.__name__}")
def test_settings_are_given_by_name_alone(settings: Any) -> None:
    """Keyword-only, frozen, slotted."""
    assert all(field.kw_only for field in fields(settings))
    assert settings.__dataclass_params__.frozen
    assert "__slots__" in vars(settings)


def read_names() -> set[str]:
    """Every attribute that any file of the product reads."""
    return {
        node.attr
        for room in ("gateway", "sdp")
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


def test_no_setting_is_there_that_nobody_reads() -> None:
    """A field that is filled and never asked has no effect, whatever the documentation says."""
    read = read_names()
    unread = [
        f"{each.__qualname__}.{field.name}" for each in CLASSES for field in fields(each) if field.name not in read
    ]
    assert unread == []
