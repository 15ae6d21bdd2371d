"""Browsers without UDP: passive ICE-TCP candidates, RFC 4571 frames, and what strangers may not do with them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop
from aioice import Candidate, stun

from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.dtls import DtlsAssociation, DtlsRole, DtlsState
from gateway.media.embedded.webrtc.leg import WebRtcLeg
from gateway.media.embedded.webrtc.states import LegState
from gateway.media.engine import PortTakenError
from tests.media.srtp_pair import SrtpSession
from tests.media.webrtc_support import CONTEXT, PEER_CONTEXT, Bench, LiveBench, RecordingSink, binding_request, rtp
from tests.ports import free_port
from tests.rows import by_row


@contextlib.asynccontextmanager
async def bench_with(**options: Any) -> AsyncIterator[LiveBench]:
    bench = await LiveBench.start(WebRtcConfig(own_addresses=False, tcp=True, **options))
    try:
        yield bench
    finally:
        bench.close()


async def until(true: Callable[[], bool]) -> None:
    """Wait for what a socket brings about."""
    async with asyncio.timeout(30):
        # Sockets tell nobody when they have been read.
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def framed(*frames: bytes) -> bytes:
    return b"".join([len(frame).to_bytes(2) + frame for frame in frames])


class TcpPeer:
    """A browser's end of one connection: checks, DTLS, SRTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.dtls = DtlsAssociation(PEER_CONTEXT, DtlsRole.ACTIVE, CONTEXT.fingerprints, WebRtcConfig())

    @classmethod
    async def connect(cls, bench: LiveBench) -> TcpPeer:
        return cls(*await asyncio.open_connection(*bench.port.addresses[0]))

    def send(self, *frames: bytes) -> None:
        self.writer.write(framed(*frames))

    async def frame(self) -> bytes:
        async with asyncio.timeout(30):
            return await self.reader.readexactly(int.from_bytes(await self.reader.readexactly(2)))

    async def check(self, leg: WebRtcLeg) -> stun.Message:
        self.send(binding_request(leg))
        answer = stun.parse_message(await self.frame())
        answer.check_message_integrity(leg.local_password.encode())
        return answer

    async def secure(self) -> SrtpSession:
        """The keys of a handshake over this connection."""
        self.dtls.start(0.0)
        while self.dtls.state is not DtlsState.CONNECTED:
            self.send(*self.dtls.datagrams_to_send())
            self.dtls.receive(await self.frame(), 0.0)
        self.send(*self.dtls.datagrams_to_send())
        assert self.dtls.send_key is not None
        assert self.dtls.receive_key is not None
        return SrtpSession(self.dtls.send_key, self.dtls.receive_key)

    async def ended(self) -> bool:
        """Whether the other side has closed the connection."""
        async with asyncio.timeout(30):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True

    def close(self) -> None:
        self.writer.close()


def leg_of(bench: LiveBench) -> WebRtcLeg:
    leg = bench.open_leg()
    leg.set_remote("peer", "p" * 22, PEER_CONTEXT.fingerprints, "passive")
    return leg


async def test_a_call_goes_by_one_connection() -> None:
    """The answer to a check names the connection's own address; DTLS and media go by it both ways."""
    async with bench_with() as bench:
        leg, peer = leg_of(bench), await TcpPeer.connect(bench)
        sink: RecordingSink = bench.sinks[leg.flow]
        answer = await peer.check(leg)
        assert answer.attributes["XOR-MAPPED-ADDRESS"] == peer.writer.get_extra_info("sockname")
        srtp = await peer.secure()
        await until(lambda: leg.state is LegState.CONNECTED)
        protected = srtp.protect(rtp(1))
        assert protected is not None
        peer.send(protected)
        await until(lambda: sink.rtp == [rtp(1)])
        bench.send(leg, rtp(7))
        heard = srtp.unprotect(await peer.frame())
        assert heard is not None
        assert heard[12:] == rtp(7)[12:]
        assert bench.port.carried == (1, 1)
        leg.close()
        peer.close()
        await until(lambda: bench.port.carried == (0, 0))


def test_a_call_goes_by_one_connection_on_the_loop_that_the_gateway_runs_on() -> None:
    """uvloop's transports are not asyncio's."""
    uvloop.run(test_a_call_goes_by_one_connection())


async def test_frames_come_in_any_pieces() -> None:
    """Octet by octet, and two at once; an empty one is none."""
    async with bench_with() as bench:
        leg, peer = leg_of(bench), await TcpPeer.connect(bench)
        for octet in framed(b"", binding_request(leg)):
            peer.writer.write(bytes([octet]))
            await peer.writer.drain()
        assert stun.parse_message(await peer.frame()).message_class is stun.Class.RESPONSE
        peer.send(binding_request(leg), binding_request(leg))
        assert [stun.parse_message(await peer.frame()).message_class for _ in range(2)] == [stun.Class.RESPONSE] * 2
        peer.close()


