"""Calls of a gateway that died: found in its journal, gone on with where their packets still flow, else ended."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from gateway.app.observers import keep_records, recording
from gateway.app.opening import Opening
from gateway.call.journal import ENDING, UP, Journal, JournalError, JournalStore, Values, read
from gateway.call.leg import Leg
from gateway.call.registry import Calls
from gateway.call.status import Cause
from gateway.cluster.settings import cluster, shared_key
from gateway.errors import AwayError
from gateway.failover.lease import Lease
from gateway.failover.left import LeftCalls
from gateway.failover.snapshots import asked, left_beside, left_call, moved_to, taken_up, together, trunks_of
from gateway.legs.service import ServiceLeg
from gateway.legs.sip_bodies import reason_of
from gateway.legs.sip_leg import SipResumedLeg
from gateway.legs.sip_sessions import Reader, nobody
from gateway.legs.web import BrowserLeg, WebResumedLeg
from gateway.media.engine import MediaEngine, MediaError, Party
from gateway.net.user_agent import UserAgent
from gateway.observe.ledger import SqliteLedger
from gateway.observe.records import lost
from gateway.sip.dialogs.values import is_by_websocket
from gateway.sip.invite.farewell import Farewell
from gateway.sip.invite.resumed import bare
from gateway.store.factory import journal_named
from gateway.store.journal_file import JournalFile
from gateway.store.journal_shared import SharedRecords, SharedStore
from gateway.tasks import ended
from gateway.trunks.vault import read_key
from gateway.uptime import boot, clock, elapsed

log = structlog.get_logger(__name__)

FILE = "calls.journal"
_STARTING = 60.0
"""Seconds that a gateway which starts is waited for by those who would take its calls."""
_AGAIN = 2.0
"""Seconds between two tries to write down what the journal did not take."""
_AT_ONCE = 50
"""Records that are read of the cluster's journal at a time."""
OCTETS_OF_A_CALL = 65_536
"""What its record may take on average."""


@dataclass(frozen=True, slots=True)
class JournalFound:
    """A journal, and what was in it."""

    file: JournalStore | None = None
    """None: another gateway has it, or it cannot be written."""
    calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    close: Callable[[], None] = lambda: None
    """Let go of the file."""
    refused: str = ""
    """Why there is none, where there should be one."""


async def _nobody_comes(user: str, tag: str) -> bool:
    return False


def open_journal(state_dir: Path, random: Callable[[int], bytes], calls: int) -> JournalFound:
    """The journal of a state folder, for so many calls. Raises ConfigError for a damaged key."""
    key = hmac.digest(read_key(state_dir, random), b"calls", hashlib.sha256)
    file = JournalFile(state_dir / FILE, key, random, limit=calls * OCTETS_OF_A_CALL)
    found = {}
    try:
        for call_id, record in file.open().items():
            try:
                found[call_id] = read(record)
                if call_id in file.outdated:
                    found[call_id]["stage"] = ENDING
            except JournalError as error:
                _remove(file, call_id)
                log.error("a call of the gateway before is lost", call_id=call_id, reason=str(error))
    except JournalError as error:
        log.warning("calls end with this process", reason=str(error))
        return JournalFound(refused=str(error))
    return JournalFound(file, found, file.close)


def _remove(file: JournalStore, call_id: str) -> None:
    """Take a call out of the journal, as far as the disk lets it: the next process finds it else once more."""
    try:
        file.remove(call_id)
    except JournalError as error:
        log.error("a call stays in the journal", call_id=call_id, reason=str(error))


