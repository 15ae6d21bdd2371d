//! The stream that comes in: one source at a time, its order, its statistics (RFC 3550 appendix A).

/// Packets ahead and behind that are still the same run (RFC 3550 appendix A.1).
pub const MAX_DROPOUT: u16 = 3000;
pub const MAX_MISORDER: u16 = 100;
/// Packets that may have overtaken the first one of a run.
const EARLIER: u32 = 8;
/// Packets in a row that prove a new run where they may as well be copies, as their timestamps tell nothing else.
const COPIES: u32 = 5;
/// Seconds that packets which are still the same run may be apart: 100 of 120 ms.
const RUN_SECONDS: u32 = 12;
/// RTP clock of video, whose lost packets may be sent again under their numbers.
const VIDEO_CLOCK: u32 = 90_000;
/// Packets in a row that prove a new run or a new source.
pub const MIN_SEQUENTIAL: u32 = 2;
/// ns the present source must have been silent before another SSRC may take its place.
pub const SOURCE_SILENCE: u64 = 100_000_000;
/// ns after `resync` at which the present source, still heard, is the source for good.
pub const RESYNC_LAPSE: u64 = 1_000_000_000;
const LONGEST_TRANSIT_JUMP: i64 = 5_000_000_000;

/// What `admit` says of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It counts.
    Taken,
    /// It counts and begins a run: numbers start afresh.
    NewRun,
    Refused,
}

/// Which packets of one flow count.
#[derive(Default)]
pub struct Inbound {
    pub ssrc: Option<u32>,
    /// Highest sequence number of this run.
    pub highest: u16,
    /// Number of runs so far.
    pub generation: u32,
    pub received: u64,
    pub octets: u64,
    pub run_received: u64,
    /// Gaps in the run, of one packet or more.
    pub loss_runs: u64,
    /// Interarrival jitter, ns (RFC 3550 section 6.4.1).
    pub jitter: u64,
    /// When the last packet was accepted, ns; 0: never.
    pub arrived: u64,
    /// RTP clock of the audio that came last, Hz.
    pub clock_rate: u32,
    cycles: u32,
    base: u16,
    seen: u128,
    timing: Option<(u64, u32)>,
    /// Timestamp of the highest packet of audio in this run.
    newest: Option<u32>,
    candidate: Option<(u32, u16)>,
    candidate_run: u32,
    /// The number that would prove that the source began again, after so many in a row.
    again: Option<(u16, u32)>,
    resync: Resync,
    lost_before: u64,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Resync {
    #[default]
    Armed,
    /// Since when, ns.
    ArmedAt(u64),
    Off,
}

impl Inbound {
    /// The next packet may come from another source without waiting.
    pub fn resync(&mut self, now: u64) {
        self.resync = if self.ssrc.is_none() { Resync::Armed } else { Resync::ArmedAt(now) };
    }

    /// Whether the packet counts. `clock_rate` in Hz, 0 leaves jitter alone.
    pub fn admit(&mut self, ssrc: u32, number: u16, timestamp: u32, size: usize, clock_rate: u32, now: u64) -> Verdict {
        let verdict = if self.ssrc == Some(ssrc) {
            self.place(ssrc, number, (timestamp, clock_rate), now)
        } else if self.may_replace(ssrc, number, now) {
            self.begin(ssrc, number);
            Verdict::NewRun
        } else {
            Verdict::Refused
        };
        if verdict == Verdict::Refused {
            return verdict;
        }
        self.received += 1;
        self.run_received += 1;
        self.octets += size as u64;
        self.arrived = now;
        if clock_rate != 0 {
            self.clock_rate = clock_rate;
            if number == self.highest {
                self.newest = Some(timestamp);
            }
            self.measure(timestamp, clock_rate, now);
        }
        verdict
    }

