"""The journal of a gateway that died, on a disk that takes nothing."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import marshal
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.app.opening import Opening
from gateway.call.journal import (
    ENDING,
    SETTING_UP,
    UP,
    VERSION,
    Journal,
    JournalError,
    JournalStore,
    flat,
    flat_address,
    read,
)
from gateway.call.leg import Address
from gateway.config import Config
from gateway.failover import left as left_calls
from gateway.failover import recovery
from gateway.failover.left import LeftCalls
from gateway.failover.recovery import FILE, JournalFound, Recovery, find_calls, open_journal
from gateway.failover.snapshots import moved_to, taken_up, trunks_of
from gateway.media.engine import Kind, MediaError, Party
from gateway.observe.ledger import SqliteLedger, connect
from gateway.observe.records import stamp
from gateway.sip.dialogs.values import CSEQ_JUMP
from gateway.sip.invite.farewell import Farewell
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri
from gateway.store.journal_file import JournalFile
from gateway.store.journal_shared import Begun
from gateway.testing.engine import FakeEngine
from gateway.testing.timers import ManualTimers
from gateway.trunks.vault import read_key
from gateway.uptime import boot, elapsed
from tests.rows import by_row

UP_CALL = {"stage": UP, "legs": [], "targets": [], "times": (None, 1.0, None), "age": 1.0}
TONE = {"kind": "service", "service": "tone"}
BY_HTTP = {
    "kind": "web",
    "user": "",
    "is_caller": False,
    "returns": False,
    "session": {"id": "s"},
    "party": {"tag": "b"},
}


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be taken out of a journal."""

    def refuse(file: JournalFile, call_id: str) -> None:
        raise JournalError(f"{call_id} cannot be written")

    monkeypatch.setattr(JournalFile, "remove", refuse)


def journal(folder: Path) -> JournalFile:
    key = hmac.digest(read_key(folder, os.urandom), b"calls", hashlib.sha256)
    return JournalFile(folder / FILE, key, os.urandom, limit=1 << 20)


def journal_of(store: JournalStore, timers: ManualTimers | None = None) -> Journal:
    """One that waits for goodbyes by `timers`."""
    nothing = cast(Any, None)
    return Journal(store, nothing, nothing, nothing, (timers or ManualTimers()).call_later)


@pytest.mark.usefixtures("full")
def test_a_record_that_cannot_be_taken_out_costs_no_other(tmp_path: Path) -> None:
    """One cannot be read: the other call is found all the same."""
    file = journal(tmp_path)
    file.open()
    file.put("damaged", b"no record")
    file.put("good", VERSION + marshal.dumps({"legs": [], "targets": []}))
    file.close()
    found = open_journal(tmp_path, os.urandom, 100)
    assert found.calls == {"good": {"legs": [], "targets": []}}
    assert found.file is not None
    found.close()


@pytest.mark.usefixtures("full")
async def test_a_gateway_starts_although_a_call_cannot_be_taken_out(tmp_path: Path) -> None:
    """Every call that does not go on is ended."""
    nothing = cast(Any, None)
    values = {"stage": "", "legs": [], "targets": []}
    file = journal(tmp_path)
    kept = JournalFound(file, {"one": values, "two": values})
    recovery = Recovery(nothing, nothing, LeftCalls(), kept, False, lambda: 0.0)
    recovery.journal = journal_of(file)
    recovery.resume_calls(cast(Any, object()))
    assert await recovery.end_rest() == {}


def test_a_journal_that_another_gateway_has_is_said(tmp_path: Path) -> None:
    """By the one that has none; that records are refused shows in tests.chaos."""
    mine, other = (open_journal(tmp_path, os.urandom, 100) for _ in range(2))
    nothing = cast(Any, None)
    said = [Recovery(nothing, nothing, LeftCalls(), kept, False, lambda: 0.0).conditions() for kept in (mine, other)]
    mine.close()
    assert said[0] == []
    assert ["Calls are not written down" in sentence for sentence in said[1]] == [True]


