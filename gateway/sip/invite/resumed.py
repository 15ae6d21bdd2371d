"""INVITE sessions of another process: serialisation, resumption and ending.

Established sessions resume with dialog, session timer and unacknowledged 2xx. Sessions in setup are ended: our INVITE
is sent again, to recreate the transaction, and cancelled; a peer's INVITE gets a final response.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, cast

from gateway.sip.auth.account import Authenticator
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.dialogs.ports import Core
from gateway.sip.dialogs.requests import locate_peer, send_in_dialog
from gateway.sip.dialogs.values import CSEQ_JUMP, dialog_of, values_of
from gateway.sip.errors import SipSyntaxError
from gateway.sip.flow import Flow
from gateway.sip.invite.accepted import AcceptedInvite
from gateway.sip.invite.context import Context
from gateway.sip.invite.events import Confirmed, OfferAnswered
from gateway.sip.invite.farewell import Farewell
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.modify import Modification
from gateway.sip.invite.outgoing import OutgoingSession
from gateway.sip.invite.session import InviteSession
from gateway.sip.invite.states import SessionAction, SessionInput, SessionState
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Message, Request, Response
from gateway.sip.message.parser import parse_message
from gateway.sip.message.uri import Uri
from gateway.sip.requests.server import ServerRequest
from gateway.sip.transactions import Reason, Transaction

logger = logging.getLogger(__name__)

_ESTABLISHED = (SessionState.CONFIRMED, SessionState.ACCEPTED, SessionState.LEAVING)
_WAITING = (
    SessionState.CALLING,
    SessionState.PROCEEDING,
    SessionState.GIVING_UP,
    SessionState.CANCELLING,
    SessionState.AWAITING,
)
_KEY_LINES = b"a=crypto:"
MOST_FORKS = 64
"""Answering branches of an INVITE of the previous process that get ACK and BYE."""
_STILL_ANSWERED = 0.75
"""Share of 64*T1 during which a 2xx of the previous process is retransmitted."""


def session_values(session: InviteSession) -> dict[str, Any] | None:
    """Return the JSON values for `ResumedSession` or `end_left`; None if nothing is left to end.

    Descriptions with an SRTP key are omitted: a resumed call negotiates a new key. Times are relative to now.
    """
    state = session.machine.state
    if session.dialog is not None and (state in _ESTABLISHED or session.dialog.is_leaving):
        return _established(session)
    if isinstance(session, OutgoingSession) and state in _WAITING:
        transaction = session.transaction
        if transaction is not None:
            return {"waits": _head(transaction.request), "flow": str(transaction.flow)}
    if isinstance(session, IncomingSession) and state is SessionState.INCOMING:
        return {"asks": _head(session.request), "flow": str(session.source), "tag": session.tag}
    return None


def _established(session: InviteSession) -> dict[str, Any]:
    dialog, accepted = session.dialog, session.accepted
    assert dialog is not None
    if accepted is not None and not accepted.is_pending:
        accepted = None
    authenticator = session.authenticator
    return {
        "dialog": values_of(dialog),
        "role": session.role,
        "timer": session.timer.values(session.core.now()),
        "bodies": [_keyless(session.local_body), _keyless(session.remote_body)],
        "answers": session.answers,
        "allows": sorted(session.peer_allows),
        "supports": sorted(session.peer_supports),
        "packages": sorted(session.peer_packages),
        "credentials": None if authenticator is None else authenticator.values(),
        "accepted": None if accepted is None else [_text(_unkeyed(accepted.data)), str(accepted.flow), accepted.cseq],
    }


def bare(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values of an established session reduced to those needed for a BYE, which every version can read.

    Stable across versions: "dialog", as read by `dialog_of`, and "credentials".
    """
    if "dialog" not in values:
        return values
    timer = {"interval": 0, "minimum": 0, "is_refresher": False, "refresh_in": None, "expires_in": None}
    nothing: dict[str, Any] = {"allows": [], "supports": [], "packages": [], "bodies": ["", ""], "accepted": None}
    kept = {"dialog": values["dialog"], "credentials": values.get("credentials")}
    return nothing | kept | {"role": "uac", "timer": timer}


