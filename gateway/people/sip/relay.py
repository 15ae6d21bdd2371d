"""Subscriptions to people behind a trunk: asked for at the PBX that owns them, passed on as they are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from gateway.call.leg import Address
from gateway.call.routing import Caller, RouteError, Router, SipTarget
from gateway.call.status import Cause
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import User
from gateway.legs.sip_diversion import identity_fields
from gateway.legs.sip_flows import PLACE_FAILED
from gateway.legs.sip_sessions import Destination
from gateway.sip.auth.account import Credentials
from gateway.sip.errors import SipError
from gateway.sip.locate import forward_limit
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.build import Refusal
from gateway.sip.message.uri import Uri
from gateway.sip.subscription.document import Document
from gateway.sip.subscription.incoming import IncomingSubscription
from gateway.sip.subscription.subscriber import Notified, Subscriber, SubscriberEvent, SubscriptionOver

log = structlog.get_logger(__name__)

_PASSED_ON = frozenset((404, 406, 423, 480, 489, 503, 603, 604))
"""Refusals of the PBX that say something to the phone; 481 or a challenge are between the PBX and us."""
_REASONS = frozenset(("deactivated", "probation", "rejected", "timeout", "giveup", "noresource", "invariant"))
"""RFC 6665 section 4.1.3."""


class Subscribing(Protocol):
    """What subscribes (gateway.net.user_agent.UserAgent)."""

    def subscribe(
        self,
        target: Uri | str,
        package: str,
        events: Callable[[SubscriberEvent], None],
        *,
        caller: NameAddr | str,
        expires: int = 3_600,
        accept: str = "",
        route: Sequence[NameAddr | str] = (),
        credentials: Credentials | None = None,
        identity: str | None = None,
        max_forwards: int = 70,
    ) -> Subscriber: ...


class Outside(Protocol):
    """Where SIP requests for somebody elsewhere go (gateway.dialing.outgoing.GatewayDialer)."""

    def outside(self, target: SipTarget) -> Sequence[Destination]: ...


class SubscriptionRelay:
    """One subscription at the PBX for each subscription of a phone; both end together."""

    def __init__(
        self,
        identity: IdentityMap,
        router: Router,
        places: Outside,
        account_of: Callable[[str], str | None] = lambda user: None,
    ) -> None:
        """`account_of` is the trunk at which a user has an account of its own."""
        self._account_of = account_of
        self._identity = identity
        self._router = router
        self._places = places
        self.subscribing: Subscribing
        """The SIP user agent; set once it is made."""

    def subscribed(self, subscription: IncomingSubscription, watcher: User) -> None:
        """Somebody wants to be told about nobody of ours: whoever may call there may also look."""
        hops = forward_limit(subscription.request)
        if isinstance(hops, Refusal):
            subscription.refuse(hops.status)
            return
        try:
            places = self.places_of(subscription.target, watcher)
            _Relayed(subscription, self.subscribing, places, self.name_of(watcher), hops).begin()
        except RouteError as error:
            log.info("subscription refused", watcher=watcher.id, reason=str(error))
            subscription.refuse(error.cause.status)
        except SipError as error:
            log.warning("a subscription cannot be passed on", reason=str(error))
            subscription.refuse(404)

    def places_of(self, uri: Uri, user: User, *, named: bool = False) -> Sequence[Destination]:
        """Where somebody behind a trunk is asked about, by whoever may call there; raises RouteError, SipError.

        `named`: only where the PBX is told who asks, by From or `fields_of`, not where it sees the trunk's own name.
        """
        caller = Caller(user.id, user.may_call, account=self._account_of(user.id))
        target = self._router.route(str(uri), caller)
        if not isinstance(target, SipTarget) or target.trunk is None:
            raise RouteError(Cause.NOT_FOUND, "nobody behind a trunk is meant")
        places = self._places.outside(target)
        hidden = [one for one in places if one.caller is not None and not (one.shown.asserts or one.shown.prefers)]
        if named and hidden and target.account is None:
            raise RouteError(Cause.FORBIDDEN, f"the trunk {target.trunk} is told its own name only (from_user)")
        return places

    def name_of(self, user: User) -> NameAddr:
        """From of what is asked for a user where the trunk wants no other."""
        return NameAddr(Uri.parse(self._identity.sip_uri(user.id)))

    def fields_of(self, user: User, place: Destination) -> list[tuple[str, object]]:
        """Who asks, beside From, where the trunk wants to be told (RFC 3325)."""
        return identity_fields(Address(self._identity.sip_uri(user.id), user.display_name or user.id), place.shown)


class _Relayed:
    """A phone's subscription, and ours at the PBX."""

    def __init__(
        self,
        subscription: IncomingSubscription,
        subscribing: Subscribing,
        places: Sequence[Destination],
        watcher: NameAddr,
        hops: int,
    ) -> None:
        self._theirs = subscription
        self._ours: Subscriber | None = None
        self._subscribing = subscribing
        self._left = [flow for place in places for flow in (place, *place.others)]
        """The flows to the PBX that were not tried yet, to its first place before the next."""
        self._watcher = watcher
        self._hops = hops
        self._is_over = False
        self._is_accepted = False
        self._misses = False
        """Whether a part of the state was left out, so that the whole of it has to come before another part."""

    def begin(self) -> None:
        if self._ask():
            self._theirs.when_over(self._end)
        else:
            self._theirs.refuse(404)

    def _ask(self) -> bool:
        """Subscribe by the next flow; False where none is left."""
        theirs = self._theirs
        while self._left:
            place = self._left.pop(0)
            left = len(self._left)
            try:
                ours = self._subscribing.subscribe(
                    place.uri,
                    theirs.package,
                    self._happened,
                    caller=place.caller or self._watcher,
                    expires=theirs.expires,
                    accept=theirs.request.headers.get("Accept") or "",
                    route=place.route,
                    credentials=place.credentials,
                    identity=place.identity,
                    max_forwards=self._hops,
                )
            except SipError as error:
                log.warning("a subscription cannot be passed on", reason=str(error))
                continue
            if left == len(self._left):  # else it has failed at once, and the next was asked
                self._ours = ours
            return True
        return False

    def _end(self) -> None:
        self._is_over = True
        if self._ours is not None:
            self._ours.end()

    def _happened(self, event: SubscriberEvent) -> None:
        match event:
            case Notified():
                self._notified(event)
            case SubscriptionOver():
                self._over(event)

    def _notified(self, event: Notified) -> None:
        theirs, body = self._theirs, event.body
        theirs.is_pending = event.state == "pending"
        is_part = b'state="partial"' in body or b"state='partial'" in body
        if is_part and self._is_accepted and (self._misses or theirs.has_untold):
            # Only the last is told of what comes too fast, and a part means nothing without those before it.
            if not self._misses and self._ours is not None:
                self._misses = True
                self._ours.refresh()
            return
        self._misses = False
        document = Document.of(event.content_type, body)
        if self._is_accepted:
            theirs.tell(document)
        else:
            self._is_accepted = True
            theirs.accept(document, is_pending=theirs.is_pending)

    def _over(self, event: SubscriptionOver) -> None:
        theirs = self._theirs
        if self._is_accepted:
            reason = event.reason if event.reason in _REASONS else "deactivated"
            wait = f";retry-after={event.retry_after}" if event.retry_after is not None else ""
            theirs.end(None, reason + wait)
        elif self._is_over or event.status not in PLACE_FAILED or not self._ask():
            status = event.status if event.status in _PASSED_ON else 480 if event.status in (408, 200) else 403
            headers = (("Retry-After", event.retry_after),) if event.retry_after is not None else ()
            theirs.refuse(status, headers)