    fn place(&mut self, ssrc: u32, number: u16, timing: (u32, u32), now: u64) -> Verdict {
        if let Resync::ArmedAt(since) = self.resync {
            if now.saturating_sub(since) > RESYNC_LAPSE {
                self.resync = Resync::Off;
            }
        }
        let ahead = number.wrapping_sub(self.highest);
        if ahead == 1 {
            self.seen = self.seen << 1 | 1;
            self.cycles += u32::from(number == 0);
            self.highest = number;
            self.again = None;
            return Verdict::Taken;
        }
        if ahead > 0 && ahead < MAX_DROPOUT {
            self.seen = if ahead < 128 { self.seen << ahead | 1 } else { 1 };
            self.cycles += u32::from(number < self.highest);
            self.highest = number;
            self.loss_runs += 1;
            self.again = None;
            return Verdict::Taken;
        }
        if self.highest.wrapping_sub(number) < MAX_MISORDER {
            return self.place_behind(ssrc, number, timing);
        }
        // The same source far off its run: it restarted, if the next packet agrees (appendix A.1).
        if self.resync != Resync::Off || self.candidate == Some((ssrc, number)) {
            self.begin(ssrc, number);
            return Verdict::NewRun;
        }
        self.candidate = Some((ssrc, number.wrapping_add(1)));
        self.candidate_run = 1;
        Verdict::Refused
    }

    /// A packet behind the highest: late, a copy, or of a source that began again a little behind. Appendix A.1 would leave
    /// the last out until it passes the highest; here packets in a row prove it, two where no copy has their timestamps.
    fn place_behind(&mut self, ssrc: u32, number: u16, timing: (u32, u32)) -> Verdict {
        let bit = 1 << self.highest.wrapping_sub(number);
        let is_of_run = self.is_of_run(timing);
        if self.seen & bit == 0 && is_of_run {
            self.seen |= bit;
            self.again = None;
            return Verdict::Taken;
        }
        let run = self.again.filter(|(next, _)| *next == number).map_or(1, |(_, run)| run + 1);
        // Lost packets of video may be sent again under their numbers.
        let proved = if is_of_run { run >= COPIES && timing.1 != VIDEO_CLOCK } else { run >= MIN_SEQUENTIAL };
        if proved {
            self.begin(ssrc, number);
            return Verdict::NewRun;
        }
        self.again = Some((number.wrapping_add(1), run));
        Verdict::Refused
    }

    /// Whether a packet behind the highest may be of the same run by its timestamp: not newer, and not far behind.
    fn is_of_run(&self, (timestamp, clock_rate): (u32, u32)) -> bool {
        let Some(newest) = self.newest.filter(|_| clock_rate != 0) else { return true };
        newest.wrapping_sub(timestamp) <= clock_rate.saturating_mul(RUN_SECONDS)
    }

    /// A packet that was lost comes in another: whether it is one that never came. What was lost stays counted.
    pub fn fill(&mut self, number: u16) -> bool {
        let behind = self.highest.wrapping_sub(number);
        if self.ssrc.is_none() || behind == 0 || behind >= MAX_MISORDER {
            return false;
        }
        let bit = 1 << behind;
        let is_new = self.seen & bit == 0;
        self.seen |= bit;
        is_new
    }

    fn may_replace(&mut self, ssrc: u32, number: u16, now: u64) -> bool {
        if self.ssrc.is_none() || self.resync != Resync::Off {
            return true;
        }
        self.candidate_run = if self.candidate == Some((ssrc, number)) { self.candidate_run + 1 } else { 1 };
        self.candidate = Some((ssrc, number.wrapping_add(1)));
        self.candidate_run >= MIN_SEQUENTIAL && now.saturating_sub(self.arrived) >= SOURCE_SILENCE
    }

    fn begin(&mut self, ssrc: u32, number: u16) {
        self.lost_before = self.lost();
        self.ssrc = Some(ssrc);
        self.generation += 1;
        self.highest = number;
        self.base = number;
        self.cycles = 0;
        self.seen = u128::MAX << (EARLIER + 1) | 1;
        self.run_received = 0;
        (self.timing, self.newest) = (None, None);
        (self.candidate, self.again) = (None, None);
        self.resync = Resync::Off;
    }

