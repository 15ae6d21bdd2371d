"""Bounded parsing and writing of multipart bodies (RFC 2046 section 5.1, RFC 5621)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.sip.errors import SipBuildError, SipSyntaxError
from gateway.sip.message.fields import Headers
from gateway.sip.message.grammar import require_clean
from gateway.sip.message.message import Message
from gateway.sip.message.values import MediaType

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimits:
    """Limits of multipart parsing."""

    parts: int = 16
    """Parts of one message, nested parts included."""
    depth: int = 3
    """Levels of nested multiparts."""
    part_headers: int = 16
    header_length: int = 1024


DEFAULT_BODY_LIMITS = BodyLimits()


@dataclass(frozen=True, slots=True)
class Part:
    """Leaf of a body: type, header fields and bytes."""

    content_type: MediaType
    body: bytes
    headers: Headers = field(default_factory=Headers)


def parts_of(message: Message, limits: BodyLimits = DEFAULT_BODY_LIMITS) -> list[Part]:
    """Return the leaves of a message's body in order; a body that is no multipart is its only part.

    Raise SipSyntaxError (400) for a malformed multipart or one beyond the limits.
    """
    kind = message.content_type
    if not message.body or kind is None:
        return []
    if kind.type != "multipart":
        return [Part(kind, message.body)]
    found: list[Part] = []
    _collect(kind, message.body, 1, limits, found)
    return found


def find_part(message: Message, essence: str, limits: BodyLimits = DEFAULT_BODY_LIMITS) -> bytes | None:
    """Return the bytes of the first part of type "type/subtype", None if absent; raise SipSyntaxError."""
    for part in parts_of(message, limits):
        if part.content_type.essence == essence:
            return part.body
    return None


def write_multipart(parts: Iterable[Part], boundary: str, subtype: str = "mixed") -> tuple[str, bytes]:
    """Return Content-Type and body of a multipart; `boundary`: fresh text not contained in any part."""
    if _BOUNDARY.fullmatch(boundary) is None:
        raise SipBuildError("multipart boundary is malformed")
    mark = f"--{boundary}".encode()
    body = bytearray()
    for part in parts:
        if mark in part.body:
            raise SipBuildError("multipart boundary occurs in a part")
        head = f"Content-Type: {require_clean(str(part.content_type), 'Content-Type')}\r\n{part.headers.write()}"
        body += mark + b"\r\n" + head.encode() + b"\r\n" + part.body + b"\r\n"
    if not body:
        raise SipBuildError("a multipart needs a part")
    return f'multipart/{subtype};boundary="{boundary}"', bytes(body + mark + b"--\r\n")


def _collect(kind: MediaType, body: bytes, depth: int, limits: BodyLimits, found: list[Part]) -> None:
    boundary = kind.param("boundary") or ""
    if _BOUNDARY.fullmatch(boundary) is None:
        raise SipSyntaxError("multipart boundary is malformed", header="Content-Type")
    if depth > limits.depth:
        raise SipSyntaxError("multipart is nested too deeply", header="Content-Type")
    for piece in _pieces(body, boundary.encode(), limits.parts - len(found)):
        content_type, part = _read_part(piece, limits)
        if content_type.type == "multipart":
            _collect(content_type, part.body, depth + 1, limits, found)
        else:
            found.append(part)
        if len(found) > limits.parts:
            raise SipSyntaxError("multipart has too many parts", header="Content-Type")


def _pieces(body: bytes, boundary: bytes, room: int) -> list[bytes]:
    # A delimiter starts a line and includes its line break; preamble and epilogue are skipped.
    delimiter = re.compile(rb"(?:^|\r\n)--" + re.escape(boundary) + rb"(--)?[ \t]*+(?:\r\n|$)")
    pieces: list[bytes] = []
    start: int | None = None
    position = 0
    while (match := delimiter.search(body, position)) is not None:
        if start is not None:
            pieces.append(body[start : match.start()])
            if len(pieces) > room:
                raise SipSyntaxError("multipart has too many parts", header="Content-Type")
        if match[1]:
            return pieces
        start = match.end()
        # The line break that ends a delimiter may also start the next one.
        position = max(match.end() - 2, match.start() + 2)
    raise SipSyntaxError("multipart is not closed", header="Content-Type")


def _read_part(piece: bytes, limits: BodyLimits) -> tuple[MediaType, Part]:
    if piece.startswith(b"\r\n"):
        head, body = b"", piece[2:]
    else:
        head, separator, body = piece.partition(b"\r\n\r\n")
        if not separator:
            raise SipSyntaxError("part of a multipart has no empty line", header="Content-Type")
    fields: list[tuple[str, str]] = []
    for line in head.decode("utf-8", "replace").split("\r\n") if head else []:
        if line[:1] in (" ", "\t") and fields:
            fields[-1] = (fields[-1][0], f"{fields[-1][1]} {line.strip()}")
        else:
            name, colon, value = line.partition(":")
            if not colon:
                raise SipSyntaxError("header line of a part has no colon", header="Content-Type")
            fields.append((name.rstrip(" \t"), value.strip(" \t")))
        if len(fields) > limits.part_headers or len(fields[-1][1]) > limits.header_length:
            raise SipSyntaxError("headers of a part are too large", header="Content-Type")
    try:
        headers = Headers(fields)
    except SipBuildError as error:
        raise SipSyntaxError(f"part of a multipart: {error}", header="Content-Type") from None
    declared = headers.get("Content-Type")
    content_type = MediaType.parse(declared) if declared else MediaType("text", "plain")
    return content_type, Part(content_type, body, headers.without("Content-Type"))
