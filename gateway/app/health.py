"""How the gateway is, in words for its operator: what `/healthz`, `/readyz` and the figures say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from gateway.accounts.reachability import Reachability, State
from gateway.call.load import LoadControl
from gateway.call.registry import Calls
from gateway.config import Config

_NEARLY_FULL = 0.9
"""Share of the calls at which it is said that there are many."""
_CERTIFICATE_DAYS = 30
"""A certificate that ends within so many days is named."""


@dataclass(frozen=True, slots=True)
class Health:
    """`status` "ok", "draining", "overloaded" or "full": only an "ok" gateway takes new calls."""

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
        self._config = config
        self._calls = calls
        self._registered = registered
        self._reachability = reachability
        self._wall_clock = wall_clock
        self._certificate = Certificate(config.web.tls.cert)

    def __call__(self) -> Health:
        conditions = [*self._load(), *self._trunks(), *self._certificate.conditions(self._wall_clock())]
        if self._calls.draining:
            return Health("draining", ("The gateway ends when its last call does and takes no new ones.", *conditions))
        if self._control is not None and self._control.overloaded:
            said = f"The gateway has more to do than it can: it takes {self._control.share:.0%} of new calls."
            return Health("overloaded", (said, *conditions))
        full = len(self._calls) >= self._config.limits.calls
        return Health("full" if full else "ok", tuple(conditions))

    def _load(self) -> list[str]:
        taken, most = len(self._calls), self._config.limits.calls
        return [f"{taken} of {most} calls are taken (limits.max_calls)."] if taken >= most * _NEARLY_FULL else []

    def _trunks(self) -> list[str]:
        standing = self._registered()
        found = []
        for trunk in self._config.trunks:
            if self._reachability.of(trunk.name) is State.UNREACHABLE:
                found.append(f"Trunk {trunk.name} does not answer.")
            elif trunk.register_account and trunk.name not in standing:
                found.append(f"Trunk {trunk.name} is not registered.")
        return found


class Certificate:
    """When the certificate in a file ends; read again when the file changes."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read_at: tuple[float, int] | None = None
        self._ends = 0.0

    def conditions(self, now: float) -> list[str]:
        """What there is to say of it at `now`, seconds since 1970."""
        if self._path is None:
            return []
        try:
            ends = self._end(self._path)
        except (OSError, ValueError) as error:
            return [f"The certificate {self._path} cannot be read: {getattr(error, 'strerror', None) or error}."]
        day = datetime.fromtimestamp(ends, UTC).date()
        if ends <= now:
            return [f"The certificate {self._path} ended on {day}."]
        return [f"The certificate {self._path} ends on {day}."] if ends - now < _CERTIFICATE_DAYS * 86_400 else []

    def _end(self, path: Path) -> float:
        status = path.stat()
        changed = (status.st_mtime, status.st_size)
        if changed != self._read_at:
            self._ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
            self._read_at = changed
        return self._ends
