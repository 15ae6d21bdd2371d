"""Who writes to whom, and how a message with a body is made and read again."""

from __future__ import annotations

from gateway.lesson import table

from gateway.sip import (
    BodyLimits,
    Headers,
    MediaType,
    NameAddr,
    Part,
    Request,
    SipSyntaxError,
    Uri,
    build,
    parse_message,
    parts_of,
    write_multipart,
)

ALICE = NameAddr(Uri.of("alice", "atlanta.example.com"))
BOB = NameAddr(Uri.of("bob", "biloxi.example.com"))
CAROL = NameAddr(Uri.of("carol", "chicago.example.com"))
OFFER = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
DEFAULTS = BodyLimits()


def part(content_type: str, body: bytes, *fields: tuple[str, object]) -> Part:
    """One part with its own header fields."""
    return Part(MediaType.parse(content_type), body, Headers(fields))


def invite(content_type: str, body: bytes) -> Request:
    """Alice's INVITE to Bob with that body, as Bob reads it from the wire."""
    made = build.request(
        "INVITE", BOB.uri, from_=ALICE.with_tag("a"), to=BOB, call_id="multi", cseq=1, contact=ALICE,
        headers=[("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1")], body=body, content_type=content_type,
    )  # fmt: skip
    read = parse_message(made.write())
    assert isinstance(read, Request)
    return read


def tree(request: Request, limits: BodyLimits = DEFAULTS) -> None:
    """Print the parts as they lie within each other: type, disposition, octets, and how each begins."""
    leaves = iter(parts_of(request, limits))
    rows = [("part", "disposition", "octets", "begins with")]
    rows.append((str(request.content_type), "", str(len(request.body)), ""))
    ends = [f"--{request.content_type.param('boundary')}--" if request.content_type else ""]
    for line in request.body.decode().split("\r\n"):
        if line in ends:
            ends.remove(line)
        elif line.startswith("Content-Type: "):
            kind = MediaType.parse(line.partition(": ")[2])
            branch = f"{'   ' * (len(ends) - 1)}+- {kind.essence}"
            if kind.type == "multipart":
                ends.append(f"--{kind.param('boundary')}--")
                rows.append((branch, "", "", ""))
            else:
                leaf = next(leaves)
                begins, how = leaf.body.decode().partition("\r\n")[0], leaf.headers.get("Content-Disposition")
                rows.append((branch, how or "", str(len(leaf.body)), begins))
    table(*rows)


def refusal(request: Request) -> tuple[int, str]:
    """Status and reason that a body is refused with; (200, "OK") for one that can be read."""
    try:
        parts_of(request)
    except SipSyntaxError as error:
        return error.status or 400, str(error)
    return 200, "OK"


def too_much() -> dict[str, tuple[str, bytes]]:
    """Content-Type and body of what goes beyond the bounds, by its name."""
    kind, body = write_multipart([part("text/plain", b"deep")], "b0")
    for level in range(1, 4):
        kind, body = write_multipart([part(kind, body)], f"b{level}")
    return {
        "four multiparts within each other": (kind, body),
        "seventeen parts": write_multipart([part("text/plain", b"x")] * 17, "many"),
        "a boundary that never comes": ("multipart/mixed;boundary=lost", b"--other\r\n\r\nx\r\n--other--\r\n"),
        "no boundary at all": ("multipart/mixed", b"--\r\n\r\nx\r\n----\r\n"),
    }
