"""A group that rings in turn, at a whole gateway: each phone has its time, who is busy is passed over at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest_asyncio

from gateway.app import GatewayApp
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite.events import Confirmed, Ended
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.message import build
from tests.app.phones import SDP, Phone
from tests.app.ws_phone import TcpPhone
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.net.peers import LOOPBACK, Application, Recorder
from tests.ports import free_ports

MEMBERS = ("1002", "1003", "1004")
SECRET = "another-phones-own-Secret-1004"


class Group:
    """A gateway with the group 8000 of three phones, which are one user agent, and 1001 who calls."""

    def __init__(self, app: GatewayApp, port: int) -> None:
        self.app = app
        self.port = port
        """Of SIP over TCP."""
        self.rings: asyncio.Queue[tuple[IncomingSession, Recorder]] = asyncio.Queue()
        self.agent = UserAgent(UserAgentConfig(listen=LOOPBACK), Application(self._called))

    def _called(self, session: IncomingSession, recorder: Recorder) -> None:
        session.ring(180)
        self.rings.put_nowait((session, recorder))

    async def registers(self, *users: str) -> None:
        for user in users:
            credentials = Credentials(user, SECRET if user == "1004" else PASSWORDS[user])
            aor = f"sip:{user}@{self.app.config.domain}"
            made = await self.agent.register(f"sip:{self.app.sip_hostport}", aor=aor, credentials=credentials)
            assert made.registered

    async def rung(self, user: str) -> tuple[IncomingSession, Recorder]:
        """The next phone that rings is that one's, and no other rings beside it."""
        session, recorder = await asyncio.wait_for(self.rings.get(), 30)
        assert session.request.uri.user == user
        assert self.rings.empty()
        return session, recorder

    async def talks(self, caller: Phone, session: IncomingSession, recorder: Recorder) -> None:
        """The phone answers and has the call; nobody else rings afterwards, nothing is left at the end."""
        session.answer(SDP.format(port=40002).encode())
        assert await caller.status() == 200
        await recorder.wait(Confirmed)
        [call] = self.app.calls
        caller.session.hangup()
        await recorder.wait(Ended)
        await asyncio.wait_for(call.finished(), 30)
        assert self.rings.empty()


@pytest_asyncio.fixture
async def group(tmp_path: Path) -> AsyncIterator[Group]:
    sip, _ = free_ports(2)
    users = [{"id": name, "sip": True, "may_call": ["*"]} for name in ("1001", *MEMBERS)]
    config = config_on_free_ports(
        tmp_path,
        USERS=json.dumps(users),
        USERS__1004__PASSWORD=SECRET,
        SIP__LISTEN=f'["udp:127.0.0.1:{sip}", "tcp:127.0.0.1:{sip}"]',
        GROUPS=json.dumps([{"name": "sales", "members": list(MEMBERS), "in_turn": True, "time": 1}]),
        ROUTES=json.dumps([{"match": "8000", "to": "group:sales"}]),
    )
    async with AsyncExitStack() as stack:
        app = GatewayApp(config)
        stack.push_async_callback(app.stop)
        await app.start()
        made = Group(app, sip)
        stack.push_async_callback(made.agent.close)
        await made.agent.start()
        yield made


async def test_who_is_busy_and_who_does_not_answer_are_followed_by_the_next(group: Group) -> None:
    """The second rings when the first has said no, the third after the second one's time, whose CANCEL says so."""
    await group.registers(*MEMBERS)
    caller = Phone(group.agent, group.app, "1001", dials="8000")
    first, _ = await group.rung("1002")
    first.reject(486)
    _, second = await group.rung("1003")
    third, recorder = await group.rung("1004")
    cancelled = await second.wait(Ended)
    assert isinstance(cancelled, Ended)
    assert (cancelled.by, cancelled.q850, cancelled.text) == ("remote", 19, "no-answer")
    await group.talks(caller, third, recorder)


async def test_where_nobody_answers_the_caller_hears_so(group: Group) -> None:
    """Each has rung for its time; somebody without a phone costs none."""
    await group.registers("1002", "1004")
    caller = Phone(group.agent, group.app, "1001", dials="8000")
    rung = [await group.rung(user) for user in ("1002", "1004")]
    assert await asyncio.wait_for(caller.outcome, 30)
    assert await caller.status() in (408, 480)
    for _, recorder in rung:
        await recorder.wait(Ended)


async def test_an_answer_that_crosses_the_end_of_its_time_is_hung_up(group: Group) -> None:
    """The 200 comes after the CANCEL (RFC 3261 9.1): it gets its ACK and a BYE, and the next phone has the call."""
    phone = await TcpPhone.open("127.0.0.1", group.port, "1002", group.app.config.domain, PASSWORDS["1002"])
    try:
        contact = "sip:1002@a.invalid;transport=tcp"
        assert (await phone.register(contact=contact)).status == 200
        await group.registers("1003")
        caller = Phone(group.agent, group.app, "1001", dials="8000")
        invite = await phone.request("INVITE")
        await phone.send(build.response(invite, 180, to_tag="phone"))
        cancel = await phone.request("CANCEL")
        await phone.answer(invite, contact)
        await phone.send(build.response(cancel, 200, to_tag="phone"))
        await phone.request("ACK")
        await phone.send(build.response(await phone.request("BYE"), 200))
        session, recorder = await group.rung("1003")
        await group.talks(caller, session, recorder)
    finally:
        await phone.close()
