"""A SIP client over WebSocket (JsSIP, SIP.js) that is away when its call ends or changes hears of it on its return."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request
from gateway.sip.message.uri import Uri
from tests.app.phones import SDP
from tests.app.ws_phone import CONTACT, UdpPhone, WebSocketPhone
from tests.interop.gateway import PASSWORDS
from tests.interop.house import House, house
from tests.interop.stranger import stranger

pytestmark = [pytest.mark.wall, pytest.mark.serial]

GRACE = 60.0
"""Seconds; twice of what a phone of these tests waits for an answer: none of those has waited for it."""
BODY = SDP.format(port=40000).encode()
HOLD = BODY + b"a=sendonly\r\n"


class Call:
    """Of a client over WebSocket to a phone that is up."""

    def __init__(self, gateway: House, phone: UdpPhone, contact: str, client: WebSocketPhone, invite: Request) -> None:
        self.gateway, self.phone, self.client = gateway, phone, client
        self._contact, self._invite, self._number = contact, invite, 100

    async def ask(self, method: str, body: bytes = b"") -> None:
        """The phone sends a request in the call."""
        invite, self._number = self._invite, self._number + 1
        assert invite.contact is not None
        request = build.request(
            method,
            invite.contact.uri,
            from_=invite.to.with_tag("phone"),
            to=invite.from_,
            call_id=invite.call_id,
            cseq=self._number,
            contact=NameAddr.parse(f"<{self._contact}>") if body else None,
            body=body,
            content_type="application/sdp" if body else None,
        )
        await self.phone.send(request)

    async def hang_up(self) -> None:
        """The phone does; it is answered at once, whoever is away."""
        await self.ask("BYE")
        assert (await self.phone.final("BYE")).status == 200

    async def come_back(self) -> WebSocketPhone:
        """The client connects again, and registers."""
        client = await open_client(self.gateway)
        assert (await client.register(contact=DEVICE)).status == 200
        return client


DEVICE = f'<{CONTACT}>;+sip.instance="<urn:uuid:00000000-0000-4000-8000-000000001001>";reg-id=1'


async def open_client(gateway: House) -> WebSocketPhone:
    url = "ws://" + gateway.environ["GATEWAY_WEB__LISTEN"] + "/sip"
    return await WebSocketPhone.open(url, "1001", "gateway.example", PASSWORDS["1001"])


@asynccontextmanager
async def calling(folder: Path) -> AsyncIterator[Call]:
    async with house(folder, SIP__REGISTRATION__WEBSOCKET_GRACE=str(GRACE)) as gateway, stranger() as socket:
        phone = UdpPhone(socket, ("127.0.0.1", gateway.sip), "1003", "gateway.example", PASSWORDS["1003"])
        contact = f"sip:1003@{socket.place[0]}:{socket.place[1]}"
        assert (await phone.register(contact=contact)).status == 200
        client = await open_client(gateway)
        assert (await client.register(contact=DEVICE)).status == 200
        to = Uri.of("1003", "gateway.example")
        asking = asyncio.create_task(client.ask("INVITE", to, to, NameAddr.parse(f"<{CONTACT}>"), BODY))
        invite = await phone.request("INVITE")
        await phone.answer(invite, contact)
        assert (await asking).status == 200
        assert (await phone.request("ACK")).method == "ACK"
        yield Call(gateway, phone, contact, client, invite)


async def _drop(call: Call) -> None:
    await call.client.close()  # the gateway has answered that, so it knows


async def _kill(call: Call) -> None:
    await call.gateway.kill()
    await call.gateway.start()


Loss = Callable[[Call], Awaitable[None]]
LOSSES = [pytest.param(_drop, id="dropped"), pytest.param(_kill, id="killed")]


@pytest.mark.parametrize("lose", LOSSES)
async def test_a_client_that_was_away_is_told_of_the_end_when_it_comes_back(tmp_path: Path, lose: Loss) -> None:
    """The BYE waits for the next flow of its Contact (RFC 5626 section 5.3), the one who has hung up for nobody."""
    async with calling(tmp_path) as call:
        await lose(call)
        await call.hang_up()
        client = await call.come_back()
        await client.send(build.response(await client.request("BYE"), 200))


@pytest.mark.parametrize("lose", LOSSES)
async def test_a_client_that_was_away_is_told_of_a_change_when_it_comes_back(tmp_path: Path, lose: Loss) -> None:
    """The other side is put through to it by then: it is on hold, and back."""
    async with calling(tmp_path) as call:
        await lose(call)
        await call.ask("INVITE", HOLD)
        client = await call.come_back()
        invite = await client.request("INVITE")
        assert b"a=sendonly" in invite.body
        await client.answer(invite, CONTACT)
        assert (await call.phone.final("INVITE")).status == 200
        await call.hang_up()
        await client.send(build.response(await client.request("BYE"), 200))


async def test_a_client_whose_network_has_changed_is_reached_by_its_next_socket(tmp_path: Path) -> None:
    """It has registered there, and the gateway has not noticed that the socket before leads nowhere."""
    async with calling(tmp_path) as call:
        client = await call.come_back()
        await call.hang_up()
        await client.send(build.response(await client.request("BYE"), 200))


async def test_a_gateway_that_is_killed_again_before_the_client_is_back_tells_it_all_the_same(tmp_path: Path) -> None:
    """That the call is to end stands in the journal until both sides have heard of it."""
    async with calling(tmp_path) as call:
        await _kill(call)
        await call.hang_up()
        await _kill(call)
        client = await call.come_back()
        await client.send(build.response(await client.request("BYE"), 200))


async def test_a_stop_waits_for_no_client_that_is_away_and_the_next_process_tells_it(tmp_path: Path) -> None:
    """That is whom it comes back to."""
    async with calling(tmp_path) as call:
        await _drop(call)
        await call.hang_up()
        async with asyncio.timeout(GRACE / 2):
            await call.gateway.terminate()
        assert call.gateway.said("closing without an answer") == 0
        await call.gateway.start()
        client = await call.come_back()
        await client.send(build.response(await client.request("BYE"), 200))
