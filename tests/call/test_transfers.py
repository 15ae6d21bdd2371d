"""Who may ask for a transfer, where it leads, and who may take whose place."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count

import pytest

from gateway.call.leg import (
    Address,
    Answered,
    CalleeLeg,
    DialogName,
    HungUp,
    Leg,
    Ringing,
    TransferReport,
    TransferRequested,
)
from gateway.call.routing import Caller, Route, RouteError, Router, Target
from gateway.call.state import State, Transfer
from gateway.call.status import Cause
from gateway.call.transfer import Transfers
from gateway.identity.model import User
from gateway.media.engine import Kind, MediaError
from gateway.testing.leg import FakeLeg
from tests.call.rig import ANSWER, OFFER, Report, Rig, Two
from tests.rows import by_row


class Known(FakeLeg):
    """A leg whose user is known."""

    def __init__(self, tag: str, identity: str | None) -> None:
        super().__init__(tag)
        self._identity = identity


class World:
    """Everybody may dial 2*, and there is one target."""

    def __init__(self, rig: Rig, *others: object, may_call: tuple[str, ...] = ("2*",)) -> None:
        self.rig, self.may_call = rig, may_call
        self.target = FakeLeg("target")
        self.there = True
        router = Router(self, [Route("2*", "service:echo")], [])
        calls = [rig.call, *others]
        self.dear: set[str] = set()
        """Users who have called such numbers too often."""
        self.back: str | None = None
        """Where a far end that is to call here itself reaches us."""
        ids = (f"word{number}" for number in count())
        self.transfers = Transfers(
            rig.engine,
            router,
            self,
            self,
            calls,  # type: ignore[arg-type]
            rig.timers,
            self.toll,
            passed_on=self,
            new_id=lambda: next(ids),
        )
        rig.call._on_transfer = self.transfers.requested

    def toll(self, caller: Caller, target: Target) -> None:
        if caller.id in self.dear:
            raise RouteError(Cause.LINE_FULL, "too often")

    def find(self, uri_or_user: str) -> User | None:
        return None

    def passed_on(self, leg: Leg, target: Target) -> str | None:
        return None

    def called_back(self, leg: Leg, user: str) -> str | None:
        return self.back.format(user=user) if self.back is not None else None

    def caller_of(self, leg: Leg) -> Caller | None:
        return Caller(leg.identity, self.may_call) if leg.identity is not None else None

    def may_pick_up(self, by: str, of: str) -> bool:
        return {by, of} == {"carol", "bob"}

    async def legs(self, target: Target, call_id: str, name: str = "") -> Sequence[CalleeLeg]:
        return [self.target] if self.there else []

    async def asks(self, leg: FakeLeg, to: str, consultation: str | None = None) -> Report:
        report = Report()
        await self.rig.hears(leg, TransferRequested(to, report, consultation))
        await self.rig.settle()
        return report


async def connected(identity: str | None = "bob", *, movable: bool = True) -> Rig:
    rig = Rig(caller_kind=Kind.RTP, movable=movable)
    await rig.connected()
    rig.callee._identity = identity
    return rig


@by_row(
    ("to", "identity", "there", "told"),
    [
        ("200", "bob", True, "accepted"),
        ("300", "bob", True, Cause.FORBIDDEN),
        ("200", None, True, Cause.FORBIDDEN),
        ("200", "bob", False, Cause.UNAVAILABLE),
        ("not a number", "bob", True, Cause.NOT_FOUND),
    ],
)
async def test_who_asks_may_transfer_to_whom_it_may_call(
    to: str, identity: str | None, there: bool, told: object
) -> None:
    """The rights are those of who asks; a refusal comes at once and the call goes on."""
    rig = await connected(identity)
    world = World(rig)
    world.there = there
    report = await world.asks(rig.callee, to)
    assert report.told == [told]
    rig.expect(State.CONNECTED)
    assert ("invite" in world.target.verbs) is (told == "accepted")


async def test_a_transfer_counts_for_who_asks_for_it() -> None:
    """The toll brake holds for calls that somebody else dials on a stolen account."""
    rig = await connected("bob")
    world = World(rig)
    world.dear.add("bob")
    assert (await world.asks(rig.callee, "200")).told == [Cause.LINE_FULL]
    rig.expect(State.CONNECTED)
    assert not world.target.told


@pytest.mark.parametrize(("may_call", "told"), [(("2*",), "accepted"), (("3*",), Cause.FORBIDDEN)])
async def test_who_asks_in_the_place_of_a_side_has_rights_of_its_own(may_call: tuple[str, ...], told: object) -> None:
    """An operator's count, not those of whose place is taken, and the toll brake counts the operator."""
    rig = await connected(None)
    world, report = World(rig), Report()
    request = TransferRequested("200", report, caller=Caller("root", may_call))
    world.dear.add("root")
    await rig.hears(rig.callee, request)
    await rig.settle()
    assert report.told == [Cause.LINE_FULL if told == "accepted" else told]
    world.dear.clear()
    report.told.clear()
    await rig.hears(rig.callee, request)
    await rig.settle()
    assert report.told == [told]


