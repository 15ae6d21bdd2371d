"""A gateway whose user 1002 is the extension 1001 of another one, its PBX, by two edge proxies (RFC 5626)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.app import GatewayApp
from gateway.net.config import UserAgentConfig
from gateway.net.outbound import OutboundRegistration
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.media.engine_support import until
from tests.net.peers import LOOPBACK, Application, answering


@dataclass
class Office:
    """Both, and the phone of 1002, which answers at once."""

    pbx: GatewayApp
    app: GatewayApp
    agent: UserAgent
    calls: Application
    """Those that the phone got."""

    @property
    def standing(self) -> set[int]:
        """Ports of the edges by which the account is registered now."""
        made = self.app._care.registrations.of_account("1002")
        return {flow.port for flow in made.sources} if isinstance(made, OutboundRegistration) else set()


@asynccontextmanager
async def behind_edges(
    folder: Path, edges: Sequence[int], *, listen: list[str], pbx: str, of_pbx: dict[str, str], of_app: dict[str, str]
) -> AsyncIterator[Office]:
    """Once the account is registered by all `edges`, which are TCP ports; `pbx` is the URI of the PBX.

    The last two are further keys of the two configurations.
    """
    there = config_on_free_ports(folder / "pbx", SIP__LISTEN=json.dumps(listen), **of_pbx)
    trunk = {
        "name": "pbx",
        "uri": pbx,
        "outbound_proxies": [f"sip:127.0.0.1:{port};transport=tcp" for port in edges],
        "options_interval": 0,
    }
    here = config_on_free_ports(
        folder / "office",
        USERS=json.dumps([{"id": "1002", "sip": True, "may_call": ["*"]}]),
        USERS__1002__ACCOUNT=json.dumps({"registrar": "pbx", "username": "1001", "password": PASSWORDS["1001"]}),
        TRUNKS=json.dumps([trunk]),
        ROUTES="[]",
        **of_app,
    )
    calls = Application(answering)
    made = Office(GatewayApp(there), GatewayApp(here), UserAgent(UserAgentConfig(listen=LOOPBACK), calls), calls)
    async with AsyncExitStack() as stack:
        for part, stop in ((made.pbx, made.pbx.stop), (made.app, made.app.stop), (made.agent, made.agent.close)):
            await part.start()
            stack.push_async_callback(stop)
        account = Credentials("1002", PASSWORDS["1002"])
        app = made.app
        await made.agent.register(f"sip:{app.sip_hostport}", aor=f"sip:1002@{app.config.domain}", credentials=account)
        await until(lambda: made.standing == {*edges})
        yield made
