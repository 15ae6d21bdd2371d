"""With many calls up, something dies, is locked or is full: what becomes of the calls, of set-ups, of the sound."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bench.process import plane_of
from gateway.failover.recovery import FILE
from gateway.sip.invite import events
from gateway.sip.message.uri import Uri
from tests import peers
from tests.chaos.crowd import SETTLED, Crowd, TwoPhones, crowd
from tests.chaos.ears import PTIME
from tests.chaos.fates import Fate
from tests.chaos.forked import Forks, Running, forks
from tests.chaos.places import HOST, Elsewhere, Place, Redis, elsewhere, full, locked
from tests.ports import free_port

USER, PASSWORD, DOMAIN = "1001", "of-the-caller-0815", "gateway.example"
RINGING = 5
"""Set-ups that are under way when it happens."""
NEW_PHONES = tuple(f"7{number:04}" for number in range(40))
"""Those that register for the first time while it lasts, or just before."""
_FOR = 3.0
"""Seconds that a lock, a full disk or a Redis that is away lasts."""
LEDGER = "cdr.sqlite"
_LEFT = 64
"""Octets by which the journal may grow on a disk that is as good as full."""


class Trouble(StrEnum):
    """What happens."""

    GATEWAY = "the gateway is killed"
    PLANE = "its packet plane is killed"
    BOTH = "both are killed"
    REDIS = "its Redis is away for a while"
    LOCKED = "its SQLite file is locked for a while"
    FULL = "its disk is full for a while"
    UNKEPT = "its disk is full for a while, then it is killed"
    CHANGED = "its disk is full, and it is killed before there is room"
    LOSS = "one datagram in five is lost for a while"
    ERRORS = "all that is sent is an error for a while"
    TRUNK = "its trunk is away for a while"
    ON = "its clock is set on by a day for a while"
    BACK = "its clock is set back by a day for a while"
    HOUR_ON = "its clock is set on by an hour for a while"
    HOUR_BACK = "its clock is set back by an hour for a while"


KILLS = (Trouble.GATEWAY, Trouble.PLANE, Trouble.BOTH, Trouble.UNKEPT, Trouble.CHANGED)
"""Those that set-ups end with."""
_CLOCKS = (Trouble.ON, Trouble.BACK, Trouble.HOUR_ON, Trouble.HOUR_BACK)
_ELSEWHERE = (Trouble.LOSS, Trouble.ERRORS, Trouble.TRUNK, *_CLOCKS)
"""Those of a gateway whose network and clock are the test's."""
_NO_STORE = (Trouble.REDIS, Trouble.LOCKED, Trouble.FULL)
"""Those that who registers may be asked to wait for."""
_CUT_OFF = (Trouble.ERRORS, Trouble.TRUNK)
"""Those that no call gets through."""
_GAP = 0.06
"""Seconds without sound beyond the packet that was due, where nothing that carries it dies."""
_LONGEST = {Trouble.PLANE: 5.0, Trouble.BOTH: 5.0, Trouble.LOSS: 1.2, Trouble.ERRORS: _FOR + 1.0}
"""Where something does: until both sides have other media; a run of losses that comes once in 10**9; while it lasts."""


@dataclass(frozen=True, slots=True)
class Aftermath:
    """Of one of them."""

    trouble: Trouble
    up: tuple[Fate, ...]
    """What became of calls that were up."""
    ringing: tuple[Fate, ...]
    """And of those that rang: kept are those that could be answered."""
    back: float
    """Seconds until the gateway answered again."""
    longest_gap: float
    """Seconds without a packet at any phone, had the plane had a core at once; packets come every 0.04 s."""
    calls_after: bool
    """Whether new calls could be set up while it lasted; afterwards where nothing lasts or nothing gets through."""
    registered: tuple[int, ...] = (200,)
    """What phones that registered just before it, or while it lasted, were answered."""
    forgotten: tuple[str, ...] = ()
    """Of those that were answered 200 whoever cannot be called afterwards, and who cannot register then."""

    @property
    def is_right(self) -> bool:
        """Whether it is as DESIGN.md has it: no call that is up is lost, nobody is left alone, nothing is forgotten."""
        ringing = {Fate.KEPT, Fate.ENDED} if self.trouble in KILLS else {Fate.KEPT}
        # Of a call that has changed since it was written nobody knows how it stands: both are told of its end.
        fate = Fate.ENDED if self.trouble is Trouble.CHANGED else Fate.KEPT
        kept = set(self.up) <= {fate} and set(self.ringing) <= ringing and self.calls_after
        told = {200, 503} if self.trouble in _NO_STORE else {200}
        heard = self.longest_gap <= _LONGEST.get(self.trouble, PTIME + _GAP)
        return kept and heard and set(self.registered) <= told and not self.forgotten


