"""SRTP keys that a flow has sent with: no index is used twice under any of them."""

from __future__ import annotations

import hashlib

from gateway.media.embedded.plane.srtp import MAX_SEND_KEYS, SendContext, SrtpKey

MAX_SPENT_KEYS = 4096
"""Keys of one flow that are refused for good; with as many, every new one is."""


class SendKeys:
    """Contexts of the keys used last; of older keys a digest, by which they are refused."""

    __slots__ = ("_known", "_spent", "_unsent")

    def __init__(self, unsent: dict[str, int]) -> None:
        """`unsent`: counters of the flow."""
        self._unsent = unsent
        self._known: dict[SrtpKey, SendContext] = {}
        self._spent: set[bytes] = set()

    @property
    def is_empty(self) -> bool:
        return not self._known

    def context(self, key: SrtpKey) -> SendContext | None:
        """Return the context of a key, which continues where it stopped; None for a key that is spent."""
        known = self._known.pop(key, None)
        if known is None:
            if _digest(key) in self._spent or len(self._spent) >= MAX_SPENT_KEYS:
                return None
            if len(self._known) >= MAX_SEND_KEYS:
                oldest = next(iter(self._known))
                del self._known[oldest]
                self._spent.add(_digest(oldest))
            known = SendContext(key, self._unsent)
        self._known[key] = known
        return known


def _digest(key: SrtpKey) -> bytes:
    return hashlib.blake2b(key.profile.name.encode() + key.material, digest_size=16).digest()
