"""Basic elements of the SIP grammar (RFC 3261 section 25.1): tokens, quoted strings, parameters, comma lists.

Every pattern is possessive or anchored, so matching takes time linear in the input.
"""

from __future__ import annotations

import re

from gateway.sip.errors import SipBuildError, SipSyntaxError

Params = tuple[tuple[str, str | None], ...]
"""Parameters in order: (name as written, raw value with quotes, or None for a flag)."""

MAX_PARAMS = 128
"""Parameters allowed in one value."""

TOKEN_CHARS = r"A-Za-z0-9\-.!%*_+`'~"
QUOTED = r'"(?:[^"\\]++|\\.)*+"'
_TOKEN = re.compile(f"[{TOKEN_CHARS}]+")
_TOKEN_LIST = re.compile(f"[{TOKEN_CHARS}]++(?:, ?+[{TOKEN_CHARS}]++)*+")
"""List in the usual spelling; other lists are parsed item by item."""
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
    """Return True if `text` is a token (method, header name, parameter name)."""
    return _TOKEN.fullmatch(text) is not None


def require_token(text: str, what: str) -> str:
    """Return `text` if a token; otherwise raise SipBuildError naming `what`."""
    if _TOKEN.fullmatch(text) is None:
        raise SipBuildError(f"{what} is not a token")
    return text


def require_clean(text: str, what: str) -> str:
    """Return `text` if allowed in a message: no CR, LF, NUL, other control byte or lone surrogate.

    HTAB is the only control byte allowed in a header value. Raise SipBuildError.
    """
    if _CONTROL.search(text) is not None:
        raise SipBuildError(f"{what} holds a control byte")
    return text


def has_control(text: str) -> bool:
    """Return True if `text` holds a control byte other than HTAB."""
    return _CONTROL.search(text) is not None


def quote(text: str) -> str:
    """Return `text` as a quoted-string; raise SipBuildError on control bytes."""
    require_clean(text, "quoted string")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquote(text: str) -> str:
    """Return the content of a quoted-string; other text unchanged."""
    if len(text) >= 2 and text[0] == '"' and text[-1] == '"':
        inner = text[1:-1]
        return _QUOTED_PAIR.sub(r"\1", inner) if "\\" in inner else inner
    return text


def param_value(text: str) -> str:
    """Return `text` as a parameter value, quoted if needed."""
    return text if _BARE_VALUE.fullmatch(text) else quote(text)


def find_param(params: Params, name: str) -> str | None:
    """Return the unquoted value of the first parameter `name`; "" for a flag, None if absent."""
    name = name.lower()
    for key, value in params:
        if key == name or key.lower() == name:
            return unquote(value) if value else ""
    return None


def set_param(params: Params, name: str, value: str | None) -> Params:
    """Return `params` with `name` set once, in its previous position if present; None makes a flag."""
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
    """Return `params` without `name`."""
    lowered = name.lower()
    return tuple(item for item in params if item[0].lower() != lowered)


def read_params(text: str, position: int) -> tuple[Params, int]:
    """Parse `*(;name[=value])` from `position`; return the parameters and their end position.

    Empty parameters are dropped, "=" without value makes a flag, and a value in "<>" gets its missing quotes.
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
    """Return `;name=value;flag` in wire form."""
    return "".join([f";{name}" if value is None else f";{name}={value}" for name, value in params])


def expect_end(text: str, position: int, what: str) -> None:
    """Raise SipSyntaxError unless only white space follows `position`."""
    if position < len(text) and text[position:].strip(" \t"):
        raise SipSyntaxError(f"unexpected characters after {what}")


def number(text: str, what: str, maximum: int) -> int:
    """Parse a decimal number of ASCII digits up to `maximum`; raise SipSyntaxError."""
    text = text.strip(" \t")
    if _DIGITS.fullmatch(text) is None:
        raise SipSyntaxError(f"{what} is not a number")
    value = int(text)
    if value > maximum:
        raise SipSyntaxError(f"{what} is out of range")
    return value


def delta_seconds(text: str, what: str) -> int:
    """Parse a number of seconds; values of 2**32 and above count as 2**32 - 1 (RFC 3261 20.19)."""
    text = text.strip(" \t")
    if not (text.isascii() and text.isdigit()):
        raise SipSyntaxError(f"{what} is not a number of seconds")
    return min(int(text), 0xFFFFFFFF) if len(text) < 20 else 0xFFFFFFFF


def read_tokens(text: str, what: str) -> list[str]:
    """Parse the tokens of a comma list; empty elements are skipped (an empty Supported is legal)."""
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