def session_asked(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the session values after another process has sent BYE, with the CSeq numbers used marked as used."""
    dialog = values.get("dialog")
    if dialog is None:
        return values
    return {**values, "dialog": {**dialog, "local_cseq": (dialog["local_cseq"] or 0) + CSEQ_JUMP}, "accepted": None}


def session_moved(values: Mapping[str, Any], contact_of: Callable[[Flow, Uri], NameAddr]) -> Mapping[str, Any]:
    """Return the session values for a peer that must send its requests to another address of ours.

    `contact_of(flow, contact)` gives the new Contact. Raise the errors of `ResumedSession`.
    """
    dialog = values.get("dialog")
    if dialog is None or dialog["flow"] is None or dialog["contact"] is None:
        return values
    flow = Flow.parse(dialog["flow"])
    if not flow.reliable:
        flow = replace(flow, local="")
    contact = contact_of(flow, NameAddr.parse(dialog["contact"]).uri)
    # A 2xx is not retransmitted from the new address: phones repeat their ACK, to the previous address.
    return {**values, "dialog": {**dialog, "flow": str(flow), "contact": str(contact)}, "accepted": None}


def _head(message: Message) -> str:
    return _text(message.with_body(b"", None).write())


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _keyless(body: bytes) -> str:
    """Return the description as text, "" if it holds an SRTP key."""
    return "" if _KEY_LINES in body else _text(body)


def _unkeyed(data: bytes) -> bytes:
    """Return the response without a description that holds an SRTP key."""
    return parse_message(data).with_body(b"", None).write() if _KEY_LINES in data else data


class ResumedSession(InviteSession):
    """Established session of another process; raises the errors of `dialog_of`."""

    def __init__(self, core: Core, values: Mapping[str, Any], elapsed: float = 0.0) -> None:
        """`elapsed`: seconds since the values were written."""
        dialog = dialog_of(values["dialog"])
        flow = dialog.flow or Flow("udp", "", 0)
        super().__init__(core, dialog.id.call_id, dialog.local, dialog.remote, flow)
        self.role = cast(Literal["uac", "uas"], values["role"])
        self.identity = dialog.identity
        self.dialog = dialog
        self.modification: Modification = Modification(weakref.ref(self), dialog)
        self.local_body, self.remote_body = (_octets(body) for body in values["bodies"])
        self.answers = values.get("answers", False)
        self.peer_allows = frozenset(values["allows"])
        self.peer_supports = frozenset(values["supports"])
        self.peer_packages = frozenset(values["packages"])
        if values["credentials"] is not None:
            self.authenticator = Authenticator.resumed(values["credentials"], core.token)
        self._last_cseq = (dialog.local_cseq or CSEQ_JUMP) - CSEQ_JUMP
        self._acknowledged: set[int] = set()
        self._begin(values, elapsed)

    def _begin(self, values: Mapping[str, Any], elapsed: float) -> None:
        core, accepted = self.core, values["accepted"]
        assert self.dialog is not None
        core.add_usage(self.dialog, self)
        self.dialog.moved = lambda: self.changed()
        self.machine.state = SessionState.CONFIRMED
        # A peer repeats its ACK for 64*T1 (RFC 3261 13.2.2.4), over the connection of the 2xx.
        if accepted is not None and elapsed < _STILL_ANSWERED * core.config.stack.timers.timeout:
            data, way, cseq = accepted
            flow = Flow.parse(way)
            if not flow.reliable:
                self.machine.state = SessionState.ACCEPTED
                lost = self._acknowledged_before
                self.accepted = AcceptedInvite(
                    core, self, flow, cseq, _octets(data), lost, left=2 * core.config.stack.timers.t2
                )
        self.timer.resume(values["timer"], core.now(), elapsed)
        self.arm_timer()

    def refresh_target(self) -> None:
        """Send the peer our new Contact, repeatedly until answered (see `session_moved`)."""
        self._recovery.refresh()

    def when_answered(self, callback: Callable[[], None]) -> None:
        """Call `callback` after the peer answered our BYE, or can no longer answer."""
        assert self.dialog is not None
        self.dialog.when_over(callback)

    def on_request(self, request: ServerRequest, dialog: Dialog) -> None:
        """Treat a request in the call as proof of the ACK, which went to the previous process."""
        accepted = self.accepted
        if accepted is not None and accepted.is_pending:
            accepted.acknowledge()
            self.step(SessionInput.ACKNOWLEDGED)
        super().on_request(request, dialog)

    def on_ack(self, ack: Request, dialog: Dialog) -> None:
        accepted = self.accepted
        if accepted is None or ack.cseq.number != accepted.cseq:
            super().on_ack(ack, dialog)
        elif accepted.is_pending:
            accepted.acknowledge()
            self.step(SessionInput.ACKNOWLEDGED)
            self.changed()

    def _acknowledged_before(self) -> None:
        """Continue the session without an ACK: the ACK may have gone to the previous process, and a lost peer is silent
        too."""
        self.step(SessionInput.ACKNOWLEDGED)

    def on_late_success(self, response: Response, source: Flow) -> None:
        """Acknowledge each 2xx to an INVITE of the previous process (RFC 3261 13.2.2.4).

        A description other than the agreed remote one is reported as an answer to exchange 0. Only a response from the
        dialog's own places counts, as the previous process's branches are unknown.
        """
        number, dialog = response.cseq.number, self.dialog
        assert dialog is not None
        if not self._last_cseq - CSEQ_JUMP < number <= self._last_cseq + CSEQ_JUMP or not dialog.lives_at(source):
            return
        ack = dialog.ack(number, headers=tuple(self.core.request_fields()))

        def located(flows: tuple[Flow, ...]) -> None:
            self.core.send_ack(ack, flows[0] if flows else source)
            self.core.wake()

        locate_peer(self.core, dialog, located, self)
        if number not in self._acknowledged and response.body and response.body != self.remote_body:
            self.emit(OfferAnswered(0, response.status, response.body))
        self._acknowledged.add(number)

    def _tell_established(self, context: Context) -> None:
        self.emit(Confirmed())
        self.exchange_over()

    actions = {  # noqa: RUF012
        SessionAction.SEND_BYE: InviteSession.send_bye,
        SessionAction.ANSWER_BYE: InviteSession.answer_bye,
        SessionAction.TELL_ESTABLISHED: _tell_established,
        SessionAction.TELL_ENDED: InviteSession.tell_ended,
    }


class LeftInvite:
    """Unanswered INVITE of a dead process: cancelled, or ended by BYE if answered."""

    def __init__(self, core: Core, values: Mapping[str, Any], reason: str, farewell: Farewell) -> None:
        """`reason`: value of a Reason field. Raise SipError for values not made by `session_values`."""
        self._core = core
        self._farewell = farewell
        self._invite = _request(values["waits"])
        self._headers: build.Fields = (("Reason", reason),)
        self._acks: dict[str, tuple[bytes, Flow] | None] = {}
        """ACK and its flow by To tag of each answering branch; None during the address lookup."""
        self._is_cancelled = False
        self._byes = 0
        """Answering branches (forks) whose BYE has no response yet."""
        self._flow = Flow.parse(values["flow"])
        self._transaction = core.send_again(self._invite, self._flow)
        self._transaction.user = self

    def on_response(self, response: Response, source: Flow) -> None:
        """Cancel the INVITE at the first 1xx, or process its final response."""
        if response.is_provisional and not self._is_cancelled:
            self._is_cancelled = True
            self._core.send_cancel(self._transaction, self._headers)
        elif response.is_success:
            self._end(response)
        elif not response.is_provisional:
            self._over()

    def _over(self) -> None:
        self._farewell.answered()

    def _end(self, response: Response) -> None:
        """Answer a 2xx with ACK and BYE; repeat the ACK for a retransmitted 2xx."""
        tag = response.to_tag or ""
        if tag in self._acks or len(self._acks) >= MOST_FORKS:
            self._core.counts["2xx of a fork again, or of too many"] += 1
            if (ack := self._acks.get(tag)) is not None:
                self._core.send(*ack)
            return
        dialog = Dialog.of_uac(self._invite, response, self._flow)
        self._acks[tag] = None
        self._byes += 1

        def located(flows: tuple[Flow, ...]) -> None:
            flow = flows[0]  # at least the flow of the INVITE
            self._farewell.changed(bare({"dialog": values_of(dialog)}), self._byes > 1)
            ack = dialog.ack(response.cseq.number, headers=tuple(self._core.request_fields()))
            self._acks[tag] = self._core.send_ack(ack, flow), flow
            send_in_dialog(self._core, dialog, "BYE", lambda _: self._has_left(), owner=None, headers=self._headers)
            self._core.wake()

        locate_peer(self._core, dialog, located, None)

    def _has_left(self) -> None:
        self._byes -= 1
        if not self._byes:
            self._over()

    def on_cancel(self, transaction: Transaction, cancel: Request) -> None:
        """Ignore the event: nobody cancels our INVITE."""

    def on_failed(self, transaction: Transaction, reason: Reason) -> None:
        self._over()  # unreachable peer: nothing rings


def end_left(core: Core, values: Mapping[str, Any], status: int, reason: str, farewell: Farewell) -> None:
    """Cancel our INVITE, or answer a peer's INVITE with `status`, left ringing by the previous process.

    `reason`: value of a Reason field. Raise SipError, LookupError, TypeError or ValueError for values not made by
    `session_values`.
    """
    if "waits" in values:
        LeftInvite(core, values, reason, farewell)
        return
    invite = _request(values["asks"])
    transaction = core.take_up(invite, Flow.parse(values["flow"]))
    fields = (("Reason", reason), *core.response_fields())
    transaction.when_settled(farewell.answered)
    core.respond(transaction, build.response(invite, status, to_tag=values["tag"], headers=fields))


def _request(text: str) -> Request:
    message = parse_message(_octets(text))
    if not isinstance(message, Request):
        raise SipSyntaxError("not a request", status=None)
    return message
