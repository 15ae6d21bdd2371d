"""Rooms that only some may enter, and the calls of trunks to them, through a whole gateway."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.app import GatewayApp
from tests.interop.gateway import config_on_free_ports
from tests.interop.stranger import SDP, status_of, stranger

MEMBER, OTHER = "127.0.0.71", "127.0.0.72"


@pytest.mark.parametrize(("host", "status"), [(MEMBER, 200), (OTHER, 403)])
async def test_a_room_admits_the_trunks_among_its_members(tmp_path: Path, host: str, status: int) -> None:
    """`rooms[].members` names trunks as trunk:NAME; the calls of others are forbidden."""
    trunks = [
        {"name": name, "uri": f"sip:{at}:5099", "sources": [at], "options_interval": 0}
        for name, at in (("pbx", MEMBER), ("carrier", OTHER))
    ]
    config = config_on_free_ports(
        tmp_path,
        TRUNKS=json.dumps(trunks),
        ROOMS=json.dumps([{"name": "board", "members": ["alice", "trunk:pbx"]}]),
        ROUTES=json.dumps([{"match": "8000", "to": "room:board"}]),
    )
    app = GatewayApp(config)
    await app.start()
    try:
        at, _, port = app.sip_hostport.rpartition(":")
        async with stranger(host) as trunk:
            invite = trunk.request("INVITE", f"sip:8000@{config.domain}", body=SDP.format(host=host))
            answer = await trunk.ask(invite, (at, int(port)))
        assert status_of(answer) == status
    finally:
        await app.stop()
