"""A whole gateway whose media engine is full or away: a refused call is told which limit is why, on the wire."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import GatewayApp
from gateway.call.status import Cause
from gateway.media.rtpengine.bencode import Encodable
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.invite import events
from tests.app.phones import Phone
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.media.engine_support import browser_sdp
from tests.media.ng_daemon import daemon, friendly
from tests.net.peers import Application
from tests.ports import free_ports
from tests.rows import by_row

SILENT = "silent"


async def _started(stack: AsyncExitStack, folder: Path, **changes: str) -> tuple[UserAgent, GatewayApp]:
    """A gateway of these settings, and a user agent for its phones."""
    [pbx] = free_ports(1)
    trunk = [{"name": "pbx", "uri": f"sip:127.0.0.1:{pbx}", "options_interval": 0}]
    routes = [{"match": "600", "to": "service:echo"}, {"match": "0*", "to": "trunk:pbx"}]
    config = config_on_free_ports(folder, TRUNKS=json.dumps(trunk), ROUTES=json.dumps(routes), **changes)
    app = GatewayApp(config)
    await app.start()
    stack.push_async_callback(app.stop)
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application())
    await agent.start()
    stack.push_async_callback(agent.close)
    return agent, app


async def _refused(agent: UserAgent, app: GatewayApp, dials: str) -> tuple[int, str | None, str | None]:
    """Status, Reason and Retry-After of a call that is refused."""
    phone = Phone(agent, app, "1001", dials=dials)
    await phone.status()
    outcome = phone.outcome.result()
    assert isinstance(outcome, events.Failed)
    return outcome.status, outcome.headers.get("Reason"), outcome.headers.get("Retry-After")


@pytest.mark.parametrize("plane", ["python", pytest.param("native", marks=pytest.mark.wall)])
async def test_a_call_without_rtp_ports_is_told_so(tmp_path: Path, plane: str) -> None:
    """The range is enough for one call; its pair rests ten seconds after the end of that."""
    [first] = free_ports(1)
    ports = f"{first + first % 2}-{first + first % 2 + 1}"
    async with AsyncExitStack() as stack:
        agent, app = await _started(stack, tmp_path, MEDIA__PLANE=plane, RTP__PORTS=ports)
        assert await Phone(agent, app, "1001").status() == 200
        assert await _refused(agent, app, "600") == (503, 'Q.850;cause=44;text="limit: rtp.ports"', "10")


@by_row(
    ("said", "reason", "wait"),
    [
        ("Ran out of ports", 'Q.850;cause=44;text="limit: rtpengine port-min to port-max"', "10"),
        ("Parallel session limit reached", 'Q.850;cause=44;text="limit: rtpengine max-sessions"', "10"),
        ("Load limit exceeded", 'Q.850;cause=44;text="limit: rtpengine max-load"', "10"),
        ("CPU usage limit exceeded", 'Q.850;cause=44;text="limit: rtpengine max-cpu"', "10"),
        ("Bandwidth limit exceeded", 'Q.850;cause=44;text="limit: rtpengine max-bandwidth"', "10"),
        (SILENT, 'Q.850;cause=41;text="out-of-service"', "1"),
    ],
)
async def test_a_limit_of_rtpengine_is_named_to_the_caller(tmp_path: Path, said: str, reason: str, wait: str) -> None:
    """By SIP and over HTTP: none is called overload, and a silent rtpengine is out of service until its next ping."""

    def answer(request: dict[str, Any]) -> Encodable | None:
        if request["command"] != "offer":
            return friendly(request)
        return None if said is SILENT else {"result": "error", "error-reason": said}

    async with AsyncExitStack() as stack:
        _, (host, port) = await stack.enter_async_context(daemon(answer))
        agent, app = await _started(stack, tmp_path, MEDIA__ENGINE=f"rtpengine:{host}:{port}")
        assert await _refused(agent, app, "01") == (503, reason, wait)
        headers = {"Authorization": f"Bearer alice:{PASSWORDS['alice']}"}
        body = {"sdp": {"type": "offer", "sdp": browser_sdp()}, "to": "01"}
        url = f"http://127.0.0.1:{app.config.web.listen.port}/webrtc/offer"
        async with httpx.AsyncClient(headers=headers) as http:
            refused = await http.post(url, json=body)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, wait)
        limit = reason.partition("limit: ")[2].rstrip('"')
        assert refused.json()["error"].startswith(limit or Cause.OUT_OF_SERVICE.sentence)
