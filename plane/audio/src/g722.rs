//! ITU-T G.722 at 64 kbit/s: two sub-bands of 8 kHz each, coded by ADPCM with 6 and 2 bits.
//!
//! The variables carry the Recommendation's names (section 6) in full words: `a` are the pole and `b` the zero
//! coefficients of the adaptive predictor, `nb` the logarithmic and `det` the linear scale factor.

/// Coefficients of the quadrature mirror filter, half of the symmetric 24 (table 11).
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];
/// Logarithmic scale factor steps of the lower band, and which of them each 4-bit code takes (tables 15, 16).
const WL: [i32; 8] = [-60, -30, 58, 172, 334, 538, 1198, 3042];
const RL: [usize; 16] = [0, 7, 6, 5, 4, 3, 2, 1, 7, 6, 5, 4, 3, 2, 1, 0];
/// The same of the higher band (tables 19, 20).
const WH: [i32; 4] = [798, -214, 798, -214];
/// 2 to the power of (index / 32), 11 bits (table 17).
const POWERS: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896, 2960, 3025,
    3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];
/// Quantized differences of the higher band, by its 2-bit code (table 21).
const QM2: [i32; 4] = [-7408, -1616, 7408, 1616];
/// Of the lower band: 4 bits, which adapt the predictor on both sides (table 18).
const QM4: [i32; 16] =
    [0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0];
/// Of the lower band: 6 bits, which are heard (table 13).
const QM6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360, -8576,
    -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688, -1360, -1040,
    -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456,
    4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
/// Decision levels of the lower band's quantizer (table 12).
const Q6: [i32; 30] = [
    0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219, 1339,
    1458, 1612, 1765, 1980, 2195, 2557, 2919,
];

fn clip(value: i32) -> i32 {
    value.clamp(-32768, 32767)
}

/// The adaptive predictor and scale factor of one sub-band.
#[derive(Clone)]
struct Band {
    /// Predicted sample, and the zeros' part of it.
    prediction: i32,
    zeros: i32,
    /// Reconstructed signal and partially reconstructed signal of the last two samples.
    reconstructed: [i32; 2],
    partial: [i32; 2],
    poles: [i32; 2],
    zero: [i32; 6],
    /// Quantized differences of the last six samples, newest first.
    differences: [i32; 6],
    log_scale: i32,
    scale: i32,
}

impl Band {
    fn new(scale: i32) -> Self {
        Self {
            prediction: 0,
            zeros: 0,
            reconstructed: [0; 2],
            partial: [0; 2],
            poles: [0; 2],
            zero: [0; 6],
            differences: [0; 6],
            log_scale: 0,
            scale,
        }
    }

    /// Section 6.2.1.4 (6.2.2.4): the scale factor of the next sample.
    fn scale_by(&mut self, step: i32, limit: i32, shift: i32) {
        self.log_scale = (((self.log_scale * 127) >> 7) + step).clamp(0, limit);
        let power = POWERS[((self.log_scale >> 6) & 31) as usize];
        let places = shift - (self.log_scale >> 11);
        self.scale = (if places < 0 { power << -places } else { power >> places }) << 2;
    }

    /// Section 6.2.1.5 (6.2.2.5): adapt the predictor to this quantized difference and predict the next sample.
    fn predict(&mut self, difference: i32) {
        let reconstructed = clip(self.prediction + difference);
        let partial = clip(self.zeros + difference);
        self.adapt_poles(partial);
        self.adapt_zeros(difference);
        self.differences.copy_within(0..5, 1);
        self.differences[0] = difference;
        self.partial = [partial, self.partial[0]];
        self.reconstructed = [reconstructed, self.reconstructed[0]];
        let pole = |index: usize| (self.poles[index] * clip(self.reconstructed[index] * 2)) >> 15;
        let poles = clip(pole(0) + pole(1));
        let zeros = (0..6).map(|index| (self.zero[index] * clip(self.differences[index] * 2)) >> 15);
        self.zeros = clip(zeros.sum());
        self.prediction = clip(poles + self.zeros);
    }

    fn adapt_poles(&mut self, partial: i32) {
        let same = |other: i32| (partial >> 15) == (other >> 15);
        let turned = clip(self.poles[0] * 4);
        let turned = (if same(self.partial[0]) { -turned } else { turned }).min(32767);
        let second = if same(self.partial[1]) { 128 } else { -128 } + (turned >> 7) + ((self.poles[1] * 32512) >> 15);
        let second = second.clamp(-12288, 12288);
        let step = if same(self.partial[0]) { 192 } else { -192 };
        let bound = clip(15360 - second);
        let first = clip(step + ((self.poles[0] * 32640) >> 15)).clamp(-bound, bound);
        self.poles = [first, second];
    }

