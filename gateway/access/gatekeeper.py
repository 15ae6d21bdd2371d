"""Who may speak SIP to us: a trunk by its address or account, a user by digest against the identity store."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Container, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Protocol

import structlog

from gateway.access.algorithms import Algorithms
from gateway.access.bans import BanPolicy, Bans
from gateway.access.sources import Networks, address_in
from gateway.identity.guesses import Guesses, LockOut, TooManyGuesses
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import User
from gateway.identity.store import IdentityStore, StoreError
from gateway.sip.auth.server import DigestResult, DigestServer
from gateway.sip.flow import Flow
from gateway.sip.invite import events
from gateway.sip.message.message import Request
from gateway.sip.message.uri import Uri

log = structlog.get_logger(__name__)

_SHOWN = 100
"""Characters of a host that are logged."""

TRUNK = "trunk:"
"""Prefix of the identity of a trunk, which no user id can have."""


class TrunkDirectory(Protocol):
    """What the gatekeeper asks about trunks (gateway.accounts.trunks)."""

    def by_source(self, source: Flow, called: str | None = None) -> str | None:
        """The trunk whose calls come from there without digest, of several the one whose account is `called`; None for
        no trunk."""

    def placed_at(self, source: Flow) -> str | None:
        """Return the trunk that has a URI with that address; what comes from there is still to be proved."""

    def speaks_for(self, trunk: str, source: Flow) -> bool:
        """Whether what comes from there needs no more proof to be of that trunk."""

    def are_one(self, source: Flow, other: Flow) -> bool:
        """Whether both places are of one trunk."""

    def of_account(self, source: Flow, contact: str | None) -> str | None:
        """The trunk that calls from there for a user's own account, registered under `contact`; None: under any."""

    def by_username(self, username: str) -> tuple[str, Mapping[str, str]] | None:
        """The trunk that signs its calls with this account, and HA1 by algorithm; None for no trunk."""


