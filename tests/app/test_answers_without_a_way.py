"""Callees whose 200 names no place that can be used: the call goes on by the flow of the INVITE."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TypeVar

from gateway.sip.invite.events import Ended
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from tests.app.phones import SDP, Phone
from tests.app.scripted_house import Callee, Fields, house
from tests.interop.gateway import PASSWORDS
from tests.rows import by_row

M = TypeVar("M", Request, Response)
GOOD: Fields = (("Contact", "<sip:4711@{host}:{port}>"),)
WAYS: dict[str, Fields] = {
    "no Contact": (),
    "a star": (("Contact", "*"),),
    "no host": (("Contact", "<sip:b@>"),),
    "a telephone": (("Contact", "<tel:+4912345>"),),
    "no bracket's end": (("Contact", "<sip:4711@{host}:{port}"),),
    "a port that is none": (("Contact", "<sip:4711@{host}:x>"),),
    "a transport that is none": (("Contact", "<sip:4711@{host};transport=a!b>"),),
    "a name that nobody knows": (("Contact", "<sip:4711@nobody.invalid>"),),
    "a junk route": (*GOOD, ("Record-Route", "junk")),
    "an empty route": (*GOOD, ("Record-Route", "<>")),
    "a route of the web": (*GOOD, ("Record-Route", "<http://p.example;lr>")),
    "an unclosed route": (*GOOD, ("Record-Route", "<sip:{host}:{port};lr")),
    "a route with no port": (*GOOD, ("Record-Route", "<sip:{host}:x;lr>")),
    "a route without a host": (*GOOD, ("Record-Route", "<sip:>")),
    "a route that nobody knows": (*GOOD, ("Record-Route", "<sip:nobody.invalid;lr>")),
    "nobody's address": (("Contact", "<sip:b@0.0.0.0:5060>"),),
    "the broadcast address": (("Contact", "<sip:b@255.255.255.255>"),),
    "a multicast address": (("Contact", "<sip:b@224.0.0.1>"),),
    "the other IP version": (("Contact", "<sip:b@[2001:db8::77]:5060>"),),
    "a port of nobody": (("Contact", "<sip:b@{host}:0>"),),
    "leading zeros": (("Contact", "<sip:b@127.000.000.061:{port}>"),),
    "TCP that nobody listens at": (("Contact", "<sip:b@{host}:{port};transport=tcp>"),),
    "TLS that nobody listens at": (("Contact", "<sip:b@{host}:{port};transport=tls>"),),
    "WebSocket that nobody listens at": (("Contact", "<sip:b@{host}:{port};transport=ws>"),),
    "sips that nobody listens at": (("Contact", "<sips:b@{host}:{port}>"),),
    "a route by TLS that nobody listens at": (*GOOD, ("Record-Route", "<sip:{host};transport=tls;lr>")),
    "a route of nobody's address": (*GOOD, ("Record-Route", "<sip:0.0.0.0;lr>")),
    "routes without end": (*GOOD, *((("Record-Route", "<sip:p.example;lr>"),) * 40)),
}


@by_row("early", [0, 183])
@by_row("way", WAYS)
async def test_a_200_without_a_usable_way_is_acknowledged_and_ended(tmp_path: Path, way: str, early: int) -> None:
    """PRACK, ACK and BYE go where the INVITE went; a BYE from there ends the caller's side."""
    async with house(tmp_path) as there:
        trunk = there.trunk
        for callee_ends in (False, True):
            phone = Phone(there.agent, there.app, "1001", dials="04711")
            invite = await trunk.request("INVITE")
            if early:
                reliable = (*WAYS[way], ("Require", "100rel"), ("RSeq", "1"))
                await trunk.send(trunk.says(invite, early, fields=reliable))
                await trunk.accepts("PRACK")
            await trunk.send(trunk.says(invite, 200, fields=WAYS[way]))
            ack = await trunk.request("ACK")
            assert (ack.call_id, ack.to_tag, ack.cseq.number) == (invite.call_id, "t", invite.cseq.number)
            assert await phone.status() == 200
            if callee_ends:
                await trunk.hangs_up(invite)
                assert (await trunk.final("BYE")).status == 200
            else:
                phone.session.hangup()
                assert (await trunk.accepts("BYE")).to_tag == "t"
            assert isinstance(await phone.over, Ended)


CONTACTS = {name: fields for name, fields in WAYS.items() if not any(each == "Record-Route" for each, _ in fields)}
"""Of those, the Contacts: a later request or answer changes no route set (RFC 3261 12.2)."""


async def next_offer(trunk: Callee) -> Request:
    """The gateway's next offer within the dialog."""
    while True:
        request = await trunk._next(Request)
        if request.method in ("INVITE", "UPDATE"):
            return request


def written(message: M, fields: Fields, trunk: Callee) -> M:
    """A message with these lines for its Contact."""
    host, port = trunk.socket.place
    headers = message.headers.without("Contact")
    for name, value in fields:
        headers = headers.add(name, value.format(host=host, port=port))
    return message.with_headers(headers)


