"""Calls with every oddity that the parser accepts, beside calls of others that use every feature."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from websockets.asyncio.client import ClientConnection

from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.message.uri import Uri
from gateway.sip.subscription.subscriber import Notified
from tests.app.phones import Phone, name_of
from tests.interop.gateway import PASSWORDS
from tests.interop.stranger import SDP, Stranger, authorization, status_of
from tests.net.peers import Application, Recorder
from tests.strangers.stage import WAYS, Stage, Way, stage

pytestmark = pytest.mark.wall

ODD_TAGS = (
    "a@b",
    "host:1.2.3.4",
    "[::1]",
    "a/b?c=d&e",
    "%00%0d",
    "ä€\U0001f600",
    "\u202eleft",
    "\ufffe",
    "{}|^\\",
    '"a b"',
    '"a;b=\\"c\\",<d>"',
    '"<&>"',
    "x" * 128,
)
"""From and To tags that are no token (RFC 3261 19.3), as they stand on the wire."""
ODD_CALL_IDS = ('"', "<x>@[::1]", "a;to-tag=b", "a,b", "ä", "%40", "{}")
ODD_FIELDS = (
    'Subject: "\u202e',
    "User-Agent: \ufffe<&>",
    "Reason: ;;;",
    "History-Info: nothing",
    "Diversion: <sip:;>",
    "P-Asserted-Identity: ,",
    "Alert-Info: <",
    "Date: never",
    "Organization: \\",
)
CARRIERS = [("udp", way) for way in WAYS if not way.proxied] + [("ws", way) for way in WAYS]
"""How the odd phone speaks: no SIP over UDP passes an nginx."""
FEATURES = {
    "ROUTES": json.dumps(
        [
            {"match": "600", "to": "service:echo"},
            {"match": "601", "to": "service:tone"},
            {"match": "70?", "to": "feature:park"},
            {"match": "[*]8*", "to": "feature:pick-up", "strip": 2},
        ]
    ),
    "USERS__1003__MAX_CALLS": "100",
    "SIP__LIMITS__REQUESTS_PER_SECOND": "10000",
    "SIP__LIMITS__BURST": "10000",
    **{f"USERS__{user}__PICKUP_GROUPS": "sales" for user in ("1001", "1002", "1003")},
}


class SocketStranger(Stranger):
    """The same over a SIP WebSocket (RFC 7118)."""

    def __init__(self, socket: ClientConnection) -> None:
        super().__init__()
        self._socket = socket
        self._reading = asyncio.create_task(self._read())
        self._writing: set[asyncio.Task[None]] = set()

    @property
    def place(self) -> tuple[str, int]:
        return "odd.invalid", 5060

    def send(self, data: bytes, target: tuple[str, int]) -> None:
        text = data.decode().replace("SIP/2.0/UDP", "SIP/2.0/WS", 1)
        task = asyncio.create_task(self._socket.send(text))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _read(self) -> None:
        async for message in self._socket:
            self.datagram_received(message if isinstance(message, bytes) else message.encode(), self.place)

    def close(self) -> None:
        self._reading.cancel()


class Odd:
    """Phone 1003, whose messages are as odd as the parser takes them."""

    def __init__(self, at: Stage, socket: Stranger) -> None:
        self._at, self._socket = at, socket
        self.domain = at.app.config.domain
        self._invites: asyncio.Queue[bytes] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._socket.close()

    async def _read(self) -> None:
        """Keep each INVITE, and end what the gateway ends."""
        invites: dict[bytes, bytes] = {}
        number = 0
        while True:
            await self._socket.more_than(number, 600)
            data = self._socket.received[number][0]
            number += 1
            if data.startswith(b"SIP/2.0"):
                continue
            call = _field(data, b"Call-ID")
            if data.startswith(b"INVITE") and call not in invites:
                invites[call] = data
                self._invites.put_nowait(data)
            if data.startswith((b"BYE", b"CANCEL")):
                self._answers(data, "200 OK")
            if data.startswith(b"CANCEL"):
                self._answers(invites[call], "487 Request Terminated", "over")

    async def _asks(self, method: str, number: str, fields: tuple[str, ...] = (), **parts: str) -> bytes:
        """The answer to a request, once the challenge is answered."""
        uri = f"sip:{number}@{self.domain}" if number else f"sip:{self.domain}"
        made: dict[str, Any] = {"user": "1003", "to": f"sip:{number or '1003'}@{self.domain}", **parts}
        first = self._socket.request(method, uri, headers=fields, **made)
        challenge = await self._socket.ask(first, self._at.sip)
        assert status_of(challenge) == 401, challenge
        header = authorization(challenge, method, uri, "1003", PASSWORDS["1003"])
        second = self._socket.request(method, uri, cseq=2, headers=(*fields, header), **made)
        return await self._socket.ask(second, self._at.sip)

    async def calls(self, fields: tuple[str, ...] = (), **parts: str) -> bytes:
        """The 200 to a call of the echo, which stays up."""
        answer = await self._asks("INVITE", "600", fields, body=SDP.format(host="127.0.0.1"), **parts)
        assert status_of(answer) == 200, (fields, parts, answer)
        return answer

    async def registers(self) -> None:
        """Be called from now on."""
        contact = await self._asks("REGISTER", "", call_id="odd-registration", fields=("Expires: 600",))
        assert status_of(contact) == 200

    async def rings(self, tag: str) -> bytes:
        """Answer the INVITE that comes with 180 and that To tag."""
        invite = await asyncio.wait_for(self._invites.get(), 30)
        self._answers(invite, "180 Ringing", tag)
        return invite

    def _answers(self, request: bytes, status: str, tag: str = "") -> None:
        host, port = self._socket.place
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        head = request.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        kept = [line for line in head if line.split(b":")[0] in (b"Via", b"From", b"Call-ID", b"CSeq")]
        to = b"To: " + _field(request, b"To") + (f";tag={tag}".encode() if tag else b"")
        lines = [f"SIP/2.0 {status}".encode(), *kept, to, f"Contact: <sip:1003@{place}>".encode()]
        self._socket.send(b"\r\n".join([*lines, b"Content-Length: 0", b"", b""]), self._at.sip)


def _field(data: bytes, name: bytes) -> bytes:
    """The value of a header field."""
    found = re.search(rb"\r\n" + name + rb": ?([^\r]*)", data)
    assert found is not None
    return found[1]


def _tag(field: bytes) -> str:
    """The tag of a From or To of the gateway's."""
    return field.rpartition(b";tag=")[2].decode()