async def test_a_connection_that_broke_is_followed_by_the_next() -> None:
    """The leg loses the address with it, and goes on by another connection without new keys."""
    async with bench_with() as bench:
        leg, peer = leg_of(bench), await TcpPeer.connect(bench)
        await peer.check(leg)
        srtp = await peer.secure()
        await until(lambda: leg.state is LegState.CONNECTED)
        peer.close()
        await until(lambda: leg.remote_address is None)
        assert bench.addresses == 0
        second = await TcpPeer.connect(bench)
        await second.check(leg)
        bench.send(leg, rtp(8))
        assert srtp.unprotect(await second.frame()) is not None
        assert (leg.state, bench.port.carried) == (LegState.CONNECTED, (1, 1))
        second.close()


@by_row(
    ("first", "reason"),
    [
        (framed(b"GET / HTTP/1.1\r\n\r\n" + bytes(20)), "tcp_not_a_check"),
        (b"\xff\xff" + bytes(100), "tcp_frame"),
        (b"GET / HTTP/1.1\r\n\r\n", "tcp_frame"),
        (framed(b"\x80" + bytes(40)), "tcp_not_a_check"),
        (b"\x00", "tcp_silent"),
        (b"", "tcp_silent"),
    ],
)
async def test_who_does_not_begin_with_a_check_is_shown_out(first: bytes, reason: str) -> None:
    """No octet is answered, nothing is opened in the plane, and the reason is counted."""
    async with bench_with(tcp_first_check=0.2) as bench:
        peer = await TcpPeer.connect(bench)
        peer.writer.write(first)
        assert await peer.ended()
        await until(lambda: bench.port.carried == (0, 0))
        assert bench.port.counters == {reason: 1}
        peer.close()


async def test_a_check_with_a_wrong_password_ends_the_connection() -> None:
    """Also one for a leg that has gone, and one that is not signed."""
    async with bench_with() as bench:
        leg = leg_of(bench)
        gone = bench.open_leg()
        forgotten = binding_request(gone)
        gone.close()
        for frame in (binding_request(leg, password="x" * 24), forgotten, binding_request(leg, username="nobody:peer")):
            peer = await TcpPeer.connect(bench)
            peer.send(frame)
            assert await peer.ended()
            peer.close()
        assert bench.port.counters == {"tcp_not_authentic": 3}
        assert bench.port.carried == (0, 0)


async def test_a_connection_that_falls_silent_is_closed() -> None:
    """As a leg is that hears nothing: the time is the same."""
    async with bench_with(liveness_timeout=0.1) as bench:
        leg, peer = leg_of(bench), await TcpPeer.connect(bench)
        await peer.check(leg)
        assert await peer.ended()
        assert bench.port.counters == {"tcp_silent": 1}
        await until(lambda: bench.port.carried == (0, 0))
        peer.close()


@by_row("keeping", [framed(b""), framed(b"nonsense"), b"\0"])
async def test_a_connection_whose_leg_is_gone_is_closed_whatever_comes_by_it(keeping: bytes) -> None:
    """It was proved once; octets alone keep nothing."""
    async with bench_with(liveness_timeout=0.1) as bench:
        leg, peer = leg_of(bench), await TcpPeer.connect(bench)
        await peer.check(leg)
        leg.close()

        async def keep_on() -> None:
            while True:
                peer.writer.write(keeping)
                await asyncio.sleep(0.02)

        sending = asyncio.create_task(keep_on())
        assert await peer.ended()
        sending.cancel()
        await until(lambda: bench.port.carried == (0, 0))
        peer.close()


async def test_empty_frames_keep_no_connection() -> None:
    """Nothing comes to the leg by them."""
    async with bench_with(liveness_timeout=0.1) as bench:
        leg, peer = leg_of(bench), await TcpPeer.connect(bench)
        await peer.check(leg)
        peer.send(b"")
        assert await peer.ended()
        assert bench.port.counters == {"tcp_silent": 1}
        peer.close()


async def test_who_was_proved_to_a_leg_that_is_gone_makes_room() -> None:
    """Where all connections are taken; whose leg lives stays."""
    async with bench_with(tcp_max_connections=2) as bench:
        kept, gone = leg_of(bench), leg_of(bench)
        peers = [await TcpPeer.connect(bench) for _ in range(2)]
        await peers[0].check(kept)
        await peers[1].check(gone)
        gone.close()
        third = await TcpPeer.connect(bench)
        assert await peers[1].ended()
        assert (await third.check(kept)).message_class is stun.Class.RESPONSE
        assert (await peers[0].check(kept)).message_class is stun.Class.RESPONSE
        for peer in (*peers, third):
            peer.close()