@by_row("way", CONTACTS)
async def test_a_200_to_a_change_without_a_usable_way_is_acknowledged(tmp_path: Path, way: str) -> None:
    """The ACK of our re-INVITE, and the BYE after it, go where the INVITE went."""
    async with house(tmp_path) as there:
        trunk = there.trunk
        phone = Phone(there.agent, there.app, "1001", dials="04711")
        invite = await trunk.request("INVITE")
        await trunk.send(trunk.says(invite, 200))
        await trunk.request("ACK")
        assert await phone.status() == 200
        held = SDP.format(port=40000).replace("- 1 1 ", "- 1 2 ") + "a=sendonly\r\n"
        phone.session.offer(held.encode())
        change = await next_offer(trunk)
        answer = written(trunk.says(change, 200), CONTACTS[way], trunk)
        await trunk.send(answer.with_headers(answer.headers.with_("To", change.to)))
        assert change.method == "INVITE"
        assert (await trunk.request("ACK")).cseq.number == change.cseq.number
        phone.session.hangup()
        await trunk.accepts("BYE")


@by_row("method", ["INVITE", "UPDATE"])
@by_row("way", CONTACTS)
async def test_a_callee_is_left_with_bye_whatever_contact_its_change_names(
    tmp_path: Path, way: str, method: str
) -> None:
    """A target refresh that leads nowhere leaves the flow of the call."""
    async with house(tmp_path) as there:
        trunk = there.trunk
        phone = Phone(there.agent, there.app, "1001", dials="04711")
        invite = await trunk.request("INVITE")
        await trunk.send(trunk.says(invite, 200))
        await trunk.request("ACK")
        assert await phone.status() == 200
        change = trunk.in_dialog(method, invite, SDP.format(port=40002).replace("- 1 1 ", "- 1 2 "))
        await trunk.send(written(change, CONTACTS[way], trunk))
        assert (await trunk.final(method)).status == 200
        if method == "INVITE":
            await trunk.send(trunk.in_dialog("ACK", invite, number=change.cseq.number))
        phone.session.hangup()
        await trunk.accepts("BYE")


@by_row("place", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "{host}:0"])
async def test_a_caller_whose_record_route_leads_nowhere_hears_of_the_end(tmp_path: Path, place: str) -> None:
    """The BYE goes where its INVITE came from."""
    async with house(tmp_path) as there:
        trunk, caller, uri = there.trunk, there.caller, Uri.of("04711", there.app.config.domain)
        headers = (("Record-Route", f"<sip:{place.format(host=caller.socket.place[0])};lr>"),)
        body, contact = SDP.format(port=40000).encode(), NameAddr.parse(caller.contact)
        calling = asyncio.create_task(caller.ask("INVITE", uri, uri, contact, body=body, headers=headers))
        invite = await trunk.request("INVITE")
        await trunk.send(trunk.says(invite, 200))
        await trunk.request("ACK")
        assert (await calling).status == 200
        await trunk.hangs_up(invite)
        assert (await trunk.final("BYE")).status == 200
        await caller.accepts("BYE")


OLD_BRANCHES = ("", ";branch=1", ";branch=Z9HG4BKtagged", ";branch=z9hG4bK")


class OldCaller(Callee):
    """A caller of RFC 2543: its branches have no magic cookie, and are the same for INVITE and ACK, or missing."""

    via_branch = ""

    @classmethod
    def of(cls, other: Callee, domain: str) -> OldCaller:
        """Be at the socket of another one, and that user."""
        return cls(other.socket, other.place, "1001", domain, PASSWORDS["1001"])

    async def send(self, message: Request | Response) -> None:
        if isinstance(message, Request):
            via = f"SIP/2.0/UDP {self.socket.place[0]}:{self.socket.place[1]}{self.via_branch}"
            from_ = message.from_ if "tag" in self.via_branch else message.from_.without_param("tag")
            message = message.with_headers(message.headers.with_("From", from_).prepend("Via", via))
        await self.write(message.write())


@by_row(
    ("branch", "has_contact"),
    [*((branch, True) for branch in OLD_BRANCHES), *((branch, False) for branch in OLD_BRANCHES[:-1])],
)
async def test_a_caller_of_rfc_2543_hears_that_the_callee_hangs_up(
    tmp_path: Path, branch: str, has_contact: bool
) -> None:
    """Also one without From tag, and without a Contact: its From leads nowhere, its flow does."""
    async with house(tmp_path) as there:
        trunk, uri = there.trunk, Uri.of("04711", there.app.config.domain)
        caller = OldCaller.of(there.caller, there.app.config.domain)
        caller.via_branch = branch
        contact = NameAddr.parse(caller.contact) if has_contact else None
        calling = asyncio.create_task(caller.ask("INVITE", uri, uri, contact, body=SDP.format(port=40000).encode()))
        invite = await trunk.request("INVITE")
        await trunk.send(trunk.says(invite, 200))
        await trunk.request("ACK")
        assert (await calling).status == 200
        await trunk.hangs_up(invite)
        assert (await trunk.final("BYE")).status == 200
        await caller.accepts("BYE")