def test_calls_that_the_journal_did_not_take_are_counted(tmp_path: Path) -> None:
    """For the operator; none is no condition."""
    nothing = cast(Any, None)
    found = Recovery(nothing, nothing, LeftCalls(), JournalFound(), False, lambda: 0.0)
    for unkept in (2, 0):
        found.journal = cast(Any, SimpleNamespace(unkept=unkept))
        assert [sentence.partition(" ")[0] for sentence in found.conditions()] == ["2"] * (unkept > 0)


async def test_of_calls_taken_over_one_that_cannot_be_read_costs_no_other() -> None:
    """One that is here already goes on as it is: its gateway was not gone after all."""
    gone: list[str] = []

    class File:
        def put(self, call_id: str, record: bytes) -> None: ...

        def remove(self, call_id: str) -> None:
            gone.append(call_id)

        def outdate(self, call_id: str) -> None: ...

    calls, kept = cast(Any, {"here": object()}), JournalFound(File())
    nobody: Any = object()
    taking = Recovery(calls, nobody, LeftCalls(), kept, False, lambda: 0.0)
    taking.journal = journal_of(File())
    taking.resume_calls(nobody)
    ringing = {"stage": "setting-up", "legs": [], "targets": []}
    odd = {"stage": "up", "legs": [{"sessions": [{"dialog": {"flow": "?", "contact": "?"}}]}, None], "targets": []}
    assert await taking.take_over({"odd": odd, "here": odd, "ringing": ringing}) == {}
    assert gone == ["odd", "ringing"]


def test_whoever_is_in_a_call_or_leaves_it_is_told_where_another_gateway_has_it() -> None:
    """The Contact of the new one, to those who talk, who ring and to whom a BYE is still said."""
    agent = cast(Any, SimpleNamespace(contact=lambda flow, user, secure: NameAddr(Uri.of(user, "new.test"))))

    def session(user: str) -> dict[str, Any]:
        return {"dialog": {"flow": "udp:192.0.2.9:5060", "contact": f"<sip:{user}@old.test>"}, "accepted": None}

    legs = [None, leg(session("talks"), leaving=[session("replaced")])]
    moved = moved_to(agent, {"legs": legs, "targets": [leg(session("asked"), leaving=[session("rang")])]})
    [_, up], [target] = moved["legs"], moved["targets"]
    told = [one["dialog"]["contact"] for each in (up, target) for one in (*each["sessions"], *each["leaving"])]
    assert told == [f"<sip:{user}@new.test>" for user in ("talks", "replaced", "asked", "rang")]


async def test_phones_that_rang_in_vain_are_told_once_more_of_a_call_that_goes_on() -> None:
    """By the leg that has the call or by one of their own; nobody else is ended."""
    ended: list[object] = []
    agent = cast(
        Any, SimpleNamespace(end_left=lambda session, status, reason, farewell: ended.append(session["waits"]))
    )
    calls, nothing = cast(Any, {}), cast(Any, None)
    caller, talks, rang, too = ({"waits": name} for name in ("caller", "talks", "rang", "rang too"))
    legs = [{"kind": "sip", "sessions": [caller]}, {"kind": "sip", "sessions": [talks], "leaving": [rang]}]
    up = {"stage": "up", "legs": legs, "targets": [{"kind": "sip", "sessions": [], "leaving": [too]}]}
    going_on = Recovery(calls, nothing, LeftCalls(), JournalFound(None, {"up": up}), False, lambda: 0.0)
    going_on.resume_calls(agent)
    going_on.resumed.append("up")
    await going_on.end_rest()
    assert sorted(map(str, ended)) == ["rang", "rang too"]


