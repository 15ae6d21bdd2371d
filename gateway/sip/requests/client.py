"""One request of ours until its final response: the next hop tried after a dead one, a challenge answered once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.sip.auth.account import Authenticator
from gateway.sip.errors import SipError
from gateway.sip.flow import Flow
from gateway.sip.message import build
from gateway.sip.message.message import Request, Response
from gateway.sip.transactions import Reason, Transaction
from gateway.sip.transactions.layer import StackFullError

if TYPE_CHECKING:
    from gateway.sip.user_agent import UserAgentCore

MAX_CHALLENGES = 4
"""How often one request may be challenged (by several proxies in turn, or for a stale nonce)."""


class ClientRequest:
    """Sends what `make` builds to the first of `flows` that answers.

    `make` is called for every try, so that each has a CSeq of its own. `done` gets
    the final response; silence and a broken transport count as 408 and 503 (RFC 3261 8.1.3.1). For an INVITE
    `done` gets every 2xx that comes, and `provisional` each 1xx.
    """

    __slots__ = (
        "_abandoned",
        "_challenges",
        "_core",
        "_done",
        "_flows",
        "_heard",
        "_make",
        "_provisional",
        "authenticator",
        "flow",
        "request",
        "transaction",
    )

    def __init__(
        self,
        core: UserAgentCore,
        make: Callable[[], Request],
        done: Callable[[Response], None],
        *,
        provisional: Callable[[Response], None] | None = None,
        authenticator: Authenticator | None = None,
    ) -> None:
        self._core = core
        self._make = make
        self._flows: list[Flow] = []
        self._done = done
        self._provisional = provisional
        self._challenges = 0
        self._abandoned = False
        self._heard = False
        self.authenticator = authenticator
        self.transaction: Transaction | None = None
        self.request: Request | None = None
        """The request as `make` built it last, without Via."""
        self.flow: Flow | None = None

    @property
    def credentials(self) -> build.Fields:
        """The fields that answered a challenge; an ACK of a 2xx repeats them (RFC 3261 22.1)."""
        if self.transaction is None:
            return ()
        request: Request = self.transaction.request
        return tuple(request.headers.only("Authorization", "Proxy-Authorization"))

    def begin(self, flows: tuple[Flow, ...]) -> None:
        """Send the first try. Without a flow, or where the stack is full, `done` gets a 503 at once."""
        if self._abandoned:
            return
        self._flows = list(flows)
        if self.authenticator is not None:
            self.authenticator.bind(flows)
        self._try_next(503)

    def abandon(self) -> None:
        """Try no further: the next final response is the last, and nothing is sent that was not sent yet."""
        self._abandoned = True
        self._flows = []

    def on_response(self, response: Response, source: Flow) -> None:
        """A response of the running transaction."""
        self._heard = True
        if response.is_provisional:
            if self._provisional is not None:
                self._provisional(response)
        elif response.status in (401, 407) and self._answer_challenge(response):
            return
        elif response.status == 503 and self._flows:
            self._try_next(503)
        else:
            if self.authenticator is not None and self.flow is not None and response.status not in (401, 407):
                self.authenticator.accepted(self.flow)
            self._done(response)

    def on_failed(self, reason: Reason) -> None:
        """The transaction ended without a final response."""
        self._try_next(408 if reason is Reason.TIMEOUT else 503)

    def _answer_challenge(self, challenge: Response) -> bool:
        if self._abandoned or self.authenticator is None or self.request is None or self.flow is None:
            return False
        if self._challenges >= MAX_CHALLENGES:
            return False
        self._challenges += 1
        try:
            worth_it = self.authenticator.challenged(challenge, self.flow)
        except SipError:
            self._core.counts["malformed challenge"] += 1
            return False
        return worth_it and self._send(self.flow)

    def _try_next(self, status: int) -> None:
        """RFC 3263 4.3: the next server, unless one has already been heard of."""
        while self._flows and (not self._heard or status == 503):
            self._heard = False
            if self._send(self._flows.pop(0)):
                return
        self._done(self._failure(status))

    def _send(self, flow: Flow) -> bool:
        try:
            self.request = self._make()
            if self.authenticator is not None:
                self.request = self.authenticator.authorize(self.request, flow)
            self.transaction = self._core.stack.send_request(self.request, flow, self._core.now())
        except StackFullError:
            return False
        except SipError as error:
            self._core.log_own_mistake(error)
            return False
        self.flow = flow
        self.transaction.user = self
        self._core.wake()
        return True

    def _failure(self, status: int) -> Response:
        if self.request is None:
            return Response(status, build.PHRASES[status])
        return build.response(self.request, status)
