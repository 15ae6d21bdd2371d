"""Example 1: read SIP requests and responses, ask for typed headers, and answer what cannot be read."""

from __future__ import annotations

from gateway.lesson import check, run

import sys

from messages import INVITE, RINGING

import sdp
from gateway.sip import Request, Response, SipSyntaxError, error_response, parse_message


def requests() -> None:
    """A request: start line, typed headers, body."""
    print("1. A request")
    invite = parse_message(INVITE)
    if not isinstance(invite, Request):
        sys.exit("FAIL: this is a request")
    print(f"  {invite.method} {invite.uri}, {len(invite.headers)} header fields, {len(invite.body)} bytes of body")
    check((invite.uri.username, invite.uri.host) == ("bob", "biloxi.example.com"), "the Request-URI has its parts")
    check(invite.from_.display_name == 'Alice "Al" Liddell', "a quoted display name comes without its quoting")
    check((invite.from_tag, invite.to_tag) == ("9fxced76sl", None), "From has a tag, To has none yet: no dialog")
    check((invite.cseq.number, invite.cseq.method) == (2, "INVITE"), "CSeq is a number and a method")
    check(invite.contact is not None and invite.contact.uri.port == 5062, "Contact says where to call back")
    check(invite.contact is not None and invite.contact.expires == 300, "header parameters are typed too")
    check(str(invite.content_type) == "application/sdp", "Content-Type was written as `c`")
    check(invite.subject == "lunch, perhaps at noon", "a folded header is one line again")
    check(invite.headers.get("x-phone-mood") == "curious", "headers nobody knows are kept, names without case")
    check(invite.expires is None, "an absent header is None, not an error")
    table(invite)


def table(invite: Request) -> None:
    """What a person wants to know of an INVITE, and its body by the package that reads descriptions."""
    offer = sdp.SessionDescription.parse(invite.body)
    audio = offer.media[0]
    place = offer.connection_of(audio)
    rows = {
        "who calls": f"{invite.from_.display_name} ({invite.from_.uri})",
        "who is called": str(invite.to.uri),
        "call back at": str(invite.contact.uri) if invite.contact else "nowhere",
        "wants audio at": f"{place.address if place else '?'} port {audio.port}",
        "in": ", ".join(codec.rtpmap for codec in sdp.read_codecs(audio)),
    }
    for name, value in rows.items():
        print(f"  {name:15}| {value}")
    check((audio.kind, audio.port) == ("audio", 49170), "the body is a session description")


def repeated_headers() -> None:
    """Fields of one name and values of one field make one list."""
    print("2. Repeated headers")
    invite = parse_message(INVITE)
    check(invite.headers.count("Record-Route") == 2, "two Record-Route fields were on the wire")
    hosts = [hop.uri.host for hop in invite.record_route]
    print(f"  {' -> '.join(hosts)}")
    check(len(hosts) == 3, "they hold three values, in order")
    check(all(hop.uri.is_loose_router for hop in invite.record_route), "each one has the lr parameter")
    check([via.host for via in invite.via] == ["proxy.atlanta.example.com", "192.0.2.1"], "the top Via comes first")
    check((invite.via[1].received, invite.via[1].rport) == ("198.51.100.9", 40123), "Via knows received and rport")


def responses() -> None:
    """A response: status, phrase, and the dialog it makes."""
    print("3. A response")
    ringing = parse_message(RINGING)
    if not isinstance(ringing, Response):
        sys.exit("FAIL: this is a response")
    print(f"  {ringing.status} {ringing.phrase}")
    check(ringing.is_provisional and not ringing.is_final, "1xx is provisional")
    check(ringing.to_tag == "8321234356", "the callee has added its tag: an early dialog")
    check(parse_message(ringing.write()) == ringing, "written and read again it is the same message")


def malformed() -> None:
    """What a stranger sends can be wrong in many ways; the error says what answers it."""
    print("4. What cannot be read")
    cases = [
        ("CSeq names another method", INVITE.replace(b"2 INVITE", b"2 BYE"), 400),
        ("a version that nobody speaks", INVITE.replace(b"com SIP/2.0", b"com SIP/7.0"), 505),
        ("a body shorter than it claims", INVITE.replace(b"l: 131", b"l: 500"), 400),
        ("no To at all", INVITE.replace(b"t: Bob <sip:bob@biloxi.example.com>\r\n", b""), 400),
        ("a header of 9,000 characters", INVITE.replace(b"curious", b"c" * 9000), 513),
        ("a broken response", RINGING.replace(b"CSeq: 2", b"CSeq: x"), None),
    ]
    for name, data, status in cases:
        try:
            parse_message(data)
        except SipSyntaxError as error:
            answer = error_response(error, to_tag="a6c85cf")
            print(f"  {name}: {error} -> {f'{answer.status} {answer.phrase}' if answer else 'silence'}")
            check((answer.status if answer else None) == status, f"answered {status or 'with silence'}")
        else:
            sys.exit(f"FAIL: {name} was taken for a good message")

    print("5. Headers are parsed when they are asked for")
    sloppy = parse_message(INVITE.replace(b"m: <sip:alice@192.0.2.1:5062", b"m: <sip:alice@@192.0.2.1:5062"))
    check(sloppy.cseq.number == 2, "a broken Contact does not keep the message from being read")
    try:
        _ = sloppy.contact
    except SipSyntaxError as error:
        check((error.header, error.status) == ("Contact", 400), f"but asking for it raises: {error}")
    else:
        sys.exit("FAIL: the broken Contact was taken")


def main() -> None:
    requests()
    repeated_headers()
    responses()
    malformed()


if __name__ == "__main__":
    run(main, __doc__)
