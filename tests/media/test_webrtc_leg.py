"""One leg's life on a manual clock: set-up, timers, restarts, new keys, and the table that rules it."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from gateway.media.embedded.plane.packet import RtpError, payload_bounds
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.dtls import DtlsRole
from gateway.media.embedded.webrtc.states import TRANSITIONS, LegInput, LegState
from gateway.media.engine import MediaError
from tests.media.dtls_support import client_hello
from tests.media.hosts import at
from tests.media.webrtc_support import (
    BROWSER,
    CONTEXT,
    PEER_CONTEXT,
    Bench,
    Peer,
    binding_request,
    connected,
    rtp,
)
from tests.rows import by_row

PASSWORD = "p" * 22
RTCP = bytes.fromhex("80c8000611223344") + bytes(20)
ELSEWHERE = at("203.0.113.9", 40000)


# Set-up


@pytest.mark.parametrize("role", ["active", "passive"])
def test_media_flows_both_ways_once_connected(role: str) -> None:
    """Either DTLS role: RTP and RTCP arrive decrypted, ours leave encrypted."""
    bench, leg, peer = connected(role=role)
    sink = bench.listen(leg)
    assert leg.ready
    peer.send_rtp(rtp(1))
    assert peer.srtp is not None
    rtcp = peer.srtp.protect_rtcp(RTCP)
    assert rtcp is not None
    bench.deliver(rtcp)
    assert sink.rtp == [rtp(1)]
    assert sink.rtcp == [RTCP]
    bench.send(leg, rtp(7))
    peer.pump()
    assert [packet[12:] for packet in peer.media] == [rtp(7)[12:]]
    bench.plane.send_rtcp(leg.flow, RTCP)
    [protected] = bench.socket.take(BROWSER)
    assert peer.srtp.unprotect_rtcp(protected) == RTCP
    figures = bench.figures(leg)
    assert (figures.packets_received, figures.octets_received) == (1, 172)
    assert (figures.sent, figures.sent_octets) == (1, 160)
    assert bench.discarded(leg) == {}


def test_states_come_in_order_and_the_time_is_measured() -> None:
    """Checking, connecting, connected; connected_after_ms counts from the first set_remote."""
    bench = Bench()
    leg = bench.open_leg()
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "passive")
    bench.clock.advance(0.04)
    peer = Peer(bench, leg, DtlsRole.ACTIVE)
    peer.check()
    bench.clock.advance(0.002)
    peer.start()
    assert [state for state, _ in bench.states] == [LegState.CHECKING, LegState.CONNECTING, LegState.CONNECTED]
    assert leg.connected_after_ms == pytest.approx(42)


def test_a_check_before_the_description_is_answered_and_not_forgotten() -> None:
    """We offered, and the browser's checks overtake its answer (RFC 8445 section 7.3)."""
    bench = Bench()
    leg = bench.open_leg()
    peer = Peer(bench, leg, DtlsRole.ACTIVE)
    peer.check()
    assert len(peer.responses) == 1
    assert leg.state is LegState.NEW
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "passive")
    assert [state for state, _ in bench.states] == [LegState.CHECKING, LegState.CONNECTING]


def test_a_client_hello_before_the_description_costs_no_back_off() -> None:
    """It is kept, being from the proved address, and the handshake goes on from it."""
    bench = Bench()
    leg = bench.open_leg()
    peer = Peer(bench, leg, DtlsRole.ACTIVE)
    peer.check()
    peer.start()
    assert bench.states == []
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "passive")
    peer.pump()
    assert bench.states[-1] == (LegState.CONNECTED, "")
    assert leg.connected_after_ms == 0


def test_a_bounded_number_of_early_datagrams_is_kept() -> None:
    """The first four of a hundred and fifty; the rest is counted. Above 200 a second the plane drops them."""
    bench = Bench()
    leg = bench.open_leg()
    peer = Peer(bench, leg, DtlsRole.ACTIVE)
    peer.check()
    peer.start()
    for _ in range(149):
        bench.deliver(b"\x16\xfe\xfd" + bytes(1000))
    assert bench.discarded(leg) == {"early": 146}
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "passive")
    peer.pump()
    assert bench.states[-1] == (LegState.CONNECTED, "")


