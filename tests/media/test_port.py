"""The one UDP port: who gets through, what strangers are told, what it keeps."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from aioice import stun
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.media.embedded.plane.limits import PER_SOURCE, STRANGERS, PuntLimit
from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.port import ErrorRate
from gateway.media.embedded.webrtc.states import LegState
from gateway.media.engine import MediaError
from tests import peers
from tests.media.hosts import at
from tests.media.webrtc_support import (
    BROWSER,
    PEER_CONTEXT,
    Bench,
    LiveBench,
    RecordingSink,
    binding_request,
    connected,
    rtp,
)
from tests.rows import by_row

STRANGER = at("198.51.100.66", 6666)


# Demultiplexing


@by_row(
    ("datagram", "reason"),
    [
        (b"", "short"),
        (b"\x80" * 11, "short"),
        (rtp(1), "unproved_media"),
        (b"\x16\xfe\xfd" + bytes(60), "unproved_dtls"),
        (b"\x15\xfe\xfd" + bytes(12), "unproved_dtls"),
        (b"\x10zrtp" + bytes(20), "unknown_protocol"),
        (b"\x40\x00" + bytes(20), "unknown_protocol"),
        (b"\xff" * 40, "unknown_protocol"),
        (b"\x00\x01" + bytes(30), "stun_malformed"),
        (b"\x00\x11" + bytes(30), "stun_not_request"),
        (b"\x01\x01" + bytes(30), "stun_response"),
    ],
)
def test_a_strangers_datagram_is_counted_and_answered_with_silence(datagram: bytes, reason: str) -> None:
    """RFC 7983's ranges, each with nobody behind it."""
    bench, leg, _ = connected()
    bench.deliver(datagram, STRANGER)
    assert bench.counters == {reason: 1}
    assert bench.socket.sent == []
    assert bench.discarded(leg) == {}


def test_only_an_integrity_checked_address_reaches_the_leg() -> None:
    """Right ufrag, wrong password: the address stays a stranger's."""
    bench, leg, _ = connected()
    bench.deliver(binding_request(leg, password="wrong"), STRANGER)
    bench.deliver(rtp(1), STRANGER)
    assert bench.counters == {"stun_bad_integrity": 1, "unproved_media": 1}
    assert bench.addresses == 1


def test_an_unknown_ufrag_gets_silence() -> None:
    """No oracle for which legs exist."""
    bench, leg, _ = connected()
    bench.deliver(binding_request(leg, username="nobody:peer"), STRANGER)
    assert bench.socket.sent == []
    assert bench.counters == {"stun_unknown_ufrag": 1}


def test_a_wrong_password_gets_a_401_no_longer_than_the_request() -> None:
    """The response can never be an amplifier."""
    bench, leg, _ = connected()
    request = binding_request(leg, password="wrong")
    bench.deliver(request, STRANGER)
    [response] = bench.socket.take(STRANGER)
    assert stun.parse_message(response).error_code == 401
    assert len(response) <= len(request)


def test_a_check_without_integrity_gets_a_400() -> None:
    """RFC 8489 section 9.1.3."""
    bench, leg, _ = connected()
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes["USERNAME"] = f"{leg.local_ufrag}:peer"
    message.add_fingerprint()
    bench.deliver(bytes(message), STRANGER)
    responses = bench.socket.take(STRANGER)
    assert [stun.parse_message(response).error_code for response in responses] == [400]
    assert len(responses[0]) <= len(bytes(message))


def test_error_responses_are_limited_per_source_and_refill_with_time() -> None:
    """Five a second by default, whatever the source port."""
    bench, leg, _ = connected()
    wrong = binding_request(leg, password="wrong")
    for port in range(1000, 1100):
        bench.deliver(wrong, at(STRANGER[0], port))
    assert len(bench.socket.take()) == 5
    bench.clock.advance(1)
    for port in range(1000, 1100):
        bench.deliver(wrong, at(STRANGER[0], port))
    assert len(bench.socket.take()) == 5
    bench.deliver(wrong, at("198.51.100.67", 1))
    assert len(bench.socket.take()) == 1


def test_the_error_rate_remembers_a_bounded_number_of_sources() -> None:
    """The one heard from longest ago is forgotten."""
    rate = ErrorRate(2, 10)
    for number in range(1000):
        assert rate.allow(f"192.0.2.{number}", 0)
    assert len(rate) == 10
    assert rate.allow("192.0.2.999", 0)
    assert not rate.allow("192.0.2.999", 0)


def test_twenty_thousand_sources_leave_the_tables_as_they_were() -> None:
    """Memory does not grow with strangers, and every reason is one counter."""
    bench, leg, _ = connected()
    before = bench.port.table_sizes | {"error_sources": 0}
    wrong = binding_request(leg, password="wrong")
    kinds = [rtp(1), b"\x16\xfe\xfd" + bytes(60), wrong, b"\xff" * 30]
    for number in range(20_000):
        bench.deliver(kinds[number % 4], at(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1))
    after = bench.port.table_sizes
    assert after["error_sources"] == bench.port.config.error_sources
    assert after | {"error_sources": 0} == before
    assert bench.counters["stun_bad_integrity"] + bench.counters["punts_limited"] == 5000
    assert len(bench.counters) == 5


