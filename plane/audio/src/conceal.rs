//! Lost audio of codecs that cannot conceal it themselves: the last period of the pitch again, fading.
//!
//! After the idea of ITU-T G.711 Appendix I: full level for 10 ms, then 20 % less every 10 ms; under it comes
//! the noise of the background, so that a longer loss ends in that and not in nothing.

use crate::noise::ComfortNoise;
use crate::stretch::{blend, period_at_end};

/// Milliseconds at full level, and until nothing is left.
const FULL_MS: u32 = 10;
const FADED_MS: u32 = 60;

/// What is made in the place of lost audio.
pub struct Concealer {
    rate: u32,
    /// One period, made so that it can be repeated without a seam.
    period: Vec<i16>,
    at: usize,
    /// Samples made since the loss began.
    made: usize,
    /// What is missing between the last true sample and the first of the period, and for how many samples.
    step: f32,
}

impl Concealer {
    pub fn new(rate: u32) -> Self {
        Self { rate, period: Vec::new(), at: 0, made: 0, step: 0.0 }
    }

    /// A loss begins after `history`.
    pub fn begin(&mut self, history: &[i16]) {
        self.period.clear();
        (self.at, self.made, self.step) = (0, 0, 0.0);
        if history.is_empty() {
            return;
        }
        let length = period_at_end(history, self.rate);
        let start = history.len() - length;
        self.period.extend_from_slice(&history[start..]);
        // The end of the period leads into its beginning: into what came before that beginning.
        let overlap = (length / 4).min(start);
        for index in 0..overlap {
            let before = history[start - overlap + index];
            let place = length - overlap + index;
            self.period[place] = blend(self.period[place], before, index, overlap);
        }
        if start > 0 {
            self.step = f32::from(history[history.len() - 1]) - f32::from(history[start - 1]);
        }
    }

    fn gain(&self) -> f32 {
        let milliseconds = self.made as f32 * 1000.0 / self.rate as f32;
        let faded = (milliseconds - FULL_MS as f32) / (FADED_MS - FULL_MS) as f32;
        1.0 - faded.clamp(0.0, 1.0)
    }

    fn sample(&mut self, noise: &mut ComfortNoise) -> i16 {
        let gain = self.gain();
        let quarter = (self.period.len() / 4).max(1);
        let lead = 1.0 - (self.made as f32 / quarter as f32).min(1.0);
        let voice = self.period.get(self.at).map_or(0.0, |&sample| f32::from(sample)) + self.step * lead;
        self.at = if self.at + 1 < self.period.len() { self.at + 1 } else { 0 };
        self.made += 1;
        (voice * gain + noise.sample() * (1.0 - gain)) as i16
    }

    /// Appends so many samples.
    pub fn make(&mut self, samples: usize, noise: &mut ComfortNoise, pcm: &mut Vec<i16>) {
        for _ in 0..samples {
            let sample = self.sample(noise);
            pcm.push(sample);
        }
    }

    /// Leads over to the true audio that begins with `pcm`.
    pub fn end(&mut self, noise: &mut ComfortNoise, pcm: &mut [i16]) {
        let milliseconds = self.made * 1000 / self.rate as usize;
        let overlap = (if milliseconds > 20 { 10 } else { 5 } * self.rate as usize / 1000).min(pcm.len());
        for (index, sample) in pcm[..overlap].iter_mut().enumerate() {
            *sample = blend(self.sample(noise), *sample, index, overlap);
        }
    }
}