def test_the_answer_to_a_check_goes_out_before_the_client_hello() -> None:
    """A browser drops DTLS on a pair that is not yet proved to it."""
    bench = Bench()
    leg = bench.open_leg()
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "active")
    bench.deliver(binding_request(leg))
    assert [datagram[0] for datagram in bench.socket.take(BROWSER)] == [1, 22]


def test_media_before_dtls_is_dropped_and_counted() -> None:
    """Both ways."""
    bench = Bench()
    leg = bench.open_leg()
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "passive")
    bench.deliver(binding_request(leg))
    bench.deliver(rtp(1))
    bench.send(leg, rtp(1))
    bench.plane.send_rtcp(leg.flow, RTCP)
    assert not leg.ready
    assert bench.discarded(leg) == {"not_ready": 3}


def test_a_leg_whose_packets_have_no_route_counts_what_it_drops() -> None:
    """Packets that arrive before anything was agreed."""
    bench, leg, peer = connected()
    bench.plane.route(leg.flow, None, {})
    peer.send_rtp(rtp(1))
    assert bench.discarded(leg) == {"no_route": 1}


def test_descriptions_that_cannot_be_used_raise_media_error() -> None:
    """No checkable fingerprint is 488, a role that is none is 400; the leg stays as it was."""
    bench = Bench()
    leg = bench.open_leg()
    for fingerprints in ((), (("sha-1", "AA:BB"),), (("sha-256", "AA"),)):
        with pytest.raises(MediaError) as error:
            leg.set_remote("peer", PASSWORD, fingerprints, "passive")
        assert error.value.status == 488
    with pytest.raises(MediaError) as error:
        leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "actpass")
    assert error.value.status == 400
    assert leg.state is LegState.NEW


def test_a_wrong_certificate_fails_the_leg_and_yields_no_keys() -> None:
    """The fingerprint is checked before any key is used."""
    bench = Bench()
    leg = bench.open_leg()
    leg.set_remote("peer", PASSWORD, CONTEXT.fingerprints, "passive")
    peer = Peer(bench, leg, DtlsRole.ACTIVE)
    peer.check()
    peer.start()
    assert bench.states[-1] == (LegState.FAILED, "the peer's certificate does not match its fingerprint")
    assert not leg.ready
    assert bench.addresses == 0


# Timers


def test_set_up_fails_after_15_seconds_without_a_check() -> None:
    """And the reason says which half was missing."""
    bench = Bench()
    leg = bench.open_leg()
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "passive")
    bench.clock.advance(14.9)
    assert [state for state, _ in bench.states] == [LegState.CHECKING]
    bench.clock.advance(0.2)
    assert bench.states[-1] == (LegState.FAILED, "no valid ICE check came within 15 s")
    assert bench.clock.pending == 0


def test_set_up_fails_after_15_seconds_without_dtls() -> None:
    """Checks alone do not keep it alive."""
    bench = Bench()
    leg = bench.open_leg()
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "active")
    for _ in range(8):
        bench.deliver(binding_request(leg))
        bench.clock.advance(2)
    assert bench.states[-1] == (LegState.FAILED, "DTLS did not finish within 15 s")
    assert bench.addresses == 0


def test_a_time_out_says_what_went_wrong_in_dtls() -> None:
    """A peer with no cipher in common is told apart from one that stays silent."""
    bench = Bench()
    leg = bench.open_leg()
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "passive")
    bench.deliver(binding_request(leg))
    bench.deliver(client_hello(b"\0\0"))
    bench.clock.advance(15)
    assert bench.states[-1] == (LegState.FAILED, "DTLS did not finish within 15 s: no shared cipher")