class Scene:
    """A gateway with calls through it."""

    def __init__(self, folder: Path, starts: Forks, environ: dict[str, str], phones: Crowd, place: Place) -> None:
        self.folder, self.phones = folder, phones
        self._starts, self._environ, self._place = starts, environ, place
        self._gateway: Running
        self._number = 0
        self._new = iter(NEW_PHONES)
        self._registered: dict[str, int] = {}
        self._ringing: list[TwoPhones] = []
        self.calls: list[TwoPhones] = []

    async def start(self) -> None:
        """The next gateway."""
        self._number += 1
        self._gateway = await self._starts.start(self._environ, self.folder / f"{self._number}.log")

    async def stop(self) -> None:
        await self._gateway.terminate()

    def faults(self) -> list[str]:
        """Exceptions that were logged."""
        said = [(self.folder / f"{number}.log").read_text() for number in range(1, self._number + 1)]
        return [each[-4000:] for each in said if "Traceback" in each]

    async def grow(self, count: int) -> None:
        """Have so many calls up. Raises AssertionError where they cannot be set up."""
        while len(self.calls) < count:
            self.calls += await self._some(min(10, count - len(self.calls)))

    async def _some(self, count: int) -> list[TwoPhones]:
        made = [self.phones.dial() for _ in range(count)]
        assert await self.phones.until(lambda: all(each.is_up for each in made)), "a call was not set up"
        return made

    async def meet(self, trouble: Trouble) -> Aftermath:
        """Let it happen to the calls that are up and to some that ring."""
        ringing = self._ringing = [self.phones.dial(answered=False) for _ in range(RINGING)]
        assert await self.phones.until(lambda: all(each.callee.session is not None for each in ringing))
        assert await self.phones.heard(self.calls, time.monotonic()), "calls were silent before anything had happened"
        lives = trouble not in (Trouble.PLANE, Trouble.BOTH)
        sound = self.phones.sound
        sound.begin(plane_of(str(self.folder)) if lives else None)
        self._registered = {}
        back, after = await self._strike(trouble)
        for call in ringing:
            call.answer()
        await self.phones.until(lambda: all(each.is_up or each.is_over for each in ringing))
        met = [Fate.KEPT if each.is_up else Fate.ENDED if each.is_over else Fate.LOST for each in ringing]
        fates = await asyncio.gather(*(self.phones.fate(call) for call in self.calls))
        ears = [side.ear for call in self.calls for side in (call.caller, call.callee)]
        gap = max(await asyncio.to_thread(lambda: [ear.longest_gap(sound.waited) for ear in ears]), default=0.0)
        for call, fate in zip(tuple(self.calls), fates, strict=True):
            if fate is not Fate.KEPT:
                self.calls.remove(call)
        works = all(call.caller.heard(events.Answered) for call in after)
        for call in [*ringing, *after]:
            await self._end(call)
        forgotten = await self._forgotten()
        told = tuple(self._registered.values())
        return Aftermath(trouble, tuple(fates), tuple(met), back, gap, works, told, forgotten)

    async def _register(self, trouble: Trouble) -> None:
        """Have somebody refresh what there is, and somebody who is new register."""
        numbers = self.phones.numbers if trouble in _CLOCKS else self.phones.numbers[:1]
        self._registered = await self.phones.register([*numbers, next(self._new)])

    async def _forgotten(self) -> tuple[str, ...]:
        again = await self.phones.register([number for number, status in self._registered.items() if status != 200])
        lost = [number for number, status in again.items() if status != 200]
        for number in self._registered.keys() - set(lost):
            if not await self._works(call := self.phones.dial(number)):
                lost.append(number)
            await self._end(call)
        return tuple(lost)

    async def _end(self, call: TwoPhones) -> None:
        if call.caller.session is not None:
            call.caller.session.hangup()
        await self.phones.until(lambda: call.is_over)

    async def _new_calls(self) -> list[TwoPhones]:
        """One by the trunk and one of a phone that has registered, as far as they come."""
        made = [self.phones.dial(), self.phones.dial()]
        await asyncio.gather(*map(self._works, made))
        return made

    async def _works(self, call: TwoPhones) -> bool:
        return await self.phones.until(lambda: call.is_up or call.caller.is_over) and call.is_up

    async def _strike(self, trouble: Trouble) -> tuple[float, list[TwoPhones]]:
        if trouble in KILLS:
            await self._register(trouble)
        began = time.monotonic()
        if trouble is Trouble.UNKEPT:
            await self._write_again()
            began = time.monotonic()
        if trouble is Trouble.CHANGED:
            with full(self._gateway.pid, (self.folder / FILE).stat().st_size + _LEFT):
                await self._change_all()
                began = time.monotonic()
                await self._gateway.kill()
        if trouble in (Trouble.GATEWAY, Trouble.BOTH, Trouble.UNKEPT):
            await self._gateway.kill()
        if trouble in (Trouble.PLANE, Trouble.BOTH):
            plane = plane_of(str(self.folder))
            assert plane is not None
            os.kill(plane, signal.SIGKILL)
        if trouble in KILLS and trouble is not Trouble.PLANE:
            await self.start()
        if trouble in KILLS:
            await self.phones.answered()
            # What begins before the gateway knows that its plane is dead ends with what rings.
            if trouble is Trouble.PLANE:
                await self.phones.until(lambda: all(each.is_over for each in self._ringing))
            return time.monotonic() - began, await self._new_calls()
        if trouble in _CUT_OFF:
            with self._lasting(trouble):
                refused = self.phones.dial()
                await asyncio.sleep(_FOR)
            began = time.monotonic()
            assert await self.phones.until(lambda: refused.is_up or refused.caller.is_over), "a caller was left alone"
            return await self._back(began)
        with self._lasting(trouble):
            registering = asyncio.create_task(self._register(trouble))
            if trouble in _CLOCKS:
                await registering  # the clock has let bindings run out
            found = await self._back(began)
            await registering
            await asyncio.sleep(max(0.0, began + _FOR - time.monotonic()))
        if trouble in _CLOCKS:
            await self._register(trouble)  # what was registered then has run out by now
        return found

    async def _write_again(self) -> None:
        """No record can be kept while every call is changed; wait until all are once there is room."""
        with full(self._gateway.pid):
            await self._change_all()
        async with asyncio.timeout(SETTLED):
            while await self._unkept():  # noqa: ASYNC110  # it tries again every two seconds
                await asyncio.sleep(0.1)

    async def _change_all(self) -> None:
        """Every call, though none can be written down."""
        fates = await asyncio.gather(*(self.phones.fate(call) for call in self.calls))
        assert set(fates) <= {Fate.KEPT}
        assert await self._unkept(), "a disk that is full took records"

    async def _unkept(self) -> bool:
        return "cannot be written down" in await asyncio.to_thread(self._health)

    def _health(self) -> str:
        url = f"http://{self._environ['GATEWAY_WEB__LISTEN']}/healthz"
        with urllib.request.urlopen(url, timeout=SETTLED) as answer:
            return str(answer.read().decode())

    async def _back(self, began: float) -> tuple[float, list[TwoPhones]]:
        await self.phones.answered()
        return time.monotonic() - began, await self._new_calls()

    def recorded(self) -> Counter[str]:
        """How many records of answered calls each number has."""
        with contextlib.closing(sqlite3.connect(self.folder / LEDGER)) as ledger:
            found = [json.loads(text) for (text,) in ledger.execute("SELECT detail FROM calls")]
        numbers = (Uri.parse(each["dialled"]).user or "" for each in found if each["answered_at"] is not None)
        return Counter(numbers)

    def _lasting(self, trouble: Trouble) -> contextlib.AbstractContextManager[None]:
        if isinstance(self._place, Redis):
            return self._place.away()
        if isinstance(self._place, Elsewhere):
            return self._place.troubled(trouble.name, self.phones.callees)
        return full(self._gateway.pid) if trouble is Trouble.FULL else self._locked()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(self.folder / "gateway.sqlite"), locked(self.folder / LEDGER):
            yield


