//! How late packets come, and how long they must therefore wait.
//!
//! The time a packet takes beyond the quickest of the last seconds is its delay. The wait that is wanted lets a
//! set share of the packets come in time.

/// Microseconds of each bin of the histogram, and how many there are.
const BIN: i64 = 5_000;
const BINS: usize = 100;
/// The quickest packet is looked for in so many spans of so many microseconds.
const SPANS: usize = 10;
const SPAN: u64 = 500_000;
/// Packets after which an old one counts for 1/e of a new one.
const MEMORY: f32 = 250.0;
/// A packet whose way took so much longer or shorter, in microseconds, belongs to another timeline.
const RESTART: i64 = 3_000_000;

/// After a pause so many packets show whether the sender's clock stood still or the network held them up: then each
/// comes, in microseconds, so much sooner after the one before than it was sent.
const PROOF: u8 = 4;
const SOONER: i64 = 10_000;

/// A pause after which the wait is counted from its first packet.
#[derive(Clone, Copy)]
struct Pause {
    /// The quickest packets before.
    spans: [i64; SPANS],
    transit: i64,
    packets: u8,
}

/// Delays of one stream.
pub struct Delays {
    histogram: [f32; BINS],
    counted: f32,
    spans: [i64; SPANS],
    span: u64,
    quickest: i64,
    latest: i64,
    /// RFC 3550 6.4.1, in microseconds.
    jitter: f32,
    /// Lowest and highest wait, in microseconds.
    bounds: (i64, i64),
    share: f32,
    wanted: i64,
    pause: Option<Pause>,
}

impl Delays {
    /// Before anything came, `start` is expected; `share` (0 to 1) of the packets shall come in time.
    pub fn new(start: i64, bounds: (i64, i64), share: f32) -> Self {
        let mut delays = Self {
            histogram: [0.0; BINS],
            counted: 0.0,
            spans: [i64::MAX; SPANS],
            span: 0,
            quickest: 0,
            latest: 0,
            jitter: 0.0,
            bounds,
            share,
            wanted: start.clamp(bounds.0, bounds.1),
            pause: None,
        };
        delays.histogram[Self::bin(start - 1)] = 1.0;
        delays
    }

    fn bin(delay: i64) -> usize {
        (delay / BIN).clamp(0, BINS as i64 - 1) as usize
    }

    /// A packet of media time `media` came `now`; false where it is of another timeline: start afresh.
    pub fn arrived(&mut self, media: i64, now: u64) -> bool {
        let transit = now as i64 - media;
        if self.counted == 0.0 {
            self.span = now / SPAN;
            self.latest = transit;
        } else if (transit - self.quickest).abs() > RESTART {
            return false;
        }
        self.roll(now / SPAN);
        self.prove(transit);
        self.note(transit);
        self.jitter += ((transit - self.latest).abs() as f32 - self.jitter) / 16.0;
        self.latest = transit;
        self.count(transit - self.quickest);
        true
    }

    /// The packet of media time `media` that comes `now` is the first after a pause; whether the wait is counted from it,
    /// since by the packets before it would come too late, or be of another timeline.
    pub fn resume(&mut self, media: i64, now: u64) -> bool {
        let transit = now as i64 - media;
        if self.counted == 0.0 || (-RESTART..=self.wanted).contains(&(transit - self.quickest)) {
            return false;
        }
        self.roll(now / SPAN);
        self.pause = Some(Pause { spans: self.spans, transit, packets: 0 });
        self.spans = [i64::MAX; SPANS];
        (self.quickest, self.latest) = (transit, transit);
        true
    }

    /// Go back to the quickest packets before the pause where the network held packets up.
    fn prove(&mut self, transit: i64) {
        let Some(pause) = &mut self.pause else { return };
        pause.packets += 1;
        let Pause { spans, transit: first, packets } = *pause;
        if transit + SOONER < first {
            self.spans = spans;
            self.note(first);
            self.count(first - self.quickest);
        } else if packets <= PROOF {
            return;
        }
        self.pause = None;
    }

    fn note(&mut self, transit: i64) {
        let place = (self.span % SPANS as u64) as usize;
        self.spans[place] = self.spans[place].min(transit);
        self.quickest = self.spans.iter().copied().min().unwrap_or(transit);
    }

    fn roll(&mut self, span: u64) {
        for _ in 0..span.saturating_sub(self.span).min(SPANS as u64) {
            self.span += 1;
            self.spans[(self.span % SPANS as u64) as usize] = i64::MAX;
        }
        self.span = self.span.max(span);
    }

    fn count(&mut self, delay: i64) {
        self.counted += 1.0;
        // The first ones weigh more: what was expected before them is soon forgotten.
        let kept = 1.0 - 1.0 / (self.counted + 1.0).min(MEMORY);
        for share in &mut self.histogram {
            *share *= kept;
        }
        self.histogram[Self::bin(delay)] += 1.0 - kept;
        let mut late = 1.0 - self.share;
        let bin = self.histogram.iter().rposition(|&share| {
            late -= share;
            late < 0.0
        });
        let edge = (bin.unwrap_or(0) as i64 + 1) * BIN;
        self.wanted = edge.clamp(self.bounds.0, self.bounds.1);
    }

    /// Microseconds that packets should wait.
    pub fn wanted(&self) -> i64 {
        self.wanted
    }

    /// Interarrival jitter in microseconds (RFC 3550 section 6.4.1).
    pub fn jitter(&self) -> u32 {
        self.jitter as u32
    }

    /// How long audio of this media time has waited, or would have, had it come as quickly as any.
    pub fn waited(&self, media: i64, now: u64) -> i64 {
        now as i64 - media - self.quickest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(delay: impl Fn(u64) -> u64, count: u64) -> Delays {
        let mut delays = Delays::new(40_000, (10_000, 400_000), 0.98);
        for number in 0..count {
            assert!(delays.arrived(number as i64 * 20_000, 1_000_000 + number * 20_000 + delay(number)));
        }
        delays
    }

    #[test]
    fn an_even_stream_waits_no_longer_than_the_least() {
        assert_eq!(fed(|_| 0, 200).wanted(), 10_000);
    }

    #[test]
    fn the_wait_covers_the_share_that_is_wanted() {
        let delays = fed(|number| number * 7919 % 50 * 1000, 500);
        assert!((45_000..=55_000).contains(&delays.wanted()), "{}", delays.wanted());
    }

    #[test]
    fn a_longer_way_is_taken_for_the_quickest_once_the_old_one_is_forgotten() {
        let delays = fed(|number| if number < 100 { 0 } else { 100_000 }, 1500);
        assert_eq!(delays.wanted(), 10_000);
    }

    #[test]
    fn a_jump_of_the_timeline_is_told() {
        let mut delays = fed(|_| 0, 10);
        assert!(!delays.arrived(100 * 48_000_000, 1_300_000));
    }

    #[test]
    fn after_a_pause_a_packet_far_sooner_than_the_first_proves_that_the_network_held_up() {
        for (sooner, held_up) in [(SOONER as u64, false), (SOONER as u64 + 1, true)] {
            let (mut delays, media, now) = (fed(|_| 0, 100), 2_000_000, 4_000_000);
            assert!(delays.resume(media, now) && delays.arrived(media, now));
            assert!(delays.arrived(media + 20_000, now + 20_000 - sooner));
            assert_eq!(delays.waited(media + 20_000, now + 20_000) > 500_000, held_up, "{sooner}");
        }
    }
}
