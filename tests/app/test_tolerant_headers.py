"""A whole gateway over the wire: headers that no call and no registration needs, as real peers write them."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.app import GatewayApp
from tests.fuzzing.headers import GARBLED, OPTIONAL
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.interop.stranger import SDP, authorization, status_of, stranger

TRUNK = "127.0.0.47"
"""Known by its address: nobody there signs."""
PHONE = "127.0.0.48"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayApp]:
    trunk = {"name": "pbx", "uri": f"sip:{TRUNK}:5099", "sources": [TRUNK], "options_interval": 0}
    own = {"LIMITS__LOAD": "0", "SIP__LIMITS__TRUNK_INVITES_PER_SECOND": "0", "TRUNKS": json.dumps([trunk])}
    config = config_on_free_ports(tmp_path_factory.mktemp("headers"), **own)
    app = GatewayApp(config)
    await app.start()
    yield app
    await app.stop()


def place(app: GatewayApp) -> tuple[str, int]:
    host, _, port = app.sip_hostport.rpartition(":")
    return host, int(port)


async def called(app: GatewayApp, lines: tuple[str, ...]) -> bytes:
    """The final answer to a trunk's call to the echo with these lines, a From in place of its own."""
    async with stranger(TRUNK) as trunk:
        own = [line for line in lines if line.startswith("From:")]
        more = tuple(line for line in lines if line not in own)
        uri = f"sip:600@{app.config.domain}"
        invite = trunk.request("INVITE", uri, headers=more, body=SDP.format(host=TRUNK))
        if own:
            invite = re.sub(rb"\r\nFrom: [^\r]+", lambda _: b"\r\n" + own[0].encode("latin-1"), invite)
        answer = await trunk.ask(invite, place(app))
        to = re.search(rb"\r\nTo: [^\r]*;tag=([^\r;]+)", answer)
        if status_of(answer) == 200 and to is not None:
            call_id = re.search(rb"\r\nCall-ID: ([^\r]+)", invite)
            assert call_id is not None
            bye = trunk.request("BYE", uri, to_tag=to[1].decode(), call_id=call_id[1].decode(), cseq=2)
            bye = re.sub(rb"\r\nFrom: [^\r]+", lambda _: re.search(rb"\r\nFrom: [^\r]+", invite)[0], bye)  # type: ignore[index]
            assert await trunk.status(bye, place(app)) == 200
        return answer


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("From: <sip:@example.net>;tag=a", 200),
        ('From: ""x"" <sip:a@example.net>;tag=a', 200),
        ("From: Doe, John <sip:a@example.net>;tag=a", 200),
        ('From: "Doe <sip:a@example.net>;tag=a', 200),
        ("P-Asserted-Identity: Doe, John <sip:a@example.net>", 200),
        ("Require: histinfo", 200),
        ("Require: 100rel, histinfo", 200),
        ("Session-Expires: soon", 200),
        ("Min-SE:", 200),
        ("Supported: @@", 200),
        ("Allow: IN VITE", 200),
        ("Accept:", 200),
        ("Accept: application", 200),
        ("Expires: abc", 200),
        ("Route: <sip:", 200),
        ("Authorization: Digest ,,", 200),
        ("Content-Disposition: =", 200),
        ("User-Agent: a\x00b", 200),
        ("Subject Lunch", 200),
        ("Sub ject: Lunch", 200),
        ("Max-Forwards: 70", 200),
        ("Require: teleport", 420),
        ("Require: a b", 400),
        ("Replaces: x", 400),
        ("Record-Route: <<>>", 400),
        ("Accept: text/plain", 406),
    ],
)
async def test_a_call_hears_of_what_it_needs_alone(gateway: GatewayApp, line: str, status: int) -> None:
    """An unreadable header that the call does not need counts as absent; a demand that cannot be met is named."""
    answer = await called(gateway, (line,))
    assert status_of(answer) == status
    assert status != 400 or line.partition(":")[0].encode() in answer.partition(b"\r\n")[0]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("value", ["", "<", "a b c", "\x1b", '"x', "99999999999999999999999"])
async def test_a_call_with_every_optional_header_unreadable_is_answered(gateway: GatewayApp, value: str) -> None:
    """All of them at once, through admission, routing and the media."""
    assert value in GARBLED or value == "\x1b"
    lines = tuple(f"{name}: {value}" for name in OPTIONAL if name not in ("Max-Forwards",))
    assert status_of(await called(gateway, lines)) == 200


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("contact", "lines", "granted"),
    [
        ("", ("Expires: abc",), (("", 3600),)),
        ("", ("Expires:",), (("", 3600),)),
        ("", ("Expires: 300", "Expires: 600"), (("", 3600),)),
        (";q=.5", ("Expires: 300",), ((";q=0.5", 300),)),
        (";q=1.0000;expires=120", (), (("", 120),)),
        (";q=much;expires=120", (), (("", 120),)),
        (";reg-id=none;expires=120", (), (("", 120),)),
        (";expires=soon", (), (("", 3600),)),
        (";q=;expires=120", (), (("", 120),)),
        (";expires=", ("Expires: 300",), (("", 300),)),
        (";expires=120;", (), (("", 120),)),
        (";;expires=120; ;", (), (("", 120),)),
        (";+sip.instance=<urn:uuid:a>;expires=120", (), (("", 120),)),
        (";expires=120", ("Supported: @@", "Allow: <", "Proxy-Authorization: Digest ,,"), (("", 120),)),
    ],
)
async def test_a_registration_is_granted_whatever_its_wishes_look_like(
    gateway: GatewayApp, contact: str, lines: tuple[str, ...], granted: tuple[tuple[str, int], ...]
) -> None:
    """RFC 3261 10.2.1.1: a time that cannot be read counts as the default, a q as 1."""
    uri = f"sip:{gateway.config.domain}"
    async with stranger(PHONE) as phone:

        def register(*more: str) -> bytes:
            made = phone.request("REGISTER", uri, user="1001", to=f"sip:1001@{gateway.config.domain}", headers=more)
            made = made.replace(b"From: <sip:1001@" + uri.encode(), b"From: <sip:1001@" + uri[4:].encode())
            return re.sub(rb"(\r\nContact: [^\r]+)", lambda found: found[1] + contact.encode(), made)

        first = await phone.ask(register(*lines), place(gateway))
        assert status_of(first) == 401
        header = authorization(first, "REGISTER", uri, "1001", PASSWORDS["1001"])
        answer = await phone.ask(register(*lines, header), place(gateway))
        assert status_of(answer) == 200
        for q, seconds in granted:
            own = rf"\r\nContact: <sip:1001@{PHONE}:{phone.place[1]}>{re.escape(q)};expires={seconds}[;\r]"
            assert re.search(own.encode(), answer), answer
