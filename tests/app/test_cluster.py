"""Two gateways of one store: whoever is at one of them is rung from the other, and strangers are strangers to both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import websockets

from gateway.app import GatewayApp
from gateway.call.status import Cause
from gateway.demo.chromium import BrowserError
from gateway.legs.sip_bodies import reason_of
from gateway.net.tap import Direction
from gateway.sip.auth.account import Credentials
from gateway.sip.flow import Flow
from gateway.sip.invite import events
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request
from gateway.sip.message.parser import parse_message
from gateway.sip.message.uri import Uri
from tests.app.clustering import KEY, Cluster, refuse, until
from tests.app.phones import SDP, Phone
from tests.app.ws_phone import CONTACT, TcpPhone, WebSocketPhone
from tests.interop.gateway import PASSWORDS, RpcBrowser


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        yield Cluster(tmp_path, stack)


async def test_a_phone_at_one_gateway_is_rung_from_the_other(cluster: Cluster) -> None:
    """By its user's name, who sees who calls; and the refusal comes back the same way."""
    one, two = await cluster.start(), await cluster.start()
    phone = await cluster.phone(two, "1001", supported="outbound")
    call = Phone(await cluster.caller(), one, "1002", dials="1001")
    invite = await phone.request("INVITE")
    assert (invite.from_.uri.user, invite.from_.uri.host) == ("1002", one.config.domain)
    assert "Gateway-Node" not in invite.headers
    assert len(two.calls) == 1
    await phone.send(build.response(invite, 180, to_tag="phone"))
    await asyncio.wait_for(call.rings, 30)
    await phone.send(build.response(invite, 486, to_tag="phone"))
    assert await call.status() == 486


async def test_a_gateway_that_takes_no_more_calls_says_so_to_who_calls_by_another(cluster: Cluster) -> None:
    """With the status, the reason and the time that it would tell a caller of its own."""
    one, two = await cluster.start(), await cluster.start(LIMITS__CALLS_PER_SECOND="0.001")
    phone = await cluster.phone(two, "1001", supported="outbound")
    first = Phone(await cluster.caller(), one, "1002", dials="1001")
    await refuse(phone)
    assert await first.status() == 486
    call = Phone(await cluster.caller(), one, "1002", dials="1001")
    assert await call.status() == 503
    told = call.outcome.result()
    assert isinstance(told, events.Failed)
    assert told.headers.get("Reason") == reason_of(Cause.LIMIT)
    assert int(told.headers.get("Retry-After") or "") > 500
    assert not phone.has("INVITE")


async def test_a_caller_that_gives_up_silences_the_phone_at_the_other_gateway(cluster: Cluster) -> None:
    """CANCEL goes all the way, and nothing is left at either."""
    one, two = await cluster.start(), await cluster.start()
    phone = await cluster.phone(two, "1001", supported="outbound")
    call = Phone(await cluster.caller(), one, "1002", dials="1001")
    invite = await phone.request("INVITE")
    await phone.send(build.response(invite, 180, to_tag="phone"))
    await asyncio.wait_for(call.rings, 30)
    call.session.hangup()
    cancel = await phone.request("CANCEL")
    await phone.send(build.response(cancel, 200, to_tag="phone"))
    await phone.send(build.response(invite, 487, to_tag="phone"))
    async with asyncio.timeout(30):
        await asyncio.gather(*(one.finished() for app in (one, two) for one in app.calls))


async def test_one_device_is_rung_by_a_gruu_that_the_other_gateway_has_given(cluster: Cluster) -> None:
    """The temporary one as well: all have the key that it is sealed with."""
    one, two = await cluster.start(), await cluster.start()
    phone = await cluster.phone(two, "1001", supported="outbound, gruu")
    [contact] = cluster.contacts
    caller = await cluster.caller()
    for name in ("pub-gruu", "temp-gruu"):
        call = Phone(caller, one, "1002", dials="1001", request_uri=contact.param(name))
        await refuse(phone)
        assert await call.status() == 486
    gone = f"sip:1001@{one.config.domain};gr=urn:uuid:other"
    assert await Phone(caller, one, "1002", dials="1001", request_uri=gone).status() == 480


async def test_phones_at_every_gateway_ring_together(cluster: Cluster) -> None:
    """Each once, whichever gateway is called."""
    one, two, three = await cluster.start(), await cluster.start(), await cluster.start()
    phones = []
    for number, app in enumerate((one, two, three)):
        port = int(app.sip_hostport.rpartition(":")[2])
        phone = await TcpPhone.open("127.0.0.1", port, "1001", app.config.domain, PASSWORDS["1001"])
        phones.append(phone)
        assert (await phone.register(contact=f"sip:1001@{number}.invalid;transport=tcp")).status == 200
    call = Phone(await cluster.caller(), two, "1002", dials="1001")
    await asyncio.gather(*(refuse(phone) for phone in phones))
    assert await call.status() == 486
    assert not any(phone.has("INVITE") for phone in phones)
    for phone in phones:
        await phone.close()


