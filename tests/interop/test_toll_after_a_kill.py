"""Who was stopped by the brake on toll fraud is stopped by the next process as well."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri
from tests.app.phones import SDP
from tests.app.ws_phone import UdpPhone
from tests.interop.gateway import PASSWORDS
from tests.interop.house import House, house
from tests.interop.stranger import stranger
from tests.media.plane_rig import until
from tests.ports import free_ports

pytestmark = [pytest.mark.serial, pytest.mark.timeout(120)]


async def dial(gateway: House, number: str) -> int:
    """How the gateway answers in the end; behind its trunk is nobody."""
    async with stranger() as socket:
        phone = UdpPhone(socket, ("127.0.0.1", gateway.sip), "1003", "gateway.example", PASSWORDS["1003"])
        contact = NameAddr.parse(f"<sip:1003@{socket.place[0]}:{socket.place[1]}>")
        called = Uri.of(number, "gateway.example")
        return (await phone.ask("INVITE", called, called, contact, SDP.format(port=40000).encode())).status


def kept(folder: Path) -> float:
    """Calls that the store knows of."""
    with closing(sqlite3.connect(folder / "gateway.sqlite")) as connection:
        rows = connection.execute("SELECT value FROM texts WHERE name = 'toll:'").fetchall()
    return sum(float(calls) for (text,) in rows for _, _, calls in json.loads(text)["spent"])


async def test_a_kill_gives_nobody_a_fresh_budget(tmp_path: Path) -> None:
    """Two calls an hour are two, though the gateway was killed after the second."""
    [nobody] = free_ports(1)
    trunks = json.dumps([{"name": "office", "uri": f"sip:127.0.0.1:{nobody}"}])
    routes = json.dumps([{"match": "+*", "to": "trunk:office"}])
    changes = {"USERS__1003__MAY_CALL": '["trunk:*"]', "LIMITS__PREFIX_CALLS_PER_HOUR": "2"}
    async with house(tmp_path, TRUNKS=trunks, ROUTES=routes, **changes) as gateway:
        for number in ("+237600111", "+237600222"):
            assert await dial(gateway, number) == 480
        await until(lambda: kept(tmp_path) > 1.9)
        await gateway.kill()
        await gateway.start()
        assert await dial(gateway, "+237600333") == 503
        await gateway.logged("toll brake")
        assert await dial(gateway, "+498912345") == 480