@dataclass(slots=True)
class Recovery:
    """What became of each call that was found."""

    calls: Calls
    engine: MediaEngine
    left: LeftCalls
    kept: JournalFound
    at_stop: bool
    """Whether a stop on purpose leaves calls as well."""
    wall_clock: Callable[[], float]
    """Seconds since 1970."""
    reads: Reader = nobody
    records: SqliteLedger | None = None
    """Call detail records, where they are wanted."""
    shared: SharedStore | None = None
    """Where the other gateways of the cluster find the calls of this one."""
    lease: Lease | None = None
    """Until when nobody can have taken them."""
    gone: frozenset[str] = frozenset()
    """Those of the process before that others have taken."""
    to_come: Callable[[str, str], Coroutine[Any, Any, bool]] = _nobody_comes
    """Waits for the call of a user's page that another gateway had; whether it is here."""
    resumed: list[str] = field(default_factory=list)
    """Calls that go on."""
    flowing: list[str] = field(default_factory=list)
    """Calls whose media goes on, or was made anew."""
    silent: set[str] = field(default_factory=set)
    """Those whose media was made anew: it must be offered to both sides."""
    journal: Journal | None = None
    is_taking: bool = False
    """Whether they were another gateway's, whose Contact their phones have."""
    _user_agent: UserAgent | None = None

    def conditions(self) -> list[str]:
        """What an operator should know of it."""
        if self.kept.refused:
            return [f"Calls are not written down, and end with this process: {self.kept.refused}."]
        unkept = 0 if self.journal is None else self.journal.unkept
        return [f"{unkept} calls cannot be written down, and would be lost with this process."] if unkept else []

    @property
    def leaves_calls(self) -> bool:
        """Whether calls are up that a stop leaves to the next gateway (`limits.keep_calls`)."""
        return self.at_stop and self.kept.file is not None and self.engine.capabilities.keeps and len(self.calls) > 0

    async def leave(self) -> None:
        """Write down what waits to be; the process is to end then as if it were killed."""
        if self.shared is not None:
            with contextlib.suppress(JournalError):
                await self.shared.hold(_STARTING)
        if self.records is not None:
            await asyncio.to_thread(self.records.close)

    async def take_over(self, calls: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
        """Go on with calls of another gateway, and end those that cannot be; what `end_rest` gives."""
        assert self._user_agent is not None
        moved, whole = {}, []
        for call_id, values in calls.items():
            if self.calls.get(call_id) is not None:
                continue  # taken before, from a gateway that was not gone after all
            try:
                moved[call_id] = moved_to(self._user_agent, values)
                whole += [call_id] if self.is_whole(values) else []
            except Exception:
                log.exception("a call of another gateway is lost", call_id=call_id)
                moved.pop(call_id, None)
                self.forget(call_id)
        kept = JournalFound(self.kept.file, moved)
        again = replace(self, kept=kept, resumed=[], flowing=[], silent=set(), is_taking=True)
        for call_id in whole:
            with again.without_media(call_id):
                await again._take_media(call_id, moved[call_id])
                again.flowing.append(call_id)
        again.resume_calls(self._user_agent)
        trunks = await again.end_rest()
        self.left.hand_over_sessions()
        return trunks

    async def _take_media(self, call_id: str, values: Values) -> None:
        media, times = values["media"], values.get("taken_up", 1)
        if self.engine.handover is None:
            # Flows of its numbers are other calls' in the plane of this gateway.
            await self.engine.restore(call_id, media, times)
            self.silent.add(call_id)
        else:
            await self.engine.resume(call_id, media, times)

    def taken(self, call_ids: Iterable[str]) -> None:
        """Records of these are ours now where the cluster sees them."""
        if isinstance(self.kept.file, SharedRecords):
            self.kept.file.told(call_ids)

    async def keep_again(self) -> None:
        """Write down every call that is still ours: the cluster's journal knows nothing of us."""
        for number, call in enumerate(self.calls):
            if self.lease is None or not self.lease.is_ours():
                return
            call.keep()
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)

    def forget(self, call_id: str) -> None:
        """Keep no record of a call that cannot be read."""
        if self.kept.file is not None:
            _remove(self.kept.file, call_id)

    @staticmethod
    def is_whole(values: Values) -> bool:
        """Whether a call was up, and all of it is known."""
        return (
            values["stage"] == UP and len(values["legs"]) == 2 and None not in values["legs"] and bool(values["media"])
        )

    @staticmethod
    @contextlib.contextmanager
    def without_media(call_id: str) -> Iterator[None]:
        """A call whose media cannot be made anew is not gone on with."""
        try:
            yield
        except MediaError as error:
            log.warning("a call's media cannot be made anew", call_id=call_id, reason=error.reason)

    async def resume_media(self, *, go_on: bool = True) -> None:
        """Before SIP is open: take up the media of what was up, or make it anew, and end the rest of it.

        Not `go_on`: all of it.
        """
        for call_id, values in self.kept.calls.items():
            if go_on and self.is_whole(values):
                with self.without_media(call_id):
                    await self._resume_media(call_id, values)
                    self.flowing.append(call_id)
        self.engine.end_left()

    async def _resume_media(self, call_id: str, values: Values) -> None:
        media, times = values["media"], values.get("taken_up", 1)
        try:
            await self.engine.resume(call_id, media, times)
        except MediaError as error:
            log.warning("a call's media is gone", call_id=call_id, reason=error.reason)
            if any("session" in leg for leg in values["legs"]):
                raise MediaError("its session of the HTTP API takes no offer", 488) from None
            await self.engine.restore(call_id, media, times)
            self.silent.add(call_id)

    def resume_calls(self, user_agent: UserAgent) -> None:
        """As SIP opens, before its first message is read: go on with every call whose media goes on."""
        self._user_agent = user_agent
        for call_id in self.flowing:
            try:
                self._resume(self.kept.calls[call_id])
            except Exception:
                log.exception("a call could not be taken up", call_id=call_id)
            else:
                self.resumed.append(call_id)

    async def end_rest(self) -> dict[str, list[str]]:
        """Once messages can be sent: end on both sides what does not go on.

        Of each call that does, the names of the trunks by which it went out.
        """
        assert self._user_agent is not None
        for call_id, values in self.kept.calls.items():
            if call_id in self.resumed:
                continue
            self._record(call_id, values)
            self._end(call_id, values, Cause.MEDIA_FAILED if values["stage"] == UP else Cause.ERROR)
            if call_id in self.flowing:
                await self.engine.delete(call_id)
        for call_id in self.resumed:
            # The record of the call is that of those who go on with it.
            for part, rest, cause in left_beside(self.kept.calls[call_id]):
                if rest["targets"]:
                    self._end(call_id + part, rest, cause)
        if self.kept.calls:
            ended = len(self.kept.calls) - len(self.resumed)
            log.warning("calls of the gateway before", resumed=len(self.resumed), ended=ended)
        return {call_id: trunks_of(self.kept.calls[call_id]) for call_id in self.resumed if self.calls.get(call_id)}

    def _record(self, call_id: str, values: Values) -> None:
        """Of a call that does not go on, where the process before has written none."""
        if self.records is not None and not values.get("is_rest"):
            try:
                self.records.end(lost(values), self.wall_clock())
            except Exception:
                log.exception("no record of a call of the gateway before", call_id=call_id)

    def _resume(self, values: Values) -> None:
        legs = [self._leg(each, self._since(each)) for each in values["legs"]]
        aged = {**values, "age": values["age"] + self._since(values)}
        silent = values["id"] in self.silent
        away: list[Leg] = []
        for leg, each in zip(legs, values["legs"], strict=True):
            if isinstance(leg, BrowserLeg) and (each["returns"] or ("session" in each and not silent)):
                away.append(leg)
                self.left.add(leg.party.tag, left_call(leg, aged))
            elif silent and isinstance(leg, SipResumedLeg) and is_by_websocket(each["sessions"][0]["dialog"]):
                away.append(leg)
        self.calls.resume(aged, (legs[0], legs[1]), away, silent=silent)
        for leg in legs if self.is_taking and not silent else ():
            if isinstance(leg, SipResumedLeg):
                leg.refresh_target()

    def _since(self, values: Values) -> float:
        """Seconds since these were taken."""
        return elapsed(values, self.wall_clock(), boot())

    def _leg(self, values: Values, elapsed: float) -> Leg:
        assert self._user_agent is not None
        match values["kind"]:
            case "service":
                return ServiceLeg(values["tag"], values["service"], values["name"])
            case "web":
                return WebResumedLeg(values)
            case _:
                [session] = values["sessions"]
                resumed = self._user_agent.resume(session, elapsed)
                return SipResumedLeg(values, resumed, Party.of(values["party"]), self.reads)

    def _end(self, call_id: str, values: Values, cause: Cause) -> None:
        """As `_tell`; one that cannot be read is forgotten, and costs no other."""
        try:
            self._tell(call_id, values, cause)
        except Exception:
            log.exception("a call of the gateway before could not be ended", call_id=call_id)
            self.forget(call_id)

    def _tell(self, call_id: str, values: Values, cause: Cause) -> None:
        """Tell everybody in it, once that is written down; it is forgotten once they have answered."""
        values = together(values)
        journal, later = self.journal, asked(values)

        def say(answered: Callable[[], None]) -> int:
            said = 0
            for name in ("legs", "targets"):
                for leg, then in zip(values[name], later[name], strict=True):
                    if leg is not None:
                        said += self._end_leg(
                            call_id, leg, values, cause, partial(farewell, answered, then["sessions"])
                        )
            return said

        def farewell(answered: Callable[[], None], sessions: list[Values], number: int) -> Farewell:
            def changed(session: Values, is_beside: bool) -> None:
                if is_beside:
                    sessions.append(session)
                else:
                    sessions[number] = session
                if journal is not None:
                    journal.end_changed(call_id, later)

            return Farewell(answered, changed)

        if journal is not None:
            journal.end(call_id, later, say)
        else:
            say(_nobody_waits)

    def _end_leg(
        self, call_id: str, leg: Values, call: Values, cause: Cause, farewell: Callable[[int], Farewell]
    ) -> int:
        """How many will answer that; `farewell` is that of a session by its number."""
        assert self._user_agent is not None
        sessions = map(bare, leg.get("sessions", ())) if call.get("is_foreign") else leg.get("sessions", ())
        if leg["kind"] == "web":
            try:
                resumed = WebResumedLeg(leg)
                self.left.add(resumed.party.tag, left_call(resumed, call, cause))
            except Exception:
                log.exception("the page of a call of the gateway before is not told of its end", call_id=call_id)
        said = 0
        for number, session in enumerate(sessions):
            try:
                self._user_agent.end_left(session, cause.status, reason_of(cause), farewell(number))
                said += 1
            except Exception:
                log.exception("a call of the gateway before could not be ended", call_id=call_id)
        return said


