//! The wait of the packets, kept near what is wanted.

use super::{Playout, State};
use crate::noise::root_mean_square;
use crate::{Micros, stretch};

/// The least wait of so many microseconds of audio decides whether audio is stretched.
const LOOK: i64 = 100_000;
/// So much shorter than wanted may packets wait, in microseconds, and so much longer beside a whole frame or packet:
/// a packet waits for the frame that it is decoded for, so that its wait changes by that and by nothing less.
pub(super) const TOO_SHORT: i64 = 5_000;
const TOO_LONG: i64 = 5_000;
/// Where packets and frames have no borders in common every so many ms, they are not brought together.
const COMMON_MS: u32 = 5;
/// So many ms of audio may be left over from frame to frame.
const LEFT_MS: u32 = 2;
/// Where they wait so much too long, audio is shortened even where its periods are not alike.
const FAR_TOO_LONG: i64 = 150_000;

fn greatest_common_divisor(one: usize, other: usize) -> usize {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}

impl Playout {
    pub(super) fn look(&mut self, timestamp: i64, now: Micros) {
        let waited = self.delays.waited(self.micros(timestamp), now);
        self.statistics.waited_ms = (waited / 1000).max(0) as u32;
        self.look = (self.look.0.min(waited), self.look.1 + self.micros(self.duration));
        if self.look.1 < LOOK {
            return;
        }
        let excess = self.look.0 - self.wanted();
        self.look = (i64::MAX, 0);
        let step = self.micros(self.duration.min(self.ticks(self.frame)));
        self.excess = if (-TOO_SHORT..=step + TOO_LONG).contains(&excess) { 0 } else { excess };
    }

    /// In silence, takes out what is left over of each packet when its frame is full: it delays all that follows, and
    /// lets nothing wait longer. `left` samples were there before this frame.
    pub(super) fn align(&mut self, left: usize, samples: usize) {
        let common = greatest_common_divisor(samples, self.samples(self.duration));
        if common < self.samples_of(COMMON_MS) {
            return;
        }
        let over = left % common;
        let line = &self.line[self.at..];
        if over <= self.samples_of(LEFT_MS) || line.len() < 2 * over || !self.is_quiet(&line[..2 * over]) {
            return;
        }
        stretch::splice(&mut self.line, self.at, over);
        self.statistics.shortened += over as u64;
    }

    fn is_quiet(&self, pcm: &[i16]) -> bool {
        root_mean_square(pcm) <= 2.0 * self.floor
    }

    pub(super) fn stretch(&mut self, now: Micros, samples: usize) {
        let quiet = self.is_quiet(&self.line[self.at..]);
        if self.excess > 0 {
            let least = stretch::longest_period(self.rate);
            if self.line.len() < self.at + samples + least && self.ring.waiting() > 0 {
                self.step(now);
            }
            let most = (self.excess * i64::from(self.rate) / 1_000_000) as usize;
            let anyhow = quiet || self.excess > FAR_TOO_LONG;
            let gone = stretch::shorten(&mut self.line, self.at, self.rate, most, anyhow);
            self.statistics.shortened += gone as u64;
        } else if self.state == State::Voice {
            let come = stretch::lengthen(&mut self.line, self.at, self.rate, quiet);
            self.statistics.lengthened += come as u64;
        }
        self.excess = 0;
        // What is noise and what is not has moved: it is voice until the next silence.
        self.noisy = 0;
    }
}
