"""What a whole gateway answers to OPTIONS: a trunk learns where to place calls, a stranger no more than it said."""

from __future__ import annotations

import json
from pathlib import Path

from gateway.app import GatewayApp
from gateway.sip.message.parser import parse_message
from tests.interop.gateway import config_on_free_ports
from tests.interop.stranger import stranger
from tests.rows import by_row

TRUNK, STRANGER = "127.0.0.67", "127.0.0.68"


@by_row(("host", "padding"), [(TRUNK, 0), (STRANGER, 0), (STRANGER, 600)])
async def test_the_200_to_options_of_a_trunk_carries_a_contact(tmp_path: Path, host: str, padding: int) -> None:
    """Toward a stranger not one octet more goes out than came in."""
    trunk = {"name": "teams", "uri": f"sip:{TRUNK}:5099", "sources": [TRUNK], "options_interval": 0}
    app = GatewayApp(config_on_free_ports(tmp_path, TRUNKS=json.dumps([trunk])))
    await app.start()
    try:
        at, _, port = app.sip_hostport.rpartition(":")
        async with stranger(host) as peer:
            options = peer.request("OPTIONS", f"sip:{app.config.domain}", headers=(f"Subject: {'x' * padding}",))
            data = await peer.ask(options, (at, int(port)))
        answer = parse_message(data)
        assert answer.headers.get("CSeq") == "1 OPTIONS"
        if host == TRUNK:
            assert answer.contact is not None
            assert (answer.contact.uri.host, answer.contact.uri.port) == (at, int(port))
        else:
            assert answer.contact is None
            assert len(data) <= len(options)
    finally:
        await app.stop()


@by_row("padding", [0, 600])
async def test_a_trunk_known_by_its_uri_alone_gets_a_contact(tmp_path: Path, padding: int) -> None:
    """Without `sources` and from any port; its address proves nothing, so not one octet more goes out than came in."""
    trunk = {"name": "teams", "uri": f"sip:{TRUNK}:5099", "options_interval": 0}
    app = GatewayApp(config_on_free_ports(tmp_path, TRUNKS=json.dumps([trunk])))
    await app.start()
    try:
        at, _, port = app.sip_hostport.rpartition(":")
        async with stranger(TRUNK) as peer:
            options = peer.request("OPTIONS", f"sip:{app.config.domain}", headers=(f"Subject: {'x' * padding}",))
            data = await peer.ask(options, (at, int(port)))
            invite = await peer.ask(peer.request("INVITE", f"sip:600@{app.config.domain}"), (at, int(port)))
        answer = parse_message(data)
        assert answer.contact is not None
        assert (answer.contact.uri.host, answer.contact.uri.port) == (at, int(port))
        assert len(data) <= len(options)
        assert invite.startswith(b"SIP/2.0 401 ")
    finally:
        await app.stop()
