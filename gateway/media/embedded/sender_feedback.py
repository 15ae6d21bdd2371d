"""What a peer that sends a picture is told of it: asked for key frames and lost packets, limited in its rate."""

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
    """To the sender of one stream, by what it has agreed to take (RFC 4585, RFC 5104, REMB), else by its signalling."""

    def __init__(
        self, resources: Resources, flow: int, ssrc: int, reporter: Reporter, ask_by_signalling: Callable[[], None]
    ) -> None:
        """`ssrc` is the one that this peer is sent with; `ask_by_signalling` asks it for a key frame."""
        self.source: int | None = None
        """SSRC that the peer sends with."""
        self._shared, self._flow, self._ssrc, self._reporter = resources, flow, ssrc, reporter
        self._ask_by_signalling = ask_by_signalling
        self._agreed = False
        self._means: frozenset[str] = frozenset()
        self._asked_at = NEVER
        self._is_wished = False
        self._asked = 0
        """Full Intra Requests so far."""
        self._lost = LostNumbers()

    def agree(self, agreement: MediaAgreement | None) -> None:
        """Take what the peer has agreed to; None: nothing is asked of it."""
        self._agreed = agreement is not None
        self._means = frozenset()
        if agreement is not None and "AVPF" in agreement.profile:
            self._means = frozenset([said for codec in agreement.send for said in codec.feedback])

    def ask_key_frame(self) -> None:
        """Have the peer send a whole picture.

        Not before it has sent anything, since it begins with one; within the shortest interval `ask_later` does.
        """
        now, shortest = self._shared.clock(), self._shared.config.video.key_frame_interval
        if not self._agreed or self.source is None:
            return
        # The picture on its way may come before its viewer can take it.
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
        """Ask for what could not be asked for within the shortest interval."""
        if self._is_wished:
            self.ask_key_frame()

    def ask_again(self, sequence_numbers: Sequence[int], now: float) -> None:
        """Have the peer send lost packets again, each not before there was time for the last request."""
        if self.source is not None and "nack" in self._means:
            due = self._lost.due(sequence_numbers, now)
            if due:
                self.send(Feedback(RTPFB, NACK, self._ssrc, self.source, lost_entries(due)))

    def limit(self, bits: int) -> None:
        """Have the peer send no more than so many bits a second."""
        if self.source is None:
            return
        if "goog-remb" in self._means:
            self.send(bit_rate_limit(self._ssrc, bits, (self.source,)))
        elif "ccm tmmbr" in self._means:
            self.send(Feedback(RTPFB, TMMBR, self._ssrc, 0, temporary_limit(self.source, bits)))

    def send(self, message: Feedback) -> None:
        """With a report, as it has to be (RFC 4585 section 3.1)."""
        self._shared.plane.send_rtcp(self._flow, self._reporter.carrying(message))
