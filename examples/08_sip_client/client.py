"""A small SIP client: an account, calls out and in, one RTP socket for each call."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from call import Call, CallError
from sound import Sound

import sdp
from gateway import net
from gateway.sip import Request

__all__ = ["Call", "CallError", "SipClient"]


class SipClient:
    """One account at one registrar; rings for every call, which then waits in `calls`."""

    def __init__(self, user: str, password: str, domain: str, hostport: str, hz: float | None) -> None:
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
        """Be reachable: the registration keeps itself fresh until it is taken back. CallError where it is refused."""
        made = await self._agent.register(
            f"sip:{self._domain}",
            aor=f"<sip:{self.user}@{self._domain}>",
            credentials=self._credentials,
            policy=net.RegistrationPolicy(expires=60),
            route=(f"<sip:{self._server};lr>",),
        )
        if not made.registered:
            hint = "; is the password right?" if made.status in (401, 403, 407) else ""
            raise CallError(f"{self.user} cannot register at {self._server}: {made.status}{hint}")
        return made

    @property
    def strays(self) -> int:
        """Requests that came for calls which are over: a second BYE would be one."""
        return self._agent.counts.get("request in an unknown dialog", 0)

    def dial(self, number: str) -> Call:
        """Call a number or name of our domain, by way of the registrar."""
        sound = Sound(self.user, self.hz)
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

    async def rings(self, seconds: float = 8.0) -> Call:
        """The next call that comes in; CallError where there is none."""
        try:
            return await asyncio.wait_for(self.calls.get(), seconds)
        except TimeoutError:
            raise CallError(
                f"{self.user} did not ring within {seconds:g} s; --verbose shows the gateway's log"
            ) from None

    # What the user agent asks of its application:

    async def authenticate(self, request: Request, source: net.Flow) -> net.Verdict:
        """Only the registrar may call: strangers who find the port are turned away."""
        return net.Accepted() if f"{source.host}:{source.port}" == self._server else net.Refused(403)

    def invited(self, session: net.IncomingSession, identity: str | None) -> None:
        session.ring()
        self.calls.put_nowait(Call(session, Sound(self.user, self.hz)))

    async def answer_register(self, request: Request, source: net.Flow, identity: str | None) -> net.Reply:
        """Nobody registers at a phone."""
        return net.Reply(501)
