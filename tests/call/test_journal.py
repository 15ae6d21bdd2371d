"""What is written down of calls, when, and how a call goes on from it."""

from __future__ import annotations

import asyncio
import json
import marshal
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.call.attempt import Attempt
from gateway.call.call import Call
from gateway.call.journal import (
    ENDING,
    SETTING_UP,
    UP,
    VERSION,
    Journal,
    JournalError,
    address_of,
    caller_of,
    name_values,
    read,
)
from gateway.call.leg import (
    Address,
    Answered,
    CalleeLeg,
    DigitPressed,
    Diversion,
    HistoryEntry,
    HungUp,
    LegEvent,
    Redirected,
    Rejected,
    Returned,
    Ringing,
    SignallingChanged,
)
from gateway.call.limits import CallLimits
from gateway.call.record import CallSettings
from gateway.call.registry import Calls
from gateway.call.routing import Caller, Route, RouteError, Router, Target
from gateway.call.state import State, Transfer
from gateway.call.status import Cause
from gateway.identity.model import User
from gateway.media.engine import Kind, MediaFailed, MediaTimeout
from gateway.testing.engine import FakeEngine
from gateway.testing.leg import FakeLeg
from gateway.testing.timers import ManualTimers
from tests.call.rig import ANSWER, OFFER, Report, Store
from tests.rows import by_row

BOB = Caller("bob", ("1",))
WALL = 1_700_000_000.0


class Nobody:
    def find(self, uri_or_user: str) -> User | None:
        return None


class Dialer:
    """One fake leg for every target."""

    def __init__(self) -> None:
        self.made: list[FakeLeg] = []

    async def legs(self, target: Target, call_id: str, name: str = "") -> Sequence[CalleeLeg]:
        self.made.append(FakeLeg(f"{call_id}-callee"))
        return [self.made[-1]]


class Rig:
    """Calls that are written down."""

    def __init__(self, **limits: int) -> None:
        self.engine, self.dialer, self.timers, self.store = FakeEngine(), Dialer(), ManualTimers(), Store()
        numbers = count(1)
        router = Router(Nobody(), [Route("*", "sip:{user}@pbx.test")], [], {"pbx": ("pbx.test",)})
        self.calls = Calls(
            self.engine,
            router,
            self.dialer,
            self.timers,
            limits=CallLimits(**limits),
            new_id=lambda: f"{next(numbers)}",
        )
        self.wall = WALL
        self.journal = Journal(self.store, self.engine, self.timers.time, lambda: self.wall)
        self.calls.keep = self.journal.write

    async def placed(self) -> tuple[Call, FakeLeg, FakeLeg]:
        caller = FakeLeg("caller")
        call = await self.calls.place(caller, BOB, "1", OFFER)
        await self.settle()
        return call, caller, self.dialer.made[-1]

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    async def connected(self) -> tuple[Call, FakeLeg, FakeLeg]:
        call, caller, callee = await self.placed()
        callee.says(Answered(ANSWER))
        await self.settle()
        assert call.state is State.CONNECTED
        return call, caller, callee

    async def resumed(self, **changes: Any) -> tuple[Call, FakeLeg, FakeLeg]:
        """A call of which another process wrote this."""
        values = {
            "id": "old",
            "caller": {"id": "bob", "may_call": ["*"], "transit": True, "guest": False, "source": ""}
            | {"account": None, "calls": None},
            "dialled": "1",
            "age": 100.0,
            "times": [10.0, 20.0, 30.0],
            "holding": [],
        }
        one, other = FakeLeg("one", Kind.WEBRTC), FakeLeg("other")
        await self.engine.resume("old", {"agreed": ["one", "other"]})
        return self.calls.resume(values | changes, (one, other), [one]), one, other


async def test_a_record_is_there_before_anybody_can_see_the_call() -> None:
    """From when it is placed to its end, each stage as soon as the event comes, not when its turn comes."""
    rig = Rig()
    await rig.calls.place(caller := FakeLeg("caller"), BOB, "1", OFFER)
    assert rig.store.stage == SETTING_UP
    await rig.settle()
    callee = rig.dialer.made[-1]
    puts = rig.store.puts
    callee.says(Answered(ANSWER))
    assert rig.store.puts == puts + 1
    await rig.settle()
    assert rig.store.stage == UP
    caller.says(HungUp())
    assert rig.store.stage == ENDING
    await rig.settle()
    assert rig.store.kept == {}


