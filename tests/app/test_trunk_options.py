"""What a whole gateway answers to OPTIONS: a trunk learns where to place calls, a stranger no more than it said."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from gateway.app import GatewayApp
from gateway.sip.message.parser import parse_message
from tests.interop.gateway import config_on_free_ports
from tests.interop.stranger import stranger
from tests.rows import by_row

TRUNK, STRANGER = "127.0.0.67", "127.0.0.68"


@dataclass(frozen=True)
class Asker:
    """Somebody who asks by OPTIONS, and whether a Contact is in the answer, and more octets than were asked by."""

    host: str = TRUNK
    sources: tuple[str, ...] = ()
    padding: int = 0
    has_contact: bool = True
    is_proved: bool = False


ASKERS = {
    "a trunk by its sources": Asker(sources=(TRUNK,), is_proved=True),
    "a trunk by its URI": Asker(),
    "a trunk by its URI, at length": Asker(padding=600),
    "a stranger": Asker(host=STRANGER, has_contact=False),
    "a stranger at length": Asker(host=STRANGER, padding=600, has_contact=False),
}


@by_row("asker", ASKERS.values(), ids=ASKERS)
async def test_the_200_to_options_of_a_trunk_carries_a_contact(tmp_path: Path, asker: Asker) -> None:
    """An address proves nothing: toward who has no more not one octet more goes out than came in, and a call is 401."""
    trunk = {"name": "teams", "uri": f"sip:{TRUNK}:5099", "sources": asker.sources, "options_interval": 0}
    app = GatewayApp(config_on_free_ports(tmp_path, TRUNKS=json.dumps([trunk])))
    await app.start()
    try:
        at, _, port = app.sip_hostport.rpartition(":")
        async with stranger(asker.host) as peer:
            padding = (f"Subject: {'x' * asker.padding}",)
            options = peer.request("OPTIONS", f"sip:{app.config.domain}", headers=padding)
            data = await peer.ask(options, (at, int(port)))
            invite = await peer.ask(peer.request("INVITE", f"sip:4711@{app.config.domain}"), (at, int(port)))
        answer = parse_message(data)
        assert answer.headers.get("CSeq") == "1 OPTIONS"
        contact = answer.contact
        assert (contact and (contact.uri.host, contact.uri.port)) == ((at, int(port)) if asker.has_contact else None)
        assert asker.is_proved or len(data) <= len(options)
        assert bool(answer.headers.get("Allow")) or not asker.is_proved
        assert invite.startswith(b"SIP/2.0 401 ") is not asker.is_proved
    finally:
        await app.stop()