    fn adapt_zeros(&mut self, difference: i32) {
        let step = if difference == 0 { 0 } else { 128 };
        let sign = difference >> 15;
        for (zero, &old) in self.zero.iter_mut().zip(&self.differences) {
            let toward = if (old >> 15) == sign { step } else { -step };
            *zero = clip(toward + ((*zero * 32640) >> 15));
        }
    }
}

/// Both bands, as encoder and decoder keep them.
#[derive(Clone)]
struct Bands {
    low: Band,
    high: Band,
}

impl Bands {
    fn new() -> Self {
        Self { low: Band::new(32), high: Band::new(8) }
    }

    fn adapt_low(&mut self, code: usize) {
        let short = code >> 2;
        let difference = (self.low.scale * QM4[short]) >> 15;
        self.low.scale_by(WL[RL[short]], 18432, 8);
        self.low.predict(difference);
    }

    fn adapt_high(&mut self, code: usize) {
        let difference = (self.high.scale * QM2[code]) >> 15;
        self.high.scale_by(WH[code], 22528, 10);
        self.high.predict(difference);
    }
}

/// The last 24 samples, kept twice over so that they always lie in one piece.
#[derive(Clone)]
struct Line {
    samples: [i32; 48],
    at: usize,
}

impl Line {
    fn new() -> Self {
        Self { samples: [0; 48], at: 0 }
    }

    /// Takes two samples; the sums of both halves of the mirror filter.
    fn push(&mut self, first: i32, second: i32) -> (i32, i32) {
        for (offset, sample) in [(0, first), (1, second)] {
            self.samples[self.at + offset] = sample;
            self.samples[self.at + offset + 24] = sample;
        }
        self.at = (self.at + 2) % 24;
        let line = &self.samples[self.at..self.at + 24];
        let (mut even, mut odd) = (0, 0);
        for index in 0..12 {
            even += line[2 * index] * QMF[index];
            odd += line[2 * index + 1] * QMF[11 - index];
        }
        (even, odd)
    }
}

/// Octets of one stream to 16 kHz PCM.
#[derive(Clone)]
pub struct Decoder {
    bands: Bands,
    line: Line,
}

impl Decoder {
    /// A decoder at rest.
    pub fn new() -> Self {
        Self { bands: Bands::new(), line: Line::new() }
    }

    /// Appends two samples for each octet.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) {
        for &octet in payload {
            let (low_code, high_code) = ((octet & 0x3F) as usize, (octet >> 6) as usize);
            let low = self.bands.low.prediction + ((self.bands.low.scale * QM6[low_code]) >> 15);
            let low = low.clamp(-16384, 16383);
            self.bands.adapt_low(low_code);
            let high = self.bands.high.prediction + ((self.bands.high.scale * QM2[high_code]) >> 15);
            let high = high.clamp(-16384, 16383);
            self.bands.adapt_high(high_code);
            let (first, second) = self.line.push(low + high, low - high);
            pcm.push(clip(second >> 11) as i16);
            pcm.push(clip(first >> 11) as i16);
        }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// 16 kHz PCM to octets.
#[derive(Clone)]
pub struct Encoder {
    bands: Bands,
    line: Line,
}

impl Encoder {
    /// An encoder at rest.
    pub fn new() -> Self {
        Self { bands: Bands::new(), line: Line::new() }
    }

    /// Appends an octet for each two samples; an odd last one is left out.
    pub fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>) {
        for pair in pcm.chunks_exact(2) {
            let (even, odd) = self.line.push(i32::from(pair[0]), i32::from(pair[1]));
            let low_code = self.low_code((even + odd) >> 14);
            self.bands.adapt_low(low_code);
            let high_code = self.high_code((odd - even) >> 14);
            self.bands.adapt_high(high_code);
            payload.push((high_code << 6 | low_code) as u8);
        }
    }

    /// Section 6.2.1.1 (QUANTL).
    fn low_code(&self, sample: i32) -> usize {
        let difference = clip(sample - self.bands.low.prediction);
        let magnitude = if difference < 0 { !difference } else { difference };
        let scale = self.bands.low.scale;
        let interval = Q6.partition_point(|&level| magnitude >= (level * 8 * scale) >> 15).max(1);
        match (difference < 0, interval) {
            (true, 1 | 2) => 64 - interval,
            (true, _) => 34 - interval,
            (false, _) => 62 - interval,
        }
    }

    /// Section 6.2.2.1 (QUANTH).
    fn high_code(&self, sample: i32) -> usize {
        let difference = clip(sample - self.bands.high.prediction);
        let magnitude = if difference < 0 { !difference } else { difference };
        let outer = magnitude >= (564 * self.bands.high.scale) >> 12;
        match (difference < 0, outer) {
            (true, false) => 1,
            (true, true) => 0,
            (false, false) => 3,
            (false, true) => 2,
        }
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}
