"""Services of the user agent core for its dialog usages: the interface of dialogs.ports, and error isolation."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from weakref import WeakSet

from gateway.sip.alarms import Alarm, Alarms
from gateway.sip.config import TRICKLE, CoreConfig
from gateway.sip.dialogs.absence import Absences
from gateway.sip.dialogs.dialog import Dialog, DialogId
from gateway.sip.dialogs.ports import Hop
from gateway.sip.dialogs.table import DialogTable
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.environment import Environment
from gateway.sip.errors import SipError
from gateway.sip.flow import Flow, is_ip_address
from gateway.sip.handover import Handover
from gateway.sip.invite.session import InviteSession
from gateway.sip.locate import contact_uri, direct_flow, is_nowhere
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from gateway.sip.requests.checks import Capabilities
from gateway.sip.requests.client import ClientRequest
from gateway.sip.transactions import Transaction
from gateway.sip.transactions.layer import Stack

logger = logging.getLogger(__name__)

_LARGEST_BY_UDP = 1300 - 100
"""Largest request in bytes sent over UDP, before its Via is added."""
_UDP_ONLY_TIME = 600.0
_UDP_ONLY_PLACES = 1024


class Services:
    """Implementation of dialogs.ports.Core over the transaction layer and the environment."""

    def __init__(self, config: CoreConfig, environment: Environment) -> None:
        self.config = config
        self.environment = environment
        self._set_capabilities(config.allow)
        self.stack = Stack(config.stack, token=environment.token, sent_by=environment.sent_by)
        self.counts: Counter[str] = self.stack.counts
        self.sessions: set[InviteSession] = set()
        """Live sessions."""
        self.signer: Callable[[Request, Flow], Request] = lambda request, flow: request
        """Adds the proof of our identity to requests; called with each request, without Via, and its flow."""
        self._alarms: Alarms[DialogUsage | None] = Alarms()
        self.absences = Absences(self, config.sessions)
        self._dialogs = DialogTable()
        self.handover = Handover(self.stack, self._dialogs, self.sessions, self.now)
        self._mistaken: WeakSet[DialogUsage] = WeakSet()
        self._udp_only: dict[tuple[str, int], float] = {}
        """UDP destinations that refused TCP, with the time until which the record counts."""

    def _set_capabilities(self, methods: tuple[str, ...]) -> None:
        """Accept requests of the given methods, and advertise the methods."""
        config = self.config
        self.allow = ", ".join(methods)
        self._can = Capabilities(methods=methods, extensions=config.supported, schemes=("sip", "sips", "tel"))
        self._recv_info = (("Recv-Info", ", ".join(config.info_packages)),) if config.info_packages else ()
        self._capabilities = (*self._can.headers(), *self._recv_info)

    @property
    def timers(self) -> int:
        """Count the armed timers; linear in their number."""
        return self.stack.timers.armed() + self._alarms.armed()

    def now(self) -> float:
        """Return monotonic seconds."""
        return self.environment.now()

    def token(self) -> str:
        """Return a fresh random word."""
        return self.environment.token()

    def random(self) -> float:
        """Return a number in [0, 1) derived from a fresh random word."""
        return int.from_bytes(self.token().encode()[-6:], "big") % 9973 / 9973

    def wake(self) -> None:
        """Ask the shell to drain output and deadline."""
        self.environment.wake()

    def at(
        self, deadline: float, callback: Callable[[], None], owner: DialogUsage | None = None
    ) -> Alarm[DialogUsage | None]:
        """Schedule `callback` at `deadline`."""
        return self._alarms.at(deadline, callback, owner)

    def locate(self, hop: Hop, done: Callable[[tuple[Flow, ...]], None], owner: DialogUsage | None = None) -> None:
        """Pass the flows to a hop to `done`; synchronous if no name needs a lookup."""
        if isinstance(hop, Flow):
            done((hop,))
            return
        flow = direct_flow(hop) if hop.is_sip else None
        if flow is not None:
            done((flow,))
        elif not hop.is_sip or is_ip_address(hop.param("maddr") or hop.host) or is_nowhere(hop):
            done(())
        else:
            self.environment.resolve(hop, lambda flows: self.guard(owner, lambda: done(flows)))

    def by_tcp(self, request: Request, hop: Hop | None, flow: Flow) -> Flow | None:
        """Return the TCP flow for a request to `hop` too large for its UDP `flow`; None keeps UDP (RFC 3261 18.1.1)."""
        if not self.config.large_by_tcp or flow.transport != "udp" or not isinstance(hop, Uri) or hop.transport:
            return None
        if not request.body or len(request.write()) <= _LARGEST_BY_UDP:
            return None
        until = self._udp_only.get((flow.host, flow.port))
        if until is not None and until > self.now():
            return None
        return Flow("tcp", flow.host, flow.port, name=flow.name)

    def only_by_udp(self, flow: Flow) -> None:
        """Record that the host of `flow` refuses TCP: large requests to it use UDP for a while."""
        if len(self._udp_only) >= _UDP_ONLY_PLACES:
            self._udp_only.clear()
        self._udp_only[flow.host, flow.port] = self.now() + _UDP_ONLY_TIME

    def contact(self, flow: Flow, user: str | None, *, secure: bool = False) -> NameAddr:
        """Return our Contact for a peer on `flow`; `user`: escaped URI text or None."""
        return NameAddr(contact_uri(user, self.environment.sent_by(flow), flow.transport, secure=secure))

    def sign(self, request: Request, flow: Flow) -> Request:
        """Return `request` with the proof of our identity for the peer at `flow`."""
        return self.signer(request, flow)

    def send_request(self, request: Request, flow: Flow) -> Transaction:
        """Start a client transaction."""
        return self.stack.send_request(request, flow, self.now())

    def send_again(self, request: Request, flow: Flow) -> Transaction:
        """Resume a client transaction of another process."""
        return self.stack.send_again(request, flow, self.now())

    def take_up(self, request: Request, flow: Flow) -> Transaction:
        """Resume a server transaction of another process."""
        return self.stack.take_up(request, flow, self.now())

    def send_cancel(self, invite: Transaction, headers: build.Fields) -> None:
        """Start the CANCEL of a pending INVITE."""
        self.stack.send_cancel(invite, headers, self.now())

    def send_ack(self, ack: Request, flow: Flow) -> bytes:
        """Send the ACK of a 2xx."""
        return self.stack.send_ack(ack, flow)

    def send(self, data: bytes, flow: Flow) -> None:
        """Retransmit bytes."""
        self.stack.send(data, flow)

    def respond(self, transaction: Transaction, response: Response) -> bytes:
        """Answer a server transaction."""
        return self.stack.respond(transaction, response, self.now())

    def refuse(self, transaction: Transaction, response: Response) -> None:
        """Answer once and drop the transaction."""
        self.stack.refuse(transaction, response, self.now())

    def stateless_tag(self, request: Request) -> str:
        """Return a To tag equal for all copies of a request."""
        return self.stack.stateless_tag(request)

    def add_usage(self, dialog: Dialog, usage: DialogUsage) -> None:
        """Deliver requests in `dialog` to `usage`."""
        self._dialogs.add(dialog, usage)

    def remove_usage(self, dialog: Dialog, usage: DialogUsage) -> None:
        """Remove `usage` from `dialog`."""
        self._dialogs.remove(dialog, usage)

    def has_dialog(self, name: DialogId) -> bool:
        """Return True if the dialog exists."""
        return self._dialogs.get(name.call_id, name.local_tag, name.remote_tag) is not None

    def usage_over(self, usage: DialogUsage) -> None:
        """Remove a session after its last event."""
        if isinstance(usage, InviteSession):
            self.sessions.discard(usage)

    def release(self) -> None:
        """Separate ended transactions from their users, so that both can be freed."""
        ended, self.stack.ended = self.stack.ended, []
        for transaction in ended:
            user, transaction.user = transaction.user, None
            if isinstance(user, ClientRequest):
                user.release()

    def not_built(self, error: SipError) -> None:
        """Count and log a message that could not be built, and so was not sent."""
        self.counts["request not built"] += 1
        logger.warning("request could not be built: %s", error)

    def capabilities(self) -> build.Fields:
        """Return Allow, Accept, Supported and Recv-Info."""
        return self._capabilities

    def offered_capabilities(self, body: bytes) -> build.Fields:
        """Return Allow, Supported and Recv-Info of our INVITE; trickle ICE is offered only with an ICE offer."""
        has_ice = b"a=ice-ufrag:" in body and TRICKLE in self.config.supported
        options = (*self.config.advertised_options, *((TRICKLE,) if has_ice else ()))
        return (("Allow", self.allow), ("Supported", ", ".join(options)), *self._recv_info)

    def response_fields(self) -> build.Fields:
        """Return the fields of every response."""
        return (("Server", self.config.user_agent),) if self.config.user_agent else ()

    @property
    def retry_after(self) -> int:
        """Return the default Retry-After of a 503, in seconds."""
        return self.config.stack.retry_after

    def request_fields(self) -> build.Fields:
        """Return the fields of every request."""
        return (("User-Agent", self.config.user_agent),) if self.config.user_agent else ()

    # ---- error isolation

    def guard(self, owner: DialogUsage | None, call: Callable[[], None]) -> None:
        """Run code of a usage, a hook or an alarm; an exception ends only `owner`."""
        try:
            call()
        except Exception as error:
            self._failed(owner, error)

    def _failed(self, owner: DialogUsage | None, error: Exception) -> None:
        self.counts["internal error"] += 1
        logger.error("a mistake of our own ends %r", owner, exc_info=error)
        if owner is None:
            return
        is_first = owner not in self._mistaken
        self._mistaken.add(owner)
        try:
            if is_first:
                owner.on_mistake()
                return
            owner.drop()
        except Exception as second:
            logger.error("nor could it be ended", exc_info=second)
        self._dialogs.remove_everywhere(owner)
        self.usage_over(owner)
