"""Strict, linear-time parser of one message's bytes into a Request or Response (RFC 3261 sections 7 and 25).

Strict where leniency is exploitable: only SP and HTAB before a header's colon, no bare CR or LF; headers that identify
the transaction are readable, unique and without control bytes. In other headers a control byte becomes U+FFFD, rejected
by every typed reader. A line that is no header is ignored, unless another parser could read a decisive header there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn

from gateway.sip.errors import SipSyntaxError
from gateway.sip.message.addresses import MAX_BRANCH, MAX_TAG
from gateway.sip.message.fields import Headers, Item, known_spelling, resolve_name
from gateway.sip.message.grammar import has_control, is_token, number
from gateway.sip.message.message import ANSWER_HEADERS, BrokenMessageError, Fragment, Message, Request, Response
from gateway.sip.message.uri import Uri


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a received message; sizes in bytes, or in characters once decoded."""

    message: int = 65_536
    """Size of the whole message; larger messages are answered 513."""
    head: int = 32_768
    """Size of start line and headers together."""
    start_line: int = 8_192
    headers: int = 200
    """Header fields, folded lines counted once."""
    header_name: int = 128
    header_value: int = 8_192
    """Size of one field, unfolded."""
    fold_lines: int = 64
    """Continuation lines of one field."""
    call_id: int = 512
    tag: int = MAX_TAG
    branch: int = MAX_BRANCH


DEFAULT_LIMITS = Limits()

