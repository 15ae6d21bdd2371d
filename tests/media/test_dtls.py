"""DTLS associations end to end in memory: loss, alerts, junk and wrong certificates."""

from __future__ import annotations

import gc
import random
import time
import weakref
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from gateway.media.embedded.plane.srtp import SrtpKeyError, SrtpProfile
from gateway.media.embedded.webrtc.certificate import DtlsCertificate, usable_fingerprints
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.dtls import DtlsAssociation, DtlsContext, DtlsRole, DtlsState
from gateway.media.embedded.webrtc.dtls_records import split_records
from tests.media.dtls_support import (
    CLIENT_HELLO_1_0,
    CLIENT_HELLO_NULL_CIPHER,
    CLOSE_NOTIFY,
    FATAL_ALERT,
    PROTOCOL_VERSION_ALERT,
)
from tests.media.webrtc_support import CERTIFICATE, CONTEXT, PEER_CERTIFICATE, PEER_CONTEXT
from tests.rows import by_row

CONFIG = WebRtcConfig()


def pair(
    client_fingerprints: tuple[tuple[str, str], ...] = CONTEXT.fingerprints,
    server_fingerprints: tuple[tuple[str, str], ...] = PEER_CONTEXT.fingerprints,
) -> tuple[DtlsAssociation, DtlsAssociation]:
    """A client (the peer) and a server (the gateway), each told what to expect of the other."""
    client = DtlsAssociation(PEER_CONTEXT, DtlsRole.ACTIVE, client_fingerprints, CONFIG)
    server = DtlsAssociation(CONTEXT, DtlsRole.PASSIVE, server_fingerprints, CONFIG)
    return client, server


def exchange(client: DtlsAssociation, server: DtlsAssociation, now: float = 0, lose: set[int] | None = None) -> int:
    """Carry datagrams until silence, losing those whose running number is in `lose`; returns how many there were."""
    count = 0
    while True:
        moved = False
        for sender, receiver in ((client, server), (server, client)):
            for datagram in sender.datagrams_to_send():
                moved = True
                if count not in (lose or set()):
                    receiver.receive(datagram, now)
                count += 1
        if not moved:
            return count


def run(client: DtlsAssociation, server: DtlsAssociation, until: float = 10) -> float:
    """Turn the clock from deadline to deadline until both are done; returns the time."""
    now = 0.0
    while {client.state, server.state} != {DtlsState.CONNECTED}:
        deadlines = [a.deadline for a in (client, server) if a.deadline is not None]
        if not deadlines or min(deadlines) > until:
            return now
        now = min(deadlines)
        client.handle_timer(now)
        server.handle_timer(now)
        exchange(client, server, now)
    return now


def test_both_ends_come_to_the_same_keys() -> None:
    """One end's send key is the other's receive key, and AES-128-GCM is preferred."""
    client, server = pair()
    client.start(0)
    exchange(client, server)
    assert client.state is server.state is DtlsState.CONNECTED
    assert client.send_key == server.receive_key
    assert client.receive_key == server.send_key
    assert client.send_key is not None
    assert client.send_key != client.receive_key
    assert client.send_key.profile is SrtpProfile.AEAD_AES_128_GCM
    assert client.deadline is server.deadline is None


@by_row("profile", [each for each in SrtpProfile if each.dtls_name])
def test_the_settings_decide_which_srtp_profile_is_agreed_on(profile: SrtpProfile) -> None:
    """A gateway that takes one profile only gets that one from a peer that offers all."""
    everything = DtlsContext(PEER_CERTIFICATE, tuple(each.dtls_name for each in SrtpProfile if each.dtls_name))
    one = DtlsContext(CERTIFICATE, (profile.dtls_name,))
    client = DtlsAssociation(everything, DtlsRole.ACTIVE, one.fingerprints, CONFIG)
    server = DtlsAssociation(one, DtlsRole.PASSIVE, everything.fingerprints, CONFIG)
    client.start(0)
    exchange(client, server)
    assert client.send_key == server.receive_key
    assert client.send_key is not None
    assert client.send_key.profile is profile


def test_an_unknown_profile_in_the_settings_is_refused() -> None:
    """Nothing starts with a profile that could never be agreed on."""
    with pytest.raises(SrtpKeyError):
        DtlsContext(CERTIFICATE, ("SRTP_NULL_HMAC_SHA1_80",))


