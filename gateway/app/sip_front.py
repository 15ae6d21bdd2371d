"""What SIP asks of the gateway: who is that, what rings, what is registered (gateway.net's Hooks)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from gateway.call.leg import Address
from gateway.call.registry import Calls
from gateway.call.routing import Caller, RouteError
from gateway.call.status import Cause
from gateway.config.network import SrtpPolicy
from gateway.config.people import Trunk
from gateway.identity.mapping import IdentityMap
from gateway.legs.registrar import TRUNK, Gatekeeper, Registrar
from gateway.legs.sip import SipCallerLeg
from gateway.media.engine import Kind
from gateway.sip.flow import Flow
from gateway.sip.invite import events
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.locate import forward_limit
from gateway.sip.message.build import Refusal
from gateway.sip.message.message import Request

log = structlog.get_logger(__name__)


class SipFront:
    """Lets requests in, hands calls to the registry, answers REGISTER."""

    def __init__(
        self,
        identity: IdentityMap,
        calls: Calls,
        gatekeeper: Gatekeeper,
        registrar: Registrar,
        trunks: Mapping[str, Trunk],
        srtp: SrtpPolicy,
        new_tag: Callable[[], str],
    ) -> None:
        self._identity = identity
        self._calls = calls
        self._gatekeeper = gatekeeper
        self._registrar = registrar
        self._trunks = trunks
        self._srtp = srtp
        self._new_tag = new_tag
        self._placing: set[asyncio.Task[None]] = set()

    async def authenticate(self, request: Request, source: Flow) -> events.Verdict:
        return await self._gatekeeper.authenticate(request, source)

    async def register(self, request: Request, source: Flow, identity: str | None) -> events.Reply:
        return await self._registrar.register(request, source, identity)

    def invited(self, session: IncomingSession, identity: str | None) -> None:
        """A call that was let in: place it, or refuse it with the cause's status."""
        task = asyncio.get_running_loop().create_task(self._place(session, identity))
        self._placing.add(task)
        task.add_done_callback(self._placing.discard)

    async def _place(self, session: IncomingSession, identity: str | None) -> None:
        request = session.request
        if not session.initial_offer:
            # An INVITE without an offer wants ours (RFC 3264 section 5), which no caller of ours can make yet.
            session.reject(488, "Offer Wanted")
            return
        hops = forward_limit(request)
        if isinstance(hops, Refusal):
            session.reject(hops.status)
            return
        caller, address, limit = self._caller(request, identity)
        address = replace(address, hops=hops)
        if caller is None:
            session.reject(403)
            return
        leg = SipCallerLeg(self._new_tag(), session, address, session.source.host)
        try:
            if not self._srtp_fits(leg.party.kind, identity):
                raise RouteError(Cause.NOT_ACCEPTABLE, "the SRTP policy does not allow this offer")
            await self._calls.place(leg, caller, str(request.uri), leg.offer, limit)
        except RouteError as error:
            await leg.end(error.cause)
        except Exception:
            log.exception("call could not be placed")
            await leg.end(Cause.ERROR)

    def _srtp_fits(self, kind: Kind, identity: str | None) -> bool:
        """Whether the offer keeps the SRTP policy of its trunk, or the general one."""
        policy = self._srtp
        if identity is not None and identity.startswith(TRUNK):
            policy = self._trunks[identity.removeprefix(TRUNK)].srtp or policy
        return not ((policy == "required" and kind is Kind.RTP) or (policy == "off" and kind is Kind.SDES))

    def _caller(self, request: Request, identity: str | None) -> tuple[Caller | None, Address, int | None]:
        """Who calls, as the callee is told: users by the identity map, trunks by what they say in From."""
        said = request.from_
        if identity is not None and identity.startswith(TRUNK):
            trunk = self._trunks[identity.removeprefix(TRUNK)]
            user = said.uri.user or "anonymous"
            address = Address(f"sip:{user}@{self._identity.domain}", said.display_name or user)
            return Caller(identity, ("*",), transit=False), address, trunk.max_calls
        user_entry = self._identity.by_id(identity) if identity is not None else None
        if user_entry is None:
            return None, Address(str(said.uri)), None
        name = user_entry.display_name or said.display_name or user_entry.id
        address = Address(self._identity.sip_uri(user_entry.id), name)
        return Caller(user_entry.id, user_entry.may_call), address, user_entry.max_calls
