"""Authentication of SIP requests: trunks by address or account, users by digest against the identity store."""

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
"""Characters of a host name in log messages."""

TRUNK = "trunk:"
"""Prefix of a trunk's identity, impossible in a user id."""


class TrunkDirectory(Protocol):
    """Trunks as seen by the gatekeeper (gateway.trunks.known)."""

    def by_source(self, source: Flow, called: str | None = None) -> str | None:
        """Return the trunk with calls from `source` without digest; of several, the one with the account `called`. None
        for no trunk.
        """

    def placed_at(self, source: Flow) -> str | None:
        """Return the trunk with `source` in its URI; its requests still need authentication."""

    def speaks_for(self, trunk: str, source: Flow) -> bool:
        """Return True if requests from `source` count as the trunk's without further proof."""

    def are_one(self, source: Flow, other: Flow) -> bool:
        """Return True if both sources belong to one trunk."""

    def of_account(self, source: Flow, contact: str | None) -> str | None:
        """Return the trunk that calls from `source` for a user's account registered as `contact`; None for
        any contact.
        """

    def by_username(self, username: str) -> tuple[str, Mapping[str, str]] | None:
        """Return the trunk with the account `username`, and its HA1 by algorithm; None for no trunk."""


class Gatekeeper:
    """Authenticates every request outside dialogs, and challenged requests within."""

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
        """`domains` are hosts of this gateway in lower case. `kept` lists the algorithms with an HA1 by user; absent
        users have all.

        `node_of` returns the identity of a cluster gateway for a validly sealed request (access.nodes). `proxies` are
        addresses and networks shared by many clients, whose Via is trusted. Raises ValueError.
        """
        self.proxies = Networks(proxies)
        self._node_of = node_of
        self._bans = bans or Bans(BanPolicy(time=0.0), clock)
        self._algorithms = algorithms or Algorithms(digest.algorithms)
        self.kept = kept or {}
        """Algorithms with an HA1, by user; replaced at a reload, as is `guesses.policy`."""
        self._identity = identity
        self._store = store
        self._digest = digest
        self._domains = domains
        self._trunks = trunks
        self._clock = clock
        self._random = random
        self.guesses = Guesses(lock_out or LockOut(), self._is_account)

    def authenticate(self, request: Request, source: Flow) -> events.Verdict | Coroutine[Any, Any, events.Verdict]:
        """Return the sender: a trunk by address, a user by digest, or a challenge.

        Trunks and challenges need no look-up in the identity store and no coroutine. OPTIONS is always accepted: the
        answer is public, and PBXs use OPTIONS as a health check.
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
        # Forged credentials must not cause look-ups in the store.
        earned = mine is not None and self._digest.gave(mine.get("nonce"), source.host)
        name = mine.get("username") if mine is not None and earned else None
        # Trunk addresses are never locked: one misconfigured phone would block all calls of the trunk.
        claimed, guesser = request.to if request.method == "REGISTER" else request.from_, self._guesser(request, source)
        if trunk is None and self.guesses.locked(guesser.host, name or claimed.uri.user, now, str(guesser)):
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
        # Within a dialog the identity would count as authentication, which an address is not.
        placed = self._trunks.placed_at(source) if request.to_tag is None else None
        return events.Accepted(TRUNK + placed, is_proof=False) if placed else events.Accepted(None)

    def _is_account(self, name: str) -> bool:
        return self._identity.by_id(name) is not None or self._trunks.by_username(name) is not None

    def _guesser(self, request: Request, source: Flow) -> Flow:
        """Return the source accountable for a password: behind our proxies, the client named in Via (RFC 3261 18.2.1).

        A proxy that forwards forged Via parameters is itself accountable.
        """
        place = source
        for before in request.via[1:]:
            if place.host not in self.proxies:
                break
            received = [value or "" for name, value in before.params if name.lower() == "received"] or [before.host]
            host = address_in(received[0].strip('"'))
            if len(received) > 1 or not host:
                return source
            place = Flow(source.transport, host, before.port or 0, before.param("rport") or "")
        return place

    def may_answer(self, source: Flow, status: int) -> bool:
        """Return True if a rejection may be sent to an unauthenticated source (see Bans); always for trunks."""
        return self._trunks.by_source(source) is not None or self._bans.may_answer(source.host, status)

    def are_one(self, source: Flow, other: Flow) -> bool:
        """Return True if both sources belong to one trunk, in the sense of `speaks_for`."""
        return self._trunks.are_one(source, other)

    def speaks_for(self, identity: str, source: Flow) -> bool:
        """Return True if requests from `source` count as the trunk's, by its `sources` or its registrar."""
        return identity.startswith(TRUNK) and self._trunks.speaks_for(identity.removeprefix(TRUNK), source)

    def _trunk_at(self, request: Request, source: Flow) -> str | None:
        """Return the trunk behind a request; an account's contact takes precedence over an address shared by several
        trunks.
        """
        contact = request.uri.user
        trunk = self._trunks.of_account(source, contact) if contact else None
        trunk = trunk or self._trunks.by_source(source, contact)
        if trunk is None and request.to_tag is not None:
            # In-dialog requests go to the dialog's Contact, which may belong to no account.
            trunk = self._trunks.of_account(source, None)
        return trunk

    async def _by_store(self, request: Request, source: Flow, name: str, guesser: Flow | None) -> events.Verdict:
        """Check credentials against the store; `guesser` holds its place among the source's wrong passwords
        meanwhile.
        """
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
        """Return the verdict on credentials with the HA1 values `known`; `trunk` is the account's trunk, if any."""
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
        claimed = request.to if request.method == "REGISTER" else request.from_
        algorithm = self._algorithms.choose(request.user_agent, source.host, self.kept.get(claimed.uri.user or ""))
        challenges = self._digest.challenges(
            now, stale=checked.stale, salt=self._random(4), source=source.host, algorithms=(algorithm,)
        )
        return events.Refused(401, None, tuple(("WWW-Authenticate", str(value)) for value in challenges))

    def _as_claimed(self, request: Request, username: str) -> events.Verdict:
        """Accept an authenticated user for its own identity only (CVE-2025-47779).

        Within a dialog, From is the Contact of a called phone, and the core checks the dialog's owner.
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
        """Return the user of a From or To URI; phones may be configured with our IP address as domain."""
        if uri.host.lower() in self._domains and uri.user:
            return self._identity.find(uri.user)
        return self._identity.find(str(uri))

    def _may_be_trunk(self, request: Request, username: str) -> bool:
        """Return True if credentials may be a trunk's: no REGISTER, and no user who sends as itself."""
        user = self._identity.by_id(username)
        return request.method != "REGISTER" and (user is None or self._meant(request.from_.uri) is not user)


def _to_wait(seconds: float) -> events.Refused:
    """Return the rejection of a premature guess: 503 with Retry-After for a locked user, 403 (0 seconds) for a locked
    source.
    """
    if not seconds:
        return events.Refused(403, "Too many wrong passwords")
    later = (("Retry-After", str(math.ceil(seconds))),)
    return events.Refused(503, "Too many wrong passwords for this user", later)
