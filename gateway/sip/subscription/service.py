"""Admission of SUBSCRIBEs outside a dialog (RFC 6665 section 4.2.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

from gateway.sip.dialogs.dialog import Dialog, DialogId, is_secure, wants_flow
from gateway.sip.dialogs.ports import Core
from gateway.sip.invite.events import Refused
from gateway.sip.invite.incoming import is_behind_nat
from gateway.sip.message.message import Request
from gateway.sip.requests.server import ServerRequest
from gateway.sip.subscription.incoming import IncomingSubscription
from gateway.sip.subscription.policy import SubscriptionPolicy
from gateway.sip.subscription.referral import PACKAGE as REFER

_HOUR = 3_600


class Served(Core, Protocol):
    """Functions of the core needed in addition to those of a subscription."""

    def stateless_tag(self, request: Request) -> str:
        """Return a To tag equal for all copies of a request."""

    def has_dialog(self, name: DialogId) -> bool:
        """Return True if the dialog exists."""

    @property
    def retry_after(self) -> int:
        """Return the default Retry-After of a 503, in seconds."""


class SubscriptionServer:
    """Counts all subscriptions, and rejects unsupported SUBSCRIBEs."""

    def __init__(
        self,
        core: Served,
        policy: SubscriptionPolicy,
        packages: Mapping[str, str],
        subscribed: Callable[[IncomingSubscription], None],
    ) -> None:
        """`packages`: packages served, with the media type of their documents. `subscribed` accepts or refuses a
        subscription."""
        self._core = core
        self._policy = policy
        self._packages = dict(packages)
        self._subscribed = subscribed
        self._counts: Counter[str] = Counter()
        self._all: set[IncomingSubscription] = set()
        self.allow_events = ", ".join((*self._packages, REFER))

    def __len__(self) -> int:
        return len(self._all)

    def receive(self, request: ServerRequest, identity: str | None) -> None:
        """Process an authenticated SUBSCRIBE; raise DialogError if it can create no dialog."""
        refusal = self._refusal(request.request, identity)
        if refusal is not None:
            request.refuse(refusal)
            return
        assert identity is not None
        subscribe = request.request
        core = self._core
        contact = core.contact(request.source, subscribe.uri.user, secure=is_secure(subscribe))
        dialog = Dialog.of_uas(subscribe, core.stateless_tag(subscribe), contact, request.source)
        if core.has_dialog(dialog.id):
            # Copy of a request over another path (RFC 3261 8.2.2.2).
            request.refuse(Refused(482))
            return
        dialog.identity = identity
        is_near = request.source.reliable or wants_flow(dialog.remote_target)
        dialog.is_direct = is_near or is_behind_nat(subscribe, dialog, request.source.host, core)
        event, policy = subscribe.event, self._policy
        assert event is not None
        subscription = IncomingSubscription(
            core,
            dialog,
            request,
            package=event.value.lower(),
            expires=policy.max_expires if subscribe.expires is None else min(subscribe.expires, policy.max_expires),
            policy=policy,
            released=lambda: self._release(subscription, identity),
        )
        self._counts[identity] += 1
        self._all.add(subscription)
        try:
            self._subscribed(subscription)
        except Exception:
            subscription.drop()
            raise

    def end(self, reason: str) -> None:
        """End all subscriptions with `reason`."""
        for subscription in tuple(self._all):
            subscription.end(None, reason)

    def _release(self, subscription: IncomingSubscription, identity: str) -> None:
        self._all.discard(subscription)
        self._counts[identity] -= 1
        if not self._counts[identity]:
            del self._counts[identity]

    def _refusal(self, subscribe: Request, identity: str | None) -> Refused | None:
        policy = self._policy
        event = subscribe.event
        package = event.value.lower() if event is not None else ""
        if package == REFER:
            # The package allows subscriptions only by REFER (RFC 3515 section 2.4.4).
            return Refused(403)
        document = self._packages.get(package)
        if document is None:
            return Refused(489, headers=(("Allow-Events", self.allow_events),))
        if identity is None:
            return Refused(403)
        if subscribe.accept and not any(one.accepts(document) for one in subscribe.accept):
            return Refused(406)
        if subscribe.expires is not None and 0 < subscribe.expires < min(policy.min_expires, _HOUR):
            return Refused(423, headers=(("Min-Expires", str(policy.min_expires)),))
        if len(self._all) >= policy.total or self._counts[identity] >= policy.per_subscriber:
            return Refused(503, headers=(("Retry-After", str(self._core.retry_after)),))
        return None
