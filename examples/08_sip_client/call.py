"""One call of the client: its SIP session, its sound, its events."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from sound import Sound

import sdp
from gateway import GatewayError, net

Event = TypeVar("Event", bound=net.SessionEvent)


class CallError(GatewayError):
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
                    if isinstance(event, net.Failed):
                        raise CallError(f"no {kind.__name__}, the call has failed: {event.status} {event.reason}")
                    if isinstance(event, net.Ended):
                        raise CallError(f"no {kind.__name__}, the call has ended: {event.by}")
        except TimeoutError:
            raise CallError(f"no {kind.__name__} within {seconds:g} s") from None

    def hangup(self) -> None:
        """BYE, CANCEL or a refusal, whatever fits."""
        self.session.hangup()
