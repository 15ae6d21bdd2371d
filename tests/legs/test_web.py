"""Browser legs: one answer for one offer, the first page has the call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.call.journal import name_values
from gateway.call.leg import (
    Address,
    Answered,
    Away,
    CandidateAdded,
    DigitPressed,
    HungUp,
    Leg,
    LegEvent,
    OfferAnswered,
    Offered,
    Rejected,
    Returned,
    Ringing,
    Verdict,
)
from gateway.call.status import Cause
from gateway.legs.web import WebCalleeLeg, WebCallerLeg, WebHandle, WebResumedLeg
from gateway.media.engine import Kind
from tests.rows import by_row

ALICE = Address("sip:alice@gw.test", "Alice")
BOB = Address("sip:bob@gw.test", "Bob")


class Page:
    """A channel that remembers what it was told, with the handle it was told by."""

    def __init__(self, can_update: bool = True) -> None:
        self.can_update = can_update
        self.session: Mapping[str, Any] | None = None
        self.told: list[tuple[object, ...]] = []
        self.handle: WebHandle

    def _note(self, call: WebHandle, *what: object) -> None:
        self.handle = call
        self.told.append(what)

    def incoming(
        self, call: WebHandle, caller_uri: str, caller_name: str, sdp: str, verified: Verdict = "none"
    ) -> None:
        self._note(call, "incoming", caller_uri, caller_name, sdp)

    def early_answer(self, call: WebHandle, sdp: str) -> None:
        self._note(call, "early_answer", sdp)

    def ringing(self, call: WebHandle, sdp: str | None) -> None:
        self._note(call, "ringing", sdp)

    def answered(self, call: WebHandle, sdp: str | None) -> None:
        self._note(call, "answered", sdp)

    def updated(self, call: WebHandle, sdp: str | None, kind: str) -> None:
        self._note(call, "updated", sdp, kind)

    def candidate(self, call: WebHandle, candidate: str, mid: str | None) -> None:
        self._note(call, "candidate", candidate, mid)

    def connected(self, call: WebHandle) -> None:
        self._note(call, "connected")

    def digit(self, call: WebHandle, digit: str, duration_ms: int) -> None:
        self._note(call, "digit", digit, duration_ms)

    def identified(self, call: WebHandle, uri: str, name: str, verified: Verdict = "none") -> None:
        self.told.append(("identified", uri, name, verified))

    def recorded(self, call: WebHandle, recording: bool) -> None:
        self._note(call, "recorded", recording)

    def in_room(self, call: WebHandle, room: str, member: str) -> None:
        self._note(call, "in_room", room, member)

    def held(self, call: WebHandle, held: bool) -> None:
        self._note(call, "held", held)

    def ended(self, call: WebHandle, cause: Cause) -> None:
        self._note(call, "ended", cause)

    def moved(self, call: WebHandle) -> None:
        self._note(call, "moved")


class Ear:
    """A call's listener."""

    def __init__(self, leg: WebCallerLeg | WebCalleeLeg) -> None:
        self.heard: list[LegEvent] = []
        leg.listen(self._hear)

    def _hear(self, leg: Leg, event: LegEvent) -> None:
        self.heard.append(event)


def caller() -> tuple[WebCallerLeg, Page, Ear]:
    page = Page()
    leg = WebCallerLeg("t1", ALICE, page)
    return leg, page, Ear(leg)


async def callee(pages: int = 2) -> tuple[WebCalleeLeg, list[Page], Ear]:
    channels = [Page() for _ in range(pages)]
    leg = WebCalleeLeg("t2", BOB, channels)
    ear = Ear(leg)
    await leg.invite("offer", ALICE)
    return leg, channels, ear


@pytest.mark.parametrize("can_update", [True, False])
def test_the_engine_knows_of_a_page_whether_it_can_be_offered_anything_more(can_update: bool) -> None:
    """One that called by HTTP alone cannot; who is called has a channel that can; in another process it is the same."""
    leg = WebCallerLeg("t1", ALICE, Page(can_update))
    assert leg.party.reoffered is can_update
    assert leg.party.values()["reoffered"] is can_update
    assert WebCalleeLeg("t2", BOB, [Page()]).party.reoffered


@pytest.mark.parametrize("can_update", [True, False])
async def test_a_page_may_return_whose_media_ended_first(can_update: bool) -> None:
    """A reload ends the media, perhaps before it is said; media that never came, and HTTP sessions, do not return."""
    leg = WebCallerLeg("t1", ALICE, Page(can_update))
    assert not leg.may_return
    await leg.connected()
    assert leg.may_return is can_update


