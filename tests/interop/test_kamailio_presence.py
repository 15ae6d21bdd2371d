"""Kamailio's presence server as the PBX: a phone of ours looks at its people, and hears what they publish there."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.demo.phone import DeskPhone
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.people.documents import pidf
from gateway.people.presence import Activity, PresenceState
from gateway.sip.auth.account import Credentials
from gateway.sip.message.message import Response
from gateway.sip.message.uri import Uri
from tests import peers
from tests.interop.gateway import PASSWORDS, Gateway, config_on_free_ports, gateway_with
from tests.interop.kamailio import kamailio
from tests.net.peers import LOOPBACK, Application
from tests.ports import free_port

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

HOST = "127.0.0.2"
SCHEMA = Path("/usr/share/kamailio/db_sqlite")
MODULES = ("tm", "sl", "rr", "pv", "textops", "siputils", "db_sqlite", "presence", "presence_xml")
CONFIG = """\
#!KAMAILIO
listen=udp:{host}:{port}
{loaded}
modparam("presence|presence_xml", "db_url", "sqlite:///{database}")
modparam("presence", "server_address", "sip:{host}:{port}")
modparam("presence", "send_fast_notify", 1)
modparam("presence_xml", "force_active", 1)
request_route {{
    if (is_method("SUBSCRIBE|PUBLISH")) {{
        if (!t_newtran()) {{
            sl_reply_error();
            exit;
        }}
        if (is_method("PUBLISH")) handle_publish();
        else handle_subscribe();
        t_release();
        exit;
    }}
    sl_send_reply("200", "OK");
}}
"""


@dataclass(frozen=True)
class Rig:
    gateway: Gateway
    phone: DeskPhone
    pbx: tuple[str, int]
    database: Path

    async def publish(self, state: PresenceState) -> None:
        """Have 700 publish at the Kamailio, from a phone of its own."""
        loop = asyncio.get_running_loop()
        answered = loop.create_future()

        class Ear(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                if not answered.done():
                    answered.set_result(data)

        transport, _ = await loop.create_datagram_endpoint(Ear, local_addr=(HOST, 0))
        with closing(transport):
            own = transport.get_extra_info("sockname")
            who = f"sip:700@{HOST}:{self.pbx[1]}"
            body = pidf.write(who, state)
            name = own[1]
            head = (
                f"PUBLISH {who} SIP/2.0\r\nVia: SIP/2.0/UDP {own[0]}:{own[1]};branch=z9hG4bKp{name}\r\n"
                f"From: <{who}>;tag={name}\r\nTo: <{who}>\r\nCall-ID: p{name}\r\nCSeq: 1 PUBLISH\r\n"
                f"Max-Forwards: 70\r\nEvent: presence\r\nExpires: 600\r\nContent-Type: {pidf.CONTENT_TYPE}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            transport.sendto(head.encode() + body, self.pbx)
            async with asyncio.timeout(30):
                assert (await answered).startswith(b"SIP/2.0 200")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    peers.pjsua2()
    if not (SCHEMA / "presence-create.sql").exists():
        peers.missing("Kamailio's presence server", "kamailio-presence-modules and kamailio-sqlite-modules")
    folder = tmp_path_factory.mktemp("kamailio")
    database = folder / "presence.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        for name in ("standard", "presence"):
            connection.executescript((SCHEMA / f"{name}-create.sql").read_text())
    port = free_port()
    loaded = "\n".join(f'loadmodule "{name}.so"' for name in MODULES)
    text = CONFIG.format(host=HOST, port=port, loaded=loaded, database=database)
    trunk = {"name": "pbx", "uri": f"sip:{HOST}:{port}", "sources": [HOST]}
    config = config_on_free_ports(
        folder,
        TRUNKS=json.dumps([trunk]),
        ROUTES=json.dumps([{"match": "0*", "to": "trunk:pbx", "strip": 1}]),
        PRESENCE__NOTIFY_INTERVAL="0",
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(kamailio(folder, text, HOST, port))
        running = await stack.enter_async_context(gateway_with(config, folder / "gateway.log"))
        yield Rig(running, await running.phone("1001"), (HOST, port), database)


async def test_a_phone_sees_what_is_published_at_the_pbx(rig: Rig) -> None:
    """Kamailio's first NOTIFY has no body, then comes what its people publish, and our unsubscription ends it there."""
    other = rig.gateway.uri("0700")
    rig.phone.watch(other)
    await rig.phone.expect("presence", uri=other, state="ACTIVE", online=False)
    await rig.publish(PresenceState(Activity.BUSY, "in a meeting"))
    await rig.phone.expect("presence", uri=other, online=True, note="in a meeting")
    rig.phone.watch(other, False)
    await rig.phone.expect("presence", uri=other, state="TERMINATED")


async def test_who_looks_later_hears_what_stands(rig: Rig) -> None:
    """Whatever was published before."""
    other = rig.gateway.uri("0700")
    await rig.publish(PresenceState(Activity.AWAY, "gone fishing"))
    rig.phone.watch(other)
    seen = await rig.phone.expect("presence", uri=other, online=True)
    assert seen.details["state"] == "ACTIVE"
    rig.phone.watch(other, False)
    await rig.phone.expect("presence", uri=other, state="TERMINATED")


async def test_what_a_user_of_ours_publishes_about_somebody_of_the_pbx_is_there(rig: Rig) -> None:
    """Made, changed under the name that it got, taken away; a name that Kamailio has forgotten is 412."""
    other = rig.gateway.uri("0701")
    async with AsyncExitStack() as stack:
        agent = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
        await agent.start()
        stack.push_async_callback(agent.close)

        async def publish(state: PresenceState | None, match: str | None = None, expires: int = 600) -> Response:
            return await agent.request(
                "PUBLISH",
                Uri.parse(other),
                received=f"udp:{rig.gateway.app.sip_hostport}",
                caller=f"<sip:1001@{rig.gateway.app.config.domain}>",
                credentials=Credentials("1001", PASSWORDS["1001"]),
                headers=[
                    ("Event", "presence"),
                    ("Expires", expires),
                    *([("SIP-If-Match", match)] if match is not None else []),
                ],
                body=pidf.write(other, state) if state is not None else b"",
                content_type=pidf.CONTENT_TYPE if state is not None else None,
            )

        rig.phone.watch(other)
        await rig.phone.expect("presence", uri=other, state="ACTIVE")
        made = await publish(PresenceState(Activity.BUSY, "on the road"))
        assert made.status == 200
        await rig.phone.expect("presence", uri=other, online=True, note="on the road")
        changed = await publish(PresenceState(Activity.AWAY, "home again"), made.sip_etag)
        assert changed.status == 200
        await rig.phone.expect("presence", uri=other, online=True, note="home again")
        refreshed = await publish(None, changed.sip_etag)
        assert refreshed.status == 200
        with closing(sqlite3.connect(rig.database)) as connection:
            connection.execute("DELETE FROM presentity WHERE username = '701'")
            connection.commit()
        assert (await publish(None, refreshed.sip_etag)).status == 412
        again = await publish(PresenceState(Activity.AWAY, "once more"))
        removed = await publish(None, again.sip_etag, 0)
        assert (again.status, removed.status, removed.expires) == (200, 200, 0)
        rig.phone.watch(other, False)
        await rig.phone.expect("presence", uri=other, state="TERMINATED")
