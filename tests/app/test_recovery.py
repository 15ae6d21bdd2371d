"""The journal of a gateway that died, on a disk that takes nothing."""

from __future__ import annotations

import hashlib
import hmac
import marshal
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.accounts.vault import read_key
from gateway.app import recovery
from gateway.app.recovery import FILE, JournalFound, LeftCalls, Recovery, open_journal
from gateway.call.journal import VERSION, JournalError
from gateway.store.journal_file import JournalFile


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be taken out of a journal."""

    def refuse(file: JournalFile, call_id: str) -> None:
        raise JournalError(f"{call_id} cannot be written")

    monkeypatch.setattr(JournalFile, "remove", refuse)


def journal(folder: Path) -> JournalFile:
    key = hmac.digest(read_key(folder, os.urandom), b"calls", hashlib.sha256)
    return JournalFile(folder / FILE, key, os.urandom, limit=1 << 20)


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
    recovery = Recovery(nothing, nothing, LeftCalls(), kept, False, lambda: None, lambda: 0.0)
    recovery.resume_calls(cast(Any, object()))
    assert await recovery.end_rest() == {}


def test_a_journal_that_another_gateway_has_is_said(tmp_path: Path) -> None:
    """By the one that has none; that records are refused shows in tests.chaos."""
    mine, other = (open_journal(tmp_path, os.urandom, 100) for _ in range(2))
    nothing = cast(Any, None)
    said = [
        Recovery(nothing, nothing, LeftCalls(), kept, False, lambda: None, lambda: 0.0).conditions()
        for kept in (mine, other)
    ]
    mine.close()
    assert said[0] == []
    assert ["Calls are not written down" in sentence for sentence in said[1]] == [True]


async def test_of_calls_taken_over_one_that_cannot_be_read_costs_no_other() -> None:
    """One that is here already goes on as it is: its gateway was not gone after all."""
    gone: list[str] = []

    class File:
        def put(self, call_id: str, record: bytes) -> None: ...

        def remove(self, call_id: str) -> None:
            gone.append(call_id)

    calls, kept = cast(Any, {"here": object()}), JournalFound(File())
    nobody: Any = object()
    taking = Recovery(calls, nobody, LeftCalls(), kept, False, lambda: None, lambda: 0.0)
    taking.resume_calls(nobody)
    ringing = {"stage": "setting-up", "legs": [], "targets": []}
    odd = {"stage": "up", "legs": [{"sessions": [{"dialog": {"flow": "?", "contact": "?"}}]}, None], "targets": []}
    assert await taking.take_over({"odd": odd, "here": odd, "ringing": ringing}) == {}
    assert gone == ["odd", "ringing"]


def test_calls_that_pages_left_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many gateways end in the life of this one."""
    monkeypatch.setattr(recovery, "_REMEMBERED", 2)
    left, call = LeftCalls(), cast(Any, SimpleNamespace(user="alice"))
    for tag in ("a", "b", "c"):
        left.add(tag, call)
    assert [left.of("alice", tag) for tag in ("a", "b", "c")] == [None, call, call]