@by_row(
    "says",
    [
        lambda caller, callee: caller.says(SignallingChanged(is_first=True)),
        lambda caller, callee: callee.says(SignallingChanged()),
        lambda caller, callee: callee.says(Answered(ANSWER)),
    ],
)
async def test_a_call_that_nobody_has_seen_is_written_once_somebody_is_about_to(
    monkeypatch: pytest.MonkeyPatch, says: Callable[[FakeLeg, FakeLeg], None]
) -> None:
    """Until then whoever called calls again, should the process die; both sides are in the first record."""
    monkeypatch.setattr(FakeLeg, "is_unaware", True)
    monkeypatch.setattr(FakeLeg, "values", lambda leg: {"kind": "fake"})
    rig = Rig()
    _, caller, callee = await rig.placed()
    assert (rig.store.puts, callee.verbs) == (0, ["invite"])
    says(caller, callee)
    assert rig.store.stage == SETTING_UP
    [values] = rig.store.kept.values()
    assert [leg["party"]["tag"] for leg in values["legs"]] == [caller.party.tag, callee.party.tag]
    caller.says(SignallingChanged(is_first=True))
    assert rig.store.puts == 1


async def test_what_the_call_itself_shows_is_written_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A callee that rings without a word of its own; a call that ends unseen leaves nothing."""
    monkeypatch.setattr(FakeLeg, "is_unaware", True)
    rig = Rig()
    _, caller, callee = await rig.placed()
    seen: list[list[str]] = []
    put = rig.store.put

    def watched(call_id: str, record: bytes) -> None:
        seen.append(caller.verbs)
        put(call_id, record)

    monkeypatch.setattr(rig.store, "put", watched)
    callee.says(Ringing())
    await rig.settle()
    assert (seen, caller.verbs) == ([[]], ["ring"])
    call, other, _ = await rig.placed()
    call.stop()
    await call.finished()
    assert (len(rig.store.kept), other.verbs) == (1, ["end"])


async def test_of_a_call_that_another_gateway_goes_on_with_nothing_more_is_written() -> None:
    """Its record is that gateway's; what is left here is taken away at the end."""
    rig = Rig()
    call, caller, callee = await rig.connected()
    puts = rig.store.puts
    call.leave()
    caller.says(SignallingChanged())
    callee.says(HungUp())
    assert rig.store.puts == puts
    await rig.settle()
    assert (rig.store.puts, rig.store.kept) == (puts, {})


async def test_a_call_that_is_gone_on_with_is_written_at_once() -> None:
    """Before its first change: a second kill finds it again."""
    rig = Rig()
    await rig.resumed()
    assert rig.store.stage == UP


class Goodbyes(Rig):
    """Legs whose far ends have yet to answer that the call is over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.journal = Journal(self.store, self.engine, self.timers.time, lambda: WALL, self.timers.call_later)
        self.calls.keep = self.journal.write
        self.waiting: dict[str, Callable[[], None]] = {}
        """By the tag of a leg, what is to be told of its far end's answer."""
        monkeypatch.setattr(FakeLeg, "when_left", self._when_left)

    def _when_left(self, told: Callable[[], None]) -> bool:
        self.waiting[f"{len(self.waiting)}"] = told
        return True

    def answer(self) -> None:
        """One far end answers."""
        self.waiting.popitem()[1]()

    async def end(self, how: Callable[[Call, FakeLeg], object]) -> None:
        call, caller, _ = await self.connected()
        how(call, caller)
        await call.finished()


ENDS: list[Callable[[Call, FakeLeg], object]] = [
    lambda call, caller: caller.says(HungUp()),
    lambda call, caller: call.stop(),
    lambda call, caller: call.media_event(MediaTimeout(call.id, caller.party.tag, 4.0)),
    lambda call, caller: call.media_event(MediaFailed(call.id, caller.party.tag, "no more")),
]


@by_row("how", ENDS)
async def test_a_call_is_forgotten_once_its_far_ends_have_answered_that_it_is_over(
    monkeypatch: pytest.MonkeyPatch, how: Callable[[Call, FakeLeg], object]
) -> None:
    """A goodbye may be lost with this process: the next one says it, whoever ended the call."""
    rig = Goodbyes(monkeypatch)
    await rig.end(how)
    assert rig.timers.pending == 1
    rig.timers.advance(30)
    rig.answer()
    assert rig.store.stage == ENDING
    rig.answer()
    assert (rig.store.kept, rig.timers.pending) == ({}, 0)


