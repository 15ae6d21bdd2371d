"""The calling side of an INVITE session (RFC 3261 13.2, 9.1; RFC 3262 section 4)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from gateway.sip.alarms import Alarm
from gateway.sip.auth.account import Authenticator
from gateway.sip.dialogs.dialog import Dialog, ForkedDialogs
from gateway.sip.errors import SipError
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Answered, Ended, Failed, Provisional
from gateway.sip.invite.session import Context, InviteSession
from gateway.sip.invite.states import SessionAction, SessionInput, SessionState
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.fields import Headers
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.requests.bodies import SDP, description_or_nothing
from gateway.sip.requests.client import ClientRequest

if TYPE_CHECKING:
    from gateway.sip.user_agent import UserAgentCore

logger = logging.getLogger(__name__)

OFFER_PATIENCE = 20.0
"""Seconds that `acknowledge` may take after a 2xx with an offer, before the call is ended."""


class OutgoingSession(InviteSession):
    """A call of ours: `make` builds the INVITE with a given CSeq, `target` says where it goes."""

    role: Literal["uac", "uas"] = "uac"

    def __init__(
        self,
        core: UserAgentCore,
        invite: Request,
        target: Uri | Flow,
        *,
        authenticator: Authenticator | None,
        timeout: float,
    ) -> None:
        fallback = target if isinstance(target, Flow) else Flow("udp", "", 0)
        super().__init__(core, invite, invite.from_, invite.to, fallback)
        self._target = target
        self._timeout = timeout
        self._cseq = invite.cseq.number - 1
        self._forks = ForkedDialogs(invite)
        self._acks: dict[str, bytes] = {}
        self._acked_by_user = bool(invite.body)
        self._cause: Failed | None = None
        self._alarm: Alarm | None = None
        self._rseq: dict[str, int] = {}
        self._too_small = False
        self.local_body = invite.body
        self.authenticator = authenticator
        self._client = ClientRequest(
            core, self._make, self._final, provisional=self._provisional, authenticator=authenticator
        )

    def begin(self) -> None:
        """Send the INVITE."""
        self.step(SessionInput.CALL)

    def answer_offer(self, exchange: int, body: bytes) -> None:
        """Answer the peer's offer; to that of the 2xx to an INVITE without one the answer goes out in the ACK."""
        if exchange == 1:
            self._acknowledge(body)
        else:
            super().answer_offer(exchange, body)

    def _acknowledge(self, body: bytes) -> None:
        dialog = self.dialog
        if self._acked_by_user or dialog is None or self.is_over:
            logger.info("no 2xx waits for an answer")
            return
        self._acked_by_user = True
        self.local_body = body
        self._stop_alarm()
        self._send_ack(dialog, body)
        self.core.wake()

    def dialog_target(self, dialog: Dialog) -> Any:
        if not dialog.route_set and isinstance(self._target, Flow):
            return self._target
        return self.core.hop_of(dialog.route())

    # ---- actions of the session table

    def _send_invite(self, context: Context) -> None:
        if self._timeout > 0:
            self._alarm = self.core.at(self.core.now() + self._timeout, self._no_answer)
        self.core.begin_at(self._client, self._target)

    def _make(self) -> Request:
        """The INVITE with the next CSeq; a retry after a challenge or 422 is a new request (RFC 3261 22.2)."""
        self._cseq += 1
        headers = self.request.headers.with_("CSeq", f"{self._cseq} INVITE")
        headers = headers.without("Session-Expires", "Min-SE")
        for name, value in self.timer.request_headers():
            headers = headers.add(name, value)
        self.request = self.request.with_headers(headers)
        self._forks = ForkedDialogs(self.request)
        return self.request

    def _send_cancel(self, context: Context) -> None:
        transaction = self._client.transaction
        if transaction is None:
            return
        now = self.core.now()
        self.core.stack.send_cancel(transaction, context.headers, now)
        # Without a final response in 64*T1 the INVITE counts as over (RFC 3261 9.1).
        self._stop_alarm()
        self._alarm = self.core.at(now + self.core.config.stack.timers.timeout, self._cancel_unanswered)

    def _ack(self, context: Context) -> None:
        dialog = context.dialog
        assert dialog is not None
        known = self._acks.get(dialog.id.remote_tag)
        if known is not None:
            self._resend(known, dialog)
        elif self._acked_by_user or self.machine.state is not SessionState.CONFIRMED:
            self._send_ack(dialog, b"")

    def _send_ack(self, dialog: Dialog, body: bytes) -> None:
        ack = dialog.ack(
            self.request.cseq.number,
            headers=self._client.credentials,
            body=body,
            content_type=SDP if body else None,
        )

        def send(flow: Flow) -> None:
            self._acks[dialog.id.remote_tag] = self.core.stack.send_ack(ack, flow)

        self._to_peer(dialog, send)

    def _resend(self, data: bytes, dialog: Dialog) -> None:
        self._to_peer(dialog, lambda flow: self.core.stack.send(data, flow))

    def _to_peer(self, dialog: Dialog, send: Callable[[Flow], None]) -> None:
        def located(flows: tuple[Flow, ...]) -> None:
            if flows:
                send(flows[0])
                self.core.wake()

        self.core.locate(self.dialog_target(dialog), located)

    def _end_branch(self, context: Context) -> None:
        """Another branch answered too: acknowledge it and end it (RFC 3261 13.2.2.4)."""
        dialog = context.dialog
        assert dialog is not None
        tag = dialog.id.remote_tag
        if tag in self._acks:
            self._resend(self._acks[tag], dialog)
            return
        self.core.counts["answer of another branch"] += 1
        self._send_ack(dialog, b"")
        self.end_dialog(dialog)

    def _tell_ringing(self, context: Context) -> None:
        response = context.response
        if response is not None and response.status > 100:
            body = description_or_nothing(response)
            self.emit(Provisional(response.status, response.phrase, body, 1 if body else None))

    def _tell_answered(self, context: Context) -> None:
        assert context.response is not None
        body = description_or_nothing(context.response)
        if not self._acked_by_user:
            self._stop_alarm()
            self._alarm = self.core.at(self.core.now() + OFFER_PATIENCE, self._not_acknowledged)
        self.emit(Answered(body, 1, not self._acked_by_user))

    def tell_ended(self, context: Context) -> None:
        """TELL_ENDED: `Failed` for a call that never was, `Ended` where we hung up or it was answered."""
        self._stop_alarm()
        for dialog in self._forks.give_up():
            self.core.forget_dialog(dialog)
        if self._cause is not None:
            self.emit_last(self._cause)
        elif context.response is not None and not context.response.is_success and not self._gave_up:
            response = context.response
            self.emit_last(Failed(response.status, response.phrase, response.headers))
        else:
            self.emit_last(context.ended)

    _gave_up = False

    actions = {  # noqa: RUF012
        SessionAction.SEND_INVITE: _send_invite,
        SessionAction.SEND_CANCEL: _send_cancel,
        SessionAction.SEND_ACK: _ack,
        SessionAction.SEND_BYE: InviteSession.send_bye,
        SessionAction.END_BRANCH: _end_branch,
        SessionAction.ANSWER_BYE: InviteSession.answer_bye,
        SessionAction.TELL_RINGING: _tell_ringing,
        SessionAction.TELL_ANSWERED: _tell_answered,
        SessionAction.TELL_ENDED: tell_ended,
    }

    # ---- what happens

    def hangup(self, reason_header: str | None = None) -> None:
        """End it: CANCEL (as soon as that is allowed) or BYE; idempotent."""
        self._gave_up = True
        self._give_up()
        super().hangup(reason_header)
        if self._client.transaction is None:
            self.step(SessionInput.FAILURE)

    def _give_up(self) -> None:
        if not self.is_confirmed:
            self._client.abandon()

    def _provisional(self, response: Response) -> None:
        self._note_peer(response)
        dialog = self._early_dialog(response)
        fresh = self._acknowledge_provisional(response, dialog)
        if fresh:
            self.step(SessionInput.PROVISIONAL, Context(response=response))

    def _early_dialog(self, response: Response) -> Dialog | None:
        try:
            dialog = self._forks.receive(response)
        except SipError:
            self.core.counts["1xx that makes no dialog"] += 1
            return None
        if dialog is not None:
            self.core.add_dialog(dialog, self)
            if self.dialog is None:
                self.dialog = dialog
        return dialog

    def _acknowledge_provisional(self, response: Response, dialog: Dialog | None) -> bool:
        """PRACK a reliable 1xx, in order (RFC 3262 section 4); False for one to be passed over."""
        rseq = response.rseq
        if dialog is None or rseq is None or "100rel" not in [tag.lower() for tag in response.require]:
            return True
        tag = dialog.id.remote_tag
        last = self._rseq.get(tag)
        if last is not None and rseq != last + 1:
            self.core.counts["reliable 1xx again or out of order"] += 1
            return False
        self._rseq[tag] = rseq
        rack = f"{rseq} {response.cseq.number} INVITE"
        self.send_in_dialog("PRACK", self._pracked, headers=(("RAck", rack),), dialog=dialog)
        return True

    def _pracked(self, response: Response) -> None:
        """The outcome of a PRACK matters only to the callee, who gives up without one."""

    def _final(self, response: Response) -> None:
        self._note_peer(response)
        if response.is_success:
            self._success(response)
            return
        self._stop_alarm()
        if response.status == 422 and not self._too_small and self.machine.state is not SessionState.CANCELLING:
            self._too_small = True
            if self.timer.too_small(response) and self._client.flow is not None:
                self._client.begin((self._client.flow,))
                return
        self.step(SessionInput.FAILURE, Context(response=response, dialog=self.dialog))

    def _success(self, response: Response) -> None:
        try:
            dialog = self._forks.receive(response)
        except SipError as error:
            if self._forks.confirmed is not None:
                self.core.counts["2xx of too many branches"] += 1
                return
            # Without a Contact nobody could be sent an ACK.
            logger.info("2xx makes no dialog: %s", error)
            self._cause = Failed(502, "Bad Gateway", Headers())
            self.step(SessionInput.FAILURE)
            return
        assert dialog is not None
        self.core.add_dialog(dialog, self)
        if dialog is not self._forks.confirmed:
            self.step(SessionInput.LATER_SUCCESS, Context(response=response, dialog=dialog))
            return
        first = dialog.id.remote_tag not in self._acks and self.machine.state is not SessionState.CONFIRMED
        if first:
            self._stop_alarm()
            self.dialog = dialog
            self.remote: NameAddr = dialog.remote
            for other in self._forks.early:
                self.core.forget_dialog(other)
            self.timer.accepted(response, self.core.now())
        self.step(SessionInput.SUCCESS, Context(response=response, dialog=dialog, ended=self._ended()))
        if first:
            self.arm_timer()

    def _ended(self) -> Ended:
        return Ended("local") if self._gave_up else Ended("timeout", 408)

    def _note_peer(self, response: Response) -> None:
        if self._client.flow is not None:
            self.source = self._client.flow
        if response.allow:
            self.peer_allows = frozenset(response.allow)

    def _no_answer(self) -> None:
        self._cause = Failed(408, "No answer", Headers())
        self._give_up()
        self.step(SessionInput.HANG_UP, Context(headers=(("Reason", 'SIP;cause=408;text="No answer"'),)))
        if self._client.transaction is None:
            self.step(SessionInput.FAILURE)

    def _cancel_unanswered(self) -> None:
        self.step(SessionInput.FAILURE, Context(response=Response(408, "Request Timeout")))

    def _not_acknowledged(self) -> None:
        self._acked_by_user = True
        if self.dialog is not None:
            self._send_ack(self.dialog, b"")
        self.step(SessionInput.LOST, Context(ended=Ended("error", 500)))

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
