"""Subscription of ours, from its SUBSCRIBE to its last NOTIFY (RFC 6665 section 4.1)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from gateway.sip.alarms import Alarm
from gateway.sip.auth.account import Authenticator
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.dialogs.ports import Core, Hop
from gateway.sip.dialogs.requests import send_in_dialog
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.errors import DialogError
from gateway.sip.flow import Flow
from gateway.sip.message.addresses import CSeq
from gateway.sip.message.message import Request, Response
from gateway.sip.requests.client import ClientRequest
from gateway.sip.requests.server import ServerRequest
from gateway.sip.subscription.notifier import ENDING
from gateway.sip.subscription.subscriber_states import TABLE, SubscriberAction, SubscriberInput, SubscriberState

logger = logging.getLogger(__name__)

_MARGIN = 60.0
"""Seconds before expiry at which a subscription is refreshed; at half its duration if shorter."""
_RETRY = 30.0
"""Seconds before a failed refresh is retried."""
_SEVERAL = frozenset(("dialog",))
"""Packages with several subscriptions per forked SUBSCRIBE (RFC 4235 section 3.9)."""
_MAX_BRANCHES = 20
"""Branches of one fork ended by their own SUBSCRIBE."""


@dataclass(frozen=True, slots=True)
class Notified:
    """A NOTIFY arrived and was answered; `state`: "active", "pending" or "terminated"."""

    state: str
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class SubscriptionOver:
    """The subscription ended.

    `status`: the rejecting response, 408 without response, 200 after an end by the notifier, with its `reason` and
    `retry_after` seconds.
    """

    status: int
    reason: str = ""
    retry_after: int | None = None


SubscriberEvent = Notified | SubscriptionOver


class Subscriber:
    """Subscription in one dialog: after forking, of the notifier that answers first (RFC 6665 section 4.1.4).

    Later notifiers get 481 if the package allows one subscription; otherwise 200, and a SUBSCRIBE ends their
    subscription (section 5.4.9). `events` gets any number of `Notified`, then one `SubscriptionOver`.
    """

    def __init__(
        self,
        core: Core,
        subscribe: Request,
        events: Callable[[SubscriberEvent], None],
        *,
        identity: str | None,
        authenticator: Authenticator | None,
        forget: Callable[[], object],
    ) -> None:
        """`subscribe` has no Via, and CSeq 1; `forget` is called once, when no more NOTIFYs are expected."""
        event = subscribe.event
        assert event is not None, "a SUBSCRIBE of ours has an Event"
        self.state = SubscriberState.WAITING
        self.identity = identity
        """Identity of the notifier as authenticated."""
        self._core = core
        self._subscribe = subscribe
        self._package = event.value.lower()
        self._events = events
        self._authenticator = authenticator
        self._forget = forget
        self._expires = subscribe.expires or 0
        self._cseq = subscribe.cseq.number - 1
        self._client = ClientRequest(core, self._make, self._answered, owner=self, authenticator=authenticator)
        self._dialog: Dialog | None = None
        self._branches: set[str] = set()
        """Tags of notifiers with an ended subscription."""
        self._until = 0.0
        self._over = SubscriptionOver(408)
        self._notified = Notified("", "", b"")
        self._alarm: Alarm[DialogUsage | None] | None = None
        self._end_alarm: Alarm[DialogUsage | None] | None = None
        self._is_refreshing = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._package}, {self.state.name})"

    # ---- interface for the application

    def begin(self, hop: Hop) -> None:
        """Send the SUBSCRIBE."""
        self._client.begin(hop)

    def refresh(self) -> None:
        """Request the full state again."""
        self._step(SubscriberInput.REFRESH_DUE)
        self._core.wake()

    def end(self) -> None:
        """End the subscription."""
        self._step(SubscriberInput.END)
        self._core.wake()

    # ---- the table

    def _step(self, what: SubscriberInput) -> None:
        row = TABLE.get((self.state, what))
        if row is None:
            logger.debug("%s has no row for %s", self, what.name)
            return
        actions, self.state = row
        for action in actions:
            self._actions[action](self)

    def _await(self) -> None:
        timers = self._core.config.stack.timers
        self._set_alarm(self._core.now() + 64 * timers.t1, SubscriberInput.SILENCE)

    def _arm(self) -> None:
        now = self._core.now()
        left = max(0.0, self._until - now)
        self._set_alarm(now + max(left / 2, left - _MARGIN), SubscriberInput.REFRESH_DUE)
        if self._end_alarm is not None:
            self._end_alarm.cancel()
        self._end_alarm = self._core.at(self._until, lambda: self._step(SubscriberInput.EXPIRED), self)

    def _set_alarm(self, deadline: float, what: SubscriberInput) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._core.at(deadline, lambda: self._step(what), self)

    def _tell(self) -> None:
        self._events(self._notified)

    def _refresh(self) -> None:
        if not self._is_refreshing:
            self._send(self._expires)

    def _leave(self) -> None:
        self._send(0)

    def _stop(self) -> None:
        self._client.abandon()
        self._cease()
        self._events(self._over)

    _actions: ClassVar[Mapping[SubscriberAction, Callable[[Any], None]]] = {
        SubscriberAction.AWAIT: _await,
        SubscriberAction.ARM: _arm,
        SubscriberAction.TELL: _tell,
        SubscriberAction.REFRESH: _refresh,
        SubscriberAction.LEAVE: _leave,
        SubscriberAction.STOP: _stop,
    }

    # ---- requests of ours

    def _make(self, flow: Flow) -> Request:
        self._cseq += 1
        contact = self._subscribe.contact
        user = contact.uri.user if contact is not None else None
        request = self._subscribe.with_header("CSeq", CSeq(self._cseq, "SUBSCRIBE"))
        request = request.with_header("Contact", self._core.contact(flow, user))
        return request.with_header("Expires", self._expires)

    def _answered(self, response: Response) -> None:
        if response.is_success:
            granted = self._expires if response.expires is None else min(response.expires, self._expires)
            self._until = self._core.now() + granted
            self._step(SubscriberInput.ACCEPTED)
            return
        if self._is_to_last_longer(response) and self._client.again():
            return
        self._over = SubscriptionOver(response.status, retry_after=response.retry_after)
        self._step(SubscriberInput.REFUSED)

    def _is_to_last_longer(self, response: Response) -> bool:
        """Return True if a longer expiry may be requested (423, RFC 6665 section 4.1.2.1)."""
        wanted = response.min_expires
        if response.status != 423 or wanted is None or not self._expires < wanted < 86_400:
            return False
        self._expires = wanted
        return True

    def _send(self, expires: int) -> None:
        dialog = self._dialog
        assert dialog is not None
        self._is_refreshing = True
        headers = [(name, self._subscribe.headers.get(name) or "") for name in ("Event", "Accept")]
        send_in_dialog(
            self._core,
            dialog,
            "SUBSCRIBE",
            lambda response: self._refreshed(response, expires),
            owner=self,
            authenticator=self._authenticator,
            headers=[*[field for field in headers if field[1]], ("Expires", expires)],
        )

    def _refreshed(self, response: Response, expires: int) -> None:
        self._is_refreshing = False
        if response.is_success:
            granted = expires if response.expires is None else min(response.expires, expires)
            self._until = self._core.now() + granted
            self._step(SubscriberInput.REFRESHED)
        elif response.status in ENDING or self.state is SubscriberState.LEAVING:
            # The application may subscribe again at once (section 4.1.3).
            self._over = SubscriptionOver(200, "deactivated")
            self._step(SubscriberInput.LOST)
        elif self.state is SubscriberState.ACTIVE and self._is_to_last_longer(response):
            self._send(self._expires)
        else:
            # The subscription lasts as long as granted (section 4.1.2.2).
            self._set_alarm(self._core.now() + (response.retry_after or _RETRY), SubscriberInput.REFRESH_DUE)

    # ---- received requests

    def expects(self, notify: Request) -> bool:
        """Return True if a NOTIFY may create a dialog: the first, or a forked one if the package allows several."""
        if self._dialog is None:
            return self.state is SubscriberState.WAITING
        is_left = notify.from_tag in self._branches or len(self._branches) >= _MAX_BRANCHES
        return self._package in _SEVERAL and not is_left

    def asked_at(self, source: Flow) -> bool:
        """Return True if `source` is the destination of the SUBSCRIBE."""
        flow = self._client.flow
        return flow is not None and (flow.transport, flow.host) == (source.transport, source.host)

    def first_notify(self, request: ServerRequest) -> None:
        """Process a NOTIFY that creates a dialog; raise DialogError if impossible."""
        sent = self._client.request or self._subscribe
        if self._dialog is None:
            self._begin_dialog(request, sent, self._cseq)
            return
        branch = Subscriber(
            self._core,
            self._subscribe,
            lambda event: None,
            identity=self.identity,
            authenticator=self._authenticator,
            forget=lambda: None,
        )
        branch._begin_dialog(request, sent, self._cseq)
        self._branches.add(request.request.from_tag or "")
        branch.end()

    def _begin_dialog(self, request: ServerRequest, sent: Request, cseq: int) -> None:
        notify = request.request
        if not self.claims(notify) or notify.subscription_state is None:
            raise DialogError("the NOTIFY is not of this subscription", status=481)
        dialog = Dialog.of_notify(self._subscribe, notify, request.source)
        dialog.local_cseq = cseq
        dialog.contact = sent.contact
        dialog.identity = self.identity
        dialog.receive(notify)
        self._dialog = dialog
        self._core.add_usage(dialog, self)
        self.on_request(request, dialog)

    def claims(self, request: Request) -> bool:
        """Claim a NOTIFY of the subscription's package."""
        event = request.event
        if request.method != "NOTIFY" or event is None or self.state is SubscriberState.OVER:
            return False
        return event.value.lower() == self._package and event.param("id") is None

    def on_request(self, request: ServerRequest, dialog: Dialog) -> None:
        """Process a NOTIFY; reject one without Subscription-State with 400."""
        notify = request.request
        state = notify.subscription_state
        if state is None:
            raise DialogError("a NOTIFY has a Subscription-State", status=400)
        request.respond(200)
        dialog.refresh_target(notify)
        kind = notify.content_type
        word = state.value.lower()
        self._notified = Notified(word, str(kind) if kind is not None else "", notify.body if kind is not None else b"")
        if word == "terminated":
            self._over = SubscriptionOver(
                200, (state.param("reason") or "").lower(), _seconds(state.param("retry-after"))
            )
            self._step(SubscriberInput.ENDED)
            return
        said = _seconds(state.param("expires"))
        if said is not None:
            # The notifier may shorten the expiry at any time (section 4.1.3).
            now = self._core.now()
            self._until = min(self._until, now + said) if self._until else now + min(said, self._expires)
        elif not self._until:
            self._until = self._core.now() + self._expires
        self._step(SubscriberInput.NOTIFIED)

    def on_ack(self, ack: Request, dialog: Dialog) -> None:
        """Ignore an ACK, as the usage sends no INVITE."""

    def on_flow_lost(self, flow: Flow) -> None:
        """Ignore a lost connection: the next SUBSCRIBE tries other routes (Dialog.hops)."""

    def on_mistake(self) -> None:
        """End the subscription after an exception in our code; later NOTIFYs are answered 481."""
        self.drop()

    def drop(self) -> None:
        """End the subscription without a SUBSCRIBE."""
        self.state = SubscriberState.OVER
        self._client.abandon()
        self._cease()

    def _cease(self) -> None:
        for alarm in (self._alarm, self._end_alarm):
            if alarm is not None:
                alarm.cancel()
        self._alarm = self._end_alarm = None
        if self._dialog is not None:
            self._core.remove_usage(self._dialog, self)
        self._forget()
        self._core.usage_over(self)


def _seconds(text: str | None) -> int | None:
    """Return a parameter's number of seconds; None if absent or malformed."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else None
