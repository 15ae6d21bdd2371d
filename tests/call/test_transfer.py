"""Legs that move: replaced in their call, or out of one call into another with their media."""

from __future__ import annotations

import pytest

from gateway.call.leg import Away, HungUp, Offered, Returned
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.call.transfer import merge
from gateway.media.engine import MediaError
from gateway.testing.leg import FakeLeg
from tests.call.rig import ANSWER, OFFER, Rig, Two


async def test_two_calls_become_one_and_nobody_is_left_over() -> None:
    """The media of who stays keeps running, who introduced them is hung up on in both calls."""
    two = await Two().up()
    await two.merge()
    assert two.done == [Cause.NORMAL]
    assert two.other.state is State.ENDED
    assert two.c.told[-1] == two.b.told[-1] == ("end", Cause.NORMAL)
    assert two.engine.joined("c1", "caller") == "d"
    assert two.engine.parties("c1") == {"caller", "d"}
    assert two.engine.calls == {"c1"}
    assert "end" not in (*two.a.verbs, *two.d.verbs)
    await two.rig.hears(two.d, Offered(1, OFFER))
    await two.rig.answers(two.a)
    assert isinstance(two.d.replies[1], str)
    await two.rig.hears(two.d, HungUp())
    two.rig.expect(State.ENDED)
    assert two.engine.calls == frozenset()
    assert two.rig.timers.pending == 0


async def test_who_began_the_other_call_is_heard_in_the_one_it_has_come_into() -> None:
    """The end of the call that it began, and has left, is nothing to it."""
    two = await Two().up()
    merge(two.rig.call, two.b, two.other, two.c, two.done.append)
    await two.rig.settle()
    assert two.done == [Cause.NORMAL]
    assert two.other.state is State.ENDED
    await two.rig.hears(two.c, Offered(1, OFFER))
    await two.rig.answers(two.a)
    assert isinstance(two.c.replies[1], str)
    await two.rig.hears(two.c, HungUp())
    two.rig.expect(State.ENDED)
    assert two.engine.calls == frozenset()


async def test_media_that_cannot_move_leaves_both_calls_as_they_were() -> None:
    """Who asked for the transfer is told so, and still has two calls."""
    two = await Two().up()
    two.engine.script("adopt", MediaError("cannot", 501))
    await two.merge()
    assert two.done == [Cause.NOT_ACCEPTABLE]
    assert (two.rig.call.state, two.other.state) == (State.CONNECTED, State.CONNECTED)


@pytest.mark.parametrize("first", ["stays", "other"])
async def test_a_call_that_ends_while_a_leg_moves_leaves_no_leg_alone(first: str) -> None:
    """Whichever ends first, everybody is told and no media is left."""
    two = await Two().up()
    (two.rig.call if first == "stays" else two.other).stop()
    await two.merge()
    assert two.done == [Cause.ERROR if first == "stays" else Cause.UNAVAILABLE]
    two.rig.call.stop()
    two.other.stop()
    await two.rig.settle()
    assert all(leg.told[-1][0] == "end" for leg in (two.a, two.b, two.c, two.d))
    assert two.engine.calls == frozenset()
    assert two.rig.timers.pending == 0


async def test_a_call_cannot_be_merged_with_itself() -> None:
    """Nothing happens."""
    two = await Two().up()
    merge(two.rig.call, two.b, two.rig.call, two.a, two.done.append)
    await two.rig.settle()
    assert two.done == [Cause.UNAVAILABLE]
    two.rig.expect(State.CONNECTED)


async def test_two_merges_of_the_same_calls_the_other_way_round_do_not_wait_for_each_other() -> None:
    """Nobody is joined twice, and in the end everybody can be hung up."""
    two = await Two().up()
    done: list[Cause] = []
    merge(two.rig.call, two.b, two.other, two.d, done.append)
    merge(two.other, two.c, two.rig.call, two.a, done.append)
    await two.rig.settle()
    assert len(done) == 2
    two.rig.call.stop()
    two.other.stop()
    await two.rig.settle()
    assert all(leg.told[-1][0] == "end" for leg in (two.a, two.b, two.c, two.d))
    assert two.engine.calls == frozenset()


async def test_who_is_away_can_be_replaced_by_who_is_there() -> None:
    """The call is up again, and the one who stayed hears the newcomer."""
    rig = await Rig().connected()
    await rig.hears(rig.callee, Away())
    new = FakeLeg("transfer")
    await rig.engine.create_offer("c1", new.party, rig.caller.party)
    await rig.engine.answer("c1", new.party, None, ANSWER)
    done: list[Cause] = []
    rig.call.replace(rig.callee, new, done.append)
    await rig.settle()
    rig.expect(State.CONNECTED)
    assert done == [Cause.NORMAL]
    assert rig.engine.joined("c1", "caller") == "transfer"
    await rig.hears(rig.callee, Returned())
    rig.expect(State.CONNECTED)


@pytest.mark.parametrize("moment", ["before the answer", "after the end"])
async def test_a_leg_that_comes_at_the_wrong_moment_is_ended(moment: str) -> None:
    """It would have nobody to talk to."""
    rig = await Rig().started()
    if moment == "after the end":
        rig.call.stop()
        await rig.settle()
    new, done = FakeLeg("transfer"), list[Cause]()
    rig.call.replace(rig.callee, new, done.append)
    await rig.settle()
    assert done == [Cause.UNAVAILABLE]
    assert new.told == [("end", Cause.NORMAL)]