async def test_no_answer_is_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes later changes nothing."""
    rig = Goodbyes(monkeypatch)
    await rig.end(lambda call, _: call.stop())
    rig.timers.advance(34)
    assert rig.store.stage == ENDING
    rig.timers.advance(2)
    assert rig.store.kept == {}
    rig.answer()
    assert (rig.store.kept, rig.timers.pending) == ({}, 0)


async def test_a_goodbye_that_nobody_has_answered_at_a_stop_is_the_next_process_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after a kill: whoever was away may come back to it. An answer that comes later changes nothing."""
    rig = Goodbyes(monkeypatch)
    await rig.end(lambda call, _: call.stop())
    rig.answer()
    rig.journal.close()
    assert (rig.store.stage, rig.timers.pending) == (ENDING, 0)
    rig.answer()
    assert rig.store.stage == ENDING
    rig.store.kept.clear()
    await rig.end(lambda call, _: call.stop())
    assert (rig.store.kept, rig.timers.pending) == ({}, 0)


async def test_calls_whose_far_ends_do_not_answer_cost_one_timer_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trunk that vanishes with all its calls is nobody's work until they are forgotten."""
    rig = Goodbyes(monkeypatch)
    for _ in range(20):
        await rig.end(lambda call, _: call.stop())
    assert (len(rig.store.kept), rig.timers.pending) == (20, 20)
    deadline = rig.timers.deadline
    assert deadline is not None
    assert deadline - rig.timers.time() > 30
    rig.timers.advance(36)
    assert (rig.store.kept, rig.timers.pending) == ({}, 0)


@pytest.mark.parametrize("how", ENDS[1:3])
async def test_that_the_gateway_ends_a_call_is_written_before_anybody_hears_of_it(
    how: Callable[[Call, FakeLeg], object],
) -> None:
    """Who is told and who is not may be parted by the death of the process."""
    rig = Rig()
    call, caller, callee = await rig.connected()
    stages: list[str | None] = []

    async def end(cause: Cause) -> None:
        stages.append(rig.store.stage)

    caller.end = callee.end = end  # type: ignore[method-assign]
    how(call, caller)
    await call.finished()
    assert stages == [ENDING, ENDING]


async def test_what_the_other_side_does_after_a_hang_up_does_not_bring_the_call_back() -> None:
    """Before the call has come to read that one side has left it."""
    rig = Rig()
    call, caller, callee = await rig.connected()
    caller.says(HungUp())
    callee.says(SignallingChanged())
    call.keep()
    assert rig.store.stage == ENDING


async def test_an_answered_callee_is_waited_for_where_the_caller_never_was_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has our BYE, of a call to be ended anyway; one that another gateway has is forgotten at once."""
    rig = Goodbyes(monkeypatch)
    for leaves in (False, True):
        call = await rig.calls.place(FakeLeg("caller"), BOB, "1", None)
        await rig.settle()
        rig.dialer.made[-1].says(Answered(ANSWER))
        await rig.settle()
        assert call.state is State.CONFIRMING
        (call.leave if leaves else call.stop)()
        await call.finished()
        assert rig.store.stage == (None if leaves else ENDING)
        while rig.waiting:
            rig.answer()
        assert rig.store.kept == {}


async def test_who_rang_in_vain_is_kept_with_a_call_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group's second member has our CANCEL, and is told again by whoever finds the call before it has answered."""
    rig = Goodbyes(monkeypatch)
    monkeypatch.setattr(FakeLeg, "values", lambda leg: {"kind": "sip", "sessions": [leg.party.tag]})
    other = FakeLeg("other")
    call, _, callee = await rig.placed()
    assert isinstance(call.machine, Attempt)
    call.machine._branches[0].legs.append(other)
    callee.says(Answered(ANSWER))
    await rig.settle()
    assert (call.state, other.verbs) == (State.CONNECTED, ["end"])
    [kept] = rig.store.kept.values()
    assert [len(kept["legs"]), [leg["sessions"] for leg in kept["targets"]]] == [2, [["other"]]]
    rig.answer()
    [kept] = rig.store.kept.values()
    assert (kept["stage"], len(kept["legs"]), kept["targets"]) == (UP, 2, [])


