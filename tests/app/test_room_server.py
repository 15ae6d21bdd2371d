"""A room of the room server that phones dial: its browsers hear the phones, the phones hear everybody, PIN and all."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from tests.app.tone_peers import Phone, tones_in
from tests.interop.gateway import Gateway, config_on_free_ports, gateway_with
from tests.media.engine_support import Browser, until
from tests.net.peers import Application
from tests.ports import free_port

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.wall]

_TONES = {"ann": 1000.0, "ben": 1300.0}


class Member(Browser):
    """A client of the room server, as its page is: the newcomer offers to everybody who is there."""

    def __init__(self, name: str, gateway: Gateway) -> None:
        super().__init__(_TONES[name])
        self.name = name
        self.gateway = gateway
        self.told: list[dict[str, Any]] = []
        self.socket: ClientConnection
        self._reading: asyncio.Task[None]

    async def __aenter__(self) -> Member:
        url = f"{self.gateway.web.replace('http', 'ws')}/webrtc/signaling/team/{self.name}"
        self.socket = await connect(url)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()
        await self.close()

    async def leave(self) -> None:
        self._reading.cancel()
        await self.socket.close()

    async def call(self, peer: str) -> None:
        offer = {"type": "offer", "sdp": await self.offer()}
        await self.socket.send(json.dumps({"type": "offer", "offer": offer, "target_peer_id": peer}))
        await until(lambda: any(one["type"] == "answer" for one in self.told))
        [answer] = [one for one in self.told if one["type"] == "answer"]
        assert answer["from_peer_id"] == peer
        await self.take_answer(answer["answer"]["sdp"])

    async def _read(self) -> None:
        async for text in self.socket:
            self.told.append(json.loads(text))

    def was_told(self, kind: str, **members: Any) -> bool:
        return {"type": kind, **members} in self.told

    def hears(self) -> set[float]:
        return tones_in(np.concatenate(self.frames[-100:]), 48_000) if self.frames else set()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    rooms = [{"name": "team", "pin": "4711", "room_server": True, "tones": False}, {"name": "apart"}]
    changes = {
        "ROOMS": json.dumps(rooms),
        "ROUTES": json.dumps([{"match": "800", "to": "room:team"}, {"match": "801", "to": "room:apart"}]),
        "LIMITS__LOAD": "0",
        "WEB__ALSO_LISTEN": f"127.0.0.1:{free_port()}",
    }
    async with gateway_with(config_on_free_ports(folder, **changes), folder / "gateway.log") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent() -> AsyncIterator[UserAgent]:
    agent = UserAgent(UserAgentConfig(listen=(("127.0.0.1", 0),)), Application())
    await agent.start()
    yield agent
    await agent.close()


async def test_a_phone_and_the_browsers_of_the_room_server_meet(gateway: Gateway, agent: UserAgent) -> None:
    """The phone hears every browser, each browser the phone alone; who comes and goes by phone is told."""
    async with Member("ann", gateway) as ann, Member("ben", gateway) as ben:
        await until(lambda: ann.was_told("existing_peers", peers=["phones"]))
        await until(lambda: ben.was_told("existing_peers", peers=["phones", "ann"]))
        await ann.call("phones")
        await ben.call("phones")
        phone = Phone(agent, gateway, "1001")
        assert await phone.dial("800") == 200
        await phone.press("4711")
        await until(lambda: phone.hears() == {1000.0, 1300.0})
        await until(lambda: ann.hears() == {400.0} and ben.hears() == {400.0})
        [joined] = [one["peer_id"] for one in ann.told if one["type"] == "peer_joined" and one["peer_id"] != "ben"]
        assert joined.startswith("Desk phone (")
        assert ben.was_told("peer_joined", peer_id=joined)
        await ben.leave()
        await until(lambda: phone.hears() == {1000.0})
        await phone.hang_up()
        await until(lambda: ann.was_told("peer_left", peer_id=joined))
        await ann.leave()
        await gateway.idle()


async def test_a_newcomer_is_told_of_the_phones_and_may_offer_again(gateway: Gateway, agent: UserAgent) -> None:
    """Where its call was ended, too; a room that is not linked has no phones among its peers."""
    phone = Phone(agent, gateway, "1001")
    assert await phone.dial("800") == 200
    await phone.press("4711")
    await until(lambda: any(room.members for room in gateway.app._conferencing._rooms._rooms.values()))
    async with Member("ann", gateway) as ann:
        await until(lambda: any(one["type"] == "peer_joined" for one in ann.told))
        await ann.call("phones")
        await until(lambda: phone.hears() == {1000.0})
        [linked] = [call for call in gateway.app.calls if "link-" in call.record.dialled]
        linked.stop()
        await until(lambda: phone.hears() == set())
        ann.told.clear()
        async with Member("ben", gateway) as ben:
            await ben.call("phones")
            await until(lambda: phone.hears() == {1300.0})
    async with connect(f"{gateway.web.replace('http', 'ws')}/webrtc/signaling/apart/ann") as socket:
        with contextlib.suppress(TimeoutError):
            raise AssertionError(await asyncio.wait_for(socket.recv(), 0.3))
    await phone.hang_up()
    await gateway.idle()


async def test_the_rooms_are_the_same_at_every_address(gateway: Gateway) -> None:
    """The room server's own port and the page's: lists, its client's page, messages, and the origin of each."""
    [further] = gateway.app.config.web.also_listen
    there = f"http://localhost:{further.port}"
    async with (
        connect(f"{gateway.web.replace('http', 'ws')}/webrtc/signaling/room1/peer1") as one,
        connect(f"{there.replace('http', 'ws')}/webrtc/signaling/room1/peer2", origin=Origin(there)) as two,
        httpx.AsyncClient(base_url=there) as http,
    ):
        assert json.loads(await two.recv()) == {"type": "existing_peers", "peers": ["peer1"]}
        assert json.loads(await one.recv()) == {"type": "peer_joined", "peer_id": "peer2"}
        offer = {"type": "offer", "sdp": "v=0\r\n"}
        await two.send(json.dumps({"type": "offer", "offer": offer, "target_peer_id": "peer1"}))
        assert json.loads(await one.recv()) == {"type": "offer", "offer": offer, "from_peer_id": "peer2"}
        assert "room1" in (await http.get("/webrtc/rooms")).json()["rooms"]
        assert (await http.get("/webrtc/rooms/room1/peers")).json()["peers"] == ["peer1", "peer2"]
        assert "<html" in (await http.get("/webrtc/client")).text
    with pytest.raises(InvalidStatus):
        await connect(f"{gateway.web.replace('http', 'ws')}/webrtc/signaling/room1/peer3", origin=Origin(there))
