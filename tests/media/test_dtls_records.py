"""What an association says once its handshake is done, beside OpenSSL that goes on saying it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL

from gateway.media.embedded.webrtc.certificate import fingerprint
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.dtls import ALERTS, DtlsAssociation, DtlsRole, DtlsState
from gateway.media.embedded.webrtc.dtls_records import ALERT, APPLICATION_DATA, HANDSHAKE, SUITES, Records, Secrets
from tests.media.webrtc_support import CONTEXT, PEER_CERTIFICATE
from tests.rows import by_row

WAYS = [(name, role) for name in SUITES for role in DtlsRole if "ECDSA" in name or role is DtlsRole.ACTIVE]
"""Our certificate is ECDSA, so that a peer's RSA suite is agreed on where the peer is the server."""
SECRETS = Secrets(bytes(48), bytes(32), bytes(range(32)))


class Peer:
    """Plain OpenSSL at the other end, which offers one cipher suite."""

    def __init__(self, suite: str, role: DtlsRole) -> None:
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_cipher_list(suite.encode())
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        context.set_tlsext_use_srtp(b"SRTP_AEAD_AES_128_GCM")
        certificate = PEER_CERTIFICATE.certificate
        key: rsa.RSAPrivateKey = PEER_CERTIFICATE.key  # type: ignore[assignment]
        if "RSA" in suite and "ECDSA" not in suite:
            key = rsa.generate_private_key(65537, 2048)
            name, now = x509.Name([]), datetime.now(UTC)
            made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            made = made.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
            certificate = made.sign(key, hashes.SHA256())
        context.use_certificate(certificate)
        context.use_privatekey(key)
        self.fingerprints = (("sha-256", fingerprint(certificate, "sha-256")),)
        self.connection = SSL.Connection(context)
        self.connection.set_ciphertext_mtu(1200)
        if role is DtlsRole.PASSIVE:
            self.connection.set_connect_state()
        else:
            self.connection.set_accept_state()

    def advance(self) -> None:
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            pass

    def output(self) -> bytes:
        try:
            return self.connection.bio_read(65536)
        except SSL.WantReadError:
            return b""


def connected(suite: str, role: DtlsRole) -> tuple[DtlsAssociation, Peer]:
    """An association in that role, with OpenSSL."""
    peer = Peer(suite, role)
    association = DtlsAssociation(CONTEXT, role, peer.fingerprints, WebRtcConfig())
    association.start(0)
    for _ in range(4):
        peer.advance()
        if said := peer.output():
            association.receive(said, 0)
        for datagram in association.datagrams_to_send():
            peer.connection.bio_write(datagram)
    peer.advance()
    assert association.state is DtlsState.CONNECTED, association.failure
    return association, peer


@by_row(("suite", "role"), WAYS)
def test_openssl_hears_us_and_we_hear_openssl(suite: str, role: DtlsRole) -> None:
    """In every suite and role: data both ways, and the end of either."""
    for ends in ("peer", "association"):
        association, peer = connected(suite, role)
        for text in (b"one", b"", b"x" * 1000):
            peer.connection.send(text or b"two")
            association.receive(peer.output(), 0)
            assert association.data_received() == [text or b"two"]
            association.send(text)
            for datagram in association.datagrams_to_send():
                peer.connection.bio_write(datagram)
            if text:
                assert peer.connection.recv(2000) == text
        if ends == "peer":
            peer.connection.shutdown()
            association.receive(peer.output(), 0)
            assert association.state is DtlsState.CLOSED
        else:
            association.close()
            [datagram] = association.datagrams_to_send()
            peer.connection.bio_write(datagram)
            with pytest.raises(SSL.ZeroReturnError):
                peer.connection.recv(100)


def test_a_repeated_finished_draws_the_last_flight_and_an_alert_ends_all() -> None:
    """Both only where they are authentic, and new: what is said twice is heard once."""
    association, _ = connected(next(iter(SUITES)), DtlsRole.PASSIVE)
    assert association._records is not None
    theirs = Records(association._records._suite, SECRETS, is_client=True)
    theirs._ours = association._records._peers
    finished = theirs.seal(HANDSHAKE, b"\x14" + bytes(23))
    association.receive(finished, 0)
    flight = association.datagrams_to_send()
    assert flight
    assert len(flight[0]) < 2 * len(finished)
    association.receive(finished, 0)
    association.receive(theirs.seal(HANDSHAKE, b"\1" + bytes(23)), 0)
    association.receive(theirs.seal(ALERT, b"\1\x5a"), 0)
    association.receive(theirs.seal(ALERT, b"\2"), 0)
    assert association.datagrams_to_send() == []
    assert not association.failure
    association.receive(theirs.seal(ALERT, b"\2\x28"), 0)
    assert association.state is DtlsState.FAILED
    assert association.failure == f"DTLS ended: the peer sent the alert {ALERTS[40]}"
    association.send(b"too late")
    association.close()
    assert association.datagrams_to_send() == []


@pytest.mark.parametrize("role", DtlsRole)
def test_no_number_comes_twice_however_often_openssl_has_repeated_its_own(role: DtlsRole) -> None:
    """A nonce that came twice would give the key away: ours begin where no handshake comes to."""
    association, _ = connected(next(iter(SUITES)), role)
    association.send(b"one")
    association.send(b"two")
    numbers = [int.from_bytes(each[5:11]) for each in association.datagrams_to_send()]
    assert numbers == [1 << 32, (1 << 32) + 1]


def test_what_is_longer_than_a_record_is_not_sent() -> None:
    """It is counted, and what comes after it goes out."""
    association, peer = connected(next(iter(SUITES)), DtlsRole.ACTIVE)
    association.send(bytes(16385))
    assert association.ignored == 1
    association.send(bytes(16384))
    [datagram] = association.datagrams_to_send()
    peer.connection.bio_write(datagram)
    assert peer.connection.recv(20000) == bytes(16384)


@by_row("suite", SUITES.values())
def test_each_record_is_opened_once_in_any_order_of_64(suite: object) -> None:
    """Later ones at any distance, none older than the window, none that was changed, cut or is of another epoch."""
    client = Records(suite, SECRETS, is_client=True)  # type: ignore[arg-type]
    server = Records(suite, SECRETS, is_client=False)  # type: ignore[arg-type]
    sealed = [client.seal(APPLICATION_DATA, bytes([number])) for number in range(200)]
    order = list(range(64))
    random.Random(1).shuffle(order)
    assert [server.open(sealed[number]) for number in order] == [bytes([number]) for number in order]
    assert all(server.open(sealed[number]) is None for number in order)
    assert server.open(sealed[150]) == b"\x96"
    assert server.open(sealed[150 - 63]) == b"\x57"
    assert server.open(sealed[150 - 64]) is None
    record = sealed[199]
    for at in range(len(record)):
        if at not in (11, 12):  # its own length, by which it was cut out of the datagram
            assert server.open(record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :]) is None
    assert all(server.open(record[:length]) is None for length in range(13, len(record)))
    assert client.open(record) is None
    assert server.open(record) == b"\xc7"