def test_an_active_leg_repeats_its_client_hello_by_the_clock() -> None:
    """Lost datagrams are sent again without anything arriving."""
    bench = Bench()
    leg = bench.open_leg()
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "active")
    bench.deliver(binding_request(leg))
    bench.socket.take()
    bench.clock.advance(1.06)
    assert [datagram[0] for datagram in bench.socket.take(BROWSER)] == [22, 22, 22]


def test_silence_for_30_seconds_fails_a_connected_leg() -> None:
    """No check and no authenticated packet; the addresses are forgotten."""
    bench, leg, _ = connected()
    bench.clock.advance(29.9)
    assert bench.states[-1][0] is LegState.CONNECTED
    bench.clock.advance(0.2)
    assert bench.states[-1] == (LegState.FAILED, "nothing was heard from the peer for 30 s")
    assert not leg.ready
    assert bench.addresses == 0
    bench.deliver(binding_request(leg))
    assert bench.socket.take() == []


@pytest.mark.parametrize("sign_of_life", ["check", "media"])
def test_checks_and_authentic_media_keep_a_leg_alive(sign_of_life: str) -> None:
    """Either is enough."""
    _, leg, peer = connected()
    for sequence in range(1, 11):
        peer.bench.clock.advance(20)
        if sign_of_life == "check":
            peer.check()
        else:
            peer.send_rtp(rtp(sequence))
    assert leg.state is LegState.CONNECTED


def test_forged_media_and_junk_do_not_keep_a_leg_alive() -> None:
    """Liveness needs something only the peer can make."""
    bench, leg, _ = connected()
    for sequence in range(40):
        bench.clock.advance(1)
        bench.deliver(rtp(sequence))
        bench.deliver(b"\x16\xfe\xfd" + bytes(40))
    assert leg.state is LegState.FAILED


def test_one_timer_is_armed_however_many_packets_pass() -> None:
    """The packet path never re-arms."""
    bench, leg, peer = connected()
    bench.listen(leg)
    for sequence in range(1, 1001):
        peer.send_rtp(rtp(sequence))
    assert bench.clock.pending == 1


def test_timers_follow_the_settings() -> None:
    """Both time-outs are settings: that of the beginning, and that of consent (RFC 7675)."""
    bench = Bench(WebRtcConfig(setup_timeout=2, liveness_timeout=5))
    leg = bench.open_leg()
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "passive")
    bench.clock.advance(2)
    assert bench.states[-1][0] is LegState.FAILED


# Said again, restarted, re-keyed


def test_the_same_description_again_changes_nothing() -> None:
    """A session refresh is not an ICE restart and not a new handshake."""
    bench, leg, peer = connected()
    ufrag, states = leg.local_ufrag, list(bench.states)
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "passive")
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "active")
    assert leg.local_ufrag == ufrag
    assert bench.states == states
    sink = bench.listen(leg)
    peer.send_rtp(rtp(1))
    assert sink.rtp == [rtp(1)]


def test_an_ice_restart_by_the_peer_keeps_keys_and_media() -> None:
    """New ufrag: our credentials change, the old pair carries media until the new one is nominated."""
    bench, leg, peer = connected()
    old_ufrag, old_password = leg.local_ufrag, leg.local_password
    sink = bench.listen(leg)
    leg.set_remote("peer2", PASSWORD, PEER_CONTEXT.fingerprints, "passive")
    assert leg.local_ufrag != old_ufrag
    assert leg.state is LegState.CONNECTED
    assert bench.port.table_sizes["ufrags"] == 2
    peer.send_rtp(rtp(1))
    bench.deliver(binding_request(leg, username=f"{old_ufrag}:peer", password=old_password))
    assert len(bench.socket.take(BROWSER)) == 1
    bench.deliver(binding_request(leg), ELSEWHERE)
    assert leg.remote_address == ELSEWHERE
    assert bench.port.table_sizes["ufrags"] == 1
    peer.send_rtp(rtp(2))
    assert bench.counters == {"unproved_media": 1}
    peer.source = ELSEWHERE
    peer.send_rtp(rtp(3))
    assert sink.rtp == [rtp(1), rtp(3)]
    assert [state for state, _ in bench.states].count(LegState.CONNECTED) == 1


