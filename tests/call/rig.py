"""A call between fakes: legs and an engine that do as they are told, a clock that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

from gateway.call.branches import Branch
from gateway.call.call import Call
from gateway.call.journal import ENDING, JournalError, read
from gateway.call.leg import Answered, CalleeLeg, LegEvent, OfferAnswered, Offered, Ringing
from gateway.call.machine import unsaid
from gateway.call.record import CallSettings
from gateway.call.state import State, Transfer
from gateway.call.status import Cause
from gateway.call.transfer import merge
from gateway.media.engine import Kind
from gateway.testing.engine import FakeEngine
from gateway.testing.leg import FakeLeg
from gateway.testing.timers import ManualTimers

OFFER = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"
ANSWER = "v=0\r\no=- 2 2 IN IP4 192.0.2.8\r\ns=-\r\nt=0 0\r\nm=audio 7000 RTP/AVP 8 0\r\n"


class Store:
    """A JournalStore in memory that remembers what happened."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.puts = 0
        self.is_full = False
        self.refused = ""

    def put(self, call_id: str, record: bytes) -> None:
        if self.is_full or call_id == self.refused:
            raise JournalError("no space is left")
        self.puts += 1
        self.kept[call_id] = read(record)

    def remove(self, call_id: str) -> None:
        self.kept.pop(call_id, None)

    def outdate(self, call_id: str) -> None:
        if call_id in self.kept:
            self.kept[call_id]["stage"] = ENDING

    @property
    def stage(self) -> str | None:
        """Of the only call."""
        return next((values["stage"] for values in self.kept.values()), None)


class Rig:
    """One call between a browser and one or more phones, all of them fakes."""

    def __init__(
        self,
        callees: int = 1,
        caller_kind: Kind = Kind.WEBRTC,
        *,
        offer: str | None = OFFER,
        movable: bool = True,
        on_redirect: Any = None,
        ringbacks: frozenset[str] = frozenset(),
        announce: Callable[[Cause], CalleeLeg | None] = unsaid,
        **leg_options: Any,
    ) -> None:
        """`offer` None: the caller wants ours; `movable` and `ringbacks` are the engine's, all else the caller's.
        Without `callees` all of them were busy."""
        self.engine = FakeEngine(movable=movable, ringbacks=ringbacks)
        self.timers = ManualTimers()
        self.caller = FakeLeg("caller", caller_kind, **leg_options)
        self.callees = [FakeLeg(f"callee{index}") for index in range(callees)]
        self.changes: list[State] = []
        self.learned: list[tuple[str, ...]] = []
        self.call = Call(
            "c1",
            self.caller,
            Branch(list(self.callees), refusals=[] if callees else [Cause.BUSY]),
            offer,
            dialled="1001",
            engine=self.engine,
            timers=self.timers,
            announce=announce,
            settings=CallSettings(ring_timeout=30, max_duration=600, reattach_time=20),
            on_change=lambda call: self.changes.append(call.state),
            on_preference=lambda leg, codecs: self.learned.append(codecs),
            on_redirect=on_redirect,
        )
        self.engine.subscribe(self.call.media_event)

    @property
    def callee(self) -> FakeLeg:
        return self.callees[0]

    def expect(self, state: State) -> None:
        assert self.call.state is state

    async def settle(self) -> None:
        """Let the call work off what is queued; there is nothing in it that waits for time."""
        for _ in range(50):
            await asyncio.sleep(0)

    async def started(self) -> Self:
        self.call.start()
        await self.settle()
        return self

    async def connected(self) -> Self:
        await self.started()
        await self.hears(self.callee, Ringing())
        await self.hears(self.callee, Answered(ANSWER))
        assert self.call.state is State.CONNECTED
        return self

    async def offered(self, leg: FakeLeg, number: int = 1, sdp: str | None = OFFER) -> None:
        """`leg` re-offers, or asks for our offer."""
        await self.hears(leg, Offered(number, sdp))

    async def answers(self, leg: FakeLeg, sdp: str | None = ANSWER) -> None:
        """`leg` answers the last offer that it was sent."""
        await self.hears(leg, OfferAnswered(leg.exchanges[-1], sdp))

    async def hears(self, leg: FakeLeg, event: LegEvent) -> None:
        leg.says(event)
        await self.settle()

    async def connected_by(self, leg: FakeLeg) -> None:
        """This one of the callees answers."""
        await self.hears(leg, Answered(ANSWER))
        assert self.call.state is State.CONNECTED

    async def connected_by_answer(self) -> None:
        """The only callee answers."""
        await self.hears(self.callee, Answered(ANSWER))


class Two:
    """Two calls of one engine: a-b and c-d."""

    def __init__(self) -> None:
        self.rig = Rig(caller_kind=Kind.RTP)
        self.engine = self.rig.engine
        self.c, self.d = FakeLeg("c"), FakeLeg("d")
        self.other = Call(
            "c2", self.c, Branch([self.d]), OFFER, dialled="d", engine=self.engine, timers=self.rig.timers
        )
        self.done: list[Cause] = []

    @property
    def a(self) -> FakeLeg:
        return self.rig.caller

    @property
    def b(self) -> FakeLeg:
        return self.rig.callee

    async def up(self) -> Two:
        await self.rig.connected()
        self.other.start()
        await self.rig.settle()
        await self.rig.hears(self.d, Answered(ANSWER))
        assert self.other.state is State.CONNECTED
        return self

    async def merge(self) -> None:
        """Attended transfer: a and d talk, b and c go."""
        merge(self.rig.call, self.b, self.other, self.d, self.done.append)
        await self.rig.settle()


class Report:
    """Keeps what whoever asked is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def accepted(self) -> None:
        self.told.append("accepted")

    def ringing(self) -> None:
        self.told.append("ringing")

    def ended(self, cause: Cause) -> None:
        self.told.append(cause)


class Blind:
    """A call between a caller and a callee, whom the callee passes on to one target or more."""

    def __init__(self, targets: int = 1) -> None:
        self.rig = Rig(caller_kind=Kind.RTP)
        self.targets = [FakeLeg(f"target{number}") for number in range(targets)]
        self.report = Report()

    @property
    def staying(self) -> FakeLeg:
        return self.rig.caller

    @property
    def leaving(self) -> FakeLeg:
        return self.rig.callee

    async def begun(self) -> Blind:
        await self.rig.connected()
        await self.ask()
        return self

    async def ask(self) -> None:
        self.rig.call.transfer(Transfer(transferor=self.leaving, targets=list(self.targets), report=self.report))
        await self.rig.settle()

    async def hears(self, leg: FakeLeg, *events: LegEvent) -> None:
        for event in events:
            await self.rig.hears(leg, event)

    def over(self) -> None:
        """Everybody is told, nothing is left."""
        self.rig.expect(State.ENDED)
        for leg in (self.staying, self.leaving, *self.targets):
            assert leg.verbs.count("end") <= 1
        assert self.rig.engine.calls == frozenset()
        assert self.rig.timers.pending == 0
