"""Transaction layer as a sans-IO stack: datagrams and time in; datagrams, events and one deadline out.

The shell calls `receive` and `handle_timer`, then drains `datagrams` and `events`. Any input of a stranger is answered,
delivered or counted, and never raises.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from gateway.sip.errors import SipError, SipSyntaxError
from gateway.sip.flow import Flow
from gateway.sip.locate import merged_key
from gateway.sip.message import build
from gateway.sip.message.addresses import Via
from gateway.sip.message.message import BrokenMessageError, Fragment, Request, Response
from gateway.sip.message.parser import KeepAlive, keepalive, parse_message
from gateway.sip.stun import binding_response, is_binding_request
from gateway.sip.transactions import (
    Input,
    InviteClientTransaction,
    InviteServerTransaction,
    NonInviteClientTransaction,
    NonInviteServerTransaction,
    Reason,
    State,
    TimerQueue,
    Transaction,
    input_of_status,
)
from gateway.sip.transactions.admission import UNANSWERED, Admission, Proofs, cost_of
from gateway.sip.transactions.answers import fitting
from gateway.sip.transactions.config import StackConfig
from gateway.sip.transactions.events import (
    AckReceived,
    CancelReceived,
    RequestReceived,
    ResponseReceived,
    StackEvent,
    StrayResponse,
    TransactionFailed,
    TryingSent,
)
from gateway.sip.transactions.machine import is_armed
from gateway.sip.transactions.peers import Peers, Strangers, answers
from gateway.sip.transactions.refusals import Refusals
from gateway.sip.transactions.via import (
    COOKIE,
    call_id_of,
    client_key,
    is_same_sender,
    own_via,
    quoted_key,
    reconnected,
    response_flow,
    same_way,
    server_key,
    stamp,
    stamped,
)

ServerKey = tuple[object, ...]

_FULL = 'Q.850;cause=44;text="limit: sip.limits.max_transactions"'
"""Reason of a 503 at the transaction limit."""


class StackFullError(SipError):
    """Transaction requested by our own side beyond the configured limit."""


class Stack:
    """Transport matching (RFC 3261 section 18) and transactions (section 17) over any number of flows.

    `token` returns a fresh random word of at least 64 bits; `sent_by` returns our (host, port) for the Via on a flow.
    `counts` holds counters of dropped messages.
    """

    def __init__(
        self,
        config: StackConfig,
        *,
        token: Callable[[], str],
        sent_by: Callable[[Flow], tuple[str, int | None]],
    ) -> None:
        self.config = config
        self.counts: Counter[str] = Counter()
        self._token = token
        self._sent_by = sent_by
        self._secret = token().encode()
        self.admission = Admission(config.admission)
        self._proofs = Proofs(config.admission)
        self._refusals = Refusals()
        self._clients: dict[object, Transaction] = {}
        self._servers: dict[object, Transaction] = {}
        self._merged: dict[object, object] = {}
        self.timers: TimerQueue[tuple[Transaction, Input]] = TimerQueue(is_armed)
        self._out: list[tuple[bytes, Flow]] = []
        self._events: list[StackEvent] = []
        self.ended: list[Transaction] = []
        self._source: Flow | None = None
        self.peers: Peers = Strangers()
        self._may_begin: Callable[[Request, Flow, bool], bool] = lambda invite, source, known: True
        self._limit: Callable[[], str] = lambda: ""

    def admit_calls(self, may_begin: Callable[[Request, Flow, bool], bool], limit: Callable[[], str]) -> None:
        """Answer a stateless 503 to each INVITE refused by `may_begin`, with the setting named by `limit`."""
        self._may_begin, self._limit = may_begin, limit

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """Process one datagram (or one stream message) received over `flow` at `now` (monotonic seconds)."""
        if self._is_keepalive(data, flow, now) or self._refusals.is_ack(data, flow, now):
            return
        # Counted before parsing: a retransmission costs its source as much as a new request.
        if not self.admission.admit(flow.host, now, cost_of(data)) or (
            data.startswith(b"INVITE ") and not self.admission.admit_invite(flow.host, now)
        ):
            self.counts["over rate"] += 1
            return
        try:
            message = parse_message(data, self.config.parser)
        except SipSyntaxError as error:
            self._answer_broken(error, flow, len(data), now)
            return
        self._receive(message, flow, now, len(data))

    def receive_message(self, message: Request | Response, flow: Flow, now: float, size: int) -> None:
        """Process one message of a stream, parsed from `size` bytes."""
        method = None if isinstance(message, Response) else message.method
        cost = UNANSWERED if method in (None, "ACK") else 1.0
        if self.admission.admit(flow.host, now, cost) and (
            method != "INVITE" or self.admission.admit_invite(flow.host, now)
        ):
            self._receive(message, flow, now, size)
        else:
            self.counts["over rate"] += 1

    def _receive(self, message: Request | Response, flow: Flow, now: float, size: int) -> None:
        try:
            if isinstance(message, Response):
                self._receive_response(message, flow, now)
            else:
                self._receive_request(message, flow, now, size)
        except SipSyntaxError as error:
            self._answer_broken(error, flow, size, now)

    def receive_broken(self, error: SipSyntaxError, flow: Flow, now: float, size: int) -> None:
        """Answer the readable part of a broken stream message."""
        if not self.admission.admit(flow.host, now):
            self.counts["over rate"] += 1
            return
        self._answer_broken(error, flow, size, now)

    def handle_timer(self, now: float) -> None:
        """Fire every timer due at `now`."""
        while (due := self.timers.pop_due(now)) is not None:
            deadline, (transaction, timer) = due
            transaction.due(timer, deadline, now)

    def deadline(self) -> float | None:
        """Return the time of the next `handle_timer`, or None."""
        return self.timers.deadline()

    def earliest(self) -> float:
        """Return a lower bound of the next deadline, cheaper than `deadline`; infinity without timers."""
        return self.timers.earliest()

    def datagrams(self) -> list[tuple[bytes, Flow]]:
        """Drain the output."""
        out, self._out = self._out, []
        return out

    def events(self) -> list[StackEvent]:
        """Drain the events."""
        events, self._events = self._events, []
        return events

    def __len__(self) -> int:
        """Return the number of live transactions."""
        return len(self._clients) + len(self._servers)

    # ---- interface for the transaction user

    def send_request(self, request: Request, flow: Flow, now: float) -> Transaction:
        """Add our Via to `request` and start its client transaction over `flow`.

        Raise StackFullError at the transaction limit, SipBuildError for an invalid request.
        """
        if len(self) >= self._room_for(request):
            raise StackFullError("too many transactions")
        branch = COOKIE + self._token()
        return self._begin_client(build.with_via(request, self._via(flow, branch)), branch, flow, now)

    def send_again(self, request: Request, flow: Flow, now: float) -> Transaction:
        """Resume a client transaction of another process by resending its request with its Via."""
        if len(self) >= self._room_for(request):
            raise StackFullError("too many transactions")
        return self._begin_client(request, request.top_via.branch or "", flow, now)

    def take_up(self, request: Request, flow: Flow, now: float) -> Transaction:
        """Resume the server transaction of a request received by another process over `flow`, its Via already
        stamped."""
        answer_to = response_flow(request.top_via, flow)
        return self._begin_server(request, server_key(request), answer_to, flow, now, None)

    def send_ack(self, ack: Request, flow: Flow) -> bytes:
        """Send the ACK of a 2xx, a stateless transaction of its own (RFC 3261 17.1.1.3)."""
        data = build.with_via(ack, self._via(flow, COOKIE + self._token())).write()
        self.send(data, flow)
        return data

    def send_cancel(self, invite: Transaction, headers: build.Fields, now: float) -> Transaction:
        """Start the CANCEL of a pending INVITE over the INVITE's flow (RFC 3261 9.1)."""
        cancel = build.cancel(invite.request, headers)
        # RFC 3261 9.1: without a final response in 64*T1 the INVITE counts as cancelled.
        invite.now = now
        invite.start_timer(Input.TIMER_B, self.config.timers.timeout)
        return self._begin_client(cancel, cancel.top_via.branch or "", invite.flow, now)

    def respond(self, transaction: Transaction, response: Response, now: float) -> bytes:
        """Answer a server transaction; return the bytes sent, or withheld for lack of credit."""
        credit = transaction.credit
        data = None if credit is None else fitting(response, credit)
        if data is None:
            data = response.write()
        transaction.step(input_of_status(response.status), now, data)
        return data

    def refuse(self, transaction: Transaction, response: Response, now: float) -> None:
        """Answer a request once without state or retransmission, and to an unproven source with no more octets than
        received. The To tag must be stable (see `stateless_tag`)."""
        self._end(transaction)
        self._send_once(response, transaction.flow, transaction.credit, now)

    def _end(self, transaction: Transaction) -> None:
        transaction.armed.clear()
        transaction.state = State.TERMINATED
        self.terminated(transaction)

    def proven(self, transaction: Transaction, now: float) -> None:
        """Send full responses in a server transaction from now on, as its source is proven."""
        if transaction.credit is None and not transaction.source.reliable:
            return
        self._proofs.add(transaction.source, now)
        if transaction.credit is None:
            return
        transaction.credit = None
        if transaction.last is not None:
            transaction.resend()

    def stateless_tag(self, headers: Request | Fragment) -> str:
        """Return a To tag equal for all copies of a request (RFC 3261 8.2.7), and unpredictable for others."""
        seed = "\n".join([*headers.headers.all("Call-ID"), *headers.headers.all("CSeq"), *headers.headers.all("From")])
        return hashlib.blake2s(seed.encode("utf-8", "replace"), key=self._secret[:32], digest_size=10).hexdigest()

    def send(self, data: bytes, flow: Flow) -> None:
        """Send bytes outside any transaction (a repeated 2xx or ACK)."""
        self._out.append((data, flow))

    def transport_failed(self, flow: Flow, now: float) -> None:
        """Fail the transactions on `flow` after a send failure or the loss of its connection."""
        for transaction in [*self._clients.values(), *self._servers.values()]:
            if same_way(transaction.flow, flow) and not reconnected(transaction):
                transaction.step(Input.TRANSPORT_ERROR, now)

    def unreachable(self, data: bytes, flow: Flow, now: float) -> None:
        """Fail the client transaction of an undelivered datagram (ICMP, RFC 3261 18.4); `data`: its quoted beginning.

        ICMP is easily forged, but not with the branch of a request.
        """
        key = quoted_key(data)
        transaction = self._clients.get(key) if key is not None else None
        if transaction is None or (transaction.flow.host, transaction.flow.port) != (flow.host, flow.port):
            self.counts["stray unreachable"] += 1
            return
        transaction.step(Input.TRANSPORT_ERROR, now)

    def forget(self, call_ids: Collection[str]) -> None:
        """Drop every transaction with these Call-IDs, and their queued output."""
        for transaction in [*self._clients.values(), *self._servers.values()]:
            if transaction.request.call_id in call_ids:
                self._end(transaction)
        self._out = [(data, flow) for data, flow in self._out if call_id_of(data) not in call_ids]

    # ---- TransactionLayer

    def transmit(self, transaction: Transaction, data: bytes) -> None:
        credit = transaction.credit
        if credit is not None:
            # The credit is kept for a possible rejection, not spent on a 100, which is sent once the source is proven.
            if len(data) > credit or data.startswith(b"SIP/2.0 100"):
                self.counts["answer would amplify"] += 1
                return
            transaction.credit = credit - len(data)
        self._out.append((data, transaction.flow))

    def trying(self, transaction: Transaction) -> bytes:
        self._events.append(TryingSent(transaction))
        return build.response(transaction.request, 100).write()

    def deliver(self, transaction: Transaction, message: Any) -> None:
        source = self._source or transaction.flow
        if isinstance(message, Response):
            self._events.append(ResponseReceived(transaction, message, source))
        else:
            self._events.append(AckReceived(message, source))

    def failed(self, transaction: Transaction, reason: Reason) -> None:
        self._events.append(TransactionFailed(transaction, reason))

    def arm(self, transaction: Transaction, timer: Input, deadline: float) -> None:
        self.timers.push(deadline, (transaction, timer))

    def terminated(self, transaction: Transaction) -> None:
        key = transaction.key
        self.ended.append(transaction)
        if isinstance(transaction, InviteClientTransaction | NonInviteClientTransaction):
            self._clients.pop(key, None)
            return
        self._servers.pop(key, None)
        merged = merged_key(transaction.request)
        if self._merged.get(merged) == key:
            del self._merged[merged]

    def ignored(self, transaction: Transaction, state: State, what: Input) -> None:
        self.counts[f"{type(transaction).__name__} {state.value} {what.value}"] += 1

    # ---- internals

    def _via(self, flow: Flow, branch: str) -> Via:
        return own_via(flow, self._sent_by(flow), branch, self.config.alias)

    def _begin_client(self, request: Request, branch: str, flow: Flow, now: float) -> Transaction:
        key = client_key(branch, request.method)
        data = request.write()
        timers, reliable = self.config.timers, flow.reliable
        transaction: Transaction
        if request.method == "INVITE":
            transaction = InviteClientTransaction(
                self,
                timers,
                reliable=reliable,
                key=key,
                flow=flow,
                invite=data,
                acknowledge=lambda failure: build.ack_for_failure(request, failure).write(),
            )
        else:
            transaction = NonInviteClientTransaction(self, timers, reliable=reliable, key=key, flow=flow, request=data)
        transaction.request = request
        self._clients[key] = transaction
        transaction.step(Input.START, now)
        return transaction

    def _receive_response(self, response: Response, flow: Flow, now: float) -> None:
        transaction = self._clients.get(client_key(response.branch or "", response.cseq.method))
        if transaction is None:
            self.counts["stray response"] += 1
            self._stray(response, flow)
            return
        # RFC 3261 8.1.3.3: with more than one Via the response is not for us.
        if len(response.via) != 1 or not answers(response, flow, transaction, self.peers):
            self.counts["foreign response"] += 1
            self._stray(response, flow)
            return
        self._source = flow
        if not flow.reliable:
            self._proofs.add(flow, now)
        transaction.step(input_of_status(response.status), now, response)

    def _stray(self, response: Response, flow: Flow) -> None:
        """Report a 2xx without a transaction: its dialog may be known (RFC 3261 13.2.2.4)."""
        if response.is_success and response.cseq.method == "INVITE" and len(response.via) == 1:
            self._events.append(StrayResponse(response, flow))

    def _receive_request(self, request: Request, flow: Flow, now: float, size: int) -> None:
        if request.headers.count("Via") == 0:
            self.counts["request without Via"] += 1
            return
        key = server_key(request)
        transaction = self._servers.get(key)
        if request.method == "ACK":
            self._receive_ack(transaction, request, flow, now)
        elif transaction is not None:
            if transaction.credit is not None:
                transaction.credit += size
            transaction.step(Input.REQUEST, now)
        else:
            self._receive_new(request, key, flow, now, size)

    def _receive_ack(self, transaction: Transaction | None, ack: Request, flow: Flow, now: float) -> None:
        if transaction is None:
            self._events.append(AckReceived(ack, flow))
            return
        self._source = flow
        transaction.step(Input.ACK, now, ack)

    def _receive_new(self, request: Request, key: ServerKey, flow: Flow, now: float, size: int) -> None:
        answer_to = response_flow(request.top_via, flow)
        credit = self._credit(flow, now, size)
        message = stamped(request, flow)
        begins = request.method == "INVITE" and request.to_tag is None
        refused = self._why_refused(request, flow, credit, now)
        if refused is not None:
            if begins:
                self._refusals.add(request, flow, now, refused)
            named = (("Reason", refused),) if begins else ()
            fields = (("Retry-After", self.config.retry_after), *named)
            self._refuse_new(message, 503, answer_to, credit, now, fields)
        elif request.method == "CANCEL":
            self._receive_cancel(message, key, flow, answer_to, now, credit)
        elif request.to_tag is None and self._is_merged(request):
            self._refuse_new(message, 482, answer_to, credit, now)
        else:
            transaction = self._begin_server(message, key, answer_to, flow, now, credit)
            self._events.append(RequestReceived(transaction, message, flow))

    def _why_refused(self, request: Request, flow: Flow, credit: int | None, now: float) -> str | None:
        """Return the Reason for refusing a new request for lack of room or time; None to accept."""
        if len(self) >= self._room_for(request):
            return _FULL
        if request.method != "INVITE" or request.to_tag is not None:
            return None
        earlier = self._refusals.reason(request, flow, now)
        if earlier is not None or self._may_begin(request, flow, not self._is_stranger(flow, credit, now)):
            return earlier
        return f'Q.850;cause=42;text="overloaded: {self._limit()}"'

    def _credit(self, flow: Flow, now: float, size: int) -> int | None:
        """Return the octets allowed in response to `size` octets from `flow`; None for no limit."""
        if flow.reliable or self.admission.is_trusted(flow.host) or self._proofs.has(flow, now):
            return None
        return size

    def _is_merged(self, request: Request) -> bool:
        """Return True for a copy of a known request over another path (RFC 3261 8.2.2.2).

        Requests other than INVITE count only until answered: some phones repeat Call-ID, tag and CSeq in every
        keep-alive OPTIONS.
        """
        first = self._servers.get(self._merged.get(merged_key(request)))
        return first is not None and (request.method == "INVITE" or first.state is not State.COMPLETED)

    def _room_for(self, request: Request) -> int:
        """Return the transaction limit for a request; requests that end or maintain a call get a quarter more."""
        limit = self.config.transactions
        return limit if request.to_tag is None and request.method != "CANCEL" else limit + limit // 4

    def _receive_cancel(
        self, cancel: Request, key: ServerKey, source: Flow, answer_to: Flow, now: float, credit: int | None
    ) -> None:
        """Process a CANCEL (RFC 3261 9.2), only from the INVITE's sender: a guessed branch must end no call."""
        invite = self._servers.get(server_key(cancel, "INVITE"))
        if invite is None or not is_same_sender(invite.flow, answer_to, source):
            self.counts["stray CANCEL"] += 1
            self._refuse_new(cancel, 481, answer_to, credit, now)
            return
        transaction = self._begin_server(cancel, key, answer_to, source, now, credit)
        self.respond(
            transaction, build.response(cancel, 200, to_tag=invite.to_tag or self.stateless_tag(invite.request)), now
        )
        self._events.append(CancelReceived(invite, cancel))

    def _begin_server(
        self, request: Request, key: ServerKey, flow: Flow, source: Flow, now: float, credit: int | None
    ) -> Transaction:
        kind = InviteServerTransaction if request.method == "INVITE" else NonInviteServerTransaction
        transaction: Transaction = kind(self, self.config.timers, reliable=flow.reliable, key=key, flow=flow)
        transaction.request, transaction.source, transaction.credit = request, source, credit
        self._servers[key] = transaction
        if request.to_tag is None and request.method != "CANCEL":
            self._merged[merged_key(request)] = key
        transaction.step(Input.START, now)
        return transaction

    def _refuse_new(
        self, request: Request, status: int, flow: Flow, credit: int | None, now: float, headers: build.Fields = ()
    ) -> None:
        self.counts[f"refused {status}"] += 1
        response = build.response(request, status, to_tag=self.stateless_tag(request), headers=headers)
        self._send_once(response, flow, credit, now)

    def _answer_broken(self, error: SipSyntaxError, flow: Flow, size: int, now: float) -> None:
        """Answer the readable part of a broken request without state; ignore anything else."""
        self.counts["malformed"] += 1
        partial = error.partial if isinstance(error, BrokenMessageError) else None
        if error.status is None or partial is None or not partial.is_answerable:
            return
        try:
            via = Via.read(partial.headers.all("Via")[0], 0)[0]
            stamped = Fragment(partial.is_request, partial.method, stamp(partial.headers, flow))
            phrase = build.detailed_phrase(error)
            response = build.response(stamped, error.status, phrase, to_tag=self.stateless_tag(stamped))
        except SipError:
            return
        self._send_once(response, response_flow(via, flow), self._credit(flow, now, size), now)

    def _is_stranger(self, flow: Flow, credit: int | None, now: float) -> bool:
        """Return True if no sender at `flow` is authenticated; for UDP a `credit` says so."""
        if not flow.reliable:
            return credit is not None
        return not self.admission.is_trusted(flow.host) and not self._proofs.has(flow, now)

    def _send_once(self, response: Response, flow: Flow, credit: int | None, now: float) -> None:
        if self._is_stranger(flow, credit, now) and not self.peers.may_answer(flow, response.status):
            self.counts["not answered"] += 1
            return
        data = response.write() if credit is None else fitting(response, credit)
        if data is None:
            self.counts["answer would amplify"] += 1
        else:
            self._out.append((data, flow))

    def _is_keepalive(self, data: bytes, flow: Flow, now: float) -> bool:
        """Answer a keep-alive. Only proven sources get a STUN response, which is longer than its request."""
        ping = keepalive(data)
        if ping is KeepAlive.PING and flow.reliable:
            self._out.append((KeepAlive.PONG.value, flow))
        elif ping is None and is_binding_request(data):
            if self._proofs.has(flow, now) and self.admission.admit(flow.host, now):
                self._proofs.add(flow, now)
                self._out.append((binding_response(data, flow), flow))
            return True
        return ping is not None
