"""Two Kamailio edge proxies (RFC 5626, their own flow tokens and Path) between a PBX and a gateway with an account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.sip.invite.events import Confirmed
from tests import peers
from tests.app.office import Office, behind_edges
from tests.app.phones import Phone
from tests.interop.kamailio import kamailio
from tests.ports import free_ports

pytestmark = pytest.mark.wall

PACKAGE = "kamailio-outbound-modules"
MODULES = "".join(
    f'loadmodule "{name}.so"\n'
    for name in ("tm", "sl", "rr", "pv", "maxfwd", "siputils", "textops", "stun", "outbound", "path")
)
EDGE = f"""#!KAMAILIO
listen=udp:127.0.0.1:@port@
listen=tcp:127.0.0.1:@port@
tcp_connection_lifetime=3600
{MODULES}
modparam("outbound", "flow_token_secret", "a-key-of-20-characters")
modparam("tm", "fr_timer", 2000)
request_route {{
    if (is_method("OPTIONS") && $rU == $null) {{
        sl_send_reply("200", "OK");
        exit;
    }}
    if (!mf_process_maxfwd_header("10")) {{
        sl_send_reply("483", "Too Many Hops");
        exit;
    }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) t_relay();
        exit;
    }}
    if (is_method("REGISTER")) {{
        remove_hf("Route");
        add_path();
        $du = "sip:127.0.0.1:@pbx@";
        t_relay();
        exit;
    }}
    if (loose_route()) {{
        if (!has_totag()) {{
            record_route();
            t_on_failure("FLOW");
        }}
        if (!t_relay()) sl_send_reply("430", "Flow Failed");
        exit;
    }}
    if (has_totag()) {{
        if (is_method("ACK") && t_check_trans()) t_relay();
        exit;
    }}
    record_route();
    t_relay();
}}
failure_route[FLOW] {{
    if (t_branch_timeout() || !t_branch_replied()) t_reply("430", "Flow Failed");
}}
"""


def require_outbound() -> None:
    """Skip, or fail in CI, where Kamailio has no module for edges."""
    if not any(Path("/usr/lib").glob("*/kamailio/modules/outbound.so")):
        peers.missing("Kamailio's outbound module", f"the Debian package {PACKAGE}")


class Edges:
    """An office behind two edges of Kamailio."""

    def __init__(self, office: Office, edges: dict[int, AsyncExitStack]) -> None:
        """`edges`: by port, what ends each."""
        self.edges = edges
        self._office = office

    async def call_in(self) -> None:
        """1002 of the PBX calls the extension, whose phone answers and hangs up."""
        phone = Phone(self._office.agent, self._office.pbx, "1002", dials="1001")
        assert await phone.status() == 200
        theirs = await asyncio.wait_for(self._office.calls.calls.get(), 30)
        await theirs.wait(Confirmed)
        theirs.session.hangup()
        await asyncio.wait_for(phone.over, 30)

    async def call_out(self) -> None:
        """The gateway's phone calls the PBX's echo by its extension, is answered, and hangs up."""
        phone = Phone(self._office.agent, self._office.app, "1002", dials="600")
        assert await phone.status() == 200
        phone.session.hangup()
        await asyncio.wait_for(phone.over, 30)


@pytest_asyncio.fixture
async def office(tmp_path: Path) -> AsyncIterator[Edges]:
    sip, one, two = free_ports(3)
    require_outbound()
    edges: dict[int, AsyncExitStack] = {}
    patience = {"SIP__REGISTRATION__FLOW_TIMEOUT": "32"}
    async with AsyncExitStack() as stack:
        for port in (one, two):
            edge = edges[port] = await stack.enter_async_context(AsyncExitStack())
            folder = tmp_path / f"edge{port}"
            folder.mkdir()
            text = EDGE.replace("@port@", str(port)).replace("@pbx@", str(sip))
            await edge.enter_async_context(kamailio(folder, text, "127.0.0.1", port, only_udp=False, package=PACKAGE))
        listen = [f"{transport}:127.0.0.1:{sip}" for transport in ("udp", "tcp")]
        made = behind_edges(
            tmp_path, [*edges], listen=listen, pbx=f"sip:127.0.0.1:{sip}", of_pbx=patience, of_app=patience
        )
        yield Edges(await stack.enter_async_context(made), edges)


@pytest.mark.parametrize("killed", [0, 1])
async def test_a_call_finds_the_edge_that_is_left(office: Edges, killed: int) -> None:
    """Both flows are taken through Kamailio; whichever edge dies, calls come in and go out by the other one.

    Nobody waits for a silence here (`flow_timeout` is half a minute): the connection that is refused says enough.
    """
    await office.call_in()
    port = list(office.edges)[killed]
    await office.edges[port].aclose()
    await office.call_in()
    await office.call_out()
