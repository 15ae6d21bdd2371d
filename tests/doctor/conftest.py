"""A name server that the doctor asks in place of the system's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from gateway.config.ports import default_route_address
from gateway.doctor import lookup
from gateway.net.resolver import ResolverConfig
from tests.net.name_server import NameServer, Zone

OWN = default_route_address()
FOREIGN = "203.0.113.9"
ZONE: Zone = {
    ("own.example.", "A"): [OWN],
    ("far.example.", "A"): [FOREIGN, "203.0.113.10"],
    ("far.example.", "AAAA"): ["2001:db8::9"],
    ("here.example.", "A"): ["127.0.0.1"],
    ("_sips._tcp.served.example.", "SRV"): ["10 0 5061 far.example."],
    ("_sip._udp.off.example.", "SRV"): ["0 0 0 ."],
}


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NameServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(ZONE), local_addr=("127.0.0.1", 0))
    ours = partial(ResolverConfig, nameservers=("127.0.0.1",), port=transport.get_extra_info("sockname")[1])
    monkeypatch.setattr(lookup, "ResolverConfig", ours)
    yield server
    transport.close()
