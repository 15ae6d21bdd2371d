"""A device that registered by several flows is asked by one, and by the next where that fails (RFC 5626 section 7)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.call.leg import Answered, LegEvent, Redirected, Rejected, Ringing
from gateway.call.status import Cause
from gateway.legs.sip_callee import SipCalleeLeg
from gateway.legs.sip_sessions import CalleeSettings, Destination
from gateway.sip.invite import events
from gateway.sip.message.fields import Headers
from tests.legs.fakes import ALICE, PHONE, FakeInviter, listened
from tests.rows import by_row
from tests.timers import by_hand

SECOND = Destination("sip:a@h.invalid", received="tcp:192.0.2.1:2")
DEVICE = Destination("sip:a@h.invalid", received="tcp:192.0.2.1:1", others=(SECOND,))


async def asked(*devices: Destination, timeout: float = 5.0) -> tuple[SipCalleeLeg, FakeInviter, list[LegEvent]]:
    inviter = FakeInviter()
    leg = SipCalleeLeg("t", inviter, PHONE, devices, CalleeSettings(flow_timeout=timeout))
    heard = listened(leg)
    await leg.invite("offer", ALICE)
    return leg, inviter, heard


def by(inviter: FakeInviter) -> list[object]:
    """The flows that INVITEs went by."""
    return [given["received"] for _, given in inviter.invites]


def failed(status: int) -> events.Failed:
    return events.Failed(status, "", Headers())


@by_row(
    ("status", "responded", "goes_on"),
    [(430, True, True), (430, False, True), (408, False, True), (503, False, True), (408, True, False),
     (503, True, False), (486, True, False), (480, True, False)],
)  # fmt: skip
async def test_only_a_failed_flow_leads_to_the_next(status: int, responded: bool, goes_on: bool) -> None:
    """What the device itself says counts for all of its flows."""
    _, inviter, heard = await asked(DEVICE)
    inviter.sessions[0].has_responded = responded
    inviter.sessions[0].says(failed(status))
    assert by(inviter) == ["tcp:192.0.2.1:1", "tcp:192.0.2.1:2"][: 2 if goes_on else 1]
    assert bool(heard) is not goes_on


async def test_the_last_flow_that_fails_is_the_refusal() -> None:
    """And the other devices ring on."""
    _, inviter, heard = await asked(DEVICE, Destination("sip:b@h.test"))
    inviter.sessions[0].says(failed(430))
    inviter.sessions[2].says(failed(430))
    assert heard == []
    inviter.sessions[1].says(failed(486))
    assert [type(event) for event in heard] == [Rejected]
    assert len(inviter.invites) == 3


async def test_a_flow_by_which_nothing_comes_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes by it later is nobody's business, and its call is cancelled."""
    timers = by_hand(monkeypatch)
    leg, inviter, heard = await asked(DEVICE, timeout=5.0)
    timers.advance(4.9)
    assert len(inviter.sessions) == 1
    timers.advance(0.1)
    first, second = inviter.sessions
    assert [what for what, *_ in first.told] == ["hangup"]
    first.says(events.Provisional(180, "Ringing"))
    assert heard == []
    second.says(events.Provisional(180, "Ringing"))
    second.says(events.Answered(b"answer"))
    assert heard == [Ringing(), Answered("answer")]
    await leg.keep_answer()
    assert leg.chosen == SECOND
    first.says(events.Ended("remote"))
    assert len(heard) == 2