def _nobody_waits() -> None:
    """There is no journal in which the call would stand."""


@dataclass(frozen=True, slots=True)
class _SharedFound:
    """A journal that the cluster sees as well, without those calls that another gateway has."""

    kept: JournalFound
    store: SharedStore
    lease: Lease
    gone: frozenset[str]


async def _shared_too(opening: Opening, kept: JournalFound, had_file: bool) -> _SharedFound:
    """Raises ConfigError."""
    told, key = cluster(opening.config), shared_key(opening.config, "journal")
    assert kept.file is not None
    assert told.journal is not None
    assert key is not None
    shared = journal_named(told.journal, told.node, key, opening.random)
    records = SharedRecords(kept.file, shared)
    try:
        await shared.open()
        opening.stack.push_async_callback(shared.close)
        at = clock()
        begun = await shared.begin(_STARTING)
        found = {} if had_file else await _records(shared, sorted(begun.ids - begun.claimed))
    except JournalError as error:
        raise AwayError("cluster.journal", f"cannot be used: {error}") from None
    records.told((*kept.calls, *begun.ids))
    opening.stack.push_async_callback(ended, asyncio.create_task(records.run()))
    opening.stack.push_async_callback(records.written)
    calls = {call_id: values for call_id, values in kept.calls.items() if call_id not in begun.taken}
    for call_id, record in found.items():
        with contextlib.suppress(JournalError):
            calls[call_id] = taken_up(*record)
    # What was taken of others is gone on with later, as are calls of whoever is gone then.
    for call_id in (kept.calls.keys() | begun.ids) - calls.keys() - begun.claimed:
        _remove(records, call_id)
    lease = Lease(clock, at + begun.seconds)
    return _SharedFound(JournalFound(records, calls, kept.close), shared, lease, begun.taken)


