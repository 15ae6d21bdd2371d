"""A dialog: the peer-to-peer relation between two user agents, named by Call-ID and two tags (RFC 3261 section 12)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum

from gateway.sip.errors import DialogError
from gateway.sip.flow import SECURE, WEBSOCKET, Flow
from gateway.sip.locate import direct_flow, is_usable_place, names_place
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.grammar import find_param
from gateway.sip.message.message import Message, Request, Response
from gateway.sip.message.uri import Uri

TARGET_REFRESH = frozenset(("INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"))
"""Methods with a Contact that moves the remote target (RFC 3261 12.2, 3311, 6665, 3515)."""
_CHANGES = frozenset(("INVITE", "UPDATE"))
"""Methods that may safely run twice, as both runs lead to an equal session."""
MAX_CSEQ = 0x7FFFFFFF
MAX_ROUTES = 32


@dataclass(frozen=True, slots=True)
class DialogId:
    """Identifier of a dialog at one side (RFC 3261 12); a peer of RFC 2543 may have no tag: ""."""

    call_id: str
    local_tag: str
    remote_tag: str

    @classmethod
    def of_request(cls, request: Request) -> DialogId:
        """Return the identifier for a received request, with its To tag as the local tag."""
        return cls(request.call_id, request.to_tag or "", request.from_tag or "")


class DialogState(Enum):
    """State of a dialog: early until a 2xx, then confirmed (RFC 3261 12)."""

    EARLY = "early"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Dialog:
    """State of one dialog and the requests built within.

    Transactions are unknown here: `request` and `ack` build requests without Via, `receive` checks received requests.
    All text in a message passes through the checked builders.
    """

    __slots__ = (
        "_flow_is_lost",
        "_on_over",
        "_sent_to",
        "asked_before",
        "contact",
        "device",
        "flow",
        "id",
        "identity",
        "instance",
        "is_by_flow",
        "is_direct",
        "is_initiator",
        "is_leaving",
        "local",
        "local_cseq",
        "moved",
        "remote",
        "remote_cseq",
        "remote_target",
        "route_set",
        "secure",
        "state",
        "waiting",
    )

    def __init__(
        self,
        *,
        id: DialogId,
        local: NameAddr,
        remote: NameAddr,
        remote_target: Uri,
        route_set: tuple[NameAddr, ...],
        local_cseq: int | None,
        remote_cseq: int | None,
        is_initiator: bool,
        contact: NameAddr | None,
        secure: bool,
        state: DialogState,
        flow: Flow | None = None,
    ) -> None:
        if len(route_set) > MAX_ROUTES:
            raise DialogError("too many Record-Route values", status=400)
        self.id = id
        self.local = local
        self.remote = remote
        self.remote_target = remote_target
        self.route_set = route_set
        self.local_cseq = local_cseq
        self.remote_cseq = remote_cseq
        self.is_initiator = is_initiator
        """True if we sent the request that created the dialog, and so own the Call-ID (RFC 3261 14.1)."""
        self.contact = contact
        """Local Contact, for target refresh requests."""
        self.secure = secure
        """True if the peer has a sips URI, so that our Contact must be one (RFC 3261 12.1, RFC 5630)."""
        self.state = state
        self.flow = flow
        """Flow from which the peer sends; see `lives_at`."""
        self.is_direct = False
        """True if requests go to the peer's flow rather than to its Contact (NAT, a connection)."""
        self.is_by_flow = False
        """True if the 2xx to our INVITE had no usable Contact or Record-Route: requests go to the INVITE's destination.
        """
        self.device: Uri | None = None
        """Request-URI for a peer with a GRUU of ours as Contact: the registered contact behind the GRUU (RFC 5627)."""
        self.identity: str | None = None
        """Authenticated identity of the peer; None if never authenticated."""
        self.instance: str | None = None
        """Instance of the peer's device (+sip.instance, RFC 5626 section 4.1); None if absent."""
        self.asked_before: int | None = None
        """CSeq of the peer's last request to the previous process: a peer may repeat a change without answer."""
        self.is_leaving = False
        """True while a BYE of ours waits for its response."""
        self._flow_is_lost = False
        self._sent_to: tuple[Flow, ...] = ()
        self._on_over: Callable[[], None] = _nobody
        self.waiting: tuple[Callable[[], None], ...] = ()
        """Callbacks for when the peer moves to another flow or the dialog ends."""
        self.moved: Callable[[], None] = _nobody
        """Callback for when requests to the peer get a new destination."""

    @classmethod
    def of_uac(cls, request: Request, response: Response, flow: Flow | None = None) -> Dialog:
        """Create the dialog from a 101-299 to our request (RFC 3261 12.1.2); see `take_way` for its route.

        Raise DialogError if the response creates none (no To tag), SipSyntaxError for malformed headers.
        """
        if not 100 < response.status < 300:
            raise DialogError("only 101 to 299 make a dialog")
        tag = response.to_tag
        if tag is None and response.status < 200:
            raise DialogError("provisional response has no To tag")
        dialog = cls(
            id=DialogId(request.call_id, request.from_tag or "", tag or ""),
            local=request.from_,
            remote=response.to,
            remote_target=request.uri,
            route_set=(),
            local_cseq=request.cseq.number,
            remote_cseq=None,
            is_initiator=True,
            contact=request.contact,
            secure=is_secure(request),
            state=DialogState.CONFIRMED if response.is_success else DialogState.EARLY,
            flow=flow,
        )
        dialog.take_way(response)
        return dialog

    def take_way(self, response: Response) -> None:
        """Take route set and remote target from a response to our request (RFC 3261 12.1.2).

        Without usable Contact or Record-Route, requests go to the destination of our request: an answer needs at least
        an ACK.
        """
        contact, routes = response.contact, tuple(reversed(response.record_route))
        can_follow = bool(routes) or "Record-Route" not in response.headers
        if len(routes) > MAX_ROUTES or not all(names_place(one.uri) for one in routes):
            can_follow, routes = False, ()
        has_target = contact is not None and names_place(contact.uri)
        self.is_by_flow = not (can_follow and has_target)
        self.route_set = routes
        if contact is not None and has_target:
            self.remote_target, self.instance = contact.uri, contact.instance
        self.is_by_flow = self.is_by_flow or _leads_nowhere(self)

    def go_by_flow(self) -> None:
        """Send requests over the dialog's flow, regardless of target and route set."""
        self.is_by_flow = True

    @classmethod
    def of_uas(
        cls, request: Request, local_tag: str, contact: NameAddr | None = None, flow: Flow | None = None
    ) -> Dialog:
        """Create the early dialog for our 101-299 to a request (RFC 3261 12.1.1); `confirm` the dialog with the 2xx.

        Raise DialogError (400) for a request without usable Contact, SipSyntaxError for malformed headers.
        """
        target = request.contact
        via = request.headers.get("Via")
        if target is None and via is not None and "z9hG4bK" not in via:
            # A client of RFC 2543 may omit Contact: requests then go to its From (RFC 4475 3.4.1).
            target = request.from_
        if target is None or not names_place(target.uri):
            raise DialogError("request has no SIP Contact", status=400)
        if not all(names_place(one.uri) for one in request.record_route):
            raise DialogError("request has a Record-Route that is no SIP URI", status=400)
        if len(request.contacts) > 1:
            raise DialogError("request has more than one Contact", status=400)
        dialog = cls(
            id=DialogId(request.call_id, local_tag, request.from_tag or ""),
            local=request.to.with_tag(local_tag),
            remote=request.from_,
            remote_target=target.uri,
            route_set=request.record_route,
            local_cseq=None,
            remote_cseq=request.cseq.number,
            is_initiator=False,
            contact=contact,
            secure=is_secure(request),
            state=DialogState.EARLY,
            flow=flow,
        )
        dialog.instance, dialog.is_by_flow = target.instance, _leads_nowhere(dialog)
        return dialog

    @classmethod
    def of_notify(cls, subscribe: Request, notify: Request, flow: Flow | None = None) -> Dialog:
        """Create the dialog from the first NOTIFY of our subscription (RFC 6665 section 4.4.1).

        Raise DialogError (400) for a NOTIFY without usable Contact, SipSyntaxError for malformed headers.
        """
        contact = notify.contact
        if contact is None or not contact.uri.is_sip:
            raise DialogError("a NOTIFY has a SIP Contact", status=400)
        return cls(
            id=DialogId(subscribe.call_id, subscribe.from_tag or "", notify.from_tag or ""),
            local=subscribe.from_,
            remote=notify.from_,
            remote_target=contact.uri,
            route_set=notify.record_route,
            local_cseq=subscribe.cseq.number,
            remote_cseq=None,
            is_initiator=True,
            contact=subscribe.contact,
            secure=is_secure(subscribe),
            state=DialogState.CONFIRMED,
            flow=flow,
        )

    def __repr__(self) -> str:
        return f"Dialog({self.state.value}, {'initiator' if self.is_initiator else 'callee'})"

    def confirm(self, response: Response | None = None) -> None:
        """Confirm the dialog, with the received 2xx as UAC or after sending the 2xx as UAS.

        A UAC takes route set and remote target from the 2xx again (RFC 3261 13.2.2.4).
        """
        if self.state is DialogState.TERMINATED:
            raise DialogError("dialog is over", status=481)
        if response is not None and self.is_initiator and self.state is DialogState.EARLY:
            self.take_way(response)
        self.state = DialogState.CONFIRMED

    def terminate(self) -> None:
        """End the dialog: BYE, failure of the first INVITE, 481 or 408 (RFC 3261 12.2.1.2, 12.3)."""
        self.state, self.is_leaving = DialogState.TERMINATED, False
        callback, self._on_over, self.moved = self._on_over, _nobody, _nobody
        callback()
        self._tell_who_waits()

    def when_over(self, callback: Callable[[], None]) -> bool:
        """Set the only callback for the dialog's end. Return False if the dialog has already ended."""
        if self.state is DialogState.TERMINATED:
            return False
        self._on_over = callback
        return True

    def refresh_target(self, message: Message) -> None:
        """Move the remote target to the Contact of a successful target refresh (RFC 6141 section 4).

        Call for a received request when its 2xx is sent, for a received 2xx at once. A missing or non-SIP Contact
        leaves the target unchanged.
        """
        contact = message.contact
        if contact is not None and names_place(contact.uri):
            self.remote_target = contact.uri
            self.is_by_flow = self.is_by_flow or _leads_nowhere(self)

    def request(
        self,
        method: str,
        *,
        headers: build.Fields = (),
        body: bytes = b"",
        content_type: str | None = None,
    ) -> Request:
        """Build the next request in the dialog, with the CSeq increased by one (RFC 3261 12.2.1.1); not ACK or CANCEL.

        Raise DialogError once the dialog has ended.
        """
        if self.state is DialogState.TERMINATED:
            raise DialogError("dialog is over", status=481)
        if method in ("ACK", "CANCEL"):
            raise DialogError(f"{method} takes the number of its INVITE")
        if self.local_cseq is None:
            # Any start below 2**31 is allowed (12.1.1 leaves it open); starting at 1 is easy to read in a trace.
            self.local_cseq = 0
        if self.local_cseq >= MAX_CSEQ:
            raise DialogError("CSeq is used up")
        self.local_cseq += 1
        return self._build(method, self.local_cseq, headers, body, content_type)

    def ack(
        self,
        cseq: int,
        *,
        headers: build.Fields = (),
        body: bytes = b"",
        content_type: str | None = None,
    ) -> Request:
        """Build the ACK of a 2xx (RFC 3261 13.2.2.4) with the INVITE's `cseq` and credentials in `headers`."""
        return self._build("ACK", cseq, headers, body, content_type)

    def _build(self, method: str, cseq: int, headers: build.Fields, body: bytes, content_type: str | None) -> Request:
        uri, route = self.route()
        return build.request(
            method,
            uri,
            from_=self.local,
            to=self.remote,
            call_id=self.id.call_id,
            cseq=cseq,
            route=route,
            contact=self.contact if method in TARGET_REFRESH else None,
            headers=headers,
            body=body,
            content_type=content_type,
        )

    def route(self) -> tuple[Uri, tuple[NameAddr, ...]]:
        """Return Request-URI and Route for requests in the dialog, loose or strict (RFC 3261 12.2.1.1)."""
        target = self.remote_target
        if self.device is not None and is_gruu(target):
            target = self.device
        if not self.route_set:
            return target, ()
        first = self.route_set[0].uri
        if first.is_loose_router:
            return target, self.route_set
        return first.without_headers(), (*self.route_set[1:], NameAddr(target))

    @property
    def next_hop(self) -> Uri:
        """Return the next hop of requests: the first route, strict or loose, else the remote target."""
        return self.route_set[0].uri if self.route_set else self.remote_target

    @property
    def hops(self) -> tuple[Uri | Flow, ...]:
        """Return the destinations of requests in order of trial; later ones count after the connection is lost."""
        if self.flow is not None and not self._flow_is_lost:
            if self.is_by_flow:
                return (self.flow,)
            if self.is_direct and not self.route_set:
                return self.flow, self.remote_target
        return (self.next_hop,)

    @property
    def last_resort(self) -> Flow | None:
        """Return the flow to use if `hops` lead nowhere; None once its connection is lost."""
        return None if self._flow_is_lost else self.flow

    def lives_at(self, source: Flow) -> bool:
        """Return True if a request from `source` needs no proof of coming from the peer.

        The peer's places are its flow and the destinations of our requests. UDP compares address and port, TCP and TLS
        the address, as servers open new connections. WebSocket compares the connection: browsers behind one proxy share
        an address.
        """
        if self.flow is not None and _is_same_place(self.flow, source):
            return True
        return any(_is_same_place(one, source) for one in (*self._sent_to, *_flows_of(self.next_hop)))

    def heard_from(self, source: Flow) -> None:
        """Process a request from a known place of the peer: a new connection replaces a lost one."""
        if self._flow_is_lost:
            self.move(source)

    def move(self, flow: Flow) -> None:
        """Move the dialog to `flow`, after the peer has proved to be there."""
        before, self.flow = self.flow, flow
        self._flow_is_lost = False
        if flow != before:
            self.moved()
        self._tell_who_waits()

    def _tell_who_waits(self) -> None:
        for callback in self.waiting:
            callback()

    @property
    def has_lost_flow(self) -> bool:
        """Return True if the dialog's connection is lost and not replaced."""
        return self._flow_is_lost

    @property
    def is_by_its_connection(self) -> bool:
        """Return True if the peer is reachable only by its own WebSocket connection (RFC 7118 section 5)."""
        return self.is_direct and not self.route_set and self.flow is not None and self.flow.transport in WEBSOCKET

    def registered(self, identity: str, contacts: Collection[NameAddr], flow: Flow) -> None:
        """Move a dialog with a lost connection to the flow of its peer's new registration (RFC 5626 5.3).

        Never from a secure flow to an insecure one. +sip.instance tells apart phones of one user behind one NAT, as a
        Contact's port may belong to the lost connection. A browser's new WebSocket counts before the loss is noticed.
        """
        if self.flow is not None and self.flow.transport in SECURE and flow.transport not in SECURE:
            return
        is_gone = self.is_by_its_connection and self.instance in {one.instance for one in contacts} - {None}
        is_its_own = (self._flow_is_lost or is_gone) and self.identity == identity and not self.route_set
        if is_its_own and any(self._is_of_peer(one) for one in contacts):
            self.is_direct = True
            self.move(flow)

    def port_changed(self, contacts: Collection[NameAddr], flow: Flow) -> None:
        """Follow a new NAT port of the peer, which has registered over UDP from `flow` with these contacts.

        Never to another host: phones of one user behind two NATs may use equal Contacts.
        """
        mine, target = self.flow, self.route()[0]
        if not self.is_behind_nat or mine is None or (mine.host, mine.local) != (flow.host, flow.local):
            return
        if any(self._is_of_peer(one) and one.uri.port == target.port for one in contacts):
            self.move(flow)

    @property
    def is_behind_nat(self) -> bool:
        """Return True if requests go to the peer's UDP source, a port that its NAT may change."""
        return self.is_direct and not self.route_set and self.flow is not None and self.flow.transport == "udp"

    def _is_of_peer(self, contact: NameAddr) -> bool:
        mine, theirs = self.route()[0], contact.uri
        if self.instance is not None and contact.instance is not None and self.instance != contact.instance:
            return False
        return (theirs.username, theirs.host.lower()) == (mine.username, mine.host.lower())

    def sent_to(self, flows: tuple[Flow, ...]) -> None:
        """Record the destinations of our requests in the dialog as places of the peer."""
        self._sent_to = flows

    def is_asked_at(self, host: str, port: int) -> bool:
        """Return True if our last request in the dialog went to `host` and `port`."""
        sent = self._sent_to
        return bool(sent) and sent[0].port == port and sent[0].host == host

    def found_again(self) -> None:
        """Move the dialog to the destination of our last request, after the peer answered from there."""
        if self._sent_to:
            self.move(self._sent_to[0])

    def flow_lost(self, flow: Flow) -> bool:
        """Mark the dialog's connection as lost. Return True if `flow` was the connection."""
        mine = self.flow
        if mine is None or not flow.reliable:
            return False
        if (mine.transport, mine.host, mine.port) != (flow.transport, flow.host, flow.port):
            return False
        if mine.local and flow.local and mine.local != flow.local:
            return False
        self._flow_is_lost = True
        return True

    def receive(self, request: Request) -> None:
        """Check a request that matches the dialog; raise DialogError with the status of the response.

        481 after the end of the dialog, 500 for a CSeq that does not rise (RFC 3261 12.2.2). ACK and CANCEL repeat the
        INVITE's number and are not checked.
        """
        if self.state is DialogState.TERMINATED:
            raise DialogError("dialog is over", status=481)
        if request.method in ("ACK", "CANCEL"):
            return
        number = request.cseq.number
        if self.remote_cseq is None or number > self.remote_cseq:
            self.remote_cseq = number
        elif request.method in _CHANGES and number == self.remote_cseq == self.asked_before:
            self.asked_before = None
        elif request.method != "PRACK":
            # Deviation from 12.2.2: a PRACK overtaken by an UPDATE is accepted, as its RAck identifies the response.
            raise DialogError("CSeq does not rise", status=500)


