"""Example 7: several bodies in one message, a dialog named in a URI, and bounds on what is looked at."""

from __future__ import annotations

from gateway.lesson import beside, check, run, table

import json
from xml.etree import ElementTree

from messages import ALICE, BOB, CAROL, OFFER, invite, part, refusal, too_much, tree

import sdp
from gateway.sip import (
    BodyLimits,
    Dialog,
    NameAddr,
    Replaces,
    SipBuildError,
    build,
    find_part,
    parse_message,
    parts_of,
    write_multipart,
)


def mixed() -> None:
    """multipart/mixed: independent things that travel together."""
    print("1. An offer and a customer's record in one INVITE")
    record = json.dumps({"customer": 4711, "waiting": 12}).encode()
    optional = ("Content-Disposition", "render;handling=optional")
    parts = [part("application/sdp", OFFER), part("application/json", record, optional)]
    request = invite(*write_multipart(parts, boundary="kiosk-7"))
    table(*([line] for line in request.body.decode().splitlines()))
    tree(request)
    found = parts_of(request)
    check([one.content_type.essence for one in found] == ["application/sdp", "application/json"], "two parts, in order")
    offer = sdp.SessionDescription.parse(find_part(request, "application/sdp") or b"")
    check(offer.media[0].port == 4000, "the part that is an offer can be answered")
    check(json.loads(found[1].body)["customer"] == 4711, "the record can be shown")
    check(
        "handling=optional" in (found[1].headers.get("Content-Disposition") or ""), "who does not know it may pass on"
    )
    check(find_part(request, "application/pidf+xml") is None, "what is not there is None")
    check(len(parts_of(invite("application/sdp", OFFER))) == 1, "a body that is no multipart is its one part")


def alternative() -> None:
    """multipart/alternative: the same thing said several ways, the best last."""
    print("2. The same offer as SDP and as JSON")
    as_json = json.dumps(sdp.SessionDescription.parse(OFFER).to_dict()).encode()
    ways = [part("application/sdp", OFFER), part("application/json", as_json)]
    request = invite(*write_multipart(ways, boundary="either", subtype="alternative"))
    known = {"application/sdp", "application/json"}
    tree(request)
    beside(OFFER.decode().splitlines(), json.dumps(json.loads(as_json)["media"], indent=1).splitlines()[:14])
    best = [one for one in parts_of(request) if one.content_type.essence in known][-1]
    check(best.content_type.essence == "application/json", "who knows both takes the last")
    again = sdp.SessionDescription.from_dict(json.loads(best.body))
    check(again == sdp.SessionDescription.parse(OFFER), "and reads the same description from it")


def related() -> None:
    """multipart/related: parts that mean something together, here an offer and whom the conference is to call."""
    print("3. An offer and the list of those to invite")
    people = "".join(f'<entry uri="{one.uri}"/>' for one in (BOB, CAROL))
    xml = f'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list>{people}</list></resource-lists>'
    listed = part("application/resource-lists+xml", xml.encode(), ("Content-Disposition", "recipient-list"))
    request = invite(*write_multipart([part("application/sdp", OFFER), listed], "room", "related"))
    check(request.content_type is not None and request.content_type.subtype == "related", "one body of two parts")
    tree(request)
    found = find_part(request, "application/resource-lists+xml") or b""
    entries = [entry.get("uri") for entry in ElementTree.fromstring(found).iter() if entry.tag.endswith("entry")]
    table(("the server calls (RFC 5366)", *map(str, entries)))
    check(entries == [str(BOB.uri), str(CAROL.uri)], "in the order of the list")


def nested() -> None:
    """Multiparts may hold multiparts; leaves are what counts."""
    print("4. One within the other")
    text = part("text/plain", "schöne Grüße".encode())
    kind, body = write_multipart([text, part("text/html", b"<b>hello</b>")], "inner", "alternative")
    request = invite(*write_multipart([part("application/sdp", OFFER), part(kind, body)], "outer"))
    tree(request)
    kinds = [one.content_type.essence for one in parts_of(request)]
    check(kinds == ["application/sdp", "text/plain", "text/html"], f"leaves: {', '.join(kinds)}")


def replacing() -> None:
    """Alice has Bob on one call and Carol on another, and joins the two: REFER with Replaces in the URI."""
    print("5. REFER with Replaces")
    call = build.request("INVITE", CAROL.uri, from_=ALICE.with_tag("a2"), to=CAROL, call_id="c2", cseq=1, contact=ALICE)
    dialog = Dialog.of_uac(call, build.response(call, 200, to_tag="carol-1", contact=CAROL))
    named = Replaces(dialog.id.call_id, to_tag=dialog.id.remote_tag, from_tag=dialog.id.local_tag)
    target = CAROL.uri.with_header("Replaces", str(named))
    refer = build.request(
        "REFER", BOB.uri, from_=ALICE.with_tag("a"), to=BOB.with_tag("b"), call_id="multi", cseq=2, contact=ALICE,
        headers=[("Refer-To", NameAddr(target)), ("Referred-By", ALICE),
                 ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK2")],
    )  # fmt: skip
    read = parse_message(refer.write())
    assert read.refer_to is not None
    inside = Replaces.parse(read.refer_to.uri.header("Replaces") or "")
    check(inside == named, "Bob reads which of Carol's calls he is to take the place of")
    to_carol = build.request(
        "INVITE", read.refer_to.uri, from_=BOB.with_tag("b3"), to=CAROL, call_id="c3", cseq=1, contact=BOB,
        headers=[("Replaces", inside)],
    )  # fmt: skip
    table(
        ("Alice to Bob", "REFER", str(refer.headers.get("Refer-To"))),
        ("", "the dialog in it", f"Call-ID {named.call_id}, Carol's tag {named.to_tag}, Alice's tag {named.from_tag}"),
        ("Bob to Carol", f"INVITE {to_carol.uri}", f"Replaces: {to_carol.headers.get('Replaces')}"),
        widest=90,
    )
    check(to_carol.uri == CAROL.uri, "headers of a URI never stay in a Request-URI")
    check(to_carol.replaces == named, "they become headers of Bob's INVITE to Carol")


def bounds() -> None:
    """A stranger may nest without end; we look only so far."""
    print("6. Bounds")
    said = {name: refusal(invite(*given)) for name, given in too_much().items()}
    table(*((name, *refused) for name, refused in said.items()))
    check({status for status, _ in said.values()} == {400}, "each is answered 400, with what is wrong about it")
    deep = invite(*too_much()["four multiparts within each other"])
    tree(deep, generous := BodyLimits(depth=4))
    check(parts_of(deep, generous)[0].body == b"deep", "limits are settings: with depth=4 it is read")
    try:
        written = write_multipart([part("text/plain", b"a\r\n--mark\r\nb")], "mark")[1]
    except SipBuildError as error:
        table(("a boundary within a part", "not written", error))
        written = b""
    check(not written, "we write none that would be read differently")


def main() -> None:
    mixed()
    alternative()
    related()
    nested()
    replacing()
    bounds()


if __name__ == "__main__":
    run(main, __doc__)
