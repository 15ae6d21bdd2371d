"""Both contexts of one end, for peers in tests."""

from __future__ import annotations

import random

from gateway.media.embedded.plane.srtp import ReceiveContext, SendContext, SrtpKey, SrtpProfile

PROFILES = list(SrtpProfile)


class SrtpSession:
    """What one peer protects with and what it opens with."""

    def __init__(self, send: SrtpKey, receive: SrtpKey, max_ssrcs: int = 32) -> None:
        self.discarded: dict[str, int] = {}
        self._max_ssrcs = max_ssrcs
        self._send = SendContext(send, self.discarded)
        self._receive = ReceiveContext(receive, self.discarded, max_ssrcs)
        self.protect, self.protect_rtcp = self._send.protect, self._send.protect_rtcp
        self.unprotect, self.unprotect_rtcp = self._receive.unprotect, self._receive.unprotect_rtcp


def key(profile: SrtpProfile, seed: int) -> SrtpKey:
    return SrtpKey.generate(profile, random.Random(seed).randbytes)


def sessions(profile: SrtpProfile, max_ssrcs: int = 32) -> tuple[SrtpSession, SrtpSession]:
    """Two ends that understand each other."""
    one, two = key(profile, 1), key(profile, 2)
    return SrtpSession(one, two), SrtpSession(two, one, max_ssrcs)
