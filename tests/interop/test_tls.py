"""Calls of baresip with a browser over TLS."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.interop.baresip import Baresip, baresip
from tests.interop.gateway import BROWSER_HZ, PASSWORDS, Gateway, config_on_free_ports, gateway_with
from tests.net.certificates import Authority
from tests.ports import free_port

pytestmark = pytest.mark.peer

SINE_HZ = 660


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway that listens to TLS alone."""
    cert, key = Authority(tmp_path).issue("127.0.0.1")
    listen = f"tls:127.0.0.1:{free_port()}"
    config = config_on_free_ports(tmp_path, SIP__LISTEN=listen, SIP__TLS__CERT=str(cert), SIP__TLS__KEY=str(key))
    async with gateway_with(config, tmp_path / "gateway.log") as running:
        yield running


def desk_phone(gateway: Gateway, folder: Path, source: str) -> contextlib.AbstractAsyncContextManager[Baresip]:
    """Baresip as 1001, over TLS."""
    return baresip(
        folder / "baresip",
        "1001",
        PASSWORDS["1001"],
        gateway.sip,
        gateway.config.domain,
        codec="PCMU/8000/1",
        source=source,
        transport="tls",
    )


async def test_a_browser_calls_baresip_over_tls(gateway: Gateway, tmp_path: Path) -> None:
    """It is called by the connection it registered over; its sine is found in the browser."""
    alice = await gateway.browser("alice")
    async with desk_phone(gateway, tmp_path, f"ausine,{SINE_HZ}") as phone:
        await phone.expect("REGISTER_OK")
        await alice.dial("1001")
        await alice.status("talking")
        await phone.expect("CALL_ESTABLISHED")
        await alice.tone(SINE_HZ)
        await alice.hang_up()
        await phone.expect("CALL_CLOSED")
        await gateway.idle()


async def test_baresip_calls_a_browser_over_tls(gateway: Gateway, tmp_path: Path) -> None:
    """Her tone returns through baresip's bridge; baresip hangs up."""
    alice = await gateway.browser("alice")
    async with desk_phone(gateway, tmp_path, "aubridge,ear") as phone:
        await phone.expect("REGISTER_OK")
        phone.command("dial", gateway.uri("alice"))
        await alice.status("ringing")
        await alice.accept()
        await phone.expect("CALL_ESTABLISHED")
        await alice.tone(BROWSER_HZ)
        phone.command("hangup")
        await alice.status("ready")
        await gateway.idle()