def _nobody() -> None:
    """Ignore the event, as no callback is set."""


def is_gruu(uri: Uri) -> bool:
    """Return True if the URI is a GRUU, which reaches one device from anywhere (RFC 5627 section 3.1)."""
    return find_param(uri.params, "gr") is not None


def wants_flow(contact: Uri) -> bool:
    """Return True if requests to `contact` must go to the peer's flow (RFC 5626 4.3).

    A GRUU of ours can be reached only over the flow by which its device registered.
    """
    return find_param(contact.params, "ob") is not None or is_gruu(contact)


def is_secure(request: Request) -> bool:
    """Return True if the INVITE requires sips URIs in the Contacts of its dialog (RFC 3261 8.1.1.8, 12.1.1)."""
    first = request.record_route or request.route or request.contacts
    return request.uri.scheme == "sips" or (bool(first) and first[0].uri.scheme == "sips")


def _is_same_place(known: Flow, source: Flow) -> bool:
    if (known.transport, known.host) != (source.transport, source.host):
        return False
    if known.transport in WEBSOCKET:
        return known.port == source.port and known.local == source.local
    return known.reliable or known.port == source.port


def _flows_of(hop: Uri) -> tuple[Flow, ...]:
    """Return the flow for a URI with an IP address; () for a host name."""
    flow = direct_flow(hop) if names_place(hop) else None
    return (flow,) if flow is not None else ()


def _leads_nowhere(dialog: Dialog) -> bool:
    """Return True if the next hop is no address of a peer, while the flow of the dialog is known."""
    flow = dialog.flow
    return flow is not None and bool(flow.host) and not is_usable_place(dialog.next_hop, flow.ip_version)
