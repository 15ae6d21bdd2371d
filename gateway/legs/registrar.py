"""Who may speak SIP to us: digest authentication against the identity store, and the registrar's bindings."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import structlog

from gateway.identity.mapping import IdentityMap
from gateway.identity.model import Binding, User
from gateway.identity.store import IdentityStore, StoreError
from gateway.sip.auth.server import DigestServer, Verdict
from gateway.sip.errors import SipSyntaxError
from gateway.sip.flow import Flow
from gateway.sip.invite import events
from gateway.sip.message.build import Refusal
from gateway.sip.message.message import Request
from gateway.sip.message.uri import Uri
from gateway.sip.registration import registrar

log = structlog.get_logger(__name__)

TRUNK = "trunk:"
"""Prefix of the identity of a trunk, which no user id can have."""


@dataclass(frozen=True, slots=True)
class TrunkSource:
    """Networks a trunk's calls come from; they need no digest."""

    name: str
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


@dataclass(frozen=True, slots=True)
class LockOut:
    """Wrong passwords a source address may send before it has to wait."""

    failures: int = 10
    seconds: float = 60.0
    remembered: int = 10_000
    """Source addresses kept; the oldest is forgotten first."""


class Guesses:
    """Counts wrong passwords by source address, within bounds."""

    def __init__(self, policy: LockOut) -> None:
        self._policy = policy
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def locked(self, source: str, now: float) -> bool:
        count, last = self._failures.get(source, (0, 0.0))
        return count >= self._policy.failures and now - last < self._policy.seconds

    def failed(self, source: str, now: float) -> None:
        count, last = self._failures.pop(source, (0, 0.0))
        self._failures[source] = (1 if now - last >= self._policy.seconds else count + 1, now)
        if len(self._failures) > self._policy.remembered:
            self._failures.popitem(last=False)

    def succeeded(self, source: str) -> None:
        self._failures.pop(source, None)


class Gatekeeper:
    """Decides about every request that begins something."""

    def __init__(
        self,
        identity: IdentityMap,
        store: IdentityStore,
        digest: DigestServer,
        domains: Collection[str],
        trunks: Sequence[TrunkSource],
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        lock_out: LockOut | None = None,
    ) -> None:
        self._identity = identity
        self._store = store
        self._digest = digest
        self._domains = frozenset(domain.lower() for domain in domains)
        self._trunks = tuple(trunks)
        self._clock = clock
        self._random = random
        self._guesses = Guesses(lock_out or LockOut())

    async def authenticate(self, request: Request, source: Flow) -> events.Verdict:
        """Who sends this: a trunk by its address, else a user by digest, else a challenge.

        OPTIONS is let in: it reveals nothing, and PBXs use it to see whether we live.
        """
        if request.method == "OPTIONS":
            return events.Accepted(None)
        if request.method != "REGISTER" and (trunk := self._trunk_of(source.host)) is not None:
            return events.Accepted(TRUNK + trunk)
        now = self._clock()
        if self._guesses.locked(source.host, now):
            return events.Refused(403, "Too many wrong passwords")
        try:
            return await self._by_digest(request, source, now)
        except StoreError as error:
            log.error("identity store failed", reason=str(error))
            return events.Refused(503)

    async def _by_digest(self, request: Request, source: Flow, now: float) -> events.Verdict:
        realm = self._digest.realm
        mine = next((value for value in request.authorization if value.get("realm") == realm), None)
        # A flood of made-up credentials must not reach the store.
        earned = mine is not None and self._digest.gave(mine.get("nonce"), source.host)
        name = mine.get("username") if mine is not None and earned else None
        known = await self._store.credential(name, realm) if name else None
        checked = self._digest.check(
            request, lambda *_: known.ha1 if known is not None else None, now, source=source.host
        )
        if checked.verdict is Verdict.OK and checked.username is not None:
            self._guesses.succeeded(source.host)
            return self._as_claimed(request, checked.username)
        if checked.verdict is Verdict.MALFORMED:
            return events.Refused(400, "Credentials cannot be read")
        if checked.verdict is Verdict.WRONG:
            self._guesses.failed(source.host, now)
            log.warning("wrong password", user=checked.username, source=source.host)
        challenges = self._digest.challenges(now, stale=checked.stale, salt=self._random(4), source=source.host)
        return events.Refused(401, None, tuple(("WWW-Authenticate", str(value)) for value in challenges))

    def _as_claimed(self, request: Request, username: str) -> events.Verdict:
        """An authenticated user speaks and registers for itself only (CVE-2025-47779)."""
        user = self._identity.by_id(username)
        if user is None or not user.sip:
            return events.Refused(403, "Not a SIP account")
        claimed = request.to if request.method == "REGISTER" else request.from_
        if self._meant(claimed.uri) is not user:
            return events.Refused(403, "From and credentials differ")
        return events.Accepted(user.id)

    def _meant(self, uri: Uri) -> User | None:
        """The user a From or To means; phones set up with our IP address put that into it."""
        if uri.host.lower() in self._domains and uri.user:
            return self._identity.find(uri.user)
        return self._identity.find(str(uri))

    def _trunk_of(self, host: str) -> str | None:
        if not self._trunks:
            return None
        address = ipaddress.ip_address(host)
        for trunk in self._trunks:
            if any(address.version == network.version and address in network for network in trunk.networks):
                return trunk.name
        return None