    fn measure(&mut self, timestamp: u32, clock_rate: u32, now: u64) {
        if let Some((then, before)) = self.timing {
            let ticks = i64::from(timestamp.wrapping_sub(before) as i32);
            let spacing = ticks * 1_000_000_000 / i64::from(clock_rate);
            let moved = (now as i64 - then as i64 - spacing).abs();
            // The sender changed its clock: no jitter.
            if moved < LONGEST_TRANSIT_JUMP {
                self.jitter = (self.jitter as i64 + (moved - self.jitter as i64) / 16) as u64;
            }
        }
        self.timing = Some((now, timestamp));
    }

    /// Highest sequence number with its cycles.
    pub fn extended_highest(&self) -> u32 {
        self.cycles << 16 | u32::from(self.highest)
    }

    /// Packets this run should have had.
    pub fn expected(&self) -> u64 {
        if self.ssrc.is_none() {
            return 0;
        }
        (u64::from(self.cycles) << 16) + u64::from(self.highest) + 1 - u64::from(self.base)
    }

    /// Packets lost over all runs.
    pub fn lost(&self) -> u64 {
        self.lost_before + self.expected().saturating_sub(self.run_received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::*;

    const MS: u64 = 1_000_000;

    fn started(first: u16) -> Inbound {
        let mut inbound = Inbound::default();
        assert_eq!(inbound.admit(1, first, 0, 172, 8000, MS), NewRun);
        inbound
    }

    #[test]
    fn a_repeated_packet_is_refused_and_a_late_one_taken() {
        let mut inbound = started(10);
        assert_eq!(inbound.admit(1, 12, 320, 172, 8000, 41 * MS), Taken);
        assert_eq!(inbound.lost(), 1);
        assert_eq!(inbound.loss_runs, 1);
        assert_eq!(inbound.admit(1, 11, 160, 172, 8000, 42 * MS), Taken);
        assert_eq!(inbound.admit(1, 11, 160, 172, 8000, 43 * MS), Refused);
        assert_eq!(inbound.lost(), 0);
    }

    #[test]
    fn another_source_waits_until_the_present_one_is_silent() {
        let mut inbound = started(10);
        assert_eq!(inbound.admit(2, 500, 0, 172, 8000, 20 * MS), Refused);
        assert_eq!(inbound.admit(2, 501, 160, 172, 8000, 40 * MS), Refused);
        assert_eq!(inbound.admit(2, 502, 320, 172, 8000, 140 * MS), NewRun);
        assert_eq!(inbound.generation, 2);
    }

    #[test]
    fn resync_lapses_while_the_present_source_goes_on() {
        let mut inbound = started(10);
        inbound.resync(10 * MS);
        assert_eq!(inbound.admit(1, 11, 160, 172, 8000, 21 * MS), Taken);
        assert_eq!(inbound.admit(1, 12, 320, 172, 8000, 1100 * MS), Taken);
        assert_eq!(inbound.admit(2, 7, 0, 172, 8000, 1101 * MS), Refused);
    }

    #[test]
    fn resync_takes_the_next_source_at_once() {
        let mut inbound = started(10);
        inbound.resync(10 * MS);
        assert_eq!(inbound.admit(2, 7, 0, 172, 8000, 12 * MS), NewRun);
    }

    #[test]
    fn cycles_are_counted_over_the_wrap() {
        let mut inbound = started(65_534);
        for (number, at) in [(65_535, 20), (0, 40), (1, 60)] {
            assert_eq!(inbound.admit(1, number, 0, 172, 0, at * MS), Taken);
        }
        assert_eq!(inbound.expected(), 4);
        assert_eq!(inbound.extended_highest(), 65_537);
        assert_eq!(inbound.lost(), 0);
    }

    #[test]
    fn a_far_jump_needs_two_packets_in_a_row() {
        let mut inbound = started(10);
        assert_eq!(inbound.admit(1, 40_000, 0, 172, 8000, 20 * MS), Refused);
        assert_eq!(inbound.admit(1, 40_001, 0, 172, 8000, 40 * MS), NewRun);
    }

    /// Verdicts of `numbers` after a run from 1000 to 1099 with even timestamps, each with its timestamp.
    fn after_a_hundred(packets: impl Iterator<Item = (u16, u32)>, clock_rate: u32) -> Vec<Verdict> {
        let mut inbound = started(1000);
        for number in 1001..1100 {
            assert_eq!(inbound.admit(1, number, 160 * u32::from(number - 1000), 172, clock_rate, MS), Taken);
        }
        packets.map(|(number, timestamp)| inbound.admit(1, number, timestamp, 172, clock_rate, 2 * MS)).collect()
    }

    #[test]
    fn a_source_that_goes_back_a_little_is_heard_from_its_second_packet_on() {
        for back in 2..100 {
            let first = 1100 - back;
            let same = 160 * u32::from(first - 1000);
            // Its timestamps go on, begin far away, or go back with the numbers; those of events tell nothing.
            for (from, clock_rate, lost) in [(16_000, 8000, 1), (1 << 31, 8000, 1), (same, 8000, 4), (0, 0, 4)] {
                let packets = (0..9).map(|step| (first + step, from + 160 * u32::from(step)));
                let verdicts = after_a_hundred(packets, clock_rate);
                let expected = |place: usize| match place.cmp(&lost) {
                    std::cmp::Ordering::Less => Refused,
                    std::cmp::Ordering::Equal if usize::from(back) > lost => NewRun,
                    _ => Taken,
                };
                for (place, verdict) in verdicts.into_iter().enumerate().filter(|(at, _)| *at < usize::from(back)) {
                    assert_eq!(verdict, expected(place), "{back} {from} {place}");
                }
            }
        }
    }

    #[test]
    fn a_run_that_has_just_begun_can_begin_again_before_its_first_number() {
        let mut inbound = started(1000);
        assert_eq!(inbound.admit(1, 1001, 160, 172, 8000, 20 * MS), Taken);
        assert_eq!(inbound.admit(1, 950, 9000, 172, 8000, 40 * MS), Refused);
        assert_eq!(inbound.admit(1, 951, 9160, 172, 8000, 60 * MS), NewRun);
        assert_eq!(inbound.admit(1, 952, 9320, 172, 8000, 80 * MS), Taken);
    }

    #[test]
    fn what_overtook_the_first_packet_leaves_it_late() {
        let mut inbound = started(1000);
        for number in [999, 992, 996] {
            assert_eq!(inbound.admit(1, number, 0, 172, 8000, MS), Taken);
        }
    }

    #[test]
    fn copies_of_a_few_packets_and_of_video_begin_no_run() {
        let stamp = |number: u16| (number, 160 * u32::from(number - 1000));
        let copied = [1096, 1097, 1098, 1099, 1100, 1096, 1097, 1098, 1099, 1100, 1101, 1100].map(stamp);
        let verdicts = after_a_hundred(copied.into_iter(), 8000);
        let taken: Vec<_> = verdicts.iter().map(|verdict| *verdict == Taken).collect();
        assert_eq!((0..12).filter(|place| taken[*place]).collect::<Vec<_>>(), [4, 10]);
        let late = after_a_hundred([1105, 1100, 1101, 1102, 1103, 1106].map(stamp).into_iter(), 8000);
        assert!(late.iter().all(|verdict| *verdict == Taken));
        let video = after_a_hundred((1050..1080).map(stamp), 90_000);
        assert!(video.iter().all(|verdict| *verdict == Refused));
    }

    #[test]
    fn even_arrivals_have_no_jitter() {
        let mut inbound = started(10);
        for step in 1..50u16 {
            inbound.admit(1, 10 + step, 160 * u32::from(step), 172, 8000, MS + 20 * MS * u64::from(step));
        }
        assert_eq!(inbound.jitter, 0);
        inbound.admit(1, 60, 160 * 50, 172, 8000, MS + 1016 * MS);
        assert_eq!(inbound.jitter, MS);
    }
}