@by_row(
    "event",
    [
        Rejected(Cause.BUSY),
        Redirected(("300",), is_over=True),
        Redirected((), is_over=True, legs=(FakeLeg("new"),)),
    ],
)
async def test_who_refuses_is_kept_while_phones_that_it_had_asked_before_have_our_cancel(
    monkeypatch: pytest.MonkeyPatch, event: LegEvent
) -> None:
    """A callee whose first phones were late, and whose next refuses: those before may ring still."""
    rig = Goodbyes(monkeypatch)
    monkeypatch.setattr(FakeLeg, "values", lambda leg: {"kind": "sip", "sessions": [leg.party.tag]})
    other = FakeLeg("other")
    call, _, callee = await rig.placed()
    assert isinstance(call.machine, Attempt)
    call.machine._branches[0].legs.append(other)
    call.leg_event(other, event)
    await rig.settle()
    assert call.leaving == [other]
    rig.answer()
    assert call.leaving == []
    callee.says(Answered(ANSWER))
    await rig.settle()
    assert call.state is State.CONNECTED


@pytest.mark.parametrize("legs", [(), (FakeLeg("again"),)])
async def test_a_target_that_refuses_is_kept_while_it_has_our_cancel(
    monkeypatch: pytest.MonkeyPatch, legs: tuple[FakeLeg, ...]
) -> None:
    """Of a transfer: what its own phones of before have to answer still, whether it is asked again or not."""
    rig = Goodbyes(monkeypatch)
    call, _, callee = await rig.connected()
    target = FakeLeg("target")
    call.transfer(Transfer(transferor=callee, targets=[target], report=Report()))
    await rig.settle()
    target.says(Redirected((), is_over=True, legs=legs) if legs else Rejected(Cause.BUSY))
    await rig.settle()
    assert call.leaving == [target]
    rig.answer()
    assert call.leaving == []


async def test_of_a_call_that_only_rang_those_are_kept_who_have_not_heard_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The caller has its 487, and is not answered again."""
    rig = Goodbyes(monkeypatch)
    sessions = {"caller": ["asks"], "1-callee": ["waits"]}
    monkeypatch.setattr(FakeLeg, "values", lambda leg: {"kind": "sip", "sessions": sessions[leg.party.tag]})
    call, caller, callee = await rig.placed()
    callee.says(Ringing())
    await rig.settle()
    sessions["caller"] = []
    caller.says(HungUp())
    await call.finished()
    [kept] = rig.store.kept.values()
    assert (kept["stage"], [leg["sessions"] for leg in kept["legs"]]) == (ENDING, [[], ["waits"]])
    while rig.waiting:
        rig.answer()
    assert rig.store.kept == {}


async def test_an_answer_that_asks_for_another_is_written_before_it_leaves() -> None:
    """The caller has a 200 with our offer then, and must not be found as one that rings."""
    rig = Rig()
    call = await rig.calls.place(FakeLeg("caller"), BOB, "1", None)
    await rig.settle()
    puts = rig.store.puts
    rig.dialer.made[-1].says(Answered(ANSWER))
    assert rig.store.puts == puts + 1
    await rig.settle()
    assert (call.state, rig.store.stage, rig.store.puts) == (State.CONFIRMING, SETTING_UP, puts + 2)


async def test_what_a_leg_has_changed_of_its_own_is_written_at_once() -> None:
    """And nothing for what changes nothing: digits, ringing."""
    rig = Rig()
    _, caller, callee = await rig.placed()
    puts = rig.store.puts
    callee.says(Ringing())
    await rig.settle()
    assert rig.store.puts == puts
    callee.says(SignallingChanged())
    assert rig.store.puts == puts + 1
    callee.says(Answered(ANSWER))
    await rig.settle()
    puts = rig.store.puts
    caller.says(DigitPressed("5"))
    await rig.settle()
    assert rig.store.puts == puts


async def test_legs_that_have_not_changed_are_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each says when its values were taken, for its timers count from there; who answered was asked then."""
    asked: list[str] = []

    def values(leg: FakeLeg) -> dict[str, Any]:
        asked.append(leg.party.tag)
        return {"kind": "fake", "number": len(asked)}

    monkeypatch.setattr(FakeLeg, "values", values)
    rig = Rig()
    _, caller, callee = await rig.connected()
    assert asked[-2:] == [callee.party.tag, caller.party.tag]
    [before] = rig.store.kept.values()
    asked.clear()
    rig.wall += 5
    callee.says(SignallingChanged())
    [after] = rig.store.kept.values()
    assert asked == [callee.party.tag]
    assert after["legs"][0] == before["legs"][0]
    assert after["legs"][1]["number"] == 1
    assert [leg["taken_at"] for leg in after["legs"]] == [WALL, WALL + 5]
    assert (after["taken_at"], after["legs"][1]["party"]["tag"]) == (WALL + 5, callee.party.tag)
    caller._address = Address("sip:another@example.test")
    callee.says(SignallingChanged())
    [after] = rig.store.kept.values()
    assert after["legs"][0]["address"]["uri"] == "sip:another@example.test"


