"""Globally routable URIs of a user's devices (GRUU, RFC 5627)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.identity.model import Binding
from gateway.sip.errors import SipSyntaxError
from gateway.sip.message.uri import Uri

_PREFIX = "tgruu."
_NONCE_BYTES, _DIGEST_BYTES = 12, 8
_PUBLIC, _TEMPORARY = "device:", "registration:"


class Gruus:
    """Makes GRUUs for registered contacts, and resolves GRUUs in requests.

    A public GRUU contains user and instance. A temporary GRUU hides both, sealed with the Call-ID by AES-GCM (RFC 5627
    appendix A.2 seals a counter). No state is kept: all temporary GRUUs hold until the device registers with a new
    Call-ID, also over restarts.
    """

    def __init__(self, domain: str, key: bytes, random: Callable[[int], bytes]) -> None:
        """`key` has 32 bytes; `random` returns the given number of random bytes."""
        self._domain = domain.lower()
        self._cipher = AESGCM(key)
        self._random = random

    def of(self, binding: Binding) -> tuple[tuple[str, str], ...]:
        """Return the Contact parameters pub-gruu and temp-gruu of a binding (section 5.3); () without an instance."""
        if binding.instance is None:
            return ()
        aor = Uri.parse(binding.aor)
        nonce = self._random(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, _digest(binding) + (aor.user or "").encode(), self._domain.encode())
        token = base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")
        temporary = Uri.of(_PREFIX + token, aor.host).with_param("gr")
        return ("pub-gruu", str(aor.with_param("gr", binding.instance))), ("temp-gruu", str(temporary))

    def read(self, text: str) -> tuple[str, str] | None:
        """Return address of record and device (for `fits`) of a GRUU; None for any other text.

        Never raises, because the text is a dialled string.
        """
        if "gr" not in text or "@" not in text:
            return None
        try:
            uri = Uri.parse(text)
        except SipSyntaxError:
            return None
        gr = uri.param("gr") if uri.is_sip else None
        if gr is None or uri.host.lower() != self._domain or not uri.user:
            return None
        aor = Uri("sip", uri.user, self._domain)
        if gr:
            return str(aor), _PUBLIC + gr
        return self._opened(uri.user)

    def _opened(self, user: str) -> tuple[str, str] | None:
        if not user.startswith(_PREFIX):
            return None
        token = user.removeprefix(_PREFIX)
        try:
            whole = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            sealed = self._cipher.decrypt(whole[:_NONCE_BYTES], whole[_NONCE_BYTES:], self._domain.encode())
            name = sealed[_DIGEST_BYTES:].decode()
        except (InvalidTag, binascii.Error, ValueError):
            return None
        return str(Uri("sip", name, self._domain)), _TEMPORARY + sealed[:_DIGEST_BYTES].hex()


def fits(device: str, binding: Binding) -> bool:
    """Return True if a binding belongs to a device returned by `Gruus.read`."""
    if binding.instance is None:
        return False
    return device in (_PUBLIC + binding.instance, _TEMPORARY + _digest(binding).hex())


def is_temporary(device: str) -> bool:
    """Return True for a device named by a temporary GRUU."""
    return device.startswith(_TEMPORARY)


def _digest(binding: Binding) -> bytes:
    """Return the digest that identifies a device's registration."""
    text = f"{binding.instance}\n{binding.call_id}"
    return hashlib.blake2s(text.encode("utf-8", "replace"), digest_size=_DIGEST_BYTES).digest()
