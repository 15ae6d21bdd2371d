"""GRUUs at the whole gateway: one device is called by its own URI, in transfers and after restarts too (RFC 5627)."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.app import GatewayApp
from gateway.config import Config
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri
from tests.app.phones import SDP, Phone
from tests.app.ws_phone import TcpPhone
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.net.peers import LOOPBACK, Application
from tests.ports import free_ports

DESK, HALL = "urn:uuid:00000000-0000-1000-8000-00000000000a", "urn:uuid:00000000-0000-1000-8000-00000000000b"


class Rig:
    """A gateway that keeps its registrations in a file, and phones at it."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        sip, self._tcp = free_ports(2)
        self._stack = stack
        self._cseq = 1
        self.config: Config = config_on_free_ports(
            folder,
            SIP__LISTEN=f'["udp:127.0.0.1:{sip}", "tcp:127.0.0.1:{self._tcp}"]',
            IDENTITY__STORE="sqlite:gateway.sqlite",
        )
        self.app: GatewayApp

    async def start(self) -> None:
        self.app = GatewayApp(self.config)
        await self.app.start()
        self._stack.push_async_callback(self.app.stop)
        self.caller = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
        await self.caller.start()
        self._stack.push_async_callback(self.caller.close)

    async def phone(self, instance: str, call_id: str = "", user: str = "1001") -> tuple[TcpPhone, dict[str, str]]:
        """A phone of that instance, registered, and its GRUUs."""
        phone = await TcpPhone.open("127.0.0.1", self._tcp, user, self.config.domain, PASSWORDS[user])
        self._stack.push_async_callback(phone.close)
        phone.number_from(self._cseq)
        self._cseq += 100
        contact = f'<sip:{user}@{instance[-1]}.invalid;transport=tcp>;+sip.instance="<{instance}>"'
        answer = await phone.register(contact=contact, supported="gruu", call_id=call_id)
        [ours] = [one for one in answer.contacts if one.instance == instance]
        return phone, {name: ours.param(name) or "" for name in ("pub-gruu", "temp-gruu")}

    def call(self, uri: str) -> Phone:
        """A call of 1002 to that URI, sent to the gateway as it is."""
        return Phone(self.caller, self.app, "1002", dials="1001", request_uri=uri)


@pytest.fixture
async def stack() -> object:
    async with AsyncExitStack() as stack:
        yield stack


async def refuse(phone: TcpPhone, status: int = 486) -> Request:
    """Answer the INVITE that comes."""
    invite = await phone.request("INVITE")
    await phone.send(build.response(invite, status, to_tag="phone"))
    await phone.request("ACK")
    return invite


async def test_a_gruu_rings_one_device(tmp_path: Path, stack: AsyncExitStack) -> None:
    """The public and the temporary one; the address of record rings both."""
    rig = Rig(tmp_path, stack)
    await rig.start()
    desk, gruus = await rig.phone(DESK)
    hall, _ = await rig.phone(HALL)
    for gruu in gruus.values():
        call = rig.call(gruu)
        assert str((await refuse(desk)).uri) == "sip:1001@a.invalid;transport=tcp"
        assert await call.status() == 486
        assert not hall.has("INVITE")
    call = rig.call(f"sip:1001@{rig.config.domain}")
    await asyncio.gather(refuse(desk), refuse(hall))
    assert await call.status() == 486


