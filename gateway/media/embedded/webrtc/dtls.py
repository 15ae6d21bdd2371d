"""DTLS for SRTP keys (RFC 5763, 5764): a handshake driven by datagrams and `now`, nothing awaited.

OpenSSL does the handshake through memory buffers; the first retransmissions are ours, so
that they obey the clock that comes in as an argument and start before OpenSSL's one second.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from OpenSSL import SSL

from gateway.media.embedded.plane.srtp import SrtpKey, SrtpProfile, split_exported_keys
from gateway.media.embedded.webrtc.certificate import DtlsCertificate, fingerprint
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.dtls_records import (
    ALERT,
    APPLICATION_DATA,
    HANDSHAKE,
    LONGEST,
    RECORD_HEADER,
    SUITES,
    HelloFragments,
    Records,
    Secrets,
    Suite,
    split_records,
)
from sdp.attributes import Fingerprint

logger = logging.getLogger("gateway.media")
DTLS_1_2 = 0xFEFD
EXPORTER_LABEL = b"EXTRACTOR-dtls_srtp"

ALERTS = {
    0: "close_notify",
    10: "unexpected_message",
    20: "bad_record_mac",
    40: "handshake_failure",
    42: "bad_certificate",
    43: "unsupported_certificate",
    46: "certificate_unknown",
    47: "illegal_parameter",
    51: "decrypt_error",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
}
"""Names of the alerts a handshake may meet (RFC 5246 section 7.2)."""
_TOO_OLD = frozenset({"unsupported protocol", "version too low"})
"""OpenSSL's reasons for refusing a ClientHello of DTLS 1.0."""
CLOSE_NOTIFY, FATAL = b"\1\0", 2
FINISHED = 20
"""Type of the handshake message (RFC 5246 section 7.4.9)."""
_RANDOM = slice(27, 59)
"""Place of the random in a datagram that begins with a ClientHello (RFC 6347 section 4.3.2)."""
COOKIE_BYTES = 16
LONGEST_RETRANSMIT = 2.0
READ_SIZE = 4_096


class DtlsRole(StrEnum):
    """Which side of the handshake this is (RFC 5763 section 5)."""

    ACTIVE = "active"
    """The client: sends the ClientHello."""
    PASSIVE = "passive"
    """The server: waits for it."""


class DtlsState(StrEnum):
    """How far the association is."""

    HANDSHAKE = "handshake"
    CONNECTED = "connected"
    FAILED = "failed"
    CLOSED = "closed"


def is_client_hello(datagram: bytes) -> bool:
    """Tell whether a datagram begins with a ClientHello in the clear (RFC 6347 section 4.3.2)."""
    return datagram[:1] == bytes((HANDSHAKE,)) and datagram[3:5] == b"\0\0" and datagram[13:14] == b"\1"


def is_plaintext_alert(record: bytes) -> bool:
    """Whether anybody could have written this alert: it belongs to epoch 0."""
    return record[0] == ALERT and record[3:5] == b"\0\0"


class DtlsContext:
    """The certificate and the rules, shared by every association of the process.

    `profiles` are DTLS-SRTP profile names; raises SrtpKeyError for one that is not supported.
    """

    def __init__(
        self, certificate: DtlsCertificate, profiles: tuple[str, ...], kept: Sequence[DtlsCertificate] = ()
    ) -> None:
        """`kept`: certificates of former processes, for the associations that began with them."""
        self._kept = tuple([DtlsContext(each, profiles) for each in kept])
        self.profiles = tuple([SrtpProfile.from_dtls_name(name) for name in profiles])
        """Offered and taken in use_srtp, best first."""
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_min_proto_version(DTLS_1_2)
        context.set_max_proto_version(DTLS_1_2)
        context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_QUERY_MTU | SSL.OP_NO_RENEGOTIATION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_cipher_list(":".join(SUITES).encode())
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
        context.use_certificate(certificate.certificate)
        context.use_privatekey(certificate.key)
        context.set_tlsext_use_srtp(b":".join(profile.openssl_name.encode() for profile in self.profiles))
        context.set_cookie_generate_callback(_cookie)
        context.set_cookie_verify_callback(lambda connection, given: hmac.compare_digest(given, _cookie(connection)))
        self._context = context
        self.fingerprints = (("sha-256", certificate.fingerprint("sha-256")),)

    def of(self, fingerprints: Iterable[Fingerprint]) -> DtlsContext:
        """Return the context whose certificate has one of these fingerprints; this one where none has."""
        named = {(each.algorithm, each.digest) for each in fingerprints}
        return next((each for each in self._kept if not named.isdisjoint(each.fingerprints)), self)

    def shown(self, fingerprints: tuple[Fingerprint, ...]) -> tuple[Fingerprint, ...]:
        """Return these fingerprints where they are of a kept certificate, which goes on being shown; else none."""
        return () if self.of(fingerprints) is self else fingerprints

    def connection(self, role: DtlsRole, mtu: int) -> SSL.Connection:
        connection = SSL.Connection(self._context)
        connection.set_ciphertext_mtu(mtu)
        if role is DtlsRole.ACTIVE:
            connection.set_connect_state()
        else:
            connection.set_accept_state()
        return connection


