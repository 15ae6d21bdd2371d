"""Trunks behind every transport: a gateway that listens on UDP alone calls through them, and says why it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.app import GatewayApp
from gateway.config import Config
from gateway.demo.ports import free_ports
from gateway.net.config import UserAgentConfig
from gateway.net.tls import TlsFiles
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.invite import events
from tests.interop.gateway import PASSWORDS, config_on_free_ports, gateway_with
from tests.net.certificates import Authority
from tests.net.peers import OFFER, Application, Recorder

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


@pytest.mark.parametrize(
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
    [port] = free_ports(1)
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
