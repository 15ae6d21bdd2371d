"""The called side of an INVITE session (RFC 3261 13.3; RFC 3262 section 3)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from gateway.sip.alarms import Alarm
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.errors import SipBuildError
from gateway.sip.flow import Flow, is_ip_address
from gateway.sip.invite.events import Confirmed, Ended
from gateway.sip.invite.provisional import ReliableProvisionals
from gateway.sip.invite.session import Context, InviteSession, ended_by_peer
from gateway.sip.invite.states import SessionAction, SessionInput, SessionState
from gateway.sip.invite.success import Success
from gateway.sip.message import build
from gateway.sip.message.message import Request, Response
from gateway.sip.requests.bodies import SDP, description_of, description_or_nothing
from gateway.sip.transactions import Transaction

if TYPE_CHECKING:
    from gateway.sip.user_agent import UserAgentCore

logger = logging.getLogger(__name__)

KEEP_RINGING = 60.0
"""Seconds after which a provisional response is repeated, so that proxies keep the INVITE alive (13.3.1.1)."""


class IncomingSession(InviteSession):
    """A call that came in; raises DialogError or SipSyntaxError when the INVITE can make no dialog."""

    role: Literal["uac", "uas"] = "uas"

    def __init__(
        self, core: UserAgentCore, transaction: Transaction, request: Request, source: Flow, identity: str | None
    ) -> None:
        description_of(request)
        tag = core.token()
        dialog = Dialog.of_uas(request, tag, core.contact(source, request.uri.user))
        super().__init__(core, request, dialog.local, dialog.remote, source)
        self.identity = identity
        self.dialog = dialog
        self.peer_allows = frozenset(request.allow)
        self._tag = tag
        self._transaction = transaction
        self._success: Success | None = None
        self._deferred: bytes | None = None
        self._reliable: ReliableProvisionals | None = None
        self._reliable_body = b""
        self._symmetric = core.config.symmetric and len(request.via) == 1
        self._takes_reliable = "100rel" in [one.lower() for one in request.supported]
        self._wants_reliable = "100rel" in [one.lower() for one in request.require]
        self._ringing: Alarm | None = None
        self._give_up: Alarm | None = None
        if core.config.longest_ringing > 0:
            self._give_up = core.at(core.now() + core.config.longest_ringing, self._rang_too_long)
        core.add_dialog(dialog, self)
        self.machine.step(SessionInput.INVITED)
        transaction.user = self

    # ---- the application's side

    @property
    def initial_offer(self) -> bytes:
        """The session description of the INVITE, b"" where it asks for ours."""
        return description_of(self.request)

    def ring(self, status: int = 180, reason: str | None = None, body: bytes | None = None) -> None:
        """Send a 101-199, reliably where the caller wants that or a body goes with it; ValueError for others."""
        if not 100 < status < 200:
            raise ValueError("a ringing response is 101 to 199")
        self.step(SessionInput.RING, Context(status=status, phrase=reason, body=body or b""))
        self.core.wake()

    def answer(self, body: bytes) -> None:
        """Send 200 with `body`: the answer to the caller's offer, or the offer where it made none."""
        if self._reliable is not None and self._reliable.pending:
            # RFC 3262 section 3: not before a reliable 1xx with a description is acknowledged.
            self._deferred = body
        else:
            self.step(SessionInput.ACCEPT, Context(body=body))
        self.core.wake()

    def reject(self, status: int, reason: str | None = None, headers: build.Fields = ()) -> None:
        """Send a 300-699; ValueError for others."""
        if not 300 <= status < 700:
            raise ValueError("a rejection is 300 to 699")
        self.step(SessionInput.REJECT, Context(status=status, phrase=reason, headers=headers))
        self.core.wake()

    # ---- actions of the session table

    def _response(self, context: Context, status: int, body: bytes = b"", headers: build.Fields = ()) -> Response:
        dialog = self.dialog
        return build.response(
            self.request,
            status,
            context.phrase,
            to_tag=self._tag,
            contact=dialog.contact if dialog is not None and status < 300 else None,
            headers=(*headers, *self.core.server_fields()),
            body=body,
            content_type=SDP if body else None,
        )

    def _send_provisional(self, context: Context) -> None:
        response = self._response(context, context.status, context.body, (("Allow", self.core.allow),))
        if self._wants_reliable or (self._takes_reliable and context.body):
            if self._reliable is None:
                self._reliable = ReliableProvisionals(self.core, self._transaction, self._no_prack)
            self._reliable_body = context.body or self._reliable_body
            self._reliable.send(response)
        else:
            self.core.stack.respond(self._transaction, response, self.core.now())
        if self._ringing is None:
            self._ringing = self.core.at(self.core.now() + KEEP_RINGING, self._ring_on)

    def _ring_on(self) -> None:
        self._ringing = None
        if self.machine.state is SessionState.INCOMING and not (self._reliable and self._reliable.pending):
            if self._transaction.last is not None and not self._wants_reliable:
                self.core.stack.send(self._transaction.last, self._transaction.flow)
            self._ringing = self.core.at(self.core.now() + KEEP_RINGING, self._ring_on)

    def _send_success(self, context: Context) -> None:
        assert self.dialog is not None
        self._stop_ringing()
        now = self.core.now()
        fields = self.timer.accept(self.request, now)
        self.dialog.confirm()
        # What a reliable 1xx has answered is not answered again (RFC 6337 section 3.1.1).
        body = b"" if context.body and context.body == self._reliable_body else context.body
        self.local_body = context.body
        response = self._response(context, 200, body, (*self.core.capabilities(), *fields))
        self._success = Success(self.core, self._transaction, response, self._not_acknowledged)
        self.arm_timer()

    def _send_failure(self, context: Context) -> None:
        self._fail(context, context.status or 480)
        self.emit_last(context.ended)

    def _send_terminated(self, context: Context) -> None:
        self._fail(Context(), 487)

    def _fail(self, context: Context, status: int) -> None:
        self._stop_ringing()
        try:
            response = self._response(context, status, headers=context.headers)
        except SipBuildError as error:
            self.core.log_own_mistake(error)
            response = self._response(Context(), status)
        self.core.stack.respond(self._transaction, response, self.core.now())
        if self.dialog is not None:
            self.dialog.terminate()
            self.core.forget_dialog(self.dialog)

    def _tell_established(self, context: Context) -> None:
        self.emit(Confirmed(context.body, 1 if context.body else None))

    def _end(self, context: Context) -> None:
        if self._success is not None:
            self._success.acknowledge()
        self.tell_ended(context)

    actions = {  # noqa: RUF012
        SessionAction.SEND_PROVISIONAL: _send_provisional,
        SessionAction.SEND_SUCCESS: _send_success,
        SessionAction.SEND_FAILURE: _send_failure,
        SessionAction.SEND_TERMINATED: _send_terminated,
        SessionAction.SEND_BYE: InviteSession.send_bye,
        SessionAction.ANSWER_BYE: InviteSession.answer_bye,
        SessionAction.TELL_ESTABLISHED: _tell_established,
        SessionAction.TELL_ENDED: _end,
    }

    # ---- what happens

    def dialog_target(self, dialog: Dialog) -> Any:
        """The route; without one a caller that speaks for itself is reached where it spoke from (NAT)."""
        if dialog.route_set:
            return self.core.hop_of(dialog.route())
        host = dialog.remote_target.host
        if self.source.reliable or (self._symmetric and is_ip_address(host) and host.strip("[]") != self.source.host):
            return self.source
        return dialog.remote_target

    def on_ack(self, ack: Request) -> None:
        success = self._success
        if success is None or ack.cseq.number != success.cseq:
            super().on_ack(ack)
            return
        if success.pending:
            success.acknowledge()
            self.step(SessionInput.ACKNOWLEDGED, Context(body=description_or_nothing(ack)))

    def on_cancel(self, transaction: Transaction, cancel: Request) -> None:
        if transaction is self._transaction:
            self.step(SessionInput.CANCELLED, Context(ended=ended_by_peer(cancel)))
        else:
            super().on_cancel(transaction, cancel)

    def on_prack(self, transaction: Transaction, request: Request, dialog: Dialog) -> None:
        if self._reliable is None or not self._reliable.acknowledge(request, self.request):
            self.respond(transaction, 481)
            return
        self.respond(transaction, 200)
        if self._deferred is not None and not self._reliable.pending:
            body, self._deferred = self._deferred, None
            self.step(SessionInput.ACCEPT, Context(body=body))

    def _no_prack(self) -> None:
        self.step(SessionInput.LOST, Context(status=504, ended=Ended("timeout", 504, text="No PRACK")))

    def _rang_too_long(self) -> None:
        self.step(SessionInput.LOST, Context(status=480, ended=Ended("timeout", 480, text="Rang too long")))

    def _not_acknowledged(self) -> None:
        self.step(SessionInput.NOT_ACKNOWLEDGED, Context(ended=Ended("timeout", 408, text="No ACK")))

    def _stop_ringing(self) -> None:
        for alarm in (self._ringing, self._give_up):
            if alarm is not None:
                alarm.cancel()
        if self._reliable is not None:
            self._reliable.stop()
