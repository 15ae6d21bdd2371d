"""A talk that strangers try to disturb: alice and a desk phone in a call, Bob at hand, a trunk that listens."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import websockets

from gateway.demo.phone import DeskPhone
from tests.interop.gateway import (
    TONE_HZ,
    Gateway,
    RpcBrowser,
    check_log,
    config_on_free_ports,
    gateway_with,
    hear_each_other,
)
from tests.interop.stranger import Stranger, stranger


@dataclass
class Talk:
    """Alice and the desk phone in a call, Bob at hand for another one, and a trunk that should hear nothing."""

    gateway: Gateway
    alice: RpcBrowser
    bob: RpcBrowser
    phone: DeskPhone
    call_id: str
    """Of the dialog between gateway and phone, which a listener on the wire may have learnt."""
    trunk: Stranger

    async def goes_on(self) -> None:
        """Both tones still flow, another call can be made, and nothing unseemly was logged."""
        await hear_each_other(self.alice, self.phone)
        self.bob.listen_anew()
        await self.bob.dial("601")
        await self.bob.status("talking")
        await self.bob.tone(TONE_HZ)
        await self.bob.hang_up()
        check_log(await self.gateway.journal.text())
        assert len(self.gateway.app.calls) >= 1


@contextlib.asynccontextmanager
async def talking(folder: Path) -> AsyncIterator[Talk]:
    """Set the call up."""
    async with stranger("127.0.0.1") as trunk:
        config = config_on_free_ports(
            folder,
            TRUNKS=json.dumps([{"name": "office", "uri": "sip:{}:{}".format(*trunk.place), "options_interval": 0}]),
            ROUTES='[{"match": "600", "to": "service:echo"}, {"match": "601", "to": "service:tone"},'
            ' {"match": "0*", "to": "trunk:office", "strip": 1}]',
        )
        async with gateway_with(config, folder / "gateway.log") as gateway:
            phone, alice, bob = await gateway.phone(), await gateway.browser("alice"), await gateway.browser("bob")
            await alice.dial("1001")
            incoming = await phone.expect("incoming")
            await alice.status("talking")
            yield Talk(gateway, alice, bob, phone, incoming.details["call_id"], trunk)


def rpc_url(talk: Talk) -> str:
    return talk.gateway.web.replace("http", "ws", 1) + "/rpc"


async def ask(socket: websockets.ClientConnection, method: str, **params: object) -> dict[str, object]:
    """One request and its reply."""
    await socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    async with asyncio.timeout(30):
        while True:
            reply = json.loads(await socket.recv())
            if "id" in reply:
                return dict(reply)