@pytest.mark.parametrize("nominated", [False, True])
def test_a_process_that_dies_in_an_ice_restart_leaves_both_credentials(nominated: bool) -> None:
    """The next one answers the checks of both, as this one did, and goes over to the new pair when it is nominated."""
    bench, leg, peer = connected()
    old_ufrag, old_password = leg.local_ufrag, leg.local_password
    leg.set_remote("peer2", PASSWORD, PEER_CONTEXT.fingerprints, "passive")
    again = bench.resumed(leg)
    assert (again.local_ufrag, again.local_password) == (leg.local_ufrag, leg.local_password)
    bench.deliver(binding_request(again, username=f"{old_ufrag}:peer", password=old_password))
    assert len(bench.socket.take(BROWSER)) == 1
    if nominated:
        bench.deliver(binding_request(again), ELSEWHERE)
        assert again.remote_address == ELSEWHERE
        assert bench.port.table_sizes["ufrags"] == 1
        peer.source = ELSEWHERE
    sink = bench.listen(again)
    peer.send_rtp(rtp(1))
    assert sink.rtp == [rtp(1)]
    assert bench.resumed(again).local_ufrag == leg.local_ufrag


def test_a_leg_that_failed_half_way_through_dtls_begins_it_afresh_after_a_restart() -> None:
    """The peer has given the first handshake up, too."""
    bench = Bench()
    leg = bench.open_leg()
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "passive")
    lost = Peer(bench, leg, DtlsRole.ACTIVE)
    bench.deliver(binding_request(leg))
    lost.dtls.start(0)
    for hello in lost.dtls.datagrams_to_send():
        bench.deliver(hello)
    bench.clock.advance(16)
    assert bench.states[-1] == (LegState.FAILED, "DTLS did not finish within 15 s")
    bench.socket.take()
    leg.set_remote("peer2", PASSWORD, PEER_CONTEXT.fingerprints, "passive")
    peer = Peer(bench, leg, DtlsRole.ACTIVE)
    peer.check()
    peer.start()
    assert bench.states[-1] == (LegState.CONNECTED, "")


def test_a_failed_leg_comes_back_with_an_ice_restart_and_its_old_keys() -> None:
    """A browser that was away longer than the liveness timer needs no new handshake."""
    bench, leg, peer = connected()
    bench.clock.advance(31)
    leg.set_remote("peer2", PASSWORD, PEER_CONTEXT.fingerprints, "passive")
    bench.deliver(binding_request(leg), ELSEWHERE)
    assert [state for state, _ in bench.states[-3:]] == [LegState.FAILED, LegState.CHECKING, LegState.CONNECTED]
    sink = bench.listen(leg)
    peer.source = ELSEWHERE
    peer.send_rtp(rtp(1))
    assert sink.rtp == [rtp(1)]


def test_a_new_fingerprint_means_new_keys() -> None:
    """The old association's packets are refused from that moment on."""
    bench, leg, peer = connected()
    sink = bench.listen(leg)
    forged = peer.send_rtp(rtp(1))
    sha512 = (("sha-512", "AB:" * 63 + "AB"),)
    leg.set_remote("peer2", PASSWORD, sha512, "passive")
    assert not leg.ready
    bench.deliver(forged)
    peer.send_rtp(rtp(2))
    assert len(sink.rtp) == 1
    leg.set_remote("peer3", PASSWORD, PEER_CONTEXT.fingerprints, "passive")
    second = Peer(bench, leg, DtlsRole.ACTIVE, ELSEWHERE)
    second.check()
    second.start()
    assert bench.states[-1] == (LegState.CONNECTED, "")
    second.send_rtp(rtp(9))
    assert sink.rtp == [rtp(1), rtp(9)]


