"""A gateway between phones, all of them real SIP cores, on a network that loses, doubles and reorders."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count
from typing import cast

from gateway.call.call import Call
from gateway.call.leg import Address as Party
from gateway.call.leg import CalleeLeg, CallerLeg
from gateway.call.limits import CallLimits
from gateway.call.record import CallSettings
from gateway.call.registry import Calls
from gateway.call.routing import Caller, Route, RouteError, Router, SipTarget, Target
from gateway.call.status import Cause
from gateway.identity.model import User
from gateway.legs.announcement import AnnouncementLeg
from gateway.legs.sip_callee import SipCalleeLeg
from gateway.legs.sip_caller import SipCallerLeg
from gateway.legs.sip_sessions import CalleeSettings, Destination
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.engine import AudioPort
from gateway.sip.config import CoreConfig
from gateway.sip.flow import Flow
from gateway.sip.invite import events
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.outgoing import OutgoingSession
from gateway.sip.invite.session import InviteSession
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri
from gateway.testing.clock import ManualClock
from gateway.testing.engine import FakeEngine
from gateway.testing.network import Address, LossyNetwork, Weather
from gateway.testing.sip_peer import AgentNode, SessionLog
from gateway.testing.timers import ManualTimers
from gateway.testing.walk import malform

GATEWAY = ("192.0.2.100", 5060)
PHONES = [("192.0.2.1", 5060), ("192.0.2.2", 5060), ("192.0.2.3", 5060)]
SLICE = 0.05
"""Seconds the network runs between two turns of the event loop, in which the calls work."""


def place(user: str, address: Address, transport: str) -> Uri:
    """The URI of somebody at an address."""
    uri = Uri.of(user, *address)
    return uri if transport == "udp" else uri.with_param("transport", transport)


class TimerNode:
    """The calls' timers as one more thing that the network's clock carries on."""

    def __init__(self, network: LossyNetwork) -> None:
        self.timers = ManualTimers(network.clock.now)
        network.attach(("192.0.2.200", 1), self)

    def receive(self, data: bytes, source: Address, now: float) -> None:
        """Nobody writes to a clock."""

    def handle_timer(self, now: float) -> None:
        self.timers.advance(now - self.timers.time())

    def deadline(self) -> float | None:
        return self.timers.deadline

    def drain(self) -> list[tuple[bytes, Address]]:
        return []


class Phone:
    """A user agent whose person does what the walk says; it answers offers at once, late, with a refusal, or never."""

    def __init__(self, network: LossyNetwork, address: Address, transport: str, media_host: str | None = None) -> None:
        """`media_host` is where it would take media, None: at its own address."""
        # Nobody's phone rings for ever, though who calls may be gone without a word.
        self.node = AgentNode(network, address, CoreConfig(longest_ringing=60.0), transport=transport)
        self.node.on_call = self._called
        self.random = network.random
        self.media_host = media_host or address[0]
        self.talking: list[SessionLog] = []
        self.open: list[tuple[InviteSession, int]] = []
        """Offers that wait for an answer."""
        self.version = 0
        self.well_behaved = False

    def description(self, direction: str = "sendrecv") -> bytes:
        """A description of its own, another one each time."""
        self.version += 1
        host, port = self.media_host, 4000
        lines = [f"o=- 7 {self.version} IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0", f"m=audio {port} RTP/AVP 0"]
        return "\r\n".join(["v=0", *lines, f"a={direction}", ""]).encode()

    def call(self, number: str, *, offer: bool = True) -> None:
        """Dial `number` at the gateway, with an offer or without one."""
        flow, target = Flow(self.node.transport, *GATEWAY), place(number, GATEWAY, self.node.transport)
        core = self.node.core
        invite = build.request(
            "INVITE",
            target,
            from_=NameAddr(Uri.of("phone", self.node.address[0])).with_tag(self.node.token()),
            to=NameAddr(target),
            call_id=self.node.token(),
            cseq=1,
            contact=core.contact(flow, "phone"),
            headers=(("Supported", "100rel, timer"), ("Allow", core.allow)),
            body=self.description() if offer else b"",
            content_type="application/sdp" if offer else None,
        )
        self._listen(core.invite(invite, target))

    def _called(self, session: InviteSession, log: SessionLog) -> None:
        self._listen(session)

    def _listen(self, session: InviteSession) -> None:
        self.talking.append(SessionLog(session, lambda event: self._hear(session, event)))

    def _hear(self, session: InviteSession, event: events.SessionEvent) -> None:
        if isinstance(event, events.Offered):
            self.open.append((session, event.exchange))
            if self.well_behaved or self.random.random() < 0.7:
                self.answer_one()
        elif isinstance(event, events.Answered) and event.is_offer and event.exchange is not None:
            session.answer_offer(event.exchange, self.description())
        elif isinstance(event, events.OfferCancelled):
            self.open = [one for one in self.open if one != (session, event.exchange)]

    def answer_one(self) -> None:
        """Answer the oldest offer that waits, or refuse it."""
        if self.open:
            session, exchange = self.open.pop(0)
            if self.well_behaved or self.random.random() < 0.85:
                session.answer_offer(exchange, self.description())
            else:
                session.refuse_offer(exchange, 488)

    @property
    def sessions(self) -> list[InviteSession]:
        """Those that are not over."""
        return [log.session for log in self.talking if not log.session.is_over]

    @property
    def ringing(self) -> list[IncomingSession]:
        return [one for one in self.sessions if isinstance(one, IncomingSession) and not one.is_confirmed]

    @property
    def confirmed(self) -> list[InviteSession]:
        return [one for one in self.sessions if one.is_confirmed]


class Speech:
    """The sound of a program without media: it is said by the clock."""

    def __init__(self, timers: ManualTimers) -> None:
        self._timers = timers
        self._seconds = 0.0

    def say(self, pcm: bytes, rate: int) -> None:
        self._seconds = len(pcm) / 2 / rate

    def on_said(self, said: Callable[[], None]) -> None:
        self._timers.call_later(self._seconds, said)


class World:
    """Three phones and a gateway whose number 1 forks to two of them, as two legs; 2 to both as one leg."""

    def __init__(
        self,
        seed: int,
        weather: Weather | None = None,
        *,
        transport: str = "udp",
        malformed: float = 0.0,
        engine: EmbeddedEngine | None = None,
    ) -> None:
        """`malformed`: how many of the messages have a header that no peer of ours sends; `engine` None: a fake."""
        self.network = LossyNetwork(ManualClock(), weather or Weather(), seed=seed)
        self.random = self.network.random
        self.malformed = malformed
        self.network.alter = self._alter
        self.timers = TimerNode(self.network).timers
        self.gateway = AgentNode(self.network, GATEWAY, CoreConfig(longest_ringing=120.0), transport=transport)
        self.gateway.on_call = self._invited
        # What a real engine sends may leave this machine by no means.
        media_host = "127.0.0.1" if engine is not None else None
        self.phones = [Phone(self.network, address, transport, media_host) for address in PHONES]
        self.engine = engine or FakeEngine()
        self.turns = 50 if engine is not None else 3
        """Turns of the event loop after each slice of time: a real engine waits for its sockets."""
        self.placed: list[Call] = []
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self.calls = Calls(
            self.engine,
            Router(Nobody(), [Route("*", "sip:{user}@pbx.test")], []),
            self,
            self.timers,
            settings=CallSettings(ring_timeout=40, reattach_time=15),
            limits=CallLimits(max_calls_per_caller=1000, calls_per_second=1000),
            new_id=lambda: f"call-{next(self._numbers)}",
        )
        self.calls.observe(lambda call: self.placed.append(call) if call not in self.placed else None)
        self.calls.announcer = self
        self.announced = 0
        """Announcements that are being said."""

    def _alter(self, source: Address, destination: Address, data: bytes) -> bytes:
        return malform(self.random, data) if self.random.random() < self.malformed else data

    # -- the gateway's fronts ----------------------------------------------------------

    def _invited(self, session: InviteSession, log: SessionLog) -> None:
        assert isinstance(session, IncomingSession)
        task = asyncio.get_running_loop().create_task(self._place(session))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _place(self, session: IncomingSession) -> None:
        leg = SipCallerLeg(f"leg-{next(self._numbers)}", session, Party("sip:phone@gw.test"), session.source.host)
        dialled = session.request.uri.user or ""
        try:
            await self.calls.place(leg, Caller("phone", ("1", "2", "3")), dialled, leg.initial_offer)
        except RouteError as error:
            leg.refuse(error.cause)

    async def legs(self, target: Target, call_id: str, name: str = "") -> Sequence[CalleeLeg]:
        """`Dialer`: 1 is two legs with a phone each, 2 one leg with two phones, 3 one phone."""
        assert isinstance(target, SipTarget)
        places = [Destination(str(place("phone", address, self.gateway.transport))) for address in PHONES[1:]]
        number = target.uri.partition(":")[2].partition("@")[0]
        groups = {"1": [places[:1], places[1:]], "2": [places]}.get(number, [places[:1]])
        settings = CalleeSettings(no_answer=60.0)
        party = Party("sip:phone@gw.test")
        return [SipCalleeLeg(f"{call_id}-{index}", self, party, group, settings) for index, group in enumerate(groups)]

    def invite(
        self, target: Uri | str, *, caller: NameAddr | str, body: bytes, timeout: float = 0.0, **_: object
    ) -> OutgoingSession:
        """`Inviter`."""
        uri = Uri.parse(str(target))
        assert isinstance(caller, NameAddr)
        node = self.gateway
        request = build.request(
            "INVITE",
            uri,
            from_=caller.with_tag(node.token()),
            to=NameAddr(uri),
            call_id=node.token(),
            cseq=1,
            contact=node.core.contact(Flow(node.transport, uri.host, uri.port or 5060), "gw"),
            headers=(("Supported", "100rel, timer"), ("Allow", node.core.allow)),
            body=body,
            content_type="application/sdp",
        )
        return node.core.invite(request, uri, timeout=timeout)

    def announces(self, cause: Cause, caller: CallerLeg) -> bool:
        """`Announcer`: of who is busy, and of what may not be dialled."""
        return cause in (Cause.BUSY, Cause.FORBIDDEN)

    def leg(self, cause: Cause, caller: CallerLeg, call_id: str) -> CalleeLeg | None:
        """`Announcer`: three seconds."""
        if not self.announces(cause, caller):
            return None
        self.announced += 1
        audio = self._speech if isinstance(self.engine, FakeEngine) else partial(self.engine.audio, call_id)
        tag, sound = f"{call_id}-announcement", bytes(3 * 2 * 16_000)
        return AnnouncementLeg(tag, cause, sound, 16_000, audio=audio, timers=self.timers, on_end=self._is_said)

    def _speech(self, _: str) -> AudioPort:
        return cast(AudioPort, Speech(self.timers))

    def _is_said(self) -> None:
        self.announced -= 1

    # -- time --------------------------------------------------------------------------

    async def run(self, seconds: float) -> None:
        """Let time pass, for the network and for the calls."""
        end = self.network.clock.now + seconds
        while self.network.clock.now < end:
            self.network.run(min(SLICE, end - self.network.clock.now))
            self.timers.advance(self.network.clock.now - self.timers.time())
            for _ in range(self.turns):
                await asyncio.sleep(0)

    def joined(self, call_id: str, tag: str) -> str | None:
        """Who hears a party, as the engine has it."""
        if isinstance(self.engine, FakeEngine):
            return self.engine.joined(call_id, tag)
        peer = self.engine._session(call_id).party(tag).joined
        return peer.party.tag if peer is not None else None

    @property
    def media_left(self) -> int:
        """Calls, pairs of ports and players that the engine still has."""
        if isinstance(self.engine, FakeEngine):
            return len(self.engine.calls)
        return self.engine.sessions + self.engine.ports_in_use + self.engine.players

    @property
    def cores(self) -> Iterable[AgentNode]:
        return (self.gateway, *(phone.node for phone in self.phones))


class Nobody:
    """A directory without users."""

    def find(self, uri_or_user: str) -> User | None:
        return None
