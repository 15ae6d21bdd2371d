"""Sessions of users at a whole gateway, on the wire."""

from __future__ import annotations

import asyncio

from gateway.app import GatewayApp
from gateway.call.leg import DialogName
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from gateway.sip.invite.outgoing import OutgoingSession
from gateway.sip.invite.session import InviteSession
from tests.interop.gateway import PASSWORDS

SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)


def name_of(session: InviteSession) -> str:
    """The dialog of one of our sessions, as the gateway sees it."""
    assert session.dialog is not None
    name = session.dialog.id
    return f"{name.call_id};to-tag={name.remote_tag};from-tag={name.local_tag}"


def dialog_of(session: InviteSession) -> DialogName:
    """The same as a value: what a leg of the gateway is found by."""
    assert session.dialog is not None
    name = session.dialog.id
    return DialogName(name.call_id, local_tag=name.remote_tag, remote_tag=name.local_tag)


class Phone:
    """One session of a user at the gateway."""

    def __init__(
        self,
        agent: UserAgent,
        app: GatewayApp,
        user: str,
        replaces: str | None = None,
        dials: str = "600",
        request_uri: str | None = None,
        received: str | None = None,
    ) -> None:
        """`request_uri` is sent to the gateway in the place of the number's own URI, by the flow `received`."""
        domain, target = app.config.domain, f"sip:{dials}@{app.sip_hostport}"
        headers = (("Replaces", replaces),) if replaces is not None else ()
        self.outcome: asyncio.Future[events.SessionEvent] = asyncio.get_running_loop().create_future()
        self.over: asyncio.Future[events.SessionEvent] = asyncio.get_running_loop().create_future()
        self.rings: asyncio.Future[events.SessionEvent] = asyncio.get_running_loop().create_future()
        self.session: OutgoingSession = agent.invite(
            request_uri or target,
            received=received or f"udp:{app.sip_hostport}",
            caller=f"<sip:{user}@{domain}>",
            body=SDP.format(port=40000).encode(),
            headers=headers,
            credentials=Credentials(user, PASSWORDS[user]),
        )
        self.session.listen(self._heard)

    def _heard(self, event: events.SessionEvent) -> None:
        if isinstance(event, events.Answered | events.Failed) and not self.outcome.done():
            self.outcome.set_result(event)
        if isinstance(event, events.Offered):
            self.session.answer_offer(event.exchange, SDP.format(port=40000).encode())
        if isinstance(event, events.Provisional) and not self.rings.done():
            self.rings.set_result(event)
        if isinstance(event, events.Ended) and not self.over.done():
            self.over.set_result(event)

    async def status(self) -> int:
        """200, or what the INVITE was refused with."""
        event = await asyncio.wait_for(self.outcome, 30)
        return event.status if isinstance(event, events.Failed) else 200

    @property
    def name(self) -> str:
        """Its dialog, as the gateway sees it."""
        return name_of(self.session)

    @property
    def dialog(self) -> DialogName:
        """The same as a value."""
        return dialog_of(self.session)
