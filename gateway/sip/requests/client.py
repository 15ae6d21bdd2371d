"""One request of ours until its final response: the next hop tried after a dead one, a challenge answered once."""

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
"""How often one request may be challenged (by several proxies in turn, or for a stale nonce)."""


class Awaited(Protocol):
    """A hop of which only time tells where it is."""

    def locate(self, failed: Flow | None, done: Callable[[tuple[Flow, ...]], None]) -> None:
        """The flows to it, now or later, () for none; `failed` is the one that was tried last."""


class ClientRequest:
    """Sends what `make` builds to the first of `hops` that answers, once `begin` is called.

    `make` is called for every try with the flow it goes to, so that each has a CSeq of its own and names the Contact
    that a peer there can reach. `done` gets the final response, always:
    silence and a broken transport count as 408 and 503 (RFC 3261 8.1.3.1).
    For an INVITE `done` gets every 2xx that comes, and `provisional` each 1xx. `retried` is called before every try
    but the first.
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
        """`family`: the IP version, 4 or 6, by which alone it may go; 0 for any."""
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
        """Where it goes by UDP should nobody take the TCP that it was sent by for its size."""
        self._flows: list[Flow] = []
        self._challenges = 0
        self._is_abandoned = False
        self._is_cancelled = False
        self._has_answered = False
        self.has_responded = False
        """Whether any response has come, to whichever try."""
        self.is_broken = False
        """Whether the connection of the last try was gone before there was a final response."""
        self._has_reconnected = False
        self._is_final = False
        self._is_told = False
        """Whether `done` has had the final response of the try that is the last."""
        self._living = 0
        """How many tries have a transaction: a 2xx may come to each of an INVITE."""
        self.owner = owner
        """The usage that answers for a mistake in what is done with the response."""
        self.authenticator = authenticator
        self.transaction: Transaction | None = None
        self.request: Request | None = None
        """The request as `make` built it last, without Via."""
        self.flow: Flow | None = None
        self.source = Flow("udp", "", 0)
        """Flow by which the last response came."""

    def credentials(self, flow: Flow) -> build.Fields:
        """The fields that answered a challenge, for the ACK of a 2xx (RFC 3261 22.1).

        None of them for another next hop than the challenge came from: who holds them can guess the password.
        """
        assert self.transaction is not None
        assert self.flow is not None
        if (flow.transport, flow.host, flow.port) != (self.flow.transport, self.flow.host, self.flow.port):
            return ()
        request: Request = self.transaction.request
        return tuple(request.headers.only("Authorization", "Proxy-Authorization"))

    def begin(self, *hops: Hop | Awaited, otherwise: Flow | None = None) -> None:
        """Send the first try. Without a flow, or where the stack is full, `done` gets a 503.

        `otherwise` is the flow to send it by where none of the hops leads anywhere.
        """
        self._hops, self._otherwise = list(hops), otherwise
        self._locate(503)

    def again(self) -> bool:
        """Send it once more to the server that answered; False where nothing may be sent any more."""
        return not self._is_abandoned and self.flow is not None and self._send(self.flow)

    def abandon(self) -> None:
        """Try no further: the next final response is the last, and nothing is sent that was not sent yet."""
        self._is_abandoned = True
        self._hops, self._otherwise = [], None
        self._flows = []
        self._udp = None

    def withdraw(self) -> None:
        """Nobody waits for the answer of this request, which is no INVITE, any more: it is not sent again either."""
        self.abandon()
        if self.transaction is not None and not self._is_final:
            self.transaction.step(Input.TRANSPORT_ERROR, self._core.now())

    def goes_on(self) -> None:
        """Whoever it was sent to is elsewhere by now: a request that is no INVITE and has no answer tries the next."""
        if self.transaction is not None and self._living and not self._has_answered:
            self.transaction.step(Input.TRANSPORT_ERROR, self._core.now())

    def cancel(self) -> None:
        """Take an INVITE back as soon as a 1xx came (RFC 3261 9.1); it may still be answered with a 2xx."""
        self.abandon()
        self._is_cancelled = True
        if self._has_answered and not self._is_final and self.transaction is not None:
            self._core.send_cancel(self.transaction, ())

    def on_response(self, response: Response, source: Flow) -> None:
        """A response of the running transaction, or a late 2xx to an INVITE of a try before."""
        self.source = source
        if self.request is not None and response.cseq.number != self.request.cseq.number:
            # It says nothing of the try that is under way (RFC 3261 13.2.2.4).
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
        """The transaction of a try has ended: once none is left nobody is to be told anything any more."""
        self._living -= 1
        if self._is_told and not self._living:
            self._done = _nobody
            self._make = self._provisional = self._retried = self._sent = self.owner = None

    def on_failed(self, transaction: Transaction, reason: Reason) -> None:
        """A transaction of ours ended without a final response, or could not send the ACK of one."""
        if transaction is not self.transaction or self._is_final:
            return
        self.is_broken = reason is Reason.TRANSPORT_ERROR
        if self._has_answered or self._is_abandoned:
            # Who has answered once may have forwarded it: it is not tried elsewhere (RFC 3263 4.3).
            self._tell(self._failure(408 if reason is Reason.TIMEOUT else 503))
        elif self._udp is not None:
            self._core.only_by_udp(self._udp)
            self._udp = None
            self._try_next(503)
        elif not (reason is Reason.TRANSPORT_ERROR and self._reconnect()):
            self._try_next(408 if reason is Reason.TIMEOUT else 503)

    def _reconnect(self) -> bool:
        """The connection broke with a BYE on it, and there is no other way: once more, by a new connection.

        Other requests have somebody who decides what becomes of them; nobody would end this call.
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
        """Whether nothing could be sent to any hop, and there is another way."""
        if self._otherwise is None or self.flow is None:
            return self._otherwise is not None
        return self.is_broken and not same_way(self.flow, self._otherwise)

    def _locate(self, status: int) -> None:
        """Look for flows at the next hop; `status` is what to say where none is left."""
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
        """RFC 3263 4.3: the next server."""
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
            return False  # its dialog is over meanwhile, and nobody is there to be asked
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
    """Whoever asked knows the answer."""
