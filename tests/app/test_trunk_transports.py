"""Trunks behind every transport: a gateway that listens on UDP alone calls through them, and says why it cannot."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.app import GatewayApp
from gateway.config import Config
from gateway.net.config import UserAgentConfig
from gateway.net.tls import TlsFiles
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from gateway.sip.message import build
from gateway.sip.message.framing import StreamFramer
from gateway.sip.message.message import Request
from tests.interop.gateway import PASSWORDS, config_on_free_ports, gateway_with
from tests.net.certificates import Authority
from tests.net.peers import OFFER, Application, Recorder
from tests.ports import free_port
from tests.rows import by_row

REGISTERED_BY = {
    "name": "office",
    "username": "gw",
    "password": "pw",
    "register": True,
    "options_interval": 0,
}
LOOPBACK = (("127.0.0.1", 0),)


def office(tmp_path: Path, uri: str, ca: Path) -> Config:
    """A gateway whose numbers beginning with 0 go through the trunk at `uri`."""
    folder = tmp_path / "gateway"
    folder.mkdir()
    return config_on_free_ports(
        folder,
        TRUNKS=json.dumps([{"name": "office", "uri": uri}]),
        ROUTES=json.dumps([{"match": "0*", "to": "trunk:office", "strip": 1}]),
        SIP__TLS__CA=str(ca),
    )


async def call(app: GatewayApp) -> events.SessionEvent:
    """How a call of 1001 through the trunk comes out; one that is answered is hung up again."""
    phone = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
    await phone.start()
    session = phone.invite(
        f"sip:0600@{app.sip_hostport}",
        caller=f"<sip:1001@{app.config.domain}>",
        body=OFFER + b"a=rtpmap:0 PCMU/8000\r\n",
        credentials=Credentials("1001", PASSWORDS["1001"]),
    )
    recorder = Recorder(session)
    try:
        return await recorder.wait_for_one_of(events.Answered, events.Failed)
    finally:
        await phone.close()


@by_row(
    ("listens", "uri"),
    [
        ("tcp", "sip:127.0.0.1:{port};transport=tcp"),
        ("tls", "sip:127.0.0.1:{port};transport=tls"),
        ("tls", "sips:127.0.0.1:{port}"),
        ("ws", "sip:127.0.0.1:{port};transport=ws"),
        ("wss", "sip:127.0.0.1:{port};transport=wss"),
        ("wss", "sips:127.0.0.1:{port};transport=ws"),
    ],
)
async def test_a_trunk_is_called_by_the_transport_of_its_uri(tmp_path: Path, listens: str, uri: str) -> None:
    """The other side is a gateway, too; the call through it is heard by its echo, so it is answered."""
    authority = Authority(tmp_path)
    cert, key = authority.issue("127.0.0.1")
    port = free_port()
    folder = tmp_path / "pbx"
    folder.mkdir()
    pbx = config_on_free_ports(
        folder,
        SIP__LISTEN=f'["{listens}:127.0.0.1:{port}"]',
        SIP__TLS__CERT=str(cert),
        SIP__TLS__KEY=str(key),
        TRUNKS=json.dumps([{"name": "gateway", "uri": "sip:127.0.0.1:9", "sources": ["127.0.0.1"]}]),
    )
    config = office(tmp_path, uri.format(port=port), authority.file)
    far = GatewayApp(pbx)
    await far.start()
    try:
        async with gateway_with(config, tmp_path / "gateway.log") as gateway:
            assert isinstance(await call(gateway.app), events.Answered)
            await gateway.idle()
    finally:
        await far.stop()


async def test_a_trunk_without_a_certificate_that_is_trusted_is_not_called(tmp_path: Path) -> None:
    """503, and the log says what the certificate lacks."""
    authority, stranger = Authority(tmp_path), tmp_path / "stranger"
    stranger.mkdir()
    cert, key = Authority(stranger).issue("127.0.0.1")
    pbx = UserAgent(UserAgentConfig(listen=(), listen_tls=LOOPBACK, tls=TlsFiles(cert=cert, key=key)), Application())
    await pbx.start()
    [(_, _, port)] = pbx.listening
    log = tmp_path / "gateway.log"
    async with gateway_with(office(tmp_path, f"sips:127.0.0.1:{port}", authority.file), log) as gateway:
        failed = await call(gateway.app)
        assert isinstance(failed, events.Failed)
        assert failed.status in (480, 503)
        assert "no tls connection" in await gateway.journal.text()
        assert "local issuer certificate" in await gateway.journal.text()
    await pbx.close()


async def test_a_registration_whose_connection_ends_is_made_anew_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The PBX can call in again within seconds; one that closes at once is asked less often, not waited for here."""
    monkeypatch.setattr("gateway.trunks.registrations._FLOW_FAILED", 0.0)
    registered: asyncio.Queue[str] = asyncio.Queue()

    async def registrar(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        framer = StreamFramer()
        while data := await reader.read(65536):
            for request in framer.feed(data):
                if isinstance(request, Request):
                    answer = build.response(request, 200, to_tag="pbx", headers=(("Expires", 3600),))
                    writer.write(answer.write())
                    registered.put_nowait(request.method)
            if registered.qsize() == 1:
                break
        writer.close()

    server = await asyncio.start_server(registrar, "127.0.0.1", 0)
    uri = f"sip:127.0.0.1:{server.sockets[0].getsockname()[1]};transport=tcp"
    app = GatewayApp(config_on_free_ports(tmp_path, TRUNKS=json.dumps([{**REGISTERED_BY, "uri": uri}])))
    await app.start()
    try:
        async with asyncio.timeout(30):
            assert [await registered.get(), await registered.get()] == ["REGISTER", "REGISTER"]
    finally:
        await app.stop()
        server.close()


async def test_sip_uris_elsewhere_are_called_through_the_outbound_proxy(tmp_path: Path) -> None:
    """sip.outbound_proxy: their names are not even looked up here."""
    proxy = Application(lambda session, recorder: session.reject(480))
    agent = UserAgent(UserAgentConfig(listen=LOOPBACK), proxy)
    await agent.start()
    [(_, host, port)] = agent.listening
    config = config_on_free_ports(
        tmp_path,
        SIP__OUTBOUND_PROXY=f"sip:{host}:{port}",
        ROUTES=json.dumps([{"match": "0*", "to": "sip:{user}@elsewhere.invalid"}]),
    )
    app = GatewayApp(config)
    await app.start()
    try:
        failed = await call(app)
        session = proxy.calls.get_nowait().session
    finally:
        await app.stop()
        await agent.close()
    assert isinstance(failed, events.Failed)
    assert failed.status == 480
    assert str(session.request.uri) == "sip:0600@elsewhere.invalid"
    assert [str(hop) for hop in session.request.route] == [f"<sip:{host}:{port};lr>"]
