"""Who talks with whom is told to the one who stays when the other changes (RFC 4916)."""

from __future__ import annotations

from gateway.call.leg import Address, Answered, Away, Returned
from gateway.call.state import State, Transfer
from gateway.media.engine import Kind
from gateway.testing.leg import FakeLeg
from tests.call.rig import ANSWER, OFFER, Report, Rig, Two

CAROL = Address("sip:carol@example.test", "Carol")


def told(leg: FakeLeg) -> list[object]:
    """Names that it was told."""
    return [what for verb, what in leg.told if verb == "identified"]


async def test_nobody_is_told_what_is_known() -> None:
    """An ordinary call: who called and whom stands in its invitation."""
    rig = await Rig().connected()
    assert told(rig.caller) == told(rig.callee) == []


async def test_a_new_name_reaches_the_other_side_once() -> None:
    """In the middle of a call, and not again for the same name."""
    rig = await Rig().connected()
    for _ in range(2):
        rig.callee.renamed(CAROL)
        await rig.settle()
    assert told(rig.caller) == ["Carol"]
    assert told(rig.callee) == []


async def test_a_name_told_while_it_rings_comes_with_the_answer() -> None:
    """A PBX says in its 2xx who has answered."""
    rig = await Rig().started()
    rig.callee.renamed(CAROL)
    await rig.hears(rig.callee, Answered(ANSWER))
    assert told(rig.caller) == ["Carol"]
    assert rig.caller.verbs.index("answer") < rig.caller.verbs.index("identified")


async def test_who_is_away_hears_it_on_return() -> None:
    """The page that was reloaded meanwhile shows the new name; one that knows it is not told again."""
    rig = await Rig().connected()
    await rig.hears(rig.caller, Away())
    rig.callee.renamed(CAROL)
    await rig.settle()
    assert told(rig.caller) == []
    await rig.hears(rig.caller, Returned())
    assert told(rig.caller) == ["Carol"]
    await rig.hears(rig.caller, Away())
    await rig.hears(rig.caller, Returned())
    assert told(rig.caller) == ["Carol"]


async def test_after_a_blind_transfer_who_stays_is_told_and_who_comes_knows() -> None:
    """The invitation of the target has said who calls."""
    rig = await Rig(caller_kind=Kind.RTP).connected()
    target = FakeLeg("target")
    rig.call.transfer(Transfer(transferor=rig.callee, targets=[target], report=Report()))
    await rig.settle()
    await rig.hears(target, Answered(ANSWER))
    rig.expect(State.CONNECTED)
    assert (told(rig.caller), told(target)) == (["target"], [])


async def test_after_an_attended_transfer_both_are_told() -> None:
    """Each has talked with the transferor until now."""
    two = await Two().up()
    await two.merge()
    assert (told(two.a), told(two.d)) == (["d"], ["caller"])


async def test_after_a_pick_up_both_are_told() -> None:
    """The caller had dialled somebody else, and who picks up has dialled a feature."""
    rig = await Rig(callees=2, caller_kind=Kind.RTP).started()
    new = FakeLeg("new")
    rig.call.take_place(rig.callee, new, OFFER)
    await rig.settle()
    rig.expect(State.CONNECTED)
    assert (told(rig.caller), told(new)) == (["new"], ["caller"])


async def test_the_same_user_on_another_device_is_no_news() -> None:
    """A call that comes back after a reload."""
    rig = await Rig(caller_kind=Kind.RTP).connected()
    new = FakeLeg("new")
    new.renamed(rig.callee.address)
    rig.call.take_place(rig.callee, new, OFFER)
    await rig.settle()
    assert (told(rig.caller), told(new)) == ([], ["caller"])


async def test_nobody_is_introduced_to_a_service() -> None:
    """A parked call talks with nobody."""
    rig = await Rig(caller_kind=Kind.RTP).connected()
    silence = FakeLeg("park", Kind.SERVICE, service="silence")
    rig.call.transfer(Transfer(transferor=rig.callee, targets=[silence], report=Report()))
    await rig.settle()
    await rig.hears(silence, Answered(ANSWER))
    rig.expect(State.CONNECTED)
    assert told(rig.caller) == []