async def test_without_keeping_calls_those_that_another_gateway_has_are_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`limits.keep_calls: never` at the start of one that was killed while others could take its calls."""
    written = journal(tmp_path)
    written.open()
    for name in ("ours", "taken"):
        legs = [(marshal.dumps({}), marshal.dumps(leg({"waits": name})))]
        written.put(name, VERSION + marshal.dumps({"id": name, "stage": SETTING_UP, "legs": legs, "targets": []}))
    written.close()
    shared = Shared()
    monkeypatch.setattr(recovery, "journal_named", lambda *_: shared)
    given: dict[str, Any] = {
        "limits": {"keep_calls": "never"},
        "cluster": {"node": "sip:192.0.2.1:5060", "key": "k" * 32, "journal": "redis://journal.test"},
    }
    opening = Opening(Config(state_dir=tmp_path, **given), os.urandom, lambda: 0.0)
    told: list[str] = []

    def end_left(session: dict[str, Any], status: int, reason: str, farewell: Farewell) -> None:
        told.append(session["waits"])
        farewell.answered()

    agent = SimpleNamespace(end_left=end_left)
    calls, engine = (
        SimpleNamespace(observe=lambda observer: None),
        SimpleNamespace(end_left=lambda: None, handover=None),
    )
    async with opening.stack:
        found = await find_calls(opening, cast(Any, calls), cast(Any, engine))
        found.resume_calls(cast(Any, agent))
        await found.end_rest()
        assert (told, found.gone, found.shared) == (["ours"], frozenset({"taken"}), None)
        assert found.kept.calls.keys() == {"ours"}
    assert shared.changes == {"taken": None, "ours": None}


async def test_a_call_that_does_not_go_on_has_a_record(tmp_path: Path) -> None:
    """One in its set-up, one that was up, and one whose record is there; what cannot be read costs no other."""
    path, nothing = tmp_path / "cdr.sqlite", cast(Any, None)
    ledger = SqliteLedger(path, 60.0)
    ledger.open(0.0)
    known = {"id": "known", "caller": "sip:who@x", "cause": "normal"}
    ledger.end(known, 5.0)
    alice = {"kind": "", "address": {"uri": "sip:alice@x", "display_name": "Alice"}}
    desk = {"kind": "", "address": {"uri": "sip:1001@x", "display_name": ""}}
    ringing = {"stage": "setting-up", "id": "rang", "dialled": "1001", "legs": [None, desk], "targets": []}
    up = {"taken_at": 1000.0, "age": 10.0, "times": (100.0, 4000.0, None)}
    talked = {"stage": "up", "id": "talked", "dialled": "1001", "legs": [alice, desk], "targets": [], **up}
    odd = {"stage": "up", "legs": [], "targets": []}
    found: dict[str, dict[str, Any]] = {
        "rang": ringing,
        "odd": odd,
        "talked": talked,
        "known": {**talked, "id": "known"},
    }
    ending = Recovery(nothing, nothing, LeftCalls(), JournalFound(None, found), False, lambda: 1009.0)
    ending.records = ledger
    ending.resume_calls(cast(Any, object()))
    await ending.end_rest()
    ledger.close()
    with contextlib.closing(connect(path)) as connection:
        rows = [(ended, json.loads(text)) for ended, text in connection.execute("SELECT ended, detail FROM calls")]
    assert [(ended, row["id"], row["cause"]) for ended, row in rows] == [
        (5.0, "known", "normal"),
        (1009.0, "rang", "gateway-lost"),
        (1009.0, "talked", "gateway-lost"),
    ]
    rang, last = rows[1][1], rows[2][1]
    assert [rang[name] for name in ("caller", "started_at", "answered_at", "parties")] == [None, None, None, []]
    assert (last["caller"], last["caller_name"], last["dialled"]) == ("sip:alice@x", "Alice", "1001")
    assert last["parties"] == ["sip:alice@x", "sip:1001@x"]
    assert (last["started_at"], last["answered_at"]) == (stamp(990.0), stamp(994.0))


def test_a_call_takes_the_places_of_the_trunks_by_which_it_went_out() -> None:
    """Neither that of a trunk by which it came in, nor of a phone; `max_calls` counts those that go out."""
    trunk, phone = {"identity": "trunk:office"}, {"identity": "1001"}
    calls = [
        [phone | {"is_caller": True}, trunk | {"is_caller": False}],
        [trunk | {"is_caller": True}, phone | {"is_caller": False}],
        [trunk | {"is_caller": True}, {"identity": "trunk:other", "is_caller": False}],
        [trunk | {"is_caller": True}, {"kind": "service"}],
        [phone | {"is_caller": True}, None],
        [phone | {"is_caller": True}, {"identity": None, "is_caller": False}],
    ]
    assert [trunks_of({"legs": legs}) for legs in calls] == [["office"], [], ["other"], [], [], []]


def test_whoever_takes_a_call_up_again_is_past_all_numbers_of_who_did_before() -> None:
    """Its requests and those of a third one: they may have been sent though nothing of them was written."""
    session = {"dialog": {"local_cseq": 5}, "accepted": "a 2xx"}
    leg = marshal.dumps({}), marshal.dumps({"kind": "rtp", "sessions": [session]})
    record = VERSION + marshal.dumps({"id": "a", "stage": ENDING, "legs": [leg], "targets": []})
    found = [taken_up(record, times)["legs"][0]["sessions"][0] for times in (1, 2, 3)]
    assert found[0] == session
    assert [each["dialog"]["local_cseq"] for each in found] == [5, 5 + CSEQ_JUMP, 5 + 2 * CSEQ_JUMP]
    assert [each["accepted"] for each in found[1:]] == [None, None]


@pytest.mark.parametrize("flows", [True, False])
async def test_whoever_takes_a_call_up_again_has_the_engine_be_past_what_they_said(flows: bool) -> None:
    """It is told how often that was: of a call of its own, whose packets flow or not, and of another gateway's."""
    asked: list[tuple[str, int]] = []

    class Engine(FakeEngine):
        async def resume(self, call_id: str, values: Any, times: int = 1) -> None:
            asked.append(("resume", times))
            if not flows:
                raise MediaError("gone", 481)

        async def restore(self, call_id: str, values: Any, times: int = 1) -> None:
            asked.append(("restore", times))

    nothing = cast(Any, SimpleNamespace(resume=lambda *_, **__: None, get=lambda _: None))
    service = marshal.dumps({}), marshal.dumps({"kind": "service", "tag": "a", "service": "tone", "name": ""})
    up = {**UP_CALL, "id": "a", "dialled": "", "media": {"agreed": ["a"]}, "legs": [service, service]}
    values = taken_up(VERSION + marshal.dumps({**up, "taken_at": 0.0, "times": (None, 1.0, None)}), 3)
    taking = Recovery(nothing, Engine(), LeftCalls(), JournalFound(None, {"a": values}), False, lambda: 0.0)
    taking.resume_calls(nothing)
    await taking.resume_media()
    await taking.take_over({"a": values})
    assert asked == [("resume", 3), *[("restore", 3)] * (not flows), ("restore", 3)]