def test_every_datagram_stays_within_the_mtu() -> None:
    """Flights are cut at record borders and never longer than the setting."""
    config = WebRtcConfig(mtu=400)
    server = DtlsAssociation(CONTEXT, DtlsRole.PASSIVE, PEER_CONTEXT.fingerprints, config)
    client = DtlsAssociation(PEER_CONTEXT, DtlsRole.ACTIVE, CONTEXT.fingerprints, config)
    client.start(0)
    sizes = []
    for _ in range(6):
        for sender, receiver in ((client, server), (server, client)):
            for datagram in sender.datagrams_to_send():
                sizes.append(len(datagram))
                assert b"".join(split_records(datagram)) == datagram
                receiver.receive(datagram, 0)
    assert client.state is server.state is DtlsState.CONNECTED
    assert max(sizes) <= 400
    assert len(sizes) > 4


@by_row("lost", [0, 1, 2])
def test_a_lost_flight_is_sent_again_after_150_ms(lost: int) -> None:
    """ClientHello, ServerHello and the client's Finished each survive being lost once."""
    client, server = pair()
    client.start(0)
    exchange(client, server, lose={lost})
    assert DtlsState.HANDSHAKE in (client.state, server.state)
    assert run(client, server) == pytest.approx(0.15)
    assert client.state is server.state is DtlsState.CONNECTED


def test_retransmission_backs_off_to_two_seconds() -> None:
    """0.15, 0.3, 0.6, 1.2, then every 2 s (RFC 6347 section 4.2.4.1 with a shorter start)."""
    client, _ = pair()
    client.start(0)
    first = client.datagrams_to_send()
    times = []
    now = 0.0
    while now < 8:
        assert client.deadline is not None
        now = client.deadline
        client.handle_timer(now)
        assert client.datagrams_to_send() == first
        times.append(round(now, 2))
    assert times == [0.15, 0.45, 1.05, 2.25, 4.25, 6.25, 8.25]


def test_a_timer_that_fires_early_sends_nothing() -> None:
    """Only a `now` at or past the deadline counts."""
    client, _ = pair()
    client.start(0)
    client.datagrams_to_send()
    client.handle_timer(0.149)
    assert client.datagrams_to_send() == []


def test_a_lost_last_flight_is_drawn_again_by_a_repeated_finished() -> None:
    """The server is done, its last flight was lost: the client's repetition brings it again.

    OpenSSL drops exact copies as replays and writes fresh records by its own clock of one
    second, the only place where this room meets a real clock.
    """
    client, server = pair()
    client.start(0)
    exchange(client, server, lose={3})
    assert server.send_key is not None
    assert client.send_key is None
    began = time.monotonic()
    now = 0.0
    while client.send_key is None and time.monotonic() - began < 5:
        now += 0.05
        time.sleep(0.05)  # OpenSSL reads the system's clock
        client.handle_timer(now)
        exchange(client, server, now)
    assert client.send_key == server.receive_key


@by_row("junk", [FATAL_ALERT, CLOSE_NOTIFY, b"\x16junk", b"\x14" * 40, bytes(14), CLIENT_HELLO_NULL_CIPHER])
@by_row("step", [0, 1, 2, 3])
def test_junk_at_any_step_does_not_end_the_call(junk: bytes, step: int) -> None:
    """An alert, a close_notify or noise, forged into either side at any step: they still connect."""
    client, server = pair()
    client.start(0)
    for turn in range(4):
        if turn == step:
            if junk is not CLIENT_HELLO_NULL_CIPHER:
                client.receive(junk, 0)
            server.receive(junk, 0)
        sender, receiver = ((client, server), (server, client))[turn % 2]
        for datagram in sender.datagrams_to_send():
            receiver.receive(datagram, 0)
    exchange(client, server)
    if junk is not CLIENT_HELLO_NULL_CIPHER or step < 2:
        run(client, server)
        assert client.state is server.state is DtlsState.CONNECTED
    assert server.failure == ""


def test_a_hello_without_a_common_cipher_does_not_take_the_place_of_the_true_one() -> None:
    """The handshake starts afresh, and no alert goes out to the true peer."""
    client, server = pair()
    server.receive(CLIENT_HELLO_NULL_CIPHER, 0)
    assert server.datagrams_to_send() == []
    assert server.resets == 1
    client.start(0)
    exchange(client, server)
    assert client.state is server.state is DtlsState.CONNECTED


def test_a_client_hello_of_dtls_1_0_gets_an_alert_and_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    """The alert goes out before a handshake has begun, and never into one; the log has one line for many hellos."""
    client, server = pair()
    for _ in range(2):
        server.receive(CLIENT_HELLO_1_0, 0)
        assert server.datagrams_to_send() == [PROTOCOL_VERSION_ALERT]
    assert len(PROTOCOL_VERSION_ALERT) <= len(CLIENT_HELLO_1_0)
    assert caplog.messages == ["a DTLS handshake is refused: the peer offers no DTLS 1.2"]
    assert server.trouble == "the peer offers no DTLS 1.2"
    client.start(0)
    (hello,) = client.datagrams_to_send()
    server.receive(hello, 0)
    server.receive(CLIENT_HELLO_1_0, 0)
    assert PROTOCOL_VERSION_ALERT not in server.datagrams_to_send()
    run(client, server)
    assert client.state is server.state is DtlsState.CONNECTED


