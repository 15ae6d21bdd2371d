"""Calling side of an INVITE session (RFC 3261 13.2, 9.1; RFC 3262 section 4)."""

from __future__ import annotations

import logging
import weakref
from dataclasses import replace
from typing import Literal

from gateway.sip.alarms import Alarm
from gateway.sip.auth.account import Authenticator
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.dialogs.forks import ForkedDialogs
from gateway.sip.dialogs.ports import Core, Hop
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.errors import DialogError
from gateway.sip.flow import Flow
from gateway.sip.invite.acknowledgement import Acknowledgement
from gateway.sip.invite.branch import Branch
from gateway.sip.invite.context import MISTAKE, Context
from gateway.sip.invite.events import Answered, Ended, Failed, Provisional, SessionEvent
from gateway.sip.invite.modify import Modification
from gateway.sip.invite.offer_answer import Carrier, Meaning
from gateway.sip.invite.provisional import is_reliable, rack_of
from gateway.sip.invite.session import FIRST, InviteSession
from gateway.sip.invite.states import SessionAction, SessionInput, SessionState
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.fields import Headers
from gateway.sip.message.message import Request, Response
from gateway.sip.requests.bodies import SDP, description_or_nothing
from gateway.sip.requests.client import ClientRequest
from gateway.sip.transactions import Transaction

logger = logging.getLogger(__name__)


