"""An ICE-lite agent for one leg (RFC 8445 sections 2.5 and 7.3): STUN requests in, responses out.

A lite agent is always controlled, gathers nothing and sends no checks: it answers the
checks of a full agent, and the address a valid check came from is the peer's. Toward a
peer that is lite itself it controls: responses to its checks prove pairs. Sans-IO;
`now` comes in as an argument. What a plane answers alone, `note_check` tells.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.media.embedded.plane.stun import BindingRequest, error_response, success_response
from gateway.media.embedded.plane.values import Address

UFRAG_BYTES = 6
PASSWORD_BYTES = 18
"""Random bytes behind an ice-ufrag (48 bits) and an ice-pwd (144 bits; RFC 8445 section 5.3)."""


@dataclass(frozen=True, slots=True)
class IceCredentials:
    """What the peer must know to have its checks believed; the password stays out of `repr`."""

    ufrag: str
    password: str = field(repr=False)

    @property
    def key(self) -> bytes:
        """The MESSAGE-INTEGRITY key (short-term credential, RFC 8489 section 9.1)."""
        return self.password.encode()

    @classmethod
    def generate(cls, random_bytes: Callable[[int], bytes]) -> IceCredentials:
        """Draw a fresh pair; base64 of 3n bytes uses ice-chars only (RFC 8839 section 5.4)."""
        return cls(
            ufrag=base64.b64encode(random_bytes(UFRAG_BYTES)).decode(),
            password=base64.b64encode(random_bytes(PASSWORD_BYTES)).decode(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What the plane holds of a leg of another process, and what names its checks."""

    flow: int
    credentials: tuple[IceCredentials, ...]
    """Those in force, oldest first: two in the middle of an ICE restart."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Left:
        """As `WebRtcLeg.values` gives it; the first gateways wrote one pair of credentials, not a list of them."""
        pairs = values["ice"]
        known = [pairs] if isinstance(pairs[0], str) else pairs
        return cls(flow=values["flow"], credentials=tuple([IceCredentials(*each) for each in known]))


@dataclass(slots=True, eq=False)
class Pair:
    """An address of the peer that a valid check has proved, and the plane's path it came in on."""

    path: int
    address: Address
    generation: int
    last_check: float
    remote_ufrag: str
    """The peer's half of USERNAME."""
    nominated: bool = False