async def test_a_session_without_a_connection_is_written_down() -> None:
    """Also by the process that has found it, before its front end has; of a page there is none: it is to come back."""
    page, placed = Page(can_update=False), {"id": "s1", "owner": "alice"}
    leg, other = WebCallerLeg("t1", ALICE, page), WebCallerLeg("t2", ALICE, Page())
    page.session = placed
    written, found = leg.values(), other.values()
    assert written is not None
    assert (written["session"], written["returns"]) == (placed, False)
    assert found == {"kind": "web", "user": "", "is_caller": True, "returns": True}
    resumed = WebResumedLeg({**name_values(leg), **written})
    assert resumed.values() == written
    assert resumed.session == placed
    assert resumed.in_use is not None
    resumed.in_use.returned(page, None)
    assert resumed.values() == written
    assert WebResumedLeg({**name_values(other), **found}).values() == found


async def test_a_page_is_sent_to_the_gateway_that_has_its_call() -> None:
    """It hears of no end then; one that takes no call up again, and those that only ring, do."""
    leg, page, ear = caller()
    leg.leave()
    leg.leave()
    await leg.end(Cause.LOST)
    page.handle.hangup()
    assert page.told == [("moved",)]
    assert ear.heard == []
    by_http = Page(can_update=False)
    placed = WebCallerLeg("t3", ALICE, by_http)
    placed.leave()
    await placed.end(Cause.LOST)
    assert by_http.told == [("ended", Cause.LOST)]
    called, pages, _ = await callee()
    called.leave()
    await called.end(Cause.LOST)
    assert [one.told[-1] for one in pages] == [("ended", Cause.LOST)] * 2


async def test_a_page_hears_once_that_its_call_is_recorded_or_in_a_room() -> None:
    """Each change of its own; nothing while nobody has answered, and then with the next change."""
    leg, page, _ = caller()
    for _ in range(2):
        leg.note(recorded=True, room="team", member="1")
    leg.note(recorded=False, room="team", member="1")
    assert page.told == [("in_room", "team", "1"), ("recorded", True), ("recorded", False)]
    await leg.end(Cause.NORMAL)
    leg.note(recorded=True, room="", member="")
    assert len(page.told) == 4
    called, pages, _ = await callee()
    called.note(recorded=True, room="", member="")
    pages[1].handle.answer("answer")
    called.note(recorded=True, room="", member="")
    assert [one.told[-1] for one in pages] == [("ended", Cause.ELSEWHERE), ("recorded", True)]


async def test_an_offer_takes_one_answer_however_often_the_call_repeats_it() -> None:
    """After the early answer, ringing and the final answer carry no description."""
    leg, page, _ = caller()
    await leg.early_answer("early")
    await leg.ring("early")
    await leg.answer("early")
    assert page.told == [("early_answer", "early"), ("ringing", None), ("answered", None)]


async def test_without_an_early_answer_the_first_description_counts() -> None:
    """Early media in a 183 is the answer; the 200 adds nothing."""
    leg, page, _ = caller()
    await leg.ring("183")
    await leg.answer("200")
    assert page.told == [("ringing", "183"), ("answered", None)]


@by_row(
    ("act", "event"),
    [
        (lambda handle: handle.hangup(), HungUp(Cause.NORMAL)),
        (lambda handle: handle.candidate("c", "0"), CandidateAdded("c", "0")),
        (lambda handle: handle.digit("5", 200, print), DigitPressed("5", 200)),
        (lambda handle: handle.update("new"), Offered(1, "new")),
    ],
)
async def test_what_the_page_does_reaches_the_call(act: object, event: LegEvent) -> None:
    """Each method of the handle is one event of the leg."""
    leg, _, ear = caller()
    assert callable(act)
    act(leg.handle)
    assert ear.heard == [event]


async def test_the_end_is_told_once() -> None:
    """Whoever ends first, the page hears it once and nothing comes after it."""
    leg, page, ear = caller()
    await leg.end(Cause.BUSY)
    await leg.end(Cause.NORMAL)
    leg.handle.hangup()
    told: list[bool] = []
    leg.handle.digit("1", 160, told.append)
    assert page.told == [("ended", Cause.BUSY)]
    assert (ear.heard, told) == ([], [False])


async def test_a_hold_of_the_other_side_is_shown_by_the_page_that_has_the_call() -> None:
    """And its end; while several pages ring there is nothing to hold."""
    leg, page, _ = caller()
    await leg.held(True)
    await leg.held(False)
    assert page.told == [("held", True), ("held", False)]
    ringing, pages, _ = await callee(2)
    await ringing.held(True)
    assert all(("held", True) not in each.told for each in pages)


