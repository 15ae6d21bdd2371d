"""A request outside any dialog between its arrival and the application's verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.sip.errors import DialogError, SipBuildError, SipSyntaxError
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Field, Refused, Verdict
from gateway.sip.message import build
from gateway.sip.message.message import Request, Response
from gateway.sip.transactions import Reason, Transaction

if TYPE_CHECKING:
    from gateway.sip.user_agent import UserAgentCore


class Pending:
    """Answers one request at most once: refused without state, or in its transaction."""

    __slots__ = ("_core", "_done", "request", "source", "transaction")

    def __init__(self, core: UserAgentCore, transaction: Transaction, request: Request, source: Flow) -> None:
        self._core = core
        self.transaction = transaction
        self.request = request
        self.source = source
        self._done = False

    def judged(self, verdict: Verdict, handler: Callable[[Pending, str | None], None]) -> None:
        """The application has decided."""
        if self._done:
            return
        if isinstance(verdict, Refused):
            self.refuse(verdict)
            return
        try:
            self._done = True
            handler(self, verdict.identity)
        except (SipSyntaxError, DialogError) as error:
            self._done = False
            self.refuse_for(error)

    def refuse(self, refusal: Refused) -> None:
        """Answer and keep nothing, so that strangers cost no memory and cannot aim retransmissions."""
        self._done = True
        stack = self._core.stack
        try:
            response = self._response(refusal.status, refusal.headers, refusal.reason)
        except SipBuildError as error:
            self._core.log_own_mistake(error)
            response = build.response(self.request, 500, to_tag=stack.stateless_tag(self.request))
        self._core.counts[f"refused {refusal.status}"] += 1
        stack.refuse(self.transaction, response)

    def refuse_for(self, error: SipSyntaxError | DialogError) -> None:
        """Refuse with the status that an error names."""
        status = error.status or 400
        fields: tuple[Field, ...] = ()
        if isinstance(error, DialogError):
            if error.retry_after is not None:
                fields = (("Retry-After", str(error.retry_after)),)
            if status == 422:
                fields = (*fields, ("Min-SE", str(self._core.config.session_timer.minimum)))
        self.refuse(Refused(status, headers=fields))

    def respond(self, status: int, headers: build.Fields = (), reason: str | None = None) -> None:
        """Answer in the transaction."""
        self._done = True
        try:
            response = self._response(status, headers, reason)
        except SipBuildError as error:
            self._core.log_own_mistake(error)
            response = self._response(500, (), None)
        self._core.stack.respond(self.transaction, response, self._core.now())

    def _response(self, status: int, headers: build.Fields, reason: str | None) -> Response:
        tag = self._core.stack.stateless_tag(self.request)
        fields = (*headers, *self._core.server_fields())
        return build.response(self.request, status, reason, to_tag=tag, headers=fields)

    def on_cancel(self, transaction: Transaction, cancel: Request) -> None:
        """The caller gave up before the verdict."""
        if not self._done:
            self.respond(487)

    def on_failed(self, reason: Reason) -> None:
        """No ACK came for our refusal, or the transport failed: nothing depends on it."""