class Others:
    """Phones 1001 and 1002, all of one user agent."""

    def __init__(self, at: Stage) -> None:
        self.at = at
        self.rings: asyncio.Queue[tuple[IncomingSession, Recorder]] = asyncio.Queue()
        self.agent: UserAgent

    async def start(self) -> None:
        """Register 1002."""

        def rung(session: IncomingSession, recorder: Recorder) -> None:
            session.ring(180)
            self.rings.put_nowait((session, recorder))

        self.agent = await self.at.phones(Application(rung))
        aor, credentials = f"sip:1002@{self.at.app.config.domain}", Credentials("1002", PASSWORDS["1002"])
        await self.agent.register(f"sip:{self.at.app.sip_hostport}", aor=aor, credentials=credentials)

    def calls(self, user: str, number: str, replaces: str | None = None) -> Phone:
        return self.at.calls(self.agent, user, number, replaces)

    async def rung(self) -> tuple[IncomingSession, Recorder]:
        return await asyncio.wait_for(self.rings.get(), 30)

    async def talk(self) -> tuple[Phone, Recorder]:
        """1001 talks with 1002."""
        phone = self.calls("1001", "1002")
        session, recorder = await self.rung()
        session.answer(SDP.format(host="127.0.0.1").encode())
        assert await phone.status() == 200
        return phone, recorder

    async def refers(self, phone: Phone, number: str, replaces: str | None = None) -> int:
        """The outcome of a transfer that the phone asks for."""
        outcome: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def told(status: int, of_refer: bool) -> None:
            if (status >= 300 or (status >= 200 and not of_refer)) and not outcome.done():
                outcome.set_result(status)

        target = Uri.parse(f"sip:{number}@{self.at.app.sip_hostport}")
        phone.session.refer(target.with_header("Replaces", replaces) if replaces else target, told)
        return await asyncio.wait_for(outcome, 30)

    async def document(self, user: str, package: str) -> bytes:
        """What is shown of a user to 1001."""
        shown: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def heard(event: object) -> None:
            if isinstance(event, Notified) and not shown.done():
                shown.set_result(event.body)

        domain = self.at.app.config.domain
        self.agent.subscribe(
            f"sip:{user}@{self.at.app.sip_hostport}",
            package,
            heard,
            caller=f"<sip:1001@{domain}>",
            credentials=Credentials("1001", PASSWORDS["1001"]),
        )
        return await asyncio.wait_for(shown, 30)


