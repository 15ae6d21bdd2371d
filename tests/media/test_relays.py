"""A full agent at a real coturn: server-reflexive and relayed candidates, and a call by each kind of relay."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aioice import Candidate, stun

from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.dtls import DtlsAssociation, DtlsRole, DtlsState
from gateway.media.embedded.webrtc.gathering import IceServerUrl
from gateway.media.embedded.webrtc.leg import WebRtcLeg
from gateway.media.embedded.webrtc.states import LegState
from tests.coturn import SECRET, Coturn, coturn
from tests.media.srtp_pair import SrtpSession
from tests.media.webrtc_support import CONTEXT, PEER_CONTEXT, LiveBench, binding_request, rtp
from tests.net.certificates import Authority
from tests.ports import free_port

pytestmark = pytest.mark.wall

HERE = (ip_network("127.0.0.0/8"),)


@contextlib.asynccontextmanager
async def bench_with(*servers: IceServerUrl, **options: Any) -> AsyncIterator[LiveBench]:
    options = {"ice_peers_allowed": HERE} | options
    bench = await LiveBench.start(
        WebRtcConfig(own_addresses=False, full_ice=True, ice_servers=tuple(servers), **options)
    )
    try:
        yield bench
    finally:
        await bench.port.stop_gathering()
        bench.close()


def turn(server: Coturn, transport: str = "udp", secret: str = SECRET) -> IceServerUrl:
    return IceServerUrl(url=server.url(transport), secret=secret)


def found(bench: LiveBench) -> dict[str, Candidate]:
    """Our candidates, by type."""
    return {each.type: each for each in map(Candidate.from_sdp, bench.port.candidates())}


async def until(true: Callable[[], bool]) -> None:
    """Wait for what a socket brings about."""
    async with asyncio.timeout(30):
        # Sockets tell nobody when they have been read.
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class UdpPeer:
    """A browser's end on a socket of its own: checks, DTLS, SRTP."""

    def __init__(self, to: tuple[str, int]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(to)
        self.address: tuple[str, int] = self._socket.getsockname()
        self.dtls = DtlsAssociation(PEER_CONTEXT, DtlsRole.ACTIVE, CONTEXT.fingerprints, WebRtcConfig())

    @property
    def candidate(self) -> str:
        return f"candidate:1 1 udp 2130706431 {self.address[0]} {self.address[1]} typ host"

    def send(self, *datagrams: bytes) -> None:
        for datagram in datagrams:
            self._socket.send(datagram)

    async def datagram(self) -> bytes:
        """The next that is no check of the gateway's."""
        loop = asyncio.get_running_loop()
        while True:
            data = await loop.sock_recv(self._socket, 2000)
            if data[:2] != b"\x00\x01":
                return data

    async def check(self, leg: WebRtcLeg) -> stun.Message:
        """Until it is answered: what comes before the relay knows of us is lost."""
        while True:
            self.send(binding_request(leg))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    answer = stun.parse_message(await self.datagram())
                    answer.check_message_integrity(leg.local_password.encode())
                    return answer

    async def secure(self) -> SrtpSession:
        self.dtls.start(0.0)
        while self.dtls.state is not DtlsState.CONNECTED:
            self.send(*self.dtls.datagrams_to_send())
            data = await self.datagram()
            if 20 <= data[0] <= 63:
                self.dtls.receive(data, 0.0)
        self.send(*self.dtls.datagrams_to_send())
        assert self.dtls.send_key is not None
        assert self.dtls.receive_key is not None
        return SrtpSession(self.dtls.send_key, self.dtls.receive_key)

    def close(self) -> None:
        self._socket.close()


def protected(srtp: SrtpSession, packet: bytes) -> bytes:
    data = srtp.protect(packet)
    assert data is not None
    return data


async def a_call_by_the_relay(bench: LiveBench) -> None:
    """Check, keys and media both ways between a peer and our relayed address."""
    relayed = found(bench)["relay"]
    leg, peer = bench.open_leg(), UdpPeer((relayed.host, relayed.port))
    try:
        leg.set_remote("peer", "p" * 22, PEER_CONTEXT.fingerprints, "passive")
        leg.trickle(peer.candidate)
        async with asyncio.timeout(30):
            answer = await peer.check(leg)
            assert answer.attributes["XOR-MAPPED-ADDRESS"] == peer.address
            srtp = await peer.secure()
            await until(lambda: leg.state is LegState.CONNECTED)
            for packet in (rtp(0), rtp(1), rtp(2)):
                peer.send(protected(srtp, packet))
                await until(partial(bench.sinks[leg.flow].rtp.__contains__, packet))
                bench.send(leg, packet)
                heard = srtp.unprotect(await peer.datagram())
                assert heard is not None
                assert heard[12:] == packet[12:]
        assert bench.port.carried == (0, 1)
    finally:
        peer.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_call_goes_by_a_relay(tmp_path: Path, transport: str) -> None:
    """Allocated at the start with a password of the shared secret; data goes by a channel."""
    async with coturn(tmp_path) as server:
        async with bench_with(turn(server, transport)) as bench:
            await a_call_by_the_relay(bench)
            assert server.said("CHANNEL_BIND processed, success")
        async with asyncio.timeout(30):
            while not server.said("lifetime=0"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_a_server_by_tls_shows_whose_it_is(tmp_path: Path) -> None:
    """A call by `turns:`, where the certificate is of an authority that we trust; no allocation where it is not."""
    port = free_port()
    authority = Authority(tmp_path)
    cert, key = authority.issue("localhost")
    options = ("--allow-loopback-peers", f"--tls-listening-port={port}", f"--cert={cert}", f"--pkey={key}")
    url = IceServerUrl(url=f"turns:localhost:{port}", secret=SECRET)
    async with coturn(tmp_path, options=options):
        async with bench_with(url, ice_ca=authority.file) as bench:
            await a_call_by_the_relay(bench)
        async with bench_with(url) as bench:
            assert set(found(bench)) == {"host"}


def test_a_call_goes_by_a_relay_on_the_loop_that_the_gateway_runs_on(tmp_path: Path) -> None:
    """uvloop's transports are not asyncio's."""
    for transport in ("udp", "tcp"):
        uvloop.run(test_a_call_goes_by_a_relay(tmp_path, transport))


async def test_an_answer_has_every_candidate_at_once(tmp_path: Path) -> None:
    """Host, relayed with the address that the server sees behind it; an address that is a host's is not said twice."""
    async with coturn(tmp_path) as server, bench_with(turn(server), advertised=("203.0.113.9",)) as bench:
        candidates = found(bench)
        assert set(candidates) == {"host", "srflx", "relay"}
        ours = bench.port.addresses[0]
        assert (candidates["srflx"].host, candidates["srflx"].port) == ours
        priorities = [candidates[kind].priority for kind in ("host", "srflx", "relay")]
        assert priorities == sorted(priorities, reverse=True)
        leg = bench.open_leg()
        plan = leg.plan()
        assert plan.ice is not None
        assert (plan.ice.lite, len(plan.ice.candidates)) == (False, 3)
    async with coturn(tmp_path) as server, bench_with(turn(server)) as bench:
        assert set(found(bench)) == {"host", "relay"}


async def test_a_relay_that_was_lost_is_asked_for_again(tmp_path: Path) -> None:
    """Its candidate goes with it, the tunnels too; the server that comes back gives another."""
    port = free_port()
    async with coturn(tmp_path, port=port) as server:
        bench = await LiveBench.start(
            WebRtcConfig(own_addresses=False, full_ice=True, ice_servers=(turn(server, "tcp"),), ice_peers_allowed=HERE)
        )
        await a_call_by_the_relay(bench)
    try:
        await until(lambda: "relay" not in found(bench))
        await until(lambda: bench.port.carried == (0, 0))
        async with coturn(tmp_path, port=port):
            await until(lambda: "relay" in found(bench))
            await a_call_by_the_relay(bench)
    finally:
        await bench.port.stop_gathering()
        bench.close()


@pytest.mark.serial
async def test_a_server_that_refuses_or_is_silent_holds_nobody_up(tmp_path: Path, caplog: Any) -> None:
    """The start goes on without its candidates; the log says why, and no password."""
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    nowhere = IceServerUrl(url=f"turn:127.0.0.1:{silent.getsockname()[1]}", username="u", password="hunter2")
    began = time.monotonic()
    async with coturn(tmp_path) as server, bench_with(turn(server, secret="wrong-secret"), nowhere) as bench:
        assert time.monotonic() - began < 8
        assert "relay" not in found(bench)
    silent.close()
    assert "refused with 401" in caplog.text
    assert "hunter2" not in caplog.text
    assert "wrong-secret" not in caplog.text


async def test_who_is_not_among_the_candidates_does_not_come_through(tmp_path: Path) -> None:
    """A relay passes on what permitted addresses send; private ones are permitted only where the setting says so."""
    async with coturn(tmp_path) as server, bench_with(turn(server), ice_peers_allowed=()) as bench:
        relayed = found(bench)["relay"]
        leg, peer = bench.open_leg(), UdpPeer((relayed.host, relayed.port))
        leg.set_remote("peer", "p" * 22, PEER_CONTEXT.fingerprints, "passive")
        leg.trickle(peer.candidate)
        leg.trickle(peer.candidate.replace("127.0.0.1", "10.0.0.1"))
        peer.send(binding_request(leg))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await peer.datagram()
        assert bench.port.carried == (0, 0)
        assert not server.said("CREATE_PERMISSION")
        peer.close()


async def test_a_stranger_on_a_permitted_address_opens_nothing(tmp_path: Path) -> None:
    """Only an authentic check opens a tunnel; what else comes by the relay is dropped and counted."""
    async with coturn(tmp_path) as server, bench_with(turn(server)) as bench:
        await a_call_by_the_relay(bench)
        relayed = found(bench)["relay"]
        stranger = UdpPeer((relayed.host, relayed.port))
        leg = bench.open_leg()
        stranger.send(b"\x80" + bytes(40), b"\x16" + bytes(60), binding_request(leg, password="x" * 24))
        await until(lambda: bench.port.counters.get("relay_not_authentic") == 1)
        assert bench.port.carried == (0, 1)
        stranger.close()


async def test_a_peer_that_has_gone_leaves_no_tunnel(tmp_path: Path) -> None:
    """After as long as a leg may be silent."""
    async with coturn(tmp_path) as server, bench_with(turn(server), liveness_timeout=0.3) as bench:
        relayed = found(bench)["relay"]
        leg, peer = bench.open_leg(), UdpPeer((relayed.host, relayed.port))
        leg.set_remote("peer", "p" * 22, PEER_CONTEXT.fingerprints, "passive")
        leg.trickle(peer.candidate)
        await peer.check(leg)
        assert bench.port.carried == (0, 1)
        await until(lambda: bench.port.carried == (0, 0))
        assert bench.addresses == 0
        peer.close()
