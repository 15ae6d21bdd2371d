"""A SIP phone with text, of two descriptions: what a page types, and what it reads, at the other end."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from gateway.app import GatewayApp
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.session import InviteSession
from sdp import SessionDescription
from tests.interop.gateway import PASSWORDS
from tests.media.text_support import TextPhone
from tests.net.peers import Application, Recorder, started


class SipTextPhone(TextPhone):
    """1002, which takes every call and every offer; `loses` as for `TextPhone`."""

    def __init__(self, loses: Callable[[int], bool]) -> None:
        super().__init__(loses=loses)
        self.agent: UserAgent
        self.sessions: list[InviteSession] = []
        self.is_heard = True
        """Whether the last offer was to receive."""

    def take_call(self, session: IncomingSession, recorder: Recorder) -> None:
        self.follow(session)
        session.answer(self.answer_to(session.initial_offer))

    def follow(self, session: InviteSession) -> None:
        self.sessions.append(session)
        session.listen(lambda event: self._heard(session, event))

    def _heard(self, session: InviteSession, event: events.SessionEvent) -> None:
        if isinstance(event, events.Offered):
            session.answer_offer(event.exchange, self.answer_to(event.body))
        elif isinstance(event, events.Answered):
            self.take(event.body.decode())

    def answer_to(self, offer: bytes) -> bytes:
        self.is_heard = b"a=sendonly" not in offer and b"a=inactive" not in offer
        text = any(media.kind == "text" for media in SessionDescription.parse(offer.decode()).media)
        (self.take if text else self.voice.take)(offer.decode())
        return self.sdp(text=text).encode()


@contextlib.asynccontextmanager
async def sip_text_phone(
    app: GatewayApp, loses: Callable[[int], bool] = lambda number: False
) -> AsyncIterator[SipTextPhone]:
    """One that has registered."""
    phone = SipTextPhone(loses)
    await phone.open()
    phone.agent = await started(Application(phone.take_call))
    try:
        credentials = Credentials("1002", PASSWORDS["1002"])
        registration = await phone.agent.register(
            f"sip:{app.sip_hostport}", aor=f"sip:1002@{app.config.domain}", credentials=credentials
        )
        yield phone
        await registration.unregister()
    finally:
        await phone.agent.close()
        await phone.close()
