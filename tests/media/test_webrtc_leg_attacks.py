"""What has ended calls of systems like this one, done to a leg: it connects, and media keeps flowing.

The rows are those of CVE-2023-49786 (ClientHello race), CVE-2021-41105 (SRTP errors), RTP
injection and STUN parsers; once in memory at every step, once over loopback beside a real
aiortc call.
"""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.media.embedded.plane.values import Address
from gateway.media.embedded.webrtc.dtls import DtlsRole
from gateway.media.embedded.webrtc.states import LegState
from tests.media.aiortc_support import FirstPackets, offer_from_aiortc, open_call
from tests.media.arsenal import arsenal, spraying
from tests.media.dtls_support import CLIENT_HELLO_NULL_CIPHER, client_hello
from tests.media.hosts import at
from tests.media.ice_support import HEADER, with_fingerprint
from tests.media.webrtc_support import (
    BROWSER,
    PEER_CONTEXT,
    Bench,
    Peer,
    binding_request,
    connected,
    rtp,
)
from tests.rows import by_row

ATTACKER: Address = at("198.51.100.66", 6666)
SAME_HOST: Address = (BROWSER[0], BROWSER[1] + 1)


# In memory, at every step


@by_row("role", ["active", "passive"])
@by_row("source", [ATTACKER, SAME_HOST])
def test_a_spray_before_during_and_after_set_up_changes_nothing(role: str, source: Address) -> None:
    """From another host, and from another port of the browser's own host."""
    bench = Bench()
    leg = bench.open_leg()
    sink = bench.listen(leg)

    def spray() -> None:
        for _ in range(20):
            for datagram in arsenal(leg):
                bench.deliver(datagram, source)

    spray()
    leg.set_remote("peer", "p" * 22, PEER_CONTEXT.fingerprints, role)
    spray()
    peer = Peer(bench, leg, DtlsRole.ACTIVE if role == "passive" else DtlsRole.PASSIVE)
    bench.deliver(binding_request(leg))
    spray()
    peer.start()
    spray()
    assert [state for state, _ in bench.states] == [LegState.CHECKING, LegState.CONNECTING, LegState.CONNECTED]
    for sequence in range(1, 51):
        spray() if sequence == 25 else None
        peer.send_rtp(rtp(sequence))
        bench.send(leg, rtp(sequence))
    peer.pump()
    assert len(sink.rtp) == len(peer.media) == 50
    assert sink.rtcp == []
    assert bench.discarded(leg) == {}
    assert len(bench.socket.take(source)) <= 5
    assert bench.port.table_sizes == {"legs": 1, "ufrags": 1, "addresses": 1, "error_sources": 1, "checks": 0}
    assert "internal_error" not in bench.counters


def test_the_same_hello_from_the_proved_address_would_have_met_dtls() -> None:
    """The control: it is the address that keeps the attack out, not a packet that bites nowhere."""
    bench = Bench()
    leg = bench.open_leg()
    leg.set_remote("peer", "p" * 22, PEER_CONTEXT.fingerprints, "passive")
    bench.deliver(binding_request(leg))
    bench.socket.take()
    hello = client_hello(b"\xc0\x2b")
    bench.deliver(hello, ATTACKER)
    assert bench.socket.take() == []
    for _ in range(20):
        bench.deliver(CLIENT_HELLO_NULL_CIPHER, BROWSER)
    assert bench.states[-1][0] is LegState.FAILED


def test_a_thousand_forged_srtp_packets_from_the_proved_address_change_nothing() -> None:
    """Even with the source address forged: counted as unauthentic, and the next true packet passes."""
    bench, leg, peer = connected()
    sink = bench.listen(leg)
    true = peer.send_rtp(rtp(1))
    for number in range(1000):
        forged = bytearray(true)
        forged[2:4] = (number + 2).to_bytes(2)
        forged[20] ^= number & 0xFF
        peer.bench.deliver(bytes(forged))
    peer.send_rtp(rtp(2))
    assert sink.rtp == [rtp(1), rtp(2)]
    assert bench.discarded(leg) == {"authentication": 1000}
    assert leg.state is LegState.CONNECTED


def test_recorded_media_and_rtcp_played_back_are_refused() -> None:
    """Replay from the proved address: every copy is counted, none delivered."""
    bench, leg, peer = connected()
    sink = bench.listen(leg)
    recorded = [peer.send_rtp(rtp(sequence)) for sequence in range(1, 101)]
    for datagram in recorded * 3:
        bench.deliver(datagram)
    assert len(sink.rtp) == 100
    assert bench.discarded(leg) == {"replay": 300}


