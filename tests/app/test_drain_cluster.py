"""While one of several gateways drains, the phones that are registered there can be called by way of the others."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from gateway.app import GatewayApp
from gateway.call.status import Cause
from gateway.identity.store import StoreError
from gateway.legs.sip_bodies import reason_of
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from tests.app.clustering import INSTANCE, Cluster, refuse, until
from tests.app.phones import Phone
from tests.app.ws_phone import ScriptedPhone, UdpPhone
from tests.interop.gateway import PASSWORDS, RpcBrowser
from tests.interop.stranger import Stranger

TCP = f'<sip:1001@a.invalid;transport=tcp>;+sip.instance="<{INSTANCE}>";reg-id=1'


class PatientPhone(UdpPhone):
    """Takes a request that is sent again for the one before."""

    async def read(self) -> Request | Response:
        while True:
            message = await super().read()
            *before, (data, _) = self.socket.received[: self._read]
            if all(data != other for other, _ in before):
                return message


class House:
    """Two gateways, one phone at the second by each transport, and somebody who calls by the first."""

    def __init__(self, cluster: Cluster, stack: AsyncExitStack) -> None:
        self.cluster = cluster
        self._stack = stack

    async def open(self, drain_timeout: str = "60", interval: str = "1", **changes: str) -> None:
        """The first looks every `interval` seconds who is there; `changes` are of its configuration."""
        self.two = await self.cluster.start(LIMITS__DRAIN_TIMEOUT=drain_timeout)
        self.one = await self.cluster.start(interval=interval, **changes)
        self.caller = await self.cluster.caller()

    async def start_anew(self) -> None:
        """The second, under its name, once it was stopped."""
        self.two = GatewayApp(self.cluster.configs[0])
        await self.two.start()
        self._stack.push_async_callback(self.two.stop)
        self.cluster.apps[0] = self.two
        await self.cluster.know_each_other()

    async def phone(self, transport: str) -> ScriptedPhone:
        """User 1001, registered at the second gateway."""
        if transport == "tcp":
            return await self.cluster.phone(self.two, "1001", supported="outbound")
        loop = asyncio.get_running_loop()
        _, socket = await loop.create_datagram_endpoint(Stranger, local_addr=("127.0.0.1", 0))
        host, _, port = self.two.sip_hostport.rpartition(":")
        phone = PatientPhone(socket, (host, int(port)), "1001", self.two.config.domain, PASSWORDS["1001"])
        self._stack.push_async_callback(phone.close)
        self.contact = f"sip:1001@127.0.0.1:{socket.place[1]}"
        assert (await phone.register(contact=self.contact)).status == 200
        return phone

    async def refreshed(self, phone: ScriptedPhone) -> Response:
        """The answer to the phone's next REGISTER."""
        if isinstance(phone, UdpPhone):
            return await phone.register(contact=self.contact)
        return await phone.register(contact=TCP, supported="outbound")

    def call(self, at: GatewayApp | None = None, dials: str = "1001") -> Phone:
        return Phone(self.caller, at or self.one, "1002", dials=dials)

    async def draining(self) -> asyncio.Task[None]:
        """The second drains, and the first has heard so."""
        task = asyncio.create_task(self.two.drain())
        await until(lambda: not self.one._cluster.live)
        return task


def why(call: Phone) -> str | None:
    """The cause that its caller was told."""
    told = call.outcome.result()
    assert isinstance(told, events.Failed)
    return told.headers.get("Reason")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        yield House(Cluster(tmp_path, stack), stack)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_phones_at_a_gateway_that_drains_are_rung_from_the_others(house: House, transport: str) -> None:
    """Until its last call ends, such a call among them; callers of its own are refused meanwhile."""
    await house.open()
    phone = await house.phone(transport)
    up = house.call(house.two, "600")
    assert await up.status() == 200
    draining = await house.draining()
    for _ in range(2):
        call = house.call()
        await refuse(phone)
        assert await call.status() == 486
    assert await house.call(house.two).status() == 503
    assert await house.call(house.two, "600").status() == 503
    assert not phone.has("INVITE")
    call = house.call()
    invite = await phone.request("INVITE")
    await phone.answer(invite, str(invite.to.uri))
    assert await call.status() == 200
    up.session.hangup()
    await until(lambda: len(house.two.calls) == 1)
    await asyncio.sleep(0.2)
    assert not draining.done()
    call.session.hangup()
    await phone.send(build.response(await phone.request("BYE"), 200))
    await asyncio.wait_for(draining, 30)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_phone_at_a_gateway_that_drains_is_to_come_back_soon(house: House, transport: str) -> None:
    """It is told the shortest interval; what stands for it ends no sooner than before, so that it loses nothing."""
    await house.open()
    phone = await house.phone(transport)
    [contact] = (await house.refreshed(phone)).contacts
    assert contact.param("expires") == "600"
    up = house.call(house.two, "600")
    assert await up.status() == 200
    draining = await house.draining()
    answer = await house.refreshed(phone)
    assert answer.status == 200
    assert [one.param("expires") for one in answer.contacts] == ["60"]
    user = house.two._identity.by_id("1001")
    assert user is not None
    now = time.time()
    [binding] = await house.two._registrar._store.bindings(house.two._identity.aor(user), now)
    assert binding.expires_at > now + 500
    up.session.hangup()
    await draining