async def test_an_engine_that_cannot_move_parties_refuses() -> None:
    """Before anybody rings."""
    rig = await connected(movable=False)
    world = World(rig)
    assert (await world.asks(rig.callee, "200")).told == [Cause.NOT_ACCEPTABLE]
    assert not world.target.told


@by_row(
    ("identity", "name", "told"),
    [
        ("bob", "c", ["accepted", Cause.NORMAL]),
        ("mallory", "c", [Cause.FORBIDDEN]),
        (None, "c", [Cause.FORBIDDEN]),
        ("bob", "nobody", [Cause.NOT_FOUND]),
        ("bob", "callee0", [Cause.UNAVAILABLE]),
    ],
)
async def test_two_calls_of_one_user_become_one(identity: str | None, name: str, told: list[object]) -> None:
    """Attended: only who has both calls may connect their other sides."""
    two = await Two().up()
    two.b._identity, two.c._identity = "bob", identity
    world = World(two.rig, two.other)
    report = await world.asks(two.b, "", name)
    assert report.told == told
    assert (two.other.state is State.ENDED) is (told[-1] is Cause.NORMAL)
    two.rig.expect(State.CONNECTED)


@by_row(
    ("identity", "name", "early_only", "offer", "status"),
    [
        ("bob", "callee0", False, OFFER, 0),
        ("mallory", "callee0", False, OFFER, 403),
        (None, "callee0", False, OFFER, 403),
        ("bob", "nobody", False, OFFER, 481),
        ("bob", "callee0", True, OFFER, 486),
        ("carol", "callee0", False, OFFER, 0),
        ("carol", "callee0", True, OFFER, 486),
        ("mallory", "callee0", True, OFFER, 403),
        ("bob", "callee0", False, None, 488),
    ],
)
async def test_only_its_own_user_or_its_group_takes_the_place_of_a_leg(
    identity: str | None, name: str, early_only: bool, offer: str | None, status: int
) -> None:
    """INVITE with Replaces: 403 for others, 481 for no match, 486 where only a ringing call was meant."""
    rig = await connected()
    new = Known("new", identity)
    assert World(rig).transfers.replace(name, new, offer, early_only=early_only) == status
    await rig.settle()
    rig.expect(State.CONNECTED)
    if status:
        assert not new.told
        assert rig.engine.joined("c1", "caller") == "callee0"
    else:
        assert new.verbs == ["answer", "identified"]
        assert rig.callee.told[-1] == ("end", Cause.NORMAL)
        assert rig.engine.joined("c1", "caller") == "new"


