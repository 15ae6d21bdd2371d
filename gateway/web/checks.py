"""What strings and JSON from strangers may look like before anything is done with them."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_IDENTIFIER = 128
MAX_TARGET = 256
MAX_CANDIDATE = 1_024
MAX_LABEL = 64
_SURROGATE = re.compile(r"[\ud800-\udfff]")
"""Half of a character: JSON can hold one, UTF-8 cannot."""


class BadJson(ValueError):
    """Not JSON, or deeper than allowed; `str()` is one sentence."""


def is_identifier(value: object, limit: int = MAX_IDENTIFIER) -> bool:
    """Whether `value` can name a peer, a user, a session or a room: printable, without blanks at the ends."""
    return isinstance(value, str) and 0 < len(value) <= limit and value.isprintable() and value == value.strip()


def is_target(value: object) -> bool:
    """Whether `value` can be dialled: as an identifier, without blanks, quotes and angle brackets."""
    return is_identifier(value, MAX_TARGET) and not any(char in ' "<>\\' for char in str(value))


def is_description(value: object) -> bool:
    """Whether `value` is Unicode text: its lines and characters are for the reader of descriptions to judge."""
    return isinstance(value, str) and bool(value.strip()) and _SURROGATE.search(value) is None


def is_candidate(value: object) -> bool:
    """Whether `value` is one candidate line; "" is the end of the candidates (RFC 8840 section 4.1)."""
    return isinstance(value, str) and len(value) <= MAX_CANDIDATE and value.isprintable()


_ICE_CANDIDATE = re.compile(
    r"(?:a=)?candidate:[A-Za-z0-9+/]{1,32} (?P<component>\d{1,3}) \S{1,16} (?P<priority>\d{1,10})"
    r" (?P<address>[\w.:%-]{1,255}) (?P<port>\d{1,5}) typ [a-z]{1,16}(?: .*)?"
)


def is_ice_candidate(value: object) -> bool:
    """Whether `value` is a candidate line by its grammar (RFC 8839 section 5.1), or "" for the end of the list."""
    if not is_candidate(value):
        return False
    text = str(value)
    if not text:
        return True
    found = _ICE_CANDIDATE.fullmatch(text)
    if found is None:
        return False
    component, priority, port = (int(found[name]) for name in ("component", "priority", "port"))
    return 1 <= component <= 256 and 1 <= priority < 1 << 32 and port <= 65_535


def is_label(value: object) -> bool:
    """Whether `value` can be a media identification tag (RFC 5888), or is absent."""
    return value is None or (isinstance(value, str) and len(value) <= MAX_LABEL and value.isprintable())


def is_line_index(value: object) -> bool:
    """Whether `value` is an unsigned 16-bit m-line index, or is absent."""
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFF)


def is_small(value: Any, limit: int) -> bool:
    """Whether `value` stays below `limit` characters as JSON."""
    return len(json.dumps(value)) <= limit


def load_json(text: str | bytes, max_depth: int) -> Any:
    """Parse strict JSON (RFC 8259) no deeper than `max_depth`. Raises BadJson only."""
    try:
        value = _STRICT.decode(text if isinstance(text, str) else text.decode(json.detect_encoding(text)))
    except RecursionError:
        raise BadJson("The JSON is nested too deeply.") from None
    except (ValueError, UnicodeError):
        raise BadJson("The text is not JSON.") from None
    if not _within_depth(value, max_depth):
        raise BadJson("The JSON is nested too deeply.")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return value


_STRICT = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
"""One for all: making one takes as long as reading a message."""


def _within_depth(value: Any, max_depth: int) -> bool:
    level = [value]
    for _ in range(max_depth):
        level = [child for item in level for child in _children(item)]
        if not level:
            return True
    return False


def _children(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return [child for child in item.values() if isinstance(child, dict | list)]
    if isinstance(item, list):
        return [child for child in item if isinstance(child, dict | list)]
    return []
