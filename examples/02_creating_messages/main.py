"""Example 2: build requests and responses from values, change them without changing them, and stay unsmuggled."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from gateway.sip import NameAddr, Request, Response, SipBuildError, Uri, Via, build, parse_message

ALICE = NameAddr(Uri.of("alice", "atlanta.example.com"), "Alice")
BOB = NameAddr(Uri.of("bob", "biloxi.example.com"), "Bob, the builder")
SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


def check(condition: bool, words: str) -> None:
    """Print what holds; where it does not hold, say so and end the program with status 1."""
    if not condition:
        sys.exit(f"FAIL: {words}")
    print(f"  ok: {words}")


def show(message: Request | Response) -> None:
    """Print a message as it goes on the wire, without its body."""
    for line in message.write().decode().partition("\r\n\r\n")[0].split("\r\n"):
        print(f"  | {line}")


def invite() -> Request:
    """An INVITE with its offer. Random words (tag, Call-ID, branch) are the caller's to make."""
    print("1. An INVITE")
    request = build.request(
        "INVITE",
        BOB.uri,
        from_=ALICE.with_tag("1928301774"),
        to=BOB,
        call_id="a84b4c76e66710",
        cseq=314159,
        contact=NameAddr(Uri.of("alice", "192.0.2.1", 5060)),
        headers=[("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS")],
        body=SDP,
        content_type="application/sdp",
    )
    # The Via belongs to the transaction, so it is put on top when the request is sent.
    request = build.with_via(request, Via("UDP", "192.0.2.1", 5060, (("branch", "z9hG4bK776asdhds"), ("rport", None))))
    show(request)
    check(request.headers.get("Content-Length") is None, "nobody sets Content-Length by hand")
    check(f"Content-Length: {len(SDP)}".encode() in request.write(), "it is counted when the message is written")
    check(b'"Bob, the builder"' in request.write(), "a display name that needs quotes gets them")
    check(parse_message(request.write()) == request, "what was built can be read")
    return request


def responses(request: Request) -> Response:
    """Responses copy what identifies the transaction from their request."""
    print("2. Its responses: 180, 200, 404")
    ringing = build.response(request, 180, to_tag="314159tag", contact=NameAddr(Uri.of("bob", "192.0.2.4")))
    answer = build.response(
        request,
        200,
        to_tag="314159tag",
        contact=NameAddr(Uri.of("bob", "192.0.2.4")),
        body=SDP.replace(b"192.0.2.1", b"192.0.2.4"),
        content_type="application/sdp",
    )
    not_found = build.response(request, 404, to_tag="other")
    for response in (ringing, answer, not_found):
        print(f"  {response.status} {response.phrase}: {len(response.body)} bytes of body")
        copied = ("Via", "From", "Call-ID", "CSeq")
        check(all(response.headers.all(name) == request.headers.all(name) for name in copied), "same transaction")
    check(build.response(request, 100, to_tag="x").to_tag is None, "a 100 gets no tag: it makes no dialog")
    return not_found


def ack_and_cancel(request: Request, failure: Response) -> None:
    """Two requests are made from the INVITE itself and share its branch or its number."""
    print("3. ACK and CANCEL")
    ack = build.ack_for_failure(request, failure)
    show(ack)
    check(ack.top_via.branch == request.top_via.branch, "the ACK of a 404 has the INVITE's branch: one transaction")
    check((ack.cseq.number, ack.to_tag) == (314159, "other"), "the INVITE's number, the 404's To tag")
    cancel = build.cancel(request)
    check(cancel.top_via == request.top_via, "so has the CANCEL, which must find the INVITE by it")
    check(cancel.uri == request.uri and not cancel.body, "same Request-URI, no body")
    try:
        build.cancel(ack)
    except SipBuildError as error:
        check(True, f"nothing else can be cancelled: {error}")
    else:
        sys.exit("FAIL: an ACK was cancelled")


def edits(request: Request) -> None:
    """Messages are values: an edit gives a new one."""
    print("4. Edits")
    hurried = request.with_header("Priority", "urgent").with_header("Max-Forwards", 10)
    check((hurried.max_forwards, request.max_forwards) == (10, 70), "the first message is as it was")
    check(len(hurried.headers) == len(request.headers) + 1, "a replaced header keeps its place, a new one is added")
    check(hurried.with_body(b"", None).content_type is None, "without a body there is no Content-Type")
    tel = Uri.of("ann marie/42", "example.com").with_param("transport", "tcp")
    print(f"  {tel}")
    check(tel.user == "ann%20marie/42" and tel.username == "ann marie/42", "Uri.of escapes what must be escaped")


def smuggling(request: Request) -> None:
    """A value that ends its line early would add headers of a stranger's choice."""
    print("5. Smuggling is refused")
    evil = "lunch\r\nRoute: <sip:thief.example.net;lr>"
    attempts: dict[str, Callable[[], object]] = {
        "a line break in a header": lambda: request.with_header("Subject", evil),
        "a line break in a display name": lambda: request.with_header("From", NameAddr(ALICE.uri, evil)),
        "a space in a header's name": lambda: request.with_header("Subject: x", "y"),
        "a line break in a reason phrase": lambda: Response(200, "OK\r\nVia: x"),
        "a method that is two words": lambda: Request("INVITE sip:a", BOB.uri),
        "a host that is more than a host": lambda: Uri.of("bob", "biloxi.example.com>;x=<sip:thief"),
        "a body of no declared type": lambda: build.response(request, 200, body=b"?"),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except SipBuildError as error:
            check(True, f"{name}: {error}")
        else:
            sys.exit(f"FAIL: {name} went through")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    first = invite()
    refusal = responses(first)
    ack_and_cancel(first, refusal)
    edits(first)
    smuggling(first)
    print("PASS")
