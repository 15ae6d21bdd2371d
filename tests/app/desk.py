"""Desk phones whose descriptions a test chooses: SIP by our own stack, RTP from a plain socket."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from gateway.app import GatewayApp
from gateway.net import Credentials, IncomingSession, InviteSession, Offered, OutgoingSession, UserAgent
from gateway.net.config import UserAgentConfig
from gateway.sip.invite import events
from gateway.sip.message.message import Response
from tests.interop.gateway import PASSWORDS
from tests.media.engine_support import Phone as RtpPhone
from tests.media.engine_support import frequency_of
from tests.net.peers import LOOPBACK, Application, Recorder

Kind = Literal["rtp", "sdes", "dtls"]
_SUITE = "AES_CM_128_HMAC_SHA1_80"
_PROFILES = {"rtp": "RTP/AVP", "sdes": "RTP/SAVP", "dtls": "UDP/TLS/RTP/SAVP"}
_MIRRORED = {"sendonly": "recvonly", "recvonly": "sendonly"}
_DIRECTION = re.compile(r"^a=(sendrecv|sendonly|recvonly|inactive)\r?$", re.MULTILINE)
_VIDEO = "m=video {port} RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n"


def direction_in(sdp: bytes) -> str:
    """The first direction of a description."""
    found = _DIRECTION.search(sdp.decode())
    return found[1] if found is not None else "sendrecv"


class Desk:
    """One phone of a user; it answers what it is offered, and keeps all that it was sent."""

    def __init__(self, user: str, kind: Kind = "rtp") -> None:
        self.user = user
        self.kind = kind
        self.calls = Application(lambda session, recorder: self._rings(session))
        self.agent = UserAgent(UserAgentConfig(listen=LOOPBACK), self.calls)
        self.rtp = RtpPhone(("pcmu", "event"), ssrc=int(user))
        self.holds = False
        """Whether it says sendonly."""
        self.direction = "sendrecv"
        """Of its offers while it does not hold."""
        self.offers: list[bytes] = []
        """Those of the gateway after the first."""
        self.answers: list[bytes] = []
        """Those of the gateway, all of them."""
        self.said = b""
        """Its own last description."""
        self.session: InviteSession
        self.recorder: Recorder
        self._key = 0

    async def registered(self, app: GatewayApp) -> None:
        """Be reachable at the gateway."""
        await self.agent.start()
        await self.rtp.open()
        account = Credentials(self.user, PASSWORDS[self.user])
        aor = f"sip:{self.user}@{app.config.domain}"
        await self.agent.register(f"sip:{app.sip_hostport}", aor=aor, credentials=account)

    def describe(self, offer: bytes = b"", *, video: bool = False) -> bytes:
        """An answer to `offer`, or an offer of its own; a video line that it is offered is refused."""
        theirs = direction_in(offer) if offer else "sendrecv"
        direction = "sendonly" if self.holds else "sendrecv" if offer else self.direction
        if theirs != "sendrecv":
            direction = (
                "inactive" if theirs == "inactive" or (self.holds and theirs == "sendonly") else _MIRRORED[theirs]
            )
        sdp = self.rtp.sdp(direction=direction, extra=self._keying(offer.decode()))
        if video or b"m=video" in offer:
            sdp += _VIDEO.format(port=0 if offer else self.rtp.port + 2)
        self.said = sdp.replace("RTP/AVP", _PROFILES[self.kind]).encode()
        return self.said

    def _keying(self, offer: str) -> list[str]:
        if self.kind == "sdes":
            found = re.search(rf"^a=crypto:(\d+) {_SUITE} ", offer, re.MULTILINE)
            return [f"a=crypto:{found[1] if found else 1} {_SUITE} inline:{'A' * 40}"]
        if self.kind == "dtls":
            return [f"a=setup:{'active' if offer else 'actpass'}", f"a=fingerprint:sha-256 {':'.join(['AB'] * 32)}"]
        return []

    def dial(self, app: GatewayApp, number: str, body: bytes | None = None) -> None:
        """Call a number; `body` b"": without an offer."""
        self._is_called_by(
            self.agent.invite(
                f"sip:{number}@{app.sip_hostport}",
                caller=f"<sip:{self.user}@{app.config.domain}>",
                body=self.describe() if body is None else body,
                credentials=Credentials(self.user, PASSWORDS[self.user]),
            )
        )

    def _rings(self, session: IncomingSession) -> None:
        """Answer at once, with an offer where the INVITE has none."""
        self._is_called_by(session)
        if session.initial_offer:
            self.rtp.take(session.initial_offer.decode())
        session.answer(self.describe(session.initial_offer))

    def _is_called_by(self, session: InviteSession) -> None:
        self.session, self.recorder = session, Recorder(session, self._heard)

    def _heard(self, event: events.SessionEvent) -> None:
        if isinstance(event, events.Answered | Offered) and event.body and getattr(event, "is_offer", True):
            if isinstance(event, Offered):
                self.offers.append(event.body)
            self.rtp.take(event.body.decode())
            assert event.exchange is not None
            self.session.answer_offer(event.exchange, self.describe(event.body))
        elif isinstance(event, events.Answered | events.OfferAnswered | events.Provisional) and event.body:
            self.answers.append(event.body)
            self.rtp.take(event.body.decode())

    async def offer(self, method: Literal["INVITE", "UPDATE"], body: bytes | None = None) -> tuple[int, bytes]:
        """Offer `body`, or a new description; status and body of what answers it."""
        outcome: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        body = self.describe() if body is None else body
        if method == "UPDATE":
            assert self.session.dialog is not None
            self.session.send_in_dialog(
                "UPDATE", self.session.dialog, outcome.set_result, body=body, content_type="application/sdp"
            )
            self.session.core.wake()
            response = await asyncio.wait_for(outcome, 30)
            if response.is_success:
                self.rtp.take(response.body.decode())
            return response.status, response.body
        number = self.session.offer(body)
        answered = await self._outcome(number)
        return answered.status, answered.body or b""

    async def _outcome(self, number: int) -> events.OfferAnswered:
        async with asyncio.timeout(30):
            while True:
                for event in self.recorder.events:
                    if isinstance(event, events.OfferAnswered) and event.exchange == number:
                        return event
                await asyncio.sleep(0.005)

    async def is_up(self) -> None:
        """Wait until the call has been answered and acknowledged."""
        kind = events.Answered if isinstance(self.session, OutgoingSession) else events.Confirmed
        await self.recorder.wait_for_one_of(kind)

    def hears(self, hz: float) -> bool:
        """Whether the last second that came is that tone."""
        self.rtp.packets = self.rtp.packets[-60:]
        return abs(frequency_of(*self.rtp.heard("pcmu")) - hz) < 15

    async def close(self) -> None:
        await self.agent.close()
        await self.rtp.close()


@asynccontextmanager
async def desks(app: GatewayApp, *phones: Desk) -> AsyncIterator[None]:
    """Phones that are registered; what is left of their calls ends."""
    for phone in phones:
        await phone.registered(app)
    try:
        yield
    finally:
        for call in tuple(app.calls):
            call.stop()
        await asyncio.gather(*(call.finished() for call in app.calls))
        for phone in phones:
            await phone.close()
