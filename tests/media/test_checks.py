"""The peer's candidates as a full agent takes them: which, how many, and when each is sent a check."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from itertools import pairwise

import pytest
from aioice import stun

from gateway.media.embedded.webrtc.checks import PACE, ROUNDS, Checklist, may_be_sent_to
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.leg import WebRtcLeg
from gateway.media.embedded.webrtc.states import LegState
from gateway.media.engine import Kind, MediaError, Party
from tests.media.engine_support import browser_sdp, config, phone_sdp, running
from tests.media.webrtc_support import PEER_CONTEXT, Bench

HOST = "candidate:1 1 udp 2130706431 {} {} typ host"


@pytest.mark.parametrize(
    "host",
    [
        *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.8.8.8", "169.254.1.1", "172.16.0.1"),
        *("172.31.255.255", "192.168.1.1", "224.0.0.1", "239.1.1.1", "255.255.255.255", "240.0.0.1", "192.0.0.8"),
        *("::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0"),
        *("ff02::1", "2002:7f00:1::", "64:ff9b::a00:1", "2001:db8::1%1", "2001:0:1::1"),
        *("64:ff9b:1::10.0.0.1", "::10.0.0.1", "::127.0.0.1", "::ffff:0:10.0.0.1", "fec0::1", "100::1"),
        *("198.18.0.1", "198.19.255.255"),
        *(
            "d2a1c8e4-0000-4000-8000-000000000000.local",
            "localhost",
            "example.com",
            "",
            "1.2.3",
            "0x7f.1",
            "2130706433",
        ),
    ],
)
def test_nobody_has_us_knock_at_inner_doors(host: str) -> None:
    """Loopback, link-local, private and many at once, in any writing; names are not looked up."""
    assert may_be_sent_to(host) is None


def test_public_addresses_and_networks_that_are_allowed_are_sent_to() -> None:
    """As sockets write them."""
    assert may_be_sent_to("198.51.100.7") == may_be_sent_to("::ffff:198.51.100.7") == "198.51.100.7"
    assert may_be_sent_to("2A00:1::1") == "2a00:1::1"
    allowed = (ip_network("10.1.0.0/16"), ip_network("fd12::/16"))
    assert [may_be_sent_to(host, allowed) for host in ("10.1.2.3", "10.2.0.1", "fd12::1")] == [
        *("10.1.2.3", None, "fd12::1")
    ]


def test_so_many_candidates_are_taken() -> None:
    """Of a thousand that aim at one host twenty; each once."""
    checks = Checklist(most=20)
    for port in range(1, 1001):
        checks.add(HOST.format("198.51.100.7", port), 0.0)
    checks.add(HOST.format("198.51.100.7", 1), 0.0)
    assert len(checks) == 20


@pytest.mark.parametrize(
    "line",
    [
        *("", "candidate:", "a=candidate:x", "candidate:1 1 tcp 1 198.51.100.7 9 typ host tcptype active"),
        *("candidate:1 2 udp 1 198.51.100.7 9 typ host", "candidate:1 1 udp 1 198.51.100.7 0 typ host"),
        "candidate:1 1 udp 1 198.51.100.7 99999 typ host",
    ],
)
def test_what_is_no_candidate_of_ours_is_ignored(line: str) -> None:
    """Malformed, TCP, RTCP's, without a port."""
    checks = Checklist()
    assert checks.add(line, 0.0) is None
    assert checks.deadline() is None


def test_checks_are_paced_and_come_to_an_end() -> None:
    """One every 50 ms; each candidate five times in seven and a half seconds."""
    checks = Checklist()
    for port in range(1, 4):
        assert checks.add(HOST.format("198.51.100.7", port), 0.0) == ("198.51.100.7", port)
    sent: list[tuple[float, int]] = []
    while (now := checks.deadline()) is not None:
        address = checks.due(now)
        assert address is not None
        assert checks.due(now) is None
        sent.append((now, address[1]))
    assert all(after - before >= PACE - 1e-9 for (before, _), (after, _) in pairwise(sent))
    assert len(sent) == 3 * (len(ROUNDS) + 1)
    assert sum(ROUNDS) <= sent[-1][0] < sum(ROUNDS) + 1


def full(**options: object) -> tuple[Bench, WebRtcLeg]:
    bench = Bench(WebRtcConfig(own_addresses=False, full_ice=True, **options))  # type: ignore[arg-type]
    leg = bench.open_leg()
    leg.set_remote("them", "q" * 22, PEER_CONTEXT.fingerprints, "passive")
    return bench, leg


def test_a_check_is_the_controlled_agents_and_signed_with_the_peers_password() -> None:
    """Its tie-breaker loses against everybody's (RFC 8445 section 7.3.1.1); a lite agent sends none."""
    bench, leg = full(listen=("192.0.2.1",))
    leg.trickle(HOST.format("198.51.100.7", 5000))
    bench.clock.advance(0.01)
    [check] = [stun.parse_message(data) for data in bench.socket.take(("198.51.100.7", 5000))]
    check.check_message_integrity(b"q" * 22)
    assert check.attributes["USERNAME"] == f"them:{leg.local_ufrag}"
    assert check.attributes["ICE-CONTROLLED"] == 0
    lite = Bench()
    other = lite.open_leg()
    other.set_remote("them", "q" * 22, PEER_CONTEXT.fingerprints, "passive")
    other.trickle(HOST.format("198.51.100.7", 5000))
    lite.clock.advance(10)
    assert lite.socket.sent == []


def test_candidates_of_before_an_ice_restart_are_not_checked_any_more() -> None:
    """They may be anybody's by now; those of a closed leg neither."""
    bench, leg = full(listen=("192.0.2.1",))
    leg.trickle(HOST.format("198.51.100.7", 5000))
    leg.set_remote("them2", "r" * 22, PEER_CONTEXT.fingerprints, "passive")
    bench.clock.advance(1)
    assert bench.socket.take(("198.51.100.7", 5000)) == []
    leg.trickle(HOST.format("198.51.100.7", 5001))
    leg.close()
    leg.trickle(HOST.format("198.51.100.7", 5002))
    bench.socket.take()
    bench.clock.advance(20)
    assert bench.socket.sent == []


def test_a_thousand_candidates_cost_a_bounded_number_of_packets() -> None:
    """However they come: twenty addresses, five times each."""
    bench, leg = full(listen=("192.0.2.1",))
    for port in range(1, 1001):
        leg.trickle(HOST.format("198.51.100.7", port))
    for _ in range(400):
        bench.clock.advance(0.05)
    assert len(bench.socket.sent) == 20 * 5
    assert leg.state is LegState.FAILED


@pytest.mark.parametrize(
    ("is_full", "reason"), [(False, "both sides are ICE-lite"), (True, "an ICE-lite peer waits for us to nominate")]
)
async def test_a_lite_peer_is_refused_and_told_why(is_full: bool, reason: str) -> None:
    """Neither of ours nominates a pair (RFC 8445 section 8.1.1)."""
    own = WebRtcConfig(listen=("127.0.0.1",), port=0, own_addresses=False, full_ice=is_full)
    async with running(replace(config(), webrtc=own)) as (engine, _):
        caller, callee = Party("browser", Kind.WEBRTC), Party("phone", Kind.RTP)
        await engine.offer("call", caller, callee, browser_sdp().replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n"))
        with pytest.raises(MediaError, match=reason) as raised:
            await engine.answer("call", callee, caller, phone_sdp())
        assert raised.value.status == 488
