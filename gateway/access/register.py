"""Registrar: REGISTER against the identity store, each request one atomic step (RFC 3261 10.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from functools import partial

import structlog

from gateway.access.gruu import fits
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import Binding
from gateway.identity.store import IdentityStore, StoreError
from gateway.sip.errors import SipSyntaxError
from gateway.sip.flow import WEBSOCKET, Flow
from gateway.sip.invite import events
from gateway.sip.message.build import Refusal
from gateway.sip.message.message import Request
from gateway.sip.registration.registrar import Changes, RegistrarPolicy, decide, ok_fields

log = structlog.get_logger(__name__)

ATTEMPTS = 5
"""Tries of a REGISTER before 503, when concurrent requests change the same address of record."""


class RegisterService:
    """Answers REGISTER from the identity store, after admission by the Gatekeeper."""

    def __init__(
        self,
        identity: IdentityMap,
        store: IdentityStore,
        policy: RegistrarPolicy,
        wall_clock: Callable[[], float],
        is_reachable: Callable[[Flow], bool] = lambda flow: True,
        keeps_alive: Callable[[Flow, int], None] = lambda flow, seconds: None,
        gruus: Callable[[Binding], Sequence[tuple[str, str]]] = lambda binding: (),
        node: str = "",
        read_gruu: Callable[[str], tuple[str, str] | None] = lambda uri: None,
    ) -> None:
        """`is_reachable` returns True for an open connection; `keeps_alive` takes a flow and its keep-alive interval in
        seconds.

        `gruus` returns a contact's GRUU parameters; `read_gruu` splits a GRUU into address of record and device
        (`Gruus.read`). `node` is our URI in a cluster.
        """
        self._node = node
        self._gruus = gruus
        self._read_gruu = read_gruu
        self._identity = identity
        self._store = store
        self.policy = policy
        """Policy in force; replaced at a reload."""
        self._wall_clock = wall_clock
        self._is_reachable = is_reachable
        self._keeps_alive = keeps_alive
        """Callback for the keep-alive interval of a flow."""
        self._by_flow: dict[Flow, set[str]] = {}
        """Addresses of record with bindings tied to a connection, by flow."""
        self._removals: set[asyncio.Task[None]] = set()
        self._drains = False

    def drain(self) -> None:
        """Shorten the registrations of phones reachable only through this gateway, because it is about to stop."""
        self._drains = bool(self._node)

    async def register(self, request: Request, source: Flow, identity: str | None) -> events.Reply:
        """Add, refresh, remove or list bindings (RFC 3261 section 10.3)."""
        user = self._identity.by_id(identity) if identity is not None else None
        if user is None:
            return events.Reply(403)
        try:
            return await self._answer(request, source, self._identity.aor(user))
        except SipSyntaxError as error:
            return events.Reply(error.status or 400, "Bad Contact")
        except StoreError as error:
            log.error("registration failed", user=identity, reason=str(error))
            return events.Reply(503)

    async def _answer(self, request: Request, source: Flow, aor: str) -> events.Reply:
        for _ in range(ATTEMPTS):
            now = self._wall_clock()
            current = await self._store.bindings(aor, now)
            make = partial(_binding, aor, self._node, {binding.contact: binding.codecs for binding in current})
            changes = decide(request, current, self.policy, now, make=make, received=str(source))
            if isinstance(changes, Refusal):
                headers = tuple((name, str(value)) for name, value in changes.headers)
                return events.Reply(changes.status, changes.reason or None, headers)
            if changes.is_query or await self._store.change_bindings(aor, current, changes.removed, changes.put, now):
                return self._done(request, source, aor, changes, now)
        log.warning("registrations of one address overtook each other", aor=aor)
        return events.Reply(503)

    async def contact_of(self, gruu: str, source: Flow, identity: str | None) -> str | None:
        """Return the contact of the user's own device named by a GRUU (RFC 5627); None for any other GRUU.

        With several contacts, the one registered from `source` is preferred.
        """
        user, meant = self._identity.by_id(identity) if identity is not None else None, self._read_gruu(gruu)
        if user is None or meant is None or meant[0] != self._identity.aor(user):
            return None
        try:
            bindings = await self._store.bindings(meant[0], self._wall_clock())
        except StoreError as error:
            log.error("the contact behind a GRUU cannot be read", user=user.id, reason=str(error))
            return None
        found = [one for one in bindings if fits(meant[1], one)]
        here = [one for one in found if one.received == str(source) and one.node in ("", self._node)]
        return next((one.contact for one in (*here, *found)), None)

    def flow_lost(self, flow: Flow) -> None:
        """Remove the bindings tied to a lost connection."""
        aors = self._by_flow.pop(flow, None)
        if aors:
            self._begin(self._remove(flow, aors))

    def flow_failed(self, binding: Binding) -> None:
        """Remove a binding after an edge proxy has reported a lost flow (430, RFC 5626).

        A binding refreshed since is kept; a further 430 will report the loss of its flow.
        """
        self._begin(self._remove_failed(binding))

    def _begin(self, removal: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(removal)
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)

    async def close(self) -> None:
        """Cancel pending removals."""
        for task in tuple(self._removals):
            task.cancel()
        await asyncio.gather(*self._removals, return_exceptions=True)

    async def _remove(self, flow: Flow, aors: Iterable[str]) -> None:
        """Remove the bindings of a lost connection, after time for the client to register again."""
        await asyncio.sleep(self.policy.websocket_grace)
        for aor in aors:
            try:
                await self._remove_where(aor, lambda one: (one.received, one.node) == (str(flow), self._node))
            except StoreError as error:
                log.error("contacts of a lost WebSocket were not removed", aor=aor, reason=str(error))

    async def _remove_failed(self, binding: Binding) -> None:
        known = replace(binding, codecs=())  # preferred codecs may have been learned since
        try:
            if await self._remove_where(binding.aor, lambda one: replace(one, codecs=()) == known):
                log.info("a flow has failed", aor=binding.aor, reg_id=binding.reg_id)
        except StoreError as error:
            log.error("a flow that failed was not removed", aor=binding.aor, reason=str(error))

    async def _remove_where(self, aor: str, is_dead: Callable[[Binding], bool]) -> bool:
        """Remove matching bindings; return True if any existed."""
        for _ in range(ATTEMPTS):
            now = self._wall_clock()
            current = await self._store.bindings(aor, now)
            dead = [binding for binding in current if is_dead(binding)]
            if not dead:
                return False
            if await self._store.change_bindings(aor, current, dead, (), now):
                return True
        return False

    def _done(self, request: Request, source: Flow, aor: str, changes: Changes[Binding], now: float) -> events.Reply:
        if not changes.is_query:
            log.info("registered", aor=changes.aor, contacts=len(changes.after), source=str(source))
        is_flow = any(binding.reg_id is not None and not binding.path for binding in changes.put)
        # WebSockets have pings of their own (RFC 7118)
        timer = 0 if source.transport in WEBSOCKET else self.policy.flow_timer
        if changes.put and source.reliable and (is_flow or source.transport in WEBSOCKET):
            self._by_flow.setdefault(source, set()).add(aor)
            if timer and is_flow:
                self._keeps_alive(source, timer)
            if not self._is_reachable(source):
                self.flow_lost(source)
        after = [self._as_reported(binding, now) for binding in changes.after]
        fields = ok_fields(request, after, now, flow_timer=timer, gruus=self._gruus)
        return events.Reply(200, None, fields)

    def _as_reported(self, binding: Binding, now: float) -> Binding:
        """Return a binding as reported to its phone.

        While draining, the phone gets the shortest interval. The store keeps the longer one (deviation from RFC 3261
        10.3 step 8), so that a phone with only our address is found after a restart.
        """
        if not self._drains or binding.node != self._node:
            return binding
        return replace(binding, expires_at=min(binding.expires_at, now + self.policy.min_expires))


def _binding(
    own_aor: str,
    node: str,
    codecs: dict[str, tuple[str, ...]],
    *,
    aor: str,
    contact: str,
    expires_at: float,
    call_id: str,
    cseq: int,
    q: float,
    instance: str | None,
    reg_id: int | None,
    path: tuple[str, ...],
    received: str | None,
    user_agent: str,
) -> Binding:
    """Return a binding for the identity room's address of record, with previously learned codecs.

    A contact behind Path is reachable from every gateway, so it has no node.
    """
    return Binding(
        aor=own_aor,
        contact=contact,
        expires_at=expires_at,
        call_id=call_id,
        cseq=cseq,
        q=q,
        instance=instance,
        reg_id=reg_id,
        path=path,
        received=received,
        user_agent=user_agent,
        codecs=codecs.get(contact, ()),
        node="" if path else node,
    )