@by_row(
    ("identity", "early_only", "offer", "status"),
    [("bob", False, OFFER, 0), ("carol", True, OFFER, 0), ("mallory", True, OFFER, 403), ("carol", False, None, 488)],
)
async def test_a_ringing_call_is_picked_up_by_the_same_user_or_its_group(
    identity: str, early_only: bool, offer: str | None, status: int
) -> None:
    """Both offers are answered, the two are joined, and who rang is told that it was answered elsewhere."""
    rig = await Rig(callees=2, caller_kind=Kind.RTP).started()
    await rig.hears(rig.callee, Ringing())
    rig.callee._identity = "bob"
    new = Known("new", identity)
    assert World(rig).transfers.replace("callee0", new, offer, early_only=early_only) == status
    await rig.settle()
    if status:
        rig.expect(State.RINGING)
        assert not new.told
        return
    rig.expect(State.CONNECTED)
    assert new.verbs == ["answer", "identified"]
    assert rig.caller.verbs[-2:] == ["answer", "identified"]
    assert [callee.told[-1] for callee in rig.callees] == [("end", Cause.ELSEWHERE)] * 2
    assert rig.engine.joined("c1", "caller") == "new"
    assert rig.call.legs == (rig.caller, new)


async def test_a_service_is_not_transferred_to_a_service() -> None:
    """Nobody would be left in the call, and nobody to end it."""
    rig = await Rig(caller_kind=Kind.SERVICE, service="echo").connected()
    rig.callee._identity = "bob"
    report = await World(rig).asks(rig.callee, "200")
    assert report.told == [Cause.NOT_ACCEPTABLE]
    rig.expect(State.CONNECTED)


async def test_of_two_who_take_a_talk_over_at_once_the_first_has_it() -> None:
    """The second is refused: whom it wanted to replace is in the call no more; nor is anybody later."""
    rig = await connected()
    first, second = Known("first", "carol"), Known("second", "carol")
    transfers = World(rig).transfers
    assert transfers.replace("callee0", first, OFFER, early_only=False) == 0
    assert transfers.replace("callee0", second, OFFER, early_only=False) == 0
    await rig.settle()
    rig.expect(State.CONNECTED)
    assert rig.call.legs == (rig.caller, first)
    assert second.verbs == ["end"]
    assert rig.engine.joined("c1", "caller") == "first"
    assert transfers.replace("callee0", Known("third", "bob"), OFFER, early_only=False) == 481


async def test_who_cannot_be_answered_picks_nothing_up() -> None:
    """The phones ring on, and the one that answers gets the call."""
    rig = await Rig(caller_kind=Kind.RTP).started()
    rig.callee._identity = "bob"
    new = Known("new", "bob")
    rig.engine.script("offer", MediaError("no", 488))
    World(rig).transfers.replace("callee0", new, OFFER, early_only=False)
    await rig.settle()
    assert new.told == [("end", Cause.NOT_ACCEPTABLE)]
    rig.expect(State.CALLING)
    await rig.connected_by_answer()
    assert rig.engine.joined("c1", "caller") == "callee0"


@by_row(("identity", "early_only", "comes"), [("bob", False, True), ("bob", True, False), ("carol", False, False)])
async def test_a_phone_that_answers_first_is_not_picked_up_any_more(
    identity: str, early_only: bool, comes: bool
) -> None:
    """The answer and the pick-up cross: its own user takes the call over, a group has meant the call that rang."""
    rig = await Rig(caller_kind=Kind.RTP).started()
    rig.callee._identity = "bob"
    new = Known("new", identity)
    rig.callee.says(Answered(ANSWER))
    World(rig).transfers.replace("callee0", new, OFFER, early_only=early_only)
    await rig.settle()
    rig.expect(State.CONNECTED)
    assert rig.call.legs == (rig.caller, new if comes else rig.callee)
    assert new.told[-1] != ("end", Cause.BUSY) if comes else new.told == [("end", Cause.BUSY)]


async def test_a_call_that_rings_is_not_taken_over_by_its_caller() -> None:
    """An early dialog that we did not begin matches nothing (RFC 3891 section 3)."""
    rig = await Rig(caller_kind=Kind.RTP).started()
    rig.caller._identity = "bob"
    assert World(rig).transfers.replace("caller", Known("new", "bob"), OFFER, early_only=False) == 481


