"""SRTP written a second time, by the text of the RFCs."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.media.embedded.plane.srtp import SrtpKey


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def reference_rtp(session_key: bytes, salt: bytes, packet: bytes) -> bytes:
    """RFC 7714 section 8 with a 12-byte header and rollover counter 0."""
    iv = xor(bytes(2) + packet[8:12] + bytes(4) + packet[2:4], salt)
    return packet[:12] + AESGCM(session_key).encrypt(iv, packet[12:], packet[:12])


def derive(secret: SrtpKey, label: int, length: int) -> bytes:
    """RFC 3711 section 4.3 with a key derivation rate of 0; a 96-bit salt is padded (RFC 7714 section 11)."""
    master, salt = secret.material[: secret.profile.key_length], secret.material[secret.profile.key_length :]
    salt = salt + bytes(14 - len(salt))
    counter = xor(salt, bytes(7) + bytes([label]) + bytes(6)) + bytes(2)
    return Cipher(algorithms.AES(master), modes.CTR(counter)).encryptor().update(bytes(length))
