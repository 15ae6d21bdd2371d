"""The torture messages of RFC 4475, each against what its section expects."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from gateway.identity.model import Binding
from gateway.sip.errors import SipSyntaxError
from gateway.sip.locate import forward_limit
from gateway.sip.message.build import Refusal, error_response, response
from gateway.sip.message.framing import Broken, StreamFramer
from gateway.sip.message.message import Request, Response
from gateway.sip.message.parser import parse_message
from gateway.sip.message.uri import Uri
from gateway.sip.registration.registrar import Changes, RegistrarPolicy, decide
from gateway.sip.requests.checks import Capabilities, inspect
from tests.rows import by_row
from tests.sip.corpora import TORTURE

UAS = Capabilities()

REFUSED = {
    "badinv01": 400,
    "clerr": 400,
    "ncl": 400,
    "scalar02": 400,
    "ltgtruri": 400,
    "lwsruri": 400,
    "lwsstart": 400,
    "trws": 400,
    "escruri": 400,
    "badaspec": 400,
    "baddn": 400,
    "badvers": 505,
    "mismatch01": 400,
    "mismatch02": 400,
    "insuf": 400,
    "multi01": 400,
    "mcl01": 400,
}
"""Requests that the parser refuses, and the status that answers them."""

DROPPED = ("scalarlg", "bigcode")
"""Responses that the parser refuses: silence."""

INSPECTED = {"unkscm": 416, "novelsc": 416, "bext01": 420, "invut": 415, "sdp01": 406, "intmeth": 501, "esc02": 501}
"""Requests that are read and then refused by what they ask of a user agent."""

ACCEPTED = (
    "wsinv",
    "esc01",
    "escnull",
    "lwsdisp",
    "longreq",
    "dblreq",
    "semiuri",
    "transports",
    "mpart01",
    "unreason",
    "noreason",
    "badbranch",
    "baddate",
    "regbadct",
    "unksm2",
    "regaut01",
    "bcast",
    "zeromf",
    "cparam01",
    "cparam02",
    "regescrt",
    "inv2543",
    "quotbal",
)
"""Messages that are read; what becomes of them is in the tests below."""


def load(name: str) -> bytes:
    return (TORTURE / f"{name}.dat").read_bytes()


def read(name: str) -> Request:
    message = parse_message(load(name))
    assert isinstance(message, Request)
    return message


def test_every_message_of_the_corpus_has_an_expectation_here() -> None:
    """No torture message is left out: the names below and those of EXPECT.tsv are the same."""
    with (TORTURE / "EXPECT.tsv").open(encoding="utf-8") as table:
        names = {row["file"] for row in csv.DictReader(table, delimiter="\t")}
    here = {*REFUSED, *DROPPED, *INSPECTED, *ACCEPTED, "test"}
    assert here == names
    assert names == {Path(file).stem for file in TORTURE.glob("*.dat")}


@by_row(("name", "status"), REFUSED.items())
def test_a_broken_request_is_refused_and_answered(name: str, status: int) -> None:
    """The parser's error names the status, and an answer can be built from what was readable."""
    with pytest.raises(SipSyntaxError) as caught:
        parse_message(load(name))
    assert caught.value.status == status
    answer = error_response(caught.value, "t1")
    assert answer is not None
    assert answer.status == status
    assert answer.headers.count("Via") >= 1
    answer.write()


@pytest.mark.parametrize("name", DROPPED)
def test_a_broken_response_is_discarded(name: str) -> None:
    """Status and numbers out of range: the response is dropped, nothing is answered."""
    with pytest.raises(SipSyntaxError) as caught:
        parse_message(load(name))
    assert caught.value.status is None
    assert error_response(caught.value) is None


@by_row(("name", "status"), INSPECTED.items())
def test_a_request_that_asks_too_much_is_refused_by_the_user_agent(name: str, status: int) -> None:
    """The message is well-formed; method, scheme, extension, body or Accept is not ours."""
    request = read(name)
    can = UAS if request.method == "INVITE" or status == 501 else Capabilities(methods=(*UAS.methods, request.method))
    refusal = inspect(request, can)
    assert refusal is not None
    assert refusal.status == status
    assert parse_message(refusal.response(request, "t1").write()).to_tag is not None


@by_row("name", ACCEPTED)
def test_a_lawful_message_survives_being_written_and_read(name: str) -> None:
    """What was accepted is the same message after a round trip."""
    message = parse_message(load(name))
    assert parse_message(message.write()) == message


