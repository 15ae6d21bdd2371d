"""What the record of a call says, and when it is written: of the machine's own calls, between legs that are fakes."""

from __future__ import annotations

from gateway.call.leg import Answered, HungUp
from gateway.observe.records import CallDetails, Detail
from tests.call.rig import ANSWER, Blind, Rig

BEGAN = 1_700_000_000.0


class Book:
    """A ledger that keeps what it is told."""

    def __init__(self, rig: Rig) -> None:
        self.told: list[tuple[str, str | Detail, float | None]] = []
        started_at = rig.call.record.started_at
        rig.timers.advance(50.0)
        self._details = CallDetails(self, rig.timers.time, lambda: BEGAN + rig.timers.time() - started_at)
        self._call = rig.call

    def begin(self, detail: Detail) -> None:
        self.told.append(("begin", detail, None))

    def end(self, detail: Detail, at: float) -> None:
        self.told.append(("end", detail, at))

    def forget(self, call_id: str) -> None:
        self.told.append(("forget", call_id, None))

    def seen(self) -> list[tuple[str, str | Detail, float | None]]:
        """What it was told since, of the call as it is now."""
        self.told.clear()
        self._details.call_changed(self._call)
        return list(self.told)


def parties(told: list[tuple[str, str | Detail, float | None]]) -> list[list[str]]:
    """Of each record that was begun."""
    return [detail["parties"] for word, detail, _ in told if word == "begin" and isinstance(detail, dict)]


async def test_an_open_record_says_who_talk_now() -> None:
    """Written anew for who comes in by a transfer, and for nothing else: it is what a dead gateway leaves."""
    blind = Blind()
    await blind.rig.connected()
    book = Book(blind.rig)
    caller, callee, target = (leg.address.uri for leg in (blind.staying, blind.leaving, blind.targets[0]))
    assert parties(book.seen()) == [[caller, callee]]
    assert book.seen() == []
    await blind.ask()
    await blind.hears(blind.targets[0], Answered(ANSWER))
    assert parties(book.seen()) == [[caller, target]]
    assert book.seen() == []


async def test_a_call_that_another_gateway_has_is_forgotten() -> None:
    """Its end here is no record; the one that has it writes that."""
    rig = await Rig().connected()
    book = Book(rig)
    assert [word for word, _, _ in book.seen()] == ["begin"]
    rig.call.record.elsewhere = True
    await rig.hears(rig.callee, HungUp())
    assert book.seen() == [("forget", "c1", None)]


async def test_times_are_those_of_the_wall_when_the_call_began() -> None:
    """Fifty seconds ago by the calls' clock, whatever that counts from."""
    rig = await Rig().connected()
    book = Book(rig)
    await rig.hears(rig.callee, HungUp())
    [(word, detail, at)] = book.seen()
    assert (word, at) == ("end", BEGAN + 50.0)
    assert isinstance(detail, dict)
    assert detail["started_at"] == "2023-11-14T22:13:20.000Z"
    assert detail["seconds"] == 50.0
