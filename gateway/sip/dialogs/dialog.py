"""A dialog: the peer-to-peer relation two user agents keep by Call-ID and two tags (RFC 3261 section 12)."""

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
"""Methods whose Contact moves the remote target (RFC 3261 12.2, 3311, 6665, 3515)."""
_CHANGES = frozenset(("INVITE", "UPDATE"))
"""What may be done a second time: it leads to the same session."""
MAX_CSEQ = 0x7FFFFFFF
MAX_ROUTES = 32


@dataclass(frozen=True, slots=True)
class DialogId:
    """What names a dialog at one side (RFC 3261 12); a peer of RFC 2543 may have no tag: ""."""

    call_id: str
    local_tag: str
    remote_tag: str

    @classmethod
    def of_request(cls, request: Request) -> DialogId:
        """The dialog a received request belongs to: the To tag is ours."""
        return cls(request.call_id, request.to_tag or "", request.from_tag or "")


class DialogState(Enum):
    """RFC 3261 12: early until a 2xx, then confirmed."""

    EARLY = "early"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Dialog:
    """One dialog's state and the requests made in it.

    Nothing here knows transactions: `request` and `ack` give requests without Via, `receive` judges those that
    came. All text that reaches a message goes through the checked builders.
    """

    __slots__ = (
        "_flow_is_lost",
        "_sent_to",
        "_told",
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
        """Whether we sent the request that made the dialog; that side owns the Call-ID (RFC 3261 14.1)."""
        self.contact = contact
        """Our own Contact, written into target refresh requests."""
        self.secure = secure
        """Whether the peer is a sips URI, so that our Contact must be one (RFC 3261 12.1, RFC 5630)."""
        self.state = state
        self.flow = flow
        """Where the peer speaks from; see `lives_at`."""
        self.is_direct = False
        """Whether the peer is reached where it speaks from rather than at its Contact (NAT, a connection)."""
        self.is_by_flow = False
        """True where the 2xx of our INVITE had no usable Contact or Record-Route: requests go where the INVITE went."""
        self.device: Uri | None = None
        """The contact behind a GRUU of ours, where the peer calls itself so: it is the Request-URI then (RFC 5627)."""
        self.identity: str | None = None
        """Who the peer has proved to be; None where nobody asked."""
        self.instance: str | None = None
        """Which device of theirs it is (+sip.instance, RFC 5626 section 4.1); None where it has not said."""
        self.asked_before: int | None = None
        """The number of the peer's last request to another process: a change that this did not live to answer, or whose
        answer was lost, comes again."""
        self.is_leaving = False
        """Whether a BYE of ours waits for its answer."""
        self._flow_is_lost = False
        self._sent_to: tuple[Flow, ...] = ()
        self._told: Callable[[], None] = _nobody
        self.waiting: tuple[Callable[[], None], ...] = ()
        """Called when the peer speaks from another flow, and when the dialog is over."""
        self.moved: Callable[[], None] = _nobody
        """Called when requests to the peer go elsewhere from now on."""

    @classmethod
    def of_uac(cls, request: Request, response: Response, flow: Flow | None = None) -> Dialog:
        """The dialog that a 101-299 to our request makes (RFC 3261 12.1.2); see `take_way` for its way.

        Raises DialogError where it makes none (no To tag), SipSyntaxError for malformed headers.
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

        Without a usable Contact or Record-Route requests go where ours went: an answer needs an ACK at least.
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
        if not self.is_by_flow and self.flow is not None and self.flow.host:
            self.is_by_flow = not is_usable_place(self.next_hop, self.flow.ip_version)

    def go_by_flow(self) -> None:
        """Send requests where the dialog lives, whatever target and route set say."""
        self.is_by_flow = True

    @classmethod
    def of_uas(
        cls, request: Request, local_tag: str, contact: NameAddr | None = None, flow: Flow | None = None
    ) -> Dialog:
        """The early dialog that our 101-299 to a request makes (RFC 3261 12.1.1); `confirm` it with the 2xx.

        Raises DialogError (400) when the request has no usable Contact, SipSyntaxError for malformed headers.
        """
        target = request.contact
        via = request.headers.get("Via")
        if target is None and via is not None and "z9hG4bK" not in via:
            # A client of RFC 2543 may leave it out: requests go to its From then (RFC 4475 3.4.1).
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
        dialog.instance = target.instance
        return dialog

    @classmethod
    def of_notify(cls, subscribe: Request, notify: Request, flow: Flow | None = None) -> Dialog:
        """The dialog that the first NOTIFY of a subscription of ours makes (RFC 6665 section 4.4.1).

        Raises DialogError (400) where it has no usable Contact, SipSyntaxError for malformed headers.
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
        """The 2xx came (UAC, with the response) or was sent (UAS): confirmed.

        A UAC takes the route set and the remote target from the 2xx again (RFC 3261 13.2.2.4).
        """
        if self.state is DialogState.TERMINATED:
            raise DialogError("dialog is over", status=481)
        if response is not None and self.is_initiator and self.state is DialogState.EARLY:
            self.take_way(response)
        self.state = DialogState.CONFIRMED

    def terminate(self) -> None:
        """BYE, a failure of the first INVITE, 481 or 408 (RFC 3261 12.2.1.2, 12.3)."""
        self.state, self.is_leaving = DialogState.TERMINATED, False
        told, self._told, self.moved = self._told, _nobody, _nobody
        told()
        self._tell_who_waits()

    def when_over(self, told: Callable[[], None]) -> bool:
        """Have `told`, and nobody else, called once it is over; False where it is."""
        if self.state is DialogState.TERMINATED:
            return False
        self._told = told
        return True

    def refresh_target(self, message: Message) -> None:
        """Move the remote target to the Contact of a target refresh that succeeded (RFC 6141 section 4).

        For a received request call it when the 2xx is sent, for a received 2xx at once. A Contact that is
        missing or no SIP URI leaves the target where it is.
        """
        contact = message.contact
        if contact is not None and names_place(contact.uri):
            self.remote_target = contact.uri

    def request(
        self,
        method: str,
        *,
        headers: build.Fields = (),
        body: bytes = b"",
        content_type: str | None = None,
    ) -> Request:
        """The next request in the dialog, its CSeq one higher (RFC 3261 12.2.1.1); not for ACK and CANCEL.

        Raises DialogError once the dialog is over.
        """
        if self.state is DialogState.TERMINATED:
            raise DialogError("dialog is over", status=481)
        if method in ("ACK", "CANCEL"):
            raise DialogError(f"{method} takes the number of its INVITE")
        if self.local_cseq is None:
            # Any start below 2**31 is lawful (12.1.1 leaves it open); one that follows the peer's is easy to read.
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
        """The ACK of a 2xx (RFC 3261 13.2.2.4); `cseq` is the INVITE's, credentials go into `headers`."""
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
        """Request-URI and Route of requests in the dialog, loose or strict (RFC 3261 12.2.1.1)."""
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
        """Where requests of this dialog are sent: the first route, strict or loose, else the remote target."""
        return self.route_set[0].uri if self.route_set else self.remote_target

    @property
    def hops(self) -> tuple[Uri | Flow, ...]:
        """Where requests in the dialog go: the first to be tried, and what is left should its connection be gone."""
        if self.flow is not None and not self._flow_is_lost:
            if self.is_by_flow:
                return (self.flow,)
            if self.is_direct and not self.route_set:
                return self.flow, self.remote_target
        return (self.next_hop,)

    @property
    def last_resort(self) -> Flow | None:
        """The flow to go by where `hops` lead nowhere: none through a connection that is gone."""
        return None if self._flow_is_lost else self.flow

    def lives_at(self, source: Flow) -> bool:
        """Whether a request from `source` needs no proof that it comes from the peer.

        The dialog lives on its flow and where its requests of ours go: over UDP the very address and port, over TCP
        and TLS any connection from there (a server opens new ones), over WebSocket the one connection, since
        all browsers behind one proxy share an address.
        """
        if self.flow is not None and _is_same_place(self.flow, source):
            return True
        return any(_is_same_place(one, source) for one in (*self._sent_to, *_flows_of(self.next_hop)))

    def heard_from(self, source: Flow) -> None:
        """A request came from where the dialog lives; by a connection in the place of a lost one, it moves there."""
        if self._flow_is_lost:
            self.move(source)

    def move(self, flow: Flow) -> None:
        """The peer has proved that it is the one who speaks from `flow` now."""
        before, self.flow = self.flow, flow
        self._flow_is_lost = False
        if flow != before:
            self.moved()
        self._tell_who_waits()

    def _tell_who_waits(self) -> None:
        for told in self.waiting:
            told()

    @property
    def has_lost_flow(self) -> bool:
        """Whether the connection that it lived on is gone, and no other has taken its place."""
        return self._flow_is_lost

    @property
    def is_by_its_connection(self) -> bool:
        """Whether the peer is reached by the WebSocket that it makes, and by nothing else (RFC 7118 section 5)."""
        return self.is_direct and not self.route_set and self.flow is not None and self.flow.transport in WEBSOCKET

    def registered(self, identity: str, contacts: Collection[NameAddr], flow: Flow) -> None:
        """Somebody who proved to be `identity` is reached by `flow` at these contacts.

        Where the dialog has lost its connection and the peer calls itself so, requests go by that one from now on
        (RFC 5626 5.3), but never in the clear where it was not. The port of a Contact may be the one of the connection
        that is gone, so that phones of one user may call themselves the same behind one NAT: they are told apart by
        their instances. A browser that has one registers by another WebSocket only once its own is gone, whether or not
        we have noticed.
        """
        if self.flow is not None and self.flow.transport in SECURE and flow.transport not in SECURE:
            return
        is_gone = self.is_by_its_connection and self.instance in {one.instance for one in contacts} - {None}
        is_its_own = (self._flow_is_lost or is_gone) and self.identity == identity and not self.route_set
        if is_its_own and any(self._is_of_peer(one) for one in contacts):
            self.is_direct = True
            self.move(flow)

    def port_changed(self, contacts: Collection[NameAddr], flow: Flow) -> None:
        """Whoever the dialog is with has registered by UDP from `flow` at these contacts.

        Where its NAT has another port for it by now, requests go to that one. Never to another host: phones of one user
        behind two NATs may call themselves the same.
        """
        mine, target = self.flow, self.route()[0]
        if not self.is_behind_nat or mine is None or (mine.host, mine.local) != (flow.host, flow.local):
            return
        if any(self._is_of_peer(one) and one.uri.port == target.port for one in contacts):
            self.move(flow)

    @property
    def is_behind_nat(self) -> bool:
        """Whether the peer is reached by UDP where it speaks from: by a port that its NAT may change."""
        return self.is_direct and not self.route_set and self.flow is not None and self.flow.transport == "udp"

    def _is_of_peer(self, contact: NameAddr) -> bool:
        mine, theirs = self.route()[0], contact.uri
        if self.instance is not None and contact.instance is not None and self.instance != contact.instance:
            return False
        return (theirs.username, theirs.host.lower()) == (mine.username, mine.host.lower())

    def sent_to(self, flows: tuple[Flow, ...]) -> None:
        """Requests of ours in the dialog go to one of these, so the peer is there."""
        self._sent_to = flows

    def is_asked_at(self, host: str, port: int) -> bool:
        """Return whether our last request in the dialog went to that place."""
        sent = self._sent_to
        return bool(sent) and sent[0].port == port and sent[0].host == host

    def found_again(self) -> None:
        """The peer has answered where our last request went: the dialog lives there now."""
        if self._sent_to:
            self.move(self._sent_to[0])

    def flow_lost(self, flow: Flow) -> bool:
        """A connection is gone; whether the dialog lived on it."""
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
        """Judge a request that matches this dialog; raises DialogError with the status that answers it.

        481 once the dialog is over, 500 for a CSeq that does not rise (RFC 3261 12.2.2). ACK and CANCEL carry
        the number of their INVITE and are not judged here.
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
            # Against 12.2.2 a PRACK counts that an UPDATE has overtaken: its RAck says what it is about.
            raise DialogError("CSeq does not rise", status=500)


def _nobody() -> None:
    """Told of the end where nobody wants to know."""


def is_gruu(uri: Uri) -> bool:
    """Whether a URI means one device from everywhere (RFC 5627 section 3.1)."""
    return find_param(uri.params, "gr") is not None


def wants_flow(contact: Uri) -> bool:
    """Whether who calls itself so is to be sent requests where it speaks from (RFC 5626 4.3).

    Behind a GRUU of ours there is no other way than the one by which its device registered.
    """
    return find_param(contact.params, "ob") is not None or is_gruu(contact)


def is_secure(request: Request) -> bool:
    """Whether the INVITE of a dialog makes its Contacts sips URIs (RFC 3261 8.1.1.8, 12.1.1)."""
    first = request.record_route or request.route or request.contacts
    return request.uri.scheme == "sips" or (bool(first) and first[0].uri.scheme == "sips")


def _is_same_place(known: Flow, source: Flow) -> bool:
    if (known.transport, known.host) != (source.transport, source.host):
        return False
    if known.transport in WEBSOCKET:
        return known.port == source.port and known.local == source.local
    return known.reliable or known.port == source.port


def _flows_of(hop: Uri) -> tuple[Flow, ...]:
    """The flow that a URI with an IP address means."""
    flow = direct_flow(hop) if names_place(hop) else None
    return (flow,) if flow is not None else ()