class Gatekeeper:
    """Decides about every request that begins something."""

    def __init__(
        self,
        identity: IdentityMap,
        store: IdentityStore,
        digest: DigestServer,
        domains: Container[str],
        trunks: TrunkDirectory,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        lock_out: LockOut | None = None,
        algorithms: Algorithms | None = None,
        kept: Mapping[str, Collection[str]] | None = None,
        bans: Bans | None = None,
        node_of: Callable[[Request, Flow], str | None] = lambda request, source: None,
        proxies: Iterable[str] = (),
    ) -> None:
        """`domains` are hosts that mean us, in lower case. `kept`: the algorithms of users that have no HA1
        for some; by default everybody has all.

        `node_of` is the identity of the gateway of our cluster that has sealed a request (access.nodes), for once.
        `proxies`: addresses and networks that stand for many; who asks through one is as it says. Raises ValueError.
        """
        self.proxies = Networks(proxies)
        self._node_of = node_of
        self._bans = bans or Bans(BanPolicy(time=0.0), clock)
        self._algorithms = algorithms or Algorithms(digest.algorithms)
        self.kept = kept or {}
        """May be others in the course of things, as `guesses.policy` may."""
        self._identity = identity
        self._store = store
        self._digest = digest
        self._domains = domains
        self._trunks = trunks
        self._clock = clock
        self._random = random
        self.guesses = Guesses(lock_out or LockOut(), self._is_account)

    def authenticate(self, request: Request, source: Flow) -> events.Verdict | Coroutine[Any, Any, events.Verdict]:
        """Who sends this: a trunk by its address, else a user by digest, else a challenge.

        At once where the identity store need not be asked: trunks, and whoever earns a challenge. OPTIONS is let in:
        it reveals nothing, and PBXs use it to see whether we live.
        """
        node = self._node_of(request, source) if request.method != "REGISTER" else None
        if node is not None:
            return events.Accepted(node)
        trunk = self._trunk_at(request, source)
        if trunk is None and self._bans.is_scanner(request.user_agent):
            self._bans.ban(source.host, f"calls itself {(request.user_agent or '')[:64]}")
            return events.Refused(403)
        if request.method != "REGISTER" and trunk is not None:
            return events.Accepted(TRUNK + trunk)
        if request.method == "OPTIONS":
            return self._asks_for_options(request, source)
        now = self._clock()
        realm = self._digest.realm
        mine = next((value for value in request.authorization if value.get("realm") == realm), None)
        # A flood of made-up credentials must not reach the store.
        earned = mine is not None and self._digest.gave(mine.get("nonce"), source.host)
        name = mine.get("username") if mine is not None and earned else None
        # A trunk's address is never locked: its calls would stay out for the mistake of one phone behind it.
        said, guesser = request.to if request.method == "REGISTER" else request.from_, self._guesser(request, source)
        if trunk is None and self.guesses.locked(guesser.host, name or said.uri.user, now, str(guesser)):
            return _to_wait(0.0)
        wait = self.guesses.wait(guesser.host, name, now) if name is not None and trunk is None else 0.0
        if wait > 0:
            return _to_wait(wait)
        account = self._trunks.by_username(name) if name and self._may_be_trunk(request, name) else None
        if account is not None:
            return self._checked(request, source, now, account[1], account[0])
        if name is not None:
            return self._by_store(request, source, name, guesser if trunk is None else None)
        return self._checked(request, source, now, None)

    def _asks_for_options(self, request: Request, source: Flow) -> events.Accepted:
        # In a dialog a name would count as a proof, which an address alone is not.
        placed = self._trunks.placed_at(source) if request.to_tag is None else None
        return events.Accepted(TRUNK + placed, is_proof=False) if placed else events.Accepted(None)

    def _is_account(self, name: str) -> bool:
        return self._identity.by_id(name) is not None or self._trunks.by_username(name) is not None

    def _guesser(self, request: Request, source: Flow) -> Flow:
        """Who answers for a password: behind proxies of ours where the first of them has the request from (RFC 3261
        18.2.1). A proxy that passes on what a phone has made up about itself answers for it.
        """
        place = source
        for before in request.via[1:]:
            if place.host not in self.proxies:
                break
            told = [value or "" for name, value in before.params if name.lower() == "received"] or [before.host]
            host = address_in(told[0].strip('"'))
            if len(told) > 1 or not host:
                return source
            place = Flow(source.transport, host, before.port or 0, before.param("rport") or "")
        return place

    def may_answer(self, source: Flow, status: int) -> bool:
        """Whether a refusal goes out to a source that has proved nothing (see Bans); always to a trunk."""
        return self._trunks.by_source(source) is not None or self._bans.may_answer(source.host, status)

    def are_one(self, source: Flow, other: Flow) -> bool:
        """Whether two addresses are of one trunk, as `speaks_for` has it."""
        return self._trunks.are_one(source, other)

    def speaks_for(self, identity: str, source: Flow) -> bool:
        """Whether what comes from there is that trunk's, by its `sources` or as its registrar."""
        return identity.startswith(TRUNK) and self._trunks.speaks_for(identity.removeprefix(TRUNK), source)

    def _trunk_at(self, request: Request, source: Flow) -> str | None:
        """The trunk that a request from there is of; an account's contact says more than an address, which several
        trunks may share.
        """
        contact = request.uri.user
        trunk = self._trunks.of_account(source, contact) if contact else None
        trunk = trunk or self._trunks.by_source(source, contact)
        if trunk is None and request.to_tag is not None:
            # Who is in a dialog with us writes to its Contact, which need not be an account's.
            trunk = self._trunks.of_account(source, None)
        return trunk

    async def _by_store(self, request: Request, source: Flow, name: str, guesser: Flow | None) -> events.Verdict:
        """Check credentials by the store; those of `guesser` hold their place among its wrong passwords meanwhile."""
        async with AsyncExitStack() as stack:
            try:
                if guesser is not None:
                    turn = self.guesses.turn(guesser.host, name, self._clock, str(guesser))
                    await stack.enter_async_context(turn)
                credential = await self._store.credential(name, self._digest.realm)
            except TooManyGuesses as error:
                return _to_wait(error.wait)
            except StoreError as error:
                log.error("identity store failed", reason=str(error))
                return events.Refused(503)
            return self._checked(request, source, self._clock(), credential.ha1 if credential is not None else None)

    def _checked(
        self, request: Request, source: Flow, now: float, known: Mapping[str, str] | None, trunk: str | None = None
    ) -> events.Verdict:
        """The verdict on the credentials, whose HA1 by algorithm are `known`; `trunk` is whose account they are of."""
        checked = self._digest.check(request, lambda *_: known, now, source=source.host)
        if checked.result is DigestResult.OK and checked.username is not None:
            place = self._guesser(request, source)
            self.guesses.succeeded(place.host, checked.username, str(place))
            self._bans.proved(source.host)
            self._algorithms.signed(request.user_agent, source.host, checked.algorithm)
            return events.Accepted(TRUNK + trunk) if trunk else self._as_claimed(request, checked.username)
        if checked.result is DigestResult.MALFORMED:
            return events.Refused(400, "Credentials cannot be read")
        if checked.result is DigestResult.WRONG:
            guesser = self._guesser(request, source)
            self.guesses.failed(guesser.host, checked.username or "", now)
            log.warning("wrong password", user=checked.username, source=guesser.host)
        said = request.to if request.method == "REGISTER" else request.from_
        algorithm = self._algorithms.choose(request.user_agent, source.host, self.kept.get(said.uri.user or ""))
        challenges = self._digest.challenges(
            now, stale=checked.stale, salt=self._random(4), source=source.host, algorithms=(algorithm,)
        )
        return events.Refused(401, None, tuple(("WWW-Authenticate", str(value)) for value in challenges))

    def _as_claimed(self, request: Request, username: str) -> events.Verdict:
        """An authenticated user speaks and registers for itself only (CVE-2025-47779).

        In a dialog the From of a phone that was called is its Contact, and whose dialog it is the core knows.
        """
        user = self._identity.by_id(username)
        if user is None or not user.sip:
            return events.Refused(403, "Not a SIP account")
        if request.to_tag is not None:
            return events.Accepted(user.id)
        claimed = request.to if request.method == "REGISTER" else request.from_
        if self._meant(claimed.uri) is not user:
            if claimed.uri.user == user.id and claimed.uri.host.lower() not in self._domains:
                log.info(
                    "the host of a user is none of ours: neither domain nor one of also_domains, nor an address of SIP",
                    user=user.id,
                    host=claimed.uri.host[:_SHOWN],
                )
            return events.Refused(403, "From and credentials differ")
        return events.Accepted(user.id)

    def _meant(self, uri: Uri) -> User | None:
        """The user a From or To means; phones set up with our IP address put that into it."""
        if uri.host.lower() in self._domains and uri.user:
            return self._identity.find(uri.user)
        return self._identity.find(str(uri))

    def _may_be_trunk(self, request: Request, username: str) -> bool:
        """Whether credentials may be a trunk's: no trunk registers here, and a user of that name speaks for itself."""
        user = self._identity.by_id(username)
        return request.method != "REGISTER" and (user is None or self._meant(request.from_.uri) is not user)


def _to_wait(seconds: float) -> events.Refused:
    """Return the answer to a guess that may not be made yet: for so long where its user is why, 0 where its source."""
    if not seconds:
        return events.Refused(403, "Too many wrong passwords")
    later = (("Retry-After", str(math.ceil(seconds))),)
    return events.Refused(503, "Too many wrong passwords for this user", later)
