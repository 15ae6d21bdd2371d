"""A whole gateway that is addressed by hosts of every kind: its own names, trunks', routes', and names it never had."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.app import GatewayApp
from tests.app.signing import signed
from tests.interop.gateway import config_on_free_ports
from tests.interop.stranger import SDP, Stranger, status_of, stranger
from tests.rows import by_row

PBX, LINE = "127.0.0.77", "127.0.0.78"
TRUNKS = [
    {"name": "pbx", "uri": f"sip:{PBX}:5099", "sources": [PBX], "options_interval": 0},
    {"name": "line", "uri": f"sip:{LINE}:5099", "sources": [LINE], "options_interval": 0},
    {"name": "same", "uri": f"sip:{PBX}:5099", "options_interval": 0},
    {"name": "other", "uri": f"sip:{PBX}:5098", "options_interval": 0},
]
ROUTES = [
    {"match": "sip:9*@claimed.example", "to": "service:tone"},
    {"match": "600", "to": "service:echo"},
    {"match": "0*", "to": "trunk:line"},
]


@asynccontextmanager
async def addressed(folder: Path, source: str) -> AsyncIterator[tuple[GatewayApp, tuple[str, int], Stranger]]:
    """A gateway, its SIP address, and a peer at `source`."""
    changes = {"TRUNKS": json.dumps(TRUNKS), "ROUTES": json.dumps(ROUTES), "ALSO_DOMAINS": '["old.example"]'}
    app = GatewayApp(config_on_free_ports(folder, **changes))
    await app.start()
    host, _, port = app.sip_hostport.rpartition(":")
    try:
        async with stranger(source) as far:
            yield app, (host, int(port)), far
    finally:
        await asyncio.wait_for(app.stop(), 30)


@by_row(
    ("uri", "status"),
    [
        ("sip:600@gateway.local", 200),
        ("sip:600@old.example", 200),
        ("sip:600@sbc.provider.example", 200),
        ("sip:600@sbc.provider.example:5080;user=phone", 200),
        ("sip:600@203.0.113.7", 200),
        ("sip:600@[2001:db8::7]:5060", 200),
        (f"sip:600@{PBX}:5099", 200),
        (f"sip:600@{PBX}", 200),
        (f"sip:600@{PBX}:5098", 403),
        (f"sip:600@{LINE}:5099", 403),
        ("sip:600@claimed.example", 404),
        ("sip:900@claimed.example", 200),
        ("sip:0049@sbc.provider.example", 403),
        ("sip:4711@sbc.provider.example", 404),
    ],
)
async def test_a_trunk_may_name_this_gateway_as_it_likes(tmp_path: Path, uri: str, status: int) -> None:
    """A host that another trunk or a route has is theirs; any other is ours, and leads no further than before."""
    async with addressed(tmp_path, PBX) as (_, sip, far):
        invite = far.request("INVITE", uri, user="anybody", body=SDP.format(host=PBX))
        assert status_of(await far.ask(invite, sip, timeout=30)) == status


@pytest.mark.parametrize("host", ["sbc.provider.example", PBX])
async def test_a_message_of_a_trunk_may_name_this_gateway_as_it_likes(tmp_path: Path, host: str) -> None:
    """It is for a user who is not there, and not for nobody."""
    async with addressed(tmp_path, PBX) as (_, sip, far):
        message = far.request("MESSAGE", f"sip:alice@{host}", body="hello").replace(b"application/sdp", b"text/plain")
        assert status_of(await far.ask(message, sip, timeout=30)) == 480


@by_row(
    ("host", "domain", "status"),
    [
        ("old.example", "old.example", 200),
        ("old.example", "gateway.local", 200),
        ("whatever.example", "gateway.local", 404),
    ],
)
async def test_a_phone_names_this_gateway_by_its_own_domains(
    tmp_path: Path, host: str, domain: str, status: int
) -> None:
    """What leads nowhere says in the log why, and which setting makes the host ours."""
    async with addressed(tmp_path, "127.0.0.79") as (_, sip, far):
        with capture_logs() as log:
            assert await signed(far, "INVITE", f"sip:600@{host}", sip, domain, "1001") == status
    reasons = [str(line["reason"]) for line in log if line["event"] == "call refused"]
    assert reasons == [] if status == 200 else "also_domains" in reasons[0] and host in reasons[0]


@pytest.mark.parametrize(("domain", "status"), [("old.example", 200), ("whatever.example", 403)])
async def test_a_phone_registers_with_one_of_our_domains(tmp_path: Path, domain: str, status: int) -> None:
    """And is called by its number; with another one the log names the setting."""
    async with addressed(tmp_path, "127.0.0.79") as (app, sip, far):
        with capture_logs() as log:
            assert await signed(far, "REGISTER", f"sip:{domain}", sip, domain, "1001") == status
        assert status == 200 or any("also_domains" in str(line) and domain in str(line) for line in log)
        if status == 200:
            seen = len(far.received)
            async with stranger("127.0.0.80") as caller:
                uri = f"sip:1001@{app.config.domain}"
                call = asyncio.create_task(signed(caller, "INVITE", uri, sip, domain, "1002"))
                await far.more_than(seen)
                assert far.received[seen][0].startswith(b"INVITE sip:1001@")
                call.cancel()
