//! Rates turned into each other by a polyphase filter whose history carries over packet borders.
//!
//! Between 8, 16 and 48 kHz one rate is always a multiple of the other. The filter is a windowed sinc: flat
//! within 0.5 dB up to 0.87 of the narrower band, 50 dB down from 1.15 of it.

use std::sync::OnceLock;

use crate::Error;

/// Taps that each output sample costs where the rate goes up; as many times the factor where it goes down.
const TAPS: usize = 32;
/// Parts of a sum that are kept apart, so that the compiler may add them side by side.
const LANES: usize = 8;
const FACTORS: [usize; 3] = [2, 3, 6];

/// Zeroth order modified Bessel function, for the Kaiser window.
fn bessel(x: f64) -> f64 {
    let mut sum = 1.0;
    let mut term = 1.0;
    for k in 1..40 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}

/// A low-pass of `TAPS * factor` taps at 1/factor of the band, with unit gain at 0 Hz.
fn low_pass(factor: usize) -> Vec<f32> {
    let length = TAPS * factor;
    let middle = (length - 1) as f64 / 2.0;
    let taps: Vec<f64> = (0..length)
        .map(|index| {
            let x = index as f64 - middle;
            let turns = std::f64::consts::PI * x / factor as f64;
            let window = bessel(5.5 * (1.0 - (x / (middle + 0.5)).powi(2)).sqrt());
            window * if x == 0.0 { 1.0 } else { turns.sin() / turns }
        })
        .collect();
    let sum: f64 = taps.iter().sum();
    taps.iter().map(|tap| (tap / sum) as f32).collect()
}

/// The filter going down, and its phases, one after the other, going up: made once a process.
struct Filter {
    down: Vec<f32>,
    up: Vec<f32>,
}

fn filter(factor: usize) -> Option<&'static Filter> {
    static FILTERS: [OnceLock<Filter>; 3] = [const { OnceLock::new() }; 3];
    let place = FACTORS.iter().position(|&each| each == factor)?;
    Some(FILTERS[place].get_or_init(|| {
        let down = low_pass(factor);
        let phase = |phase: usize| {
            let taps = &down;
            (0..TAPS).rev().map(move |tap| taps[tap * factor + phase] * factor as f32)
        };
        let up = (0..factor).flat_map(phase).collect();
        Filter { down, up }
    }))
}

fn product(line: &[f32], taps: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for (samples, taps) in line.chunks_exact(LANES).zip(taps.chunks_exact(LANES)) {
        for lane in 0..LANES {
            sums[lane] += samples[lane] * taps[lane];
        }
    }
    sums.iter().sum()
}

fn rounded(sample: f32) -> i16 {
    // A conversion by `as` keeps to the borders of the type.
    sample.round_ties_even() as i16
}

/// Changes the rate of one stream.
pub struct Resampler {
    filter: &'static Filter,
    factor: usize,
    up: bool,
    /// The last samples of what came before, then what has come.
    line: Vec<f32>,
}

impl Resampler {
    /// None where the rates are equal; `Error::Unsupported` where one is not 2, 3 or 6 times the other.
    pub fn new(rate_in: u32, rate_out: u32) -> Result<Option<Self>, Error> {
        if rate_in == rate_out {
            return Ok(None);
        }
        let (high, low) = (rate_in.max(rate_out), rate_in.min(rate_out));
        let factor = if low > 0 && high % low == 0 { (high / low) as usize } else { 0 };
        let filter = filter(factor).ok_or(Error::Unsupported)?;
        let up = rate_out > rate_in;
        let history = if up { TAPS - 1 } else { filter.down.len() - 1 };
        let line = vec![0.0; history];
        Ok(Some(Self { filter, factor, up, line }))
    }

    /// Appends `pcm` at the other rate; going down its length must be a multiple of the factor, else the rest is lost.
    pub fn process(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        let history = self.line.len();
        self.line.extend(pcm.iter().map(|&sample| f32::from(sample)));
        if self.up {
            for window in self.line.windows(TAPS) {
                let phases = self.filter.up.chunks_exact(TAPS);
                out.extend(phases.map(|taps| rounded(product(window, taps))));
            }
        } else {
            let taps = &self.filter.down;
            let windows = self.line.windows(taps.len()).step_by(self.factor);
            out.extend(windows.map(|window| rounded(product(window, taps))));
        }
        let used = self.line.len() - history;
        self.line.copy_within(used.., 0);
        self.line.truncate(history);
    }
}