async def test_a_page_is_rung_and_written_to_from_the_other_gateway(cluster: Cluster) -> None:
    """Where its user has one, for as long as it is open."""
    one, two = await cluster.start(), await cluster.start()
    caller = await cluster.caller()
    assert await Phone(caller, one, "1002", dials="alice").status() == 480
    async with RpcBrowser() as page:
        await page.open(two.signed_in_url("alice"))
        await cluster.page_of("alice", is_open=True)
        call = Phone(caller, one, "1002", dials="alice")
        await asyncio.wait_for(call.rings, 30)
        assert "1002" in str(await page.notified("offer"))
        call.session.hangup()
        await page.status("ready")
        response = await caller.request(
            "MESSAGE",
            Uri.parse(f"sip:alice@{one.sip_hostport}"),
            caller=NameAddr(Uri.of("1002", one.config.domain)),
            credentials=Credentials("1002", PASSWORDS["1002"]),
            body=b"hello",
            content_type="text/plain",
        )
        assert response.status == 200
        assert (await page.notified("message"))["text"] == "hello"
    await cluster.page_of("alice", is_open=False)
    assert await Phone(caller, one, "1002", dials="alice").status() == 480


async def test_who_talks_at_one_gateway_is_seen_so_at_the_other(cluster: Cluster) -> None:
    """And when the call is over, and when the gateway goes with it."""
    one, two = await cluster.start(), await cluster.start()
    async with RpcBrowser() as page:
        await page.open(one.signed_in_url("alice"))
        assert (await page.ask("presence.watch", peer_id="1001"))["status"] == "offline"
        for ends in (True, False):
            page.told.clear()
            call = Phone(await cluster.caller(), two, "1001", dials="601")
            assert await call.status() == 200
            await page.notified("presence", status="on-the-phone")
            if ends:
                call.session.hangup()
            else:
                await two.stop()
            await page.notified("presence", status="offline")


async def test_a_room_opened_at_one_gateway_is_dialled_at_the_other(cluster: Cluster) -> None:
    """Members meet where it was opened; where that gateway is gone, who dials it meets at another."""
    one, two = await cluster.start(), await cluster.start()
    async with RpcBrowser() as page:
        await page.open(one.signed_in_url("alice"))
        number = (await page.ask("room.open", pin="471147"))["room"]
        await two._rooms.look(time.time())
        caller = await cluster.caller()
        call = Phone(caller, two, "1002", dials=number)
        assert await call.status() == 200
        [there] = one.calls
        assert number in there.record.dialled
        assert (len(two.calls), two._conferencing._rooms._calls) == (1, {})
        await page.ask("room.close", room=number)
        await asyncio.wait_for(call.over, 30)
        assert await Phone(caller, two, "1002", dials=number).status() == 404
        number = (await page.ask("room.open", pin="471147"))["room"]
    await two._rooms.look(time.time())
    await one.stop()
    cluster.apps.remove(one)
    await cluster.know_each_other()
    call = Phone(caller, two, "1002", dials=number)
    assert await call.status() == 200
    assert list(two._conferencing._rooms._calls) == [number]
    call.session.hangup()


async def test_a_forged_or_replayed_request_is_a_strangers(cluster: Cluster) -> None:
    """A key of one's own, and the very words of a gateway, lead to a challenge like nothing at all."""
    one, two = await cluster.start(), await cluster.start()
    phone = await cluster.phone(two, "1001", supported="outbound")
    seen: list[str] = []
    two._user_agent.taps.add(Watch(seen))
    Phone(await cluster.caller(), one, "1002", dials="1001")
    await refuse(phone)
    [overheard] = seen[:1]
    stranger = await cluster.caller()
    for field in (overheard, "e30.AAAA"):
        response = await stranger.request(
            "MESSAGE", Uri.parse(f"sip:1001@{two.sip_hostport}"), headers=(("Gateway-Node", field),), caller="<sip:x@y>"
        )
        assert response.status == 401


class Watch:
    """Keeps the seals that come in."""

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen

    def message(self, direction: Direction, data: bytes, flow: Flow, time: float) -> None:
        lines = data.decode().splitlines() if direction is Direction.IN else []
        self._seen += [line.partition(": ")[2] for line in lines if line.startswith("Gateway-Node: ")]


