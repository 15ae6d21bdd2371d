"""Destinations one after another: devices in order, places of a trunk for when one does not answer."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.call.leg import Answered, LegEvent, Redirected, Rejected, Ringing
from gateway.call.status import Cause
from gateway.legs.sip_bodies import reason_of
from gateway.legs.sip_callee import SipCalleeLeg
from gateway.legs.sip_sessions import CalleeSettings, Destination
from gateway.media.engine import Kind
from gateway.sip.errors import SipBuildError
from gateway.sip.invite import events
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.fields import Headers
from tests.legs.fakes import ALICE, PHONE, FakeInviter, FakeSession, listened
from tests.rows import by_row
from tests.timers import by_hand

CANCELLED = ("hangup", reason_of(Cause.CANCELLED))


async def asked(
    *ranks: int, failover: bool = False, patience: float = 0.0
) -> tuple[SipCalleeLeg, FakeInviter, list[LegEvent]]:
    """A leg whose destinations have these ranks, once it has been told to ask."""
    inviter = FakeInviter()
    places = [Destination(f"sip:{number}@h.test", rank=rank) for number, rank in enumerate(ranks)]
    leg = SipCalleeLeg("t", inviter, PHONE, places, CalleeSettings(failover=failover, patience=patience))
    heard = listened(leg)
    await leg.invite("offer", ALICE)
    return leg, inviter, heard


def went_to(inviter: FakeInviter) -> list[str]:
    return [target for target, _ in inviter.invites]


async def test_those_of_one_rank_are_asked_together_and_lower_ranks_first() -> None:
    """The rank says it, not the place in the list."""
    _, inviter, _ = await asked(1, 0, 0)
    assert went_to(inviter) == ["sip:1@h.test", "sip:2@h.test"]


async def test_the_next_device_is_asked_when_all_before_have_refused() -> None:
    """Busy is one refusal among others; the last one is the call's."""
    _, inviter, heard = await asked(0, 0, 1)
    inviter.sessions[0].says(events.Failed(486, "Busy", Headers()))
    assert len(inviter.invites) == 2
    inviter.sessions[1].says(events.Failed(480, "Away", Headers()))
    assert went_to(inviter)[2] == "sip:2@h.test"
    assert inviter.invites[2][1]["body"] == b"offer"
    inviter.sessions[2].says(events.Answered(b"answer"))
    assert heard == [Answered("answer")]


async def test_a_device_that_rings_too_long_is_given_up_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cancelled, and what it says later is nobody's business."""
    timers = by_hand(monkeypatch)
    leg, inviter, heard = await asked(0, 1, patience=20.0)
    inviter.sessions[0].has_responded = True
    timers.advance(19.9)
    assert inviter.sessions[0].told == []
    timers.advance(0.1)
    assert inviter.sessions[0].told == [CANCELLED]
    inviter.sessions[0].says(events.Failed(487, "Terminated", Headers()))
    assert (len(inviter.invites), heard) == (2, [])
    timers.advance(60.0)
    assert inviter.sessions[1].told == []
    await leg.end(Cause.CANCELLED)
    assert inviter.sessions[1].told == [CANCELLED]


async def test_a_global_refusal_asks_nobody_else() -> None:
    """6xx speaks for every device of that person (RFC 3261 section 16.7)."""
    _, inviter, heard = await asked(0, 1)
    inviter.sessions[0].says(events.Failed(603, "Decline", Headers()))
    assert (len(inviter.invites), heard) == (1, [Rejected(Cause.DECLINED)])


@by_row("status", [500, 502, 503, 504, 408])
async def test_a_place_where_nobody_is_leads_to_the_next(status: int) -> None:
    """Out of order, overloaded, or silent."""
    _, inviter, heard = await asked(0, 1, failover=True)
    inviter.sessions[0].says(events.Failed(status, "", Headers()))
    assert (len(inviter.invites), heard) == (2, [])