async def test_a_flow_that_answered_with_anything_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It rings as long as it likes."""
    timers = by_hand(monkeypatch)
    _, inviter, _ = await asked(DEVICE, timeout=5.0)
    inviter.sessions[0].has_responded = True
    timers.advance(60.0)
    assert len(inviter.invites) == 1


async def test_nothing_is_tried_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """No timer outlives the call."""
    timers = by_hand(monkeypatch)
    leg, inviter, _ = await asked(DEVICE, timeout=5.0)
    await leg.end(Cause.CANCELLED)
    timers.advance(60.0)
    assert len(inviter.invites) == 1


@by_row(
    ("destination", "secure"),
    [
        (Destination("sip:1@h", received="tls:192.0.2.1:5061"), True),
        (Destination("sip:1@h", received="wss:192.0.2.1:0/x"), True),
        (Destination("sips:1@h", received="tcp:192.0.2.1:5060"), False),
        (Destination("sip:1@h"), False),
        (Destination("sip:1@h;transport=tls"), True),
        (Destination("sips:1@h"), True),
        (Destination("sips:1@h", route=("<sip:proxy;lr>",)), False),
        (Destination("sip:1@h", route=("<sips:proxy;lr>",)), True),
    ],
)
async def test_for_a_sips_uri_the_first_hop_has_to_be_tls(destination: Destination, secure: bool) -> None:
    """Whatever the contact calls itself (RFC 5630)."""
    inviter = FakeInviter()
    leg = SipCalleeLeg("t", inviter, PHONE, [destination], CalleeSettings())
    assert leg.only_secure() is secure
    if secure:
        await leg.invite("offer", ALICE)
        assert len(inviter.invites) == 1


@pytest.mark.parametrize(("looks_up", "uri"), [(True, "sips:1@h"), (False, "sip:1@h")])
async def test_who_looks_the_uri_up_again_is_sent_a_sips_one(looks_up: bool, uri: str) -> None:
    """So that another gateway rings by TLS alone as well; a phone has its own contact."""
    inviter = FakeInviter()
    other = Destination("sip:1@h", route=("<sip:10.0.0.2;transport=tls;lr>",), looks_up=looks_up)
    leg = SipCalleeLeg("t", inviter, PHONE, [other], CalleeSettings())
    assert leg.only_secure()
    await leg.invite("offer", ALICE)
    assert [str(asked) for asked, _ in inviter.invites] == [uri]


async def test_a_device_is_asked_by_its_secure_flows_alone() -> None:
    """In their order, also where the first is not one."""
    flows = [
        Destination("sip:a@h", received=f"{way}:192.0.2.1:{port}") for port, way in enumerate(("tcp", "tls", "tls"), 1)
    ]
    inviter = FakeInviter()
    leg = SipCalleeLeg("t", inviter, PHONE, [replace(flows[0], others=tuple(flows[1:]))], CalleeSettings())
    assert leg.only_secure()
    await leg.invite("offer", ALICE)
    inviter.sessions[0].says(failed(430))
    inviter.sessions[1].says(failed(430))
    assert by(inviter) == ["tls:192.0.2.1:2", "tls:192.0.2.1:3"]


SIX = Destination("sip:a@h", received="tcp:[2001:db8::1]:1")
FOUR = Destination("sip:a@h", received="tcp:192.0.2.1:2")


async def by_versions(
    *devices: Destination, failover: bool = False, by_version: bool = True
) -> tuple[FakeInviter, list[LegEvent]]:
    inviter = FakeInviter()
    leg = SipCalleeLeg("t", inviter, PHONE, devices, CalleeSettings(failover=failover, by_version=by_version))
    heard = listened(leg)
    await leg.invite("offer", ALICE)
    return inviter, heard


async def following(event: LegEvent) -> list[LegEvent]:
    """What the one leg says that is asked instead, once it is."""
    assert isinstance(event, Redirected)
    [leg] = event.legs
    assert isinstance(leg, SipCalleeLeg)
    heard = listened(leg)
    await leg.invite(f"offer by {leg.party.family}", ALICE)
    return heard


@pytest.mark.parametrize("by_version", [False, True])
async def test_the_flow_by_the_other_ip_version_gets_an_offer_of_its_own(by_version: bool) -> None:
    """Where there is an address for media of each; without, it is told the only one."""
    inviter, heard = await by_versions(replace(SIX, others=(FOUR,)), by_version=by_version)
    inviter.sessions[0].says(failed(430))
    if by_version:
        assert [(type(event), getattr(event, "is_over", None)) for event in heard] == [(Redirected, True)]
        heard = await following(heard[0])
    assert by(inviter) == [SIX.received, FOUR.received]
    assert inviter.invites[1][1]["body"] == (b"offer by 4" if by_version else b"offer")
    inviter.sessions[1].says(events.Answered(b"answer"))
    assert heard == [Answered("answer")]


async def test_whoever_rings_beside_it_rings_on_and_who_comes_next_waits_for_both() -> None:
    """In either order of their refusals."""
    for first, second in ((1, 2), (2, 1)):
        beside, later = Destination("sip:b@[2001:db8::2]"), Destination("sip:c@[2001:db8::3]", rank=1)
        inviter, heard = await by_versions(replace(SIX, others=(FOUR,)), beside, later)
        inviter.sessions[0].says(failed(430))
        [event] = heard
        assert isinstance(event, Redirected)
        assert not event.is_over
        told = {1: heard, 2: await following(event)}
        assert len(inviter.invites) == 3
        inviter.sessions[first].says(failed(486))
        assert told[first][-1] == Rejected(Cause.BUSY)
        inviter.sessions[second].says(failed(480))
        last = await following(told[second][-1])
        assert [target for target, _ in inviter.invites[3:]] == ["sip:c@[2001:db8::3]"]
        inviter.sessions[3].says(failed(603))
        assert last == [Rejected(Cause.DECLINED)]


async def test_what_others_have_refused_before_counts_for_the_caller() -> None:
    """Busy tells more than that nobody is there by the last flow (RFC 3261 section 16.7)."""
    inviter, heard = await by_versions(replace(SIX, others=(FOUR,)), Destination("sip:b@[2001:db8::2]"))
    inviter.sessions[1].says(failed(486))
    inviter.sessions[0].says(failed(430))
    [event] = heard
    assert isinstance(event, Redirected)
    assert event.is_over
    last = await following(event)
    inviter.sessions[2].says(failed(430))
    assert last == [Rejected(Cause.BUSY)]


@pytest.mark.parametrize(("status", "goes_on"), [(503, True), (486, False)])
async def test_a_place_is_asked_by_both_versions_before_the_next_place(status: int, goes_on: bool) -> None:
    """Which is asked where nobody is at the first one by either; what is said of who is called counts."""
    place, next_place = Destination("sip:0@pbx.test", family=6), Destination("sip:0@192.0.2.9", rank=1)
    inviter, heard = await by_versions(replace(place, others=(replace(place, family=4),)), next_place, failover=True)
    inviter.sessions[0].says(failed(503))
    heard = await following(heard[0])
    assert [given["family"] for _, given in inviter.invites] == [6, 4]
    inviter.sessions[1].has_responded = True
    inviter.sessions[1].says(failed(status))
    if goes_on:
        heard = await following(heard[0])
        assert [target for target, _ in inviter.invites[2:]] == ["sip:0@192.0.2.9"]
        inviter.sessions[2].says(events.Answered(b"answer"))
        assert heard == [Answered("answer")]
    else:
        assert heard == [Rejected(Cause.BUSY)]


async def test_for_a_sips_uri_the_offer_is_of_the_version_of_the_secure_flow() -> None:
    """Whichever came first among the others."""
    secure = Destination("sip:a@h", received="tls:192.0.2.1:2")
    leg = SipCalleeLeg("t", FakeInviter(), PHONE, [replace(SIX, others=(secure,))], CalleeSettings(by_version=True))
    assert leg.party.family == 6
    assert leg.only_secure()
    assert leg.party.family == 4