@pytest.mark.parametrize("can_update", [True, False])
async def test_a_digit_of_the_other_side_is_shown_where_the_page_can_show_it(can_update: bool) -> None:
    """A bare HTTP session has no way, so there it counts as got only where it went into the media."""
    page = Page(can_update)
    leg = WebCallerLeg("t1", ALICE, page)
    told: list[bool] = []
    for sent in (True, False):
        await leg.digit("5", 90, sent=sent, told=told.append)
    assert page.told == [("digit", "5", 90)] * 2
    assert told == [True, can_update]


async def test_events_before_the_call_listens_are_kept() -> None:
    """A page that hangs up while the call is still being made is not forgotten."""
    leg = WebCallerLeg("t1", ALICE, Page())
    leg.handle.hangup()
    assert Ear(leg).heard == [HungUp(Cause.NORMAL)]


async def test_every_page_of_a_user_rings() -> None:
    """All get the same offer, and the call hears ringing once."""
    leg, pages, ear = await callee(3)
    assert all(page.told == [("incoming", ALICE.uri, "Alice", "offer")] for page in pages)
    assert ear.heard == [Ringing()]
    assert leg.party.kind is Kind.WEBRTC


async def test_the_first_page_to_accept_has_the_call_and_the_others_hear_why() -> None:
    """The others end with "elsewhere", and what they still do is ignored."""
    leg, (first, second), ear = await callee()
    second.handle.answer("answer")
    assert first.told[-1] == ("ended", Cause.ELSEWHERE)
    assert ear.heard == [Ringing(), Answered("answer")]
    first.handle.answer("late")
    first.handle.hangup()
    assert ear.heard == [Ringing(), Answered("answer")]
    second.handle.hangup()
    assert ear.heard[-1] == HungUp(Cause.NORMAL)
    await leg.end(Cause.NORMAL)
    assert second.told[-1] == ("ended", Cause.NORMAL)
    assert second.told.count(("ended", Cause.NORMAL)) == 1


async def test_a_person_who_declines_declines_on_every_page() -> None:
    """The refusal is the person's, so nothing rings on."""
    _, (first, second), ear = await callee()
    first.handle.reject(Cause.DECLINED)
    assert second.told[-1] == ("ended", Cause.DECLINED)
    assert ear.heard[-1] == Rejected(Cause.DECLINED)


async def test_a_busy_page_leaves_the_free_ones_ringing() -> None:
    """One device in a call says nothing of the other; busy is said when every one is."""
    _, (first, second), ear = await callee()
    first.handle.reject(Cause.BUSY)
    assert second.told[-1][0] == "incoming"
    assert ear.heard == [Ringing()]
    second.handle.hangup(Cause.UNAVAILABLE)
    assert ear.heard[-1] == Rejected(Cause.BUSY)


async def test_a_page_that_goes_away_leaves_the_others_ringing() -> None:
    """Only when the last one is gone is the user unavailable."""
    _, (first, second), ear = await callee()
    first.handle.hangup(Cause.UNAVAILABLE)
    assert ear.heard == [Ringing()]
    second.handle.hangup(Cause.UNAVAILABLE)
    assert ear.heard[-1] == Rejected(Cause.UNAVAILABLE)


async def test_a_caller_who_gives_up_stops_every_page() -> None:
    """All pages hear the cancellation."""
    leg, pages, _ = await callee(3)
    await leg.end(Cause.CANCELLED)
    assert all(page.told[-1] == ("ended", Cause.CANCELLED) for page in pages)


async def test_updates_go_to_the_page_that_has_the_call() -> None:
    """Hold is an offer to that page, and its answer comes back."""
    leg, (first, second), ear = await callee()
    updatable = [leg.can_update]
    first.handle.answer("answer")
    assert [*updatable, leg.can_update] == [False, True]
    await leg.offer(5, "hold")
    await leg.answer_offer(1, None)
    assert first.told[-2:] == [("updated", "hold", "offer"), ("updated", None, "answer")]
    first.handle.update_answer("held")
    assert ear.heard[-1] == OfferAnswered(5, "held")
    assert second.told[-1] == ("ended", Cause.ELSEWHERE)


async def test_a_page_that_declines_at_once_leaves_no_other_page_ringing() -> None:
    """A refusal by the person on the first page ends the call for all before the others have heard of it."""

    class Refusing(Page):
        def incoming(self, call: WebHandle, *what: Any, **more: Any) -> None:
            super().incoming(call, *what, **more)
            call.reject(Cause.DECLINED)

    pages = [Refusing(), Page()]
    leg = WebCalleeLeg("t2", BOB, pages)
    ear = Ear(leg)
    await leg.invite("offer", ALICE)
    assert ear.heard == [Rejected(Cause.DECLINED)]
    assert pages[1].told in ([], [("ended", Cause.DECLINED)])