@pytest.mark.parametrize("identity", ["bob", "carol"])
async def test_who_comes_too_late_is_refused(identity: str) -> None:
    """The call ends before the newcomer's turn."""
    rig = await connected()
    new = Known("new", identity)
    rig.call.stop()
    World(rig).transfers.replace("callee0", new, OFFER, early_only=False)
    await rig.settle()
    assert new.verbs == ["end"]
    assert rig.engine.calls == frozenset()


async def test_an_offer_that_is_no_use_leaves_the_old_leg() -> None:
    """The newcomer is refused, the two talk on."""
    rig = await connected()
    new = Known("new", "bob")
    rig.engine.script("offer", MediaError("no", 488))
    World(rig).transfers.replace("callee0", new, OFFER, early_only=False)
    await rig.settle()
    assert new.told == [("end", Cause.NOT_ACCEPTABLE)]
    assert rig.engine.joined("c1", "caller") == "callee0"
    rig.expect(State.CONNECTED)


class Consulted:
    """bob talks with a trunk's far end, has consulted somebody, and asks to connect the two: the trunk is to call."""

    def __init__(self, two: Two) -> None:
        self.two = two
        two.a._identity, two.b._identity, two.c._identity = "trunk:pbx", "bob", "bob"
        self.asked: list[tuple[str, TransferReport, DialogName | None]] = []
        two.a.refer = lambda *asked: self.asked.append(asked)  # type: ignore[method-assign]
        self.world = World(two.rig, two.other)
        self.world.back = "sip:{user}@192.0.2.1"

    async def begins(self) -> Report:
        return await self.world.asks(self.two.b, "", "c")

    @property
    def name(self) -> DialogName:
        """What the Replaces of the last Refer-To says."""
        uri, _, replaces = self.asked[-1]
        assert uri == "sip:d@192.0.2.1"
        assert replaces is not None
        return replaces

    def calls(
        self,
        newcomer: FakeLeg | None = None,
        dialled: str = "sip:d@192.0.2.1:5060;transport=tcp",
        offer: str | None = OFFER,
        *,
        early_only: bool = False,
    ) -> int:
        """What becomes of the trunk's INVITE with that Replaces."""
        come = newcomer or Known("new", "trunk:pbx")
        return self.world.transfers.replace(self.name, come, offer, early_only=early_only, dialled=dialled)


async def test_whom_our_refer_has_asked_takes_the_transferors_place_once() -> None:
    """RFC 3891 section 3; a second INVITE with the name is 481, and so is any once the trunk says that it is done."""
    consulted = Consulted(await Two().up())
    two, report = consulted.two, await consulted.begins()
    assert report.told == []
    new = Known("new", "trunk:pbx")
    assert consulted.calls(new) == 0
    await two.rig.settle()
    assert consulted.calls() == 481
    assert set(two.other.legs) == {new, two.d}
    assert two.c.verbs[-1] == "end"
    asked = consulted.asked[0][1]
    asked.accepted()
    asked.ended(Cause.NORMAL)
    await two.rig.settle()
    assert report.told == ["accepted", Cause.NORMAL]
    two.rig.expect(State.ENDED)
    assert two.other.state is State.CONNECTED
    assert len(consulted.world.transfers.grants) == 0


@by_row(
    ("step", "failures", "outcome"),
    [
        ("accept", 0, Cause.NORMAL),
        ("accept", 1, Cause.CANCELLED),
        ("join", 1, Cause.CANCELLED),
        ("join", 2, Cause.CANCELLED),
    ],
)
async def test_the_transferor_is_told_what_became_of_it_once_that_is_known(
    step: str, failures: int, outcome: Cause
) -> None:
    """A trunk that hangs up without a word while it is taken in: its coming alone is no success.

    Nor where who it was to talk with cannot even be joined again with who stays.
    """
    consulted = Consulted(await Two().up())
    report = await consulted.begins()
    asked = consulted.asked[0][1]
    asked.accepted()
    consulted.two.rig.engine.script(step, *[MediaError("gone", 481)] * failures)
    assert consulted.calls() == 0
    asked.ended(Cause.CANCELLED)
    assert report.told == ["accepted"]
    await consulted.two.rig.settle()
    assert report.told == ["accepted", outcome]


