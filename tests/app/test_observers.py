"""Call records and HEP copies of a whole gateway with real calls; one gateway is killed in the middle of one."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from bench.callee import Callee
from bench.calls import FORWARDED, calls_through
from bench.process import environment, running
from gateway.errors import ConfigError
from tests.chaos.places import locked
from tests.interop.gateway import config_on_free_ports, gateway_with
from tests.observe.collector import chunks
from tests.ports import listening


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.wall
async def test_every_call_has_one_record(tmp_path: Path) -> None:
    """One that was answered, with who talked, how long and how well; one that was refused."""
    file = tmp_path / "cdr.jsonl"
    config = config_on_free_ports(tmp_path, CDR__ENABLED="true", CDR__FILE=str(file))
    async with gateway_with(config, tmp_path / "gateway.log") as gateway:
        browser, phone = await gateway.browser("alice"), await gateway.phone()
        await browser.dial("1001")
        await phone.expect("incoming")
        await browser.status("talking")
        await phone.expect("tone")
        await browser.hang_up()
        await phone.expect("state", state="ended")
        phone.on_incoming(486)
        await browser.refused("1001")
        await gateway.idle()
    talked, busy = records(file)
    assert talked["caller"] == gateway.uri("alice")
    assert talked["dialled"] == "1001"
    assert talked["parties"] == [gateway.uri("alice"), gateway.uri("1001")]
    assert (talked["cause"], talked["sip_status"], talked["q850"]) == ("normal", 200, 16)
    assert talked["started_at"] <= talked["answered_at"] <= talked["ended_at"]
    assert talked["seconds"] > 0
    assert len(talked["sip_call_ids"]) == 1
    assert any(party["received"]["packets"] for party in talked["media"].values())
    assert (busy["cause"], busy["answered_at"], busy["seconds"], busy["parties"]) == ("busy", None, None, [])
    assert busy["id"] != talked["id"]


@pytest.mark.wall
async def test_a_call_whose_gateway_is_killed_has_one_record(tmp_path: Path) -> None:
    """kill -9 while nothing can be written to the ledger: the record comes once, with the cause gateway-lost."""
    file, log = tmp_path / "cdr.jsonl", tmp_path / "gateway.log"
    callee = await Callee.open(FORWARDED.phone)
    keys = {"CDR__ENABLED": True, "CDR__FILE": str(file), "MEDIA__PLANE": "python", **listening()}
    environ = environment(str(tmp_path), callee.port, **keys)
    async with running(environ, log) as gateway, calls_through(gateway, callee, FORWARDED) as calls:
        with locked(tmp_path / "cdr.sqlite"):
            await calls.grow(2)
            gateway.process.kill()
            await asyncio.to_thread(gateway.process.wait)
    assert records(file) == []
    for _ in range(2):
        async with running(environ, log):
            await asyncio.to_thread(_lines, file, 2)
    callee.close()
    assert [one["cause"] for one in records(file)] == ["gateway-lost"] * 2
    assert len({one["id"] for one in records(file)}) == 2
    assert all(one["answered_at"] and one["ended_at"] is None for one in records(file))


def _lines(path: Path, count: int) -> None:
    _until(lambda: len(records(path)) == count)


def _until(true: Any) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_records_in_a_folder_that_cannot_be_used_stop_the_start(tmp_path: Path) -> None:
    """A sentence that names the key."""
    config = config_on_free_ports(tmp_path, CDR__ENABLED="true")
    config.state_dir.mkdir(exist_ok=True)
    (config.state_dir / "cdr.sqlite").mkdir()
    with pytest.raises(ConfigError) as failed:
        async with gateway_with(config, tmp_path / "gateway.log"):
            pass
    assert failed.value.key == "cdr"


@pytest.mark.wall
async def test_a_collector_gets_every_message_and_the_quality_of_a_call(tmp_path: Path) -> None:
    """INVITE and its answers both ways under one Call-ID, and RTCP reports under the same."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        collector.setblocking(False)
        place = "{}:{}".format(*collector.getsockname())
        config = config_on_free_ports(
            tmp_path, HEP__COLLECTOR=place, HEP__CAPTURE_ID="77", HEP__PASSWORD="pw", HEP__REPORT_INTERVAL="1"
        )
        async with gateway_with(config, tmp_path / "gateway.log") as gateway:
            phone, gateway_place = await gateway.phone(), gateway.sip
            phone.dial(gateway.uri("601"))
            await phone.expect("tone")
            found = await _reports(collector)
            phone.hangup()
            await phone.expect("state", state="ended")
            await gateway.idle()
        found += _waiting(collector)
    assert all((one[12], one[14]) == (b"\0\0\0\x4d", b"pw") for one in found)
    reports = [one for one in found if one[11] == b"\x05"]
    call_id = reports[0][17]
    messages = [one[15].split(b"\r\n")[0] for one in found if one[11] == b"\x01" and one.get(17) == call_id]
    assert messages[0].startswith(b"INVITE ")
    assert b"SIP/2.0 200 OK" in messages
    assert any(line.startswith(b"BYE ") for line in messages)
    ours = (socket.inet_aton(gateway_place[0]), gateway_place[1].to_bytes(2, "big"))
    invite = next(one for one in found if one[15].startswith(b"INVITE "))
    answer = next(one for one in found if one.get(17) == call_id and one[15].startswith(b"SIP/2.0 200"))
    assert (invite[4], invite[8]) == (answer[3], answer[7]) == ours
    assert (invite[3], invite[7]) == (answer[4], answer[8])
    last = json.loads(reports[-1][15])
    assert last["type"] == 200
    assert any(json.loads(one[15])["sender_information"]["packets"] for one in reports)


async def _reports(collector: socket.socket) -> list[dict[int, bytes]]:
    """Everything up to the first report of a call's quality."""
    loop = asyncio.get_running_loop()
    found: list[dict[int, bytes]] = []
    async with asyncio.timeout(30):
        while not found or found[-1][11] != b"\x05":
            found.append(chunks(await loop.sock_recv(collector, 65_536)))
    return found


def _waiting(collector: socket.socket) -> list[dict[int, bytes]]:
    found = []
    while True:
        try:
            found.append(chunks(collector.recv(65_536)))
        except BlockingIOError:
            return found
