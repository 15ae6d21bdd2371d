"""baresip transfers calls: as a phone of the gateway, and as the one whom a trunk leads to (RFC 3515, RFC 5589)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.interop.baresip import Baresip, baresip
from tests.interop.gateway import PASSWORDS, TONE_HZ, Gateway, RpcBrowser, config_on_free_ports, gateway_with
from tests.ports import free_ports

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

SINE_HZ = 660
CODEC = "PCMU/8000/1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trunk_port() -> int:
    """Where the trunk is; one above it is baresip's, too."""
    return free_ports(2)[0]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(tmp_path_factory: pytest.TempPathFactory, trunk_port: int) -> AsyncIterator[Gateway]:
    """A gateway whose numbers beginning with 0 go through a trunk."""
    folder = tmp_path_factory.mktemp("transfers")
    trunks = [
        {"name": "office", "uri": f"sip:127.0.0.1:{trunk_port}", "options_interval": 0},
        {"name": "dear", "uri": "sip:127.0.0.1:9", "options_interval": 0},
    ]
    routes = [
        {"match": "0*", "to": "trunk:office", "strip": 1},
        {"match": "9*", "to": "trunk:dear", "strip": 1},
        {"match": "601", "to": "service:tone"},
    ]
    config = config_on_free_ports(folder, TRUNKS=json.dumps(trunks), ROUTES=json.dumps(routes))
    async with gateway_with(config, folder / "gateway.log") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(office: Gateway) -> RpcBrowser:
    return await office.browser("alice")


@pytest.mark.parametrize(("to", "moved"), [("601", True), ("nobody", False)])
async def test_a_baresip_passes_its_call_on(
    office: Gateway, page: RpcBrowser, tmp_path: Path, to: str, moved: bool
) -> None:
    """The page hears the tone in its place, and its call is over; refused, baresip 1.0 is told so and hangs up."""
    phone = baresip(
        tmp_path, "1001", PASSWORDS["1001"], office.sip, office.config.domain, codec=CODEC, source=f"ausine,{SINE_HZ}"
    )
    async with phone as desk:
        await desk.expect("REGISTER_OK")
        await page.dial("1001")
        await page.status("talking")
        await desk.expect("CALL_ESTABLISHED")
        await page.tone(SINE_HZ)
        desk.command("transfer", office.uri(to))
        if moved:
            await desk.expect("CALL_CLOSED")
            page.listen_anew()
            await page.tone(TONE_HZ)
            await page.hang_up()
        else:
            assert (await desk.expect("TRANSFER_FAILED"))["param"].startswith("404")
            await page.status("ready")
        await office.idle()


@pytest_asyncio.fixture(loop_scope="module")
async def far(office: Gateway, page: RpcBrowser, tmp_path: Path, trunk_port: int) -> AsyncIterator[Baresip]:
    """A baresip behind the trunk, whom the page has called; the gateway is idle afterwards."""
    phone = baresip(
        tmp_path,
        "900",
        "none",
        office.sip,
        "127.0.0.1",
        codec=CODEC,
        source=f"ausine,{SINE_HZ}",
        sip_port=str(trunk_port),
    )
    async with phone as called:
        await page.dial("0900")
        await page.status("talking")
        await called.expect("CALL_ESTABLISHED")
        await page.tone(SINE_HZ)
        yield called
        await office.idle()


async def test_who_is_called_through_a_trunk_passes_the_call_on(
    office: Gateway, page: RpcBrowser, far: Baresip
) -> None:
    """To somebody of ours: a trunk may ring users and services."""
    far.command("transfer", office.uri("601"))
    await far.expect("CALL_CLOSED")
    page.listen_anew()
    await page.tone(TONE_HZ)
    await page.hang_up()


async def test_who_is_called_through_a_trunk_passes_no_call_on_to_another_trunk(
    office: Gateway, page: RpcBrowser, far: Baresip
) -> None:
    """What a trunk asks for leaves by no trunk but itself; baresip is told so and hangs up."""
    far.command("transfer", office.uri("9901"))
    assert (await far.expect("TRANSFER_FAILED"))["param"].startswith("403")
    await page.status("ready")