def test_a_recorded_check_played_back_from_elsewhere_takes_the_media_nowhere_for_long() -> None:
    """An observer on the path can replay a check, as ICE allows; the browser's next check takes media back."""
    bench, leg, _ = connected()
    recorded = binding_request(leg)
    bench.deliver(recorded, ATTACKER)
    bench.deliver(binding_request(leg), BROWSER)
    bench.socket.take()
    bench.send(leg, rtp(1))
    assert bench.socket.take(ATTACKER) == []
    assert len(bench.socket.take(BROWSER)) == 1


def test_one_leg_cannot_speak_on_another_legs_keys() -> None:
    """A legitimate user's packets reach only that user's leg."""
    bench, leg, peer = connected()
    other = bench.open_leg()
    other.set_remote("other", "p" * 22, PEER_CONTEXT.fingerprints, "passive")
    second = Peer(bench, other, DtlsRole.ACTIVE, ATTACKER)
    second.check()
    second.start()
    bench.listen(leg), bench.listen(other)
    assert peer.srtp is not None
    stolen = peer.srtp.protect(rtp(1))
    assert stolen is not None
    bench.deliver(stolen, ATTACKER)
    assert bench.sinks[leg.flow].rtp == bench.sinks[other.flow].rtp == []
    assert bench.discarded(other) == {"authentication": 1}


KINDS = [6, 8, 9, 0x20, 0x24, 0x25, 0x8028, 0x802A, 0x7FFF]
MALFORMED_STUN = st.one_of(
    st.binary(max_size=200).map(lambda tail: b"\x00\x01" + tail),
    st.binary(max_size=200).map(lambda tail: HEADER + tail),
    st.lists(st.tuples(st.sampled_from(KINDS), st.binary(max_size=30)), max_size=6).map(
        lambda attributes: with_fingerprint(
            HEADER
            + b"".join(
                kind.to_bytes(2) + len(value).to_bytes(2) + value + bytes(-len(value) % 4) for kind, value in attributes
            )
        )
    ),
)  # fmt: skip


@settings(max_examples=100)
@given(st.lists(MALFORMED_STUN, min_size=1, max_size=5))
def test_malformed_stun_at_any_time_changes_nothing(datagrams: list[bytes]) -> None:
    """From a stranger and with the browser's address forged, before, during and after set-up."""
    bench = Bench()
    leg = bench.open_leg()

    def spray() -> None:
        for datagram in datagrams:
            bench.deliver(datagram, ATTACKER)
            bench.deliver(datagram, BROWSER)

    spray()
    leg.set_remote("peer", "p" * 22, PEER_CONTEXT.fingerprints, "passive")
    peer = Peer(bench, leg, DtlsRole.ACTIVE)
    spray()
    bench.deliver(binding_request(leg))
    spray()
    bench.socket.take(ATTACKER)
    peer.start()
    spray()
    sink = bench.listen(leg)
    peer.send_rtp(rtp(1))
    assert sink.rtp == [rtp(1)]
    assert "internal_error" not in bench.counters


def test_memory_stays_bounded_under_a_flood() -> None:
    """60,000 datagrams before DTLS is up, of every kind and size: nothing of them is kept."""
    bench = Bench()
    leg = bench.open_leg()
    leg.set_remote("peer", "p" * 22, PEER_CONTEXT.fingerprints, "passive")
    bench.deliver(binding_request(leg))
    weapons = [datagram + bytes(-len(datagram) % 1200) for datagram in arsenal(leg)[:12]]

    def flood(rounds: int) -> None:
        for number in range(rounds):
            for datagram in weapons:
                bench.deliver(datagram, at(f"198.51.{number >> 8 & 255}.{number & 255}", 6666))
            bench.socket.sent.clear()

    flood(1200)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        flood(3800)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 512 * 1024
    assert bench.addresses == 1


# Over loopback, beside a real call


@pytest.mark.parametrize("setup", ["passive", "active"])
async def test_an_aiortc_call_connects_and_flows_under_a_spray(setup: str) -> None:
    """Four sockets spray from before the offer to the end; the call does not notice."""
    bench, leg, reached = await open_call()
    sink = FirstPackets(75)
    bench.listen(leg, sink)
    try:
        async with spraying(bench.port.addresses[0], arsenal(leg)) as counts:
            await asyncio.sleep(0.1)
            before = counts["sent"]
            peer = await offer_from_aiortc(bench.port, leg, setup)
            try:
                await asyncio.wait_for(reached[LegState.CONNECTED].wait(), 30)
                await asyncio.wait_for(sink.enough.wait(), 30)
            finally:
                await peer.close()
        assert 0 < before < counts["sent"]
        assert counts["sent"] > 500
        assert bench.discarded(leg) == {}
        assert "internal_error" not in bench.counters
        assert counts["received"] <= 5 * 15
        assert {"unproved_media", "unproved_dtls", "stun_malformed", "stun_bad_integrity"} <= set(bench.counters)
    finally:
        bench.close()