async def test_the_word_of_a_trunk_that_has_not_come_is_no_success() -> None:
    """Both calls go on."""
    consulted = Consulted(await Two().up())
    report = await consulted.begins()
    asked = consulted.asked[0][1]
    asked.accepted()
    asked.ended(Cause.NORMAL)
    await consulted.two.rig.settle()
    assert report.told == ["accepted", Cause.UNAVAILABLE]
    consulted.two.rig.expect(State.CONNECTED)
    assert consulted.two.other.state is State.CONNECTED


async def test_a_second_transfer_grants_nothing_while_the_trunk_is_asked() -> None:
    """However often it is wanted: what was granted is that of the first."""
    consulted = Consulted(await Two().up())
    await consulted.begins()
    reports = [await consulted.begins() for _ in range(3)]
    assert [report.told for report in reports] == [[Cause.GLARE]] * 3
    assert len(consulted.asked) == len(consulted.world.transfers.grants) == 1
    assert consulted.calls() == 0


async def test_nobody_else_takes_it_nor_for_anybody_else_nor_too_late() -> None:
    """403 leaves it to whom it is for; 481 after a minute; what the offer cannot do costs nothing."""
    consulted = Consulted(await Two().up())
    await consulted.begins()
    for other in (Known("x", "trunk:other"), Known("x", "mallory"), Known("x", None)):
        assert consulted.calls(other) == 403
    for dialled in ("sip:e@192.0.2.1", "sip:192.0.2.1", ""):
        assert consulted.calls(dialled=dialled) == 403
    assert consulted.calls(early_only=True) == 486
    assert consulted.calls(offer=None) == 488
    consulted.two.rig.timers.advance(59.0)
    assert consulted.calls(Known("x", "mallory")) == 403
    consulted.two.rig.timers.advance(1.0)
    assert consulted.calls() == 481
    assert len(consulted.world.transfers.grants) == 0


async def test_a_transferor_that_has_hung_up_has_no_place_to_give() -> None:
    """481: whom it consulted has nobody to talk with any more."""
    consulted = Consulted(await Two().up())
    await consulted.begins()
    await consulted.two.rig.hears(consulted.two.c, HungUp(Cause.NORMAL))
    await consulted.two.rig.settle()
    assert consulted.calls() == 481


async def test_who_will_not_call_is_connected_here() -> None:
    """A trunk that refuses the REFER at once; what it was granted is no more, whatever it sends."""
    consulted = Consulted(await Two().up())
    report = await consulted.begins()
    consulted.asked[0][1].ended(Cause.NOT_ACCEPTABLE)
    await consulted.two.rig.settle()
    assert report.told == ["accepted", Cause.NORMAL]
    assert consulted.two.other.state is State.ENDED
    consulted.two.rig.expect(State.CONNECTED)
    assert consulted.calls() == 481
    assert len(consulted.asked) == 1


@pytest.mark.parametrize(("back", "comes"), [(None, "carol"), ("sip:{user}@192.0.2.1", "trunk:pbx")])
async def test_what_is_not_the_trunks_business_is_connected_here(back: str | None, comes: str) -> None:
    """It takes no such REFER, or both are behind it: its second way through us would gain nobody anything."""
    consulted = Consulted(await Two().up())
    consulted.world.back, consulted.two.d._identity = back, comes
    report = await consulted.begins()
    assert report.told == ["accepted", Cause.NORMAL]
    assert not consulted.asked


async def test_grants_that_nobody_used_are_forgotten() -> None:
    """At the next one, a minute later."""
    consulted = Consulted(await Two().up())
    grants = consulted.world.transfers.grants
    for number in range(5):
        grants.give(consulted.two.other, consulted.two.c, "trunk:pbx", str(number))
    assert len(grants) == 5
    consulted.two.rig.timers.advance(60.0)
    grants.give(consulted.two.other, consulted.two.c, "trunk:pbx", "d")
    assert len(grants) == 1