class OutgoingSession(InviteSession):
    """Outgoing call: sends `invite` to `target`, and retries with the next CSeq as needed."""

    role: Literal["uac", "uas"] = "uac"

    def __init__(
        self,
        core: Core,
        invite: Request,
        target: Hop,
        *,
        authenticator: Authenticator | None,
        timeout: float,
        family: int = 0,
        identity: str | None = None,
    ) -> None:
        fallback = target if isinstance(target, Flow) else Flow("udp", "", 0)
        super().__init__(core, invite.call_id, invite.from_, invite.to, fallback)
        self.request = invite
        self.identity = identity
        self.authenticator = authenticator
        self._target = target
        self._timeout = timeout
        self._cseq = invite.cseq.number - 1
        self._forks = ForkedDialogs(invite)
        self._too_small = False
        self._branches: dict[str, Branch] = {}
        self._shown: Branch | None = None  # last branch whose description the application received
        self._cause: Failed | None = None
        self._alarm: Alarm[DialogUsage | None] | None = None
        self._gave_up = False
        self._rivals: list[Response] | None = None  # 2xx held while the first answer is checked
        self._farewell: build.Fields = ()
        """Reason of our hangup, for a CANCEL that waits for a 1xx, or a BYE after a crossing 2xx."""
        self._client = ClientRequest(
            core,
            self._make,
            self._final,
            owner=self,
            provisional=self._provisional,
            retried=self._retried,
            sent=lambda: self.changed(),
            authenticator=authenticator,
            family=family,
        )

    def begin(self) -> None:
        """Send the INVITE."""
        self.step(SessionInput.CALL)

    def step(self, what: SessionInput, context: Context | None = None) -> bool:
        if what is SessionInput.HANG_UP and context is not None:
            self._farewell = context.headers
        return super().step(what, context)

    # ---- interface for the application

    def hangup(self, reason_header: str | None = None) -> None:
        """End the call by CANCEL, as soon as allowed, or BYE; idempotent."""
        self._gave_up = True
        self._give_up()
        super().hangup(reason_header)
        self._never_sent()

    def answer_offer(self, exchange: int, body: bytes) -> None:
        """Answer the peer's offer; an offer in a response to our INVITE is answered in its ACK or PRACK."""
        if exchange != FIRST:
            super().answer_offer(exchange, body)
        elif not body:
            self.refuse_offer(exchange)
        else:
            self._answer_first(body)
            self.core.wake()

    def refuse_offer(self, exchange: int, status: int = 488, reason_header: str | None = None) -> None:
        """Reject the peer's offer; an offer in a response to our INVITE only by ending the call (RFC 3261 13.2.2.4)."""
        if exchange != FIRST:
            super().refuse_offer(exchange, status, reason_header)
        elif self._awaited is not None:
            self._answer_first(b"")
            self.hangup(reason_header or f"SIP;cause={status}")

    def judge_answer(self) -> None:
        """Hold the 2xx of other branches until `keep_answer` or `refuse_answer`; called for an `Answered`."""
        self._rivals = []

    def keep_answer(self) -> None:
        """Give the call to the answering branch, and end the other branches."""
        self._leave(self._forks.early)
        self._end_rivals()
        self.core.wake()

    def refuse_answer(self, status: int, reason_header: str | None = None) -> bool:
        """End the answering branch by BYE if another branch has answered or may answer; otherwise return False.

        Without another answer in time, `Ended` carries `status`; a later 2xx gets ACK and BYE.
        """
        rivals = self._rivals or []
        if not self.is_confirmed or not (rivals or self._forks.early):
            return False
        self._rivals = None
        self.step(SessionInput.REFUSE_ANSWER, Context(headers=(("Reason", reason_header),) if reason_header else ()))
        patience = min(self.core.config.other_answers, self.core.config.stack.timers.timeout)
        self._alarm = self.core.at(self.core.now() + patience, lambda: self._nobody_else(status), self)
        for response in rivals:
            self._success(response)
        self.core.wake()
        return True

    def _nobody_else(self, status: int) -> None:
        self._alarm = None
        self.step(SessionInput.FAILURE, Context(ended=Ended("timeout", status)))

    def _end_rivals(self) -> None:
        rivals, self._rivals = self._rivals or (), None
        for response in rivals:
            self._success(response)

    @property
    def _awaited(self) -> Branch | None:
        """Return the branch with an offer awaiting the application's answer."""
        for branch in self._branches.values() if not self.is_over else ():
            if branch.prack is not None or (branch.ack is not None and not branch.ack.is_sent):
                return branch
        return None

    def _answer_first(self, body: bytes) -> None:
        branch = self._awaited
        if branch is None:
            logger.info("no response waits for an answer")
            return
        self._stop_alarm()
        if branch.ack is not None:
            branch.prack = None
            branch.ack.send(self, body)
            meaning = branch.modification.table.sent(Carrier.ACK, bool(body))
        else:
            response, branch.prack = branch.prack, None
            assert response is not None
            self._send_prack(branch, response, body)
            meaning = branch.modification.table.sent(Carrier.PRACK, bool(body)) if body else Meaning.NOTHING
        if meaning is Meaning.ANSWER:
            self.commit(body, branch.offer, answers=True)
        self.exchange_over()

    @property
    def may_update(self) -> bool:
        """Return False during an open PRACK: an UPDATE overtaking the PRACK would cause its rejection by CSeq
        (12.2.2)."""
        return not any(branch.pracks for branch in self._branches.values() if branch.dialog is self.dialog)

    @property
    def has_responded(self) -> bool:
        """Return True after any response to the INVITE, including a 100 or a challenge."""
        return self._client.has_responded

    @property
    def transaction(self) -> Transaction | None:
        """Return the transaction of the latest INVITE."""
        return self._client.transaction

    # ---- actions of the session table

    def _send_invite(self, context: Context) -> None:
        if self._timeout > 0:
            self._alarm = self.core.at(self.core.now() + self._timeout, self._no_answer, self)
        self._client.begin(self._target)

    def _make(self, flow: Flow) -> Request:
        """Build the INVITE with the next CSeq; a retry after a challenge or 422 is a new request (RFC 3261 22.2)."""
        self._cseq += 1
        headers = self.request.headers.with_("CSeq", f"{self._cseq} INVITE")
        if (contact := self.request.contact) is not None:
            # Only the peer's address, known after name resolution, decides which of our addresses it can reach.
            uri = contact.uri
            ours = self.core.contact(flow, uri.user, secure=uri.scheme == "sips")
            if uri.param("ob") is not None:
                ours = replace(ours, uri=ours.uri.with_param("ob"))
            headers = headers.with_("Contact", ours)
        headers = headers.without("Session-Expires", "Min-SE")
        for name, value in self.timer.request_headers():
            headers = headers.add(name, value)
        self.request = self.request.with_headers(headers)
        self._forks = ForkedDialogs(self.request)
        return self.request

    def _retried(self) -> None:
        """Terminate the early dialogs of the previous INVITE; the new INVITE creates its own."""
        self._leave(self._forks.give_up())
        self._branches.clear()
        self._shown = None
        # Queued session changes wait in the previous modification until a new dialog takes over.
        self.dialog = None
        self.step(SessionInput.RETRIED)

    def _send_cancel(self, context: Context) -> None:
        # Without a final response within 64*T1 the INVITE's transaction gives up (RFC 3261 9.1).
        self._stop_alarm()
        assert self._client.transaction is not None, "only what has a 1xx is cancelled"
        self.core.send_cancel(self._client.transaction, context.headers or self._farewell)

    def _send_ack(self, context: Context) -> None:
        branch = self._branch_of(context.dialog)
        branch.ack = Acknowledgement(self.core, branch.dialog, self._client, self.request.cseq.number)
        if branch.modification.table.state.by is Carrier.SUCCESS and self.machine.state is SessionState.CONFIRMED:
            patience = self.core.config.answer_patience
            self._alarm = self.core.at(self.core.now() + patience, self._out_of_patience, self)
            return
        branch.ack.send(self)
        branch.modification.table.sent(Carrier.ACK, False)

    def _send_bye(self, context: Context) -> None:
        if self._awaited is not None:
            # The ACK waits for an answer from the application, which has now ended the call.
            self._answer_first(b"")
        assert self.dialog is not None
        self.end_dialog(self.dialog, context.headers or self._farewell)

    def _leave_answer(self, context: Context) -> None:
        """End the dialog of a 2xx with an unusable answer, and wait for another branch (RFC 3261 13.2.2.4)."""
        self._send_bye(context)
        self.stop_timer()
        self._forks.reopen()
        self._shown = None
        for dialog in self._forks.early[:1]:
            self._choose(self._branch_of(dialog))

    def _end_branch(self, context: Context) -> None:
        """Acknowledge a 2xx of a losing branch and end its call (RFC 3261 13.2.2.4)."""
        assert context.response is not None
        branch = self._branch_of(context.dialog)
        self.core.counts["answer of another branch"] += 1
        branch.ack = Acknowledgement(self.core, branch.dialog, self._client, context.response.cseq.number)
        branch.ack.send(self)
        branch.modification.stop()
        self.end_dialog(branch.dialog)

    def _tell_ringing(self, context: Context) -> None:
        response = context.response
        if response is not None and response.status > 100:
            branch = self._branch_of(context.dialog) if context.dialog is not None else None
            self.emit(self._provisional_event(response, branch))

    def _provisional_event(self, response: Response, branch: Branch | None) -> SessionEvent:
        body = description_or_nothing(response)
        meaning = Meaning.NOTHING
        if branch is not None:
            carrier = Carrier.RELIABLE if is_reliable(response) else Carrier.PROVISIONAL
            try:
                meaning = branch.modification.table.received(carrier, bool(body))
            except DialogError:
                self.core.counts["description out of place"] += 1
        if meaning is Meaning.NOTHING or branch is None:
            return Provisional(response.status, response.phrase)
        if meaning is Meaning.OFFER:
            branch.prack, branch.offer, self._shown = response, body, branch
            return Provisional(response.status, response.phrase, body, FIRST, True)
        self._shown, branch.answer = branch, body
        if meaning is Meaning.ANSWER and branch.dialog is self.dialog:
            self.commit(self.request.body, body, answers=False)
        return Provisional(response.status, response.phrase, body, FIRST)

    def _tell_answered(self, context: Context) -> None:
        assert context.response is not None
        is_offer = self._branch_of(context.dialog).modification.table.state.by is Carrier.SUCCESS
        said = b"" if is_offer else description_or_nothing(context.response)
        self.peer_says(context.response)
        self.emit(Answered(context.body, FIRST, is_offer, said if said != context.body else b""))

    def tell_ended(self, context: Context) -> None:
        """Run TELL_ENDED: emit `Failed` for a call never answered, `Ended` after an answer or our hangup."""
        self._stop_alarm()
        self._end_rivals()
        self._leave(self._forks.give_up())
        response = context.response
        if self._cause is not None:
            self.emit_last(self._cause)
        elif response is not None and not response.is_success and not self._gave_up:
            self.emit_last(Failed(response.status, response.phrase, response.headers, _elsewhere(response)))
        else:
            self.emit_last(context.ended)

    actions = {  # noqa: RUF012
        SessionAction.SEND_INVITE: _send_invite,
        SessionAction.SEND_CANCEL: _send_cancel,
        SessionAction.SEND_ACK: _send_ack,
        SessionAction.SEND_BYE: _send_bye,
        SessionAction.LEAVE_ANSWER: _leave_answer,
        SessionAction.END_BRANCH: _end_branch,
        SessionAction.ANSWER_BYE: InviteSession.answer_bye,
        SessionAction.TELL_RINGING: _tell_ringing,
        SessionAction.TELL_ANSWERED: _tell_answered,
        SessionAction.TELL_ENDED: tell_ended,
    }

    # ---- dialogs

    def _branch_of(self, dialog: Dialog | None) -> Branch:
        """Return the branch of a dialog, created at the first use."""
        assert dialog is not None
        branch = self._branches.get(dialog.id.remote_tag)
        if branch is None or branch.dialog is not dialog:
            modification = Modification(weakref.ref(self), dialog)
            modification.table.sent(Carrier.INVITE, bool(self.request.body))
            branch = self._branches[dialog.id.remote_tag] = Branch(dialog, modification)
            dialog.identity = self.identity
            dialog.is_direct = isinstance(self._target, Flow)
            if dialog.is_direct:
                dialog.device = self.request.uri
            self.core.add_usage(dialog, self)
            dialog.moved = lambda: self.changed()
        return branch

    def modification_of(self, dialog: Dialog) -> Modification:
        """Return the offer/answer state of a dialog; each early dialog has its own (RFC 6337 section 3.2)."""
        return self._branches[dialog.id.remote_tag].modification

    def _choose(self, branch: Branch) -> None:
        """Make the branch the session's dialog: the first known or the answering dialog."""
        if self.modification is not None and self.modification is not branch.modification:
            self.modification.hand_over(branch.modification)
            if branch.answer:
                self.commit(self.request.body, branch.answer, answers=False)
        self.dialog, self.modification = branch.dialog, branch.modification
        self.remote = branch.dialog.remote

    def _leave(self, dialogs: tuple[Dialog, ...]) -> None:
        for dialog in dialogs:
            modification = self.modification_of(dialog)
            if modification is not self.modification:
                modification.stop()
            self.core.remove_usage(dialog, self)

    def _is_last(self, dialog: Dialog) -> bool:
        others = [one for one in self._forks.early if one is not dialog]
        return dialog is self.dialog if self.is_confirmed else not others

    # ---- received messages and timers

    def _give_up(self) -> None:
        if not self.is_confirmed:
            self._client.abandon()

    def _never_sent(self) -> None:
        if self._client.transaction is None:
            self.step(SessionInput.FAILURE)

    def lost(self, status: int) -> None:
        self._give_up()
        super().lost(status)

    def on_mistake(self) -> None:
        self._give_up()
        super().on_mistake()
        self._never_sent()

    def _provisional(self, response: Response) -> None:
        self._note_peer(response)
        dialog = self._early_dialog(response)
        if dialog is not None and is_reliable(response):
            branch = self._branch_of(dialog)
            if not branch.provisionals.is_next(response):
                self.core.counts["reliable 1xx again or out of order"] += 1
                return
            self.step(SessionInput.PROVISIONAL, Context(response=response, dialog=dialog))
            if branch.prack is None and not self.is_over:
                self._send_prack(branch, response)
                self.exchange_over()
        else:
            self.step(SessionInput.PROVISIONAL, Context(response=response, dialog=dialog))

    def _send_prack(self, branch: Branch, response: Response, body: bytes = b"") -> None:
        headers = (("RAck", rack_of(response)),)
        content_type = SDP if body else None
        branch.pracks += 1

        def answered(_: Response) -> None:
            # Any final response ends the PRACK; only the callee needs one.
            branch.pracks -= 1
            branch.modification.advance()

        self.send_in_dialog("PRACK", branch.dialog, answered, headers=headers, body=body, content_type=content_type)

    def _early_dialog(self, response: Response) -> Dialog | None:
        try:
            dialog = self._forks.receive(response, self._client.flow)
        except DialogError:
            self.core.counts["1xx that makes no dialog"] += 1
            return None
        if dialog is not None:
            branch = self._branch_of(dialog)
            if self.dialog is None:
                self._choose(branch)
        return dialog

    def _final(self, response: Response) -> None:
        self._note_peer(response)
        if response.is_success:
            self._success(response)
            return
        if response.status == 422 and not self._too_small:
            self._too_small = True
            if self.timer.too_small(response) and self._client.again():
                return
        self._stop_alarm()
        self.step(SessionInput.FAILURE, Context(response=response, dialog=self.dialog, ended=self._ended()))

    def _success(self, response: Response) -> None:
        known = self._branches.get(response.to_tag or "")
        if known is not None and known.ack is not None:
            # A repeated 2xx means a lost ACK (13.2.2.4).
            known.ack.again()
            return
        if self._rivals is not None:
            if all(each.to_tag != response.to_tag for each in self._rivals):
                self._rivals.append(response)
            return
        try:
            dialog = self._dialog_of(response)
        except DialogError:
            self.core.counts["2xx of too many branches"] += 1
            return
        branch = self._branch_of(dialog)
        if dialog is self._forks.confirmed and not self.is_over:
            self._answered(branch, response)
        else:
            self.step(SessionInput.LATER_SUCCESS, Context(response=response, dialog=dialog))

    def on_flow_lost(self, flow: Flow) -> None:
        """Process the loss or failure of a connection: ACKs sent over the connection go to the INVITE's destination."""
        super().on_flow_lost(flow)
        for branch in self._branches.values():
            if branch.ack is not None:
                branch.ack.flow_failed(flow)

    def on_late_success(self, response: Response, source: Flow) -> None:
        """Acknowledge a 2xx repeated over a connection unknown to the INVITE, if the dialog's peer is there now."""
        known = self._branches.get(response.to_tag or "")
        ack = None if known is None or not known.dialog.lives_at(source) else known.ack
        if ack is not None and ack.cseq == response.cseq.number:
            ack.again(source)

    def _dialog_of(self, response: Response) -> Dialog:
        """Return the dialog of a 2xx; a 2xx to an earlier attempt gets a dialog that never wins."""
        if response.cseq.number != self.request.cseq.number:
            return Dialog.of_uac(self.request, response, self._client.flow)
        dialog = self._forks.receive(response, self._client.flow)
        assert dialog is not None
        return dialog

    def _answered(self, branch: Branch, response: Response) -> None:
        self._stop_alarm()
        self._choose(branch)
        body = self._take_description(branch, response)
        self.timer.accepted(response, self.core.now())
        self.step(
            SessionInput.SUCCESS, Context(response=response, dialog=branch.dialog, body=body, ended=self._ended())
        )
        if self._rivals is None:
            self._leave(self._forks.early)
        self.arm_timer()
        self.exchange_over()

    def _take_description(self, branch: Branch, response: Response) -> bytes:
        """Return the description in the 2xx to report to the application."""
        body = description_or_nothing(response)
        meaning = branch.modification.table.received(Carrier.SUCCESS, bool(body))
        if meaning is Meaning.OFFER:
            branch.offer = body
        elif meaning is Meaning.ANSWER:
            branch.answer = body or branch.answer
            self.commit(self.request.body, branch.answer, answers=False)
            body = body if self._shown is branch else branch.answer
        elif meaning is Meaning.MISSING:
            self.core.counts["2xx without a description"] += 1
        elif branch.prack is not None:
            body = branch.offer
        else:
            # A reliable 1xx carried the answer: reported again only if another branch was shown since.
            body = b"" if self._shown is branch else self.remote_body
        return body

    def _ended(self) -> Ended:
        return Ended("local") if self._gave_up else Ended("timeout", 408)

    def _note_peer(self, response: Response) -> None:
        if self._client.flow is not None:
            self.source = self._client.flow
        if response.allow:
            self.peer_allows = frozenset(response.allow)
        if response.supported:
            self.peer_supports = frozenset(one.lower() for one in response.supported)
        if response.recv_info:
            self.peer_packages = frozenset(one.lower() for one in response.recv_info)

    def _no_answer(self) -> None:
        self._cause = Failed(408, "No answer", Headers())
        self._give_up()
        self.step(SessionInput.HANG_UP, Context(headers=(("Reason", 'SIP;cause=408;text="No answer"'),)))
        self._never_sent()

    def _out_of_patience(self) -> None:
        self._answer_first(b"")
        self.step(SessionInput.LOST, Context(ended=MISTAKE))

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


def _elsewhere(response: Response) -> tuple[NameAddr, ...]:
    """Return the Contacts of a redirection; Contacts of other failures are not targets."""
    return response.contacts if 300 <= response.status < 400 else ()