async def take_over(others: Others) -> None:
    """INVITE with Replaces of one's own call."""
    first = others.calls("1001", "600")
    assert await first.status() == 200
    second = others.calls("1001", "600", first.name)
    assert await second.status() == 200
    await asyncio.wait_for(first.over, 30)
    second.session.hangup()


async def attended(others: Others) -> None:
    """REFER with Replaces: both callees talk with each other."""
    first, _ = await others.talk()
    second, _ = await others.talk()
    assert await others.refers(first, "1002", second.name) == 200
    await asyncio.wait_for(second.over, 30)


async def blind(others: Others) -> None:
    """REFER to a number."""
    first, _ = await others.talk()
    assert await others.refers(first, "601") == 200


async def park(others: Others) -> None:
    """Parked by REFER, taken back by its number."""
    first, callee = await others.talk()
    assert await others.refers(first, "701") == 200
    taker = others.calls("1001", "701")
    assert await taker.status() == 200
    taker.session.hangup()
    await callee.wait(events.Ended)


async def pick_up(others: Others) -> None:
    """By number in the group, and by Replaces of the dialog that rings."""
    for dialled, named in (("*81002", False), ("600", True)):
        caller = others.calls("1001", "1002")
        session, callee = await others.rung()
        picker = others.calls("1003", dialled, name_of(session) if named else None)
        assert (await picker.status(), await caller.status()) == (200, 200)
        await callee.wait(events.Ended)
        caller.session.hangup()


async def watch(others: Others) -> None:
    """Lamps and presence of who talks."""
    first, _ = await others.talk()
    lamp = ElementTree.fromstring(await others.document("1001", "dialog"))
    assert first.dialog.call_id in {one.get("call-id") for one in lamp.iter()}
    assert b"on-the-phone" in await others.document("1001", "presence")
    first.session.hangup()


FEATURE_TESTS = (take_over, attended, blind, park, pick_up, watch)


@asynccontextmanager
async def beside(folder: Path, carrier: str, way: Way) -> AsyncIterator[tuple[Odd, Others]]:
    """An odd phone and others at one gateway."""
    async with stage(folder, way, **FEATURES) as at:
        socket = SocketStranger(await at.websocket("sip", "/sip")) if carrier == "ws" else await at.stranger()
        odd, others = Odd(at, socket), Others(at)
        await others.start()
        try:
            yield odd, others
        finally:
            await odd.close()


@pytest.mark.parametrize(("carrier", "way"), CARRIERS, ids=str)
async def test_odd_calls_cost_nobody_a_feature(tmp_path: Path, carrier: str, way: Way) -> None:
    """Each oddity has a call that is up; one more rings at an odd phone."""
    async with beside(tmp_path, carrier, way) as (odd, others):
        for number, tag in enumerate(ODD_TAGS):
            await odd.calls(from_tag=tag, call_id=f"odd-tag-{number}")
        for name in ODD_CALL_IDS:
            await odd.calls(call_id=name)
        await odd.calls(ODD_FIELDS)
        await odd.registers()
        ringing = others.calls("1001", "1003")
        await odd.rings("host:1.2.3.4")
        await asyncio.wait_for(ringing.rings, 30)
        for feature in FEATURE_TESTS:
            await feature(others)


@pytest.mark.parametrize(("carrier", "way"), CARRIERS, ids=str)
async def test_a_call_with_an_odd_tag_has_every_feature_itself(tmp_path: Path, carrier: str, way: Way) -> None:
    """Its lamp shows its name, by which the same user takes it over, as does its group one that rings."""
    async with beside(tmp_path, carrier, way) as (odd, others):
        await odd.registers()
        for number, tag in enumerate(ODD_TAGS):
            answer = await odd.calls(from_tag=tag, call_id=f"odd-{number}")
            lamp = ElementTree.fromstring(await others.document("1003", "dialog"))
            assert f"odd-{number}" in {one.get("call-id") for one in lamp.iter()}
            to = _tag(_field(answer, b"To"))
            taker = others.calls("1003", "600", f"odd-{number};to-tag={to};from-tag={tag}")
            assert await taker.status() == 200, tag
            taker.session.hangup()
            caller = others.calls("1001", "1003")
            invite = await odd.rings(tag)
            await asyncio.wait_for(caller.rings, 30)
            name, ours = _field(invite, b"Call-ID").decode(), _tag(_field(invite, b"From"))
            picker = others.calls("1002", "600", f"{name};to-tag={ours};from-tag={tag}")
            assert (await picker.status(), await caller.status()) == (200, 200), tag
            picker.session.hangup()
            await asyncio.wait_for(caller.over, 30)