def _verify(connection: SSL.Connection, certificate: Any, _error: int, depth: int, _ok: int) -> bool:
    """Trust is the fingerprint's alone (RFC 8122 section 6); chains and dates say nothing here."""
    association = connection.get_app_data()
    return depth > 0 or association.accepts(certificate.to_cryptography())


def _cookie(connection: SSL.Connection) -> bytes:
    """The cookie of the association that listens by this connection (RFC 6347 section 4.2.1)."""
    cookie: bytes = connection.get_app_data().cookie
    return cookie


class DtlsAssociation:
    """One handshake with one peer, and the little that follows it.

    Feed `receive` and `handle_timer`, then send what `datagrams_to_send` drains, and be
    back at `deadline`. Keys are there once `state` is CONNECTED.
    """

    def __init__(
        self,
        context: DtlsContext,
        role: DtlsRole,
        fingerprints: tuple[tuple[str, str], ...],
        config: WebRtcConfig,
    ) -> None:
        self.role = role
        self.fingerprints = fingerprints
        self.state = DtlsState.HANDSHAKE
        self.failure = ""
        """One sentence once `state` is FAILED."""
        self.trouble = ""
        """What last went wrong, be it a stranger's doing, while the handshake goes on."""
        self.deadline: float | None = None
        """When `handle_timer` wants to be called, None while nothing is pending."""
        self.send_key: SrtpKey | None = None
        self.receive_key: SrtpKey | None = None
        self.resets = 0
        self.ignored = 0
        """Records ignored: plaintext alerts, and whatever broke a handshake or came too late."""
        self._context = context
        self._config = config
        self._mismatch = False
        self._flight: list[bytes] = []
        self._pending: list[bytes] = []
        self._data: list[bytes] = []
        self._interval = config.dtls_retransmit
        self._retransmit_at: float | None = None
        self._alert: str = ""
        self._alert_deadline: float | None = None
        self._connection: SSL.Connection | None = self._first_connection()
        """Until the handshake is done; from then on there are `_records`."""
        self._records: Records | None = None

    def start(self, now: float) -> None:
        """Send the ClientHello when active; a passive side has nothing to say yet."""
        if self.role is DtlsRole.ACTIVE:
            self._advance(now)

    def receive(self, datagram: bytes, now: float) -> None:
        """Take one datagram from the *validated* address of the peer."""
        if self.state is DtlsState.HANDSHAKE:
            self._receive_handshake(datagram, now)
        elif self._records is not None:
            self._receive_connected(self._records, datagram)

    def handle_timer(self, now: float) -> None:
        """Retransmit the last flight or believe an alert, if `now` is late enough."""
        if self.state is not DtlsState.HANDSHAKE:
            return
        if self._alert_deadline is not None and now >= self._alert_deadline:
            self._fail(f"the peer sent the alert {self._alert}")
        elif self._retransmit_at is not None and now >= self._retransmit_at:
            # Repeating the very records is enough while they were lost; a peer that had them drops them as
            # replays, and then only OpenSSL, once its own second has passed, can write fresh ones.
            self._flight = self._fresh_flight() or self._flight
            self._pending.extend(self._flight)
            self._interval = min(2 * self._interval, LONGEST_RETRANSMIT)
            self._retransmit_at = now + self._interval
            self._set_deadline()

    def datagrams_to_send(self) -> list[bytes]:
        """Drain what is to be sent to the peer, each item one datagram of at most `mtu` bytes."""
        pending, self._pending = self._pending, []
        return pending

    def data_received(self) -> list[bytes]:
        """Drain the application data of the last datagram, a record each."""
        data, self._data = self._data, []
        return data

    def send(self, data: bytes) -> None:
        """Have application data sent, once the handshake is done; before and after it is dropped."""
        if self._records is None:
            return
        if len(data) > LONGEST:
            self.ignored += 1
        else:
            self._pending.append(self._records.seal(APPLICATION_DATA, data))

    def close(self) -> None:
        """Say close_notify if there is anybody to hear it, and forget the keys; idempotent."""
        if self._records is not None:
            self._pending.append(self._records.seal(ALERT, CLOSE_NOTIFY))
        if self.state is not DtlsState.FAILED:
            self.state = DtlsState.CLOSED
        self._forget()

    def accepts(self, certificate: Any) -> bool:
        """Whether the certificate is the one signalling promised."""
        algorithm = self.fingerprints[0][0] if self.fingerprints else ""
        self._mismatch = not algorithm or (algorithm, fingerprint(certificate, algorithm)) not in self.fingerprints
        return not self._mismatch

    def _first_connection(self) -> SSL.Connection | None:
        """The connection that the next datagram is for; None: the datagram makes one."""
        return self._new_connection()

    def _new_connection(self) -> SSL.Connection:
        connection = self._context.connection(self.role, self._config.mtu)
        connection.set_app_data(self)
        return connection

    def _receive_handshake(self, datagram: bytes, now: float) -> None:
        records = []
        for record in split_records(datagram):
            if is_plaintext_alert(record):
                self._note_alert(record, now)
            else:
                records.append(record)
        if records:
            self._take_records(b"".join(records), now)

    def _take_records(self, records: bytes, now: float) -> None:
        if self._connection is not None:
            self._connection.bio_write(records)
            self._advance(now)

    def _note_alert(self, record: bytes, now: float) -> None:
        # Anybody on the path could have written it, so it only counts when the handshake stays stuck.
        self.ignored += 1
        if len(record) == RECORD_HEADER + 2 and record[13] == 2 and self._alert_deadline is None:
            self._alert = ALERTS.get(record[14], str(record[14]))
            self.trouble = f"an alert said {self._alert}"
            self._alert_deadline = now + self._config.dtls_alert_grace
            self._set_deadline()

    def _advance(self, now: float) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            self._flush(now)
        except SSL.Error as error:
            self._broken(error, now)
        else:
            self._finish(connection)

    def _flush(self, now: float) -> None:
        output = self._read_output()
        if not output:
            return
        self._pending.extend(output)
        self._flight = output
        self._interval = self._config.dtls_retransmit
        self._retransmit_at = now + self._interval
        self._alert_deadline = None
        self._set_deadline()

    def _fresh_flight(self) -> list[bytes]:
        if self._connection is None:
            return []
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error:
            self.ignored += 1
        return self._read_output()

    def _set_deadline(self) -> None:
        times = [time for time in (self._retransmit_at, self._alert_deadline) if time is not None]
        self.deadline = min(times, default=None)

    def _broken(self, error: SSL.Error, now: float) -> None:
        if self._mismatch:
            self._pending.extend(self._read_output())
            self._fail("the peer's certificate does not match its fingerprint")
            return
        self.ignored += 1
        self.resets += 1
        trouble = _describe(error)
        if trouble in _TOO_OLD and not self._flight:
            # Whoever sends this has no other version to begin with, so the alert ends no handshake of the true peer.
            self._pending.extend(self._read_output())
            trouble = "the peer offers no DTLS 1.2"
            if self.trouble != trouble:
                logger.warning("a DTLS handshake is refused: %s", trouble)
        if self.resets > self._config.dtls_resets:
            self._fail(f"the DTLS handshake failed: {trouble}")
            return
        # Any other alert that OpenSSL has ready is thrown away: it would end the handshake of the true peer.
        self._connection = self._first_connection()
        self._flight = []
        self._retransmit_at = None
        self.trouble = trouble
        self._set_deadline()
        if self.role is DtlsRole.ACTIVE:
            self._advance(now)

    def _finish(self, connection: SSL.Connection) -> None:
        last = self._read_output()
        self._pending.extend(last)
        certificate = connection.get_peer_certificate(as_cryptography=True)
        if certificate is None or not self.accepts(certificate):
            self._fail("the peer's certificate does not match its fingerprint")
            return
        profile = SrtpProfile.from_openssl(connection.get_selected_srtp_profile().decode())
        if profile is None or profile not in self._context.profiles:
            self._fail("the peer agreed to no SRTP profile")
            return
        exported = connection.export_keying_material(EXPORTER_LABEL, 2 * (profile.key_length + profile.salt_length))
        client, server = split_exported_keys(profile, exported)
        self.send_key, self.receive_key = (client, server) if self.role is DtlsRole.ACTIVE else (server, client)
        self._records = Records(*_came_to(connection), is_client=self.role is DtlsRole.ACTIVE)
        self.state = DtlsState.CONNECTED
        self.deadline = self._retransmit_at = self._alert_deadline = None
        self._flight = last
        self._release()

    def _receive_connected(self, records: Records, datagram: bytes) -> None:
        """A repeated Finished draws our last flight again; close_notify ends it; data is kept for who wants it."""
        self._data.clear()  # what nobody drained nobody wants
        for record in split_records(datagram):
            opened = records.open(record)
            if opened is None:
                self.ignored += 1
            elif record[0] == APPLICATION_DATA:
                self._data.append(opened)
            elif record[0] == HANDSHAKE and opened[:1] == bytes((FINISHED,)):
                # It is authentic and new, and records that the peer had already are replays there.
                self._pending.extend(self._flight)
            elif record[0] == ALERT and opened == CLOSE_NOTIFY:
                self.state = DtlsState.CLOSED
                self._forget()
                return
            elif record[0] == ALERT and len(opened) == 2 and opened[0] == FATAL:
                self._fail(f"DTLS ended: the peer sent the alert {ALERTS.get(opened[1], str(opened[1]))}")
                return

    def _read_output(self) -> list[bytes]:
        """What OpenSSL wrote, cut at record borders and packed into datagrams."""
        written = b"" if self._connection is None else _written(self._connection)
        datagrams: list[bytes] = []
        for record in split_records(written):
            if datagrams and len(datagrams[-1]) + len(record) <= self._config.mtu:
                datagrams[-1] += record
            else:
                datagrams.append(record)
        return datagrams

    def _fail(self, reason: str) -> None:
        self.state = DtlsState.FAILED
        self.failure = reason
        self._forget()

    def _forget(self) -> None:
        self.deadline = self._retransmit_at = self._alert_deadline = None
        self.send_key = self.receive_key = self._records = None
        self._flight = []
        self._release()

    def _release(self) -> None:
        """OpenSSL's buffers are freed at once, not whenever the cycle collector comes by."""
        if self._connection is not None:
            self._connection.set_app_data(None)
            self._connection = None