async def test_calls_whose_media_both_gateways_have_are_resumed_and_phones_told_where_they_are() -> None:
    """Nothing is offered anew, to sessions of the HTTP API neither."""
    asked: list[tuple[str, str]] = []

    class Engine(FakeEngine):
        handover = cast(Any, object())

        async def resume(self, call_id: str, values: Any, times: int = 1) -> None:
            asked.append(("resume", call_id))
            if call_id == "gone":
                raise MediaError("gone", 481)

        async def restore(self, call_id: str, values: Any, times: int = 1) -> None:
            asked.append(("restore", call_id))

    told: list[tuple[str, bool]] = []
    calls = cast(
        Any, SimpleNamespace(get=lambda _: None, resume=lambda values, *_, silent: told.append((values["id"], silent)))
    )
    service = (
        marshal.dumps({}),
        marshal.dumps({"kind": "service", "tag": "a", "service": "tone", "name": "", "taken_at": 0.0}),
    )
    session = service[0], marshal.dumps({**marshal.loads(service[1]), "session": "id"})
    found = {}
    for call_id, legs in (("up", [service, service]), ("gone", [service, service]), ("http", [service, session])):
        up = {**UP_CALL, "id": call_id, "dialled": "", "media": {"agreed": ["a"]}, "legs": legs, "taken_at": 0.0}
        found[call_id] = taken_up(VERSION + marshal.dumps({**up, "times": (None, 1.0, None)}), 1)
    taking = Recovery(calls, Engine(), LeftCalls(), JournalFound(), False, lambda: 0.0)
    taking.resume_calls(cast(Any, SimpleNamespace()))
    await taking.take_over(found)
    assert asked == [("resume", "up"), ("resume", "gone"), ("resume", "http")]
    assert told == [("up", False), ("http", False)]