async def test_a_store_that_fails_costs_no_call() -> None:
    """It goes on, and ends, unwritten; and is written again where there is room again."""
    rig = Rig()
    rig.store.is_full = True
    call, caller, _ = await rig.connected()
    assert rig.store.kept == {}
    rig.store.is_full = False
    caller.says(SignallingChanged())
    assert rig.store.stage == UP
    caller.says(HungUp())
    await call.finished()
    assert rig.store.kept == {}


async def test_what_was_not_taken_is_written_once_there_is_room() -> None:
    """Though nothing more happens to the call; one that has ended is not, and one that is refused stops no other."""
    rig = Rig()
    rig.store.is_full = True
    calls = [(await rig.connected())[0] for _ in range(3)]
    assert rig.journal.unkept == 3
    rig.journal.again(rig.calls.get)
    assert (rig.journal.unkept, rig.store.kept) == (3, {})
    calls[0].stop()
    await calls[0].finished()
    assert rig.journal.unkept == 2
    rig.store.is_full = False
    rig.store.refused = calls[1].id
    for _ in range(2):
        rig.journal.again(rig.calls.get)
    assert list(rig.store.kept) == [calls[2].id]
    rig.store.refused = ""
    rig.journal.again(rig.calls.get)
    assert rig.journal.unkept == 0
    assert rig.store.kept.keys() == {call.id for call in calls[1:]}


async def test_all_are_written_at_once_where_there_is_room_but_who_is_elsewhere() -> None:
    """A call that another gateway has taken meanwhile is not written, and keeps no other from it."""
    rig = Rig()
    rig.store.is_full = True
    taken, *others = [(await rig.connected())[0] for _ in range(3)]
    taken.leave()
    await taken.finished()
    rig.store.is_full = False
    rig.journal.again(rig.calls.get)
    assert rig.store.kept.keys() == {call.id for call in others}
    assert rig.journal.unkept == 0


async def test_a_call_whose_record_cannot_be_made_keeps_no_other_from_being_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    rig.store.is_full = True
    first, faulty = (await rig.connected())[:2]
    second = (await rig.connected())[0]
    rig.store.is_full = False
    made = type(faulty).values
    monkeypatch.setattr(type(faulty), "values", lambda leg: {"kind": object()} if leg is faulty else made(leg))
    for _ in range(2):
        rig.journal.again(rig.calls.get)
    assert list(rig.store.kept) == [second.id] != [first.id]


async def test_of_a_record_that_is_refused_the_older_one_is_good_for_goodbyes_alone() -> None:
    """It tells of legs that have gone on; nobody is called back into a call by it, nor left alone."""
    rig = Rig()
    _, caller, _ = await rig.connected()
    assert rig.store.stage == UP
    rig.store.is_full = True
    caller.says(SignallingChanged())
    assert rig.store.stage == ENDING
    rig.store.is_full = False
    rig.journal.again(rig.calls.get)
    assert rig.store.stage == UP


async def test_a_record_that_cannot_be_made_has_the_older_one_end_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours in a leg's values; the next record is whole again."""
    rig = Rig()
    _, caller, _ = await rig.connected()
    with monkeypatch.context() as faulty:
        faulty.setattr(FakeLeg, "values", lambda leg: {"kind": object()})
        caller.says(SignallingChanged())
    assert rig.store.stage == ENDING
    caller.says(SignallingChanged())
    assert rig.store.stage == UP
    [values] = rig.store.kept.values()
    assert len(values["legs"]) == 2


