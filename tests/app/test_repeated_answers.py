"""A phone that repeats its 200 by another connection than its INVITE came by (RFC 3261 13.2.2.4)."""

from __future__ import annotations

from pathlib import Path

from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from tests.app.phones import SDP, Phone
from tests.app.scripted_house import House, house
from tests.app.ws_phone import CONTACT, ScriptedPhone, TcpPhone, WebSocketPhone
from tests.interop.gateway import PASSWORDS
from tests.ports import free_ports
from tests.rows import by_row

INSTANCE = f'<{CONTACT}>;+sip.instance="<urn:uuid:00000000-0000-1000-8000-0000000000aa>"'


async def opened(there: House, transport: str) -> ScriptedPhone:
    """A phone of 1002 at a connection of its own."""
    domain, password = there.app.config.domain, PASSWORDS["1002"]
    if transport == "ws":
        return await WebSocketPhone.open(f"ws://{there.app.config.web.listen}/sip", "1002", domain, password)
    host, _, port = there.app.sip_hostport.rpartition(":")
    return await TcpPhone.open(host, int(port), "1002", domain, password)


@by_row("is_closed", [True, False])
@by_row("transport", ["tcp", "ws"])
async def test_a_200_again_by_a_new_connection_is_acknowledged_there(
    tmp_path: Path, transport: str, is_closed: bool
) -> None:
    """Whether or not the gateway has noticed that the first connection is gone; a BYE goes there as well."""
    sip, _ = free_ports(2)
    async with house(tmp_path, SIP__LISTEN=f'["udp:127.0.0.1:{sip}", "tcp:127.0.0.1:{sip}"]') as there:
        first = await opened(there, transport)
        contact = INSTANCE if transport == "ws" else f"{INSTANCE}".replace("transport=ws", "transport=tcp")
        assert (await first.register(contact=contact)).status == 200
        caller = Phone(there.agent, there.app, "1001", dials="1002")
        for each in there.phones[:1]:
            await each.send(each.says(await each.request("INVITE"), 486, sdp=None))
        invite = await first.request("INVITE")
        target = NameAddr.parse(contact)
        body, kind = SDP.format(port=40000).encode(), "application/sdp"
        answer = build.response(invite, 200, to_tag="phone", contact=target, body=body, content_type=kind)
        await first.send(answer)
        lost = await first.request("ACK")
        if is_closed:
            await first.close()
        second = await opened(there, transport)
        if transport == "ws":
            assert (await second.register(contact=contact)).status == 200
        await second.send(answer)
        again = await second.request("ACK")
        assert (again.call_id, again.cseq.number, again.to_tag) == (lost.call_id, lost.cseq.number, "phone")
        assert await caller.status() == (486 if transport == "ws" else 200)
        caller.session.hangup()
        if is_closed and transport == "tcp":
            await second.request("BYE")
        for phone in (second, *([] if is_closed else [first])):
            await phone.close()