@by_row("status", [486, 404, 403, 408, 480])
async def test_a_refusal_of_the_callee_is_the_calls(status: int) -> None:
    """Another place of the trunk would say the same, and a 408 after ringing is the callee's."""
    _, inviter, heard = await asked(0, 1, failover=True)
    inviter.sessions[0].has_responded = True
    inviter.sessions[0].says(events.Failed(status, "", Headers()))
    assert len(inviter.invites) == 1
    assert [type(event) for event in heard] == [Rejected]


@pytest.mark.parametrize(("responded", "invites"), [(False, 2), (True, 1)])
async def test_a_place_that_says_nothing_at_all_is_given_up(
    monkeypatch: pytest.MonkeyPatch, responded: bool, invites: int
) -> None:
    """Who has said 100 is at work, however long it takes."""
    timers = by_hand(monkeypatch)
    _, inviter, _ = await asked(0, 1, failover=True, patience=4.0)
    inviter.sessions[0].has_responded = responded
    timers.advance(4.0)
    assert len(inviter.invites) == invites
    assert (CANCELLED in inviter.sessions[0].told) is not responded


async def test_nothing_is_asked_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that gives up while the first rings leaves no timer that would ring the next."""
    timers = by_hand(monkeypatch)
    leg, inviter, _ = await asked(0, 1, patience=4.0)
    await leg.end(Cause.CANCELLED)
    timers.advance(60.0)
    assert len(inviter.invites) == 1


class _Broken(FakeInviter):
    """Can reach the last destination only."""

    def invite(self, target: Any, **arguments: Any) -> FakeSession:
        if "2@" not in str(target):
            raise SipBuildError("no such place")
        return super().invite(target, **arguments)


async def test_a_place_that_no_request_can_name_is_passed_over() -> None:
    """A rank of nothing but those is no rank."""
    inviter = _Broken()
    places = [Destination(f"sip:{number}@h.test", rank=number) for number in range(3)]
    leg = SipCalleeLeg("t", inviter, PHONE, places, CalleeSettings(failover=True, patience=1.0))
    await leg.invite("offer", ALICE)
    assert went_to(inviter) == ["sip:2@h.test"]


@by_row("status", [415, 488, 606])
async def test_a_phone_that_refuses_the_description_is_asked_for_another(status: int) -> None:
    """By a leg of its own, in place of the first; the other phones ring on; nobody is asked a third time."""
    inviter = FakeInviter()
    places = [Destination("sip:plain@h.test"), Destination("sip:secure@h.test", identity="1001")]
    leg = SipCalleeLeg("t", inviter, PHONE, places, CalleeSettings(instead=(Kind.SDES,)))
    heard = listened(leg)
    await leg.invite("offer", ALICE)
    inviter.sessions[1].says(events.Failed(status, "", Headers()))
    [event] = heard
    assert isinstance(event, Redirected)
    assert (event.targets, event.is_over) == ((), False)
    [again] = event.legs
    assert again.party.kind is Kind.SDES
    await again.invite("secure offer", ALICE)
    assert (went_to(inviter)[-1], inviter.invites[-1][1]["body"]) == ("sip:secure@h.test", b"secure offer")
    assert isinstance(again, SipCalleeLeg)
    refused = listened(again)
    inviter.sessions[2].says(events.Failed(488, "", Headers()))
    assert refused == [Rejected(Cause.NOT_ACCEPTABLE)]
    assert inviter.sessions[0].told == []


async def test_who_comes_next_waits_for_a_phone_that_is_asked_for_another_description() -> None:
    """The order holds; with another place of a trunk, which has answered, nobody comes next."""
    for failover in (False, True):
        inviter = FakeInviter()
        places = [Destination("sip:1@h.test"), Destination("sip:2@h.test", rank=1)]
        settings = CalleeSettings(instead=(Kind.SDES,), failover=failover)
        leg = SipCalleeLeg("t", inviter, PHONE, places, settings)
        heard = listened(leg)
        await leg.invite("offer", ALICE)
        inviter.sessions[0].says(events.Failed(488, "", Headers()))
        [event] = heard
        assert isinstance(event, Redirected)
        assert event.is_over
        [again] = event.legs
        assert isinstance(again, SipCalleeLeg)
        refused = listened(again)
        await again.invite("secure offer", ALICE)
        assert went_to(inviter) == ["sip:1@h.test"] * 2
        inviter.sessions[1].says(events.Failed(480, "", Headers()))
        [event] = refused
        assert isinstance(event, Rejected if failover else Redirected)


async def test_the_last_phone_that_refuses_the_description_leaves_its_place_to_the_other_leg() -> None:
    """What was refused to be encrypted is not offered in the clear: without `instead` it is a refusal."""
    leg, inviter, heard = await asked(0)
    inviter.sessions[0].says(events.Failed(488, "", Headers()))
    assert heard == [Rejected(Cause.NOT_ACCEPTABLE)]
    inviter = FakeInviter()
    leg = SipCalleeLeg("t", inviter, PHONE, [Destination("sip:1@h.test")], CalleeSettings(instead=(Kind.SDES,)))
    heard = listened(leg)
    await leg.invite("offer", ALICE)
    inviter.sessions[0].says(events.Failed(488, "", Headers()))
    assert [isinstance(event, Redirected) and event.is_over for event in heard] == [True]


MOVED = events.Failed(302, "", Headers(), (NameAddr.parse("<sip:a@x>"),))


def named(heard: list[LegEvent]) -> list[Redirected]:
    """What phones have said of others, each of which the next rank waits for."""
    found = [event for event in heard if isinstance(event, Redirected)]
    assert all(event.then is not None and not event.is_over for event in found)
    return found


async def test_whom_phones_of_a_rank_name_is_of_that_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next is asked when nobody of the rank rings and none of those has taken the call, and not before."""
    timers = by_hand(monkeypatch)
    _, inviter, heard = await asked(0, 0, 0, 1, patience=20.0)
    for number in (0, 1):
        inviter.sessions[number].says(MOVED)
    first, second = named(heard)
    assert (first.time, second.time) == (20.0, 20.0)
    timers.advance(20.0)
    assert inviter.sessions[2].told == [CANCELLED]
    assert first.then is not None
    first.then(Cause.NO_ANSWER)
    assert len(inviter.invites) == 3
    assert second.then is not None
    second.then(Cause.BUSY)
    assert went_to(inviter)[3:] == ["sip:3@h.test"]
    inviter.sessions[3].says(events.Failed(480, "", Headers()))
    assert heard[2:] == [Rejected(Cause.BUSY)]