async def test_values_say_who_it_was() -> None:
    """Caller and addresses come back as they were."""
    rig = Rig()
    await rig.connected()
    [values] = rig.store.kept.values()
    assert caller_of(values["caller"]) == BOB
    entry, diversion = HistoryEntry("sip:c@d", "1.1"), Diversion("sip:c@d", "user-busy")
    address = Address("sip:a@b", "A", diversions=(diversion,), history=(entry,), signed=(("Identity", "x"),))
    leg = FakeLeg("leg")
    leg._address = address
    assert address_of(json.loads(json.dumps(name_values(leg)))["address"]) == address


@by_row("record", [b"", b"{", b"[]", b"{}", b'{"version": 0}', b"\xff", b"[" * 100_000, VERSION, VERSION + b"[\xff"])
def test_a_record_of_another_version_is_refused(record: bytes) -> None:
    """With the one error that whoever reads expects."""
    with pytest.raises(JournalError):
        read(record)


async def test_a_call_goes_on_and_its_page_comes_back() -> None:
    """Media is left alone until then; whoever called has one place less."""
    rig = Rig(max_calls_per_caller=1)
    call, one, _ = await rig.resumed()
    assert call.state is State.AWAY
    assert rig.engine.requests == []
    with pytest.raises(RouteError):
        await rig.calls.place(FakeLeg("second"), BOB, "1", OFFER)
    one.says(Returned())
    await rig.settle()
    assert (call.state, rig.store.stage) == (State.CONNECTED, UP)


async def test_a_page_that_does_not_come_back_loses_its_call() -> None:
    """After the time that any client has."""
    rig = Rig()
    call, _, other = await rig.resumed()
    rig.timers.advance(31)
    await rig.settle()
    assert (call.state, call.cause) == (State.ENDED, Cause.LOST)
    assert other.verbs[-1] == "end"
    assert rig.store.kept == {}


async def test_the_longest_call_counts_from_its_answer() -> None:
    """In whatever process that was."""
    rig = Rig()
    call, one, _ = await rig.resumed(age=4 * 3600.0 - 10, times=[10.0, 0.0, 30.0])
    one.says(Returned())
    await rig.settle()
    rig.timers.advance(9)
    await rig.settle()
    assert rig.store.stage == UP
    rig.timers.advance(2)
    await rig.settle()
    assert call.state is State.ENDED


async def test_a_call_is_written_down_with_its_answer() -> None:
    """Who goes on with it counts from there, whatever is changed then."""
    rig = Rig()
    _, _, callee = await rig.placed()
    rig.timers.advance(4)
    callee.says(Answered(ANSWER))
    await rig.settle()
    [values] = rig.store.kept.values()
    assert values["times"][1] == 4000.0
    rig.timers.advance(6)
    call, one, _ = await rig.resumed(age=10.0, times=values["times"])
    one.says(Returned())
    await rig.settle()
    assert (call.state, call.record.answered_after_ms) == (State.CONNECTED, 4000.0)


def test_a_record_of_an_older_gateway_knows_that_its_call_was_answered() -> None:
    """By the time at which it was written, before the answer was kept."""
    old = {"stage": UP, "age": 5.0, "times": (26.0, None, None), "legs": [], "targets": []}
    kept = [read(VERSION + marshal.dumps({**old, "times": (26.0, at, None)}))["times"] for at in (None, 0.0)]
    assert kept == [(26.0, 5000.0, None), (26.0, 0.0, None)]


async def test_a_call_that_cannot_be_gone_on_with_takes_no_place() -> None:
    """Of the gateway's and of its caller's; no drain waits for it."""
    rig = Rig(max_calls=1, max_calls_per_caller=1)
    with pytest.raises(TypeError):
        await rig.resumed(holding=5)
    assert list(rig.calls) == []
    await rig.placed()


async def test_a_call_ends_when_it_was_to_end() -> None:
    """Whoever is in it by now: one who hears a service had called somebody else, and has the time of such a call."""
    rig = Rig()
    rig.calls.change(CallSettings(max_duration=100.0), CallLimits())
    await rig.connected()
    [values] = rig.store.kept.values()
    assert values["longest"] == 100.0
    rig.calls.change(CallSettings(max_duration=10.0), CallLimits())
    call, one, _ = await rig.resumed(age=50.0, times=values["times"], longest=values["longest"])
    one.says(Returned())
    await rig.settle()
    states = []
    for seconds in (49, 2):
        rig.timers.advance(seconds)
        await rig.settle()
        states.append(call.state)
    assert states == [State.CONNECTED, State.ENDED]


