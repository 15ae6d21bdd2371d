"""What the engine wants a party to be offered beside what it has: a re-offer of ours, in its turn."""

from __future__ import annotations

from gateway.call.leg import Answered, Offered
from gateway.call.state import State
from gateway.media.engine import Kind, OfferWanted
from tests.call.rig import ANSWER, OFFER, Rig


async def test_who_is_to_be_offered_more_is_offered_it_and_the_other_side_is_not() -> None:
    """A refusal changes nothing; who is no leg of the call is nobody's concern."""
    rig = await Rig().connected()
    for wanted in ("caller", "nobody"):
        rig.engine.emit(OfferWanted("c1", wanted))
    await rig.settle()
    assert (len(rig.caller.exchanges), len(rig.callee.exchanges)) == (1, 0)
    await rig.answers(rig.caller, None)
    rig.expect(State.CONNECTED)
    rig.engine.emit(OfferWanted("c1", "caller"))
    await rig.settle()
    await rig.answers(rig.caller)
    rig.expect(State.CONNECTED)
    assert len(rig.caller.exchanges) == 2


async def test_what_is_wanted_while_an_offer_is_open_waits_for_its_answer_and_comes_once() -> None:
    """The other side's own offer crosses it."""
    rig = await Rig().connected()
    await rig.hears(rig.callee, Offered(1, OFFER))
    for _ in range(3):
        rig.engine.emit(OfferWanted("c1", "callee0"))
    await rig.settle()
    assert len(rig.callee.exchanges) == 0
    await rig.answers(rig.caller)
    assert len(rig.callee.exchanges) == 1
    await rig.answers(rig.callee)
    rig.expect(State.CONNECTED)
    assert (len(rig.caller.exchanges), len(rig.callee.exchanges)) == (1, 1)


async def test_nothing_is_offered_before_the_call_is_up() -> None:
    """Nor to who cannot be offered anything."""
    rig = await Rig().started()
    rig.engine.emit(OfferWanted("c1", "caller"))
    await rig.settle()
    assert rig.caller.exchanges == []
    rig = Rig(caller_kind=Kind.RTP)
    await rig.started()
    await rig.hears(rig.callee, Answered(ANSWER))
    rig.caller._can_update = False
    rig.engine.emit(OfferWanted("c1", "caller"))
    await rig.settle()
    assert rig.caller.exchanges == []
    rig.expect(State.CONNECTED)