def test_wsinv_folded_and_spaced_headers_are_read() -> None:
    """3.1.1.1: folding, compact forms, any case, white space around every separator."""
    request = read("wsinv")
    assert str(request.uri) == "sip:vivekg@chair-dnrc.example.com;unknownparam"
    assert request.to_tag == "1918181833n"
    assert (request.from_.display_name, request.from_tag) == ('J Rosenberg \\"', "98asjd8")
    assert (request.max_forwards, request.cseq.number, request.cseq.method) == (68, 9, "INVITE")
    assert [via.branch for via in request.via] == ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]
    assert [via.transport for via in request.via] == ["UDP", "TCP", "UDP"]
    assert request.contact is not None
    assert (request.contact.display_name, request.contact.q) == ('Quoted string ""', 0.33)
    assert request.headers.get("NewFangledHeader") == "newfangled value continued newfangled value"
    assert request.headers.get("UnknownHeaderWithUnusualValue") == ";;,,;;,;"
    assert request.subject == ""
    assert request.route[0].uri.is_loose_router
    assert len(request.body) == 150


def test_intmeth_wide_range_of_characters_is_read() -> None:
    """3.1.1.2: a token as method, punctuation in the user, quoted control bytes, a UTF-8 value without space."""
    request = read("intmeth")
    assert request.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert request.uri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert request.to.display_name == "BEL:\ufffd NUL:\ufffd DEL:\ufffd"
    assert request.from_.param("fromParam''~+*_!.-%") == "работающий"
    assert request.call_id == "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"


def test_esc01_escapes_are_undone_in_the_user_only() -> None:
    """3.1.1.3: an escaped "sips:" in a user part is no scheme; contact parameters compare unescaped."""
    request = read("esc01")
    assert (request.uri.scheme, request.uri.username) == ("sip", "sips:user@example.com")
    assert request.to.uri.aor == "sip:user@example.com"
    assert request.from_.uri.username == "I have spaces"
    contact = request.contact
    assert contact is not None
    assert contact.uri.matches(Uri.parse("sip:caller@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31"))
    assert not contact.uri.is_loose_router


def test_escnull_two_bindings_stay_apart() -> None:
    """3.1.1.4: %00 is neither an end nor nothing."""
    changes = decide(read("escnull"), [], RegistrarPolicy(), 0.0, make=Binding)
    assert isinstance(changes, Changes)
    assert changes.aor == "sip:null-%00-null@example.com"
    assert [b.contact for b in changes.after] == ["sip:%00@host5.example.com", "sip:%00%00@host5.example.com"]


def test_esc02_a_percent_sign_in_a_token_is_no_escape() -> None:
    """3.1.1.5: the method is not REGISTER and "C%6Fntact" is not Contact."""
    request = read("esc02")
    assert request.method == "RE%47IST%45R"
    assert request.to.display_name == "%Z%45"
    assert [str(c.uri.username) for c in request.contacts] == ["alias1", "alias3"]


def test_lwsdisp_no_space_before_the_bracket() -> None:
    """3.1.1.6: a token display name may touch the "<"."""
    assert read("lwsdisp").from_.display_name == "caller"


def test_longreq_long_values_are_read_whole() -> None:
    """3.1.1.7: long names, long values, 34 Vias of which the last is valid."""
    request = read("longreq")
    assert len(request.via) == 34
    assert request.via[-1].received == "192.0.2.5"
    assert len(request.from_.uri.user or "") > 100


def test_dblreq_octets_after_the_body_are_dropped() -> None:
    """3.1.1.8: a datagram holds one message."""
    request = read("dblreq")
    assert (request.method, request.body, request.call_id) == (
        "REGISTER",
        b"",
        "dblreq.0ha0isndaksdj99sdfafnl3lk233412",
    )


def test_semiuri_parameters_in_the_user_part() -> None:
    """3.1.1.9: everything before the "@" is the user."""
    request = read("semiuri")
    assert request.uri.username == "user;par=u@example.net"
    assert len(request.accept) == 6


def test_transports_unknown_ones_are_kept() -> None:
    """3.1.1.10."""
    assert [via.transport for via in read("transports").via] == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]


def test_mpart01_a_binary_part_is_kept() -> None:
    """3.1.1.11: the parts of a multipart are bytes."""
    from gateway.sip.message.multipart import parts_of

    text, binary = parts_of(read("mpart01"))
    assert (text.content_type.essence, text.body) == ("text/plain", b"Hello")
    assert binary.content_type.essence == "application/octet-stream"
    assert binary.body[:2] == b"0\x82"


def test_unreason_and_noreason_phrases_are_text_or_nothing() -> None:
    """3.1.1.12 and 13."""
    wide, empty = parse_message(load("unreason")), parse_message(load("noreason"))
    assert isinstance(wide, Response)
    assert isinstance(empty, Response)
    assert wide.phrase.startswith("= 2**3 * 5**2 но")
    assert (empty.status, empty.phrase) == (100, "")


