//! Comfort noise (RFC 3389): its level measured, written and read, and noise made of it.

/// The most reflection coefficients that are taken from a payload (RFC 3389 section 3: up to 12 are of use).
const ORDER: usize = 12;
/// Level of 16-bit PCM whose root mean square is the square wave of full scale: 0 dBov (RFC 3389 section 3).
const OVERLOAD: f32 = 32767.0;
/// How much of the way to a new level each sample goes: about 5 ms at 8 kHz.
const GLIDE: f32 = 0.03;

/// Root mean square of some samples; 0 for none.
pub fn root_mean_square(pcm: &[i16]) -> f32 {
    let energy: i64 = pcm.iter().map(|&sample| i64::from(sample) * i64::from(sample)).sum();
    (energy as f32 / pcm.len().max(1) as f32).sqrt()
}

/// A root mean square as -dBov, 0 to 127.
pub fn level(root_mean_square: f32) -> u8 {
    (-20.0 * (root_mean_square.max(1e-3) / OVERLOAD).log10()).round().clamp(0.0, 127.0) as u8
}

/// Reflection coefficient of wideband noise: nine tenths of its energy are in the telephone band, as those of most
/// rooms, so that it keeps its level on its way to a telephone.
const DARK: f32 = -0.7;

/// Noise of no colour, or of the one that the far side told, from a seed.
#[derive(Clone)]
pub struct ComfortNoise {
    seed: u32,
    /// Root mean square that is wanted, and that of the last sample.
    wanted: f32,
    reached: f32,
    /// What the filter adds to the energy of white noise, as a factor to take out again.
    share: f32,
    reflections: [f32; ORDER],
    order: usize,
    backward: [f32; ORDER + 1],
    /// The reflection coefficient of noise whose colour nobody told.
    plain: f32,
}

impl ComfortNoise {
    /// Silence until a level is set; at `rate` Hz.
    pub fn new(seed: u32, rate: u32) -> Self {
        Self {
            seed: seed | 1,
            wanted: 0.0,
            reached: 0.0,
            share: 1.0,
            reflections: [0.0; ORDER],
            order: 0,
            backward: [0.0; ORDER + 1],
            plain: if rate > 8000 { DARK } else { 0.0 },
        }
    }

    /// Noise of this root mean square.
    pub fn set(&mut self, root_mean_square: f32) {
        self.wanted = root_mean_square;
        self.order = 1;
        self.reflections[0] = self.plain;
        self.share = (1.0 - self.plain * self.plain).sqrt();
    }

    /// Noise as a payload describes it: level, then quantized reflection coefficients; an empty one is malformed.
    pub fn read(&mut self, payload: &[u8]) -> bool {
        let Some((&level, coefficients)) = payload.split_first() else {
            return false;
        };
        self.set(OVERLOAD * 10f32.powf(-f32::from(level & 0x7F) / 20.0));
        if coefficients.is_empty() {
            return true;
        }
        self.order = coefficients.len().min(ORDER);
        self.share = 1.0;
        for (reflection, &quantized) in self.reflections.iter_mut().zip(coefficients) {
            // Below 1, the filter is stable whatever a stranger sent.
            *reflection = (258.0 * (f32::from(quantized) - 127.0) / 32768.0).clamp(-0.95, 0.95);
            self.share *= 1.0 - *reflection * *reflection;
        }
        self.share = self.share.max(0.0).sqrt();
        true
    }

    fn white(&mut self) -> f32 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 17;
        self.seed ^= self.seed << 5;
        // Even between -1 and 1: a root mean square of 1/sqrt(3).
        (self.seed as i32 as f32 / 2_147_483_648.0) * 1.732_050_8
    }

    /// One sample.
    pub fn sample(&mut self) -> f32 {
        self.reached += (self.wanted - self.reached) * GLIDE;
        let mut forward = self.white() * self.share;
        for index in (0..self.order).rev() {
            forward -= self.reflections[index] * self.backward[index];
            self.backward[index + 1] = self.backward[index] + self.reflections[index] * forward;
        }
        self.backward[0] = forward;
        forward * self.reached
    }

    /// Appends so many samples.
    pub fn make(&mut self, samples: usize, pcm: &mut Vec<i16>) {
        for _ in 0..samples {
            let sample = self.sample() as i16;
            pcm.push(sample);
        }
    }
}