class IceAgent:
    """The pairs of one leg, over as many ICE generations as it has lived through."""

    def __init__(self, credentials: IceCredentials, max_pairs: int = 16) -> None:
        self.credentials = credentials
        self.previous: IceCredentials | None = None
        """Credentials before the last restart, valid until the new ones have a nominated pair."""
        self.generation = 0
        self.selected: Pair | None = None
        """Where media goes: the last nominated pair, or the first proved one until there is one."""
        self._is_controlling = False
        """True toward a lite agent: checks of ours prove pairs and nominate."""
        self.pairs: dict[tuple[int, Address], Pair] = {}
        self.dropped: list[Pair] = []
        """Pairs given up since the owner last looked; it takes them and forgets their addresses."""
        self._max_pairs = max_pairs

    def resume(self, path: int, address: Address, last_check: float, remote_ufrag: str, *, selected: bool) -> None:
        """Take over a pair that another process has proved."""
        pair = Pair(path, address, self.generation, last_check, remote_ufrag, nominated=selected)
        self._admit(pair)
        if selected:
            self.selected = pair

    def restart(self, credentials: IceCredentials) -> None:
        """Begin a new generation (RFC 8445 section 9); the old pair carries media meanwhile."""
        if self.previous is None and self.pairs:
            self.previous = self.credentials
        self.credentials = credentials
        self.generation += 1

    def control(self, value: bool) -> None:
        """Take the controlling role, or the controlled one."""
        self._is_controlling = value

    def in_force(self) -> tuple[IceCredentials, ...]:
        """Ours whose checks are answered, oldest first."""
        return (self.credentials,) if self.previous is None else (self.previous, self.credentials)

    def key_for(self, ufrag: str) -> bytes | None:
        """The integrity key behind one of our ufrags, None when it is not ours."""
        if ufrag == self.credentials.ufrag:
            return self.credentials.key
        if self.previous is not None and ufrag == self.previous.ufrag:
            return self.previous.key
        return None

    def receive_check(self, request: BindingRequest, key: bytes, path: int, source: Address, now: float) -> bytes:
        """Answer an *authentic* request and learn from it; `key` is the one that proved it."""
        if request.unknown:
            return error_response(request, 420, key)
        if request.controlled and not self._is_controlling:
            return error_response(request, 487, key)
        generation = self.generation if request.local_ufrag == self.credentials.ufrag else self.generation - 1
        pair = self._proved(path, source, generation, request.remote_ufrag, now)
        self._select(pair, request.use_candidate)
        return success_response(request.transaction_id, source, key)

    def prove(self, path: int, address: Address, now: float, remote_ufrag: str, *, nominated: bool) -> None:
        """The peer has answered a check of ours; `nominated`: one that nominates the pair."""
        self._select(self._proved(path, address, self.generation, remote_ufrag, now), nominated)

    def _proved(self, path: int, address: Address, generation: int, remote_ufrag: str, now: float) -> Pair:
        pair = self.pairs.get((path, address))
        if pair is None:
            pair = Pair(path, address, generation, now, remote_ufrag)
            self._admit(pair)
        pair.last_check, pair.remote_ufrag = now, remote_ufrag
        if generation > pair.generation:
            pair.generation = generation
            pair.nominated = False
        return pair

    def note_check(self, path: int, address: Address, when: float) -> None:
        """The plane has answered a check of that pair."""
        pair = self.pairs.get((path, address))
        if pair is not None:
            pair.last_check = max(pair.last_check, when)

    def settled(self) -> tuple[tuple[str, str], ...]:
        """Our (ufrag, password) whose checks bring nothing new: during a restart the ones before it."""
        oldest = self.in_force()[0]
        return ((oldest.ufrag, oldest.password),)

    def ufrags(self) -> set[str]:
        """Our ufrags that are in force: the current one, and the one before it during a restart."""
        return {each.ufrag for each in self.in_force()}

    def retire_older_generations(self) -> None:
        """Answer only the current credentials, and give up the pairs that only older ones proved."""
        self.previous = None
        for old in [pair for pair in self.pairs.values() if pair.generation < self.generation]:
            self.forget_pair(old.path, old.address)

    def forget_other_peers(self, remote_ufrag: str) -> None:
        """Give up what another peer has proved: one offer of ours may be answered by several (RFC 3261 section 13)."""
        for old in [pair for pair in self.pairs.values() if pair.remote_ufrag != remote_ufrag]:
            self.forget_pair(old.path, old.address)

    def forget_pair(self, path: int, address: Address) -> None:
        """Give one proved address up; the best of the others takes over."""
        pair = self.pairs.get((path, address))
        if pair is None:
            return
        self._drop(pair)
        if self.selected is pair:
            self.selected = max(self.pairs.values(), key=lambda p: (p.nominated, p.last_check), default=None)

    def forget_pairs(self) -> None:
        """Give every proved address up; media stops until a new check proves one."""
        self.dropped.extend(self.pairs.values())
        self.pairs.clear()
        self.selected = None

    def _admit(self, pair: Pair) -> None:
        if len(self.pairs) >= self._max_pairs:
            oldest = min((p for p in self.pairs.values() if p is not self.selected), key=lambda p: p.last_check)
            self._drop(oldest)
        self.pairs[pair.path, pair.address] = pair

    def _drop(self, pair: Pair) -> None:
        del self.pairs[pair.path, pair.address]
        self.dropped.append(pair)

    def _select(self, pair: Pair, use_candidate: bool) -> None:
        selected = self.selected
        if use_candidate and (selected is None or pair.generation >= selected.generation):
            pair.nominated = True
            self.selected = pair
            if self.previous is not None and pair.generation == self.generation:
                self.retire_older_generations()
        elif selected is None:
            self.selected = pair


def host_candidate(index: int, address: str, port: int) -> str:
    """The value of one `a=candidate` for a host address (RFC 8839 section 5.1, RFC 8445 section 5.1.2).

    `index` is the rank among our addresses, 0 the best: it gives the local preference, and
    the foundation, which differs because every base address does.
    """
    priority = (126 << 24) + ((65535 - index) << 8) + 255
    return f"{index + 1} 1 udp {priority} {address} {port} typ host"