async def test_a_device_that_is_not_there_is_unavailable_and_a_temporary_name_of_the_past_unknown(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    """Others of the same user do not ring in its place (sections 5.4 and 3.3)."""
    rig = Rig(tmp_path, stack)
    await rig.start()
    desk, gruus = await rig.phone(DESK)
    hall, _ = await rig.phone(HALL)
    assert await rig.call(f"sip:1001@{rig.config.domain};gr=urn:uuid:other").status() == 480
    _, later = await rig.phone(DESK)
    assert await rig.call(gruus["temp-gruu"]).status() == 404
    assert await rig.call(f"sip:tgruu.AAAA@{rig.config.domain};gr").status() == 404
    assert later["pub-gruu"] == gruus["pub-gruu"]
    assert not hall.has("INVITE")
    assert not desk.has("INVITE")


async def test_gruus_outlive_a_restart(tmp_path: Path, stack: AsyncExitStack) -> None:
    """The device comes back with the Call-ID of its registration; its temporary name still means it."""
    rig = Rig(tmp_path, stack)
    await rig.start()
    _, gruus = await rig.phone(DESK, "its-registration")
    await rig.app.stop()
    await rig.start()
    desk, again = await rig.phone(DESK, "its-registration")
    assert again["pub-gruu"] == gruus["pub-gruu"]
    for gruu in gruus.values():
        call = rig.call(gruu)
        await refuse(desk)
        assert await call.status() == 486


async def test_a_transfer_leads_to_the_device_that_refer_to_names(tmp_path: Path, stack: AsyncExitStack) -> None:
    """And who calls itself by its GRUU is sent what its call brings by its flow, at its contact."""
    rig = Rig(tmp_path, stack)
    await rig.start()
    desk, gruus = await rig.phone(DESK)
    hall, _ = await rig.phone(HALL)
    boss, its = await rig.phone("urn:uuid:00000000-0000-1000-8000-00000000000c", user="1002")
    contact = NameAddr(Uri.parse(its["pub-gruu"]))
    echo = Uri.of("600", rig.config.domain)
    answer = await boss.ask("INVITE", echo, echo, contact, SDP.format(port=40000).encode(), "to-be-moved")
    assert answer.status == 200
    await boss.send(in_dialog("REFER", answer, boss, contact, 1000, (("Refer-To", f"<{gruus['pub-gruu']}>"),)))
    assert (await boss.final("REFER")).status == 202
    notify = await boss.request("NOTIFY")
    assert str(notify.uri) == "sip:1002@c.invalid;transport=tcp"
    await boss.send(build.response(notify, 200))
    await refuse(desk)
    assert not hall.has("INVITE")
    await boss.send(in_dialog("BYE", answer, boss, contact, 1001))
    assert (await boss.final("BYE")).status == 200


async def test_of_two_devices_behind_one_connection_each_is_sent_what_is_for_it(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    """A proxy's connection, say: requests in the dialog of one name its contact, not the one registered last."""
    rig = Rig(tmp_path, stack)
    await rig.start()
    both, gruus = await rig.phone(DESK)
    hall = f'<sip:1001@b.invalid;transport=tcp>;+sip.instance="<{HALL}>"'
    assert (await both.register(contact=hall, supported="gruu")).status == 200
    boss, _ = await rig.phone("urn:uuid:00000000-0000-1000-8000-00000000000c", user="1002")
    contact, echo = NameAddr(Uri.parse(gruus["temp-gruu"])), Uri.of("600", rig.config.domain)
    answer = await both.ask("INVITE", echo, echo, contact, SDP.format(port=40000).encode(), "of-desk")
    assert answer.status == 200
    transfer = (("Refer-To", f"<sip:1002@{rig.config.domain}>"),)
    await both.send(in_dialog("REFER", answer, both, contact, 1000, transfer))
    assert (await both.final("REFER")).status == 202
    notify = await both.request("NOTIFY")
    assert str(notify.uri) == "sip:1001@a.invalid;transport=tcp"
    await both.send(build.response(notify, 200))
    await refuse(boss)
    await both.send(in_dialog("BYE", answer, both, contact, 1001))
    assert (await both.final("BYE")).status == 200


def in_dialog(
    method: str, answer: Response, phone: TcpPhone, contact: NameAddr, cseq: int, headers: build.Fields = ()
) -> Request:
    """A request in the dialog that `answer` made."""
    target = answer.contact
    assert target is not None
    return build.request(
        method,
        target.uri,
        from_=NameAddr(phone.uri).with_tag("here"),
        to=answer.to,
        call_id=answer.call_id,
        cseq=cseq,
        contact=contact,
        headers=headers,
    )
