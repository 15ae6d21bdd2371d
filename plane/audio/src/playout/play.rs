//! Audio as it is asked for: decoded, recovered, concealed, or the noise of a silent sender.

use super::wait::TOO_SHORT;
use super::{Heard, Playout, State};
use crate::codec::{Codec, Decoder};
use crate::noise::root_mean_square;
use crate::{Micros, opus};

/// Audio is made in steps of so many ms where nothing says how much is missing.
const STEP_MS: u32 = 10;
/// A loss is concealed no longer than this; then comes noise.
const CONCEALED_MS: u32 = 120;
/// Played audio that is kept: two of the longest periods and what is compared.
const HISTORY_MS: u32 = 40;
/// After a loss, waits are long enough for the copy in the next packet for so many packets.
const LOSS_MEMORY: u32 = 500;

impl Playout {
    /// Appends `samples` samples that are to be played `now`.
    pub fn pull(&mut self, now: Micros, samples: usize, pcm: &mut Vec<i16>) -> Heard {
        self.frame = samples;
        let left = self.line.len() - self.at;
        self.fill(now, samples);
        if self.excess != 0 {
            self.stretch(now, samples);
            self.fill(now, samples);
        } else if self.state == State::Voice {
            self.align(left, samples);
            self.fill(now, samples);
        }
        let end = self.at + samples;
        pcm.extend_from_slice(&self.line[self.at..end]);
        self.at = end;
        let heard = if self.line.len() - end + samples <= self.noisy { Heard::Silence } else { Heard::Voice };
        self.noisy = self.noisy.min(self.line.len() - end);
        let kept = self.samples_of(HISTORY_MS);
        if self.at > 2 * kept {
            self.line.drain(..self.at - kept);
            self.at = kept;
        }
        heard
    }

    fn fill(&mut self, now: Micros, samples: usize) {
        while self.line.len() < self.at + samples {
            self.step(now);
        }
    }

    /// Makes some more audio, at least one sample.
    pub(super) fn step(&mut self, now: Micros) {
        let Some(first) = self.ring.first(self.next_sequence) else {
            return self.without();
        };
        let (sequence, timestamp, noise) = (first.sequence, first.timestamp, first.noise);
        let duration = self.decoder.samples(&first.payload).unwrap_or(0);
        let waited = self.delays.waited(self.micros(timestamp), now);
        let gap = timestamp - self.next_timestamp - self.borrowed;
        if waited > i64::from(self.settings.most_ms) * 1000 + self.micros(self.duration) && self.ring.waiting() > 1 {
            self.statistics.overflow += 1;
            self.pass(sequence);
            self.next_timestamp = timestamp;
            self.borrowed = 0;
        } else if noise {
            self.fall_silent(sequence);
        } else if self.state == State::Silent {
            // Noise shorter than the frame would not let the next packets wait any longer.
            if waited + TOO_SHORT >= self.wanted_of(duration) {
                self.decode(sequence, now);
            } else {
                self.quiet((self.at + self.frame).saturating_sub(self.line.len()).max(1));
            }
        } else if gap <= self.ticks(self.samples_of(1)) {
            self.decode(sequence, now);
        } else if sequence == self.next_sequence {
            // No packet is missing, only time: the sender fell silent without a word.
            self.state = State::Silent;
            self.noise.set(self.floor);
        } else {
            self.fill_gap(sequence, gap);
        }
    }

    /// Takes a packet out of the ring, and with it the numbers before it, which will not be played any more.
    fn pass(&mut self, sequence: i64) {
        self.ring.free(sequence);
        self.next_sequence = sequence + 1;
    }

    /// Audio is missing, and the packet after it is there.
    fn fill_gap(&mut self, sequence: i64, gap: i64) {
        let samples = self.samples(gap);
        let recoverable = self.samples(self.duration);
        let step = (self.rate / 400) as usize;
        if let (Decoder::Opus(decoder, _), true) = (&mut self.decoder, samples <= recoverable && samples >= step) {
            let slot = self.ring.first(sequence).map(|slot| slot.payload.as_slice());
            let copy = slot.filter(|payload| opus::has_copy(payload));
            let before = self.line.len();
            let wanted = samples / step * step;
            if copy.is_some_and(|payload| decoder.recover(payload, wanted, &mut self.line).is_ok()) {
                self.statistics.recovered += 1;
                self.next_timestamp += gap;
                self.made(self.line.len() - before);
                return;
            }
        }
        let made = self.conceal(samples.min(recoverable.max(step)).max(1));
        self.next_timestamp += self.ticks(made);
    }

