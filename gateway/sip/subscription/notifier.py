"""Notifier of a subscription inside a dialog (RFC 6665 section 4.2)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from gateway.sip.alarms import Alarm
from gateway.sip.auth.account import Authenticator
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.dialogs.ports import Core
from gateway.sip.dialogs.requests import send_in_dialog
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.flow import Flow
from gateway.sip.message.message import Request, Response
from gateway.sip.requests.server import ServerRequest
from gateway.sip.subscription.document import Document
from gateway.sip.subscription.states import TABLE, NotifierAction, NotifierInput, NotifierState

logger = logging.getLogger(__name__)


ENDING = frozenset((404, 405, 408, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604))
"""Responses to a NOTIFY that end the subscription (RFC 5057 section 5.2); others fail only the NOTIFY."""
_MAX_FAILURES = 3
"""Consecutive other failures after which the subscriber counts as gone."""


class Notifier:
    """Sends a package's state to one subscriber, one NOTIFY at a time; a usage of the subscriber's dialog.

    Each NOTIFY carries the `document` current at its sending: of changes faster than responses or the interval, only
    the last is sent.
    """

    def __init__(
        self,
        core: Core,
        dialog: Dialog,
        *,
        package: str,
        event_id: str | None,
        longest: float,
        interval: float = 0.0,
        authenticator: Authenticator | None = None,
    ) -> None:
        """`event_id`: id parameter of Event (RFC 6665 section 8.2.1).

        `longest`: most seconds granted. `interval`: least seconds between NOTIFYs of changes.
        """
        self.state = NotifierState.IDLE
        self.document = Document.of("", b"")
        self.is_pending = False
        """True while the subscriber's authorization is undecided (RFC 6665 section 4.1.2)."""
        self._core = core
        self._dialog = dialog
        self._package = package
        self._event_id = event_id
        self._longest = longest
        self._interval = interval
        self._authenticator = authenticator
        self._lasts = longest
        self._until = 0.0
        self._reason = ""
        """Reason of termination (RFC 6665 section 4.1.3)."""
        self._alarm: Alarm[DialogUsage | None] | None = None
        self._pause: Alarm[DialogUsage | None] | None = None
        self._next_at = 0.0
        """Earliest time of the next NOTIFY of a change."""
        self._is_sending = False
        self._is_due = False
        self._is_over = False
        self._known: str | None = None
        """Entity-tag of the state already known to the subscriber (RFC 5839)."""
        self._says_tag = False
        self._version = 0
        self._failures = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._package}, {self.state.name})"

    # ---- interface for the application

    def tell(self, document: Document) -> None:
        """Send a changed document."""
        if self.state is NotifierState.ACTIVE:
            self.document = document
            self._step(NotifierInput.CHANGED)
            self._core.wake()

    def end(self, document: Document | None, reason: str) -> None:
        """Send the last document; `reason`: value for Subscription-State (RFC 6665 section 4.1.3)."""
        if self.state is NotifierState.ACTIVE:
            self.document, self._reason = document or self.document, reason
            self._step(NotifierInput.FINISH)
            self._core.wake()

    def _begin(self, document: Document, lasts: float) -> None:
        """Send the first NOTIFY right after the accepting response (RFC 6665 section 4.2.1.4)."""
        self.document = document
        self._core.add_usage(self._dialog, self)
        self._lasts = lasts
        if lasts > 0:
            self._step(NotifierInput.ACCEPT)
        else:
            self._reason = "timeout"
            self._step(NotifierInput.FETCH)

    def _over(self) -> None:
        """Handle the end; at most the last NOTIFY is still to be sent."""

    @property
    def has_untold(self) -> bool:
        """Return True if a change waits for its NOTIFY."""
        return self._is_due or self._pause is not None

    # ---- the table

    def _step(self, what: NotifierInput) -> None:
        row = TABLE.get((self.state, what))
        if row is None:
            logger.debug("%s has no row for %s", self, what.name)
            return
        actions, self.state = row
        for action in actions:
            self._actions[action](self)
        if self.state in (NotifierState.TERMINATED, NotifierState.GONE):
            self._stop()

    def _arm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._until = self._core.now() + self._lasts
        self._alarm = self._core.at(self._until, self._expired, self)

    def _expired(self) -> None:
        self._reason = "timeout"
        self._step(NotifierInput.EXPIRED)

    def _tell(self) -> None:
        if self._core.now() >= self._next_at:
            self._notify()
        elif self._pause is None:
            self._pause = self._core.at(self._next_at, self._paused, self)

    def _paused(self) -> None:
        self._pause = None
        self._notify()

    def _notify(self) -> None:
        if self._is_sending:
            self._is_due = True
        else:
            self._send()

    def _next(self) -> None:
        if self._is_due:
            self._is_due = False
            if self.state is NotifierState.ACTIVE:
                self._tell()
            else:
                self._send()
        elif self.state is NotifierState.TERMINATED:
            self.state = NotifierState.GONE
            self._leave()

    def _leave(self) -> None:
        self._core.remove_usage(self._dialog, self)
        self._core.usage_over(self)

    _actions: ClassVar[Mapping[NotifierAction, Callable[[Any], None]]] = {
        NotifierAction.ARM: _arm,
        NotifierAction.NOTIFY: _notify,
        NotifierAction.TELL: _tell,
        NotifierAction.NEXT: _next,
        NotifierAction.LEAVE: lambda self: self._leave(),
    }

    def _send(self) -> None:
        self._is_sending = True
        now = self._core.now()
        self._next_at = now + self._interval
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        event = self._package if self._event_id is None else f"{self._package};id={self._event_id}"
        if self.state is NotifierState.TERMINATED:
            state = f"terminated;reason={self._reason}"
        else:
            word = "pending" if self.is_pending else "active"
            state = f"{word};expires={max(0, round(self._until - now))}"
        headers = [("Event", event), ("Subscription-State", state)]
        document = self.document
        if self._says_tag:
            headers.append(("SIP-ETag", document.tag))
        # A subscriber that knows the state gets a NOTIFY without body (RFC 5839 section 5.2).
        body = b"" if self._known in ("*", document.tag) else document.write(self._version)
        self._known = None
        self._version += 1
        send_in_dialog(
            self._core,
            self._dialog,
            "NOTIFY",
            self._answered,
            owner=self,
            authenticator=self._authenticator,
            headers=headers,
            body=body,
            content_type=document.content_type if body else None,
        )

    def _answered(self, response: Response) -> None:
        self._is_sending = False
        self._failures = 0 if response.is_success else self._failures + 1
        if response.status in ENDING or self._failures >= _MAX_FAILURES:
            self._step(NotifierInput.FAILED)
            return
        if not response.is_success and self.state is NotifierState.ACTIVE and response.retry_after is not None:
            self._next_at = self._core.now() + response.retry_after
            self._is_due = True
        self._step(NotifierInput.NOTIFIED)

    def _stop(self) -> None:
        for alarm in (self._alarm, self._pause):
            if alarm is not None:
                alarm.cancel()
        self._alarm = self._pause = None
        if not self._is_over:
            self._is_over = True
            self._over()

    # ---- DialogUsage

    def claims(self, request: Request) -> bool:
        """Return True for the SUBSCRIBE that refreshes or ends the subscription."""
        event = request.event
        if request.method != "SUBSCRIBE" or event is None or self.state is not NotifierState.ACTIVE:
            return False
        return event.value.lower() == self._package and event.param("id") == self._event_id

    def on_request(self, request: ServerRequest, dialog: Dialog) -> None:
        """Process a later SUBSCRIBE: shorten its expiry to the limit; send no state already known (RFC 5839)."""
        subscribe = request.request
        wanted = subscribe.expires
        expires = int(self._longest if wanted is None else min(wanted, self._longest))
        if subscribe.suppress_if_match is not None:
            self._says_tag = True
        is_known = subscribe.suppress_if_match in ("*", self.document.tag) and not self._is_due and self._pause is None
        status = 204 if is_known else 200
        request.respond(status, (("Expires", expires),), contact=dialog.contact)
        dialog.refresh_target(subscribe)
        if expires > 0:
            self._lasts = float(expires)
            self._step(NotifierInput.UNCHANGED if is_known else NotifierInput.SUBSCRIBE)
        else:
            self._reason = "timeout"
            self._step(NotifierInput.LEFT if is_known else NotifierInput.UNSUBSCRIBE)

    def on_ack(self, ack: Request, dialog: Dialog) -> None:
        """Ignore an ACK, as the usage sends no INVITE."""

    def on_flow_lost(self, flow: Flow) -> None:
        """Ignore a lost connection: the next NOTIFY tries other routes (Dialog.hops)."""

    def on_mistake(self) -> None:
        """End the subscription without a NOTIFY after an exception in our code."""
        self.drop()
        self._leave()

    def drop(self) -> None:
        """End the subscription without a NOTIFY."""
        self.state = NotifierState.GONE
        self._stop()
