"""One gateway a module, for the tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.interop.gateway import Gateway, RpcBrowser, config_on_free_ports, gateway_with
from tests.interop.sipp_phone import registered


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway with everything at its default, on free loopback ports."""
    folder = tmp_path_factory.mktemp("gateway")
    async with gateway_with(config_on_free_ports(folder), folder / "gateway.log") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alice(gateway: Gateway) -> RpcBrowser:
    """Alice with a browser."""
    return await gateway.browser("alice")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port(gateway: Gateway) -> int:
    """A port that sipp has registered as phone 1002; what listens there is up to each test."""
    return await registered(gateway)
