"""What SIP asks of the gateway: who is that, what rings, what is registered (gateway.net's Hooks)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog

from gateway.access.gatekeeper import TRUNK, Gatekeeper
from gateway.access.nodes import NODE
from gateway.access.register import RegisterService
from gateway.call.leg import Address
from gateway.call.registry import Calls
from gateway.call.routing import Caller, RouteError
from gateway.call.status import Cause
from gateway.config.network import RtpConfig
from gateway.config.people import Trunk
from gateway.config.srtp import SrtpPolicy
from gateway.dialing import callers
from gateway.identity.mapping import IdentityMap
from gateway.legs.sip_caller import SipCallerLeg
from gateway.legs.sip_sessions import Reader, Shown, named_by
from gateway.media.engine import Dtmf, Kind
from gateway.sip.dialogs.dialog import is_gruu
from gateway.sip.flow import WEBSOCKET, Flow
from gateway.sip.invite import events
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.locate import forward_limit
from gateway.sip.message.build import Refusal
from gateway.sip.message.message import Request
from gateway.sip.message.uri import Uri
from gateway.sip.message.values import Replaces
from gateway.trunks.accounts import Accounts

log = structlog.get_logger(__name__)

_OPEN = frozenset(("udp", "tcp"))
"""Transports by which anybody on the way reads what is said; pages have HTTPS, or are on this machine."""
_ANY_NUMBER = 1_000_000_000
"""Calls of a trunk without a limit of its own, or of a gateway: limits.max_calls is the bound."""
_OURS = (Cause.OVERLOADED, Cause.LIMIT, Cause.OUT_OF_SERVICE, Cause.LINE_FULL, Cause.TOO_MANY_OWN)


@dataclass(frozen=True, slots=True)
class Sender:
    """Who asks, what they may, and how others see them."""

    caller: Caller
    address: Address


class SipFront:
    """Lets requests in, hands calls to the registry, answers REGISTER."""

    def __init__(
        self,
        identity: IdentityMap,
        accounts: Accounts,
        calls: Calls,
        gatekeeper: Gatekeeper,
        registrar: RegisterService,
        trunks: Mapping[str, Trunk],
        rtp: RtpConfig,
        new_tag: Callable[[], str],
        registered: Callable[[str], None] = lambda user: None,
        of_node: Callable[[Request, str], tuple[Caller, Address] | None] = lambda request, identity: None,
        outgoing: Callable[[str], int] = lambda trunk: 0,
    ) -> None:
        """`registered` is told whose bindings a REGISTER may have changed; `of_node` reads who calls, of a request that
        the gateway of our cluster with that identity has sent; `outgoing` says how many calls go out by a trunk of that
        name, which count against its `max_calls` as those that come in.
        """
        self._of_node = of_node
        self._identity = identity
        self._accounts = accounts
        self._calls = calls
        self._gatekeeper = gatekeeper
        self._registrar = registrar
        self._trunks = trunks
        self.rtp = rtp
        """May be another one in the course of things, as `trunks` may."""
        self._new_tag = new_tag
        self._names = callers.Names(identity, trunks)
        self._registered = registered
        self._outgoing = outgoing
        self._placing: set[asyncio.Task[None]] = set()

    @property
    def reads(self) -> Reader:
        """Who a far end says it is in the course of a call, as far as that is believed."""
        return self._names.renamed

    def authenticate(self, request: Request, source: Flow) -> events.Verdict | Coroutine[Any, Any, events.Verdict]:
        return self._gatekeeper.authenticate(request, source)

    async def answer_register(self, request: Request, source: Flow, identity: str | None) -> events.Reply:
        reply = await self._registrar.register(request, source, identity)
        if reply.status == 200 and identity is not None:
            self._registered(identity)
        return reply

    def invited(self, session: IncomingSession, identity: str | None) -> None:
        """A call that was let in: place it, or refuse it with the cause's status."""
        task = asyncio.get_running_loop().create_task(self._place(session, identity))
        self._placing.add(task)
        task.add_done_callback(self._placing.discard)

    async def _place(self, session: IncomingSession, identity: str | None) -> None:
        request = session.request
        hops = forward_limit(request)
        if isinstance(hops, Refusal):
            session.reject(hops.status)
            return
        if request.uri.scheme == "sips" and session.source.transport in _OPEN:
            # Who dials a sips URI wants TLS on every hop, and there is none on the last one (RFC 5630 section 3.1).
            session.reject(480, headers=[("Warning", f'380 {request.uri.host} "SIPS Not Allowed"')])
            return
        caller, address, limit = self.caller(request, identity)
        if hops != address.hops:
            address = replace(address, hops=hops)
        if caller is None:
            session.reject(403)
            return
        policy = self.srtp_policy(identity)
        kind = self._kind_offered(policy, identity, session.source)
        await self._find_device(session, identity)
        leg = SipCallerLeg(
            self._new_tag(),
            session,
            address,
            session.source.host,
            kind,
            identity,
            self._dtmf(identity),
            self.codecs(identity),
            self._shown(identity),
            self._names.renamed,
            partial(_kind_taken, policy),
        )
        refused = _refused_by(policy, leg.party.kind)
        if refused:
            leg.refuse(Cause.NOT_ACCEPTABLE, refused)
            return
        try:
            if request.replaces is not None:
                self._replace(session, leg, request.replaces, str(request.uri))
                return
            dialled = self._calls.addressed(str(request.uri), caller)
            await self._calls.place(leg, caller, dialled, leg.initial_offer, limit)
        except RouteError as error:
            leg.refuse(error.cause, _told(error), error.retry_after)
        except Exception:
            log.exception("call could not be placed")
            await leg.end(Cause.ERROR)

    async def _find_device(self, session: IncomingSession, identity: str | None) -> None:
        """Have a caller that calls itself by a GRUU of ours be sent requests at the contact of that device."""
        contact = session.request.contact
        if contact is not None and is_gruu(contact.uri):
            device = await self._registrar.contact_of(str(contact.uri), session.source, identity)
            if device is not None:
                session.reach_at(Uri.parse(device))

    def _replace(self, session: IncomingSession, leg: SipCallerLeg, replaces: Replaces, dialled: str) -> None:
        """A call that takes the place of one of its user's own, or that we have asked for (RFC 3891)."""
        transfers = self._calls.transfers
        status = 481
        if transfers is not None:
            offer, early = leg.initial_offer, replaces.early_only
            status = transfers.replace(named_by(replaces), leg, offer, early_only=early, dialled=dialled)
        if status:
            session.reject(status)

    def _dtmf(self, identity: str | None) -> Dtmf:
        """How the caller takes digits."""
        if (trunk := self._trunk(identity)) is not None:
            return Dtmf(trunk.dtmf)
        user = self._identity.by_id(identity) if identity is not None else None
        return Dtmf(user.dtmf) if user is not None else Dtmf.AUTO

    def _shown(self, identity: str | None) -> Shown:
        """What the caller is told of whom it talks with."""
        if (trunk := self._trunk(identity)) is not None:
            return callers.shown_to(trunk)
        return Shown(is_user=identity is not None)

    def codecs(self, identity: str | None) -> tuple[str, ...]:
        """The only codecs of the caller's trunk; () for those of every phone."""
        trunk = self._trunk(identity)
        return () if trunk is None else trunk.codecs

    def srtp_policy(self, identity: str | None) -> SrtpPolicy:
        """The SRTP policy of the caller's trunk, or the general one."""
        trunk = self._trunk(identity)
        return self.rtp.srtp if trunk is None else trunk.srtp or self.rtp.srtp

    def _kind_offered(self, policy: SrtpPolicy, identity: str | None, source: Flow) -> Kind:
        """Return the kind of offer for a caller whose INVITE makes none."""
        trunk = self._trunk(identity)
        if source.transport in WEBSOCKET or (trunk is not None and trunk.webrtc):
            return Kind.WEBRTC
        if policy == "required":
            return Kind.SDES if self.rtp.srtp_keying[0] == "sdes" else Kind.DTLS
        return Kind.BEST_EFFORT if policy == "best_effort" else Kind.RTP

    def _trunk(self, identity: str | None) -> Trunk | None:
        """The trunk of that identity; None for a user's, and where there is no such trunk any more."""
        if identity is None or not identity.startswith(TRUNK):
            return None
        return self._trunks.get(identity.removeprefix(TRUNK))

    def sender(self, request: Request, identity: str | None) -> Sender | None:
        """Who sent a request that is no call; None for nobody we know."""
        caller, address, _ = self.caller(request, identity)
        return None if caller is None else Sender(caller, address)

    def caller(self, request: Request, identity: str | None) -> tuple[Caller | None, Address, int | None]:
        """Who calls, as the callee is told: users by the identity map, trunks by what they say in From."""
        said = request.from_
        if identity is not None and (trunk := self._trunk(identity)) is not None:
            address = callers.of_trunk(request, trunk)
            account = self._accounts.called(request.uri.user)
            callee = account.user if account is not None and account.registrar == trunk.name else None
            limit = _ANY_NUMBER if trunk.max_calls is None else max(trunk.max_calls - self._outgoing(trunk.name), 0)
            return Caller(identity, ("*",), transit=False, calls=callee), address, limit
        if identity is not None and identity.startswith(NODE):
            found = self._of_node(request, identity)
            return (None, Address(str(said.uri)), None) if found is None else (*found, _ANY_NUMBER)
        user_entry = self._identity.by_id(identity) if identity is not None else None
        if user_entry is None:
            return None, Address(str(said.uri)), None
        address = self._names.of_user(user_entry, request)
        own = self._accounts.registrar_of(user_entry.id)
        return Caller(user_entry.id, user_entry.may_call, account=own), address, user_entry.max_calls


def _kind_taken(policy: SrtpPolicy, kind: Kind) -> Kind:
    """What an offer of plain RTP with keys counts as (RFC 8643): no more and no less than the policy wants."""
    if kind is not Kind.BEST_EFFORT:
        return kind
    return {"off": Kind.RTP, "required": Kind.SDES}.get(policy, kind)


def _refused_by(policy: SrtpPolicy, kind: Kind) -> str:
    """Why the policy does not allow an offer of that kind; "" where it does."""
    if policy == "required" and kind is Kind.RTP:
        return "SRTP is required"
    return "SRTP is off" if policy == "off" and kind in (Kind.SDES, Kind.DTLS) else ""


def _told(error: RouteError) -> str:
    """Which limit refused the call: told to the caller, for it is ours to say; why else is in the log only."""
    return str(error).partition(":")[0] if error.cause in _OURS else ""
