"""baresip over TCP at a whole gateway: every message of its calls goes by a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.demo.ports import free_ports
from tests.interop.baresip import baresip
from tests.interop.gateway import PASSWORDS, Gateway, RpcBrowser, config_on_free_ports, gateway_with

pytestmark = [pytest.mark.peer, pytest.mark.asyncio(loop_scope="module")]

SINE_HZ = 660
"""What baresip says."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway that listens on TCP alone."""
    folder = tmp_path_factory.mktemp("gateway")
    [port] = free_ports(1)
    config = config_on_free_ports(folder, SIP__LISTEN=f'["tcp:127.0.0.1:{port}"]')
    async with gateway_with(config, folder / "gateway.log") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(gateway: Gateway) -> RpcBrowser:
    """Alice."""
    return await gateway.browser("alice")


async def test_a_phone_over_tcp_is_called_and_calls(gateway: Gateway, browser: RpcBrowser, tmp_path: Path) -> None:
    """It registers, is called by its connection and heard, hangs up; then it calls, and the page hangs up."""
    account = ("1001", PASSWORDS["1001"], gateway.sip, gateway.config.domain)
    async with baresip(tmp_path, *account, codec="PCMU/8000/1", source=f"ausine,{SINE_HZ}", transport="tcp") as phone:
        await phone.expect("REGISTER_OK")
        await browser.dial("1001")
        await browser.status("talking")
        await browser.tone(SINE_HZ)
        phone.command("hangup")
        await browser.status("ready")
        await gateway.idle()
        phone.command("dial", gateway.uri("alice") + ";transport=tcp")
        await browser.status("ringing")
        await browser.accept()
        await phone.expect("CALL_ESTABLISHED")
        await browser.tone(SINE_HZ)
        await browser.hang_up()
        await phone.expect("CALL_CLOSED")
        await gateway.idle()
