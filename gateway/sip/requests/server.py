"""One request of the peer's until it is answered, outside a dialog or in one (RFC 3261 8.2, 12.2.2)."""

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
    """What answers go out by."""

    counts: Counter[str]

    def respond(self, transaction: Transaction, response: Response) -> bytes:
        """Answer in the transaction; gives the bytes."""

    def refuse(self, transaction: Transaction, response: Response) -> None:
        """Answer once and forget the transaction."""

    def stateless_tag(self, request: Request) -> str:
        """A To tag that is the same for every copy of a request."""

    def not_built(self, error: SipError) -> None:
        """A message of ours could not be written."""

    def response_fields(self) -> build.Fields:
        """What every response of ours carries."""

    @property
    def retry_after(self) -> int:
        """Seconds that a 503 asks to wait where nobody knows better."""


class ServerRequest:
    """Answers one request at most once: refused without state, or in its transaction."""

    __slots__ = ("_responder", "is_answered", "is_proved", "request", "source", "transaction")

    def __init__(self, responder: Responder, transaction: Transaction, request: Request, source: Flow) -> None:
        self._responder = responder
        self.transaction = transaction
        self.request = request
        self.source = source
        self.is_answered = False
        """Whether a final response went out, or somebody else has taken the transaction over."""
        self.is_proved = False
        """True once the application knows the sender."""

    def take(self, verdict: Accepted) -> None:
        """Note what the application knows of the sender."""
        self.is_proved = verdict.is_proof and verdict.identity is not None

    def refuse(self, refusal: Refused) -> None:
        """Answer and keep nothing, so that strangers cost no memory and cannot aim retransmissions."""
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
        """Answer in the transaction with a final response; gives the bytes that went out."""
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
            # Without it a peer may take us for gone, and a proxy us out of its list (RFC 3261 section 21.5.4).
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
        """The caller gave up before the verdict."""
        if not self.is_answered:
            self.respond(487)

    def on_failed(self, transaction: Transaction, reason: Reason) -> None:
        """No ACK came for our refusal, or the transport failed: nothing depends on it."""