@pytest.mark.parametrize("address", [Address("sip:d@x.test", asserted="sip:d@x.test"), Address("sip:d%C3%A9@x.test")])
async def test_the_trunk_is_told_of_nobody_who_hides(address: Address) -> None:
    """Nor of a name that would have to be written otherwise: the name of the transfer is what counts."""
    consulted = Consulted(await Two().up())
    consulted.two.d._address = address
    await consulted.begins()
    assert consulted.asked[0][0] == "sip:transfer@192.0.2.1"


@by_row(("verb", "refusals", "adopted"), [("adopt", 1, 2), ("adopt", 2, 2), ("join", 1, 1)])
async def test_an_attended_transfer_goes_the_other_way_where_media_cannot_move(
    verb: str, refusals: int, adopted: int
) -> None:
    """Once, and only while who comes is still in its own call; whoever was to stay is never hung up."""
    two = await Two().up()
    two.b._identity = two.c._identity = "bob"
    two.engine.script(verb, *[MediaError("cannot", 501)] * refusals)
    report = await World(two.rig, two.other).asks(two.b, "200", two.c.party.tag)
    is_done = (verb, refusals) == ("adopt", 1)
    assert report.told == ["accepted", Cause.NORMAL if is_done else Cause.NOT_ACCEPTABLE]
    assert two.engine.verbs().count("adopt") == adopted
    assert "end" not in two.a.verbs
    if is_done:
        assert (two.rig.call.state, two.other.state) == (State.ENDED, State.CONNECTED)
        assert two.engine.joined(two.other.id, "caller") == "d"
    else:
        two.rig.expect(State.CONNECTED)
        assert (two.other.state is State.CONNECTED) is (verb == "adopt")


class Slow(World):
    """Where somebody is takes a while to find out."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig)
        self.found = asyncio.Event()

    async def legs(self, target: Target, call_id: str, name: str = "") -> Sequence[CalleeLeg]:
        await self.found.wait()
        return await super().legs(target, call_id, name)


@pytest.mark.parametrize("gone", ["transferor", "other side"])
async def test_a_refer_that_crosses_a_hang_up_leaves_no_target_alone(gone: str) -> None:
    """Who asked is told once, and nobody is rung for a call that is over."""
    rig = await connected()
    world = Slow(rig)
    report = await world.asks(rig.callee, "200")
    await rig.hears(rig.callee if gone == "transferor" else rig.caller, HungUp())
    rig.expect(State.ENDED)
    world.found.set()
    await rig.settle()
    assert report.told == [Cause.UNAVAILABLE]
    assert world.target.verbs == ["end"]


async def test_of_two_refers_at_once_the_second_is_refused() -> None:
    """Of one side or of both: 491, and its targets are not rung."""
    rig = await connected()
    rig.caller._identity = "bob"
    world = Slow(rig)
    first = await world.asks(rig.callee, "200")
    second = await world.asks(rig.caller, "200")
    world.found.set()
    await rig.settle()
    assert (first.told, second.told) == (["accepted"], [Cause.GLARE])


async def test_a_refer_of_who_has_been_replaced_meanwhile_is_not_carried_out() -> None:
    """Somebody has taken its place while its target was looked for: it is out of the call."""
    rig = await connected()
    world = Slow(rig)
    report = await world.asks(rig.callee, "200")
    comes = FakeLeg("comes")
    rig.call.transfer(Transfer(transferor=rig.callee, targets=[comes], report=Report()))
    await rig.settle()
    await rig.hears(comes, Answered(ANSWER))
    world.found.set()
    await rig.settle()
    assert report.told == [Cause.UNAVAILABLE]
    assert world.target.verbs == ["end"]
    rig.expect(State.CONNECTED)
    await rig.hears(rig.callee, TransferRequested("200", late := Report()))
    assert late.told == [Cause.GLARE]
