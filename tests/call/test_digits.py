"""Digits from one side to the other: in the media, by signalling, as tones, and never lost in silence."""

from __future__ import annotations

import pytest

from gateway.call.leg import Away, DigitPressed, Ringing
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.media.engine import DtmfReceived, MediaError
from tests.call.rig import ANSWER, Rig

NO_EVENTS = MediaError("this party takes no telephone-events", 488)


async def pressed(rig: Rig) -> list[bool]:
    """The caller presses 5; what it is told of that, in order."""
    told: list[bool] = []
    await rig.hears(rig.caller, DigitPressed("5", 160, told.append))
    return told


async def test_a_signalled_digit_goes_into_the_media_and_its_sender_is_told() -> None:
    """The other leg hears of it too, for what it can show."""
    rig = await Rig().connected()
    assert await pressed(rig) == [True]
    assert rig.engine.verbs("c1")[-1] == "send_dtmf"
    assert rig.callee.told[-1] == ("digit", "5")


async def test_what_cannot_go_into_the_media_is_signalled() -> None:
    """And what the far end says of it is what the sender is told."""
    rig = await Rig().connected()
    rig.callee.takes_digits = None
    rig.engine.script("send_dtmf", NO_EVENTS)
    told = await pressed(rig)
    assert told == []
    rig.callee.untold.pop()(True)
    await rig.settle()
    assert told == [True]
    assert "send_tones" not in rig.engine.verbs("c1")


async def test_what_the_far_end_refuses_is_played_as_tones() -> None:
    """The last way there is."""
    rig = await Rig().connected()
    rig.callee.takes_digits = False
    rig.engine.script("send_dtmf", NO_EVENTS)
    assert await pressed(rig) == [True]
    assert rig.engine.verbs("c1")[-1] == "send_tones"


async def test_a_digit_that_goes_no_way_is_told_to_be_lost() -> None:
    """Neither events, nor signalling, nor tones."""
    rig = await Rig().connected()
    rig.callee.takes_digits = False
    for verb in ("send_dtmf", "send_tones"):
        rig.engine.script(verb, NO_EVENTS)
    assert await pressed(rig) == [False]
    rig.expect(State.CONNECTED)


@pytest.mark.parametrize("passed_on", [True, False])
async def test_a_digit_heard_in_the_media_is_sent_on_only_where_the_engine_has_not(passed_on: bool) -> None:
    """Who hears it in its media gets it once; a front end that shows it is told in both cases."""
    rig = await Rig().connected()
    rig.call.media_event(DtmfReceived("c1", "callee0", "7", 100, passed_on))
    await rig.settle()
    assert ("send_dtmf" in rig.engine.verbs("c1")) is not passed_on
    assert rig.caller.told[-1] == ("digit", "7")


async def test_a_digit_for_somebody_who_is_away_is_lost_and_said_to_be() -> None:
    """Nobody is there to take it."""
    rig = await Rig().connected()
    await rig.hears(rig.callee, Away())
    assert await pressed(rig) == [False]


async def test_a_digit_before_there_is_anybody_to_hear_it_is_said_to_be_lost() -> None:
    """While it only rings; early media takes it."""
    rig = await Rig().started()
    assert await pressed(rig) == [False]
    await rig.hears(rig.callee, Ringing(ANSWER))
    assert await pressed(rig) == [True]


async def test_a_digit_that_crosses_the_end_is_said_to_be_lost() -> None:
    """Queued behind it, after it, or under way while the call ends."""
    rig = await Rig().connected()
    rig.callee.takes_digits = None
    rig.engine.script("send_dtmf", NO_EVENTS)
    under_way = await pressed(rig)
    told: list[bool] = []
    rig.call.stop(Cause.NORMAL)
    rig.caller.says(DigitPressed("1", 160, told.append))
    await rig.settle()
    rig.expect(State.ENDED)
    rig.caller.says(DigitPressed("2", 160, told.append))
    assert told == [False, False]
    rig.callee.untold.pop()(False)
    await rig.settle()
    assert under_way == [False]


async def test_every_digit_is_told_however_it_comes() -> None:
    """In the media and by signalling, of either leg, with the leg whose it is; not of one that is not the call's."""
    rig = await Rig().connected()
    pressed: list[tuple[str, str]] = []
    rig.call.when_pressed(lambda leg, digit: pressed.append((leg.party.tag, digit)))
    await rig.hears(rig.caller, DigitPressed("5"))
    rig.call.media_event(DtmfReceived("c1", "callee0", "7", 100, True))
    rig.call.media_event(DtmfReceived("c1", "gone", "8", 100, False))
    await rig.hears(rig.callee, DigitPressed("9"))
    assert pressed == [(rig.caller.party.tag, "5"), ("callee0", "7"), ("callee0", "9")]
