"""Strangers at a whole gateway: scanners hear nothing, phones go on, operators see and lift."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from gateway.app import GatewayApp
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.message.uri import Uri
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.interop.stranger import HOST, Stranger, authorization, status_of, stranger
from tests.net.peers import Application

USERS = '[{"id": "1001", "sip": true, "may_call": ["*"]}, {"id": "alice", "web": true, "role": "operator"}]'
CHANGES = {"METRICS__ENABLED": "true", "SIP__BANS__NEVER": "[]", "SIP__BANS__AFTER": "5", "USERS": USERS}


def registration(phone: Stranger, app: GatewayApp, challenge: bytes = b"", agent: str = "desk phone") -> bytes:
    domain = app.config.domain
    headers = [f"Contact: <sip:1001@{phone.place[0]}:{phone.place[1]}>", f"User-Agent: {agent}"]
    if challenge:
        headers.append(authorization(challenge, "REGISTER", f"sip:{domain}", "1001", PASSWORDS["1001"]))
    uri = f"sip:1001@{domain}"
    return phone.request("REGISTER", f"sip:{domain}", user="1001", to=uri, headers=tuple(headers))


async def asked(phone: Stranger, app: GatewayApp, data: bytes, patience: float = 3.0) -> bytes | None:
    """The answer; None for silence."""
    host, _, port = app.sip_hostport.rpartition(":")
    count = len(phone.received)
    phone.send(data, (host, int(port)))
    try:
        await phone.more_than(count, patience)
    except TimeoutError:
        return None
    return phone.received[-1][0]


async def signed_in(phone: Stranger, app: GatewayApp) -> bool:
    """Whether REGISTER, challenge and REGISTER go through, tried for as long as a phone tries."""
    for _ in range(4):
        challenge = await asked(phone, app, registration(phone, app), 1.0)
        if challenge is not None:
            answer = await asked(phone, app, registration(phone, app, challenge))
            return answer is not None and status_of(answer) == 200
    return False


async def test_a_scanner_hears_nothing_and_nobody_else_suffers(tmp_path: Path) -> None:
    """All behind one address: a registered phone goes on, a new one gets in, the ban is seen and lifted."""
    app = GatewayApp(config_on_free_ports(tmp_path, **CHANGES))
    await app.start()
    try:
        async with stranger() as registered, stranger() as scanner, stranger() as new, httpx.AsyncClient() as http:
            assert await signed_in(registered, app)
            assert await asked(scanner, app, registration(scanner, app, agent="friendly-scanner"), 0.3) is None
            invite = scanner.request("OPTIONS", f"sip:100@{app.config.domain}")
            assert await asked(scanner, app, invite, 0.3) is None
            assert await signed_in(registered, app)
            assert await signed_in(new, app)
            sign_in = {"user": "alice", "password": PASSWORDS["alice"]}
            base = f"http://127.0.0.1:{app.config.web.listen.port}"
            token = (await http.post(f"{base}/api/session", json=sign_in)).json()["access_token"]
            http.headers["Authorization"] = f"Bearer {token}"
            [ban] = (await http.get(f"{base}/api/bans")).json()["bans"]
            assert (ban["address"], ban["reason"]) == (HOST, "calls itself friendly-scanner")
            assert ban["silenced"] >= 2
            assert "gateway_sip_banned 1.0" in (await http.get(f"{base}/metrics")).text
            assert (await http.delete(f"{base}/api/bans/{HOST}")).status_code == 204
            assert (await http.delete(f"{base}/api/bans/{HOST}")).status_code == 404
            answer = await asked(scanner, app, scanner.request("OPTIONS", f"sip:100@{app.config.domain}"))
            assert answer is not None
            assert status_of(answer) == 200
    finally:
        await app.stop()


async def test_whoever_tries_many_names_is_not_told_which_exist(tmp_path: Path) -> None:
    """By TCP, where no address is forged: after so many challenges there is silence but for one a second."""
    config = config_on_free_ports(tmp_path, **CHANGES)
    host, port = "127.0.0.1", config.sip.listen[0].port
    app = GatewayApp(config_on_free_ports(tmp_path, **CHANGES, SIP__LISTEN=f'["tcp:{host}:{port}"]'))
    await app.start()
    try:
        reader, writer = await asyncio.open_connection(host, port)
        for number in range(30):
            writer.write(
                f"REGISTER sip:gateway.local SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK{number}\r\n"
                f"From: <sip:{number}@gateway.local>;tag=a\r\nTo: <sip:{number}@gateway.local>\r\n"
                f"Max-Forwards: 70\r\nCall-ID: {number}\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n".encode()
            )
        writer.write(b"\r\n\r\n")  # a ping, whose pong comes after all of that
        answers = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n\r\n"), 30)
        writer.close()
        # Four before the fifth, and the one of that second.
        assert answers.count(b"SIP/2.0 401 ") in (5, 6)
    finally:
        await app.stop()


async def test_a_phone_on_a_connection_goes_on_where_its_address_is_banned(tmp_path: Path) -> None:
    """What it asks for in vain is refused in words, not by silence: it has signed in on this very connection."""
    config = config_on_free_ports(tmp_path, **CHANGES)
    host, port = "127.0.0.1", config.sip.listen[0].port
    app = GatewayApp(config_on_free_ports(tmp_path, **CHANGES, SIP__LISTEN=f'["tcp:{host}:{port}"]'))
    await app.start()
    agent = UserAgent(UserAgentConfig(listen=(), listen_tcp=(("127.0.0.1", 0),)), Application())
    await agent.start()
    try:
        target = f"sip:{host}:{port};transport=tcp"
        aor, credentials = f"<sip:1001@{app.config.domain}>", Credentials("1001", PASSWORDS["1001"])
        registration = await agent.register(target, aor=aor, credentials=credentials)
        assert registration.registered
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(
            b"OPTIONS sip:gateway.local SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKs\r\nMax-Forwards: 70\r\n"
            b"From: <sip:1@gateway.local>;tag=a\r\nTo: <sip:gateway.local>\r\nCall-ID: scan\r\nCSeq: 1 OPTIONS\r\n"
            b"User-Agent: friendly-scanner\r\nContent-Length: 0\r\n\r\n\r\n\r\n"
        )
        assert await asyncio.wait_for(reader.readexactly(2), 30) == b"\r\n"  # the pong, and nothing before it
        writer.close()
        nobody = Uri.parse(f"sip:nobody@{host}:{port};transport=tcp")
        for _ in range(3):
            refused = await asyncio.wait_for(agent.request("MESSAGE", nobody, caller="<sip:1002@gateway.local>"), 30)
            assert refused.status == 401
    finally:
        await agent.close()
        await app.stop()
