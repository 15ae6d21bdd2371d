"""What a SIP far end's new name takes away, and who is told of private diversions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.call.leg import Address, Diversion, LegEvent, Renamed, Verdict
from gateway.legs.sip_callee import SipCalleeLeg
from gateway.legs.sip_caller import SipCallerLeg
from gateway.legs.sip_diversion import ANONYMOUS
from gateway.legs.sip_sessions import CalleeSettings, Destination, Shown
from gateway.sip.invite import events
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request
from gateway.sip.message.uri import MAX_URI_LENGTH, Uri
from tests.legs.fakes import ALICE, PHONE, FakeInviter, FakeSession
from tests.rows import by_row

CAROL = Address("sip:carol@gw.test", "Carol")
HIDDEN = Address(ANONYMOUS, "Anonymous", asserted="sip:7@pbx.test")


def update_of(sender: str, privacy: str | None = None) -> Request:
    uri = Uri.parse("sip:600@gw.test")
    headers = [("Privacy", privacy)] if privacy else []
    named = NameAddr.parse(sender)
    return build.request("UPDATE", uri, from_=named, to=NameAddr(uri), call_id="c", cseq=1, headers=headers)


@pytest.mark.parametrize("verdict", ["passed", "none"])
async def test_a_new_name_is_verified_anew_and_not_signed(verdict: Verdict) -> None:
    """The signature and the verdict were of the number before; what says the same again changes nothing."""
    known = Address("sip:7@pbx.test", "7", hops=7, verified="passed", signed=(("Identity", "x"),))
    said = [replace(known, verified="none", signed=()), replace(CAROL, verified=verdict)]
    session = FakeSession()
    leg = SipCallerLeg("c", session, known, None, identity="trunk:pbx", reads=lambda *_: said.pop(0))
    session.says(events.Identified(update_of('"7" <sip:7@pbx.test>')))
    assert leg.address == known
    session.says(events.Identified(update_of('"Carol" <sip:carol@gw.test>')))
    assert leg.address == replace(CAROL, hops=7, verified=verdict)


@by_row(
    ("privacy", "uri", "asserted"),
    [
        (None, ANONYMOUS, CAROL.uri),
        ("session", ANONYMOUS, CAROL.uri),
        ("none", CAROL.uri, ""),
        ("NONE", CAROL.uri, ""),
    ],
)
async def test_who_is_hidden_stays_so_until_it_says_otherwise(privacy: str | None, uri: str, asserted: str) -> None:
    """Without Privacy a later request says nothing of it; `none` is the word for being shown (RFC 3323 section 4.2)."""
    session, heard = FakeSession(), list[LegEvent]()
    leg = SipCallerLeg("c", session, HIDDEN, None, identity="trunk:pbx", reads=lambda *_: CAROL)
    leg.listen(lambda _, event: heard.append(event))
    session.says(events.Identified(update_of("<sip:carol@pbx.test>", privacy)))
    assert (leg.address.uri, leg.address.asserted) == (uri, asserted)
    assert heard == ([Renamed()] if uri == CAROL.uri else [])


@by_row("uri", ["tel:+49891234", "tel:+49891234;phone-context=x", "urn:service:x"])
async def test_a_diversion_that_is_no_sip_uri_is_no_part_of_the_history(uri: str) -> None:
    """What stands in History-Info takes a Reason, and a tel URI has nowhere to hold one; the call goes on."""
    inviter = FakeInviter()
    place = Destination("sip:3@x", shown=Shown(is_trunk=True))
    diversions = (Diversion("sip:2@gw.test", "user-busy"), Diversion(uri, "no-answer"))
    for those in (diversions, diversions[1:]):
        leg = SipCalleeLeg("t2", inviter, PHONE, [place], CalleeSettings())
        await leg.invite("offer", replace(ALICE, diversions=those))
    history = ["<sip:2@gw.test?Reason=SIP%3Bcause%3D486>;index=1", "<sip:3@x>;index=1.1;mp=1"]
    first, second = ([str(value) for _, value in arguments["headers"]] for _, arguments in inviter.invites)
    assert first == ["<sip:2@gw.test>;reason=user-busy", f"<{uri}>;reason=no-answer", *history]
    assert second == [f"<{uri}>;reason=no-answer"]


async def test_a_diversion_as_long_as_a_uri_may_be_is_told() -> None:
    """The Reason behind it makes it longer than what is read from others."""
    inviter = FakeInviter()
    uri = f"sip:2@gw.test;x={'y' * (MAX_URI_LENGTH - 16)}"
    leg = SipCalleeLeg("t2", inviter, PHONE, [Destination("sip:3@x", shown=Shown(is_trunk=True))], CalleeSettings())
    await leg.invite(
        "offer", replace(ALICE, diversions=(Diversion("sip:1@x", "no-answer"), Diversion(uri, "user-busy")))
    )
    [(_, arguments)] = inviter.invites
    assert f"<{uri}?Reason=SIP%3Bcause%3D486>;index=1" in [str(value) for _, value in arguments["headers"]]


@by_row(
    ("shown", "told"),
    [
        (
            Shown(is_trunk=True, asserts=True),
            ["<sip:2@pbx.test>;reason=user-busy;privacy=full", "<sip:2@pbx.test?Reason=SIP%3Bcause%3D486>;index=1"],
        ),
        (Shown(is_trunk=True), [f"<{ANONYMOUS}>;index=1"]),
        (Shown(is_trunk=True, prefers=True), [f"<{ANONYMOUS}>;index=1"]),
        (Shown(is_user=True), [f"<{ANONYMOUS}>;index=1"]),
    ],
)
async def test_a_private_diversion_is_told_to_trusted_trunks_alone(shown: Shown, told: list[str]) -> None:
    """As private as it came (RFC 5806 section 4.2, RFC 7044 section 10.1.2)."""
    inviter = FakeInviter()
    leg = SipCalleeLeg("t2", inviter, PHONE, [Destination("sip:3@x", shown=shown)], CalleeSettings())
    await leg.invite("offer", replace(ALICE, diversions=(Diversion("sip:2@pbx.test", "user-busy", is_private=True),)))
    [(_, arguments)] = inviter.invites
    ways = [str(value) for name, value in arguments["headers"] if name in ("Diversion", "History-Info")]
    assert ways == [*told, "<sip:3@x>;index=1.1;mp=1"]
    assert (("Privacy", "history") in arguments["headers"]) is shown.asserts