    /// Nothing is there: late, lost or never sent.
    fn without(&mut self) {
        let step = self.samples_of(STEP_MS);
        match self.state {
            State::Silent => self.quiet(step),
            State::Voice | State::Lost(_) => {
                let made = self.conceal(step);
                self.borrowed += self.ticks(made);
            }
        }
    }

    /// Appends so many samples, rounded up to what the codec conceals, in the place of a loss; how many.
    fn conceal(&mut self, samples: usize) -> usize {
        let so_far = match self.state {
            State::Lost(so_far) => so_far,
            _ => {
                if !matches!(self.decoder, Decoder::Opus(..)) {
                    let from = self.line.len().saturating_sub(self.samples_of(HISTORY_MS));
                    self.concealer.begin(&self.line[from..]);
                    self.noise.set(self.floor);
                }
                0
            }
        };
        if so_far as usize >= self.samples_of(CONCEALED_MS) {
            self.state = State::Silent;
            self.noise.set(self.floor);
            self.quiet(samples);
            return samples;
        }
        let before = self.line.len();
        match &mut self.decoder {
            Decoder::Opus(decoder, rate) => {
                let step = (*rate / 400) as usize;
                // Where the library refuses, nothing was appended: silence is.
                let wanted = samples.div_ceil(step) * step;
                let _ = decoder.conceal(wanted, &mut self.line);
                self.line.resize(before + wanted, 0);
            }
            _ => self.concealer.make(samples, &mut self.noise, &mut self.line),
        }
        let made = self.line.len() - before;
        self.statistics.concealed += made as u64;
        self.state = State::Lost(so_far + made as u32);
        self.made(made);
        made
    }

    /// Appends so many samples of the noise of a silent sender.
    fn quiet(&mut self, samples: usize) {
        let before = self.line.len();
        if let (Decoder::Opus(decoder, rate), true) = (&mut self.decoder, self.opus_silent) {
            let step = (*rate / 400) as usize;
            let _ = decoder.conceal(samples.div_ceil(step) * step, &mut self.line);
        }
        if self.line.len() == before {
            self.noise.make(samples, &mut self.line);
        }
        self.noisy += self.line.len() - before;
    }

    /// So many samples of audio were appended.
    fn made(&mut self, samples: usize) {
        if samples > 0 {
            self.noisy = 0;
        }
    }

    /// A packet of comfort noise: the sender is silent from here on (RFC 3389).
    fn fall_silent(&mut self, sequence: i64) {
        if let Some(slot) = self.ring.first(sequence) {
            self.noise.read(&slot.payload);
        }
        self.pass(sequence);
        self.state = State::Silent;
        (self.told_silent, self.opus_silent) = (true, false);
    }

    fn decode(&mut self, sequence: i64, now: Micros) {
        let Some(slot) = self.ring.first(sequence) else { return };
        let timestamp = slot.timestamp;
        // In a silence come packets that refresh the noise.
        let refreshed = self.opus_silent && !opus::has_speech(&slot.payload);
        let silent = self.codec == Codec::Opus && (opus::is_silent(&slot.payload) || refreshed);
        let before = self.line.len();
        if self.decoder.decode(&slot.payload, &mut self.line).is_err() {
            // It stays missing, as if it had not come.
            self.statistics.malformed += 1;
            self.ring.free(sequence);
            return;
        }
        let made = self.line.len() - before;
        self.copies = self.codec == Codec::Opus && opus::has_copy(&slot.payload);
        self.lossy = self.lossy.saturating_sub(1);
        if self.duration > 0 && sequence > self.next_sequence {
            self.statistics.lost += (sequence - self.next_sequence) as u64;
            self.lossy = LOSS_MEMORY;
        }
        if let (State::Lost(_), false) = (self.state, matches!(self.decoder, Decoder::Opus(..))) {
            self.concealer.end(&mut self.noise, &mut self.line[before..]);
        }
        self.pass(sequence);
        self.duration = self.ticks(made);
        self.next_timestamp = timestamp + self.duration;
        self.borrowed = 0;
        self.state = if silent { State::Silent } else { State::Voice };
        (self.told_silent, self.opus_silent) = (silent, silent);
        if silent {
            self.noisy += made;
        } else {
            self.made(made);
            self.listen(before);
        }
        self.look(timestamp, now);
    }

    /// Follows the noise of the background: down at once, up by 1 % a packet.
    fn listen(&mut self, from: usize) {
        let level = root_mean_square(&self.line[from..]);
        let risen = (self.floor * 1.01).max(1.0);
        // Never louder than -50 dBov: what is always louder is no background.
        self.floor = level.min(risen).min(100.0);
    }
}
