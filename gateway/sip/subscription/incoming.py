"""Subscription by a peer, from the SUBSCRIBE to the last NOTIFY (RFC 6665 section 4.2)."""

from __future__ import annotations

from collections.abc import Callable

from gateway.sip.alarms import Alarm
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.dialogs.ports import Core
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.message import build
from gateway.sip.message.uri import Uri
from gateway.sip.requests.server import ServerRequest
from gateway.sip.subscription.document import Document
from gateway.sip.subscription.notifier import Notifier
from gateway.sip.subscription.policy import SubscriptionPolicy
from gateway.sip.subscription.states import NotifierInput


class IncomingSubscription(Notifier):
    """Subscription by a peer to the state of `target`.

    The application calls `accept` or `refuse` once; after `accept`, `tell` for changes, and `end`. Calls after the end,
    by either side, do nothing.
    """

    def __init__(
        self,
        core: Core,
        dialog: Dialog,
        subscribe: ServerRequest,
        *,
        package: str,
        expires: int,
        policy: SubscriptionPolicy,
        released: Callable[[], None],
    ) -> None:
        """`expires`: granted duration in seconds, 0 for a single NOTIFY. `released` is called once at the end."""
        request = subscribe.request
        event = request.event
        super().__init__(
            core,
            dialog,
            package=package,
            event_id=event.param("id") if event is not None else None,
            longest=policy.max_expires,
            interval=policy.interval,
        )
        self.request = request
        self.package = package
        self.target: Uri = request.uri
        """Resource to watch."""
        self.identity = dialog.identity
        """Identity of the subscriber as authenticated."""
        self.expires = expires
        self._subscribe = subscribe
        self._released = released
        self._then: list[Callable[[], None]] = []
        self._known = request.suppress_if_match
        self._says_tag = True
        patience = core.now() + core.config.answer_patience
        self._patience: Alarm[DialogUsage | None] = core.at(patience, lambda: self.refuse(503), self)

    def accept(self, document: Document, *, expires: int | None = None, is_pending: bool = False) -> None:
        """Answer 200, for at most `expires` seconds; the first NOTIFY carries `document`."""
        if self._subscribe.is_answered:
            return
        self._patience.cancel()
        if expires is not None:
            self.expires = min(self.expires, expires)
        self.is_pending = is_pending
        self._subscribe.respond(200, (("Expires", self.expires),), contact=self._dialog.contact)
        self._dialog.confirm()
        self._begin(document, float(self.expires))
        self._core.wake()

    def refuse(self, status: int, headers: build.Fields = ()) -> None:
        """Reject the SUBSCRIBE; no NOTIFY follows."""
        if self._subscribe.is_answered:
            return
        self._patience.cancel()
        self._subscribe.respond(status, headers)
        self._step(NotifierInput.REFUSE)
        self._core.wake()

    def when_over(self, then: Callable[[], None]) -> None:
        """Call `then` once the subscription has ended, immediately if already ended."""
        if self._is_over:
            then()
        else:
            self._then.append(then)

    def _over(self) -> None:
        self._patience.cancel()
        if not self._subscribe.is_answered:
            self._subscribe.respond(500)
        self._released()
        then, self._then = self._then, []
        for one in then:
            one()