def up_call(call_id: str, *legs: dict[str, Any]) -> dict[str, Any]:
    """A call that was up, as it is read from a journal."""
    up = {**UP_CALL, "id": call_id, "dialled": "", "media": {"agreed": ["a", "b"]}, "taken_at": 0.0}
    address = flat_address(Address("sip:b@gw.test"))
    packed = [
        (marshal.dumps({}), marshal.dumps({"tag": "b", "name": "", "taken_at": 0.0, "address": address, **leg}))
        for leg in legs
    ]
    return taken_up(VERSION + marshal.dumps({**up, "legs": packed, "times": (None, 1.0, None)}), 1)


async def test_of_a_call_that_cannot_be_taken_up_no_media_goes_on() -> None:
    """Its ports and flows would be nobody's; those of the next call are its own."""
    engine = FakeEngine()
    found = {"on": up_call("on", TONE, TONE), "odd": up_call("odd", TONE, {"kind": "service"})}
    calls = cast(Any, SimpleNamespace(get=lambda _: None, resume=lambda *_, **__: None))
    starting = Recovery(calls, engine, LeftCalls(), JournalFound(None, found), False, lambda: 0.0)
    await starting.resume_media()
    assert engine.calls == {"on", "odd"}
    starting.resume_calls(cast(Any, SimpleNamespace()))
    await starting.end_rest()
    assert engine.calls == {"on"}


@pytest.mark.parametrize("flows", [True, False])
async def test_a_session_of_the_http_api_is_waited_for_where_its_packets_flow(flows: bool) -> None:
    """One of another gateway whose media was made anew is not: it would have to take an offer, and cannot."""
    waited: list[list[str]] = []

    def resume(values: Any, legs: Any, away: Any, *, silent: bool) -> None:
        waited.append([leg.party.tag for leg in away])

    found = {"a": up_call("a", TONE, BY_HTTP)}
    calls = cast(Any, SimpleNamespace(get=lambda _: None, resume=resume))
    going_on = Recovery(calls, FakeEngine(), LeftCalls(), JournalFound(None, found), False, lambda: 0.0)
    if flows:
        await going_on.resume_media()
    going_on.resume_calls(cast(Any, SimpleNamespace()))
    if not flows:
        await going_on.take_over(found)
    assert waited == [["b"] if flows else []]


async def test_a_call_of_the_http_api_whose_packets_are_gone_is_not_made_anew() -> None:
    """The call beside it is."""
    engine = FakeEngine()
    engine.script("resume", *[MediaError("gone", 481)] * 2)
    found = {"http": up_call("http", TONE, BY_HTTP), "other": up_call("other", TONE, TONE)}
    nothing = cast(Any, SimpleNamespace(get=lambda _: None))
    starting = Recovery(nothing, engine, LeftCalls(), JournalFound(None, found), False, lambda: 0.0)
    await starting.resume_media()
    assert engine.calls == {"other"}


@by_row(
    ("wall", "on_boot", "seconds"),
    [
        (86_405.0, ("this", 100.0), 5.0),
        (-86_395.0, ("this", 100.0), 5.0),
        (7.0, ("this", 200.0), 0.0),
        (7.0, ("other", 100.0), 7.0),
        (7.0, ("", 0.0), 7.0),
        (7.0, None, 7.0),
        (-7.0, None, 0.0),
    ],
)
def test_how_long_a_gateway_was_dead_is_told_by_no_clock_that_was_set(
    wall: float, on_boot: tuple[str, float] | None, seconds: float
) -> None:
    """Nobody sets the time since the machine was started; another machine's, and an older record's, is not ours."""
    values = {"taken_at": 0.0} | ({} if on_boot is None else {"on_boot": on_boot})
    assert elapsed(values, wall, ("this", 105.0)) == seconds
    assert elapsed(values, wall, ("", 0.0)) == max(wall, 0.0)


def test_the_start_of_this_machine_has_a_name_and_time_goes_on_from_it() -> None:
    """Both are the same in each process of it."""
    (name, before), (again, after) = boot(), boot()
    assert name == again != ""
    assert 0.0 < before <= after


def test_a_call_that_has_changed_since_it_was_written_is_ended(tmp_path: Path) -> None:
    """The disk was full; of two that were up the other goes on."""
    for is_second in (False, True):
        found = open_journal(tmp_path, os.urandom, 10)
        assert found.file is not None
        if not is_second:
            for call_id in ("changed", "same"):
                found.file.put(call_id, VERSION + marshal.dumps(UP_CALL | {"id": call_id}))
            found.file.outdate("changed")
        found.close()
    assert {call_id: values["stage"] for call_id, values in found.calls.items()} == {"changed": ENDING, "same": UP}