@asynccontextmanager
async def scene(folder: Path, calls: int, place: Place = None) -> AsyncIterator[Scene]:
    """A gateway with so many calls up; its store is in Redis, or SQLite."""
    peers.plane()
    away = place if isinstance(place, Elsewhere) else None
    here, there = (HOST, HOST) if away is None else (away.network.here, away.network.there)
    web, sip, webrtc = (free_port() for _ in range(3))
    async with AsyncExitStack() as stack:
        registered = calls + RINGING + 4
        phones = await stack.enter_async_context(crowd(f"{there}:{sip}", here, USER, PASSWORD, DOMAIN, registered))
        user = {"sip": True, "password": PASSWORD, "may_call": ["*", "9*"], "max_calls": 10_000}
        users = [user | {"id": each} for each in (USER, *phones.numbers, *NEW_PHONES)]
        trunk = {"name": "pbx", "uri": f"sip:{here}:{phones.callees}", "options_interval": 1, "max_calls": 10_000}
        values = {
            "WEB__LISTEN": f"{HOST}:{web}",
            "SIP__LISTEN": f'["udp:{there}:{sip}"]',
            "WEBRTC__LISTEN": f"{HOST}:{webrtc}",
            "RTP__LISTEN": there,
            "RTP__PORTS": "10000-18999",  # below those of tests.ports
            "IDENTITY__STORE": place.url if isinstance(place, Redis) else "sqlite:gateway.sqlite",
            "STATE_DIR": str(folder),
            "DOMAIN": DOMAIN,
            "MEDIA__PLANE": "native",
            "LIMITS__LOAD": "0",
            "LIMITS__STORE_DELAY": "0",
            "LIMITS__PLANE_LOAD": "0",
            "LIMITS__CALLS_PER_SECOND": "1000",
            "SIP__LIMITS__REQUESTS_PER_SECOND": "10000",
            "SIP__LIMITS__BURST": "10000",
            "CDR__ENABLED": "true",
            "USERS": json.dumps(users),
            "TRUNKS": json.dumps([trunk]),
            "ROUTES": json.dumps([{"match": "9*", "to": "trunk:pbx"}]),
        }
        others = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
        environ = others | {f"GATEWAY_{key}": value for key, value in values.items()}
        made_of = forks() if away is None else forks(away.network.words, away.clock)
        made = Scene(folder, await stack.enter_async_context(made_of), environ, phones, place)
        await made.start()
        stack.push_async_callback(made.stop)
        assert set((await phones.register(phones.numbers)).values()) == {200}
        await made.grow(calls)
        yield made


def _place_of(trouble: Trouble) -> str:
    return "elsewhere" if trouble in _ELSEWHERE else "redis" if trouble is Trouble.REDIS else "here"


_PLACES: dict[str, Callable[[Path], contextlib.AbstractContextManager[Place]]] = {
    "elsewhere": elsewhere,
    "redis": Redis,
    "here": lambda _: contextlib.nullcontext(),
}


async def troubles(folder: Path, wanted: Sequence[Trouble], calls: int) -> AsyncIterator[Aftermath]:
    """Each of them, with so many calls up. Raises AssertionError where a gateway logged an exception."""
    for name in dict.fromkeys(map(_place_of, wanted)):
        own = folder / name
        own.mkdir()
        with _PLACES[name](own) as place:
            async with scene(own, calls, place) as made:
                for trouble in wanted:
                    if _place_of(trouble) == name:
                        await made.grow(calls)
                        yield await made.meet(trouble)
            faults = made.faults()
            assert not faults, faults[0]
            assert made.recorded() == made.phones.were_up, "a call has no record, or two"
