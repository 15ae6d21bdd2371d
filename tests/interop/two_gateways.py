"""Two gateways of one cluster, which share a Redis."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from tests.identity.conftest import redis_server
from tests.interop.house import House
from tests.ports import free_port

KEY = "the-key-of-the-cluster-in-these-tests"
DOMAIN = "gateway.example"


async def two_gateways(folder: Path, stack: AsyncExitStack, **changes: str) -> tuple[House, House]:
    """Both run, on packet planes of Python; ended with the stack."""
    redis = free_port()
    stack.enter_context(redis_server(redis, folder))
    gateways = []
    for name in ("first", "second"):
        (folder / name).mkdir()
        store = f"redis://127.0.0.1:{redis}/0"
        gateway = House(folder / name, stack, IDENTITY__STORE=store, CLUSTER__KEY=KEY, MEDIA__PLANE="python", **changes)
        stack.push_async_callback(gateway.close)
        await gateway.start(CLUSTER__NODE=f"sip:127.0.0.1:{gateway.sip}", CLUSTER__INTERVAL="0.5")
        gateways.append(gateway)
    return gateways[0], gateways[1]
