"""What must not be read in a log is masked: by the name of the field, and by its shape inside any text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from gateway.plain import is_hidden

MASK = "[redacted]"

_NAME = 128
"""Characters of a field's name that are shown."""
MAX_DEPTH = 4
MAX_ITEMS = 64
"""Deeper values, and further items of a list or mapping, are left out."""

_SECRET_WORDS = (
    *("password", "passwd", "passphrase", "secret", "token", "authorization", "credential", "cookie", "ha1"),
    *("icepwd", "crypto", "inline", "privatekey", "masterkey", "apikey", "digestresponse"),
)
_SECRET_NAMES = frozenset({"nonce", "cnonce", "pwd", "pin", "a1"})

# Bounded repetitions only, and no two that can match the same text: the time is linear in the text.
_NAMED = (
    r"[\w-]{0,32}?(?:password|passwd|passphrase|secret|token|credential|api[_-]?key|ice[_-]?pwd)s?"
    r"|pwd|pin|ha1(?:_md5|_sha256)?|response|c?nonce|nextnonce|rspauth"
)
_HINTS = (
    *("passw", "passphrase", "secret", "token", "credential", "api", "pwd", "ha1", "response", "nonce", "rspauth"),
    *('pin"', "pin'", "pin=", "pin:", "pin\\", "pin "),
)
"""One of them is in every text with such a name, in lower case."""
_HEADER = r"(?:proxy-)?authorization|(?:set-)?cookie"
# A quote after any number of backslashes does not end a value: text may have been escaped more than once.
_VALUE = r"\\*(?:\"(?:[^\"\\]|\\+[^\\])*\"?|'(?:[^'\\]|\\+[^\\])*'?|[^\s\"'&]+)"


def _any_of(*words: str) -> Callable[[str], object]:
    def has_any(text: str) -> bool:
        for word in words:  # noqa: SIM110  # any() takes three times as long
            if word in text:
                return True
        return False

    return has_any


_PATTERNS: tuple[tuple[Callable[[str], object], re.Pattern[str], str], ...] = (
    # Each behind what is found much sooner, in lower case, wherever the pattern matches.
    # Whole header lines with their folded continuations.
    (
        _any_of("authorization", "cookie"),
        re.compile(rf"({_HEADER})([\"']?\s*[:=]\s*)[^\r\n]+(?:\r?\n[ \t][^\r\n]*)*", re.I),
        rf"\1\2{MASK}",
    ),
    # "Digest realm=..." without its header name; "bearer" only before what is no plain word.
    (_any_of("digest"), re.compile(r"\b(digest)[ \t]+\w+=[^\r\n]*", re.I), rf"\1 {MASK}"),
    (_any_of("bearer", "basic"), re.compile(r"\b(bearer|basic)[ \t]+(?=\S{0,256}[\d=+/._-])\S+", re.I), rf"\1 {MASK}"),
    # SDES keys (RFC 4568): the parameters after the suite, wherever they stand.
    (_any_of("inline:"), re.compile(r"(inline:)[^\s\"']+", re.I), rf"\1{MASK}"),
    (
        _any_of("a=crypto", "a=3ge2ae", "a=k"),
        re.compile(r"(a=(?:crypto|3ge2ae|key-mgmt|k)[:=])[^\r\n]*", re.I),
        rf"\1{MASK}",
    ),
    (
        _any_of(*_HINTS),
        re.compile(rf"(?<![\w-])((?:{_NAMED})\\*[\"']?\s{{0,8}}[:=]\s{{0,8}}){_VALUE}", re.I),
        rf"\1{MASK}",
    ),
    # user:password@ in URLs and SIP URIs.
    (
        re.compile(r":(?://)?[^\s:@/\"'<>]{0,128}:[^\s@/\"'<>]{1,256}@").search,
        re.compile(r"(\b[a-z][a-z0-9+.-]{1,15}:(?://)?[^\s:@/\"'<>]{0,128}):[^\s@/\"'<>]{1,256}@", re.I),
        rf"\1:{MASK}@",
    ),
    (
        _any_of("-----begin "),
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"),
        MASK,
    ),
)

# Every pattern above needs a colon, an equals sign or a blank: one word without them is most of what is logged.
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_.+@/-]*")


def redact_text(text: str) -> str:
    """The text with everything masked that looks like a secret of SIP, SDP, HTTP or JSON."""
    # Three letters beyond ASCII are an s or an i where case counts for nothing, and lower() leaves them.
    lowered = text.lower().replace("\u017f", "s").replace("\u0131", "i").replace("i\u0307", "i")
    for may_match, pattern, replacement in _PATTERNS:
        # Looking first is cheaper: most messages have nothing to hide, and sub reads its template at every call.
        if may_match(lowered) and pattern.search(text) is not None:
            text = pattern.sub(replacement, text)
    return text


def escape(text: str) -> str:
    """Hidden characters as \\xNN or \\uNNNN, so that one value stays on one line and paints nothing."""
    if text.isprintable():
        return text
    return "".join(_escaped(char) if is_hidden(char) else char for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    named = {9: r"\t", 10: r"\n", 13: r"\r"}.get(code)
    if named is not None:
        return named
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, cut between words so that no half of a secret escapes its pattern."""
    if len(text) <= limit:
        return text
    head = text[:limit].rsplit(None, 1)
    return f"{head[0] if len(head) > 1 else ''} [{len(text)} characters]"


def is_secret_name(name: str) -> bool:
    """Whether a field of this name is masked whatever it holds."""
    plain = name.lower().replace("_", "").replace("-", "")
    return plain in _SECRET_NAMES or any(word in plain for word in _SECRET_WORDS)


def clean(value: Any, limit: int, depth: int = 0) -> Any:
    """A value fit for the log: texts redacted, escaped and bounded, containers bounded, the rest as its repr."""
    if value.__class__ is str:  # as most are
        return clean_text(value, limit)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        if depth >= MAX_DEPTH:
            return "{...}"
        return _clean_mapping(value, limit, depth)
    if isinstance(value, list | tuple | set | frozenset):
        if depth >= MAX_DEPTH:
            return "[...]"
        items = [clean(item, limit, depth + 1) for item, _ in zip(value, range(MAX_ITEMS), strict=False)]
        return items if len(value) <= MAX_ITEMS else [*items, f"... {len(value) - MAX_ITEMS} more"]
    return clean_text(_text(value), limit)


def _clean_mapping(value: Mapping[Any, Any], limit: int, depth: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, item in value.items():
        if len(result) >= MAX_ITEMS:
            result["..."] = f"{len(value) - MAX_ITEMS} more"
            break
        text = str(key)
        name, is_secret = _field(text) if len(text) <= _NAME else _field.__wrapped__(text)
        result[name] = MASK if is_secret and item is not None else clean(item, limit, depth + 1)
    return result


@lru_cache(1_024)
def _field(key: str) -> tuple[str, bool]:
    """A name fit for the log, and whether it is masked whatever it holds."""
    name = clean_text(key, _NAME)
    return name, is_secret_name(name)


def clean_text(text: str, limit: int) -> str:
    """A text redacted, then escaped; bounded before, so that a huge one costs no more than a long one."""
    if len(text) <= 64 and _PLAIN_WORD.fullmatch(text):
        return text
    return escape(redact_text(shorten(text, limit)))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    try:
        return str(value)
    except Exception:
        # What cannot be shown must not end the call that wanted it logged.
        return f"<{type(value).__name__}>"
