"""A sips URI at the whole gateway: the callee is reached by TLS, or not at all (RFC 5630)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.app import GatewayApp
from gateway.net.config import UserAgentConfig
from gateway.net.tls import TlsFiles
from gateway.net.user_agent import UserAgent
from tests.app.phones import Phone
from tests.app.ws_phone import TcpPhone
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.net.certificates import Authority
from tests.net.peers import LOOPBACK, Application, answering, port_of
from tests.ports import free_ports


class Tls:
    """A certificate for the gateway, and user agents that trust it."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.sip, self.tls = free_ports(2)
        cert, key = self.authority.issue("127.0.0.1", "gateway.local")
        self.settings = {
            "SIP__TLS__CERT": str(cert),
            "SIP__TLS__KEY": str(key),
            "SIP__TLS__CA": str(self.authority.file),
        }

    def listen(self, *others: str) -> str:
        """For SIP__LISTEN."""
        return json.dumps([f"udp:127.0.0.1:{self.sip}", f"tls:127.0.0.1:{self.tls}", *others])

    async def caller(self) -> UserAgent:
        """It comes by TLS, where it uses the flow `way`."""
        files = TlsFiles(ca=self.authority.file)
        caller = UserAgent(UserAgentConfig(listen=LOOPBACK, tls=files), Application())
        await caller.start()
        return caller

    @property
    def way(self) -> str:
        return f"tls:127.0.0.1:{self.tls}"


@pytest.mark.parametrize("way", ["udp", "tls"])
async def test_who_dials_a_sips_uri_without_tls_is_refused(tmp_path: Path, way: str) -> None:
    """What it wants is broken on the way to us; by TLS the same is answered."""
    tls = Tls(tmp_path)
    app = GatewayApp(config_on_free_ports(tmp_path, SIP__LISTEN=tls.listen(), **tls.settings))
    await app.start()
    caller = await tls.caller()
    try:
        received = tls.way if way == "tls" else None
        call = Phone(caller, app, "1001", request_uri=f"sips:600@{app.config.domain}", received=received)
        assert await call.status() == (200 if way == "tls" else 480)
        if way == "tls":
            call.session.hangup()
    finally:
        await caller.close()
        await app.stop()


@pytest.mark.parametrize(("scheme", "status"), [("sip", 200), ("sips", 480)])
async def test_a_phone_that_registered_without_tls_is_not_called_by_a_sips_uri(
    tmp_path: Path, scheme: str, status: int
) -> None:
    """It answers the sip URI of the same user."""
    [tcp], tls = free_ports(1), Tls(tmp_path)
    app = GatewayApp(config_on_free_ports(tmp_path, SIP__LISTEN=tls.listen(f"tcp:127.0.0.1:{tcp}"), **tls.settings))
    await app.start()
    callee, caller = Application(answering), await tls.caller()
    there = UserAgent(UserAgentConfig(listen=LOOPBACK), callee)
    await there.start()
    phone = await TcpPhone.open("127.0.0.1", tcp, "1001", app.config.domain, PASSWORDS["1001"])
    try:
        # The contact leads to the agent by UDP, as that of any phone does that registered by another way.
        assert (await phone.register(contact=f"sip:1001@127.0.0.1:{port_of(there, 'udp')}")).status == 200
        domain = app.config.domain
        call = Phone(caller, app, "1002", dials="1001", request_uri=f"{scheme}:1001@{domain}", received=tls.way)
        if scheme == "sip":
            invite = await phone.request("INVITE")
            assert invite.uri.user == "1001"
            call.session.hangup()
        else:
            assert await call.status() == status
            assert not phone.has("INVITE")
    finally:
        await phone.close()
        for agent in (caller, there):
            await agent.close()
        await app.stop()


@pytest.mark.parametrize(("transport", "status"), [("tls", 200), ("udp", 480)])
async def test_a_trunk_is_called_for_a_sips_uri_by_tls_alone(tmp_path: Path, transport: str, status: int) -> None:
    """A number behind a trunk without TLS is not to be had so."""
    tls = Tls(tmp_path)
    files = tls.authority.files("127.0.0.1")
    far = UserAgent(UserAgentConfig(listen=LOOPBACK, listen_tls=LOOPBACK, tls=files), Application(answering))
    await far.start()
    uri = f"sip:127.0.0.1:{port_of(far, transport)};transport={transport}"
    app = GatewayApp(
        config_on_free_ports(
            tmp_path,
            SIP__LISTEN=tls.listen(),
            **tls.settings,
            TRUNKS=json.dumps([{"name": "office", "uri": uri, "options_interval": 0}]),
            ROUTES=json.dumps([{"match": "0*", "to": "trunk:office", "strip": 1}]),
        )
    )
    await app.start()
    caller = await tls.caller()
    try:
        call = Phone(caller, app, "1001", request_uri=f"sips:0900@{app.config.domain}", received=tls.way)
        assert await call.status() == status
    finally:
        await caller.close()
        await app.stop()
        await far.close()
