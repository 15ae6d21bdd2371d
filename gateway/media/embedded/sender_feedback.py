"""RTCP feedback to a sender of video: requests for key frames and lost packets, and rate limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.media.embedded.plane.feedback import bit_rate_limit, fir_entry, lost_entries, temporary_limit
from gateway.media.embedded.plane.rate import LostNumbers
from gateway.media.embedded.plane.reports import Reporter
from gateway.media.embedded.plane.rtcp import FIR, NACK, PLI, PSFB, RTPFB, TMMBR, Feedback
from gateway.media.embedded.plane.values import NEVER
from gateway.media.embedded.resources import Resources
from sdp import MediaAgreement


class SenderFeedback:
    """Feedback to the sender of one stream, by agreed RTCP messages (RFC 4585, RFC 5104, REMB) or by signalling."""

    def __init__(
        self, resources: Resources, flow: int, ssrc: int, reporter: Reporter, ask_by_signalling: Callable[[], None]
    ) -> None:
        """Send feedback from `ssrc`, our SSRC toward the peer; `ask_by_signalling` requests key frames without RTCP."""
        self.source: int | None = None
        """SSRC of the peer's stream; None before its first packet."""
        self._shared, self._flow, self._ssrc, self._reporter = resources, flow, ssrc, reporter
        self._ask_by_signalling = ask_by_signalling
        self._agreed = False
        self._means: frozenset[str] = frozenset()
        self._asked_at = NEVER
        self._is_wished = False
        self._asked = 0
        """Command sequence number of the last Full Intra Request (RFC 5104 section 4.3.1)."""
        self._lost = LostNumbers()

    def agree(self, agreement: MediaAgreement | None) -> None:
        """Use the feedback messages of the agreement; None stops all feedback."""
        self._agreed = agreement is not None
        self._means = frozenset()
        if agreement is not None and "AVPF" in agreement.profile:
            self._means = frozenset([said for codec in agreement.send for said in codec.feedback])

    def ask_key_frame(self) -> None:
        """Request a key frame from the peer, at most once in `key_frame_interval`; `ask_later` sends the rest.

        No request precedes the first packet, since streams begin with a key frame.
        """
        now, shortest = self._shared.clock(), self._shared.config.video.key_frame_interval
        if not self._agreed or self.source is None:
            return
        # Remember the request: a key frame already in flight may arrive before the viewer can decode.
        self._is_wished = now - self._asked_at < shortest
        if self._is_wished:
            return
        self._asked_at = now
        if "nack pli" in self._means:
            self.send(Feedback(PSFB, PLI, self._ssrc, self.source))
        elif "ccm fir" in self._means:
            self._asked = (self._asked + 1) & 0xFF
            self.send(Feedback(PSFB, FIR, self._ssrc, 0, fir_entry(self.source, self._asked)))
        else:
            self._ask_by_signalling()

    def ask_later(self) -> None:
        """Send a key frame request that was deferred by the minimum interval."""
        if self._is_wished:
            self.ask_key_frame()

    def ask_again(self, sequence_numbers: Sequence[int], now: float) -> None:
        """Request retransmission of lost packets (NACK), not again before the previous request can have succeeded."""
        if self.source is not None and "nack" in self._means:
            due = self._lost.due(sequence_numbers, now)
            if due:
                self.send(Feedback(RTPFB, NACK, self._ssrc, self.source, lost_entries(due)))

    def limit(self, bits: int) -> None:
        """Limit the peer's bit rate to `bits` a second, by REMB or TMMBR."""
        if self.source is None:
            return
        if "goog-remb" in self._means:
            self.send(bit_rate_limit(self._ssrc, bits, (self.source,)))
        elif "ccm tmmbr" in self._means:
            self.send(Feedback(RTPFB, TMMBR, self._ssrc, 0, temporary_limit(self.source, bits)))

    def send(self, message: Feedback) -> None:
        """Send feedback in a compound packet with a report (RFC 4585 section 3.1)."""
        self._shared.plane.send_rtcp(self._flow, self._reporter.carrying(message))
