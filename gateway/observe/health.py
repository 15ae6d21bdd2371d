"""How the gateway is, in words for its operator: what `/healthz`, `/readyz` and the figures say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.call.load import LoadControl
from gateway.call.registry import Calls
from gateway.config import Config
from gateway.identity.store import IdentityStore, StoreError
from gateway.media.engine import MediaEngine
from gateway.net.tls import read_certificate
from gateway.reading import Reading
from gateway.trunks.reachability import Reachability, State

_NEARLY_FULL = 0.9
"""Share of the calls at which it is said that there are many."""
_SLOW_STORE = 1.0
"""Seconds for an answer of the store, from which on it is said."""
_SILENCE = 2.5
"""Seconds without an answer of the store or the packet plane, after which it counts as gone."""
_CERTIFICATE_DAYS = 30
"""A certificate that ends within so many days is named."""


@dataclass(frozen=True, slots=True)
class Health:
    """Status, one of `gateway.web.facade.STATUSES`, with its reasons."""

    status: str = "ok"
    conditions: tuple[str, ...] = ()
    """One sentence for each thing that an operator should look at."""


class Watch:
    """Looks at the gateway when somebody asks."""

    def __init__(
        self,
        config: Config,
        calls: Calls,
        registered: Callable[[], frozenset[str]],
        reachability: Reachability,
        wall_clock: Callable[[], float],
        load: LoadControl | None = None,
    ) -> None:
        self._control = load
        self.config = config
        """In force now; another one after a reload."""
        self._calls = calls
        self._registered = registered
        self._reachability = reachability
        self._wall_clock = wall_clock
        self._read: dict[Path, Certificate] = {}
        self._faults: list[Callable[[], Iterable[str]]] = []
        self._lacks: list[Callable[[], Iterable[str]]] = []
        self.others: list[Callable[[], Iterable[str]]] = []
        """Sources of further sentences."""

    def add_faults(self, say: Callable[[], Iterable[str]]) -> None:
        """Take sentences on parts without which no call can be placed."""
        self._faults.append(say)

    def add_lacks(self, say: Callable[[], Iterable[str]]) -> None:
        """Take sentences on parts without which some calls fail."""
        self._lacks.append(say)

    def __call__(self) -> Health:
        faults = [sentence for say in self._faults for sentence in say()]
        lacks = [*self._trunks(), *(sentence for say in self._lacks for sentence in say())]
        others = [*self._load(), *self._certificates(self._wall_clock())]
        others += [sentence for say in self.others for sentence in say()]
        status, reasons = self._status(faults, lacks)
        return Health(status, (*reasons, *faults, *lacks, *others))

    def _status(self, faults: list[str], lacks: list[str]) -> tuple[str, Sequence[str]]:
        """Status with the sentences that only it has."""
        if self._calls.draining:
            return "draining", ("The gateway ends when its last call does and takes no new ones.",)
        if faults:
            return "failed", ()
        if self._control is not None and self._control.overloaded:
            said = f"The gateway has more to do than it can: it takes {self._control.taken}."
            return "overloaded", (said, *self._control.reasons)
        if len(self._calls) >= self.config.limits.calls:
            return "full", ()
        return "degraded" if lacks else "ok", ()

    def _load(self) -> list[str]:
        taken, most = len(self._calls), self.config.limits.calls
        return [f"{taken} of {most} calls are taken (limits.max_calls)."] if taken >= most * _NEARLY_FULL else []

    async def look(self, now: float) -> int:
        """Read every certificate that the configuration names; how many are near their end, or cannot be read."""
        named = [self.config.web.tls.cert, self.config.sip.tls.cert]
        named += [one.cert for one in self.config.sip.tls.certificates]
        paths = dict.fromkeys(path for path in named if path is not None)
        self._read = {path: self._read.get(path) or Certificate(path) for path in paths}
        await asyncio.gather(*(one.look() for one in self._read.values()))
        return len(self._certificates(now))

    def _certificates(self, now: float) -> list[str]:
        return [sentence for read in self._read.values() for sentence in read.conditions(now)]

    def _trunks(self) -> list[str]:
        standing = self._registered()
        found = []
        for trunk in self.config.trunks:
            if self._reachability.of(trunk.name) is State.UNREACHABLE:
                nameless = [uri for uri in trunk.uris if self._reachability.is_nameless(trunk.name, uri)]
                why = f": DNS knows no address of {', '.join(nameless)}" if nameless else ""
                found.append(f"Trunk {trunk.name} does not answer{why}.")
            elif trunk.register_account and trunk.name not in standing:
                found.append(f"Trunk {trunk.name} is not registered.")
        return found


class EngineWatch:
    """State of the media engine, from its own knowledge and from its answer to a question each second."""

    def __init__(self, engine: MediaEngine) -> None:
        self._engine = engine
        self._is_silent = False

    async def busy(self) -> float | None:
        """Return `MediaEngine.busy`; None where no answer comes within `_SILENCE` seconds."""
        try:
            async with asyncio.timeout(_SILENCE):
                busy = await self._engine.busy()
        except TimeoutError:
            self._is_silent = True
            return None
        self._is_silent = False
        return busy

    def faults(self) -> list[str]:
        """Return the sentence that says why no call gets media."""
        trouble = self._engine.trouble
        if trouble is None and self._is_silent:
            trouble = "the packet plane does not answer"
        return [] if trouble is None else [f"No call can be placed: {trouble} (media)."]


def ports_taken(engine: MediaEngine) -> list[str]:
    """What there is to say of the RTP ports of a media engine."""
    ports = engine.ports
    if ports is None or ports[0] < ports[1] * _NEARLY_FULL:
        return []
    return [f"{ports[0]} of {ports[1]} pairs of RTP ports are taken (rtp.ports)."]


def reload_state(refused: str | None, waiting: Sequence[str]) -> list[str]:
    """What there is to say of the latest reload: the key it was refused for, and those that wait for a restart."""
    found = []
    if refused is not None:
        found.append(f"The configuration was not reloaded, for {refused} is wrong: `gateway check-config` says why.")
    if waiting:
        found.append(f"These keys have another value after a restart: {', '.join(waiting)}.")
    return found


async def probe(store: IdentityStore, now: float) -> int:
    """Ask the store for something small; raises StoreError."""
    await store.text("health", now)
    return 0


class StoreWatch:
    """Times a question to the store every few seconds."""

    def __init__(self, look: Callable[[float], Awaitable[int]], clock: Callable[[], float]) -> None:
        """`look` asks the store; `clock` gives monotonic seconds."""
        self._look = look
        self._clock = clock
        self._asked: float | None = None
        self._took = 0.0
        self._failed = False

    async def look(self, now: float) -> int:
        """Ask it; a store that fails is remembered, and no error."""
        self._asked = self._clock()
        try:
            found = await self._look(now)
        except StoreError:
            self._failed, found = True, 0
        else:
            self._failed = False
        finally:
            self._took, self._asked = self._clock() - self._asked, None
        return found

    def faults(self) -> list[str]:
        """Return the sentence on a store that does not answer."""
        if not self._failed and self._waiting() < _SILENCE:
            return []
        return [
            "The store does not answer (identity.store): nobody can register, and only callees that registered "
            "by this gateway can be called."
        ]

    def conditions(self) -> list[str]:
        """Return the sentence on a store that answers slowly."""
        took = max(self._took, self._waiting())
        slow = took >= _SLOW_STORE and not self.faults()
        return [f"The store takes {took:.1f} s to answer (identity.store)."] if slow else []

    def _waiting(self) -> float:
        return 0.0 if self._asked is None else self._clock() - self._asked


class Certificate:
    """When the certificate in a file ends; whoever asks is told what the latest look has found."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reading = Reading()
        self._ends: float | None = None
        self._trouble: str | None = None

    async def look(self) -> None:
        """Read it, as long as its file answers: it may be on a server that is gone."""
        try:
            self._ends, self._trouble = await self._reading.ask(self._end), None
        except TimeoutError:
            self._trouble = "its file does not answer"
        except (OSError, ValueError) as error:
            self._trouble = getattr(error, "strerror", None) or str(error)

    def conditions(self, now: float) -> list[str]:
        """What there is to say of it at `now`, seconds since 1970."""
        if self._trouble is not None:
            return [f"The certificate {self._path} cannot be read: {self._trouble}."]
        return [] if self._ends is None else nears_its_end(self._path, self._ends, now)

    def _end(self) -> float:
        return end_of(self._path)


def end_of(path: Path) -> float:
    """When the certificate in a file ends, seconds since 1970. Raises OSError and ValueError."""
    return read_certificate(path).not_valid_after_utc.timestamp()


def nears_its_end(path: Path, ends: float, now: float) -> list[str]:
    """What there is to say at `now` of a certificate that ends then."""
    if ends - now >= _CERTIFICATE_DAYS * 86_400:
        return []
    return [
        f"The certificate {path} {'ended' if ends <= now else 'ends'} on {datetime.fromtimestamp(ends, UTC).date()}."
    ]
