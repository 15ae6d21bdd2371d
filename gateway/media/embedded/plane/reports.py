"""Our own RTCP toward one party: when it is due, what it says, what the peer's says of us."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from gateway.media.embedded.plane.packet import RtpError
from gateway.media.embedded.plane.rtcp import (
    Bye,
    Feedback,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    parse_compound,
)
from gateway.media.embedded.plane.values import FlowSnapshot

_NTP_UNIX = 2_208_988_800
_LONGEST_RTT = 10.0


class Reporter:
    """One party's reports. Nothing of the other party's RTCP, its CNAME least of all, is passed on."""

    def __init__(self, ssrc: int, cname: str, random: Random, interval: float) -> None:
        """`interval` in s; each report comes after 0.5 to 1.5 of it (RFC 3550 section 6.2)."""
        self.rtt: float | None = None
        """Round trip in s, from the peer's last report."""
        self.lost: int | None = None
        """Packets of ours the peer has lost, as it says; None before its first report."""
        self.fraction_lost = 0.0
        """Share of them since its report before."""
        self.jitter: float | None = None
        """Jitter the peer measures, s."""
        self.malformed = 0
        self.taken = 0
        """Report blocks about our stream that were read."""
        self._ssrc = ssrc
        self._cname = cname
        self._random = random
        self._interval = interval
        self._due: float | None = None
        self._last_sr = 0
        self._last_sr_at = 0.0
        self._packets_before = 0
        self._before = (0, 0, 0)
        """Generation, packets expected and received when we reported last."""

    def is_due(self, now: float) -> bool:
        """Whether a report is to be sent now; the next comes later."""
        if self._due is None:
            self._due = now + self._interval * self._random.uniform(0.5, 1.0)
        if now < self._due:
            return False
        self._due = now + self._interval * self._random.uniform(0.5, 1.5)
        return True

    def report(self, flow: FlowSnapshot) -> bytes:
        """A compound packet: SR while we send, else RR, and our CNAME."""
        blocks = self._blocks(flow)
        first: SenderReport | ReceiverReport
        if flow.sent > self._packets_before:
            self._packets_before = flow.sent
            elapsed = min(0x40000000, max(0, round((flow.taken - flow.sent_at) * flow.rate_out)))
            first = SenderReport(
                self._ssrc,
                ntp_time(flow.taken),
                (flow.timestamp + elapsed) & 0xFFFFFFFF,
                flow.sent & 0xFFFFFFFF,
                flow.sent_octets & 0xFFFFFFFF,
                blocks,
            )
        else:
            first = ReceiverReport(self._ssrc, blocks)
        return bytes(first) + bytes(SourceDescription(self._ssrc, self._cname))

    def goodbye(self) -> bytes:
        """The last report, with BYE."""
        return (
            bytes(ReceiverReport(self._ssrc))
            + bytes(SourceDescription(self._ssrc, self._cname))
            + bytes(Bye((self._ssrc,)))
        )

    def carrying(self, message: Feedback) -> bytes:
        """A compound packet for feedback: it begins with a report, which may be empty (RFC 3550 section 6.1)."""
        return self.head + bytes(message)

    @property
    def head(self) -> bytes:
        """What a compound packet for feedback begins with."""
        return bytes(ReceiverReport(self._ssrc)) + bytes(SourceDescription(self._ssrc, self._cname))

    def receive(self, packet: bytes, now: float, rate_out: int) -> tuple[int, ...]:
        """Read one compound packet of the peer; the sources that said BYE. A malformed one is counted."""
        try:
            packets = parse_compound(packet)
        except RtpError:
            self.malformed += 1
            return ()
        return self.read(packets, now, rate_out)

    def read(self, packets: Sequence[RtcpPacket], now: float, rate_out: int) -> tuple[int, ...]:
        """The same of one that was parsed already."""
        left: tuple[int, ...] = ()
        for each in packets:
            if isinstance(each, Bye):
                left += each.ssrcs
            elif isinstance(each, SenderReport | ReceiverReport):
                if isinstance(each, SenderReport):
                    self._last_sr, self._last_sr_at = each.ntp >> 16 & 0xFFFFFFFF, now
                for block in each.blocks:
                    if block.ssrc == self._ssrc:
                        self._take(block, now, rate_out)
        return left

    def _take(self, block: ReportBlock, now: float, clock_rate: int) -> None:
        self.taken += 1
        self.lost = max(0, block.lost)
        self.fraction_lost = block.fraction_lost / 256
        self.jitter = block.jitter / clock_rate
        if block.last_sr:
            # Middle 32 bits: differences wrap every 18 hours (RFC 3550 section 6.4.1).
            elapsed = ((ntp_time(now) >> 16) - block.last_sr - block.delay) & 0xFFFFFFFF
            if elapsed < _LONGEST_RTT * 65536:
                self.rtt = elapsed / 65536

    def _blocks(self, flow: FlowSnapshot) -> tuple[ReportBlock, ...]:
        if flow.ssrc is None:
            return ()
        # The figures may have been taken before that report was read: then no time has passed.
        since = max(0.0, flow.taken - self._last_sr_at)
        delay = min(0xFFFFFFFF, round(since * 65536)) if self._last_sr else 0
        return (
            ReportBlock(
                flow.ssrc,
                self._fraction_lost(flow),
                flow.lost,
                flow.extended_highest,
                min(0xFFFFFFFF, round(flow.jitter * flow.clock_rate)),
                self._last_sr,
                delay,
            ),
        )

    def _fraction_lost(self, flow: FlowSnapshot) -> int:
        """Share of packets lost since the last report, in 256ths (RFC 3550 appendix A.3)."""
        generation, expected, received = self._before
        if generation != flow.generation:
            expected = received = 0
        self._before = (flow.generation, flow.expected, flow.run_received)
        due = flow.expected - expected
        lost = due - (flow.run_received - received)
        return min(255, (lost << 8) // due) if due > 0 and lost > 0 else 0


def ntp_time(now: float) -> int:
    """`now` as a 64-bit NTP time. It counts from a start of its own: peers need differences only, and the
    machine's wall clock is nobody's business (RFC 3550 section 6.4.1 allows it)."""
    return int((now + _NTP_UNIX) * 4294967296)
