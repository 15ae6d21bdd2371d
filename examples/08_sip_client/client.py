"""A small SIP client: an account, calls out and in, one RTP socket for each call."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self, TypeVar

from sound import Sound

import sdp
from gateway import net
from gateway.sip import Request

Event = TypeVar("Event", bound=net.SessionEvent)


class CallError(Exception):
    """A call did not go as it was expected to."""


class Call:
    """One call: its SIP session, its sound, and its events in order."""

    def __init__(self, session: net.InviteSession, sound: Sound, offer: sdp.SessionDescription | None = None) -> None:
        self.session = session
        self.sound = sound
        self.events: list[net.SessionEvent] = []
        """All that was told so far; the last one is Failed or Ended, and there is only one of these."""
        self._offer = offer
        self._answer: sdp.SessionDescription | None = None
        self._news: asyncio.Queue[net.SessionEvent] = asyncio.Queue()
        session.listen(self._take)

    def _take(self, event: net.SessionEvent) -> None:
        self.events.append(event)
        match event:
            case net.Provisional(body=body) | net.Answered(body=body) if body and self._offer is not None:
                self._talk(self._offer, sdp.SessionDescription.parse(body), "offerer")
            case net.Offered(exchange=exchange, body=body) if body:
                self.session.answer_offer(exchange, self._answer_to(body))
            case net.Failed() | net.Ended():
                self.sound.close()
        self._news.put_nowait(event)

    @property
    def offered(self) -> bytes:
        """The caller's offer, as its INVITE brought it."""
        assert isinstance(self.session, net.IncomingSession)
        return self.session.initial_offer

    def answer(self) -> None:
        """Pick up: answer the caller's offer."""
        assert isinstance(self.session, net.IncomingSession)
        self.session.answer(self._answer_to(self.offered))

    def _answer_to(self, body: bytes) -> bytes:
        offer = sdp.SessionDescription.parse(body)
        plan = sdp.Plan(
            "rtp",
            (sdp.TransportPlan("127.0.0.1", self.sound.port),),
            address="127.0.0.1",
            media=("audio",),
            codecs=sdp.CodecPolicy(only=("pcmu",)),
            previous=self._answer,
        )
        self._answer = sdp.answer(offer, plan)
        self._talk(offer, self._answer, "answerer")
        return bytes(self._answer)

    def _talk(self, offer: sdp.SessionDescription, answer: sdp.SessionDescription, side: sdp.negotiation.Side) -> None:
        audio = sdp.negotiate(offer, answer, local=side).first("audio")
        if audio is not None and audio.remote is not None:
            self.sound.talk(audio.remote.address, audio.remote.port)

    async def expect(self, kind: type[Event], seconds: float = 8.0) -> Event:
        """The next event of that kind; CallError when the call ends without it or nothing comes."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    event = await self._news.get()
                    if isinstance(event, kind):
                        return event
                    if isinstance(event, net.Failed | net.Ended):
                        raise CallError(f"expected {kind.__name__}, but the call is over: {event}")
        except TimeoutError:
            raise CallError(f"no {kind.__name__} within {seconds:g} s") from None

    def hangup(self) -> None:
        """BYE, CANCEL or a refusal, whatever fits."""
        self.session.hangup()


class SipClient:
    """One account at one registrar; rings for every call, which then waits in `calls`."""

    def __init__(self, user: str, password: str, domain: str, hostport: str, hz: float) -> None:
        self.user = user
        self.hz = hz
        self.calls: asyncio.Queue[Call] = asyncio.Queue()
        self._domain = domain
        self._server = hostport
        self._credentials = net.Credentials(user, password)
        self._agent = net.UserAgent(net.UserAgentConfig(listen=(("127.0.0.1", 0),), domains=(domain,)), self)

    async def __aenter__(self) -> Self:
        await self._agent.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._agent.close()

    async def sign_in(self) -> net.Registration:
        """Be reachable: the registration keeps itself fresh until it is taken back."""
        return await self._agent.register(
            f"sip:{self._domain}",
            aor=f"<sip:{self.user}@{self._domain}>",
            credentials=self._credentials,
            policy=net.RegistrationPolicy(expires=60),
            route=(f"<sip:{self._server};lr>",),
        )

    @property
    def strays(self) -> int:
        """Requests that came for calls which are over: a second BYE would be one."""
        return self._agent.counts.get("request in an unknown dialog", 0)

    def dial(self, number: str) -> Call:
        """Call a number or name of our domain, by way of the registrar."""
        sound = Sound(self.hz)
        offer = sdp.SessionDescription.parse(
            "v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\n"
            f"m=audio {sound.port} RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=ptime:20\n"
        )
        session = self._agent.invite(
            f"sip:{number}@{self._domain}",
            caller=self.user,
            body=bytes(offer),
            route=(f"<sip:{self._server};lr>",),
            credentials=self._credentials,
        )
        return Call(session, sound, offer)

    # What the user agent asks of its application:

    async def authenticate(self, request: Request, source: net.Flow) -> net.Verdict:
        """Only the registrar may call: strangers who find the port are turned away."""
        return net.Accepted() if f"{source.host}:{source.port}" == self._server else net.Refused(403)

    def invited(self, session: net.IncomingSession, identity: str | None) -> None:
        session.ring()
        self.calls.put_nowait(Call(session, Sound(self.hz)))

    async def answer_register(self, request: Request, source: net.Flow, identity: str | None) -> net.Reply:
        """Nobody registers at a phone."""
        return net.Reply(501)
