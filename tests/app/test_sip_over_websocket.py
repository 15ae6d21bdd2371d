"""SIP over WebSocket through the whole gateway (RFC 7118): the web port, its own listeners, contacts of two kinds."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidMessage, InvalidStatus
from websockets.typing import Origin, Subprotocol

from gateway.app import GatewayApp
from gateway.errors import ConfigError
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.uri import Uri
from tests.app.ws_phone import CONTACT, WebSocketPhone
from tests.interop.gateway import PASSWORDS, Gateway, config_on_free_ports, gateway_with
from tests.net.certificates import Authority
from tests.ports import free_ports

SIP = Subprotocol("sip")
OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    config = config_on_free_ports(tmp_path, SIP__REGISTRATION__WEBSOCKET_GRACE="0")
    async with gateway_with(config, tmp_path / "gateway.log") as running:
        yield running


def url_of(gateway: Gateway, path: str = "/sip") -> str:
    return gateway.web.replace("http", "ws", 1) + path


async def phone_of(gateway: Gateway, user: str = "1001", path: str = "/sip") -> WebSocketPhone:
    return await WebSocketPhone.open(url_of(gateway, path), user, gateway.config.domain, PASSWORDS[user])


@pytest.mark.parametrize("path", ["/sip", "/ws", "/"])
async def test_the_subprotocol_tells_sip_from_the_other_fronts(gateway: Gateway, path: str) -> None:
    """The same port, three paths; who does not offer it has JSON-RPC at /, and nothing at the others."""
    phone = await phone_of(gateway, path=path)
    assert phone.socket.subprotocol == "sip"
    assert (await phone.register()).status == 200
    await phone.close()
    if path == "/":
        async with connect(url_of(gateway, path)) as other:
            await other.send('{"jsonrpc": "2.0", "id": 1, "method": "no_such"}')
            assert json.loads(await other.recv())["error"]["code"] == -32601
    else:
        with pytest.raises(InvalidStatus):
            await connect(url_of(gateway, path))


async def test_pages_of_other_origins_do_not_get_in(gateway: Gateway) -> None:
    """The same rule as for the rest of the web side; the gateway's own page does."""
    with pytest.raises(InvalidStatus) as refused:
        await connect(url_of(gateway), subprotocols=[SIP], origin=Origin("https://evil.example"))
    assert refused.value.response.status_code == 403
    own = await connect(url_of(gateway), subprotocols=[SIP], origin=Origin(gateway.web))
    await own.close()


async def test_text_and_binary_frames_and_the_keep_alive_are_taken(gateway: Gateway) -> None:
    """A message comes in either (RFC 7118 5); a double CRLF is answered by one (RFC 5626 4.4.1)."""
    options = build.request(
        "OPTIONS",
        Uri.of("600", gateway.config.domain),
        from_=NameAddr(Uri.of("probe", "example.net")).with_tag("t"),
        to=NameAddr(Uri.of("600", gateway.config.domain)),
        call_id="frames",
        cseq=1,
    )
    data = options.with_headers(options.headers.prepend("Via", "SIP/2.0/WS x.invalid;branch=z9hG4bKf")).write()
    async with connect(url_of(gateway), subprotocols=[SIP]) as browser:
        await browser.send("\r\n\r\n")
        assert await browser.recv() == "\r\n"
        await browser.send(data)
        assert str(await browser.recv()).startswith("SIP/2.0 200 ")
        await browser.send("no SIP at all")
        await browser.send(data.replace(b"z9hG4bKf", b"z9hG4bKg").decode())
        assert str(await browser.recv()).startswith("SIP/2.0 200 ")


@pytest.mark.wall
async def test_an_address_of_record_is_a_browser_and_a_desk_phone_at_once(gateway: Gateway) -> None:
    """A call rings both: the browser is offered DTLS-SRTP with ICE, the phone plain RTP."""
    browser = await phone_of(gateway)
    assert (await browser.register()).status == 200
    desk = await gateway.phone("1001")
    caller = await phone_of(gateway, "1002")
    target = Uri.of("1001", gateway.config.domain)
    calling = asyncio.create_task(caller.ask("INVITE", target, target, NameAddr.parse(f"<{CONTACT}>"), OFFER))
    invite = await browser.request("INVITE")
    await browser.send(build.response(invite, 180, to_tag="b", contact=NameAddr.parse(f"<{CONTACT}>")))
    assert str(invite.uri) == CONTACT
    offer = invite.body.decode()
    assert "UDP/TLS/RTP/SAVPF" in offer
    assert "a=fingerprint:" in offer
    assert "a=ice-ufrag:" in offer
    contact = invite.contact
    assert contact is not None
    assert contact.uri.transport == "ws"
    assert f"{contact.uri.host}:{contact.uri.port}" == gateway.web.partition("//")[2]
    assert (await calling).status == 200
    cancelled = await browser.request("CANCEL")
    assert "Call completed elsewhere" in cancelled.write().decode()
    await browser.send(build.response(invite, 487, to_tag="b"))
    desk.hangup()
    await caller.send(build.response(await caller.request("BYE"), 200))
    await gateway.idle()
    await browser.close()
    await caller.close()