# The grammar requires the space after the code even before an empty phrase; peers may omit both.
_STATUS_LINE = re.compile(r"SIP/2\.0 ([1-6][0-9][0-9])(?: (.*))?", re.DOTALL)
_VERSION = re.compile(r"SIP/[0-9]+\.[0-9]+", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ESCAPED_CONTROL = re.compile(r"\\(?:([\x00-\x08\x0b\x0c\x0e-\x1f\x7f])|(.))", re.DOTALL)
_NAMING = frozenset((*(name.lower() for name in ANSWER_HEADERS), "content-length"))
_SINGLE = frozenset(("from", "to", "call-id", "cseq", "max-forwards", "content-length", "content-type", "replaces"))
_REPEATABLE = frozenset(("content-length", "max-forwards"))
"""Headers allowed twice with equal values, which leaves no ambiguity."""
_DECIDING = frozenset(
    (
        *(*_NAMING, *_SINGLE, "authorization", "contact", "content-encoding", "event", "identity", "privacy"),
        *("p-asserted-identity", "proxy-authorization", "proxy-require", "rack", "record-route", "refer-to"),
        *("require", "route"),
    )
)
_NOT_OF_TOKENS = re.compile(r"[^-.!%*_+`'~0-9A-Za-z]+")
_ABSENT = (0, "")
"""Outcome for a line that is no header and that no other parser takes for a decisive header."""


class KeepAlive(Enum):
    """Datagrams or stream bytes that only keep a path open (RFC 5626 4.4.1, RFC 3261 7.5)."""

    PING = b"\r\n\r\n"
    """Two CRLFs; on a stream answered with PONG."""
    PONG = b"\r\n"
    """Single CRLF, the answer to a PING."""
    NOISE = b"\x00"
    """NUL bytes or any other run of CRLFs; never answered."""


def keepalive(data: bytes) -> KeepAlive | None:
    """Return the kind of keep-alive in a datagram, None for other content."""
    if data == b"\r\n\r\n":
        return KeepAlive.PING
    if data == b"\r\n":
        return KeepAlive.PONG
    return KeepAlive.NOISE if not data.strip(b"\r\n\x00") else None


def parse_message(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Request | Response:
    """Parse one datagram; raise only SipSyntaxError.

    A Content-Length below the received length cuts the body; one above is a 400 (RFC 3261 18.3).
    """
    if len(data) > limits.message:
        raise SipSyntaxError("message is too large", status=513)
    if data[:1] in (b"", b"\r", b"\x00"):
        if keepalive(data) is not None:
            raise SipSyntaxError("a keep-alive is no message", status=None)
        data = data.lstrip(b"\r\n")
    head, separator, body = data.partition(b"\r\n\r\n")
    message = parse_head(head, limits, complete=bool(separator))
    length = content_length(message)
    if length is None or length == len(body):
        message.body = body
    elif length < len(body):
        message.body = body[:length]
    else:
        _refuse(message, "Content-Length is larger than the body", "Content-Length")
    return message


def parse_head(head: bytes, limits: Limits = DEFAULT_LIMITS, *, complete: bool = True) -> Request | Response:
    """Parse start line and headers (without the empty line); the body stays empty. Raise SipSyntaxError."""
    if not head:
        raise SipSyntaxError("message is empty", status=None)
    if len(head) > limits.head:
        raise SipSyntaxError("headers are too large", status=513)
    text = _decode(head.removesuffix(b"\r\n"))
    lines = text.split("\r\n")
    is_response = lines[0].startswith("SIP/")
    items, failure = _read_usual(text, lines, limits), None
    if items is None:
        items, failure = _read_headers(lines, limits)
    try:
        if failure is not None:
            raise failure
        if is_response:
            message: Request | Response = _response(lines[0], items)
        else:
            message = _request(lines[0], items, limits)
        _check_identity(message, items, limits)
        if not complete:
            raise SipSyntaxError("headers are not ended by an empty line")
    except SipSyntaxError as error:
        raise BrokenMessageError(
            error.reason,
            status=None if is_response or lines[0].startswith("ACK ") else error.status,
            line=error.line,
            header=error.header,
            partial=_fragment(lines[0], items),
        ) from None
    return message


def content_length(message: Message) -> int | None:
    """Return the Content-Length of a parsed head, None if absent; raise SipSyntaxError."""
    value = message.headers.get("Content-Length")
    if value is None:
        return None
    try:
        return number(value, "Content-Length", 0xFFFFFFFF)
    except SipSyntaxError as error:
        _refuse(message, error.reason, "Content-Length")


def skim_content_length(head: bytes, limits: Limits = DEFAULT_LIMITS) -> int | None:
    """Return the Content-Length of a broken head, None unless unique and numeric."""
    items, failure = _read_headers(_decode(head).split("\r\n"), limits)
    values = list({value for key, _, value in items if key == "content-length"})
    if len(values) != 1 or (failure is not None and failure.status == 513):
        return None
    try:
        return number(values[0], "Content-Length", 0xFFFFFFFF)
    except SipSyntaxError:
        return None


def _refuse(message: Message, reason: str, header: str) -> NoReturn:
    answerable = isinstance(message, Request) and message.method != "ACK"
    raise BrokenMessageError(reason, status=400 if answerable else None, header=header, partial=Fragment.of(message))


def _decode(head: bytes) -> str:
    """Decode the head as UTF-8; other lines are read as Latin-1, as old phones write names."""
    try:
        text = head.decode()
    except UnicodeDecodeError:
        text = "\r\n".join([_decode_line(line) for line in head.split(b"\r\n")])
    if _CONTROL.search(text) is not None:
        text = _ESCAPED_CONTROL.sub(_soften, text)
    return text


def _decode_line(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return "".join([c if not "\x80" <= c <= "\x9f" else "\ufffd" for c in line.decode("latin-1")])


def _soften(match: re.Match[str]) -> str:
    # A quoted-pair may hold any control byte (RFC 3261 25.1). Control bytes become U+FFFD here, so that no display name
    # carries one into a log, a terminal or an outgoing message.
    return "\ufffd" if match[1] else match[0]


def _read_headers(lines: list[str], limits: Limits) -> tuple[list[Item], SipSyntaxError | None]:
    """Return the header fields and the first error; parsing continues after a bad line."""
    items: list[Item] = []
    failure: SipSyntaxError | None = None
    folds = 0
    problem: tuple[int, str] | None = None
    for index in range(1, len(lines)):
        line = lines[index]
        if line[:1] in (" ", "\t"):
            folds += 1
            # A continuation of an ignored line is ignored too, and never joined to the header before.
            problem = _no_header(line) if problem is _ABSENT else _fold(items, line, folds, limits)
        else:
            folds = 0
            problem = _read_line(items, line, limits)
        if problem is not None and problem is not _ABSENT and failure is None:
            failure = SipSyntaxError(problem[1], status=problem[0], line=index + 1)
        if len(items) > limits.headers:
            return items[: limits.headers], SipSyntaxError("too many headers", status=513, line=index + 1)
    return items, failure


def _read_usual(text: str, lines: list[str], limits: Limits) -> list[Item] | None:
    """Return the header fields of a usual head: printable, short, unfolded; None for others."""
    if len(text) > limits.header_value or len(lines) > limits.headers or not text.replace("\r\n", "").isprintable():
        return None
    items: list[Item] = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        known = known_spelling(name)
        if known is None and len(name) <= limits.header_name and is_token(name):
            known = resolve_name(name)
        if known is None or not colon:
            return None
        items.append((known[0], known[1], value.strip(" ")))
    return items


def _read_line(items: list[Item], line: str, limits: Limits) -> tuple[int, str] | None:
    name, colon, value = line.partition(":")
    known = known_spelling(name)
    if known is None:
        name = name.rstrip(" \t")
        if not colon or len(name) > limits.header_name or not is_token(name):
            return _no_header(line)
        known = resolve_name(name)
    if len(value) > limits.header_value:
        return 513, "header is too long"
    if not colon:
        return _no_header(line)
    if not line.isprintable() and has_control(line):
        if not _may_be_softened(known[0], line):
            return 400, "header holds a control byte"
        value = _CONTROL.sub("\ufffd", value)
    items.append((known[0], known[1], value.strip(" \t")))
    return None


def _no_header(line: str) -> tuple[int, str]:
    """Reject a line without header if another parser may read a decisive header there; otherwise ignore the line."""
    if "\r" in line or "\n" in line:
        return 400, "header holds a control byte"
    name, colon, _ = line.partition(":")
    parts = [part for part in _NOT_OF_TOKENS.split(name) if part]
    near = (*parts[:1], *(parts[-1:] if colon else ()), "".join(parts))
    if any(resolve_name(part)[0] in _DECIDING for part in near):
        return 400, "header name is malformed" if colon else "header line has no colon"
    return _ABSENT


def _may_be_softened(key: str, line: str) -> bool:
    """Return True if a control byte in a header does not reject the message.

    Headers that identify the transaction or delimit the body stay strict, and so do line ends, where another parser
    would split.
    """
    return key not in _NAMING and "\r" not in line and "\n" not in line


def _fold(items: list[Item], line: str, folds: int, limits: Limits) -> tuple[int, str] | None:
    if not items:
        return 400, "message starts with a folded line"
    if folds > limits.fold_lines:
        return 513, "header is folded too often"
    key, name, value = items[-1]
    if has_control(line):
        if not _may_be_softened(key, line):
            return 400, "header holds a control byte"
        line = _CONTROL.sub("\ufffd", line)
    text = line.strip(" \t")
    if len(value) + len(text) > limits.header_value:
        return 513, "header is too long"
    items[-1] = (key, name, f"{value} {text}" if value and text else value or text)
    return None


def _response(line: str, items: list[Item]) -> Response:
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise SipSyntaxError("status line is malformed", line=1)
    phrase = match[2] or ""
    if has_control(phrase):
        raise SipSyntaxError("reason phrase holds a control byte", line=1)
    return Response.from_wire(int(match[1]), phrase, items, b"")


def _request(line: str, items: list[Item], limits: Limits) -> Request:
    if len(line) > limits.start_line:
        raise SipSyntaxError("Request-URI is too long", status=414, line=1)
    parts = line.split(" ")
    if len(parts) != 3:
        raise SipSyntaxError("request line is not method, URI and version", line=1)
    method, uri_text, version = parts
    if not is_token(method):
        raise SipSyntaxError("method is not a token", line=1)
    if version != "SIP/2.0" and version.upper() != "SIP/2.0":
        known = _VERSION.fullmatch(version) is not None
        raise SipSyntaxError("version is not SIP/2.0", status=505 if known else 400, line=1)
    try:
        uri = Uri.parse(uri_text)
    except SipSyntaxError as error:
        raise SipSyntaxError(f"Request-URI: {error.reason}", status=error.status, line=1) from None
    if uri.headers:
        raise SipSyntaxError("Request-URI may not hold headers", line=1)
    return Request.from_wire(method, uri, items, b"")


def _check_identity(message: Request | Response, items: list[Item], limits: Limits) -> None:
    """Read the headers that identify the transaction; without these no answer would reach its destination."""
    there = message.headers.index
    if len(there) != len(items):
        for key, name, _ in items:
            if key in _SINGLE and isinstance(there[key], list) and not _is_repeated(message, key, name):
                raise SipSyntaxError("header may be there only once", header=name)
    if len(message.call_id) > limits.call_id:
        raise SipSyntaxError("Call-ID is too long", header="Call-ID")
    cseq = message.cseq
    if isinstance(message, Request) and cseq.method != message.method:
        raise SipSyntaxError("CSeq names another method", header="CSeq")
    if len(message.from_tag or "") > limits.tag:
        raise SipSyntaxError("tag is too long", header="From")
    if len(message.to_tag or "") > limits.tag:
        raise SipSyntaxError("tag is too long", header="To")
    if len(message.branch or "") > limits.branch:
        raise SipSyntaxError("branch is too long", header="Via")


def _is_repeated(message: Request | Response, key: str, name: str) -> bool:
    return key in _REPEATABLE and len(set(message.headers.all(name))) == 1


def _fragment(start_line: str, items: list[Item]) -> Fragment:
    method = start_line.partition(" ")[0]
    is_request = not start_line.startswith("SIP/")
    headers = Headers.from_items(items).only(*ANSWER_HEADERS)
    for name in ("From", "To", "Call-ID", "CSeq"):
        values = headers.all(name)
        if len(values) > 1:
            headers = headers.with_(name, values[0])
    return Fragment(is_request, method if is_request and is_token(method) else None, headers)