def test_a_new_end_is_not_greeted_at_the_old_ends_address() -> None:
    """New ufrag and new fingerprint: the old address and its checks are forgotten."""
    bench, leg, _ = connected(role="active")
    old_ufrag, old_password = leg.local_ufrag, leg.local_password
    leg.set_remote("peer2", PASSWORD, (("sha-512", "AB:" * 63 + "AB"),), "active")
    assert leg.remote_address is None
    bench.deliver(binding_request(leg, username=f"{old_ufrag}:peer", password=old_password))
    bench.clock.advance(1)
    assert bench.socket.take() == []
    assert bench.port.table_sizes == {"legs": 1, "ufrags": 1, "addresses": 0, "error_sources": 0, "checks": 0}
    bench.deliver(binding_request(leg), ELSEWHERE)
    assert [datagram[0] for datagram in bench.socket.take()] == [1, 22]


def test_nomination_moves_media_to_the_new_address() -> None:
    """A browser that changes networks: the next packet goes to the new pair."""
    bench, leg, peer = connected()
    bench.deliver(binding_request(leg), ELSEWHERE)
    bench.socket.take()
    bench.send(leg, rtp(1))
    assert len(bench.socket.take(ELSEWHERE)) == 1
    sink = bench.listen(leg)
    peer.send_rtp(rtp(1))
    assert sink.rtp == [rtp(1)]


# Ends


def test_close_notify_of_the_peer_fails_the_leg_at_once() -> None:
    """A page that is closed ends its call now, not after 30 s."""
    bench, leg, peer = connected()
    peer.dtls.close()
    peer.pump()
    assert bench.states[-1] == (LegState.FAILED, "the peer closed its DTLS association")
    assert not leg.ready


def test_close_says_goodbye_and_forgets_everything() -> None:
    """Ufrag, addresses, keys and timers; twice is harmless, and nothing afterwards does anything."""
    bench, leg, peer = connected()
    check = binding_request(leg)
    leg.close()
    leg.close()
    [goodbye] = bench.socket.take(BROWSER)
    peer.dtls.receive(goodbye, 0)
    assert peer.dtls.state == "closed"
    assert bench.states[-1] == (LegState.CLOSED, "")
    assert bench.port.table_sizes == {"legs": 0, "ufrags": 0, "addresses": 0, "error_sources": 0, "checks": 0}
    assert bench.clock.pending == 0
    bench.send(leg, rtp(1))
    leg.set_remote("other", PASSWORD, PEER_CONTEXT.fingerprints, "active")
    bench.deliver(check)
    bench.clock.advance(100)
    assert bench.socket.take() == []
    assert bench.port.table_sizes["ufrags"] == 0


@by_row("when", [LegState.CHECKING, LegState.CONNECTING, LegState.CONNECTED])
def test_a_leg_may_be_closed_from_its_own_state_handler(when: LegState) -> None:
    """The engine may end a call from whatever it is told."""
    bench = Bench()
    seen: list[LegState] = []

    def on_state(state: LegState, reason: str) -> None:
        seen.append(state)
        if state is when:
            leg.close()

    leg = bench.open_leg(on_state)
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "passive")
    if when is not LegState.CHECKING:
        peer = Peer(bench, leg, DtlsRole.ACTIVE)
        peer.check()
        peer.start()
    assert seen[-2:] == [when, LegState.CLOSED]
    assert bench.port.table_sizes == {"legs": 0, "ufrags": 0, "addresses": 0, "error_sources": 0, "checks": 0}
    assert bench.clock.pending == 0
    assert "internal_error" not in bench.counters


# The table


def test_the_table_leads_everywhere_and_out_of_closed_nowhere() -> None:
    """Every state can be reached, every state but closed can be closed, and closed is the end."""
    assert {target for target in TRANSITIONS.values()} | {LegState.NEW} == set(LegState)
    assert not [key for key in TRANSITIONS if key[0] is LegState.CLOSED]
    for state in set(LegState) - {LegState.CLOSED}:
        assert TRANSITIONS[state, LegInput.CLOSE] is LegState.CLOSED