@pytest.mark.parametrize("set_by", [86_400.0, -86_400.0])
async def test_how_old_a_call_is_that_a_page_left_is_told_by_no_clock_that_was_set(set_by: float) -> None:
    """So its session of the HTTP API ends neither too early nor too late."""
    browser = {"kind": "web", "tag": "a", "user": "alice", "is_caller": True, "returns": True, "party": {"tag": "a"}}
    address = flat_address(Address("sip:1@gateway.example"))
    service = {"kind": "service", "tag": "b", "service": "echo", "name": ""}
    name, now = boot()
    taken = {"taken_at": 1000.0, "on_boot": (name, now - 5.0)}
    legs = [{**browser, "address": address, **taken}, {**service, **taken}]
    values = {**UP_CALL, **taken, "id": "a", "dialled": "1", "age": 60.0, "legs": legs, "media": {"agreed": []}}
    nothing = cast(Any, SimpleNamespace(resume=lambda *_, **__: None))
    going_on = Recovery(
        nothing, FakeEngine(), LeftCalls(), JournalFound(None, {"a": values}), False, lambda: 1005.0 + set_by
    )
    await going_on.resume_media()
    going_on.resume_calls(nothing)
    left = going_on.left.of("alice", "a")
    assert left is not None
    assert left.age == pytest.approx(65.0, abs=1.0)


@by_row(
    ("flows", "flow", "is_awaited"),
    [
        (False, "ws:192.0.2.7:5060/3.1", True),
        (False, "udp:192.0.2.7:5060", False),
        (True, "ws:192.0.2.7:5060/3.1", False),
    ],
)
async def test_a_client_over_websocket_whose_media_is_gone_is_awaited(flows: bool, flow: str, is_awaited: bool) -> None:
    """What was made anew cannot be offered to it before it has connected again; a phone is offered it at once."""

    class Engine(FakeEngine):
        async def resume(self, call_id: str, values: Any, times: int = 1) -> None:
            if not flows:
                raise MediaError("gone", 481)

        async def restore(self, call_id: str, values: Any, times: int = 1) -> None: ...

    awaited: list[str] = []

    def resume(values: Any, legs: Any, away: Any, *, silent: bool) -> None:
        assert silent is not flows
        awaited.extend(each.party.tag for each in away)

    address = flat_address(Address("sip:1@gateway.example"))
    service = {"kind": "service", "tag": "b", "service": "echo", "name": "", "address": address}
    client = {**leg({"dialog": {"flow": flow}}), "party": flat(Party("a", Kind.WEBRTC)), "is_caller": True}
    client |= {"address": address, "identity": "1001", "shown": {}}
    values = {**UP_CALL, "taken_at": 0.0, "id": "a", "dialled": "1", "media": {"agreed": []}}
    values["legs"] = [{**each, "taken_at": 0.0} for each in (client, service)]
    going_on = Recovery(
        cast(Any, SimpleNamespace(resume=resume)),
        Engine(),
        LeftCalls(),
        JournalFound(None, {"a": values}),
        False,
        lambda: 0.0,
    )
    await going_on.resume_media()
    session = SimpleNamespace(listen=lambda _: None, refresh_target=lambda: None)
    going_on.resume_calls(cast(Any, SimpleNamespace(resume=lambda *_: session)))
    assert going_on.resumed == ["a"]
    assert awaited == ["a"] * is_awaited


def test_calls_that_pages_left_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many gateways end in the life of this one."""
    monkeypatch.setattr(left_calls, "_REMEMBERED", 2)
    left, call = LeftCalls(), cast(Any, SimpleNamespace(user="alice", session=None))
    for tag in ("a", "b", "c"):
        left.add(tag, call)
    assert [left.of("alice", tag) for tag in ("a", "b", "c")] == [None, call, call]
    assert left.of("bob", "c") is None


class Store:
    """What was kept last of each call, and whether anything is."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.is_full = False

    def put(self, call_id: str, record: bytes) -> None:
        if self.is_full:
            raise JournalError("the disk is full")
        self.kept[call_id] = read(record)

    def remove(self, call_id: str) -> None:
        self.kept.pop(call_id, None)

    def outdate(self, call_id: str) -> None: ...