async def test_gateways_of_another_key_are_strangers(cluster: Cluster) -> None:
    """Though they share the store: what they send is challenged, and no phone rings."""
    one = await cluster.start()
    two = await cluster.start(key=KEY + "-of-others")
    phone = await cluster.phone(two, "1001", supported="outbound")
    assert await Phone(await cluster.caller(), one, "1002", dials="1001").status() >= 400
    assert not phone.has("INVITE")


async def test_a_nonce_of_one_gateway_is_good_at_the_other(cluster: Cluster) -> None:
    """So that a proxy may send each request to another one."""
    one, two = await cluster.start(), await cluster.start()
    ports = [int(app.sip_hostport.rpartition(":")[2]) for app in (one, two)]
    first = await TcpPhone.open("127.0.0.1", ports[0], "1001", one.config.domain, PASSWORDS["1001"])
    assert (await first.register(contact="sip:1001@a.invalid;transport=tcp")).status == 200
    second = await TcpPhone.open("127.0.0.1", ports[1], "1001", two.config.domain, PASSWORDS["1001"])
    second.number_from(100)
    second.knows_nonces_of(first)
    assert (await second.register(contact="sip:1001@b.invalid;transport=tcp")).status == 200
    assert second.challenges == 0
    await first.close()
    await second.close()


async def test_who_signed_in_at_one_gateway_is_signed_in_at_the_other(cluster: Cluster) -> None:
    """A page goes on there by its token and its cookie, and signs out of both."""
    one, two = await cluster.start(), await cluster.start()
    here, there = (f"{app.page_url}api/session" for app in (one, two))
    async with httpx.AsyncClient() as browser:
        signed_in = await browser.post(here, json={"user": "alice", "password": PASSWORDS["alice"]})
        token = signed_in.json()["access_token"]
        async with RpcBrowser() as page:
            await page.open(f"{two.page_url}#user=alice&token={token}")
        for place in (there, here, there):
            assert (await browser.post(f"{place}/refresh", json={})).status_code == 200
        assert (await browser.delete(there)).status_code == 204
        assert (await browser.post(f"{here}/refresh", json={})).status_code == 401
        async with RpcBrowser() as page:
            with pytest.raises(BrowserError):
                await page.open(f"{one.page_url}#user=alice&token={token}")


async def test_a_gateway_that_ends_is_asked_no_more(cluster: Cluster) -> None:
    """It says goodbye; one that is killed is gone after three intervals."""
    one, two = await cluster.start(), await cluster.start()
    await cluster.phone(two, "1001", supported="outbound")
    await two.stop()
    await until(lambda: not one._cluster.live)
    assert await Phone(await cluster.caller(), one, "1002", dials="1001").status() == 480


