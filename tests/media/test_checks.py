"""The peer's candidates as a full agent takes them: which, how many, and when each is sent a check."""

from __future__ import annotations

from ipaddress import ip_network
from itertools import pairwise

import pytest
from aioice import stun

from gateway.media.embedded.plane.values import Address
from gateway.media.embedded.webrtc.checks import PACE, ROUNDS, Checklist, may_be_sent_to
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.controlling import CONSENT_EVERY
from gateway.media.embedded.webrtc.dtls import DtlsRole
from gateway.media.embedded.webrtc.leg import WebRtcLeg
from gateway.media.embedded.webrtc.states import LegState
from gateway.media.engine import Kind, MediaError, Party
from sdp import MediaAgreement, RemoteTransport
from sdp.attributes import Fingerprint
from tests.media.engine_support import browser_sdp, running
from tests.media.hosts import at
from tests.media.webrtc_support import PEER_CONTEXT, Bench, Peer
from tests.rows import by_row

HOST = "candidate:1 1 udp 2130706431 {} {} typ host"


@by_row(
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


@by_row(
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
    [check] = [stun.parse_message(data) for data in bench.socket.take(at("198.51.100.7", 5000))]
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
    assert bench.socket.take(at("198.51.100.7", 5000)) == []
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


LITE_AT: Address = at("198.51.100.7", 5000)
LITE_PASSWORD = "q" * 22


def lite(*, is_full: bool = False) -> tuple[Bench, WebRtcLeg]:
    """A leg whose peer has said a=ice-lite and named one address."""
    bench = Bench(WebRtcConfig(own_addresses=False, listen=("192.0.2.1",), full_ice=is_full))
    leg = bench.open_leg()
    remote = RemoteTransport(
        *("198.51.100.7", 5000, "198.51.100.7", 5000),
        ice_ufrag="them",
        ice_pwd=LITE_PASSWORD,
        ice_lite=True,
        candidates=(HOST.format(*LITE_AT),),
        fingerprints=tuple([Fingerprint(*each) for each in PEER_CONTEXT.fingerprints]),
    )
    leg.agree(
        MediaAgreement(0, "audio", "0", True, "UDP/TLS/RTP/SAVPF", dtls_role="passive", remote=remote), "answerer"
    )
    bench.clock.advance(0.01)
    return bench, leg


def checks_of(bench: Bench) -> list[stun.Message]:
    """The checks that the lite peer got since it was last looked, with the peer's integrity."""
    found = [stun.parse_message(data) for data in bench.socket.take(LITE_AT) if data[0] <= 3]
    for each in found:
        each.check_message_integrity(LITE_PASSWORD.encode())
    return found


def respond(bench: Bench, check: stun.Message, source: Address = LITE_AT, password: str = LITE_PASSWORD) -> None:
    response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, check.transaction_id)
    response.attributes["XOR-MAPPED-ADDRESS"] = ("192.0.2.1", 4000)
    response.add_message_integrity(password.encode())
    bench.deliver(bytes(response), source)


@pytest.mark.parametrize("is_full", [False, True])
def test_a_pair_of_a_lite_peer_is_proved_and_nominated_by_our_checks(is_full: bool) -> None:
    """One plain check, whose response proves the pair, and one that nominates it."""
    bench, leg = lite(is_full=is_full)
    [first] = checks_of(bench)
    assert "USE-CANDIDATE" not in first.attributes
    respond(bench, first)
    assert leg.remote_address == LITE_AT
    [second] = checks_of(bench)
    assert "USE-CANDIDATE" in second.attributes
    assert second.attributes["ICE-CONTROLLING"] == 2**64 - 1
    respond(bench, second)
    bench.clock.advance(3)
    assert checks_of(bench) == []


@by_row(
    ("source", "password"), [(("198.51.100.9", 5000), LITE_PASSWORD), (LITE_AT, "x" * 22), (("198.51.100.7", 5001), "")]
)
def test_a_forged_response_proves_nothing(source: Address, password: str) -> None:
    """From another address than the check went to (RFC 8445 section 7.2.5.2.1), or signed by somebody else."""
    bench, leg = lite()
    [first] = checks_of(bench)
    respond(bench, first, source, password)
    assert leg.remote_address is None
    assert bench.addresses == 0
    assert leg.discarded == {"stun_response": 1}


def test_a_lite_peer_that_answers_nothing_costs_a_bounded_number_of_packets() -> None:
    """Five checks, and the leg fails in words."""
    bench, leg = lite()
    for _ in range(400):
        bench.clock.advance(0.05)
    assert len(checks_of(bench)) == 4 + 1
    assert bench.states[-1] == (LegState.FAILED, "no valid ICE check came within 15 s")
    leg.close()
    assert bench.port.table_sizes["checks"] == 0


def test_consent_keeps_a_silent_lite_peer_and_its_end_fails_the_leg() -> None:
    """Every five seconds, give or take a fifth, also where no media flows (RFC 7675 section 5.1)."""
    bench, leg = lite()
    peer = Peer(bench, leg, DtlsRole.ACTIVE, LITE_AT)
    for _ in range(2):
        for each in checks_of(bench):
            respond(bench, each)
    peer.start()
    asked = 0
    for _ in range(240):
        bench.clock.advance(0.5)
        for each in checks_of(bench):
            asked += 1
            respond(bench, each)
    assert 120 / (1.2 * CONSENT_EVERY) - 1 <= asked <= 120 / (0.8 * CONSENT_EVERY) + 1
    assert [state for state, _ in bench.states][-1] is LegState.CONNECTED
    bench.clock.advance(70)
    assert [state for state, _ in bench.states][-1] is LegState.FAILED
    leg.close()
    assert bench.port.table_sizes["checks"] == 0


async def test_a_lite_peer_without_a_candidate_is_refused_before_anybody_rings() -> None:
    """There is nobody to send a check to."""
    async with running() as (engine, _):
        caller, callee = Party("browser", Kind.WEBRTC), Party("phone", Kind.RTP)
        with pytest.raises(MediaError, match="no candidate of the ICE-lite peer may be sent to") as raised:
            await engine.offer("call", caller, callee, browser_sdp().replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n"))
        assert raised.value.status == 488
