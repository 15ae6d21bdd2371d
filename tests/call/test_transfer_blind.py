"""A leg is replaced by somebody who must first be asked: a blind transfer, and everything that may cross it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.call.leg import (
    Answered,
    HungUp,
    Leg,
    OfferAnswered,
    Offered,
    Redirected,
    Rejected,
    Ringing,
    TransferRequested,
)
from gateway.call.state import State, Transfer
from gateway.call.status import Cause
from gateway.media.engine import MediaError
from gateway.testing.leg import FakeLeg
from tests.call.rig import ANSWER, OFFER, Blind, Report, Rig
from tests.rows import by_row

HELD = OFFER + "a=sendonly\r\n"


async def test_who_answers_takes_the_place_of_who_asked() -> None:
    """The one who stays is neither ended nor offered anew; who asked hears every step, then is ended."""
    blind = await Blind().begun()
    [target] = blind.targets
    await blind.hears(target, Ringing(), Answered(ANSWER))
    assert blind.report.told == ["accepted", "ringing", Cause.NORMAL]
    assert blind.leaving.told[-1] == ("end", Cause.NORMAL)
    assert blind.rig.engine.joined("c1", "caller") == "target0"
    assert blind.rig.engine.parties("c1") == {"caller", "target0"}
    blind.rig.expect(State.CONNECTED)
    await blind.hears(target, HungUp())
    assert blind.staying.told[-1] == ("end", Cause.NORMAL)
    blind.over()


async def test_of_several_targets_the_first_to_answer_comes() -> None:
    """The others hear that it was answered elsewhere."""
    blind = await Blind(3).begun()
    first, second, third = blind.targets
    await blind.hears(first, Rejected(Cause.BUSY))
    await blind.hears(third, Answered(ANSWER))
    assert second.told[-1] == ("end", Cause.ELSEWHERE)
    assert blind.rig.engine.parties("c1") == {"caller", "target2"}
    await blind.hears(second, Answered(ANSWER))
    blind.rig.expect(State.CONNECTED)


@pytest.mark.parametrize("is_over", [True, False])
async def test_a_target_that_wants_other_media_is_asked_for_them(is_over: bool) -> None:
    """As a callee that is dialled is; whichever answers comes, and only when none is left it has failed."""
    blind, again = await Blind().begun(), FakeLeg("again")
    await blind.hears(blind.targets[0], Redirected((), is_over, legs=(again,)))
    assert again.verbs == ["invite"]
    assert blind.report.told == ["accepted"]
    await blind.hears(again, Ringing(), Answered(ANSWER))
    assert blind.report.told == ["accepted", "ringing", Cause.NORMAL]
    assert blind.rig.engine.joined("c1", "caller") == "again"
    assert blind.rig.engine.parties("c1") == {"caller", "again"}


async def test_a_target_whose_phone_names_others_is_asked_by_its_next_phones() -> None:
    """In a transfer nobody is asked instead."""
    blind, causes = await Blind().begun(), list[Cause]()
    await blind.hears(blind.targets[0], Redirected(("sip:2@x",), is_over=False, then=causes.append))
    assert causes == [Cause.UNAVAILABLE]
    await blind.hears(blind.targets[0], Answered(ANSWER))
    assert blind.report.told == ["accepted", Cause.NORMAL]


async def test_a_target_that_refuses_other_media_too_has_refused() -> None:
    """And one that can be offered none: who asked is told."""
    blind, again = await Blind().begun(), FakeLeg("again")
    await blind.hears(blind.targets[0], Redirected((), is_over=True, legs=(again,)))
    await blind.hears(again, Rejected(Cause.NOT_ACCEPTABLE))
    assert blind.report.told == ["accepted", Cause.NOT_ACCEPTABLE]
    blind.targets = [FakeLeg("second")]
    await blind.ask()
    blind.rig.engine.script("create_offer", MediaError("no codec", 488))
    await blind.hears(blind.targets[0], Redirected((), is_over=True, legs=(FakeLeg("third"),)))
    assert blind.report.told[-1] is Cause.NOT_ACCEPTABLE
    assert blind.rig.engine.parties("c1") == {"caller", "callee0"}
    blind.rig.expect(State.CONNECTED)


@pytest.mark.parametrize("cause", [Cause.BUSY, Cause.DECLINED])
async def test_when_the_target_refuses_the_old_call_goes_on(cause: Cause) -> None:
    """Who asked is told why, may ask again, and both still talk."""
    blind = await Blind().begun()
    await blind.hears(blind.targets[0], Ringing(), Rejected(cause))
    assert blind.report.told == ["accepted", "ringing", cause]
    blind.rig.expect(State.CONNECTED)
    assert blind.rig.engine.joined("c1", "caller") == "callee0"
    assert blind.rig.engine.parties("c1") == {"caller", "callee0"}
    blind.targets = [FakeLeg("again")]
    await blind.ask()
    await blind.hears(blind.targets[0], Answered(ANSWER))
    assert blind.rig.engine.joined("c1", "caller") == "again"


async def test_a_target_that_does_not_answer_is_given_up() -> None:
    """After the time that a call may ring."""
    blind = await Blind().begun()
    blind.rig.timers.advance(30)
    await blind.rig.settle()
    assert blind.report.told == ["accepted", Cause.NO_ANSWER]
    assert blind.targets[0].told[-1] == ("end", Cause.NO_ANSWER)
    blind.rig.expect(State.CONNECTED)


async def test_who_asked_need_not_wait() -> None:
    """It hangs up while the target rings: the other side waits and then talks with whoever answers."""
    blind = await Blind().begun()
    await blind.hears(blind.leaving, HungUp())
    blind.rig.expect(State.AWAY)
    assert "end" not in blind.staying.verbs
    await blind.hears(blind.staying, Offered(5, HELD))
    assert isinstance(blind.staying.replies[5], str)
    await blind.hears(blind.targets[0], Answered(ANSWER))
    blind.rig.expect(State.CONNECTED)
    assert blind.rig.engine.joined("c1", "caller") == "target0"
    assert blind.report.told[-1] is Cause.NORMAL


@by_row("how", ["refused", "not answered", "media"])
async def test_when_who_asked_has_gone_a_failure_ends_the_call(how: str) -> None:
    """The one who stayed has nobody left, and hears why."""
    blind = await Blind().begun()
    await blind.hears(blind.leaving, HungUp())
    if how == "refused":
        await blind.hears(blind.targets[0], Rejected(Cause.BUSY))
    elif how == "not answered":
        blind.rig.timers.advance(30)
        await blind.rig.settle()
    else:
        blind.rig.engine.script("answer", MediaError("no", 488))
        await blind.hears(blind.targets[0], Answered(ANSWER))
    assert blind.report.told[-1] in (Cause.BUSY, Cause.NO_ANSWER, Cause.NOT_ACCEPTABLE)
    assert blind.staying.told[-1] == ("end", blind.report.told[-1])
    blind.over()


@pytest.mark.parametrize("moment", ["ringing", "transferor gone"])
async def test_who_stays_may_hang_up_midway(moment: str) -> None:
    """The target is cancelled, and who asked is told."""
    blind = await Blind().begun()
    if moment == "transferor gone":
        await blind.hears(blind.leaving, HungUp())
    await blind.hears(blind.staying, HungUp())
    assert blind.targets[0].told[-1] == ("end", Cause.CANCELLED)
    assert blind.report.told[-1] is Cause.CANCELLED
    blind.over()


async def test_a_second_transfer_waits_for_nobody() -> None:
    """There is one at a time: the other is refused, and its targets never ring."""
    blind = await Blind().begun()
    report, late = Report(), FakeLeg("late")
    blind.rig.call.transfer(Transfer(transferor=blind.leaving, targets=[late], report=report))
    await blind.rig.settle()
    assert report.told == [Cause.GLARE]
    assert late.told == [("end", Cause.GLARE)]
    await blind.hears(blind.targets[0], Answered(ANSWER))
    assert blind.report.told[-1] is Cause.NORMAL


async def test_a_transfer_of_a_call_that_is_over_is_refused() -> None:
    """Its targets are ended, for nobody is left to talk to."""
    blind = Blind()
    await blind.rig.connected()
    blind.rig.call.stop()
    await blind.rig.settle()
    await blind.ask()
    assert blind.report.told == [Cause.UNAVAILABLE]
    assert blind.targets[0].told == [("end", Cause.UNAVAILABLE)]


async def test_who_was_held_by_who_left_is_offered_media_again() -> None:
    """A phone holds before it transfers; nobody else could take that back."""
    blind = Blind()
    await blind.rig.connected()
    await blind.hears(blind.leaving, Offered(1, HELD))
    await blind.rig.answers(blind.staying)
    assert ("held", True) in blind.staying.told
    await blind.ask()
    await blind.hears(blind.targets[0], Answered(ANSWER))
    assert ("held", False) in blind.staying.told
    assert blind.staying.verbs.count("offer") == 2
    await blind.rig.answers(blind.staying)
    blind.rig.expect(State.CONNECTED)


async def test_an_open_exchange_does_not_keep_the_target_out() -> None:
    """Its answer comes too late and changes nothing."""
    blind = await Blind().begun()
    await blind.hears(blind.leaving, Offered(1, HELD))
    await blind.hears(blind.targets[0], Answered(ANSWER))
    blind.rig.expect(State.CONNECTED)
    await blind.rig.hears(blind.staying, OfferAnswered(blind.staying.exchanges[-1], ANSWER))
    assert blind.rig.engine.joined("c1", "caller") == "target0"


async def test_media_that_cannot_be_joined_leaves_the_old_call() -> None:
    """The target is hung up on, who asked is told, the two talk on."""
    blind = await Blind().begun()
    blind.rig.engine.script("join", MediaError("nothing in common", 488))
    await blind.hears(blind.targets[0], Answered(ANSWER))
    assert blind.report.told[-1] is Cause.NOT_ACCEPTABLE
    assert blind.targets[0].told[-1] == ("end", Cause.NOT_ACCEPTABLE)
    assert blind.rig.engine.joined("c1", "caller") == "callee0"
    blind.rig.expect(State.CONNECTED)


async def test_a_change_that_meets_the_target_on_its_way_in_may_be_asked_for_again() -> None:
    """Who stays is told 491, and its next offer goes to who has come."""
    blind = await Blind().begun()
    await blind.hears(blind.staying, Offered(1, HELD))
    await blind.hears(blind.targets[0], Answered(ANSWER))
    assert blind.staying.replies[1] is Cause.GLARE
    await blind.hears(blind.staying, Offered(2, HELD))
    await blind.rig.answers(blind.targets[0])
    assert isinstance(blind.staying.replies[2], str)


@pytest.mark.parametrize("refused", ["join", "release"])
async def test_media_that_refuses_everything_for_a_moment_leaves_the_old_call(refused: str) -> None:
    """Taking the target back out fails as well: the two talk on with what they have."""
    blind = await Blind().begun()
    blind.rig.engine.script("join", *[MediaError("the media server does not answer", 503)] * 2)
    blind.rig.engine.script(refused, MediaError("the media server does not answer", 503))
    await blind.hears(blind.targets[0], Answered(ANSWER))
    assert blind.report.told[-1] is Cause.OUT_OF_SERVICE
    assert blind.targets[0].told[-1] == ("end", Cause.OUT_OF_SERVICE)
    assert blind.leaving.verbs.count("end") == 0
    blind.rig.expect(State.CONNECTED)


async def test_who_leaves_is_let_go_though_the_media_cannot_forget_it() -> None:
    """Who has come talks with who stayed."""
    blind = await Blind().begun()
    blind.rig.engine.script("release", MediaError("the media server does not answer", 503))
    await blind.hears(blind.targets[0], Answered(ANSWER))
    assert blind.report.told[-1] is Cause.NORMAL
    assert blind.rig.engine.joined("c1", "caller") == "target0"
    assert blind.leaving.told[-1] == ("end", Cause.NORMAL)
    blind.rig.expect(State.CONNECTED)


async def test_who_asked_is_told_that_there_is_no_media_at_the_moment() -> None:
    """503, so that it may ask again; the target was not called."""
    blind = Blind()
    blind.rig.engine.script("create_offer", MediaError("there is no packet plane at the moment", 503))
    await blind.begun()
    assert blind.report.told == ["accepted", Cause.OUT_OF_SERVICE]
    assert blind.targets[0].verbs == []
    blind.rig.expect(State.CONNECTED)


@by_row("moment", ["answer", "join", "release"])
async def test_a_plane_that_dies_while_the_target_comes_in_keeps_nobody_out(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both who talk then are offered another transport; who has left is offered none."""
    blind = await Blind().begun()
    [target], engine = blind.targets, blind.rig.engine
    ask = getattr(engine, moment)

    async def dying(*arguments: Any) -> Any:
        done = await ask(*arguments)
        monkeypatch.undo()
        engine.lose("c1")
        return done

    monkeypatch.setattr(engine, moment, dying)
    await blind.hears(target, Answered(ANSWER))
    assert blind.report.told[-1] is Cause.NORMAL
    while blind.rig.call.state is State.EXCHANGING:
        for leg in (blind.staying, target):
            await blind.rig.answers(leg)
    assert blind.staying.exchanges
    assert target.exchanges
    assert blind.leaving.exchanges == []
    assert blind.rig.engine.joined("c1", "caller") == "target0"
    blind.rig.expect(State.CONNECTED)


async def test_an_attempt_cannot_be_transferred() -> None:
    """Whoever asks before the answer is told to wait, and the phone rings on."""
    rig = await Rig().started()
    report = Report()
    await rig.hears(rig.caller, TransferRequested("1002", report))
    assert report.told == [Cause.GLARE]
    rig.expect(State.CALLING)


async def test_what_a_leg_asks_for_reaches_whoever_knows_all_calls() -> None:
    """The call itself does not know where a number leads."""
    rig = Rig()
    asked: list[tuple[Leg, str]] = []
    rig.call._on_transfer = lambda call, leg, request: asked.append((leg, request.to))
    await rig.connected()
    await rig.hears(rig.callee, TransferRequested("1002", Report()))
    assert asked == [(rig.callee, "1002")]
