"""Outgoing request until its final response: failover to the next hop, answers to challenges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.sip.auth.account import Authenticator
from gateway.sip.dialogs.ports import Core, Hop
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.errors import DialogError, SipError
from gateway.sip.flow import Flow
from gateway.sip.message import build
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.transactions import Input, Reason, Transaction
from gateway.sip.transactions.via import same_way

MAX_CHALLENGES = 4
"""Challenges answered per request (by several proxies in turn, or for a stale nonce)."""


class Awaited(Protocol):
    """Hop with a location known only later."""

    def locate(self, failed: Flow | None, done: Callable[[tuple[Flow, ...]], None]) -> None:
        """Pass the flows to the hop to `done`, immediately or later, () for none; `failed`: the flow tried last."""


class ClientRequest:
    """Sends the request built by `make` to the first of `hops` with a response, after `begin`.

    `make(flow)` is called for each attempt, for a new CSeq and a Contact reachable from there. `done` always gets a
    final response; no response counts as 408, a transport failure as 503 (RFC 3261 8.1.3.1). For an INVITE `done` gets
    every 2xx, and `provisional` each 1xx. `retried` is called before every attempt except the first.
    """

    __slots__ = (
        "_challenges",
        "_core",
        "_done",
        "_family",
        "_flows",
        "_has_answered",
        "_has_reconnected",
        "_hop",
        "_hops",
        "_is_abandoned",
        "_is_cancelled",
        "_is_final",
        "_is_told",
        "_living",
        "_make",
        "_otherwise",
        "_provisional",
        "_retried",
        "_sent",
        "_udp",
        "authenticator",
        "flow",
        "has_responded",
        "is_broken",
        "owner",
        "request",
        "source",
        "transaction",
    )

    def __init__(
        self,
        core: Core,
        make: Callable[[Flow], Request],
        done: Callable[[Response], None],
        *,
        owner: DialogUsage | None = None,
        provisional: Callable[[Response], None] | None = None,
        retried: Callable[[], None] | None = None,
        sent: Callable[[], None] | None = None,
        authenticator: Authenticator | None = None,
        family: int = 0,
    ) -> None:
        """`family`: the only IP version allowed, 4 or 6; 0 for both."""
        self._core = core
        self._make: Callable[[Flow], Request] | None = make
        self._done = done
        self._provisional = provisional
        self._retried = retried
        self._sent = sent
        self._family = family
        self._hops: list[Hop | Awaited] = []
        self._hop: Hop | None = None
        self._otherwise: Flow | None = None
        self._udp: Flow | None = None
        """UDP flow to fall back to if the peer refuses TCP, chosen for the request's size."""
        self._flows: list[Flow] = []
        self._challenges = 0
        self._is_abandoned = False
        self._is_cancelled = False
        self._has_answered = False
        self.has_responded = False
        """True after a response to any attempt."""
        self.is_broken = False
        """True if the connection of the last attempt closed before a final response."""
        self._has_reconnected = False
        self._is_final = False
        self._is_told = False
        """True once `done` has the final response of the last attempt."""
        self._living = 0
        """Attempts with a transaction: each attempt of an INVITE may get a 2xx."""
        self.owner = owner
        """Usage to end after an exception in a callback."""
        self.authenticator = authenticator
        self.transaction: Transaction | None = None
        self.request: Request | None = None
        """Request as built last by `make`, without Via."""
        self.flow: Flow | None = None
        self.source = Flow("udp", "", 0)
        """Source of the last response."""

    def credentials(self, flow: Flow) -> build.Fields:
        """Return the credentials for the ACK of a 2xx (RFC 3261 22.1).

        None for another next hop than the challenge's: a holder of the digest can guess the password.
        """
        assert self.transaction is not None
        assert self.flow is not None
        if (flow.transport, flow.host, flow.port) != (self.flow.transport, self.flow.host, self.flow.port):
            return ()
        request: Request = self.transaction.request
        return tuple(request.headers.only("Authorization", "Proxy-Authorization"))

    def begin(self, *hops: Hop | Awaited, otherwise: Flow | None = None) -> None:
        """Send the first attempt. Without a flow, or with a full stack, `done` gets a 503.

        `otherwise`: flow to use if no hop leads anywhere.
        """
        self._hops, self._otherwise = list(hops), otherwise
        self._locate(503)

    def again(self) -> bool:
        """Resend the request to the answering server; return False if nothing may be sent any more."""
        return not self._is_abandoned and self.flow is not None and self._send(self.flow)

    def abandon(self) -> None:
        """Stop retrying: the next final response is the last, and no unsent attempt leaves."""
        self._is_abandoned = True
        self._hops, self._otherwise = [], None
        self._flows = []
        self._udp = None

    def withdraw(self) -> None:
        """Stop the request, not an INVITE, and its retransmissions, as no response is needed any more."""
        self.abandon()
        if self.transaction is not None and not self._is_final:
            self.transaction.step(Input.TRANSPORT_ERROR, self._core.now())

    def goes_on(self) -> None:
        """Try the next hop for an unanswered request, not an INVITE, after its peer has moved."""
        if self.transaction is not None and self._living and not self._has_answered:
            self.transaction.step(Input.TRANSPORT_ERROR, self._core.now())

    def cancel(self) -> None:
        """Cancel an INVITE, at its first 1xx if none arrived yet (RFC 3261 9.1); a 2xx may still arrive."""
        self.abandon()
        self._is_cancelled = True
        if self._has_answered and not self._is_final and self.transaction is not None:
            self._core.send_cancel(self.transaction, ())

    def on_response(self, response: Response, source: Flow) -> None:
        """Process a response of the running transaction, or a late 2xx to an earlier attempt of an INVITE."""
        self.source = source
        if self.request is not None and response.cseq.number != self.request.cseq.number:
            # The response does not belong to the running attempt (RFC 3261 13.2.2.4).
            self._done(response)
            return
        if self._is_cancelled and response.is_provisional and not self._has_answered and self.transaction is not None:
            self._core.send_cancel(self.transaction, ())
        self._has_answered = self.has_responded = True
        if self._udp is not None:
            self._flows.remove(self._udp)
            self._udp = None
        self._is_final = response.is_final
        if response.is_provisional:
            if self._provisional is not None:
                self._provisional(response)
        elif response.status in (401, 407) and self._answer_challenge(response):
            return
        elif response.status == 503 and (self._flows or self._hops):
            self._try_next(503)
        else:
            if self.authenticator is not None and self.flow is not None and response.status not in (401, 407):
                self.authenticator.accepted(self.flow)
            self._tell(response)

    def _tell(self, response: Response) -> None:
        self._is_told = True
        self._done(response)

    def release(self) -> None:
        """Record the end of an attempt's transaction; after the last one drop all callbacks."""
        self._living -= 1
        if self._is_told and not self._living:
            self._done = _nobody
            self._make = self._provisional = self._retried = self._sent = self.owner = None

    def on_failed(self, transaction: Transaction, reason: Reason) -> None:
        """Process a transaction that ended without a final response, or could not send its ACK."""
        if transaction is not self.transaction or self._is_final:
            return
        self.is_broken = reason is Reason.TRANSPORT_ERROR
        if self._has_answered or self._is_abandoned:
            # A peer that responded may have forwarded the request: no attempt elsewhere (RFC 3263 4.3).
            self._tell(self._failure(408 if reason is Reason.TIMEOUT else 503))
        elif self._udp is not None:
            self._core.only_by_udp(self._udp)
            self._udp = None
            self._try_next(503)
        elif not (reason is Reason.TRANSPORT_ERROR and self._reconnect()):
            self._try_next(408 if reason is Reason.TIMEOUT else 503)

    def _reconnect(self) -> bool:
        """Resend a BYE over a new connection, after its connection broke and no other route exists.

        Owners of other requests decide themselves; without BYE the call would never end.
        """
        request, flow = self.request, self.flow
        if self._has_reconnected or self._flows or self._hops or request is None or flow is None:
            return False
        self._has_reconnected = True
        return flow.reliable and request.method == "BYE" and self._send(flow)

    def _answer_challenge(self, challenge: Response) -> bool:
        if self._is_abandoned or self.authenticator is None or self._challenges >= MAX_CHALLENGES:
            return False
        assert self.flow is not None
        self._challenges += 1
        return self.authenticator.challenged(challenge, self.flow) and self._send(self.flow)

    @property
    def _may_go_otherwise(self) -> bool:
        """Return True if sending to every hop failed and another flow remains."""
        if self._otherwise is None or self.flow is None:
            return self._otherwise is not None
        return self.is_broken and not same_way(self.flow, self._otherwise)

    def _locate(self, status: int) -> None:
        """Resolve the next hop; without hops report `status`."""
        if not self._hops and self._may_go_otherwise:
            assert self._otherwise is not None
            self._hops, self._otherwise = [self._otherwise], None
        if not self._hops:
            self._tell(self._failure(status))
            return

        def located(flows: tuple[Flow, ...]) -> None:
            flows = tuple(flow for flow in flows if self._family in (0, flow.ip_version))
            self._flows = [] if self._is_abandoned else list(flows)
            if self.authenticator is not None:
                self.authenticator.bind(flows)
            self._try_next(status)

        hop = self._hops.pop(0)
        if isinstance(hop, Uri | Flow):
            self._hop = hop
            self._core.locate(hop, located, self.owner)
        else:
            hop.locate(self.flow, located)

    def _try_next(self, status: int) -> None:
        """Try the next server (RFC 3263 4.3)."""
        while self._flows:
            if self._send(self._flows.pop(0)):
                return
        self._locate(status)

    def _send(self, flow: Flow) -> bool:
        if self.transaction is not None and self._retried is not None:
            self._retried()
        try:
            request = self._built(flow)
            tcp = self._core.by_tcp(request, self._hop, flow)
            way = tcp or flow
            if tcp is not None:
                request = self._built(tcp)
            transaction = self._core.send_request(request, way)
        except DialogError:
            return False  # the dialog has ended meanwhile, so no request is needed
        except SipError as error:
            self._core.not_built(error)
            return False
        if tcp is not None:
            self._udp = flow
            self._flows.insert(0, flow)
        self._has_answered = self._is_final = self._is_told = self.is_broken = False
        self._living += 1
        self.request, self.transaction, self.flow = request, transaction, way
        transaction.user = self
        if self._sent is not None:
            self._sent()
        self._core.wake()
        return True

    def _built(self, flow: Flow) -> Request:
        assert self._make is not None, "nothing is sent after the last response"
        request = self._make(flow)
        if self.authenticator is not None:
            request = self.authenticator.authorize(request, flow)
        return self._core.sign(request, flow)

    def _failure(self, status: int) -> Response:
        if self.request is None:
            return Response(status, build.PHRASES[status])
        return build.response(self.request, status)


def _nobody(response: Response) -> None:
    """Ignore responses after the final one."""
