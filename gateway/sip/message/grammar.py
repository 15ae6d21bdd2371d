"""The small words of the SIP grammar (RFC 3261 section 25.1): tokens, quoted strings, parameters, comma lists.

Every pattern is possessive or anchored, so that matching takes time linear in the input.
"""

from __future__ import annotations

import re

from gateway.sip.errors import SipBuildError, SipSyntaxError

Params = tuple[tuple[str, str | None], ...]
"""Parameters in order: (name as written, raw value with its quotes, or None for a flag)."""

MAX_PARAMS = 128
"""How many parameters one value may have."""

TOKEN_CHARS = r"A-Za-z0-9\-.!%*_+`'~"
QUOTED = r'"(?:[^"\\]++|\\.)*+"'
_TOKEN = re.compile(f"[{TOKEN_CHARS}]+")
_TOKEN_LIST = re.compile(f"[{TOKEN_CHARS}]++(?:, ?+[{TOKEN_CHARS}]++)*+")
"""A list as everybody writes it; any other is read item by item."""
_TOKEN_LIST_ITEM = re.compile(f"[ \t]*+([{TOKEN_CHARS}]*+)[ \t]*+(?:,|$)")
_PARAM = re.compile(
    rf'[ \t]*+;[ \t]*+(?:([{TOKEN_CHARS}]++)(?:[ \t]*+=[ \t]*+({QUOTED}|[^\s;,"<>]++|<[^\s;,"<>]*+>)?+)?+[ \t]*+)?+'
)
"""Wider than RFC 3261 25.1: phones write nothing after "=" or ";", and `+sip.instance=<urn:...>` without quotes."""
_BARE_VALUE = re.compile(r"[A-Za-z0-9\-.!%*_+`'~:\[\]/=@]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_DIGITS = re.compile(r"[0-9]{1,20}")


def is_token(text: str) -> bool:
    """Whether `text` is a token (method, header name, parameter name)."""
    return _TOKEN.fullmatch(text) is not None


def require_token(text: str, what: str) -> str:
    """`text` if it is a token; raises SipBuildError naming `what` otherwise."""
    if _TOKEN.fullmatch(text) is None:
        raise SipBuildError(f"{what} is not a token")
    return text


def require_clean(text: str, what: str) -> str:
    """`text` if it may be written into a message: no CR, LF, NUL, other control byte or lone surrogate.

    HTAB is the only control byte that a header value may hold. Raises SipBuildError.
    """
    if _CONTROL.search(text) is not None:
        raise SipBuildError(f"{what} holds a control byte")
    return text


def has_control(text: str) -> bool:
    """Whether a control byte other than HTAB is in `text`."""
    return _CONTROL.search(text) is not None


def quote(text: str) -> str:
    """`text` as a quoted-string; raises SipBuildError on control bytes."""
    require_clean(text, "quoted string")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquote(text: str) -> str:
    """The text of a quoted-string; anything else comes back as it is."""
    if len(text) >= 2 and text[0] == '"' and text[-1] == '"':
        inner = text[1:-1]
        return _QUOTED_PAIR.sub(r"\1", inner) if "\\" in inner else inner
    return text


def param_value(text: str) -> str:
    """`text` ready to stand after "name=": as it is when it may, quoted otherwise."""
    return text if _BARE_VALUE.fullmatch(text) else quote(text)


def find_param(params: Params, name: str) -> str | None:
    """The unquoted value of the first parameter `name`; "" for a flag, None when it is absent."""
    name = name.lower()
    for key, value in params:
        if key == name or key.lower() == name:
            return unquote(value) if value else ""
    return None


def set_param(params: Params, name: str, value: str | None) -> Params:
    """`params` with `name` set once, in its old place if it had one; None makes a flag."""
    require_token(name, "parameter name")
    entry = (name, None if value is None else param_value(value))
    lowered = name.lower()
    done = False
    result: list[tuple[str, str | None]] = []
    for item in params:
        if item[0].lower() != lowered:
            result.append(item)
        elif not done:
            result.append(entry)
            done = True
    if not done:
        result.append(entry)
    return tuple(result)


def drop_param(params: Params, name: str) -> Params:
    """`params` without `name`."""
    lowered = name.lower()
    return tuple(item for item in params if item[0].lower() != lowered)


def read_params(text: str, position: int) -> tuple[Params, int]:
    """Read `*(;name[=value])` from `position`; returns the parameters and where they end.

    Empty ones are left out, one without a value behind "=" is a flag, and a value in "<>" gets the quotes it lacks.
    """
    if position >= len(text):
        return (), position
    found: list[tuple[str, str | None]] = []
    for _ in range(MAX_PARAMS):
        match = _PARAM.match(text, position)
        if match is None:
            return tuple(found), position
        position = match.end()
        name, value = match.groups()
        if name:
            found.append((name, quote(value) if value and value[0] == "<" else value))
    if _PARAM.match(text, position) is not None:
        raise SipSyntaxError("too many parameters")
    return tuple(found), position


def write_params(params: Params) -> str:
    """`;name=value;flag` as it goes on the wire."""
    return "".join([f";{name}" if value is None else f";{name}={value}" for name, value in params])


def expect_end(text: str, position: int, what: str) -> None:
    """Raise SipSyntaxError unless nothing but white space follows `position`."""
    if position < len(text) and text[position:].strip(" \t"):
        raise SipSyntaxError(f"unexpected characters after {what}")


def number(text: str, what: str, maximum: int) -> int:
    """A decimal number of ASCII digits not above `maximum`; raises SipSyntaxError."""
    text = text.strip(" \t")
    if _DIGITS.fullmatch(text) is None:
        raise SipSyntaxError(f"{what} is not a number")
    value = int(text)
    if value > maximum:
        raise SipSyntaxError(f"{what} is out of range")
    return value


def delta_seconds(text: str, what: str) -> int:
    """A number of seconds; values of 2**32 and above count as 2**32 - 1 (RFC 3261 20.19)."""
    text = text.strip(" \t")
    if not (text.isascii() and text.isdigit()):
        raise SipSyntaxError(f"{what} is not a number of seconds")
    return min(int(text), 0xFFFFFFFF) if len(text) < 20 else 0xFFFFFFFF


def read_tokens(text: str, what: str) -> list[str]:
    """The tokens of a comma list; empty elements are passed over (an empty Supported is lawful)."""
    if _TOKEN_LIST.fullmatch(text) is not None:
        return text.replace(" ", "").split(",")
    found: list[str] = []
    position = 0
    length = len(text)
    while position < length:
        match = _TOKEN_LIST_ITEM.match(text, position)
        if match is None:
            raise SipSyntaxError(f"{what} is not a list of tokens")
        if match[1]:
            found.append(match[1])
        position = match.end()
    return found
