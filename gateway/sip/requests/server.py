"""Received request until its final response, outside a dialog or within one (RFC 3261 8.2, 12.2.2)."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from gateway.sip.errors import SipBuildError, SipError
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Accepted, Refused
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.transactions import Reason, Transaction


class Responder(Protocol):
    """Sender of responses."""

    counts: Counter[str]

    def respond(self, transaction: Transaction, response: Response) -> bytes:
        """Answer in the transaction; return the bytes."""

    def refuse(self, transaction: Transaction, response: Response) -> None:
        """Answer once and drop the transaction."""

    def stateless_tag(self, request: Request) -> str:
        """Return a To tag equal for all copies of a request."""

    def not_built(self, error: SipError) -> None:
        """Count and log a message that could not be built."""

    def response_fields(self) -> build.Fields:
        """Return the fields of every response."""

    @property
    def retry_after(self) -> int:
        """Return the default Retry-After of a 503, in seconds."""


class ServerRequest:
    """Answers one request at most once: rejected without state, or answered in its transaction."""

    __slots__ = ("_responder", "is_answered", "is_proved", "request", "source", "transaction")

    def __init__(self, responder: Responder, transaction: Transaction, request: Request, source: Flow) -> None:
        self._responder = responder
        self.transaction = transaction
        self.request = request
        self.source = source
        self.is_answered = False
        """True after a final response, or after a session took the transaction over."""
        self.is_proved = False
        """True once the application has authenticated the sender."""

    def take(self, verdict: Accepted) -> None:
        """Record the authentication of the sender."""
        self.is_proved = verdict.is_proof and verdict.identity is not None

    def refuse(self, refusal: Refused) -> None:
        """Answer and drop all state, so that strangers cost no memory and cannot aim retransmissions."""
        self.is_answered = True
        try:
            response = self._response(refusal.status, refusal.headers, refusal.reason)
        except SipBuildError as error:
            self._responder.not_built(error)
            response = build.response(self.request, 500, to_tag=self._responder.stateless_tag(self.request))
        self._responder.counts[f"refused {refusal.status}"] += 1
        self._responder.refuse(self.transaction, response)

    def respond(
        self,
        status: int,
        headers: build.Fields = (),
        reason: str | None = None,
        *,
        contact: NameAddr | None = None,
        body: bytes = b"",
        content_type: str | None = None,
    ) -> bytes:
        """Answer in the transaction with a final response; return its bytes."""
        self.is_answered = True
        try:
            response = self._response(status, headers, reason, contact, body, content_type)
        except SipBuildError as error:
            self._responder.not_built(error)
            response = self._response(500, (), None)
        return self._responder.respond(self.transaction, response)

    def _response(
        self,
        status: int,
        headers: build.Fields,
        reason: str | None,
        contact: NameAddr | None = None,
        body: bytes = b"",
        content_type: str | None = None,
    ) -> Response:
        if status == 503 and all(name.lower() != "retry-after" for name, _ in headers):
            # Without Retry-After a peer may consider us dead, and a proxy remove us from its list (RFC 3261 section
            # 21.5.4).
            headers = (*headers, ("Retry-After", self._responder.retry_after))
        return build.response(
            self.request,
            status,
            reason,
            to_tag=self._responder.stateless_tag(self.request),
            contact=contact,
            headers=(*headers, *self._responder.response_fields()),
            body=body,
            content_type=content_type if body else None,
        )

    def on_cancel(self, transaction: Transaction, cancel: Request) -> None:
        """Answer 487 to a request cancelled before the verdict."""
        if not self.is_answered:
            self.respond(487)

    def on_failed(self, transaction: Transaction, reason: Reason) -> None:
        """Ignore a missing ACK or a failed transport after a rejection."""