def test_all_strangers_together_are_told_of_so_often_a_second() -> None:
    """Each with an address of its own; a second later they are again."""
    limit, stranger = PuntLimit(STRANGERS), at("192.0.2.1", 1)
    sources = [at(f"10.0.{number >> 8}.{number & 255}", 1) for number in range(20_000)]
    assert sum(limit.allows(source, 5.0) for source in sources) == STRANGERS
    assert [limit.allows(stranger, now) for now in (5.9, 6.0)] == [False, True]


def test_a_source_that_sends_too_much_takes_nothing_from_others() -> None:
    """Neither from other addresses nor from other ports of its own, at the same moment: but for a few by chance."""
    limit = PuntLimit(STRANGERS)
    others = (
        [at(f"192.0.2.{number}", 1) for number in range(100)],
        [at(STRANGER[0], number) for number in range(1, 101)],
    )
    assert sum(limit.allows(STRANGER, 5.0) for _ in range(1000)) == PER_SOURCE
    for sources in others:
        assert sum(limit.allows(source, 5.0) for source in sources) >= 90  # each shares the count once in 4,096 runs


def test_what_strangers_used_up_is_not_taken_from_an_address_that_is_proved() -> None:
    """At the same moment a check of a browser that the plane does not answer itself is looked at."""
    bench, leg, _ = connected()
    other, wrong = (BROWSER[0], BROWSER[1] + 1), binding_request(leg, password="wrong")
    bench.deliver(binding_request(leg, use_candidate=False), other)
    for number in range(STRANGERS + 1000):
        bench.deliver(wrong, at(f"10.0.{number >> 8}.{number & 255}", 1))
    bench.socket.take()
    bench.deliver(binding_request(leg), STRANGER)
    assert bench.socket.take(STRANGER) == []
    bench.deliver(binding_request(leg), other)
    [response] = bench.socket.take(other)
    assert stun.parse_message(response).message_class is stun.Class.RESPONSE
    assert leg.remote_address == other


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_no_datagram_meets_an_error_of_our_own(datagram: bytes) -> None:
    """From a stranger and from the proved address alike."""
    bench, leg, _ = SHARED
    bench.deliver(datagram, STRANGER)
    bench.deliver(datagram, BROWSER)
    assert "internal_error" not in bench.counters
    assert leg.state is LegState.CONNECTED


SHARED = connected()


def test_an_error_of_our_own_harms_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    """A sink that raises is counted and logged a bounded number of times; the port goes on."""
    bench, leg, peer = connected()

    class Broken(RecordingSink):
        def media(self, packet: MediaPacket) -> None:
            raise RuntimeError("broken")

    bench.listen(leg, Broken())
    for sequence in range(1, 101):
        peer.send_rtp(rtp(sequence))
    assert bench.counters == {"internal_error": 100}
    assert len(caplog.records) == 20
    sink = bench.listen(leg)
    peer.send_rtp(rtp(101))
    assert sink.rtp == [rtp(101)]


def test_a_socket_that_takes_nothing_drops_and_counts() -> None:
    """No queue grows behind a full socket buffer."""
    bench, leg, _ = connected()
    bench.socket.refusing = True
    for sequence in range(1, 11):
        bench.send(leg, rtp(sequence))
    bench.plane.send_rtcp(leg.flow, bytes.fromhex("80c8000611223344") + bytes(20))
    assert bench.discarded(leg) == {"socket": 11}
    assert bench.figures(leg).sent == 0


# Addresses


def test_an_address_in_use_cannot_be_claimed_by_another_leg() -> None:
    """A valid check for one call, with another call's source forged, moves nothing."""
    bench, leg, peer = connected()
    other = bench.open_leg()
    bench.deliver(binding_request(other), BROWSER)
    assert bench.socket.take(BROWSER) == []
    assert bench.discarded(other) == {"address_in_use": 1}
    sink = bench.listen(leg)
    peer.send_rtp(rtp(1))
    assert sink.rtp == [rtp(1)]


def test_an_address_that_has_gone_quiet_can_be_claimed() -> None:
    """A network address translator hands ports on; after 15 s without a check the old leg loses it."""
    bench, leg, _ = connected()
    other = bench.open_leg()
    bench.clock.advance(16)
    bench.deliver(binding_request(other), BROWSER)
    assert len(bench.socket.take(BROWSER)) == 1
    assert other.remote_address == BROWSER
    assert leg.remote_address is None
    assert not leg.ready
    leg.close()
    assert bench.addresses == 1


def test_a_leg_proves_a_bounded_number_of_addresses() -> None:
    """Sixteen by default; the port's table follows."""
    bench, leg, _ = connected()
    for port in range(1, 200):
        bench.deliver(binding_request(leg, use_candidate=False), at("203.0.113.5", port))
    assert bench.addresses == 16
    assert leg.remote_address == BROWSER