async def test_a_rank_that_still_rings_is_waited_for_though_those_it_named_refused() -> None:
    """Whichever ends last."""
    _, inviter, heard = await asked(0, 0, 1)
    inviter.sessions[0].says(MOVED)
    [event] = named(heard)
    assert event.time is None
    assert event.then is not None
    event.then(Cause.BUSY)
    assert len(inviter.invites) == 2
    inviter.sessions[1].says(events.Failed(486, "", Headers()))
    assert len(inviter.invites) == 3


async def test_nobody_is_asked_any_more_when_those_a_phone_named_come_back_too_late() -> None:
    """The call was given up, or another phone has it; a 6xx of that rank ends it, too, once they have refused."""
    leg, inviter, heard = await asked(0, 1)
    inviter.sessions[0].says(MOVED)
    [event] = named(heard)
    await leg.end(Cause.CANCELLED)
    assert event.then is not None
    event.then(Cause.BUSY)
    assert (len(inviter.invites), len(heard)) == (1, 1)
    leg, inviter, heard = await asked(0, 0, 1)
    inviter.sessions[0].says(MOVED)
    [event] = named(heard)
    inviter.sessions[1].says(events.Failed(603, "", Headers()))
    assert heard[1:] == []
    assert event.then is not None
    event.then(Cause.BUSY)
    assert (len(inviter.invites), heard[1:]) == (2, [Rejected(Cause.DECLINED)])
    leg, inviter, heard = await asked(0, 0, 1)
    inviter.sessions[0].says(MOVED)
    [event] = named(heard)
    inviter.sessions[1].says(events.Answered(b"answer"))
    assert event.then is not None
    event.then(Cause.CANCELLED)
    assert (len(inviter.invites), heard[1:]) == (2, [Answered("answer")])


