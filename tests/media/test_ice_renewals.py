"""Peers with ICE that have keys and begin another DTLS handshake on the pair in use."""

from __future__ import annotations

import pytest

from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.dtls import DtlsAssociation, DtlsContext, DtlsRole, is_client_hello
from gateway.media.embedded.webrtc.renewals import MOST_FAILED
from tests.media.dtls_phone import ANOTHER
from tests.media.dtls_support import client_hello, fragments
from tests.media.webrtc_support import BROWSER, CONTEXT, PEER_CONTEXT, Bench, Peer, connected, rtp

HELLO = client_hello(b"\xc0\x2b")


class Cutting(DtlsAssociation):
    """An association whose ClientHello goes in the order of `order`, one fragment a datagram."""

    order: tuple[int, ...] = (0,)

    def datagrams_to_send(self) -> list[bytes]:
        sent: list[bytes] = []
        for each in super().datagrams_to_send():
            parts = fragments(each, 40, 90) if is_client_hello(each) else []
            sent += [parts[number] for number in self.order] if parts else [each]
        return sent


def begins_again(peer: Peer, order: tuple[int, ...] = (), context: DtlsContext = PEER_CONTEXT) -> None:
    """The peer begins another handshake, and takes its keys where it is done."""
    made = Cutting if order else DtlsAssociation
    peer.dtls, peer.srtp = made(context, DtlsRole.ACTIVE, CONTEXT.fingerprints, WebRtcConfig()), None
    if isinstance(peer.dtls, Cutting):
        peer.dtls.order = order
    peer.start()


def heard(bench: Bench, peer: Peer, number: int) -> bool:
    """Whether packets pass both ways."""
    [sink] = bench.sinks.values()
    peer.send_rtp(rtp(number))
    passes = sink.rtp[-1:] == [rtp(number)]
    bench.send(peer.leg, rtp(number))
    before = len(peer.media)
    peer.pump()
    return passes and len(peer.media) == before + 1


@pytest.mark.parametrize("order", [(), (0, 1, 2), (2, 0, 1), (0, 0, 1, 1, 2)])
def test_an_ice_peer_with_keys_may_begin_dtls_again(order: tuple[int, ...]) -> None:
    """Three times, its ClientHello whole or in fragments of any order; the leg stays connected."""
    bench, leg, peer = connected()
    states = list(bench.states)
    for number in range(1, 4):
        begins_again(peer, order)
        assert peer.srtp is not None
        assert heard(bench, peer, number)
    assert bench.states == states
    assert leg.associations == 4


def test_an_ice_peer_is_heard_under_old_keys_until_the_new_ones_are_used() -> None:
    """Packets on their way meet the previous key."""
    bench, _, peer = connected()
    former = peer.srtp
    assert former is not None
    late = [former.protect(rtp(number)) or b"" for number in (1, 2)]
    begins_again(peer)
    [sink] = bench.sinks.values()
    bench.deliver(late[0])
    assert sink.rtp == [rtp(1)]
    assert heard(bench, peer, 3)
    bench.deliver(late[1])
    assert sink.rtp == [rtp(1), rtp(3)]


def test_forged_client_hellos_of_an_ice_peer_change_nothing() -> None:
    """No more octets go out than came in, and the peer's own handshake is served among them."""
    bench, _, peer = connected()
    for each in [HELLO] * 5 + fragments(HELLO, 20) * 5:
        bench.deliver(each)
    answers = bench.socket.take(BROWSER)
    assert len(answers) == 10
    assert sum(map(len, answers)) <= 10 * len(HELLO)
    assert heard(bench, peer, 1)
    begins_again(peer)
    assert heard(bench, peer, 2)


def test_an_ice_peer_with_another_certificate_leaves_the_keys() -> None:
    """Its handshake fails by itself, and the next one under the agreed fingerprint is served."""
    bench, _, peer = connected()
    former = peer.srtp
    begins_again(peer, context=DtlsContext(ANOTHER, ("SRTP_AEAD_AES_128_GCM",)))
    assert peer.srtp is None
    peer.srtp = former
    assert heard(bench, peer, 1)
    begins_again(peer)
    assert heard(bench, peer, 2)


def test_an_ice_peer_that_leaves_a_handshake_is_heard_after_its_time() -> None:
    """The handshake is given up in the end, and takes no timer with it."""
    bench, leg, peer = connected()
    bench.deliver(HELLO)
    assert leg._deadline() is not None
    bench.clock.advance(WebRtcConfig().setup_timeout + 1)
    assert not leg._renewals.handshakes
    bench.socket.take(BROWSER)
    assert heard(bench, peer, 1)


def test_handshakes_that_fail_again_and_again_begin_no_more_until_an_exchange() -> None:
    """Each costs a signature; descriptions that are exchanged again allow for the next."""
    bench, leg, peer = connected()
    former = peer.srtp
    stranger = DtlsContext(ANOTHER, ("SRTP_AEAD_AES_128_GCM",))
    for _ in range(MOST_FAILED):
        begins_again(peer, context=stranger)
    bench.deliver(HELLO)
    assert bench.socket.take(BROWSER) == []
    peer.srtp = former
    assert heard(bench, peer, 1)
    leg.set_remote("peer", "p" * 22, PEER_CONTEXT.fingerprints, "passive")
    begins_again(peer)
    assert heard(bench, peer, 2)