def test_the_number_of_legs_is_limited_with_a_503() -> None:
    """And closing one makes room."""
    bench = Bench(WebRtcConfig(max_legs=2))
    first = bench.open_leg()
    bench.open_leg()
    with pytest.raises(MediaError) as error:
        bench.open_leg()
    assert (error.value.status, error.value.limit) == (503, "webrtc.max_browsers (2)")
    first.close()
    bench.open_leg()


def test_ufrags_are_drawn_again_when_taken() -> None:
    """Two legs never share a ufrag, even when the random numbers repeat."""
    draws = iter([b"a" * 6, b"p" * 18, b"a" * 6, b"p" * 18, b"b" * 6, b"q" * 18])
    bench = Bench()
    bench.port._random_bytes = lambda _: next(draws)
    port = bench.port
    one, two = (port.open_leg(lambda state, reason: None) for _ in range(2))
    assert one.local_ufrag != two.local_ufrag


# Sockets


async def test_candidates_name_the_advertised_addresses_and_the_bound_port() -> None:
    """Best first, the bound port unless a port mapping says otherwise."""
    config = WebRtcConfig(listen=("127.0.0.1",), advertised=("203.0.113.1", "2001:db8::1"))
    port = LiveBench(config).port
    await port.start()
    number = port.addresses[0][1]
    assert port.candidates() == (
        f"1 1 udp 2130706431 203.0.113.1 {number} typ host",
        f"2 1 udp 2130706175 2001:db8::1 {number} typ host",
    )
    port.close()
    assert port.addresses == ()


async def test_a_port_mapping_is_advertised_in_place_of_the_bound_port() -> None:
    """An address may come with a port of its own, for a gateway behind a one-to-one mapping."""
    config = WebRtcConfig(listen=("127.0.0.1",), advertised=(("203.0.113.1", 30000), "192.0.2.1"))
    port = LiveBench(config).port
    await port.start()
    assert port.candidates() == (
        "1 1 udp 2130706431 203.0.113.1 30000 typ host",
        f"2 1 udp 2130706175 192.0.2.1 {port.addresses[0][1]} typ host",
    )
    port.close()


async def test_a_wildcard_is_advertised_as_an_address_one_can_reach() -> None:
    """0.0.0.0 is never offered."""
    port = LiveBench(WebRtcConfig(listen=("0.0.0.0",))).port
    await port.start()
    [candidate] = port.candidates()
    assert " 0.0.0.0 " not in candidate
    port.close()


async def test_ipv4_and_ipv6_share_one_port_number() -> None:
    """Every listen address gets the number the first one got, and both answer checks."""
    peers.ipv6_loopback()
    port = LiveBench(WebRtcConfig(listen=("127.0.0.1", "::1"), own_addresses=False)).port
    await port.start()
    assert [host for host, _ in port.addresses] == ["127.0.0.1", "::1"]
    assert len({number for _, number in port.addresses}) == 1
    leg = port.open_leg(lambda state, reason: None)
    loop = asyncio.get_running_loop()
    for family, (host, number) in zip((socket.AF_INET, socket.AF_INET6), port.addresses, strict=True):
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.bind((host, 0))
            await loop.sock_sendto(client, binding_request(leg), (host, number))
            response = stun.parse_message(await asyncio.wait_for(loop.sock_recv(client, 2000), 30))
            assert response.attributes["XOR-MAPPED-ADDRESS"] == client.getsockname()[:2]
    port.close()


async def test_a_port_in_use_is_named() -> None:
    """MediaError 503 with address and port, and nothing stays open."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        number = holder.getsockname()[1]
        port = LiveBench(WebRtcConfig(listen=("127.0.0.1",), port=number)).port
        with pytest.raises(MediaError) as error:
            await port.start()
    assert f"127.0.0.1 port {number}/udp" in error.value.reason
    assert error.value.status == 503


async def test_an_address_of_another_machine_is_named() -> None:
    """So is one that is not ours."""
    port = LiveBench(WebRtcConfig(listen=("127.0.0.1", "203.0.113.1"))).port
    with pytest.raises(MediaError, match=r"203\.0\.113\.1"):
        await port.start()
    assert port.addresses == ()


async def test_closing_the_port_closes_every_leg() -> None:
    """Tidy, and twice over harmless."""
    states: list[Any] = []
    port = LiveBench(WebRtcConfig(listen=("127.0.0.1",), own_addresses=False)).port
    await port.start()
    leg = port.open_leg(lambda state, reason: states.append(state))
    leg.set_remote("peer", "p" * 22, PEER_CONTEXT.fingerprints, "active")
    port.close()
    port.close()
    assert states == [LegState.CHECKING, LegState.CLOSED]
    assert port.table_sizes == {"legs": 0, "ufrags": 0, "addresses": 0, "error_sources": 0, "checks": 0}
