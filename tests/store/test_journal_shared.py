"""A journal that the cluster sees: the file counts, and the latest record of each call follows as soon as it can."""

from __future__ import annotations

import asyncio
import marshal
from collections.abc import Mapping, Sequence

import pytest

from gateway.call.journal import VERSION, JournalError
from gateway.store import journal_shared
from gateway.store.journal_shared import SharedRecords


def record(*tags: str) -> bytes:
    """Of a call with these web legs."""
    legs = [(marshal.dumps({"party": {"tag": tag}}), marshal.dumps({"kind": "web"})) for tag in tags]
    phone = (marshal.dumps({"party": {"tag": "phone"}}), marshal.dumps({"kind": "sip"}))
    return VERSION + marshal.dumps({"legs": [*legs, phone, (marshal.dumps({}), marshal.dumps(None))], "targets": []})


class File:
    """What was put, unless the disk is full."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.is_full = False

    def put(self, call_id: str, record: bytes) -> None:
        if self.is_full:
            raise JournalError("no space is left")
        self.kept[call_id] = record

    def outdate(self, call_id: str) -> None:
        raise JournalError("no space is left")

    def remove(self, call_id: str) -> None:
        self.kept.pop(call_id, None)
        if self.is_full:
            raise JournalError("no space is left")


class Shared:
    """What the others see."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[bytes, Sequence[str]]] = {}
        self.is_away = False
        self.largest = 0
        self.news = asyncio.Event()

    async def write(self, changes: Mapping[str, tuple[bytes, Sequence[str]] | None]) -> None:
        await asyncio.sleep(0)
        self.news.set()
        if self.is_away:
            raise JournalError("no connection")
        self.largest = max(self.largest, len(changes))
        for call_id, change in changes.items():
            self.seen.pop(call_id, None)
            if change is not None:
                self.seen[call_id] = change


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_shared, "_PAUSE", 0.005)
    monkeypatch.setattr(journal_shared, "_LAST", 0.1)


async def test_the_others_see_the_latest_of_each_call() -> None:
    """With its web legs; not what is over; few at a time."""
    file, shared = File(), Shared()
    records = SharedRecords(file, shared)
    for number in range(250):
        records.put(f"c{number}", record())
    records.put("c0", record("leg", "other"))
    records.remove("c1")
    assert len(file.kept) == 249
    running = asyncio.create_task(records.run())
    await records.written()
    assert shared.seen.keys() == file.kept.keys()
    assert shared.seen["c0"] == (file.kept["c0"], ["leg", "other"])
    assert shared.largest <= 100
    running.cancel()


async def test_while_it_is_away_only_the_latest_waits() -> None:
    """However often a call changes; then they see how it stands."""
    file, shared = File(), Shared()
    shared.is_away = True
    records = SharedRecords(file, shared)
    running = asyncio.create_task(records.run())
    records.put("a", record("first"))
    await asyncio.wait_for(shared.news.wait(), 30)
    for number in range(100):
        records.put("a", record(str(number)))
        await asyncio.sleep(0)
    records.put("b", record())
    records.remove("b")
    await records.written()  # returns all the same
    assert shared.seen == {}
    shared.is_away = False
    await records.written()
    assert {call_id: tags for call_id, (_, tags) in shared.seen.items()} == {"a": ["99"]}
    running.cancel()


async def test_what_comes_while_a_word_with_it_fails_is_newer_than_that_word() -> None:
    """Whoever takes the call goes on with it as it stands."""
    shared = Shared()
    shared.is_away = True
    records = SharedRecords(File(), shared)
    records.put("a", record("old"))
    records.put("b", record("both"))
    failing = asyncio.create_task(records._write())
    await asyncio.sleep(0)
    records.put("a", record("new"))
    with pytest.raises(JournalError):
        await failing
    shared.is_away = False
    await records._write()
    assert {call_id: tags for call_id, (_, tags) in shared.seen.items()} == {"a": ["new"], "b": ["both"]}


async def test_while_it_is_away_calls_come_and_go_and_leave_nothing() -> None:
    """Only the ends of those that the others may have seen wait, of whatever process they were."""
    file, shared = File(), Shared()
    records = SharedRecords(file, shared)
    running = asyncio.create_task(records.run())
    records.put("seen", record())
    await records.written()
    shared.is_away = True
    shared.seen["before"] = (b"", [])
    records.told(["before"])
    for call_id in ("seen", "before"):
        records.remove(call_id)
    for number in range(1_000):
        records.put(f"c{number}", record())
        records.remove(f"c{number}")
        if not number % 100:
            await asyncio.sleep(0)
    assert len(records._waiting) < 10
    shared.is_away = False
    await records.written()
    assert shared.seen == {}
    assert records._recorded == set()
    running.cancel()


async def test_a_call_that_the_disk_did_not_take_is_no_call_for_the_others() -> None:
    """Nor one whose end it did not take, or what it has become since."""
    file, shared = File(), Shared()
    records = SharedRecords(file, shared)
    running = asyncio.create_task(records.run())
    records.put("a", record())
    records.put("c", record())
    await records.written()
    assert shared.seen.keys() == {"a", "c"}
    file.is_full = True
    with pytest.raises(JournalError):
        records.outdate("c")
    with pytest.raises(JournalError):
        records.put("b", record())
    with pytest.raises(JournalError):
        records.remove("a")
    await records.written()
    assert shared.seen == {}
    running.cancel()


async def test_a_call_of_another_version_that_is_being_ended_is_seen_as_well() -> None:
    """Its legs need not say who they are: nothing waits for it until its goodbyes are answered."""
    file, shared = File(), Shared()
    records = SharedRecords(file, shared)
    legs = [(marshal.dumps({}), marshal.dumps({"kind": "web"}))]
    old = VERSION + marshal.dumps({"legs": legs, "targets": []})
    records.put("old", old)
    writing = asyncio.create_task(records.run())
    await shared.news.wait()
    await records.written()
    writing.cancel()
    assert shared.seen == {"old": (old, [])}