async def test_one_source_has_so_many_connections() -> None:
    """One more is refused, until one of them has gone."""
    async with bench_with(tcp_max_connections_per_source=2) as bench:
        peers = [await TcpPeer.connect(bench) for _ in range(3)]
        assert await peers[2].ended()
        assert bench.port.counters == {"tcp_full": 1}
        peers[0].close()
        await until(lambda: bench.port.carried == (1, 0))
        again = await TcpPeer.connect(bench)
        leg = leg_of(bench)
        assert (await again.check(leg)).message_class is stun.Class.RESPONSE
        for peer in (*peers, again):
            peer.close()


async def test_strangers_take_no_room_from_browsers() -> None:
    """Where all connections are taken, who waits longest without a check makes room; who has shown one stays."""
    async with bench_with(tcp_max_connections=2) as bench:
        leg, browser = leg_of(bench), await TcpPeer.connect(bench)
        await browser.check(leg)
        stranger = await TcpPeer.connect(bench)
        await until(lambda: bench.port.carried == (2, 1))
        second = await TcpPeer.connect(bench)
        assert await stranger.ended()
        await second.check(leg_of(bench))
        third = await TcpPeer.connect(bench)
        assert await third.ended()
        assert (await browser.check(leg)).message_class is stun.Class.RESPONSE
        for peer in (browser, stranger, second, third):
            peer.close()


async def test_who_reads_slowly_loses_packets_and_no_memory() -> None:
    """What waits for a connection has a bound, here and in the kernel; beyond it packets are dropped and counted."""
    async with bench_with(tcp_max_queued=4096) as bench:
        leg = leg_of(bench)
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(bench.port.addresses[0])
        raw.setblocking(False)
        peer = TcpPeer(*await asyncio.open_connection(sock=raw, limit=1024))
        await peer.check(leg)
        [(path, address)] = bench.port._holders
        for _ in range(200):
            bench.plane.send(path, address, bytes(1200))
            await asyncio.sleep(0)
        # The far end's window is a few KiB: of 240 KiB nearly all is late, and a kernel would have kept it.
        await until(lambda: bench.port.counters.get("tcp_slow_reader", 0) > 100)
        [connection] = bench.port._tcp._connections
        assert connection._transport.get_write_buffer_size() <= 4096 + 1202
        peer.close()


async def test_who_sends_without_end_is_read_from_slowly() -> None:
    """The event loop is everybody's: so many frames a second, the rest waits at the sender."""
    async with bench_with(tcp_max_frames_per_second=100) as bench:
        leg, flood = leg_of(bench), await TcpPeer.connect(bench)
        await flood.check(leg)
        sending = asyncio.ensure_future(endless(flood))
        [connection] = bench.port._tcp._connections
        for _ in range(3):
            await until(lambda: not connection._transport.is_reading())
            await until(connection._transport.is_reading)
        sending.cancel()
        flood.close()
        await until(lambda: bench.port.carried == (0, 0))


async def endless(peer: TcpPeer) -> None:
    while True:
        peer.send(*[b"\x80" + bytes(1000)] * 50)
        await peer.writer.drain()


async def test_a_tcp_port_that_somebody_has_is_named() -> None:
    """MediaError 503 at the start, as for UDP."""
    with socket.socket() as taken:
        number = free_port()
        taken.bind(("127.0.0.1", number))
        taken.listen()
        with pytest.raises(PortTakenError, match=f"127.0.0.1 port {number}/tcp") as refused:
            async with bench_with(port=number):
                raise AssertionError("it began")
        assert refused.value.status == 503


def test_candidates_say_passive_and_stand_behind_udp() -> None:
    """As aioice reads them; UDP's priority is the higher one (RFC 6544 section 4.2)."""
    bench = Bench(WebRtcConfig(tcp=True, advertised=("203.0.113.1", ("203.0.113.2", 4433)), own_addresses=False))
    found = [Candidate.from_sdp(each) for each in bench.port.candidates()]
    assert [(each.transport, each.host, each.port, each.tcptype) for each in found] == [
        ("udp", "203.0.113.1", 4000, None),
        ("udp", "203.0.113.2", 4433, None),
        ("tcp", "203.0.113.1", 4000, "passive"),
        ("tcp", "203.0.113.2", 4433, "passive"),
    ]
    assert sorted(found, key=lambda each: -each.priority) == found
    assert len({each.foundation for each in found}) == 4
    assert not any("tcp" in each for each in Bench().port.candidates())