async def test_a_phone_that_wants_other_media_does_not_pass_whom_another_of_its_rank_named() -> None:
    """All three are of one rank."""
    inviter = FakeInviter()
    places = [Destination(f"sip:{number}@h.test", rank=number // 2) for number in range(3)]
    leg = SipCalleeLeg("t", inviter, PHONE, places, CalleeSettings(instead=(Kind.SDES,)))
    heard = listened(leg)
    await leg.invite("offer", ALICE)
    inviter.sessions[0].says(MOVED)
    inviter.sessions[1].says(events.Failed(488, "", Headers()))
    named_, other = heard
    assert isinstance(named_, Redirected)
    assert isinstance(other, Redirected)
    assert not other.is_over
    [again] = other.legs
    assert isinstance(again, SipCalleeLeg)
    refused = listened(again)
    await again.invite("secure offer", ALICE)
    inviter.sessions[2].says(events.Failed(486, "", Headers()))
    assert refused == [Rejected(Cause.BUSY)]
    assert named_.then is not None
    named_.then(Cause.NO_ANSWER)
    last = heard[2]
    assert isinstance(last, Redirected)
    [following] = last.legs
    await following.invite("offer", ALICE)
    assert went_to(inviter)[3:] == ["sip:2@h.test"]


# ---- early media


def early(number: int) -> events.Provisional:
    return events.Provisional(183, "Session Progress", b"early %d" % number, 1)


async def test_the_call_has_the_early_description_of_one_phone_at_a_time() -> None:
    """The first, until that phone is gone or the call asks for another; the others only ring."""
    leg, inviter, heard = await asked(0, 0, 0)
    for number in range(3):
        inviter.sessions[number].says(early(number))
    inviter.sessions[0].says(events.Provisional(183, "Session Progress", b"changed", 1))
    assert heard == [Ringing("early 0"), Ringing(), Ringing(), Ringing("changed")]
    assert [leg.next_preview() for _ in range(4)] == ["early 1", "early 2", "changed", "early 1"]
    inviter.sessions[1].says(events.Failed(486, "Busy Here", Headers()))
    inviter.sessions[0].says(events.Failed(486, "Busy Here", Headers()))
    assert heard[4:] == [Ringing("changed", is_another=True), Ringing("early 2", is_another=True)]
    assert leg.next_preview() is None


async def test_a_200_without_a_body_has_the_early_description_of_its_own_phone() -> None:
    """The call had the one of the other phone."""
    _, inviter, heard = await asked(0, 0)
    for number in range(2):
        inviter.sessions[number].says(early(number))
    inviter.sessions[1].says(events.Answered(b"", 1))
    assert heard[-1] == Answered("early 1")


async def test_a_refused_answer_leaves_the_rank_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next rank is asked once the devices that ring on have had it."""
    timers = by_hand(monkeypatch)
    leg, inviter, _ = await asked(0, 0, 1, patience=20.0)
    timers.advance(10.0)
    inviter.sessions[0].says(events.Answered(b"answer"))
    await leg.refuse_answer(Cause.NOT_ACCEPTABLE)
    timers.advance(19.9)
    assert len(inviter.invites) == 2
    timers.advance(0.1)
    assert went_to(inviter)[2:] == ["sip:2@h.test"]
