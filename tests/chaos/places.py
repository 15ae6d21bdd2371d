"""What a gateway stands on, in the hand of a test: its store, its disk, its network and its clock."""

from __future__ import annotations

import contextlib
import resource
import socket
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.clock import Clock
from tests.identity.conftest import redis_server
from tests.netns import Host, host
from tests.ports import free_port

HOST = "127.0.0.1"
_DAY, _HOUR = 86_400.0, 3_600.0
_LOSS = "meta l4proto udp numgen random mod 5 == 0"
_REJECT = "reject with icmp type port-unreachable"
_ERRORS = f"""
    meta l4proto udp numgen random mod 2 == 0 drop
    meta l4proto udp {_REJECT}
"""
"""What is dropped on its way out is EPERM to who sends; what is rejected is ECONNREFUSED, there or at the other end."""


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """An SQLite file that nobody else may write."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as store:
        store.execute("BEGIN EXCLUSIVE")
        yield
        store.execute("ROLLBACK")


@contextlib.contextmanager
def full(pid: int, octets: int = 1) -> Iterator[None]:
    """No file of that process may grow past so many octets: EFBIG in the place of ENOSPC."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # it was killed meanwhile
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


class Redis:
    """A server on a port of its own that may be killed, and has whatever it said that it has."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._running = contextlib.ExitStack()

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self._port}/0"

    def start(self) -> None:
        kept = ("--appendonly", "yes", "--appendfsync", "always")
        self._server = self._running.enter_context(redis_server(self._port, self._folder, *kept))

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        self._server.kill()
        self._running.close()
        try:
            yield
        finally:
            self.start()

    def __enter__(self) -> Redis:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A host for the gateway at the other end of a cable, and the clock there."""

    network: Host
    clock: Clock

    def troubled(self, trouble: str, trunk: int) -> contextlib.AbstractContextManager[None]:
        """The one of that name; the trunk is at that port here."""
        here = self.network.here
        troubles: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
            "ON": lambda: self._set_by(_DAY),
            "BACK": lambda: self._set_by(-_DAY),
            "HOUR_ON": lambda: self._set_by(_HOUR),
            "HOUR_BACK": lambda: self._set_by(-_HOUR),
            "LOSS": self._lost,
            "ERRORS": lambda: self._ruled(_ERRORS, _ERRORS),
            # Nobody listens at its port any more, and nothing comes from there.
            "TRUNK": lambda: self._ruled(
                f"ip saddr {here} udp sport {trunk} drop", f"ip daddr {here} udp dport {trunk} {_REJECT}"
            ),
        }
        return troubles[trouble]()

    @contextlib.contextmanager
    def _lost(self) -> Iterator[None]:
        # What is dropped on its way out is an error to its sender: it goes where nobody reads.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
            nobody.bind((self.network.here, 0))
            with self._ruled(f"{_LOSS} drop", f"{_LOSS} udp dport set {nobody.getsockname()[1]}"):
                yield

    @contextlib.contextmanager
    def _set_by(self, seconds: float) -> Iterator[None]:
        self.clock.offset = seconds
        try:
            yield
        finally:
            self.clock.offset = 0.0

    @contextlib.contextmanager
    def _ruled(self, incoming: str, outgoing: str) -> Iterator[None]:
        chains = (("input", incoming), ("output", outgoing))
        hooks = "".join(f"chain {name} {{ type filter hook {name} priority 0\n{rules}\n}}\n" for name, rules in chains)
        self.network.rules(f"table ip trouble {{\n{hooks}}}\n")
        try:
            yield
        finally:
            self.network.run("nft delete table ip trouble")


Place = Elsewhere | Redis | None
"""None: here, with a file of SQLite."""


@contextlib.contextmanager
def elsewhere(folder: Path) -> Iterator[Elsewhere]:
    """Skips, or fails in CI, where no namespace can be made."""
    with host() as network:
        yield Elsewhere(network, Clock(folder / "clock"))
