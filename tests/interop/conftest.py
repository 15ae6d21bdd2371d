"""One gateway a module, for the tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.interop.gateway import Gateway, config_on_free_ports, gateway_with


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway with everything at its default, on free loopback ports."""
    folder = tmp_path_factory.mktemp("gateway")
    async with gateway_with(config_on_free_ports(folder), folder / "gateway.log") as running:
        yield running