async def test_a_changed_answer_is_not_given_to_a_page_that_has_one() -> None:
    """One offer takes one answer: the leg says that it wants a re-offer instead."""
    leg, page, _ = caller()
    await leg.early_answer("early")
    assert await leg.answer("another") is False
    assert page.told[-1] == ("answered", None)
    assert await leg.answer("early") is True


async def test_a_late_answer_of_a_page_belongs_to_the_offer_it_was_asked_first() -> None:
    """Offers are answered in the order they came in; what nobody has asked for is no answer."""
    leg, _, ear = caller()
    taken = [leg.handle.update_answer("unasked")]
    await leg.offer(4, "first")
    leg.forget_offer(4, timed_out=False)
    await leg.offer(5, "second")
    taken += [leg.handle.update_answer(sdp) for sdp in ("late", "now", "once more")]
    assert taken == [False, True, True, False]
    assert ear.heard == [OfferAnswered(4, "late"), OfferAnswered(5, "now")]


async def test_an_offer_to_a_page_waits_for_the_answer_to_its_own() -> None:
    """The page has offered first: until it is answered ours may be taken back, then it goes out."""
    leg, page, _ = caller()
    leg.handle.update("its own")
    await leg.offer(4, "ours")
    assert leg.take_back_offer(4)
    assert not leg.take_back_offer(4)
    await leg.offer(5, "ours again")
    assert page.told == []
    await leg.answer_offer(1, "answer")
    assert page.told == [("updated", "answer", "answer"), ("updated", "ours again", "offer")]
    assert not leg.take_back_offer(5)
    assert leg.handle.open_offer == 5


async def test_an_offer_that_waits_for_a_page_can_be_forgotten() -> None:
    """The call needs it no more."""
    leg, page, _ = caller()
    leg.handle.update("its own")
    await leg.offer(4, "ours")
    leg.forget_offer(4, timed_out=False)
    await leg.answer_offer(1, "answer")
    assert page.told == [("updated", "answer", "answer")]


@pytest.mark.parametrize("offers", [True, False])
async def test_an_offer_that_a_page_has_left_unanswered_takes_no_later_answer(offers: bool) -> None:
    """Its time was over, or the page has offered itself; until it is asked again it may answer late."""
    leg, _, ear = caller()
    awaits = [leg.handle.open_offer]
    await leg.offer(4, "first")
    awaits.append(leg.handle.open_offer)
    leg.forget_offer(4, timed_out=not offers)
    awaits.append(leg.handle.open_offer)
    if offers:
        leg.handle.update("its own")
        await leg.answer_offer(1, "answer")
    await leg.offer(5, "second")
    leg.handle.update_answer("second answer")
    await leg.offer(6, "third")
    leg.forget_offer(6, timed_out=True)
    leg.handle.update_answer("late")
    assert [event for event in ear.heard if isinstance(event, OfferAnswered)] == [
        OfferAnswered(5, "second answer"),
        OfferAnswered(6, "late"),
    ]
    assert awaits == [0, 4, 0]


async def test_a_page_that_vanished_comes_back_over_another_channel() -> None:
    """What it is told from then on goes there; answers to what it was asked before are moot."""
    leg, old, ear = caller()
    await leg.offer(4, "asked before")
    leg.handle.away()
    new = Page()
    leg.handle.returned(new, "restart")
    assert not leg.handle.open_offer
    leg.handle.update_answer("too late")
    await leg.answer_offer(1, "answer")
    assert ear.heard == [Away(), Returned(1, "restart")]
    assert new.told == [("updated", "answer", "answer")]
    assert old.told == [("updated", "asked before", "offer")]
    await leg.end(Cause.NORMAL)
    assert new.told[-1] == ("ended", Cause.NORMAL)


async def test_a_page_that_reloads_while_it_rings_rings_again() -> None:
    """The last page's reload is no refusal; a page that opens meanwhile rings, too."""
    leg, (first,), ear = await callee(1)
    first.handle.away()
    assert ear.heard == [Ringing(), Away()]
    again, other = Page(), Page()
    leg.add(again)
    leg.add(other)
    assert ear.heard == [Ringing(), Away(), Returned()]
    assert again.told == other.told == [("incoming", ALICE.uri, "Alice", "offer")]
    again.handle.answer("answer")
    assert other.told[-1] == ("ended", Cause.ELSEWHERE)
    leg.add(Page())
    assert ear.heard[-1] == Answered("answer")