class Registrar:
    """Answers REGISTER from the identity store; who may register what is the Gatekeeper's business."""

    def __init__(
        self,
        identity: IdentityMap,
        store: IdentityStore,
        policy: registrar.RegistrarPolicy,
        wall_clock: Callable[[], float],
    ) -> None:
        self._identity = identity
        self._store = store
        self._policy = policy
        self._wall_clock = wall_clock

    async def register(self, request: Request, source: Flow, identity: str | None) -> events.Reply:
        """Add, refresh, remove or list bindings (RFC 3261 section 10.3)."""
        user = self._identity.by_id(identity) if identity is not None else None
        if user is None:
            return events.Reply(403)
        try:
            return await self._answer(request, source, self._identity.aor(user))
        except StoreError as error:
            log.error("registration failed", user=identity, reason=str(error))
            return events.Reply(503)

    async def _answer(self, request: Request, source: Flow, aor: str) -> events.Reply:
        now = self._wall_clock()
        current = {binding.contact: binding for binding in await self._store.bindings(aor, now)}
        registered = [_registered(binding) for binding in current.values()]
        try:
            changes = registrar.decide(request, registered, self._policy, now, str(source))
        except SipSyntaxError as error:
            return events.Reply(error.status or 400, "Bad Contact")
        if isinstance(changes, Refusal):
            headers = tuple((name, str(value)) for name, value in changes.headers)
            return events.Reply(changes.status, changes.reason or None, headers)
        for gone in changes.removed:
            await self._store.remove_binding(aor, gone.contact)
        for fresh in changes.put:
            known = current.get(fresh.contact)
            binding = _binding(fresh, aor, known.codecs if known is not None else ())
            await self._store.put_binding(binding, now, self._policy.max_contacts)
        if not changes.is_query:
            log.info("registered", aor=aor, contacts=len(changes.after), source=str(source))
        answer = registrar.ok_response(request, changes.after, now, to_tag="-")
        wanted = ("contact", "path", "require")
        return events.Reply(200, None, tuple((n, v) for n, v in answer.headers if n.lower() in wanted))


def _registered(binding: Binding) -> registrar.Registered:
    return registrar.Registered(
        binding.aor,
        binding.contact,
        binding.expires_at,
        binding.call_id,
        binding.cseq,
        binding.q,
        binding.instance,
        binding.reg_id,
        binding.path,
        binding.received,
        binding.user_agent,
    )


def _binding(fresh: registrar.Registered, aor: str, codecs: tuple[str, ...]) -> Binding:
    return Binding(
        aor,
        fresh.contact,
        fresh.expires_at,
        fresh.call_id,
        fresh.cseq,
        fresh.q,
        fresh.instance,
        fresh.reg_id,
        fresh.path,
        fresh.received,
        fresh.user_agent,
        codecs,
    )
