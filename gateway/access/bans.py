"""Which sources get no answer for a while: scanners, by what they call themselves and by what they do."""

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
"""Bans that other gateways are told of, and seconds of a step of their ends."""
_LIFTED = 1_000
"""Addresses that other gateways are told to answer again."""
_CHALLENGES = (401, 407)
_HARMLESS = (481, 482, 487, 491)
"""Refusals that phones earn which did nothing wrong: a call is over, a request came twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BanPolicy:
    """When a source is banned, and for how long."""

    after: int = 100
    """Refusals (4xx, challenges included) within `window`, with no request between them that proved who sent it; 0: no
    number of them."""
    window: float = 60.0
    """Seconds."""
    time: float = 600.0
    """Seconds of silence after the last thing that such a source tried; 0: nobody is banned."""
    sources: int = 10_000
    """Addresses remembered of each kind; the one that was quiet longest is forgotten first."""
    scanners: tuple[str, ...] = ()
    """Patterns of User-Agent, in any case, that are banned at their first request."""
    never: Collection[str] = ()
    """Addresses and networks ("192.0.2.0/24") that are never banned."""


@dataclass(slots=True)
class Ban:
    """One source that is not answered."""

    address: str
    reason: str
    since: float
    """Unix seconds, like `until`."""
    until: float
    silenced: int = 0
    """Requests that got no answer."""
    asked: float = 0.0
    """When it was last challenged."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the gateways of a cluster tell each other of their bans; times are Unix seconds."""

    bans: Collection[tuple[str, str, float, float]]
    """Address, reason, since and until when."""
    lifted: Mapping[str, float]
    """When a ban of an address was lifted by hand: what was set before holds nowhere."""


class Bans:
    """Decides for each answer to somebody who has proved nothing whether it is sent; `clock` gives Unix seconds.

    Over UDP anybody can write anybody's address on a packet, so a ban takes nothing from who can prove something: one
    challenge a second goes out all the same, and flows that have proved themselves, and trunks, are never asked about.
    """

    def __init__(self, policy: BanPolicy, clock: Callable[[], float]) -> None:
        """Raises ValueError for an entry of `never` that is no address and no network."""
        self._clock = clock
        self.change(policy)
        self._refused: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._bans: OrderedDict[str, Ban] = OrderedDict()
        self._lifted: OrderedDict[str, float] = OrderedDict()
        """When bans were lifted, here or at another gateway."""

    def change(self, policy: BanPolicy) -> None:
        """Ban by this policy from now on; who is exempt by it is answered again. Raises ValueError."""
        self._never = tuple(ip_network(entry, strict=False) for entry in policy.never)
        self._policy = policy
        self._scanners = tuple(pattern.lower() for pattern in policy.scanners)

    def is_scanner(self, user_agent: str | None) -> bool:
        """Whether a request that calls its sender so is a scanner's."""
        if not user_agent or not self._policy.time:
            return False
        name = user_agent.lower()
        return any(fnmatchcase(name, pattern) for pattern in self._scanners)

    def ban(self, address: str, reason: str) -> None:
        """Answer `address` no more, or for longer; of IPv6 its whole /64."""
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
        """Whether a refusal of that status goes out to somebody at `address` who has proved nothing."""
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
        """Somebody at `address` has shown who it is."""
        self._refused.pop(source_of(address), None)

    def lift(self, address: str) -> bool:
        """Answer `address` again; False where it was not banned."""
        address = source_of(address.partition("/")[0])
        self._refused.pop(address, None)
        self._forget_before(address, self._clock())
        return self._live(address, self._clock()) is not None and self._bans.pop(address, None) is not None

    def told(self) -> Told:
        """What holds here, for other gateways: the latest bans, and until when in steps that seldom change."""
        now = self._clock()
        latest = islice((ban for ban in reversed(self._bans.values()) if ban.until > now), _TOLD)
        until = [(ban, math.ceil(ban.until / _STEP) * _STEP) for ban in latest]
        return Told([(ban.address, ban.reason, ban.since, end) for ban, end in until], self._lifted)

    def heard(self, told: Told) -> None:
        """What holds at another gateway holds here, too, unless it was lifted since."""
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
        """The bans that hold, the latest last."""
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
            ban.until = min(ban.until, now + self._policy.time)  # later where the clock was set back
        return ban

    def _counted(self, address: str, status: int, now: float) -> Ban | None:
        """Count a refusal; the ban that it brings, if any."""
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
