"""Our own RTCP toward one party: when it is due, what it says, what the peer's says of us."""

from __future__ import annotations

from random import Random

from gateway.media.embedded.plane.inbound import Inbound
from gateway.media.embedded.plane.packet import RtpError
from gateway.media.embedded.plane.relay import Relay
from gateway.media.embedded.plane.rtcp import (
    Bye,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    parse_compound,
)

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
        self.jitter: float | None = None
        """Jitter the peer measures, s."""
        self.malformed = 0
        self.received = 0
        """Compound packets that could be read."""
        self._ssrc = ssrc
        self._cname = cname
        self._random = random
        self._interval = interval
        self._due: float | None = None
        self._last_sr = 0
        self._last_sr_at = 0.0
        self._packets_before = 0

    def due(self, now: float, out: Relay, inbound: Inbound) -> bytes | None:
        """The report to send now, None while none is due."""
        if self._due is None:
            self._due = now + self._interval * self._random.uniform(0.5, 1.0)
        if now < self._due:
            return None
        self._due = now + self._interval * self._random.uniform(0.5, 1.5)
        return self.report(now, out, inbound)

    def report(self, now: float, out: Relay, inbound: Inbound) -> bytes:
        """A compound packet: SR while we send, else RR, and our CNAME."""
        blocks = self._blocks(now, out, inbound)
        first: SenderReport | ReceiverReport
        if out.packets > self._packets_before:
            self._packets_before = out.packets
            first = SenderReport(
                self._ssrc,
                ntp_time(now),
                out.timestamp_at(now),
                out.packets & 0xFFFFFFFF,
                out.payload_octets & 0xFFFFFFFF,
                blocks,
            )
        else:
            first = ReceiverReport(self._ssrc, blocks)
        return bytes(first) + bytes(SourceDescription(self._ssrc, self._cname))

    def goodbye(self, out: Relay, inbound: Inbound, now: float) -> bytes:
        """The last report, with BYE."""
        return self.report(now, out, inbound) + bytes(Bye((self._ssrc,)))

    def receive(self, packet: bytes, now: float, out: Relay, inbound: Inbound) -> None:
        """Read one compound packet of the peer; a malformed one is counted."""
        try:
            packets = parse_compound(packet)
        except RtpError:
            self.malformed += 1
            return
        self.received += 1
        for each in packets:
            if isinstance(each, Bye):
                for ssrc in each.ssrcs:
                    inbound.forget_source(ssrc)
            elif isinstance(each, SenderReport | ReceiverReport):
                if isinstance(each, SenderReport):
                    self._last_sr, self._last_sr_at = each.ntp >> 16 & 0xFFFFFFFF, now
                for block in each.blocks:
                    if block.ssrc == self._ssrc:
                        self._take(block, now, out.rate_out)

    def _take(self, block: ReportBlock, now: float, clock_rate: int) -> None:
        self.lost = max(0, block.lost)
        self.jitter = block.jitter / clock_rate
        if block.last_sr:
            # Middle 32 bits: differences wrap every 18 hours (RFC 3550 section 6.4.1).
            elapsed = ((ntp_time(now) >> 16) - block.last_sr - block.delay) & 0xFFFFFFFF
            if elapsed < _LONGEST_RTT * 65536:
                self.rtt = elapsed / 65536

    def _blocks(self, now: float, out: Relay, inbound: Inbound) -> tuple[ReportBlock, ...]:
        if inbound.ssrc is None:
            return ()
        delay = min(0xFFFFFFFF, round((now - self._last_sr_at) * 65536)) if self._last_sr else 0
        return (
            ReportBlock(
                inbound.ssrc,
                inbound.fraction_lost(),
                inbound.lost,
                inbound.extended_highest,
                min(0xFFFFFFFF, round(inbound.jitter * inbound.clock_rate)),
                self._last_sr,
                delay,
            ),
        )


def ntp_time(now: float) -> int:
    """`now` as a 64-bit NTP time. It counts from a start of its own: peers need differences only, and the
    machine's wall clock is nobody's business (RFC 3550 section 6.4.1 allows it)."""
    return int((now + _NTP_UNIX) * 4294967296)
