"""SIP over TCP, TLS and WebSocket: calls, framing on real sockets, and the limits."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.net import (
    Accepted,
    Answered,
    Confirmed,
    Ended,
    Failed,
    Flow,
    Refused,
    UserAgent,
    UserAgentConfig,
    Verdict,
)
from gateway.net.connections import StreamLimits
from gateway.net.resolver import ResolverConfig
from gateway.net.stream import StreamConnection
from gateway.net.udp import UdpLimits
from gateway.net.ws import WebSocketConnection
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.framing import StreamFramer
from gateway.sip.message.message import Request, Response
from gateway.sip.message.parser import KeepAlive, parse_message
from gateway.sip.message.uri import Uri
from tests.net.certificates import Authority, shown_by
from tests.net.peers import LOOPBACK, OFFER, Application, Recorder, answering, port_of, tcp_agent
from tests.rows import by_row


def options(call_id: str = "c1", extra: str = "") -> bytes:
    lines = [
        "OPTIONS sip:127.0.0.1 SIP/2.0",
        f"Via: SIP/2.0/TCP 127.0.0.1:1;branch=z9hG4bK{call_id}",
        "From: <sip:a@example.net>;tag=f",
        "To: <sip:b@example.net>",
        f"Call-ID: {call_id}",
        "CSeq: 1 OPTIONS",
    ]
    if extra:
        lines.append(extra)
    return ("\r\n".join(lines) + "\r\nContent-Length: 0\r\n\r\n").encode()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_what_is_sent_is_marked_as_asked(host: str) -> None:
    """DSCP (RFC 2474) on UDP, and on connections whoever made them."""
    streams = StreamLimits(dscp=24)
    option = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS) if ":" in host else (socket.IPPROTO_IP, socket.IP_TOS)
    made: list[socket.socket] = []
    connected = StreamConnection.connection_made

    def noting(self: StreamConnection, transport: asyncio.BaseTransport) -> None:
        connected(self, transport)
        made.append(transport.get_extra_info("socket"))

    bob = UserAgent(
        UserAgentConfig(listen=((host, 0),), listen_tcp=((host, 0),), udp=UdpLimits(dscp=24), streams=streams),
        Application(answering),
    )
    await bob.start()
    alice = UserAgent(UserAgentConfig(listen=((host, 0),), listen_tcp=((host, 0),), streams=streams), Application())
    await alice.start()
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(StreamConnection, "connection_made", noting)
            place = f"[{host}]" if ":" in host else host
            target = f"sip:bob@{place}:{port_of(bob, 'tcp')};transport=tcp"
            recorder = Recorder(alice.invite(target, caller="alice", body=OFFER))
            await recorder.wait(Answered)
        assert [one.getsockopt(*option) for one in made] == [24 << 2] * 2
    finally:
        await alice.close()
        await bob.close()


async def test_a_whole_call_over_tcp_uses_one_connection() -> None:
    """INVITE to BYE, both directions, by the connection that the caller made."""
    application = Application(answering)
    alice, bob = await tcp_agent(Application()), await tcp_agent(application)
    target = f"sip:bob@127.0.0.1:{port_of(bob, 'tcp')};transport=tcp"
    recorder = Recorder(alice.invite(target, caller="alice", body=OFFER))
    await recorder.wait(Answered)
    theirs = application.calls.get_nowait()
    await theirs.wait(Confirmed)
    assert theirs.session.source.transport == "tcp"
    theirs.session.hangup()
    await recorder.wait(Ended)
    assert len(bob._shell.endpoint.connections) == 1
    await alice.close()
    await bob.close()


async def test_a_call_over_tls_verifies_the_name(tmp_path: Path) -> None:
    """The right name connects; a certificate for another name is no connection, hence 503."""
    tls = Authority(tmp_path).files("sip.test", "127.0.0.1")
    application = Application(answering)
    bob = UserAgent(UserAgentConfig(listen=LOOPBACK, listen_tls=LOOPBACK, tls=tls), application)
    await bob.start()
    resolver = ResolverConfig(hosts=(("sip.test", ("127.0.0.1",)), ("other.test", ("127.0.0.1",))))
    alice = UserAgent(
        UserAgentConfig(listen=LOOPBACK, listen_tls=LOOPBACK, tls=tls, resolver=resolver),
        Application(),
    )
    await alice.start()
    port = port_of(bob, "tls")
    failed = await Recorder(alice.invite(f"sip:bob@other.test:{port};transport=tls", caller="alice", body=OFFER)).wait(
        Failed
    )
    assert isinstance(failed, Failed)
    assert failed.status == 503
    good = Recorder(alice.invite(f"sips:bob@sip.test:{port}", caller="alice", body=OFFER))
    await good.wait(Answered)
    good.session.hangup()
    await good.wait(Ended)
    await alice.close()
    await bob.close()


async def test_a_refused_tcp_connection_fails_the_call_at_once() -> None:
    """503, without waiting for a timer."""
    alice, bob = await tcp_agent(Application()), await tcp_agent(Application())
    port = port_of(bob, "tcp")
    await bob.close()
    recorder = Recorder(alice.invite(f"sip:b@127.0.0.1:{port};transport=tcp", caller="alice", body=OFFER))
    failed = await recorder.wait(Failed, seconds=2.0)
    assert isinstance(failed, Failed)
    assert failed.status == 503
    await alice.close()


async def test_messages_are_found_however_the_stream_is_cut() -> None:
    """Byte by byte, and three in one write; keep-alives between them are answered."""
    bob = await tcp_agent(Application())
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(bob, "tcp"))
    for byte in options("one"):
        writer.write(bytes((byte,)))
        await writer.drain()
    writer.write(options("two") + b"\r\n\r\n" + options("three"))
    async with asyncio.timeout(30):
        data = b""
        while data.count(b"SIP/2.0 200") < 3:
            data += await reader.read(65536)
    frames = StreamFramer().feed(data)
    assert frames.count(KeepAlive.PONG) == 1
    assert len([frame for frame in frames if isinstance(frame, Response)]) == 3
    writer.close()
    await bob.close()


@by_row(
    "data",
    [
        options(extra="Content-Length: 4294967295").replace(b"Content-Length: 0\r\n", b""),
        options().replace(b"Content-Length: 0\r\n", b""),
        b"X" * 40_000,
    ],
    ids=["length of 4 GB", "no length", "endless head"],
)
async def test_a_stream_that_lost_its_place_is_closed(data: bytes) -> None:
    """The answer, if there is one, then the end (RFC 3261 18.3)."""
    bob = await tcp_agent(Application())
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(bob, "tcp"))
    writer.write(data)
    async with asyncio.timeout(30):
        rest = await reader.read()
    assert rest == b"" or rest.startswith((b"SIP/2.0 400", b"SIP/2.0 513"))
    writer.close()
    await bob.close()


async def test_a_message_that_is_never_finished_ends_its_connection() -> None:
    """Slow-loris: what was begun has to be complete in time, while others live on."""
    bob = await tcp_agent(Application(), streams=StreamLimits(message=0.1))
    port = port_of(bob, "tcp")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    good_reader, good = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"OPTIONS sip:127")
    async with asyncio.timeout(30):
        assert await reader.read() == b""
    good.write(options())
    async with asyncio.timeout(30):
        assert (await good_reader.read(65536)).startswith(b"SIP/2.0 200")
    writer.close()
    good.close()
    await bob.close()


async def test_connections_of_one_address_are_bounded() -> None:
    """The third of two is closed at once; a place that is given back can be taken again."""
    bob = await tcp_agent(Application(), streams=StreamLimits(per_host=2))
    port = port_of(bob, "tcp")
    first = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    for reader, writer in first:
        writer.write(options())
        assert (await reader.read(65536)).startswith(b"SIP/2.0 200")
    third, third_writer = await asyncio.open_connection("127.0.0.1", port)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await third.readexactly(1)
    third_writer.close()
    first[0][1].close()
    await first[0][1].wait_closed()
    async with asyncio.timeout(30):
        while len(bob._shell.endpoint.connections) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(options("again"))
    assert (await reader.read(65536)).startswith(b"SIP/2.0 200")
    for one in (writer, first[1][1]):
        one.close()
    await bob.close()


async def test_a_connection_that_breaks_ends_what_waits_for_it() -> None:
    """Our INVITE by a connection that the peer closes fails with 503, not after 32 s."""
    alice = await tcp_agent(Application())
    server = await asyncio.start_server(_accept_and_close, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    recorder = Recorder(alice.invite(f"sip:b@127.0.0.1:{port};transport=tcp", caller="alice", body=OFFER))
    failed = await recorder.wait(Failed, seconds=2.0)
    assert isinstance(failed, Failed)
    assert failed.status == 503
    server.close()
    await alice.close()


async def _accept_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.transport.abort()


class Browser:
    """The far end of a WebSocket, in memory."""

    def __init__(self, agent: UserAgent) -> None:
        self.got: list[Request | Response] = []
        self.closed = self.has_proved = False
        connection = agent.websocket("ws", ("198.51.100.7", 40000), ("127.0.0.1", 8080), self)
        assert isinstance(connection, WebSocketConnection)
        self.connection = connection

    def write(self, data: bytes) -> None:
        self.got.append(parse_message(data))

    def shut(self, code: int) -> None:
        self.closed = True

    def proved(self) -> None:
        self.has_proved = True

    def statuses(self) -> list[int]:
        return [one.status for one in self.got if isinstance(one, Response)]


def browser_invite() -> Request:
    request = build.request(
        "INVITE",
        Uri.of("bob", "example.net"),
        from_=NameAddr(Uri.of("alice", "example.net")).with_tag("t"),
        to=NameAddr(Uri.of("bob", "example.net")),
        call_id="ws1",
        cseq=1,
        contact=NameAddr(Uri.parse("sip:x1@df7jal23ls0d.invalid;transport=ws")),
        body=OFFER,
        content_type="application/sdp",
    )
    return request.with_headers(request.headers.prepend("Via", "SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bKws"))


async def test_a_browser_calls_over_its_websocket_and_is_hung_up_on() -> None:
    """Requests in the dialog come back by the same socket, though the Contact cannot be resolved (RFC 7118 5.2)."""
    application = Application(answering)
    bob = UserAgent(UserAgentConfig(listen=LOOPBACK), application)
    await bob.start()
    browser = Browser(bob)
    browser.connection.received(browser_invite().write().decode())
    recorder = await application.calls.get()
    async with asyncio.timeout(30):
        while 200 not in browser.statuses():  # noqa: ASYNC110
            await asyncio.sleep(0)
    ok = next(one for one in browser.got if isinstance(one, Response) and one.status == 200)
    ack = build.request(
        "ACK",
        ok.contacts[0].uri,
        from_=ok.from_,
        to=ok.to,
        call_id="ws1",
        cseq=1,
    )
    via = "SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bKack"
    browser.connection.received(ack.with_headers(ack.headers.prepend("Via", via)).write())
    await recorder.wait(Confirmed)
    recorder.session.hangup()
    async with asyncio.timeout(30):
        while not any(isinstance(one, Request) and one.method == "BYE" for one in browser.got):  # noqa: ASYNC110
            await asyncio.sleep(0)
    browser.connection.lost()
    await bob.close()


async def test_a_registered_browser_is_called_by_its_flow() -> None:
    """`received` names the socket; once it is lost the call fails with 503."""
    bob = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
    await bob.start()
    browser = Browser(bob)
    recorder = Recorder(
        bob.invite(
            "sip:x1@df7jal23ls0d.invalid;transport=ws", caller="bob", body=OFFER, received="ws:198.51.100.7:40000"
        )
    )
    async with asyncio.timeout(30):
        while not browser.got:  # noqa: ASYNC110
            await asyncio.sleep(0)
    [invite] = browser.got
    assert isinstance(invite, Request)
    assert invite.top_via.transport == "WS"
    browser.connection.lost()
    failed = await recorder.wait(Failed, seconds=2.0)
    assert isinstance(failed, Failed)
    assert failed.status == 503
    await bob.close()
    assert not browser.closed


async def test_a_certificate_read_again_counts_for_new_connections_only(tmp_path: Path) -> None:
    """A call goes on over its old connection; one half of a pair, or nonsense, changes nothing."""
    authority = Authority(tmp_path)
    tls = authority.files("127.0.0.1")
    application = Application(answering)
    bob = UserAgent(UserAgentConfig(listen_tls=LOOPBACK, listen=(), tls=tls), application)
    await bob.start()
    alice = UserAgent(UserAgentConfig(listen=LOOPBACK, tls=tls), Application())
    await alice.start()
    target = f"sips:bob@127.0.0.1:{port_of(bob, 'tls')}"
    call = Recorder(alice.invite(target, caller="alice", body=OFFER))
    await call.wait(Answered)
    first = await shown_by(port_of(bob, "tls"))
    assert tls.cert is not None
    assert tls.key is not None
    kept = tls.key.read_bytes()
    tls.key.write_text("nonsense")
    with pytest.raises(ConfigError, match=r"sip\.tls"):
        bob.tls.load()
    assert await shown_by(port_of(bob, "tls")) == first
    tls.key.write_bytes(kept)
    authority.files("127.0.0.1")
    bob.tls.load()
    assert await shown_by(port_of(bob, "tls")) != first
    theirs = await application.calls.get()
    theirs.session.hangup()
    await call.wait(Ended)
    await alice.close()
    await bob.close()


REGISTER = (
    options("known").replace(b"OPTIONS", b"REGISTER").replace(b"CSeq", b'Authorization: Digest username="a"\r\nCSeq', 1)
)


class Doorkeeper(Application):
    """Knows who says a password, and lets OPTIONS of anybody in."""

    async def authenticate(self, request: Request, source: Flow) -> Verdict:
        if request.method == "OPTIONS":
            return Accepted(None)
        return Accepted("alice") if request.headers.get("Authorization") else Refused(401)


async def say(port: int, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection by which this was said and answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    return reader, writer


async def test_strangers_make_room_and_those_who_showed_who_they_are_stay() -> None:
    """The oldest stranger goes for each new connection, and for one of ours; nobody else does."""
    limits = StreamLimits(connections=4, reserved=1)
    bob, far = await tcp_agent(Doorkeeper(), streams=limits), await tcp_agent(Application())
    port = port_of(bob, "tcp")
    known = await say(
        port, options("known").replace(b"OPTIONS", b"REGISTER").replace(b"CSeq", b"Authorization: x\r\nCSeq")
    )
    strangers = [await say(port, options(f"s{number}")) for number in range(3)]
    assert await asyncio.wait_for(strangers[0][0].read(), 30) == b""
    assert (await bob.options(f"sip:127.0.0.1:{port_of(far, 'tcp')};transport=tcp")).status == 200
    late = await say(port, options("late"))
    assert await asyncio.wait_for(strangers[1][0].read(), 30) == b""
    known[1].write(options("again"))
    assert (await asyncio.wait_for(known[0].readuntil(b"\r\n\r\n"), 30)).startswith(b"SIP/2.0 200 ")
    for _, writer in (known, *strangers, late):
        writer.close()
    await bob.close()
    await far.close()


async def test_connections_that_all_belong_to_somebody_are_not_closed_for_a_stranger() -> None:
    """The stranger is refused."""
    bob = await tcp_agent(Doorkeeper(), streams=StreamLimits(connections=2, reserved=1))
    port = port_of(bob, "tcp")
    reader, writer = await say(port, REGISTER)
    refused, stranger = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(refused.read(), 30) == b""
    writer.write(options("again"))
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)).startswith(b"SIP/2.0 200 ")
    writer.close()
    stranger.close()
    await bob.close()
