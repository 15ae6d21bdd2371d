"""Example 2: build requests and responses from values, change them without changing them, and stay unsmuggled."""

from __future__ import annotations

from gateway.lesson import beside, check, run, table

from collections.abc import Callable
from itertools import zip_longest

from gateway.sip import Message, NameAddr, Request, Response, SipBuildError, Uri, Via, build, parse_message

ALICE = NameAddr(Uri.of("alice", "atlanta.example.com"), "Alice")
BOB = NameAddr(Uri.of("bob", "biloxi.example.com"), "Bob, the builder")
SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


def head(message: Message) -> list[str]:
    """The lines of a message as they go on the wire, without its body."""
    return message.write().decode().partition("\r\n\r\n")[0].split("\r\n")


def invite() -> Request:
    """An INVITE with its offer. Random words (tag, Call-ID, branch) are the caller's to make."""
    print("1. An INVITE, piece by piece, and what each piece puts on the wire")
    request = build.request("INVITE", BOB.uri, from_=ALICE.with_tag("19283"), to=BOB, call_id="a84b4c76", cseq=314159)
    pieces = {"who calls whom, in which call": request}
    here = NameAddr(Uri.of("alice", "192.0.2.1", 5060))
    pieces["where Alice is called back"] = request = request.with_header("Contact", here)
    pieces["a header of your choice"] = request = request.with_header("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS")
    pieces["a body, and what it is"] = request = request.with_body(SDP, "application/sdp")
    # The Via belongs to the transaction, so it is put on top when the request is sent.
    via = Via("UDP", "192.0.2.1", 5060, (("branch", "z9hG4bK776asdhds"), ("rport", None)))
    pieces["how the answer comes back"] = request = build.with_via(request, via)
    rows, before = [("piece", "on the wire")], list[str]()
    for words, message in pieces.items():
        new = [line for line in head(message) if line not in before]
        rows += zip_longest([words], new, fillvalue="")
        before = head(message)
    table(*rows)
    check(request.headers.get("Content-Length") is None, "nobody sets Content-Length by hand")
    check(f"Content-Length: {len(SDP)}".encode() in request.write(), "it is counted when the message is written")
    check(b'"Bob, the builder"' in request.write(), "a display name that needs quotes gets them")
    check(parse_message(request.write()) == request, "what was built can be read")
    return request


def row(message: Request | Response) -> tuple[object, ...]:
    """What tells a message from others of its call."""
    first = message.method if isinstance(message, Request) else f"{message.status} {message.phrase}"
    return first, message.top_via.branch, message.from_tag, message.to_tag or "none", message.cseq, len(message.body)


COLUMNS = ("message", "branch", "From tag", "To tag", "CSeq", "octets of body")


def responses(request: Request) -> Response:
    """Responses copy what identifies the transaction from their request."""
    print("2. Its responses: what is copied, and what they add")
    bob = NameAddr(Uri.of("bob", "192.0.2.4"))
    trying = build.response(request, 100, to_tag="bobs")
    ringing = build.response(request, 180, to_tag="bobs", contact=bob)
    answer = build.response(request, 200, to_tag="bobs", contact=bob, body=SDP, content_type="application/sdp")
    not_found = build.response(request, 404, to_tag="other")
    made = (trying, ringing, answer, not_found)
    table(COLUMNS, *(row(one) for one in (request, *made)))
    copied = ("Via", "From", "Call-ID", "CSeq")
    same = all(one.headers.all(name) == request.headers.all(name) for one in made for name in copied)
    check(same, "Via, From, Call-ID and CSeq are the INVITE's in all of them: same transaction")
    check(trying.to_tag is None, "a 100 gets no tag, even where one is given: it makes no dialog")
    check(ringing.to_tag == answer.to_tag != not_found.to_tag, "180 and 200 of one phone: one tag, one dialog")
    return not_found


def ack_and_cancel(request: Request, failure: Response) -> None:
    """Two requests are made from the INVITE itself and share its branch or its number."""
    print("3. ACK and CANCEL")
    ack, cancel = build.ack_for_failure(request, failure), build.cancel(request)
    table(COLUMNS, *(row(one) for one in (request, failure, ack, cancel)))
    check(ack.top_via.branch == request.top_via.branch, "the ACK of a 404 has the INVITE's branch: one transaction")
    check((ack.cseq.number, ack.to_tag) == (314159, "other"), "the INVITE's number, the 404's To tag")
    check(cancel.top_via == request.top_via, "so has the CANCEL, which must find the INVITE by it")
    check(cancel.uri == request.uri and not cancel.body, "same Request-URI, no body")
    check(refusal(lambda: build.cancel(ack)) == "only an INVITE can be cancelled", "nothing else can be cancelled")


def edits(request: Request) -> None:
    """Messages are values: an edit gives a new one."""
    print("4. Edits: the lines that differ, before and after")
    hurried = request.with_header("Priority", "urgent").with_header("Max-Forwards", 10)
    old, new = head(request), head(hurried)
    beside([line for line in old if line not in new], [line for line in new if line not in old])
    check((hurried.max_forwards, request.max_forwards) == (10, 70), "the first message is as it was")
    check(len(hurried.headers) == len(request.headers) + 1, "a replaced header keeps its place, a new one is added")
    check(hurried.with_body(b"", None).content_type is None, "without a body there is no Content-Type")
    tel = Uri.of("ann marie/42", "example.com").with_param("transport", "tcp")
    table(("ann marie/42", tel))
    check(tel.user == "ann%20marie/42" and tel.username == "ann marie/42", "Uri.of escapes what must be escaped")


def refusal(attempt: Callable[[], object]) -> str:
    """Why it is refused; "" where it goes through."""
    try:
        attempt()
    except SipBuildError as error:
        return str(error)
    return ""


def smuggling(request: Request) -> None:
    """A value that ends its line early would add headers of a stranger's choice."""
    print("5. Smuggling, and what is said to it")
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
    said = {name: refusal(attempt) for name, attempt in attempts.items()}
    table(*said.items())
    through = [name for name, words in said.items() if not words]
    check(not through, f"{', '.join(through) or 'none of them'} went through")
    check(not refusal(lambda: request.with_header("Subject", "lunch")), "an honest subject does")


def main() -> None:
    request = invite()
    refused = responses(request)
    ack_and_cancel(request, refused)
    edits(request)
    smuggling(request)


if __name__ == "__main__":
    run(main, __doc__)
