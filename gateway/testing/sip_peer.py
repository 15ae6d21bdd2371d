"""SIP peers for the in-memory network: a whole user agent core, and a puppet that sends what the test writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gateway.sip.config import CoreConfig
from gateway.sip.flow import Flow
from gateway.sip.invite.events import Accepted, InfoReceived, Reply, SessionEvent, Verdict
from gateway.sip.invite.session import InviteSession
from gateway.sip.message.message import Request, Response
from gateway.sip.message.parser import parse_message
from gateway.sip.message.uri import Uri
from gateway.sip.user_agent import UserAgentCore
from gateway.testing.clock import ManualClock
from gateway.testing.network import Address, LossyNetwork

E = TypeVar("E", bound=SessionEvent)


class SessionLog:
    """Listens to a session and keeps its events; `react` may answer them, without it an INFO is taken (200)."""

    def __init__(self, session: InviteSession, react: Callable[[SessionEvent], None] | None = None) -> None:
        self.session = session
        self.events: list[SessionEvent] = []
        self._react = react
        session.listen(self._take)

    def _take(self, event: SessionEvent) -> None:
        self.events.append(event)
        if self._react is not None:
            self._react(event)
        elif isinstance(event, InfoReceived):
            self.session.answer_info(event.number, 200)

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def kinds(self) -> list[str]:
        """The events' class names, in order."""
        return [type(event).__name__ for event in self.events]


class AgentNode:
    """A user agent core at one address of a `LossyNetwork`; lets everybody in unless told otherwise."""

    def __init__(
        self, network: LossyNetwork, address: Address, config: CoreConfig | None = None, *, transport: str = "udp"
    ) -> None:
        self.network = network
        self.address = address
        self.transport = transport
        """With "tcp" every peer has one connection, named by its address, until `transport_failed`."""
        self.clock: ManualClock = network.clock
        self.on_call: Callable[[InviteSession, SessionLog], None] | None = None
        self.verdict: Callable[[Request, Flow], Verdict | None] = lambda request, source: Accepted("tester")
        """Gives the verdict at once, or None to leave it to `open_verdicts`."""
        self.open_verdicts: list[Callable[[Verdict], None]] = []
        self.reply: Callable[[Request], Reply] = lambda request: Reply(200)
        self.names: dict[str, tuple[Flow, ...]] = {}
        self.calls: list[SessionLog] = []
        self._tokens = 0
        self.core = UserAgentCore(config or CoreConfig(), self)
        network.attach(address, self)

    # Node

    def receive(self, data: bytes, source: Address, now: float) -> None:
        """One datagram, or octets of a connection, of that address; `now` in seconds."""
        self.core.receive(data, Flow(self.transport, source[0], source[1], "here"))

    def handle_timer(self, now: float) -> None:
        """Do what is due; `now` in seconds."""
        self.core.handle_timer()

    def deadline(self) -> float | None:
        """When `handle_timer` is due, in seconds of the clock; None for never."""
        return self.core.deadline()

    def drain(self) -> list[tuple[bytes, Address]]:
        """What is to be sent since the last drain, each with where to."""
        return [(data, (flow.host, flow.port)) for data, flow in self.core.datagrams()]

    # Environment

    def now(self) -> float:
        """Seconds of the network's clock."""
        return self.clock.now

    def token(self) -> str:
        """Another text each time, for tags, branches and Call-IDs; the same ones for the same seed."""
        self._tokens += 1
        return f"{self.address[1]:x}t{self._tokens:012x}{self.network.random.getrandbits(32):08x}"

    def wake(self) -> None:
        """The network drains every node by itself."""

    def sent_by(self, flow: Flow) -> tuple[str, int | None]:
        """Host and port for Via (RFC 3261 18.1.1)."""
        return self.address

    def resolve(self, uri: Uri, done: Callable[[tuple[Flow, ...]], None]) -> None:
        """Where a URI leads: what `names` has for its host, else nowhere."""
        done(self.names.get(uri.host, ()))

    def authenticate(self, request: Request, source: Flow, done: Callable[[Verdict], None]) -> None:
        """Who it is, by `verdict`, at once or once a test calls what `open_verdicts` keeps."""
        verdict = self.verdict(request, source)
        if verdict is None:
            self.open_verdicts.append(done)
        else:
            done(verdict)

    def invited(self, session: InviteSession, identity: str | None) -> None:
        """A call comes in: its log is kept in `calls` and given to `on_call`."""
        log = SessionLog(session)
        self.calls.append(log)
        if self.on_call is not None:
            self.on_call(session, log)

    def register(self, request: Request, source: Flow, identity: str | None, done: Callable[[Reply], None]) -> None:
        """A REGISTER, answered at once with what `reply` says."""
        done(self.reply(request))


class Puppet:
    """A peer without a mind: keeps what it gets as parsed messages, sends exactly what it is given."""

    def __init__(self, network: LossyNetwork, address: Address) -> None:
        self.network = network
        self.address = address
        self.received: list[Request | Response] = []
        self.raw: list[bytes] = []
        self.react: Callable[[Request | Response], None] | None = None
        self._out: list[tuple[bytes, Address]] = []
        network.attach(address, self)

    def receive(self, data: bytes, source: Address, now: float) -> None:
        """Keep one message, and give it to `react`; SipSyntaxError where it is none."""
        message = parse_message(data)
        self.raw.append(data)
        self.received.append(message)
        if self.react is not None:
            self.react(message)

    def handle_timer(self, now: float) -> None:
        """A puppet has no timers."""

    def deadline(self) -> float | None:
        """Never: a puppet has no timers."""
        return None

    def drain(self) -> list[tuple[bytes, Address]]:
        """What was given to `send` since the last drain, each with where to."""
        out, self._out = self._out, []
        return out

    def send(self, message: Request | Response | bytes | str, destination: Address) -> None:
        """Send a message; text has its line ends made CRLF."""
        if isinstance(message, str):
            data = message.replace("\r\n", "\n").replace("\n", "\r\n").encode()
        else:
            data = message if isinstance(message, bytes) else message.write()
        self._out.append((data, destination))

    def take(self) -> list[Request | Response]:
        """What came since the last take."""
        received, self.received = self.received, []
        return received

    def statuses(self) -> list[int]:
        """The status codes among what came since the last take; takes it."""
        return [message.status for message in self.take() if isinstance(message, Response)]
