"""A trunk that is no agent of ours (pjsua2) calls whom the transferor has consulted: Replaces in REFER and INVITE."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.demo.phone import DeskPhone
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.message.uri import Uri
from tests import peers
from tests.app.phones import Phone
from tests.interop.gateway import NEAR, TONE_HZ, config_on_free_ports, gateway_with
from tests.media.engine_support import until
from tests.net.peers import Application
from tests.ports import free_port

pytestmark = pytest.mark.wall


async def test_a_pjsua2_trunk_takes_the_transferors_place(tmp_path: Path) -> None:
    """By one INVITE with the Replaces that it was told: it hears whom 1001 had consulted, who is out of both calls."""
    peers.pjsua2()
    port = free_port()
    trunk = {
        "name": "office",
        "uri": f"sip:127.0.0.1:{port}",
        "sources": ["127.0.0.1"],
        "options_interval": 0,
        "transfer": "pass_on_attended",
    }
    routes = [{"match": "0*", "to": "trunk:office", "strip": 1}, {"match": "601", "to": "service:tone"}]
    config = config_on_free_ports(tmp_path, TRUNKS=json.dumps([trunk]), ROUTES=json.dumps(routes))
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(gateway_with(config, tmp_path / "gateway.log"))
        far = await DeskPhone.start(port)
        stack.push_async_callback(far.close)
        await far.identify("900", f"127.0.0.1:{port}")
        # What comes from the trunk's address is the trunk's, so the transferor has another one.
        agent = UserAgent(UserAgentConfig(listen=(("127.0.0.3", 0),)), Application())
        await agent.start()
        stack.push_async_callback(agent.close)
        talk, consulted = [Phone(agent, gateway.app, "1001", dials=number) for number in ("0900", "601")]
        assert await talk.status() == await consulted.status() == 200
        heard: asyncio.Queue[tuple[int, bool]] = asyncio.Queue()
        uri = Uri.parse(f"sip:601@{gateway.app.sip_hostport}?Replaces={quote(consulted.name, safe='')}")
        talk.session.refer(uri, lambda status, of_refer: heard.put_nowait((status, of_refer)))
        told = await far.expect("transferred", 30)
        assert "Replaces=" in told.details["uri"]
        assert consulted.name.partition(";")[0] not in told.details["uri"]
        async with asyncio.timeout(30):
            while (outcome := await heard.get())[1]:
                pass
        assert outcome == (200, False)
        await asyncio.gather(*(asyncio.wait_for(one.over, 30) for one in (talk, consulted)))
        await until(lambda: len(gateway.app.calls) == 1)
        [call] = gateway.app.calls
        assert {leg.identity for leg in call.legs} == {"trunk:office", None}
        async with asyncio.timeout(30):
            hz = 0.0
            while abs(hz - TONE_HZ) > NEAR:
                await far.listen()
                hz = float((await far.expect("tone", 30)).details["hz"])
        far.hangup()
        await gateway.idle()