async def test_holds_are_known() -> None:
    """Who comes back is told that the other side holds it."""
    rig = Rig()
    _, one, _ = await rig.resumed(holding=["other"])
    one.says(Returned())
    await rig.settle()
    assert "held" in one.verbs


def test_of_a_record_of_another_version_a_goodbye_is_read() -> None:
    """Its legs with their own sessions, whatever else is in them; it is to be ended, not gone on with."""
    sessions = [{"dialog": {"id": ["c", "a", "b"]}, "new": 1}]
    phone = (marshal.dumps({"party": 3}), marshal.dumps({"sessions": sessions, "kind": "sip", "more": [1]}))
    service = (marshal.dumps({}), marshal.dumps({"tag": "x"}))
    nobody = (marshal.dumps({}), marshal.dumps(None))
    kept = {"id": "c1", "dialled": "600", "stage": 9, "other": "way", "legs": [phone, nobody], "targets": [service]}
    found = read(b"calls 9\n" + marshal.dumps(kept))
    assert (found["id"], found["dialled"], found["stage"], found["is_foreign"]) == ("c1", "600", ENDING, True)
    assert "other" not in found
    caller, nothing = found["legs"]
    assert (caller["kind"], caller["sessions"]) == ("sip", sessions)
    assert nothing is None
    assert (found["targets"][0]["kind"], found["targets"][0]["sessions"]) == (None, ())
    assert "is_foreign" not in read(VERSION + marshal.dumps(kept))
    assert not found["is_rest"]
    assert read(b"calls 9\n" + marshal.dumps({**kept, "is_rest": True}))["is_rest"]


@by_row(
    "body",
    [
        b"",
        marshal.dumps({}),
        marshal.dumps({"id": "c", "dialled": "6", "legs": [3], "targets": []}),
        marshal.dumps({"id": "c", "dialled": "6", "legs": [(b"", b"")], "targets": []}),
        marshal.dumps({"id": "c", "dialled": "6", "legs": [(marshal.dumps({}), marshal.dumps([1]))], "targets": []}),
        marshal.dumps({"legs": [], "targets": []}),
    ],
)
def test_a_record_of_another_version_that_lacks_what_all_have_is_refused(body: bytes) -> None:
    """One lost call costs no other."""
    with pytest.raises(JournalError):
        read(b"calls 9\n" + body)


async def test_that_nothing_can_be_written_down_is_said_once_until_something_was() -> None:
    """A full disk is one line of the log, however many calls there are; and a call that has ended is kept nowhere."""
    rig = Rig()
    with capture_logs() as logs:
        for is_full in (True, True, False, True):
            rig.store.is_full = is_full
            call, *_ = await rig.placed()
            call.stop()
            await call.finished()
    said = [entry["log_level"] for entry in logs if "calls are not written down" in entry["event"]]
    assert said == ["error", "error"]
    assert (rig.journal._unheard, rig.journal._legs, rig.store.kept) == (set(), {}, {})


async def test_an_end_that_is_not_taken_any_more_leaves_what_was_written_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The call is over and would not be lost; its far ends are waited for as ever."""
    rig = Goodbyes(monkeypatch)
    call, caller, _ = await rig.placed()
    caller.says(HungUp())
    rig.store.is_full = True
    await call.finished()
    assert (len(rig.store.kept), rig.journal.unkept) == (1, 0)
    while rig.waiting:
        rig.answer()
    assert rig.store.kept == {}


async def test_a_late_answer_to_an_end_does_not_count_for_the_next_of_the_same_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a call that was taken over, ended, taken over again, and is ended once more."""
    rig = Goodbyes(monkeypatch)
    call, *_ = await rig.connected()
    values, answers = rig.store.kept[call.id], list[Callable[[], None]]()

    def say(answered: Callable[[], None]) -> int:
        answers.append(answered)
        return 1

    for _ in range(2):
        rig.journal.end("again", values, say)
    first, second = answers
    first()
    assert "again" in rig.store.kept
    second()
    assert "again" not in rig.store.kept
