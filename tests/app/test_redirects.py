"""A whole gateway whose callees answer 302 over the wire: where the call goes on to, and by whose rights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.app import GatewayApp
from gateway.sip.message import build
from gateway.sip.message.message import Request
from gateway.sip.message.parser import parse_message
from tests.app.places import Answer, Place, place
from tests.app.signing import signed
from tests.interop.gateway import config_on_free_ports
from tests.interop.stranger import stranger
from tests.rows import by_row

PBX, LINE = "127.0.0.61", "127.0.0.62"
USERS = [
    {"id": "1001", "sip": True, "may_call": ["*", "trunk:*"]},
    {"id": "1002", "sip": True, "may_call": ["*"]},
    {"id": "1003", "sip": True, "may_call": ["*", "trunk:line"]},
    {"id": "alice", "sip": True, "may_call": ["*", "sip:*@*:*"]},
    {"id": "bob", "sip": True, "may_call": ["*", "sip:*@127.0.0.66"]},
]
ROUTES = [{"match": "3*", "to": "trunk:line", "strip": 1}, {"match": "0*", "to": "trunk:line", "strip": 1}]


def sends_on(to: list[str]) -> Answer:
    """A trunk that answers its first INVITE with 302 to `to`, which may be written later, and any other with 486."""

    def answer(request: Request, number: int) -> list[bytes]:
        if request.method != "INVITE":
            return [build.response(request, 200, to_tag="t").write()]
        if to:
            return [build.response(request, 302, to_tag="t", headers=[("Contact", to.pop())]).write()]
        return [build.response(request, 486, to_tag="t").write()]

    return answer


@asynccontextmanager
async def house(
    folder: Path, pbx: list[str], line: list[str]
) -> AsyncIterator[tuple[GatewayApp, tuple[str, int], Place, Place]]:
    """A gateway, its SIP address and its two trunks; `pbx` and `line` are where those send their first call on to."""
    async with place(sends_on(pbx), PBX) as one, place(sends_on(line), LINE) as two:
        trunks = [
            {"name": name, "uri": f"sip:{at.address[0]}:{at.address[1]}", "options_interval": 0, "sources": sources}
            for name, at, sources in (("pbx", one, ["127.0.0.65"]), ("line", two, ["127.0.0.66"]))
        ]
        changes = {"TRUNKS": json.dumps(trunks), "ROUTES": json.dumps(ROUTES), "USERS": json.dumps(USERS)}
        app = GatewayApp(config_on_free_ports(folder, LIMITS__LOAD="0", **changes))
        await app.start()
        host, _, port = app.sip_hostport.rpartition(":")
        try:
            yield app, (host, int(port)), one, two
        finally:
            await app.stop()


def called(trunk: Place) -> list[str]:
    """User parts of the INVITEs that a trunk got."""
    return [one.uri.user or "" for one in trunk.requests if one.method == "INVITE"]


@by_row("contact", ["{ip}:{port}", "{ip}", "127.000.0.061", "127.0.0.65", "127.0.0.65:5060"])
async def test_a_pbx_that_redirects_to_its_own_extension_is_dialled_itself(tmp_path: Path, contact: str) -> None:
    """Its 3601 is no number of ours, though a row for numbers with 3 leads elsewhere; `sources` are its addresses."""
    to: list[str] = []
    async with house(tmp_path, to, []) as (app, sip, pbx, line), stranger("127.0.0.63") as phone:
        to.append(f"<sip:3601@{contact.format(ip=pbx.address[0], port=pbx.address[1])}>")
        uri = f"sip:2001@{pbx.address[0]}:{pbx.address[1]}"
        assert await signed(phone, "INVITE", uri, sip, app.config.domain, "1001") == 486
        assert (called(pbx), called(line)) == (["2001", "3601"], [])


@by_row(
    "to", ["sip:099@{domain}", "sip:99@{line}", "sip:99@127.0.0.62", "sip:99@127.0.0.66", "sip:600@elsewhere.example"]
)
async def test_a_trunk_sends_no_call_on_to_another_trunk(tmp_path: Path, to: str) -> None:
    """Not by a number of ours, its host or a stranger's: the caller may dial out, the trunk may not."""
    where: list[str] = []
    async with house(tmp_path, where, []) as (app, sip, pbx, line), stranger("127.0.0.63") as phone:
        place_of_line = f"{line.address[0]}:{line.address[1]}"
        where.append(f"<{to.format(domain=app.config.domain, line=place_of_line)}>")
        uri = f"sip:2001@{pbx.address[0]}:{pbx.address[1]}"
        assert await signed(phone, "INVITE", uri, sip, app.config.domain, "1001") == 480
        assert (called(pbx), called(line)) == (["2001"], [])


@by_row(
    ("callee", "to", "numbers", "status"),
    [
        ("1002", "099@{domain}", [], 480),
        ("1003", "099@{domain}", ["99"], 486),
        ("alice", "99@{line}", [], 480),
        ("1003", "99@{line}", ["99"], 486),
        ("bob", "99@127.0.0.66", [], 480),
        ("1003", "99@127.0.0.66", ["99"], 486),
    ],
)
async def test_a_phone_that_redirects_spends_its_own_rights(
    tmp_path: Path, callee: str, to: str, numbers: list[str], status: int
) -> None:
    """1001 may dial out and calls a phone that answers 302 to a paid number: the phone's user must have that right.

    The right to call the trunk's host by its URI is not the right to the trunk.
    """
    async with house(tmp_path, [], []) as (app, sip, _, line):
        domain = app.config.domain
        async with stranger("127.0.0.63") as caller, stranger("127.0.0.64") as phone:
            assert await signed(phone, "REGISTER", f"sip:{domain}", sip, domain, callee) == 200
            seen = len(phone.received)
            call = asyncio.create_task(signed(caller, "INVITE", f"sip:{callee}@{domain}", sip, domain, "1001"))
            async with asyncio.timeout(30):
                while not (invites := [one for one, _ in phone.received[seen:] if one.startswith(b"INVITE")]):
                    await phone.more_than(len(phone.received))
            invite = parse_message(invites[0])
            assert isinstance(invite, Request)
            place_of_line = f"{line.address[0]}:{line.address[1]}"
            fields = [("Contact", f"<sip:{to.format(domain=domain, line=place_of_line)}>")]
            phone.send(build.response(invite, 302, to_tag="t", headers=fields).write(), sip)
            assert await call == status
            assert called(line) == numbers