async def test_a_phone_at_a_gateway_that_drains_is_written_to_from_the_others(house: House) -> None:
    """As it is called."""
    await house.open()
    phone = await house.phone("udp")
    up = house.call(house.two, "600")
    assert await up.status() == 200
    draining = await house.draining()
    sending = asyncio.create_task(
        house.caller.request(
            "MESSAGE",
            Uri.parse(f"sip:1001@{house.one.sip_hostport}"),
            caller=NameAddr(Uri.of("1002", house.one.config.domain)),
            credentials=Credentials("1002", PASSWORDS["1002"]),
            body=b"hello",
            content_type="text/plain",
        )
    )
    message = await phone.request("MESSAGE")
    assert message.body == b"hello"
    await phone.send(build.response(message, 200, to_tag="phone"))
    assert (await sending).status == 200
    up.session.hangup()
    await draining


async def test_who_talks_at_a_gateway_that_drains_is_seen_so_at_the_others(house: House) -> None:
    """By whoever begins to watch then, until the call is over."""
    await house.open()
    up = Phone(house.caller, house.two, "1001", dials="600")
    assert await up.status() == 200
    draining = await house.draining()
    async with RpcBrowser() as page:
        await page.open(house.one.signed_in_url("alice"))
        assert (await page.ask("presence.watch", peer_id="1001"))["status"] == "offline"
        await page.notified("presence", status="on-the-phone")
        page.told.clear()
        up.session.hangup()
        await page.notified("presence", status="offline")
    await draining


async def test_a_call_that_is_on_its_way_as_the_drain_begins_rings(house: House) -> None:
    """The first gateway does not know yet that the other one drains."""
    await house.open()
    phone = await house.phone("udp")
    up = house.call(house.two, "600")
    assert await up.status() == 200
    call = house.call()
    draining = asyncio.create_task(house.two.drain())
    await refuse(phone)
    assert await call.status() == 486
    up.session.hangup()
    await draining


async def test_who_rings_as_the_drain_ends_hears_so(house: House) -> None:
    """In the time of the drain, and not as if the called one had refused."""
    await house.open(drain_timeout="2")
    phone = await house.phone("tcp")
    up = house.call(house.two, "600")
    assert await up.status() == 200
    draining = await house.draining()
    call = house.call()
    invite = await phone.request("INVITE")
    await phone.send(build.response(invite, 180, to_tag="phone"))
    await asyncio.wait_for(call.rings, 30)
    async with asyncio.timeout(10):
        await draining
        stopping = asyncio.create_task(house.two.stop())
        await phone.request("CANCEL")
        assert await call.status() == 480
        assert why(call) == reason_of(Cause.UNAVAILABLE)
    await phone.send(build.response(invite, 487, to_tag="phone"))
    await stopping


async def test_a_phone_at_a_gateway_that_is_started_anew_is_rung_at_once(house: House) -> None:
    """Though it was told to come back, and has not yet."""
    await house.open()
    phone = await house.phone("udp")
    await house.draining()
    assert (await house.refreshed(phone)).status == 200
    await house.two.stop()
    await until(lambda: not house.one._cluster.with_calls)
    assert await house.call().status() == 480
    await house.start_anew()
    call = house.call()
    await refuse(phone)
    assert await call.status() == 486


async def test_a_call_to_a_gateway_that_has_just_gone_fails_at_once(house: House) -> None:
    """The first one has not looked since; its caller is told that nobody is there."""
    await house.open(interval="60")
    await house.phone("udp")
    await house.two.drain()
    await house.two.stop()
    assert house.one._cluster.live
    began = asyncio.get_running_loop().time()
    call = house.call()
    assert await call.status() == 480
    assert why(call) == reason_of(Cause.UNREACHABLE)
    assert asyncio.get_running_loop().time() - began < 5


async def test_a_caller_of_a_gateway_that_fell_silent_hears_so_soon(house: House) -> None:
    """Its machine answers nothing, not even by ICMP: not after the 32 s of a phone, but after `flow_timeout`."""
    await house.open(interval="60", SIP__REGISTRATION__FLOW_TIMEOUT="0.5")
    await house.phone("udp")
    await house.two.drain()
    host, _, port = house.two.sip_hostport.rpartition(":")
    await house.two.stop()
    assert house.one._cluster.with_calls
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as mute:
        mute.bind((host, int(port)))
        async with asyncio.timeout(10):
            call = house.call()
            assert await call.status() == 480
    assert why(call) == reason_of(Cause.UNREACHABLE)


async def test_a_gateway_whose_store_is_silent_as_it_drains_tells_the_others_callers_so(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot know where the phone is: the caller hears 503 and why."""

    async def away(*_: object) -> None:
        raise StoreError("away")

    await house.open()
    phone = await house.phone("udp")
    up = house.call(house.two, "600")
    assert await up.status() == 200
    for name in ("bindings", "put_binding"):
        monkeypatch.setattr(house.two._registrar._store, name, away)
    draining = asyncio.create_task(house.two.drain())
    await until(lambda: house.two.calls.draining)
    call = house.call()
    assert await call.status() == 503
    assert why(call) == reason_of(Cause.OUT_OF_SERVICE)
    assert not phone.has("INVITE")
    up.session.hangup()
    await asyncio.wait_for(draining, 30)
