"""PINs as they are kept: what they hash to, never the digits."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from dataclasses import dataclass

_COST, _BLOCK, _OCTETS = 2**12, 8, 32
"""Of scrypt (RFC 7914): 4 MB and some 10 ms for one PIN."""
SALT_OCTETS = 16


@dataclass(frozen=True, slots=True)
class HashedPin:
    """A PIN that only whoever enters it knows."""

    length: int
    """Digits it has: the last one of them ends the entry."""
    salt: str
    """Hexadecimal, as `digest`."""
    digest: str

    @classmethod
    async def of(cls, pin: str, salt: bytes) -> HashedPin:
        """What is kept of `pin`."""
        return cls(len(pin), salt.hex(), await asyncio.to_thread(_digest, pin, salt))

    async def fits(self, given: str) -> bool:
        """Whether these are its digits."""
        digest = await asyncio.to_thread(_digest, given, bytes.fromhex(self.salt))
        return hmac.compare_digest(digest, self.digest)


@dataclass(frozen=True, slots=True)
class PlainPin:
    """A PIN that the configuration says."""

    pin: str

    @property
    def length(self) -> int:
        """Digits it has."""
        return len(self.pin)

    async def fits(self, given: str) -> bool:
        """Whether these are its digits."""
        return hmac.compare_digest(given.encode(), self.pin.encode())


Pin = HashedPin | PlainPin


def _digest(pin: str, salt: bytes) -> str:
    return hashlib.scrypt(pin.encode(), salt=salt, n=_COST, r=_BLOCK, p=1, dklen=_OCTETS).hex()
