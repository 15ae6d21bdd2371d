"""A user takes a call of their own over with another phone (INVITE with Replaces, RFC 3891), on the wire."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.app import GatewayApp
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from gateway.sip.invite.outgoing import OutgoingSession
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.net.peers import Application

SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)


class Phone:
    """One session of a user at the gateway."""

    def __init__(self, agent: UserAgent, app: GatewayApp, user: str, replaces: str | None = None) -> None:
        domain, target = app.config.domain, f"sip:600@{app.sip_hostport}"
        headers = (("Replaces", replaces),) if replaces is not None else ()
        self.outcome: asyncio.Future[events.SessionEvent] = asyncio.get_running_loop().create_future()
        self.over: asyncio.Future[events.SessionEvent] = asyncio.get_running_loop().create_future()
        self.session: OutgoingSession = agent.invite(
            target,
            caller=f"<sip:{user}@{domain}>",
            body=SDP.format(port=40000).encode(),
            headers=headers,
            credentials=Credentials(user, PASSWORDS[user]),
        )
        self.session.listen(self._heard)

    def _heard(self, event: events.SessionEvent) -> None:
        if isinstance(event, events.Answered | events.Failed) and not self.outcome.done():
            self.outcome.set_result(event)
        if isinstance(event, events.Ended) and not self.over.done():
            self.over.set_result(event)

    async def status(self) -> int:
        """200, or what the INVITE was refused with."""
        event = await asyncio.wait_for(self.outcome, 5)
        return event.status if isinstance(event, events.Failed) else 200

    @property
    def name(self) -> str:
        """Its dialog, as the gateway sees it."""
        dialog = self.session.dialog
        assert dialog is not None
        return f"{dialog.id.call_id};to-tag={dialog.id.remote_tag};from-tag={dialog.id.local_tag}"


@pytest.mark.parametrize(
    ("user", "change", "status"),
    [("1001", "", 200), ("1002", "", 403), ("1001", ";early-only", 486), ("1001", "x", 481)],
)
async def test_only_the_same_user_takes_a_call_over(tmp_path: Path, user: str, change: str, status: int) -> None:
    """The old session gets a BYE and the call goes on with the new one; everybody else changes nothing."""
    app = GatewayApp(config_on_free_ports(tmp_path))
    await app.start()
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application())
    await agent.start()
    try:
        first = Phone(agent, app, "1001")
        assert await first.status() == 200
        second = Phone(agent, app, user, first.name + change)
        assert await second.status() == status
        assert len(app.calls) == 1
        if status == 200:
            await asyncio.wait_for(first.over, 5)
            [call] = app.calls
            assert any(leg.is_named(second.name) for leg in call.legs)
        else:
            assert not first.over.done()
    finally:
        await agent.close()
        await app.stop()