def test_a_handshake_broken_again_and_again_fails_with_the_reason() -> None:
    """Resets are bounded."""
    _, server = pair()
    for _ in range(CONFIG.dtls_resets + 1):
        server.receive(CLIENT_HELLO_NULL_CIPHER, 0)
    assert server.state is DtlsState.FAILED
    assert "cipher" in server.failure
    server.receive(CLIENT_HELLO_NULL_CIPHER, 0)
    assert server.datagrams_to_send() == []


def test_an_alert_is_believed_when_the_handshake_stays_stuck() -> None:
    """Three seconds without any progress after a fatal alert, and the alert is the reason."""
    client, _ = pair()
    client.start(0)
    client.receive(FATAL_ALERT, 1)
    client.handle_timer(3.9)
    assert client.failure == ""
    client.handle_timer(4)
    assert client.state is DtlsState.FAILED
    assert client.failure == "the peer sent the alert handshake_failure"


def test_a_certificate_signalling_did_not_promise_fails_both_ends() -> None:
    """Whichever side is lied to, no keys come out, and the other side is told."""
    wrong = (("sha-256", ":".join(["00"] * 32)),)
    for options in ({"client_fingerprints": wrong}, {"server_fingerprints": wrong}):
        client, server = pair(**options)
        client.start(0)
        exchange(client, server)
        deceived = client if "client_fingerprints" in options else server
        assert deceived.state is DtlsState.FAILED
        assert deceived.failure == "the peer's certificate does not match its fingerprint"
        assert client.send_key is None
        assert server.send_key is None


def test_a_peer_without_a_certificate_gets_no_keys() -> None:
    """The client must show one, whatever its fingerprint line says."""
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_tlsext_use_srtp(b"SRTP_AEAD_AES_128_GCM")
    anonymous = SSL.Connection(context)
    anonymous.set_connect_state()
    _, server = pair()
    for _ in range(CONFIG.dtls_resets + 1):
        for _ in range(3):
            with pytest.raises(SSL.Error):
                anonymous.do_handshake()
            try:
                server.receive(anonymous.bio_read(65536), 0)
            except SSL.WantReadError:
                break
            for datagram in server.datagrams_to_send():
                anonymous.bio_write(datagram)
    assert server.state is not DtlsState.CONNECTED
    assert server.resets >= 1
    assert server.send_key is None


def test_a_peer_without_srtp_fails() -> None:
    """No use_srtp, no media keys (RFC 5764 section 4.1)."""
    context = SSL.Context(SSL.DTLS_METHOD)
    context.use_certificate(PEER_CERTIFICATE.certificate)
    context.use_privatekey(PEER_CERTIFICATE.key)
    plain = SSL.Connection(context)
    plain.set_connect_state()
    _, server = pair()
    for _ in range(4):
        try:
            plain.do_handshake()
        except SSL.Error:
            pass
        try:
            server.receive(plain.bio_read(65536), 0)
        except SSL.WantReadError:
            break
        for datagram in server.datagrams_to_send():
            plain.bio_write(datagram)
    assert server.state is DtlsState.FAILED
    assert server.failure == "the peer agreed to no SRTP profile"


@by_row("algorithm", ["sha-256", "sha-384", "sha-512", "SHA-256"])
def test_every_supported_hash_is_checked(algorithm: str) -> None:
    """RFC 8122 section 5: strongest understood function decides, in any case of letters."""
    text = PEER_CERTIFICATE.fingerprint(algorithm.lower()).lower()
    usable = usable_fingerprints((("sha-1", "00"), (algorithm, text)))
    client, server = pair(server_fingerprints=usable)
    client.start(0)
    exchange(client, server)
    assert server.state is DtlsState.CONNECTED


def test_of_several_fingerprints_of_one_hash_any_may_match() -> None:
    """A description may promise several certificates; a stronger hash outranks a weaker one."""
    own = PEER_CERTIFICATE.fingerprint("sha-256")
    other = CERTIFICATE.fingerprint("sha-256")
    assert usable_fingerprints((("sha-256", other), ("sha-256", own))) == tuple(
        sorted((("sha-256", other), ("sha-256", own)))
    )
    strong = ("sha-512", PEER_CERTIFICATE.fingerprint("sha-512"))
    assert usable_fingerprints((("sha-256", other), strong)) == (strong,)
    assert usable_fingerprints((("sha-1", "AA"), ("sha-256", "short"))) == ()