class Shared:
    """The cluster's journal, from which another gateway has taken one call."""

    def __init__(self) -> None:
        self.changes: dict[str, object] = {}

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def write(self, changes: dict[str, object]) -> None:
        self.changes |= changes

    async def begin(self, seconds: float) -> Begun:
        return Begun(frozenset({"taken"}), frozenset({"ours"}), frozenset(), seconds)


class Agent:
    """Notes who is told of an end, and what was written down by then."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.told: list[tuple[Any, Farewell, dict[str, Any]]] = []

    def end_left(self, values: Any, status: int, reason: str, farewell: Farewell) -> None:
        self.told.append((values, farewell, dict(self.store.kept)))


def leg(*sessions: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"kind": "sip", "sessions": list(sessions), **others}


DIALOG = {"dialog": {"local_cseq": 7, "flow": None}, "credentials": None, "accepted": ["SIP/2.0 200 OK", "udp:x:1", 1]}


def ending(
    store: Store, calls: dict[str, dict[str, Any]], resumed: Sequence[str] = ()
) -> tuple[Recovery, Agent, ManualTimers]:
    timers, agent, nothing = ManualTimers(), Agent(store), cast(Any, None)
    found = Recovery(cast(Any, {}), nothing, LeftCalls(), JournalFound(store, calls), False, lambda: 0.0)
    found.journal, found.resumed = journal_of(store, timers), list(resumed)
    found._user_agent = cast(Any, agent)
    return found, agent, timers


async def test_an_end_is_written_down_before_it_is_said_and_until_it_is_answered() -> None:
    """A gateway that is killed again would leave a phone that rings, or one that talks to nobody."""
    up = {"stage": UP, "legs": [leg(DIALOG), None], "targets": [leg({"waits": "INVITE"})]}
    store = Store()
    found, agent, timers = ending(store, {"up": up})
    assert await found.end_rest() == {}
    assert [session for session, _, _ in agent.told] == [DIALOG, {"waits": "INVITE"}]
    for _, _, written in agent.told:
        assert written["up"]["stage"] == ENDING
        [kept] = written["up"]["legs"][0]["sessions"]
        assert (kept["dialog"]["local_cseq"], kept["accepted"]) == (7 + CSEQ_JUMP, None)
    bye, cancel = (farewell for _, farewell, _ in agent.told)
    cancel.changed(DIALOG, False)
    assert store.kept["up"]["targets"][0]["sessions"] == [DIALOG]
    fork = {"dialog": {"local_cseq": 8}}
    cancel.changed(fork, True)
    assert store.kept["up"]["targets"][0]["sessions"] == [DIALOG, fork]
    cancel.answered()
    cancel.answered()
    assert store.kept["up"]["stage"] == ENDING
    bye.answered()
    assert (store.kept, timers.pending) == ({}, 0)
    bye.changed(DIALOG, False)
    assert store.kept == {}


async def test_whoever_does_not_answer_a_goodbye_is_not_waited_for_for_ever() -> None:
    """35 seconds, and the record is gone."""
    store = Store()
    found, _, timers = ending(store, {"rang": {"stage": SETTING_UP, "legs": [leg({"asks": "INVITE"})], "targets": []}})
    await found.end_rest()
    timers.advance(34)
    assert list(store.kept) == ["rang"]
    timers.advance(2)
    assert store.kept == {}


async def test_an_answer_that_comes_at_once_ends_a_goodbye_as_well() -> None:
    """Nobody is reached at an address that is none; the other side is waited for all the same."""
    store = Store()
    found, agent, _ = ending(store, {"rang": {"stage": SETTING_UP, "legs": [leg(DIALOG), leg(DIALOG)], "targets": []}})

    def end_left(values: Any, status: int, reason: str, farewell: Farewell) -> None:
        if not agent.told:
            farewell.answered()
        Agent.end_left(agent, values, status, reason, farewell)

    agent.end_left = end_left  # type: ignore[method-assign]
    await found.end_rest()
    assert list(store.kept) == ["rang"]
    agent.told[1][1].answered()
    assert store.kept == {}


async def test_an_end_that_cannot_be_written_down_is_said_all_the_same() -> None:
    """What stood there says that the call goes on, and is taken away."""
    store = Store()
    found, agent, timers = ending(store, {"up": {"stage": UP, "legs": [leg(DIALOG)], "targets": []}})
    store.kept["up"], store.is_full = {}, True
    await found.end_rest()
    assert (len(agent.told), store.kept, timers.pending) == (1, {}, 0)
    agent.told[0][1].answered()


async def test_of_a_call_that_goes_on_whoever_else_rings_is_ended_by_a_record_of_its_own() -> None:
    """Whom it was being passed to, and phones that were told to ring no more and have not answered; no call record."""
    ringing, late = {"waits": "target"}, {"waits": "late"}
    up = {"stage": UP, "id": "up", "legs": [leg(DIALOG), leg(DIALOG, leaving=[late])], "targets": [leg(ringing)]}
    quiet = {"stage": UP, "id": "quiet", "legs": [leg(DIALOG), leg(DIALOG, leaving=[])], "targets": []}
    store = Store()
    store.kept = {"up": {}, "quiet": {}}
    found, agent, _ = ending(store, {"up": up, "quiet": quiet}, ["up", "quiet"])
    await found.end_rest()
    assert [session for session, _, _ in agent.told] == [ringing, late]
    rest = {name: store.kept[name] for name in ("up-targets", "up-cancelled")}
    assert [(each["stage"], each["legs"]) for each in rest.values()] == [(ENDING, [None, None])] * 2
    assert sorted(store.kept) == ["quiet", "up", "up-cancelled", "up-targets"]
    again, later, _ = ending(store, rest)
    again.records = cast(Any, object())
    await again.end_rest()
    assert [session for session, _, _ in later.told] == [ringing, late]
    for _, farewell, _ in later.told:
        farewell.answered()
    assert sorted(store.kept) == ["quiet", "up"]


@by_row("odd", [{"dialog": {}}, {"dialog": {"local_cseq": "7"}}, {"dialog": 3}, 5])
async def test_a_session_that_cannot_be_read_leaves_nobody_else_untold(odd: Any) -> None:
    """Whether its call ends, or goes on while another phone is ringing: the start goes on, and the others are told."""
    ends = {"stage": UP, "id": "ends", "legs": [leg(odd), leg(DIALOG)], "targets": []}
    on = {"stage": UP, "id": "on", "legs": [leg(DIALOG), leg(DIALOG)], "targets": [leg(odd), leg({"waits": "INVITE"})]}
    found, agent, _ = ending(Store(), {"ends": ends, "on": on}, ["on"])
    await found.end_rest()
    assert [session for session, _, _ in agent.told] == [odd, DIALOG, odd, {"waits": "INVITE"}]


async def test_a_leg_that_cannot_be_read_costs_no_start() -> None:
    """Of a call that goes on, whom else it had asked; the next call is ended."""
    on = {"stage": UP, "id": "on", "legs": [leg(DIALOG), leg(DIALOG)], "targets": [{"sessions": 5}]}
    more = {**on, "id": "more", "targets": [leg({"waits": "INVITE"})]}
    store = Store()
    store.kept = {"on-targets": {}}
    found, agent, _ = ending(store, {"on": on, "more": more}, ["on", "more"])
    await found.end_rest()
    assert [session for session, _, _ in agent.told] == [{"waits": "INVITE"}]
    assert "on-targets" not in store.kept


def test_a_call_that_is_ended_a_second_time_is_waited_for_anew() -> None:
    """One that another gateway has given back: the 35 seconds begin again."""
    store, timers = Store(), ManualTimers()
    journal, values = journal_of(store, timers), {"id": "up", "dialled": "", "legs": [leg(DIALOG)], "targets": []}
    journal.end("up", values, lambda answered: 1)
    timers.advance(30)
    journal.end("up", values, lambda answered: 1)
    timers.advance(34)
    assert list(store.kept) == ["up"]
    timers.advance(2)
    assert (store.kept, timers.pending) == ({}, 0)
