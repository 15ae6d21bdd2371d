"""The stream that comes in: one source at a time, its order, its statistics (RFC 3550 appendix A)."""

from __future__ import annotations

MAX_DROPOUT = 3000
MAX_MISORDER = 100
"""Packets ahead and behind that are still the same run (RFC 3550 appendix A.1)."""
MIN_SEQUENTIAL = 2
"""Packets in a row that prove a new run or a new source."""
SOURCE_SILENCE = 0.1
"""Seconds the present source must have been silent before another SSRC may take its place."""
RESYNC_LAPSES = 1.0
"""Seconds after which a source that is still heard keeps its place."""
_SEEN = (1 << MAX_MISORDER) - 1
_EARLIER = 8
"""Packets that may have overtaken the first one of a run."""
_COPIES = 5
"""Packets in a row that prove a new run where they may as well be copies, as their timestamps tell nothing else."""
_RUN_SECONDS = 12
"""Seconds that packets which are still the same run may be apart: 100 of 120 ms."""
_VIDEO_CLOCK = 90000
"""RTP clock of video, Hz, whose lost packets may be sent again under their numbers."""


class Inbound:
    """Which packets of one party count. One SSRC is listened to; another must wait until it falls silent.

    `generation` counts the runs: when it changes, sequence numbers and timestamps start afresh.
    """

    __slots__ = (
        "_again",
        "_again_run",
        "_base",
        "_candidate",
        "_candidate_next",
        "_candidate_run",
        "_cycles",
        "_lost_before",
        "_resync_at",
        "_seen",
        "_timestamp",
        "_transit",
        "arrived",
        "clock_rate",
        "discarded",
        "generation",
        "highest",
        "jitter",
        "loss_runs",
        "octets",
        "received",
        "run_received",
        "ssrc",
    )

    def __init__(self) -> None:
        self.ssrc: int | None = None
        self.highest = 0
        """Highest sequence number of this run."""
        self.generation = 0
        self.received = 0
        """Packets accepted, over all runs."""
        self.octets = 0
        """Octets of the packets accepted."""
        self.discarded = 0
        self.jitter = 0.0
        """Interarrival jitter in seconds (RFC 3550 section 6.4.1)."""
        self.arrived = float("-inf")
        """When the last packet was accepted."""
        self.run_received = 0
        self.clock_rate = 8000
        """RTP clock of the audio that came last, Hz."""
        self._cycles = 0
        self._base = 0
        self._seen = 0
        self._transit: float | None = None
        self._timestamp: int | None = None
        """Timestamp of the highest packet of audio in this run."""
        self._again: int | None = None
        self._again_run = 0
        """The number that would prove that the source began again, after so many in a row."""
        self._candidate: int | None = None
        self._candidate_next = 0
        self._candidate_run = 0
        self._resync_at: float | None = float("-inf")
        self._lost_before = 0
        self.loss_runs = 0
        """How often one packet or more in a row were missing."""

    def expect_new_source(self, now: float, ssrc: int | None = None) -> None:
        """A new description, or a BYE of `ssrc`: another source may take the place of this one at once.

        It lapses where this one goes on: a stray packet much later must wait like any other.
        """
        if ssrc is None or ssrc == self.ssrc:
            self._resync_at = now

    def admit(self, ssrc: int, sequence_number: int, timestamp: int, size: int, clock_rate: int, now: float) -> bool:
        """Whether the packet counts. `clock_rate` in Hz, 0 leaves jitter alone (events, comfort noise)."""
        if ssrc != self.ssrc:
            if not self._may_replace(ssrc, sequence_number, now):
                self.discarded += 1
                return False
            self._begin(ssrc, sequence_number)
        else:
            ahead = (sequence_number - self.highest) & 0xFFFF
            if ahead == 1:
                self._seen = (self._seen << 1 | 1) & _SEEN
                if not sequence_number:
                    self._cycles += 1
                self.highest = sequence_number
                self._again = None
            elif not self._out_of_order(sequence_number, ahead, (timestamp, clock_rate), now):
                self.discarded += 1
                return False
        self.received += 1
        self.run_received += 1
        self.octets += size
        self.arrived = now
        if clock_rate:
            self.clock_rate = clock_rate
            transit = now - timestamp / clock_rate
            if self._transit is not None:
                # Half the timestamp's range away it has wrapped, or the sender changed its clock: no jitter.
                moved = abs(transit - self._transit)
                if moved < 5.0:
                    self.jitter += (moved - self.jitter) / 16
            self._transit = transit
            if sequence_number == self.highest:
                self._timestamp = timestamp
        return True

    def fill(self, sequence_number: int) -> bool:
        """A packet that was lost comes in another: whether it is one that never came. What was lost stays counted."""
        behind = (self.highest - sequence_number) & 0xFFFF
        bit = 1 << behind if 0 < behind < MAX_MISORDER else 0
        if self.ssrc is None or not bit or self._seen & bit:
            return False
        self._seen |= bit
        return True

    def _may_replace(self, ssrc: int, sequence_number: int, now: float) -> bool:
        if self.ssrc is None or self._resyncs():
            return True
        if ssrc == self._candidate and sequence_number == self._candidate_next:
            self._candidate_run += 1
        else:
            self._candidate, self._candidate_run = ssrc, 1
        self._candidate_next = (sequence_number + 1) & 0xFFFF
        return self._candidate_run >= MIN_SEQUENTIAL and now - self.arrived >= SOURCE_SILENCE

    def _resyncs(self) -> bool:
        return self._resync_at is not None and self.arrived < self._resync_at + RESYNC_LAPSES

    def _begin(self, ssrc: int, sequence_number: int) -> None:
        self._lost_before = self.lost
        self.ssrc = ssrc
        self.generation += 1
        self.highest = self._base = sequence_number
        self._cycles = 0
        self._seen = (_SEEN << _EARLIER + 1 | 1) & _SEEN
        self.run_received = 0
        self._transit = self._timestamp = None
        self._candidate = self._again = None
        self._resync_at = None

    def _out_of_order(self, sequence_number: int, ahead: int, timing: tuple[int, int], now: float) -> bool:
        """A packet that is not the next: after a loss, late, repeated, or of a new run."""
        if 0 < ahead < MAX_DROPOUT:
            self.loss_runs += 1
            self._seen = (self._seen << ahead | 1) & _SEEN
            if sequence_number < self.highest:
                self._cycles += 1
            self.highest = sequence_number
            self._again = None
            return True
        behind = 0x10000 - ahead if ahead else 0
        if behind < MAX_MISORDER:
            return self._behind(sequence_number, 1 << behind, timing)
        ssrc = self.ssrc
        if ssrc is None:
            return False
        if self._resyncs():
            self._begin(ssrc, sequence_number)
            return True
        # The same source far off its run: it restarted, if the next packet agrees (appendix A.1).
        if self._candidate == ssrc and sequence_number == self._candidate_next:
            self._begin(ssrc, sequence_number)
            return True
        self._candidate, self._candidate_run = ssrc, 1
        self._candidate_next = (sequence_number + 1) & 0xFFFF
        return False

    def _behind(self, sequence_number: int, bit: int, timing: tuple[int, int]) -> bool:
        """Take a late packet, drop a copy, and begin a run where packets in a row prove that the source began again.

        Two do where no copy has their timestamps. Appendix A.1 would drop them until they pass the highest.
        """
        is_of_run = self._is_of_run(*timing)
        if is_of_run and not self._seen & bit:
            self._seen |= bit
            self._again = None
            return True
        self._again_run = self._again_run + 1 if self._again == sequence_number else 1
        # Lost packets of video may be sent again under their numbers.
        wanted = MIN_SEQUENTIAL if not is_of_run else _COPIES if timing[1] != _VIDEO_CLOCK else MAX_MISORDER
        if self._again_run >= wanted and self.ssrc is not None:
            self._begin(self.ssrc, sequence_number)
            return True
        self._again = (sequence_number + 1) & 0xFFFF
        return False

    def _is_of_run(self, timestamp: int, clock_rate: int) -> bool:
        """Return whether a packet behind the highest may be of the same run: not newer, and not far behind."""
        if not clock_rate or self._timestamp is None:
            return True
        return (self._timestamp - timestamp) & 0xFFFFFFFF <= clock_rate * _RUN_SECONDS

    @property
    def extended_highest(self) -> int:
        """Highest sequence number with its cycles, 32 bits."""
        return (self._cycles << 16 | self.highest) & 0xFFFFFFFF

    @property
    def expected(self) -> int:
        """Packets this run should have had."""
        if self.ssrc is None:
            return 0
        return (self._cycles << 16) + self.highest - self._base + 1

    @property
    def lost(self) -> int:
        """Packets lost, cumulative over all runs."""
        return self._lost_before + max(0, self.expected - self.run_received)
