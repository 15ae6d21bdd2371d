"""SRTP keys that a flow is sent packets under: nothing is opened twice under any of them."""

from __future__ import annotations

from collections.abc import Callable

from gateway.media.embedded.plane.srtp import MAX_SEND_KEYS, WORKSPACE, Counts, ReceiveContext, SrtpKey

OVERLAP = 5.0
"""Seconds for which the previous key opens packets beside the new one (RFC 5764 section 5.2): the peer sends under it
until it has the new one, a round trip or a lost flight later."""


class ReceiveKeys:
    """The context in use, the previous one beside it for a time, and the last 64 in case that a key comes back."""

    __slots__ = ("_counts", "_known", "_previous", "_until", "current", "overlaps")

    def __init__(self, counts: Counts) -> None:
        """`counts` gets the refused packets, by reason."""
        self.current: ReceiveContext | None = None
        self.overlaps = False
        """True while the previous key opens packets beside the current one."""
        self._previous: ReceiveContext | None = None
        self._until = 0.0
        self._known: dict[SrtpKey, ReceiveContext] = {}
        self._counts = counts

    def set(self, key: SrtpKey, mki: bytes, now: float) -> None:
        """Open packets under `key`, which carry that master key identifier (RFC 3711 section 3.1); b"": none."""
        if self.current is None or self.current.key != key:
            self._previous, self._until = self.current, now + OVERLAP
            self.overlaps = self._previous is not None
            self.current = self._context(key)
        self.current.mki = mki

    def drop(self) -> None:
        """Open nothing more."""
        self.current = None
        self._end()

    def open_by_either(self, size: int, ssrc: int, number: int, now: float) -> int:
        """Open the SRTP packet in the workspace; its new size, 0 when refused."""
        return self._by_either(lambda context: context.open(size, ssrc, number), size, now)

    def open_rtcp(self, size: int, now: float) -> int:
        """Open the SRTCP packet in the workspace; its new size, 0 when refused."""
        return self._by_either(lambda context: context.open_rtcp(size), size, now)

    def _by_either(self, opened: Callable[[ReceiveContext], int], size: int, now: float) -> int:
        """Try the previous key first, whose sources are known; the first packet under the new key ends its time."""
        previous, current = self._previous, self.current
        assert current is not None
        if previous is None:
            return opened(current)
        if now < self._until:
            # A failed try spoils the packet.
            packet = bytes(WORKSPACE.data[:size])
            if found := previous.uncounted(opened):
                return found
            WORKSPACE.put(packet)
        found = opened(current)
        if found or now >= self._until:
            self._end()
        return found

    def _end(self) -> None:
        """Forget the previous key."""
        self.overlaps, self._previous = False, None

    def _context(self, key: SrtpKey) -> ReceiveContext:
        known = self._known.pop(key, None)
        if known is None:
            known = ReceiveContext(key, self._counts)
        else:
            known.resume()
        self._known[key] = known
        if len(self._known) > 1 + MAX_SEND_KEYS:
            del self._known[next(iter(self._known))]
        return known
