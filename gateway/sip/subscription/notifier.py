"""A subscription that we serve, inside a dialog (RFC 6665 section 4.2)."""

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
from gateway.sip.subscription.states import TABLE, NotifierAction, NotifierInput, NotifierState

logger = logging.getLogger(__name__)


class Notifier:
    """Tells one subscriber what a package says, one NOTIFY at a time; a usage of the subscriber's dialog.

    What is told is `body` when the NOTIFY goes out: of changes that come faster than answers only the last is said.
    """

    def __init__(
        self,
        core: Core,
        dialog: Dialog,
        *,
        package: str,
        number: int | None,
        content_type: str,
        lasts: float,
        authenticator: Authenticator | None,
    ) -> None:
        """`number` is the id parameter of its Event (RFC 6665 section 8.2.1), `lasts` its seconds."""
        self.state = NotifierState.IDLE
        self.body = b""
        self._core = core
        self._dialog = dialog
        self._package = package
        self._number = number
        self._content_type = content_type
        self._lasts = lasts
        self._authenticator = authenticator
        self._until = 0.0
        self._reason = ""
        """Why it is over, in the words of RFC 6665 section 4.1.3."""
        self._alarm: Alarm[DialogUsage | None] | None = None
        self._is_sending = False
        self._is_due = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._package}, {self.state.name})"

    # ---- what our side does

    def tell(self, body: bytes) -> None:
        """There is news."""
        if self.state is NotifierState.ACTIVE:
            self.body = body
            self._step(NotifierInput.CHANGED)
            self._core.wake()

    def end(self, body: bytes, reason: str) -> None:
        """The last news; `reason` tells the subscriber why there are no more (RFC 6665 section 4.1.3)."""
        if self.state is NotifierState.ACTIVE:
            self.body, self._reason = body, reason
            self._step(NotifierInput.FINISH)
            self._core.wake()

    def _begin(self, body: bytes) -> None:
        """It is accepted: the first NOTIFY follows the response at once (RFC 6665 section 4.2.1.4)."""
        self.body = body
        self._core.add_usage(self._dialog, self)
        self._step(NotifierInput.ACCEPT)

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
            self._stop_alarm()

    def _arm(self) -> None:
        self._stop_alarm()
        self._until = self._core.now() + self._lasts
        self._alarm = self._core.at(self._until, self._expired, self)

    def _expired(self) -> None:
        self._reason = "timeout"
        self._step(NotifierInput.EXPIRED)

    def _notify(self) -> None:
        if self._is_sending:
            self._is_due = True
        else:
            self._send()

    def _next(self) -> None:
        if self._is_due:
            self._is_due = False
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
        NotifierAction.NEXT: _next,
        NotifierAction.LEAVE: lambda self: self._leave(),
    }

    def _send(self) -> None:
        self._is_sending = True
        event = self._package if self._number is None else f"{self._package};id={self._number}"
        if self.state is NotifierState.TERMINATED:
            state = f"terminated;reason={self._reason}"
        else:
            state = f"active;expires={max(0, round(self._until - self._core.now()))}"
        send_in_dialog(
            self._core,
            self._dialog,
            "NOTIFY",
            self._answered,
            owner=self,
            authenticator=self._authenticator,
            headers=(("Event", event), ("Subscription-State", state)),
            body=self.body,
            content_type=self._content_type,
        )

    def _answered(self, response: Response) -> None:
        self._is_sending = False
        self._step(NotifierInput.NOTIFIED if response.is_success else NotifierInput.FAILED)

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    # ---- DialogUsage

    def claims(self, request: Request) -> bool:
        """Whether this is the SUBSCRIBE that refreshes it or ends it."""
        event = request.event
        if request.method != "SUBSCRIBE" or event is None or self.state is not NotifierState.ACTIVE:
            return False
        number = event.param("id")
        return event.value.lower() == self._package and number == (None if self._number is None else str(self._number))

    def on_request(self, request: ServerRequest, dialog: Dialog) -> None:
        """Its SUBSCRIBE; a longer time than it has is not given."""
        wanted = request.request.expires
        expires = int(self._lasts if wanted is None else min(wanted, self._lasts))
        request.respond(200, (("Expires", expires),), contact=dialog.contact)
        dialog.refresh_target(request.request)
        if expires > 0:
            self._lasts = float(expires)
            self._step(NotifierInput.SUBSCRIBE)
        else:
            self._reason = "timeout"
            self._step(NotifierInput.UNSUBSCRIBE)

    def on_ack(self, ack: Request, dialog: Dialog) -> None:
        """No INVITE of ours."""

    def on_flow_lost(self, flow: Flow) -> None:
        """The next NOTIFY looks for another way (Dialog.hops)."""

    def on_mistake(self) -> None:
        """Code of ours failed on its behalf: nothing more is said."""
        self.drop()
        self._leave()

    def drop(self) -> None:
        """End it without a word."""
        self.state = NotifierState.GONE
        self._stop_alarm()