async def test_a_contact_goes_with_its_websocket(gateway: Gateway) -> None:
    """Not before another socket has had its time to register it again, and never that one's."""
    first = await phone_of(gateway)
    await first.register()
    second = await phone_of(gateway)
    await second.register()  # the same Contact by another socket
    await first.close()
    third = await phone_of(gateway, "1002")
    target = Uri.of("1001", gateway.config.domain)
    contact = NameAddr.parse(f"<{CONTACT}>")
    calling = asyncio.create_task(third.ask("INVITE", target, target, contact, OFFER, "c1"))
    invite = await second.request("INVITE")
    await second.send(build.response(invite, 486, to_tag="b"))
    assert (await calling).status == 486
    await second.close()
    # The gateway has answered the close, so it knows; the contact itself goes when its time is up.
    assert (await third.ask("INVITE", target, target, contact, OFFER, "c2")).status == 480
    await third.close()
    standing = await WebSocketPhone.open(url_of(gateway), "1001", gateway.config.domain, PASSWORDS["1001"])
    answer = await standing.ask("REGISTER", Uri.of(None, standing.uri.host), standing.uri, contact)
    assert len(answer.contacts) == 1
    await standing.close()


async def test_too_many_sockets_of_one_address_are_refused(tmp_path: Path) -> None:
    """web.limits.max_connections_per_source counts those of SIP as well."""
    config = config_on_free_ports(tmp_path, WEB__LIMITS__MAX_CONNECTIONS_PER_SOURCE="2")
    async with gateway_with(config, tmp_path / "gateway.log") as gateway:
        open_ones = [await connect(url_of(gateway), subprotocols=[SIP]) for _ in range(2)]
        with pytest.raises(InvalidMessage):  # closed before a word is read
            await connect(url_of(gateway), subprotocols=[SIP])
        for one in open_ones:
            await one.close()


async def test_every_transport_listens_at_once(tmp_path: Path) -> None:
    """udp, tcp, tls, ws and wss, by IPv4 and IPv6: each is told of, and each answers."""
    authority = Authority(tmp_path)
    cert, key = authority.issue("127.0.0.1", "::1")
    kinds = ("udp", "tcp", "tls", "ws", "wss")
    ports = iter(free_ports(2 * len(kinds)))
    listen = [f"{kind}:{host}:{next(ports)}" for host in ("127.0.0.1", "[::1]") for kind in kinds]
    config = config_on_free_ports(
        tmp_path, SIP__LISTEN=json.dumps(listen), SIP__TLS__CERT=str(cert), SIP__TLS__KEY=str(key)
    )
    trusting = ssl.create_default_context(cafile=authority.file)
    async with gateway_with(config, tmp_path / "gateway.log") as gateway:
        assert sorted(gateway.app.sip_addresses) == sorted(listen)
        for place in listen:
            transport, _, hostport = place.partition(":")
            assert await answers(transport, hostport, trusting)


async def answers(transport: str, hostport: str, trusting: ssl.SSLContext) -> bool:
    """Whether an OPTIONS sent there comes back as a 200."""
    host, _, port = hostport.rpartition(":")
    host = host.strip("[]")
    options = (
        "OPTIONS sip:gateway.local SIP/2.0\r\n"
        f"Via: SIP/2.0/{transport.upper()} x.invalid;rport;branch=z9hG4bK{port}\r\n"
        "From: <sip:probe@gateway.local>;tag=a\r\nTo: <sip:gateway.local>\r\n"
        f"Call-ID: {port}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    secure = trusting if transport in ("tls", "wss") else None
    async with asyncio.timeout(30):
        if transport in ("ws", "wss"):
            async with connect(f"{transport}://{hostport}/", subprotocols=[SIP], ssl=secure) as browser:
                await browser.send(options.decode())
                return str(await browser.recv()).startswith("SIP/2.0 200 ")
        if transport == "udp":
            loop = asyncio.get_running_loop()
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, (host, int(port)))
                await loop.sock_sendall(sock, options)
                return (await loop.sock_recv(sock, 4096)).startswith(b"SIP/2.0 200 ")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=secure)
        writer.write(options)
        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        return head.startswith(b"SIP/2.0 200 ")


@pytest.mark.parametrize("kind", ["tls", "wss"])
async def test_tls_without_a_certificate_is_told_before_the_start(tmp_path: Path, kind: str) -> None:
    """With the key of the listener; a file that is no certificate is told by its own."""
    with pytest.raises(ConfigError, match=r"sip\.listen\.0: .*sip\.tls\.cert"):
        config_on_free_ports(tmp_path, SIP__LISTEN=f'["{kind}:127.0.0.1:5061"]')
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    [port] = free_ports(1)
    config = config_on_free_ports(
        tmp_path, SIP__LISTEN=f'["{kind}:127.0.0.1:{port}"]', SIP__TLS__CERT=str(bad), SIP__TLS__KEY=str(bad)
    )
    with pytest.raises(ConfigError, match=r"sip\.tls: "):
        await GatewayApp(config).start()


async def test_nobody_rings_on_for_a_caller_whose_tab_was_closed(tmp_path: Path) -> None:
    """Its INVITE can be answered by that connection alone."""
    config = config_on_free_ports(tmp_path, SIP__RING_TIMEOUT="600")
    async with gateway_with(config, tmp_path / "gateway.log") as gateway:
        callee, caller = await phone_of(gateway), await phone_of(gateway, "1002")
        await callee.register()
        target, contact = Uri.of("1001", gateway.config.domain), NameAddr.parse(f"<{CONTACT}>")
        calling = asyncio.create_task(caller.ask("INVITE", target, target, contact, OFFER))
        invite = await callee.request("INVITE")
        await callee.send(build.response(invite, 180, to_tag="b", contact=contact))
        calling.cancel()
        await caller.close()
        await callee.request("CANCEL")
        await callee.send(build.response(invite, 487, to_tag="b"))
        await callee.close()
