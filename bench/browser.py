"""The browser's end of a call, up to its keys: ICE as the controlling agent, DTLS as the client.

Independent of the gateway's own code on purpose: STUN is aioice's, the key derivation is written from the RFC.
One socket a call; once the keys are known the load generator takes it over.
"""

from __future__ import annotations

import datetime
import secrets
import socket
import time
from dataclasses import dataclass, field
from typing import Final

from aioice import stun
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from bench.generator import SessionKey
from sdp import SessionDescription

PROFILE: Final = b"SRTP_AEAD_AES_128_GCM"
_KEY, _SALT = 16, 12
_PATIENCE: Final = 10.0
"""Seconds that ICE and DTLS may take together."""
_AGAIN: Final = 0.5
"""Seconds after which a check or a flight is sent again."""


class BrowserError(RuntimeError):
    """ICE or DTLS did not come up."""


@dataclass(slots=True)
class Identity:
    """The certificate that all browsers of a run share, and the DTLS settings made of it."""

    context: SSL.Context
    fingerprint: str

    @classmethod
    def make(cls) -> Identity:
        """A fresh one: ECDSA P-256, a day."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        context = SSL.Context(SSL.DTLS_METHOD)
        context.use_certificate(certificate)
        context.use_privatekey(key)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        context.set_tlsext_use_srtp(PROFILE)
        return cls(context, certificate.fingerprint(hashes.SHA256()).hex(":").upper())


@dataclass(slots=True)
class Browser:
    """One leg: its offer, then `connect` with the answer."""

    identity: Identity
    payload_types: str = "0"
    rtpmaps: tuple[str, ...] = ("0 PCMU/8000",)
    socket: socket.socket = field(init=False)
    ufrag: str = field(init=False)
    password: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.ufrag, self.password = secrets.token_hex(4), secrets.token_hex(12)

    def offer(self) -> str:
        """As a browser writes it, audio alone."""
        port = self.socket.getsockname()[1]
        lines = [
            "v=0",
            f"o=- {secrets.randbits(62)} 2 IN IP4 127.0.0.1",
            "s=-",
            "t=0 0",
            "a=group:BUNDLE 0",
            f"m=audio {port} UDP/TLS/RTP/SAVPF {self.payload_types}",
            "c=IN IP4 127.0.0.1",
            f"a=candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host",
            f"a=ice-ufrag:{self.ufrag}",
            f"a=ice-pwd:{self.password}",
            f"a=fingerprint:sha-256 {self.identity.fingerprint}",
            "a=setup:actpass",
            "a=mid:0",
            "a=sendrecv",
            "a=rtcp-mux",
            *[f"a=rtpmap:{each}" for each in self.rtpmaps],
        ]
        return "".join(f"{line}\r\n" for line in lines)

    def connect(self, answer: SessionDescription) -> Connected:
        """Do ICE and DTLS with who answered; blocks for at most 10 s, raises BrowserError."""
        audio = answer.media[0]
        ufrag, password = audio.value("ice-ufrag"), audio.value("ice-pwd")
        candidate = next((each for each in audio.candidates if each.component == 1), None)
        if ufrag is None or password is None or candidate is None:
            raise BrowserError("the answer has no ICE credentials or no candidate")
        return _Connecting(self, f"{ufrag}:{self.ufrag}", password, (candidate.address, candidate.port)).run()


@dataclass(frozen=True, slots=True)
class Connected:
    """What the load generator needs of a leg."""

    remote: tuple[str, int]
    send: SessionKey
    receive: SessionKey
    consent: bytes
    """A Binding request that may be sent again and again."""


class _Connecting:
    def __init__(self, browser: Browser, username: str, password: str, remote: tuple[str, int]) -> None:
        self._browser, self._socket, self._remote = browser, browser.socket, remote
        self._username, self._password = username, password.encode()
        self._nominated = False
        self._ssl = SSL.Connection(browser.identity.context, None)
        self._ssl.set_connect_state()
        self._ssl.set_ciphertext_mtu(1200)

    def run(self) -> Connected:
        deadline = time.monotonic() + _PATIENCE
        self._socket.settimeout(_AGAIN)
        check = self._check()
        self._send(check)
        while not self._step():
            if time.monotonic() > deadline:
                raise BrowserError("DTLS did not come up" if self._nominated else "no check was answered")
            try:
                self._take(self._socket.recv(4096))
            except TimeoutError:
                if not self._nominated:
                    self._send(check)
                else:
                    self._ssl.DTLSv1_handle_timeout()
        return self._connected(check)

    def _send(self, datagram: bytes) -> None:
        self._socket.sendto(datagram, self._remote)

    def _check(self) -> bytes:
        """A Binding request that nominates the pair (RFC 8445 section 7.2.2)."""
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        request.attributes["USERNAME"] = self._username
        request.attributes["PRIORITY"] = 1845501695
        request.attributes["ICE-CONTROLLING"] = secrets.randbits(63)
        request.attributes["USE-CANDIDATE"] = None
        request.add_message_integrity(self._password)
        return bytes(request)

    def _take(self, datagram: bytes) -> None:
        if not datagram:
            return
        if datagram[0] < 4:
            self._take_stun(datagram)
        elif 20 <= datagram[0] < 64:
            self._ssl.bio_write(datagram)

    def _take_stun(self, datagram: bytes) -> None:
        message = stun.parse_message(datagram)
        if message.message_class is stun.Class.RESPONSE:
            self._nominated = True
        elif message.message_class is stun.Class.REQUEST:
            response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, message.transaction_id)
            response.attributes["XOR-MAPPED-ADDRESS"] = self._remote
            response.add_message_integrity(self._browser.password.encode())
            self._send(bytes(response))

    def _step(self) -> bool:
        """Drive the handshake as far as it goes; whether it is done."""
        if not self._nominated:
            return False
        try:
            self._ssl.do_handshake()
            done = True
        except SSL.WantReadError:
            done = False
        except SSL.Error as error:
            raise BrowserError(f"DTLS failed: {error}") from None
        try:
            while flight := self._ssl.bio_read(4096):
                self._send(flight)
        except SSL.WantReadError:
            pass
        return done

    def _connected(self, check: bytes) -> Connected:
        if self._ssl.get_selected_srtp_profile() != PROFILE:
            raise BrowserError("another SRTP profile than AES-GCM was chosen")
        material = self._ssl.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (_KEY + _SALT), None)
        client, server, rest = material[:_KEY], material[_KEY : 2 * _KEY], material[2 * _KEY :]
        self._socket.setblocking(False)
        return Connected(self._remote, session_key(client, rest[:_SALT]), session_key(server, rest[_SALT:]), check)


def session_key(master: bytes, salt: bytes) -> SessionKey:
    """The RTP session key and salt of a master key and salt (RFC 3711 section 4.3, RFC 7714 section 11)."""

    def derived(label: int, octets: int) -> bytes:
        block = bytearray(salt.ljust(14, b"\0") + b"\0\0")
        block[7] ^= label
        encryptor = Cipher(algorithms.AES(master), modes.CTR(bytes(block))).encryptor()
        return encryptor.update(bytes(octets))

    return SessionKey(key=derived(0, len(master)), salt=derived(2, len(salt)))