def test_failure_is_left_only_by_new_credentials_or_new_keys() -> None:
    """No late check, datagram or timer revives a failed leg."""
    assert {event for state, event in TRANSITIONS if state is LegState.FAILED} == {
        LegInput.RESTART,
        LegInput.REKEY,
        LegInput.CLOSE,
    }


@by_row("state", [LegState.CONNECTING, LegState.CONNECTED, LegState.FAILED])
def test_a_new_fingerprint_has_the_peer_proved_again(state: LegState) -> None:
    """The keys of the previous certificate hold no longer."""
    assert TRANSITIONS[state, LegInput.REKEY] is LegState.CHECKING


# RTP headers


@by_row(
    ("packet", "fits"),
    [
        (rtp(1), True),
        (rtp(1, b""), True),
        (rtp(1)[:11], False),
        (b"\x40" + rtp(1)[1:], False),
        (b"\x82" + rtp(1, bytes(8))[1:], True),
        (b"\x82" + rtp(1, bytes(7))[1:], False),
        (b"\x90" + rtp(1, b"\xbe\xde\0\1\0\0\0\0")[1:], True),
        (b"\x90" + rtp(1, b"\xbe\xde\0\1\0\0\0")[1:], False),
        (b"\x90" + rtp(1, b"\xbe\xde")[1:], False),
        (b"\xa0" + rtp(1, b"abc\4")[1:], True),
        (b"\xa0" + rtp(1, b"abc\5")[1:], False),
        (b"\xa0" + rtp(1, b"abc\0")[1:], False),
        (b"\xa0" + rtp(1, b"")[1:], False),
    ],
)  # fmt: skip
def test_rtp_headers_must_fit_their_packet(packet: bytes, fits: bool) -> None:
    """CSRC list, extension and padding lie within it (RFC 3550 section 5.1)."""
    with nullcontext() if fits else pytest.raises(RtpError):
        payload_bounds(packet)


def test_an_authentic_packet_with_an_impossible_padding_is_dropped() -> None:
    """Even the peer itself may send nonsense."""
    bench, leg, peer = connected()
    sink = bench.listen(leg)
    peer.send_rtp(b"\xa0" + rtp(1, b"abc\xff")[1:])
    assert sink.rtp == []
    assert bench.discarded(leg) == {"malformed": 1}


# Several answers to one offer, and new associations


def test_answers_of_two_peers_to_one_offer_of_ours_leave_our_credentials_alone() -> None:
    """A forked 183 and the 200 of another browser: both know the ufrag of the offer."""
    bench = Bench()
    leg = bench.open_leg()
    offered = leg.local_ufrag
    leg.set_remote("first", PASSWORD, (("sha-256", ":".join(["AB"] * 32)),), "passive", side="offerer")
    bench.deliver(binding_request(leg, username=f"{offered}:first"), ELSEWHERE)
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "passive", side="offerer")
    assert leg.local_ufrag == offered
    peer = Peer(bench, leg, DtlsRole.ACTIVE)
    peer.check()
    peer.start()
    assert bench.states[-1] == (LegState.CONNECTED, "")
    assert leg.remote_address == BROWSER
    assert bench.addresses == 1


def test_a_new_tls_id_is_a_new_association() -> None:
    """The certificate may be the same (RFC 8842 section 5.1); said again it changes nothing."""
    bench, leg, _ = connected()
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "passive", tls_id="a" * 20)
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "passive", tls_id="a" * 20)
    before = len(bench.states)
    leg.set_remote("peer", PASSWORD, PEER_CONTEXT.fingerprints, "passive", tls_id="b" * 20)
    assert [state for state, _ in bench.states[before:]] == [LegState.CHECKING, LegState.CONNECTING]
    second = Peer(bench, leg, DtlsRole.ACTIVE)
    second.check()
    second.start()
    assert bench.states[-1] == (LegState.CONNECTED, "")
