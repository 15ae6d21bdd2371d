"""A trunk given by name, and name servers that say nothing: how long a call waits, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from gateway.app import GatewayApp, settings
from gateway.net.config import UserAgentConfig
from gateway.net.resolver import ResolverConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.invite import events
from gateway.sip.invite.incoming import IncomingSession
from tests.app.phones import Phone
from tests.interop.gateway import config_on_free_ports
from tests.net.name_server import NameServer
from tests.net.peers import LOOPBACK, Application, address, answering

NAME = "sip:trunk.example"
LISTENS = ["127.0.0.1", "127.0.0.1,::1"]


@asynccontextmanager
async def office(
    folder: Path, monkeypatch: pytest.MonkeyPatch, listen: str, *places: str
) -> AsyncIterator[tuple[GatewayApp, NameServer]]:
    """A gateway whose numbers beginning with 0 go to a trunk of these places; no name server answers it."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer({}), local_addr=("127.0.0.1", 0))
    server.silent = True
    port = transport.get_extra_info("sockname")[1]
    ours = partial(ResolverConfig, nameservers=("127.0.0.1",), port=port, timeout=25.0)
    monkeypatch.setattr(settings, "ResolverConfig", ours)
    trunk = {"name": "office", "uri": places[0], "fallback_uris": places[1:], "options_interval": 0}
    app = GatewayApp(
        config_on_free_ports(
            folder,
            TRUNKS=json.dumps([trunk]),
            ROUTES=json.dumps([{"match": "0*", "to": "trunk:office"}]),
            RTP__LISTEN=listen,
            SIP__TIMERS__LOOKUP="0.5",
        )
    )
    await app.start()
    try:
        yield app, server
    finally:
        await app.stop()
        transport.close()


@asynccontextmanager
async def agent(application: Application) -> AsyncIterator[UserAgent]:
    made = UserAgent(UserAgentConfig(listen=LOOPBACK), application)
    await made.start()
    try:
        yield made
    finally:
        await made.close()


@pytest.mark.parametrize("listen", LISTENS)
async def test_a_call_by_a_name_that_no_name_server_answers_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listen: str
) -> None:
    """After `sip.timers.lookup`, however many questions the name takes."""
    async with agent(Application()) as phone, office(tmp_path, monkeypatch, listen, NAME) as (app, server):
        began = asyncio.get_running_loop().time()
        event = await asyncio.wait_for(Phone(phone, app, "1001", dials="0600").outcome, 30)
        seconds = asyncio.get_running_loop().time() - began
    assert isinstance(event, events.Failed)
    assert event.status == 480
    assert "unreachable" in (event.headers.get("Reason") or "")
    assert ("trunk.example.", "NAPTR") in server.asked
    assert seconds < 15


@pytest.mark.parametrize("listen", LISTENS)
async def test_the_next_place_of_the_trunk_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listen: str
) -> None:
    """It is called by its address, and answers."""
    far = Application(answering)
    async with (
        agent(Application()) as phone,
        agent(far) as pbx,
        office(tmp_path, monkeypatch, listen, NAME, address(pbx)) as (app, _),
    ):
        began = asyncio.get_running_loop().time()
        call = Phone(phone, app, "1001", dials="0600")
        assert await call.status() == 200
        assert asyncio.get_running_loop().time() - began < 15
        session = far.calls.get_nowait().session
        assert isinstance(session, IncomingSession)
        assert session.request.uri.user == "0600"