class Pbx(asyncio.DatagramProtocol):
    """A registrar that takes everybody."""

    def __init__(self) -> None:
        self.registered: list[tuple[str, int, bool]] = []
        """User part of the Contact, port of the gateway, and whether it is there from now on."""

    async def open(self) -> int:
        """Its port."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
        port: int = self._transport.get_extra_info("sockname")[1]
        return port

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        request = parse_message(data)
        assert isinstance(request, Request)
        if request.method == "REGISTER":
            [contact] = request.contacts
            assert contact.uri.user is not None
            self.registered.append((contact.uri.user, addr[1], request.headers.get("Expires") != "0"))
        fields = [("Contact", value) for value in request.headers.all("Contact")]
        self._transport.sendto(build.response(request, 200, to_tag="pbx", headers=fields).write(), addr)

    def close(self) -> None:
        self._transport.close()

    @property
    def there(self) -> list[tuple[str, int]]:
        """Who is registered."""
        return [key for key, now in {(user, port): now for user, port, now in self.registered}.items() if now]


async def test_a_users_account_is_registered_once_wherever_its_page_is(cluster: Cluster) -> None:
    """By the gateway where it was brought; by another one once that one has gone, under the same name."""
    pbx = Pbx()
    trunk = {"name": "office", "uri": f"sip:127.0.0.1:{await pbx.open()}", "options_interval": 0}
    one, two = [await cluster.start(TRUNKS=json.dumps([trunk])) for _ in range(2)]
    ports = [int(app.sip_hostport.rpartition(":")[2]) for app in (one, two)]
    given = {"registrar": "office", "username": "201", "password": "pa-ss"}
    async with httpx.AsyncClient(base_url=one.page_url) as here, httpx.AsyncClient(base_url=two.page_url) as there:
        signed_in = await here.post("/api/session", json={"user": "alice", "password": PASSWORDS["alice"]})
        here.headers = there.headers = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
        assert (await here.put("/api/users/alice/account", json=given)).status_code == 200
        async with asyncio.timeout(30):
            while (await there.get("/api/users/alice/account")).json().get("state") != "registered":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await there.put("/api/users/alice/account", json=given)).json()["state"] == "registered"
    [(contact, port)] = pbx.there
    assert port == ports[0]
    await one.stop()
    await until(lambda: pbx.there == [(contact, ports[1])])
    await two.stop()
    assert pbx.there == []
    pbx.close()


async def test_a_page_goes_to_the_other_gateway_when_its_own_drains(cluster: Cluster) -> None:
    """Its socket is closed once it has no call; who comes meanwhile is sent on as well. The last gateway keeps its."""
    leaving, staying = await cluster.start(), await cluster.start()
    announce = {"peer_id": "alice", "token": PASSWORDS["alice"]}
    asked = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "announce", "params": announce})
    url = f"ws://{cluster.configs[0].web.listen}/rpc"
    async with asyncio.timeout(30), websockets.connect(url) as page, websockets.connect(url) as late:
        await page.send(asked)
        assert "result" in json.loads(await page.recv())
        await leaving.drain()
        await late.send(asked)
        for each in (page, late):
            assert {"jsonrpc": "2.0", "method": "server.draining", "params": {"seconds": 60.0}} in await all_of(each)
            assert each.close_code == 1012
    await until(lambda: not staying._cluster.live)
    async with asyncio.timeout(30), websockets.connect(f"ws://{cluster.configs[1].web.listen}/rpc") as page:
        await page.send(asked)
        await page.recv()
        await staying.drain()
        while json.loads(await page.recv()).get("method") != "server.draining":
            pass
        await asyncio.sleep(1.5)  # longer than a page that is to go is given
        await page.send('{"jsonrpc": "2.0", "id": 2, "method": "ping"}')
        assert json.loads(await page.recv())["id"] == 2


async def test_who_talks_at_a_gateway_that_drains_is_passed_on_to_one_that_was_started_anew(cluster: Cluster) -> None:
    """Its new process believes what the one that drains sends, which has seen it come."""
    draining, other = await cluster.start(), await cluster.start()
    desk = await cluster.phone(draining, "alice")
    talking = Phone(await cluster.caller(), draining, "1002", dials="alice")
    await desk.answer(await desk.request("INVITE"), "sip:alice@127.0.0.1:9;transport=tcp")
    assert await talking.status() == 200
    drained = asyncio.create_task(draining.drain())
    await until(lambda: not other._cluster.live)
    await other.stop()
    await until(lambda: not draining._cluster.live)
    anew = GatewayApp(cluster.configs[1])
    await anew.start()
    try:
        phone = await cluster.phone(anew, "1001", supported="outbound")
        await until(lambda: bool(draining._cluster.live))
        talking.session.refer(Uri.of("1001", draining.config.domain), lambda status, of_refer: None)
        await refuse(phone)
        assert not anew._cluster.refused
    finally:
        talking.session.hangup()
        await drained
        await anew.stop()


async def test_a_sip_client_over_websocket_is_sent_to_the_other_gateway_when_its_own_drains(cluster: Cluster) -> None:
    """One that is in no call at once, one that is once its call is over (RFC 7118 clients connect again)."""
    leaving = await cluster.start()
    await cluster.start()
    url, domain = f"ws://{cluster.configs[0].web.listen}/sip", leaving.config.domain
    async with AsyncExitStack() as stack:
        idle, talking = [await WebSocketPhone.open(url, user, domain, PASSWORDS[user]) for user in ("1001", "1002")]
        for phone in (idle, talking):
            stack.push_async_callback(phone.close)
            assert (await phone.register()).status == 200
        echo = Uri.of("600", domain)
        body = SDP.format(port=40000).encode()
        answer = await talking.ask("INVITE", echo, echo, NameAddr.parse(f"<{CONTACT}>"), body)
        assert answer.status == 200
        [call] = leaving.calls
        draining = asyncio.create_task(leaving.drain())
        async with asyncio.timeout(30):
            await idle.socket.wait_closed()
            assert idle.socket.close_code == 1012
            assert talking.socket.close_code is None
            call.stop()
            await talking.send(build.response(await talking.request("BYE"), 200))
            await draining
            await talking.socket.wait_closed()
            assert talking.socket.close_code == 1012


async def all_of(page: websockets.ClientConnection) -> list[object]:
    """What it is told until its socket is closed."""
    told: list[object] = []
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            told.append(json.loads(await page.recv()))
    return told
