"""SQLite does what memory does, whatever the order of operations."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.identity.model import Binding, Credential
from gateway.identity.store import IdentityStore, StoreError
from gateway.store.identity_memory import MemoryStore
from gateway.store.identity_sqlite import SqliteStore

AORS = ("sip:1@d", "sip:2@d")
CONTACTS = ("sip:a@h", "sip:b@h", "sip:c@h", "sip:d@h")

bindings = st.builds(
    Binding,
    aor=st.sampled_from(AORS),
    contact=st.sampled_from(CONTACTS),
    expires_at=st.integers(0, 60).map(float),
    call_id=st.text(st.characters(codec="utf-8"), max_size=8),
    cseq=st.integers(0, 2**31 - 1),
    q=st.sampled_from((0.0, 0.5, 1.0)),
    instance=st.sampled_from((None, "urn:uuid:1", "urn:uuid:2")),
    reg_id=st.sampled_from((None, 1, 2)),
    path=st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=2).map(tuple),
    codecs=st.sampled_from(((), ("opus",), ("pcma", "pcmu"))),
)


class StoresAgree(RuleBasedStateMachine):
    """Every operation goes to both stores; outcome and content must be the same."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._runner = asyncio.Runner()
        self._now = 0.0
        self._memory = MemoryStore()
        self._sqlite = SqliteStore(Path(self._folder.name) / "identity.sqlite")
        self._run(self._sqlite.open())

    def teardown(self) -> None:
        self._run(self._sqlite.close())
        self._runner.close()
        self._folder.cleanup()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(work)

    @rule(seconds=st.integers(1, 20))
    def time_passes(self, seconds: int) -> None:
        self._now += seconds

    @rule(binding=bindings, limit=st.integers(0, 4))
    def put(self, binding: Binding, limit: int) -> None:
        outcomes = [self._put(store, binding, limit) for store in (self._memory, self._sqlite)]
        assert outcomes[0] == outcomes[1]

    def _put(self, store: IdentityStore, binding: Binding, limit: int) -> str:
        try:
            self._run(store.put_binding(binding, self._now, limit))
        except StoreError as error:
            return str(error)
        return "kept"

    @rule(aor=st.sampled_from(AORS))
    def remove_all(self, aor: str) -> None:
        for store in (self._memory, self._sqlite):
            self._run(store.remove_all(aor))

    @rule()
    def expire(self) -> None:
        assert self._run(self._memory.expire(self._now)) == self._run(self._sqlite.expire(self._now))

    @rule(ha1=st.dictionaries(st.sampled_from(("MD5", "SHA-256")), st.text("0123456789abcdef", max_size=4)))
    def put_credential(self, ha1: dict[str, str]) -> None:
        for store in (self._memory, self._sqlite):
            self._run(store.put_credential(Credential("1", "d", ha1)))
        assert self._run(self._memory.credential("1", "d")) == self._run(self._sqlite.credential("1", "d"))

    @rule()
    def restart(self) -> None:
        self._run(self._sqlite.close())
        self._run(self._sqlite.open())

    @invariant()
    def same_bindings(self) -> None:
        for aor in AORS:
            kept = self._run(self._memory.bindings(aor, self._now))
            assert list(kept) == list(self._run(self._sqlite.bindings(aor, self._now)))


TestStoresAgree = StoresAgree.TestCase
TestStoresAgree.settings = settings(max_examples=25, stateful_step_count=25)