def test_baddate_the_date_is_not_ours_to_judge() -> None:
    """3.1.2.12: a Date in another zone may be passed over."""
    assert inspect(read("baddate"), UAS) is None


def test_regbadct_is_refused_by_the_registrar() -> None:
    """3.1.2.13: a URI with headers must stand in brackets."""
    with pytest.raises(SipSyntaxError) as caught:
        decide(read("regbadct"), [], RegistrarPolicy(), 0.0, make=Binding)
    assert (caught.value.status, caught.value.header) == (400, "Contact")


def test_badbranch_a_branch_of_only_the_cookie_is_readable() -> None:
    """3.2.1: the value is there to be told from unique ones."""
    assert read("badbranch").top_via.branch == "z9hG4bK"


def test_unksm2_foreign_schemes_are_read_and_not_registered() -> None:
    """3.3.4: the To of a REGISTER names nobody here."""
    request = read("unksm2")
    assert (request.to.uri.scheme, request.from_.uri.scheme) == ("isbn", "http")
    refusal = decide(request, [], RegistrarPolicy(), 0.0, make=Binding)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 404


def test_regaut01_an_unknown_scheme_counts_as_no_credentials() -> None:
    """3.3.7: answered 401 with a challenge that is supported."""
    from gateway.sip.auth.server import DigestResult, DigestServer

    server = DigestServer("example.com", bytes(16))
    request = read("regaut01")
    assert server.check(request, lambda user, realm: {}, 0.0).result is DigestResult.MISSING
    fields = [("WWW-Authenticate", value) for value in server.challenges(0.0)]
    answer = parse_message(response(request, 401, to_tag="t1", headers=fields).write())
    assert [value.get("algorithm") for value in answer.www_authenticate] == ["SHA-256", "MD5"]


def test_bcast_a_foreign_via_shows() -> None:
    """3.3.10: the top Via is not ours, so its transaction layer finds no branch of its own; both Vias are read."""
    message = parse_message(load("bcast"))
    assert [via.host for via in message.via] == ["192.0.2.198", "255.255.255.255"]


def test_zeromf_is_answered_here_but_goes_no_further() -> None:
    """3.3.11: Max-Forwards 0 is 483 only where the request would have to go on."""
    request = read("zeromf")
    assert inspect(request, UAS) is None
    assert forward_limit(request) == Refusal(483)


def test_cparam01_and_cparam02_unknown_parameters_are_kept() -> None:
    """3.3.12 and 13: outside the brackets it is the header's, inside it is the URI's."""
    outside, inside = read("cparam01").contacts[0], read("cparam02").contacts[0]
    assert (outside.params, outside.uri.params) == ((("unknownparam", None),), ())
    assert (inside.params, inside.uri.params) == ((), (("unknownparam", None),))


def test_regescrt_a_contact_keeps_its_escaped_header() -> None:
    """3.3.14: the Route in the contact is for later requests, not for this one."""
    request = read("regescrt")
    changes = decide(request, [], RegistrarPolicy(), 0.0, make=Binding)
    assert isinstance(changes, Changes)
    assert changes.after[0].contact == "sip:user@example.com?Route=%3Csip:sip.example.com%3E"
    assert request.route == ()


def test_inv2543_an_old_invite_is_served() -> None:
    """3.4.1: no branch, no From tag, no Max-Forwards, no Contact needed to be read."""
    request = read("inv2543")
    assert (request.top_via.branch, request.from_tag, request.max_forwards) == (None, None, None)
    assert inspect(request, UAS) is None


def test_the_unreferenced_message_is_refused_without_harm() -> None:
    """It lacks a Via and a colon: 400, and nobody to send it to."""
    with pytest.raises(SipSyntaxError) as caught:
        parse_message(load("test"))
    assert caught.value.status == 400
    assert error_response(caught.value) is None


@by_row(("name", "closes"), [("ncl", True), ("mcl01", True), ("badinv01", False)])
def test_over_a_stream_only_lost_framing_closes(name: str, closes: bool) -> None:
    """A bad length ends the connection (3.1.2.3, 3.3.9); other faults end their own message only."""
    frames = StreamFramer().feed(load(name))
    assert isinstance(frames[0], Broken)
    assert frames[0].closes is closes


def test_clerr_over_a_stream_waits_for_the_rest() -> None:
    """3.1.2.2: the bytes that are missing may still come."""
    framer = StreamFramer()
    assert framer.feed(load("clerr")) == []
    assert framer.unfinished > 0