async def _records(shared: SharedStore, call_ids: Sequence[str]) -> dict[str, tuple[bytes, int]]:
    """Few at a time. Raises JournalError."""
    found: dict[str, tuple[bytes, int]] = {}
    for begin in range(0, len(call_ids), _AT_ONCE):
        found |= await shared.records(call_ids[begin : begin + _AT_ONCE])
    return found


async def _elsewhere(shared: SharedStore, call_ids: Sequence[str]) -> Collection[str]:
    """Those of these calls that other gateways have; all of them where nobody knows."""
    try:
        return await shared.elsewhere(call_ids)
    except JournalError as error:
        log.warning("media of the gateway before may linger", reason=str(error))
        return call_ids


async def _write_again(journal: Journal, calls: Calls) -> None:
    while True:
        await asyncio.sleep(_AGAIN)
        journal.again(calls.get)


async def find_calls(opening: Opening, calls: Calls, engine: MediaEngine) -> Recovery:
    """Look for the calls of a gateway that died, take up their media, and write down those that there will be.

    Their detail records go on as well. Raises ConfigError.
    """
    config, kept, left, shared = opening.config, JournalFound(), LeftCalls(), None
    lease, gone = None, frozenset[str]()
    had_file, keeps = (config.state_dir / FILE).exists(), config.limits.keep_calls != "never"
    if keeps or had_file:
        kept = await asyncio.to_thread(open_journal, config.state_dir, opening.random, config.limits.calls)
        opening.stack.callback(kept.close)
        if not keeps:
            kept = replace(kept, refused="")  # as it is wanted
        # Others may have taken those calls, whether or not there are to be more.
        others_may = keeps or kept.calls or engine.handover is not None
        if kept.file is not None and cluster(config).journal is not None and others_may:
            found = await _shared_too(opening, kept, had_file)
            kept, gone = found.kept, found.gone
            if engine.handover is not None:
                engine.handover.elsewhere = partial(_elsewhere, found.store)
            if keeps:
                shared, lease = found.store, found.lease
    calls.observe(left.call_changed)
    at_stop = config.limits.keep_calls == "restart"
    recovery = Recovery(calls, engine, left, kept, at_stop, opening.wall_clock)
    recovery.shared, recovery.lease, recovery.gone = shared, lease, gone
    if kept.file is not None:
        loop = asyncio.get_running_loop()
        recovery.journal = Journal(kept.file, engine, loop.time, opening.wall_clock, loop.call_later, boot)
        opening.stack.callback(recovery.journal.close)
        if keeps:
            calls.keep = recovery.journal.write
            opening.stack.push_async_callback(ended, asyncio.create_task(_write_again(recovery.journal, calls)))
    await recovery.resume_media(go_on=keeps)
    recovery.records = await keep_records(
        recording(config), calls, opening.wall_clock, opening.stack, recovery.flowing, gone
    )
    return recovery
