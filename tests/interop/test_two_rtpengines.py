"""A whole gateway with two real rtpengines that record: over HTTP a call is recorded, and one of the two may go."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from bench.rtpengine import Daemon
from tests.interop.gateway import PASSWORDS, Gateway, RpcBrowser, config_on_free_ports, gateway_with, hear_each_other
from tests.media.engine_support import until
from tests.media.rtpengine_support import rtpengine

USERS = json.dumps([{"id": "alice", "web": True, "role": "admin"}, {"id": "1001", "sip": True}])

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the daemons write what they record."""
    return tmp_path_factory.mktemp("spool")


def files(spool: Path, kind: str) -> list[Path]:
    """What the daemons have written of a kind."""
    return sorted(spool.glob(f"{kind}/*"))


@pytest.fixture(scope="module")
def daemons(spool: Path) -> Iterator[list[Daemon]]:
    """Two."""
    with ExitStack() as stack:
        yield [stack.enter_context(rtpengine(f"--recording-dir={spool}")) for _ in range(2)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(daemons: list[Daemon], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """Both are named by the one setting."""
    folder = tmp_path_factory.mktemp("gateway")
    places = ",".join(f"{host}:{port}" for host, port in (daemon.address for daemon in daemons))
    settings = {"RECORDING__BEEP": "false", "RECORDING__CALLS": '["1001"]', "MEDIA__RTPENGINE_RECORDS": "true"}
    config = config_on_free_ports(folder, USERS=USERS, MEDIA__ENGINE=f"rtpengine:{places}", **settings)
    async with gateway_with(config, folder / "gateway.log") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(gateway: Gateway) -> RpcBrowser:
    """Alice."""
    return await gateway.browser("alice")


async def test_a_call_is_recorded_by_rule_and_the_api_says_who_has_the_sound(
    gateway: Gateway, browser: RpcBrowser, spool: Path
) -> None:
    """The page is told; the list names the daemon and the beginning of its file; over HTTP it ends and begins anew."""
    phone = await gateway.phone("1001")
    phone.on_incoming(200)
    auth = {"Authorization": f"Bearer alice:{PASSWORDS['alice']}"}
    async with httpx.AsyncClient(base_url=gateway.web, headers=auth, timeout=30) as alice:
        await browser.dial("1001")
        await browser.notified("call_recorded", recording=True)
        await hear_each_other(browser, phone)
        (call,) = gateway.app.calls
        assert (await alice.delete(f"/api/calls/{call.id}/recording")).status_code == 204
        await browser.notified("call_recorded", recording=False)
        assert (await alice.put(f"/api/calls/{call.id}/recording", json={})).status_code == 204
        await until(lambda: len(files(spool, "pcaps")) == 2)
        await browser.hang_up()
        await gateway.idle()
        found = (await alice.get("/api/recordings")).json()["recordings"]
        assert [each["call"] for each in found] == [call.id] * 2
        for each in found:
            assert each["name"].endswith(".json")
            start = each["kept_by"].rpartition(" ")[2]
            assert all(file.name.startswith(start) for file in files(spool, "pcaps")), start
        gone = await alice.get(f"/api/recordings/{found[0]['name']}")
        assert gone.status_code == 404
        assert "not the gateway's" in gone.text
    told = [file.read_text() for file in files(spool, "metadata")]
    assert len(told) == 2
    assert all(f"call:{call.id}|" in text and "dialled:1001" in text for text in told)
    await phone.close()


async def test_new_calls_go_to_the_other_once_one_is_gone(
    gateway: Gateway, browser: RpcBrowser, daemons: list[Daemon]
) -> None:
    """Each of four calls is heard, whichever of the two its turn would be."""
    daemons[0].process.kill()
    daemons[0].process.wait(5)
    phone = await gateway.phone("1001")
    phone.on_incoming(200)
    for _ in range(4):
        await browser.dial("1001")
        await browser.status("talking")
        await hear_each_other(browser, phone)
        await browser.hang_up()
        await phone.expect("state", state="ended")
        await gateway.idle()
    await phone.close()