class NextAssociation(DtlsAssociation):
    """A handshake that a peer with keys begins again on the same addresses; we are its server.

    A ClientHello draws a shorter HelloVerifyRequest and begins nothing until the cookie comes back (RFC 6347
    section 4.2.1).
    """

    def __init__(self, context: DtlsContext, fingerprints: tuple[tuple[str, str], ...], config: WebRtcConfig) -> None:
        self.cookie = os.urandom(COOKIE_BYTES)
        """Known to the address alone that the HelloVerifyRequest goes to."""
        self._random = b""
        """Of the ClientHello that has begun the handshake."""
        self._hello = HelloFragments()
        super().__init__(context, DtlsRole.PASSIVE, fingerprints, config)

    def _first_connection(self) -> SSL.Connection | None:
        return None

    def _take_records(self, records: bytes, now: float) -> None:
        if not is_client_hello(records):
            super()._take_records(records, now)
            return
        # OpenSSL answers no part of a ClientHello with a HelloVerifyRequest.
        wholes = [whole for record in split_records(records) if (whole := self._hello.add(record)) is not None]
        if wholes:
            self._take_hello(wholes[-1], now)

    def _take_hello(self, records: bytes, now: float) -> None:
        if self._connection is not None and records[_RANDOM] == self._random:
            super()._take_records(records, now)
            return
        connection = self._new_connection()
        connection.bio_write(records)
        try:
            connection.DTLSv1_listen()
        except SSL.WantReadError:
            self._pending += split_records(_written(connection))
        except SSL.Error:
            self.ignored += 1
        else:
            # Also in the place of a handshake that the peer has given up: its own word is the last one.
            self._connection, self._random = connection, records[_RANDOM]
            self._advance(now)
            return
        connection.set_app_data(None)


def _written(connection: SSL.Connection) -> bytes:
    """Everything that waits to be sent."""
    written = b""
    while True:
        try:
            written += connection.bio_read(READ_SIZE)
        except SSL.Error:
            return written


def _came_to(connection: SSL.Connection) -> tuple[Suite, Secrets]:
    """What a handshake that is done has agreed on."""
    randoms = connection.client_random() or b"", connection.server_random() or b""
    return SUITES[connection.get_cipher_name() or ""], Secrets(connection.master_key() or b"", *randoms)


def _describe(error: SSL.Error) -> str:
    """OpenSSL's last reason text, which names no secret."""
    entries = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return str(entries[-1][2]) if entries else type(error).__name__
