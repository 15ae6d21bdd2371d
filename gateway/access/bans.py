"""Temporary bans of sources that look like scanners, by User-Agent or by failed requests."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from itertools import islice

from gateway.sources import source_of

_TOLD, _STEP = 500, 30.0
"""Largest number of bans published to remote gateways, and the rounding of their ends in seconds."""
_LIFTED = 1_000
"""Largest number of lifted bans published to remote gateways."""
_CHALLENGES = (401, 407)
_HARMLESS = (481, 482, 487, 491)
"""Rejections that well-behaved phones can cause: an ended call, or a repeated request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BanPolicy:
    """Conditions and duration of bans."""

    after: int = 100
    """Rejections (4xx, challenges included) within `window` without an authenticated request between; 0 for
    no limit.
    """
    window: float = 60.0
    """Seconds."""
    time: float = 600.0
    """Seconds without response after the source's last attempt; 0 disables bans."""
    sources: int = 10_000
    """Largest number of addresses remembered in each table; the longest silent goes first."""
    scanners: tuple[str, ...] = ()
    """Case-insensitive User-Agent patterns banned at the first request."""
    never: Collection[str] = ()
    """Addresses and networks ("192.0.2.0/24") exempt from bans."""


@dataclass(slots=True)
class Ban:
    """A banned source."""

    address: str
    reason: str
    since: float
    """Unix seconds, as in `until`."""
    until: float
    silenced: int = 0
    """Requests without a response."""
    asked: float = 0.0
    """Time of the last challenge."""


@dataclass(frozen=True, slots=True)
class Told:
    """Bans published to the gateways of a cluster; times are Unix seconds."""

    bans: Collection[tuple[str, str, float, float]]
    """Address, reason, start and end of each ban."""
    lifted: Mapping[str, float]
    """Time of the manual lifting of a ban, by address; earlier bans are void on all gateways."""


class Bans:
    """Decides on sending each response to unauthenticated sources; `clock` returns Unix seconds.

    UDP source addresses can be forged, so a ban must not lock out an honest client: one challenge a second is still
    sent, and authenticated flows and trunks are exempt.
    """

    def __init__(self, policy: BanPolicy, clock: Callable[[], float]) -> None:
        """Raises ValueError for an entry of `never` that is neither address nor network."""
        self._clock = clock
        self.change(policy)
        self._refused: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._bans: OrderedDict[str, Ban] = OrderedDict()
        self._lifted: OrderedDict[str, float] = OrderedDict()
        """Times of lifted bans, local and remote, by address."""

    def change(self, policy: BanPolicy) -> None:
        """Adopt a new policy; newly exempt sources are answered again. Raises ValueError."""
        self._never = tuple(ip_network(entry, strict=False) for entry in policy.never)
        self._policy = policy
        self._scanners = tuple(pattern.lower() for pattern in policy.scanners)

    def is_scanner(self, user_agent: str | None) -> bool:
        """Return True for a User-Agent of a known scanner."""
        if not user_agent or not self._policy.time:
            return False
        name = user_agent.lower()
        return any(fnmatchcase(name, pattern) for pattern in self._scanners)

    def ban(self, address: str, reason: str) -> None:
        """Ban an address, or extend its ban; for IPv6 the whole /64."""
        address = source_of(address)
        if not self._policy.time or self._is_exempt(address):
            return
        now = self._clock()
        ban = self._live(address, now) or Ban(address, reason, now, 0.0)
        ban.until = now + self._policy.time
        self._bans[address] = ban
        self._bans.move_to_end(address)
        if len(self._bans) > self._policy.sources:
            self._bans.popitem(last=False)

    def may_answer(self, address: str, status: int) -> bool:
        """Return True if a rejection with `status` may be sent to an unauthenticated source."""
        now = self._clock()
        address = source_of(address)
        ban = self._live(address, now)
        if ban is None:
            ban = self._counted(address, status, now)
            if ban is None:
                return True
        if status in _CHALLENGES and not 0 <= now - ban.asked < 1.0:
            ban.asked = now
            return True
        ban.until = now + self._policy.time
        self._bans.move_to_end(address)
        ban.silenced += 1
        return False

    def proved(self, address: str) -> None:
        """Forget the rejections of an authenticated source."""
        self._refused.pop(source_of(address), None)

    def lift(self, address: str) -> bool:
        """Lift a ban by hand; return False if there was none."""
        address = source_of(address.partition("/")[0])
        self._refused.pop(address, None)
        self._forget_before(address, self._clock())
        return self._live(address, self._clock()) is not None and self._bans.pop(address, None) is not None

    def told(self) -> Told:
        """Return the latest bans for remote gateways; ends are rounded so that the value seldom changes."""
        now = self._clock()
        latest = islice((ban for ban in reversed(self._bans.values()) if ban.until > now), _TOLD)
        until = [(ban, math.ceil(ban.until / _STEP) * _STEP) for ban in latest]
        return Told([(ban.address, ban.reason, ban.since, end) for ban, end in until], self._lifted)

    def heard(self, told: Told) -> None:
        """Adopt the bans of a remote gateway, unless lifted since."""
        for address, at in told.lifted.items():
            ban = self._bans.get(address)
            if ban is not None and ban.since <= at:
                del self._bans[address]
            if self._lifted.get(address, 0.0) < at <= self._clock() + self._policy.time:
                self._forget_before(address, at)
        now = self._clock()
        for address, reason, since, until in told.bans:
            is_new = address not in self._bans and since > self._lifted.get(address, 0.0)
            if is_new and until > now and not self._is_exempt(address):
                self._bans[address] = Ban(address, reason, since, min(until, now + self._policy.time))
                if len(self._bans) > self._policy.sources:
                    self._bans.popitem(last=False)

    def _forget_before(self, address: str, at: float) -> None:
        self._lifted[address] = at
        self._lifted.move_to_end(address)
        oldest = self._clock() - self._policy.time
        while self._lifted and (len(self._lifted) > _LIFTED or next(iter(self._lifted.values())) < oldest):
            self._lifted.popitem(last=False)

    def now(self) -> list[Ban]:
        """Return the bans in force, latest last."""
        now = self._clock()
        return [ban for address in tuple(self._bans) if (ban := self._live(address, now)) is not None]

    def _is_exempt(self, address: str) -> bool:
        try:
            parsed = ip_address(address.partition("/")[0])
        except ValueError:
            return True
        return any(parsed.version == one.version and parsed in one for one in self._never)

    def _live(self, address: str, now: float) -> Ban | None:
        ban = self._bans.get(address)
        if ban is not None and (ban.until <= now or self._is_exempt(address)):
            del self._bans[address]
            return None
        if ban is not None:
            ban.until = min(ban.until, now + self._policy.time)  # shorter after the clock was set back
        return ban

    def _counted(self, address: str, status: int, now: float) -> Ban | None:
        """Count a rejection; return the resulting ban, if any."""
        policy = self._policy
        if not 400 <= status < 500 or status in _HARMLESS or not policy.after or not policy.time:
            return None
        count, since = self._refused.pop(address, (0, now))
        if not 0 <= now - since < policy.window:
            count, since = 0, now
        if count + 1 >= policy.after:
            self.ban(address, f"{policy.after} requests that proved nothing")
            return self._bans.get(address)
        self._refused[address] = (count + 1, since)
        if len(self._refused) > policy.sources:
            self._refused.popitem(last=False)
        return None
