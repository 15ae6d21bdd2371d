"""Calls of baresip with a browser over TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.interop.desk_calls import baresip_calls_browser, browser_calls_baresip
from tests.interop.gateway import Gateway, config_on_free_ports, gateway_with
from tests.net.certificates import Authority
from tests.ports import free_port

pytestmark = pytest.mark.wall


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway that listens to TLS alone."""
    cert, key = Authority(tmp_path).issue("127.0.0.1")
    listen = f"tls:127.0.0.1:{free_port()}"
    config = config_on_free_ports(tmp_path, SIP__LISTEN=listen, SIP__TLS__CERT=str(cert), SIP__TLS__KEY=str(key))
    async with gateway_with(config, tmp_path / "gateway.log") as running:
        yield running


async def test_a_browser_calls_baresip_over_tls(gateway: Gateway, tmp_path: Path) -> None:
    """It is called by the connection it registered over; its sine is found in the browser."""
    await browser_calls_baresip(gateway, await gateway.browser("alice"), tmp_path / "baresip", "tls")


async def test_baresip_calls_a_browser_over_tls(gateway: Gateway, tmp_path: Path) -> None:
    """Her tone returns through baresip's bridge; baresip hangs up."""
    await baresip_calls_browser(gateway, await gateway.browser("alice"), tmp_path / "baresip", "tls")