def test_close_notify_reaches_the_other_end() -> None:
    """Closing says so once; the other end is closed, and keys are gone on both."""
    client, server = pair()
    client.start(0)
    exchange(client, server)
    client.close()
    client.close()
    exchange(client, server)
    assert client.state is server.state is DtlsState.CLOSED
    assert client.send_key is server.send_key is None


@by_row("end", ["close", "fail", "peer closes"])
def test_an_ended_association_is_freed_at_once(end: str) -> None:
    """Its buffers do not wait for the cycle collector."""
    client, server = pair()
    client.start(0)
    assert server._connection is not None
    connection = weakref.ref(server._connection)
    if end == "fail":
        for _ in range(CONFIG.dtls_resets + 1):
            server.receive(CLIENT_HELLO_NULL_CIPHER, 0)
    else:
        exchange(client, server)
        (client if end == "peer closes" else server).close()
        exchange(client, server)
    assert server.send_key is None
    gc.disable()
    try:
        del server
        assert connection() is None
    finally:
        gc.enable()


@by_row("junk", [FATAL_ALERT, CLOSE_NOTIFY, CLIENT_HELLO_NULL_CIPHER, b"\x17" * 60])
def test_junk_after_the_handshake_changes_nothing(junk: bytes) -> None:
    """Epoch 0 means nothing any more."""
    client, server = pair()
    client.start(0)
    exchange(client, server)
    for association in (client, server):
        for _ in range(100):
            association.receive(junk, 1)
        assert association.state is DtlsState.CONNECTED
        assert association.datagrams_to_send() == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=200).map(lambda b: b"\x16\xfe\xfd" + b), max_size=6))
def test_noise_never_raises_and_never_yields_keys(datagrams: list[bytes]) -> None:
    """Handshake-like bytes from a stranger's pen."""
    client, server = pair()
    client.start(0)
    client.datagrams_to_send()
    for datagram in datagrams:
        for association in (client, server):
            association.receive(datagram, 0)
            association.handle_timer(1)
            association.datagrams_to_send()
    assert client.send_key is None
    assert server.send_key is None


def test_application_data_is_kept_until_the_next_datagram() -> None:
    """For who wants it; where nobody drains it (phones have no data channels) it fills no memory."""
    client, server = pair()
    client.start(0)
    exchange(client, server)
    for number in range(10):
        client.send(b"sctp %d" % number)
        for datagram in client.datagrams_to_send():
            server.receive(datagram, 0)
    assert server.data_received() == [b"sctp 9"]
    assert server.data_received() == []
    assert server.ignored == 0
    assert server.state is DtlsState.CONNECTED


def test_a_connected_association_outlives_noise_of_its_own_epoch() -> None:
    """Forged records of epoch 1, of every type: dropped, answered with silence."""
    client, server = pair()
    client.start(0)
    exchange(client, server)
    noise = random.Random(3)
    for kind in (20, 21, 22, 23, 24, 25, 63):
        for sequence in range(50):
            record = bytes([kind]) + b"\xfe\xfd\0\1" + sequence.to_bytes(6) + b"\0\x30" + noise.randbytes(48)
            server.receive(record, 0)
    assert server.state is DtlsState.CONNECTED
    assert server.datagrams_to_send() == []
    client.send(b"still here")
    [datagram] = client.datagrams_to_send()
    server.receive(datagram, 0)
    assert server.data_received() == [b"still here"]


def test_dtls_1_0_is_refused() -> None:
    """Only DTLS 1.2 is spoken (RFC 8827 section 6.5)."""
    old = SSL.Context(SSL.DTLS_METHOD)
    old.set_cipher_list(b"ALL:@SECLEVEL=0")
    old.set_max_proto_version(0xFEFF)
    connection = SSL.Connection(old)
    connection.set_connect_state()
    with pytest.raises(SSL.Error):
        connection.do_handshake()
    _, server = pair()
    server.receive(connection.bio_read(65536), 0)
    assert server.datagrams_to_send() == [PROTOCOL_VERSION_ALERT]
    assert server.resets == 1


def test_the_certificate_is_p256_and_valid_long_enough() -> None:
    """Valid from a day before to the lifetime asked for; the key stays out of repr."""
    now = datetime.now(UTC)
    made = DtlsCertificate.generate(now, timedelta(days=365), "name")
    assert made.key.curve.name == "secp256r1"
    assert made.certificate.not_valid_before_utc <= now - timedelta(hours=23)
    assert made.certificate.not_valid_after_utc >= now + timedelta(days=364)
    assert "key" not in repr(made)
    assert DtlsContext(made, CONFIG.srtp_profiles).fingerprints == (("sha-256", made.fingerprint()),)