async def test_the_page_that_has_the_call_hears_that_its_media_is_up() -> None:
    """A page that only rings has none."""
    leg, page, _ = caller()
    await leg.connected()
    assert page.told == [("connected",)]
    called, pages, _ = await callee()
    await called.connected()
    pages[0].handle.answer("answer")
    await called.connected()
    assert [("connected",) in page.told for page in pages] == [True, False]


class Sleeper:
    """A waker that remembers what it was asked."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def call(self, user: str, caller: Address) -> None:
        self.told.append(("call", user, caller))

    def over(self, user: str, caller: Address, cause: Cause) -> None:
        self.told.append(("over", user, caller, cause))


async def _woken() -> tuple[WebCalleeLeg, Sleeper, Ear]:
    sleeper = Sleeper()
    leg = WebCalleeLeg("t2", BOB, [], "bob", sleeper)
    ear = Ear(leg)
    await leg.invite("offer", ALICE)
    return leg, sleeper, ear


async def test_a_closed_page_is_woken_and_rings_when_it_comes() -> None:
    """The first page that comes is no return; the other browsers are told once that it was answered elsewhere."""
    leg, sleeper, ear = await _woken()
    assert (sleeper.told, ear.heard) == ([("call", "bob", ALICE)], [])
    page = Page()
    leg.add(page)
    assert ear.heard == [Ringing()]
    leg.nobody_came()
    page.handle.answer("answer")
    assert ear.heard == [Ringing(), Answered("answer")]
    await leg.end(Cause.NORMAL)
    assert sleeper.told == [("call", "bob", ALICE), ("over", "bob", ALICE, Cause.ELSEWHERE)]


@by_row(
    ("refusals", "told"),
    [
        ([Cause.DECLINED], Cause.ELSEWHERE),
        ([Cause.UNAVAILABLE, Cause.BUSY], Cause.BUSY),
        ([], Cause.CANCELLED),
    ],
)
async def test_woken_browsers_are_told_once_that_it_rings_no_more(refusals: list[Cause], told: Cause) -> None:
    """Whichever pages were open: declined there, all of them busy, or given up by the caller."""
    leg, sleeper, _ = await _woken()
    pages = [Page(), Page()]
    for page in pages:
        leg.add(page)
    for page, cause in zip(pages, refusals, strict=False):
        page.handle.reject(cause)
    await leg.end(Cause.CANCELLED)
    assert sleeper.told[1:] == [("over", "bob", ALICE, told)]


async def test_where_no_page_comes_the_callee_is_unavailable_and_told_of_it_once() -> None:
    """A page that comes later rings no more."""
    leg, sleeper, ear = await _woken()
    leg.nobody_came()
    leg.nobody_came()
    leg.add(Page())
    await leg.end(Cause.CANCELLED)
    assert ear.heard == [Rejected(Cause.UNAVAILABLE)]
    assert sleeper.told == [("call", "bob", ALICE), ("over", "bob", ALICE, Cause.UNAVAILABLE)]


async def test_a_call_that_ends_before_a_page_has_come_is_told_of_with_its_cause() -> None:
    """A desk phone took it, or the caller gave up."""
    leg, sleeper, ear = await _woken()
    await leg.end(Cause.ELSEWHERE)
    leg.nobody_came()
    assert ear.heard == []
    assert sleeper.told[1:] == [("over", "bob", ALICE, Cause.ELSEWHERE)]


@by_row("verdict", ["passed", "failed", "none"])
async def test_a_page_is_told_what_a_trunk_says_of_the_number(verdict: Verdict) -> None:
    """With the call that comes in."""

    class Told(Page):
        def incoming(self, call: WebHandle, *what: Any, **more: Any) -> None:
            self.told.append(what)

    page = Told()
    await WebCalleeLeg("t2", BOB, [page]).invite("offer", replace(ALICE, verified=verdict))
    assert page.told == [(ALICE.uri, ALICE.display_name, "offer", verdict)]


async def test_a_page_is_told_who_it_talks_with_now() -> None:
    """Only the page that has the call."""
    first, second = Page(), Page()
    leg = WebCalleeLeg("t2", BOB, [first, second])
    await leg.invite("offer", ALICE)
    await leg.identified(ALICE)
    first.handle.answer("answer")
    await leg.identified(replace(ALICE, verified="passed"))
    told = ("identified", ALICE.uri, ALICE.display_name, "passed")
    assert (first.told.count(told), second.told.count(told)) == (1, 0)
