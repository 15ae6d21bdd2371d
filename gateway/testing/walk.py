"""A random walk of two real user agents: calls, offers, refreshes and hang-ups in any order over a bad network.

What one seed does it does again. `finish` heals the network, lets everything settle, and gives what is wrong: a
session, transaction or timer left behind, descriptions that differ between the two sides, an outcome not told.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from gateway.sip.config import CoreConfig
from gateway.sip.flow import Flow
from gateway.sip.invite.events import (
    Answered,
    Ended,
    Failed,
    InfoReceived,
    OfferAnswered,
    OfferCancelled,
    Offered,
    Provisional,
    SessionEvent,
)
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.session import InviteSession
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri
from gateway.testing.clock import ManualClock
from gateway.testing.network import Address, LossyNetwork, Weather
from gateway.testing.sip_peer import AgentNode, SessionLog

MALFORMED = (
    b"Session-Expires: abc",
    b"Min-SE: abc",
    b"RSeq: abc",
    b"Allow: INVITE;;,",
    b"Supported: ,,@",
    b"Require: @",
    b"Contact: <<<",
    b"Record-Route: ???",
    b"Content-Type: nonsense",
    b"Content-Type: multipart/mixed;boundary=none",
    b"Content-Disposition: ;;",
    b"Reason: ;;;",
    b"Retry-After: soon",
    b"Info-Package: ;;",
    b"RAck: one two",
)
"""Header lines that no peer of ours sends."""
SETTLED = 400.0
"""Seconds after which nothing may be under way: the longest timers one after the other."""


def malform(random: random.Random, data: bytes) -> bytes:
    """A message with one of its headers made `MALFORMED`."""
    line = random.choice(MALFORMED)
    name = line.partition(b":")[0]
    head, end, body = data.partition(b"\r\n\r\n")
    lines = [one for one in head.split(b"\r\n") if not one.startswith(name + b":")]
    return b"\r\n".join([*lines, line]) + end + body


def cut(network: LossyNetwork, one: AgentNode, other: AgentNode) -> None:
    """The connection between two breaks, with all that was on it, and both are told."""
    network.flush()
    network.cut(one.address, other.address)
    for node, peer in ((one, other), (other, one)):
        node.core.transport_failed(Flow(node.transport, *peer.address, "here"))


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkSettings:
    """How rough the walk is; probabilities are per message or per step."""

    transport: str = "udp"
    weather: Weather = field(default_factory=lambda: Weather(delay=0.02, jitter=0.3, loss=0.1, duplication=0.1))
    malformed: float = 0.02
    calls: int = 6
    """Calls at once."""
    cut: float = 0.0
    """How often the connection between the two breaks."""


class Handle:
    """The application of one session: answers what it is offered, sooner or later or never."""

    def __init__(self, walk: Walk, session: InviteSession, log: SessionLog | None = None) -> None:
        self.walk = walk
        self.session = session
        self.wanted: set[int] = set()
        """Exchanges of ours whose outcome is due."""
        self.told: list[int] = []
        self.has_description = False
        self.last: SessionEvent | None = None
        session.listen(self._take)

    def _take(self, event: SessionEvent) -> None:
        if self.last is not None and isinstance(self.last, Ended | Failed):
            self.walk.faults.append(f"{type(event).__name__} after the end")
        self.last = event
        match event:
            case Offered(exchange=number, body=body):
                if number in self.wanted:
                    self.wanted.discard(number)
                self.walk.later(lambda: self._reply(number or 0, body))
            case OfferAnswered(exchange=number):
                self.told.append(number)
                self.wanted.discard(number)
            case OfferCancelled():
                pass
            case InfoReceived(number=info):
                self.walk.later(lambda: self.session.answer_info(info, self.walk.random.choice((200, 200, 488))))
            case Provisional(body=body, exchange=number, is_offer=is_offer) if body:
                self._described(body, number, is_offer)
            case Answered(body=body, exchange=number, is_offer=is_offer):
                if body:
                    self._described(body, number, is_offer)
                elif not self.has_description:
                    self.session.hangup()

    def _described(self, body: bytes, number: int | None, is_offer: bool) -> None:
        self.has_description = True
        if is_offer:
            self.walk.later(lambda: self._reply(number or 0, body))

    def _reply(self, number: int, body: bytes) -> None:
        dice = self.walk.random.random()
        if dice < 0.9:
            self.session.answer_offer(number, self.walk.description("answer" if body else "offer"))
        elif dice < 0.97:
            self.session.refuse_offer(number)

    def offer(self) -> None:
        """Change the session."""
        self._want(lambda: self.session.offer(self.walk.description("offer")))

    def ask(self) -> None:
        """Have the peer offer."""
        self._want(self.session.request_offer)

    def _want(self, begin: Callable[[], int]) -> None:
        if self.session.modification is None or self.session.is_over:
            return
        before = len(self.told)
        number = begin()
        if number not in self.told[before:] and not self.session.is_over:
            self.wanted.add(number)


class Walk:
    """Two agents, their calls, and one step after the other."""

    def __init__(self, seed: int, settings: WalkSettings | None = None) -> None:
        self.settings = settings or WalkSettings()
        self.random = random.Random(seed)
        self.network = LossyNetwork(ManualClock(), self.settings.weather, seed=seed)
        self.network.alter = self._alter
        config = CoreConfig(longest_ringing=60.0)
        self.nodes = tuple(
            AgentNode(self.network, address, config, transport=self.settings.transport)
            for address in (("192.0.2.1", 5060), ("192.0.2.2", 5060))
        )
        for node in self.nodes:
            node.on_call = self._called
        self.handles: list[Handle] = []
        self.faults: list[str] = []
        self.steps = 0
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._is_healed = False

    # ---- the world

    def description(self, kind: str) -> bytes:
        """A session description that no other is equal to."""
        return b"v=0\r\no=- %d 1 IN IP4 192.0.2.9\r\ns=%s\r\nt=0 0\r\n" % (next(self._numbers), kind.encode())

    def later(self, act: Callable[[], None]) -> None:
        """At once, soon, or after longer than anybody waits."""
        delay = self.random.choice((0.0, 0.0, 0.05, 0.5, 3.0, 40.0)) if not self._is_healed else 0.0
        if delay:
            self._later.append((self.network.clock.now + delay, next(self._numbers), act))
        else:
            act()

    def _alter(self, source: Address, destination: Address, data: bytes) -> bytes:
        if self._is_healed or self.random.random() >= self.settings.malformed:
            return data
        return malform(self.random, data)

    def _called(self, session: InviteSession, log: SessionLog) -> None:
        assert isinstance(session, IncomingSession)
        self.handles.append(Handle(self, session))
        self.later(lambda: self._ring(session))

    def _ring(self, session: IncomingSession) -> None:
        dice = self.random.random()
        if dice < 0.3:
            session.ring(180)
        elif dice < 0.7:
            session.ring(183, body=self.description("early"))
        self.later(lambda: self._answer(session))

    def _answer(self, session: IncomingSession) -> None:
        if self.random.random() < 0.9:
            session.answer(self.description("answer"))
        else:
            session.reject(486)

    # ---- the walk

    def walk(self, steps: int) -> None:
        """Take `steps` random steps."""
        for _ in range(steps):
            self.steps += 1
            self._pass(self.random.choice((0.0, 0.01, 0.1, 0.5, 2.0, 10.0)))
            self._step()

    def _pass(self, seconds: float) -> None:
        """Let time pass, doing what was put off as its time comes."""
        end = self.network.clock.now + seconds
        while self._later and (first := min(self._later))[0] <= end:
            self._later.remove(first)
            self.network.run(max(first[0] - self.network.clock.now, 0.0))
            first[2]()
        self.network.run(max(end - self.network.clock.now, 0.0))

    @property
    def _live(self) -> list[Handle]:
        return [handle for handle in self.handles if not handle.session.is_over]

    def _step(self) -> None:
        live = self._live
        if self.random.random() < self.settings.cut:
            self.cut()
        if not live or (len(live) < 2 * self.settings.calls and self.random.random() < 0.2):
            self.call()
            return
        handle = self.random.choice(live)
        dice = self.random.random()
        if dice < 0.35:
            handle.offer()
        elif dice < 0.5:
            handle.ask()
        elif dice < 0.6:
            handle.session.info("application/dtmf-relay", b"Signal=1\r\n")
        elif dice < 0.66:
            handle.session.hangup()

    def call(self) -> None:
        """One side calls the other, with an offer or without."""
        caller, callee = self.random.sample(self.nodes, 2)
        target = Uri.of("bob", *callee.address)
        if self.settings.transport != "udp":
            target = target.with_param("transport", self.settings.transport)
        body = self.description("offer") if self.random.random() < 0.7 else b""
        flow = Flow(self.settings.transport, *callee.address)
        headers: list[tuple[str, object]] = [("Allow", caller.core.allow), ("Supported", "100rel, timer")]
        if self.random.random() < 0.3:
            headers.append(("Require", "100rel"))
        if self.random.random() < 0.5:
            headers[0] = ("Allow", "INVITE, ACK, CANCEL, BYE, PRACK, INFO")
        invite = build.request(
            "INVITE",
            target,
            from_=NameAddr(Uri.of("alice", "example.com")).with_tag(caller.token()),
            to=NameAddr(target),
            call_id=caller.token(),
            cseq=1,
            contact=caller.core.contact(flow, "alice"),
            headers=[*headers, ("Session-Expires", "90")],
            body=body,
            content_type="application/sdp" if body else None,
        )
        session = caller.core.invite(invite, target, timeout=self.random.choice((0.0, 5.0)))
        self.handles.append(Handle(self, session))

    def cut(self) -> None:
        """The connection between the two breaks, with all that was on it."""
        cut(self.network, *self.nodes)

    # ---- the end

    def finish(self) -> list[str]:
        """Let it settle, compare, hang everything up, and give what is wrong; [] is as it should be."""
        self._is_healed = True
        self.network.weather = Weather(delay=0.01)
        self._pass(SETTLED)
        self._compare()
        for handle in self._live:
            handle.session.hangup()
        self._pass(SETTLED)
        for node in self.nodes:
            self._left_behind(node)
        for handle in self.handles:
            if not isinstance(handle.last, Ended | Failed):
                self.faults.append(f"{handle.session!r} was never told its end")
            if handle.wanted:
                self.faults.append(f"{handle.session!r} never heard of {sorted(handle.wanted)}")
        return self.faults

    def _left_behind(self, node: AgentNode) -> None:
        core = node.core
        left = {
            "transactions": len(core.stack),
            "sessions": len(core.sessions),
            "dialogs or sessions": int(core.has_calls),
            "timers": int(core.deadline() is not None),
            "mistakes": core.counts["internal error"] + core.counts["request not built"],
        }
        self.faults += [f"{node.address[0]}: {number} {what}" for what, number in left.items() if number]

    def _compare(self) -> None:
        """Each side's last committed offer and answer are the other's."""
        sides: dict[tuple[str, str], InviteSession] = {}
        for handle in self._live:
            session = handle.session
            dialog = session.dialog
            if dialog is None or not session.is_confirmed:
                self.faults.append(f"{session!r} is neither up nor over")
                continue
            other = sides.pop((dialog.id.call_id, dialog.id.remote_tag), None)
            if other is None:
                sides[dialog.id.call_id, dialog.id.local_tag] = session
            elif (session.local_body, session.remote_body) != (other.remote_body, other.local_body):
                self.faults.append(
                    f"{session!r} has {session.local_body!r} {session.remote_body!r}, "
                    f"{other!r} has {other.local_body!r} {other.remote_body!r}"
                )
        self.faults += [f"{session!r} is up at one side only" for session in sides.values()]
