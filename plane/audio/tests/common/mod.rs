//! A sender, a network and a listener for the tests by signal.

#![allow(dead_code)]

use std::f32::consts::TAU;

use gateway_audio::g711::{self, Law};
use gateway_audio::opus::{self, OpusSettings};
use gateway_audio::{Codec, Kind, Packet, Settings, Transcoder, g722};

pub const PAIRS: [(Codec, Codec); 10] = [
    (Codec::Opus, Codec::Pcmu),
    (Codec::Opus, Codec::Pcma),
    (Codec::Opus, Codec::G722),
    (Codec::Pcmu, Codec::Opus),
    (Codec::Pcma, Codec::Opus),
    (Codec::G722, Codec::Opus),
    (Codec::Pcmu, Codec::G722),
    (Codec::G722, Codec::Pcma),
    (Codec::Pcmu, Codec::Pcma),
    (Codec::Pcma, Codec::Pcmu),
];

/// Root mean square of a sine of -10 dBm0: 0 dBm0 is 3.17 dB below the loudest sine.
pub fn amplitude(dbm0: f32) -> f32 {
    32767.0 * 10f32.powf((dbm0 - 3.17) / 20.0)
}

pub fn tone(frequency: f32, amplitude: f32, rate: u32, seconds: f32) -> Vec<i16> {
    let samples = (rate as f32 * seconds) as usize;
    let phase = |index: usize| (index as f64 * f64::from(frequency) / f64::from(rate)).fract() as f32 * TAU;
    (0..samples).map(|index| (amplitude * phase(index).sin()).round() as i16).collect()
}

/// A tone that glides from `low` to `high` Hz, evenly in octaves.
pub fn sweep(low: f32, high: f32, amplitude: f32, rate: u32, seconds: f32) -> Vec<i16> {
    let samples = (rate as f32 * seconds) as usize;
    let mut turns = 0.0f64;
    let sample = |index: usize| {
        turns += f64::from(low * (high / low).powf(index as f32 / samples as f32)) / f64::from(rate);
        (amplitude * (turns.fract() as f32 * TAU).sin()).round() as i16
    };
    (0..samples).map(sample).collect()
}

/// Something like a vowel: harmonics of a pitch that glides.
pub fn vowel(rate: u32, seconds: f32) -> Vec<i16> {
    let mut phase = 0.0f32;
    let sample = |index: usize| {
        let time = index as f32 / rate as f32;
        phase += (140.0 + 30.0 * (time * 3.0).sin()) / rate as f32;
        let voice: f32 = (1..20).map(|n| (phase.fract() * TAU * n as f32).sin() / n as f32).sum();
        (4000.0 * voice) as i16
    };
    (0..(rate as f32 * seconds) as usize).map(sample).collect()
}

/// Something like speech: vowels of 300 ms with pauses of 100 ms.
pub fn speech(rate: u32, seconds: f32) -> Vec<i16> {
    let mut pcm = vowel(rate, seconds);
    for (index, sample) in pcm.iter_mut().enumerate() {
        let syllable = (index as f32 / rate as f32 / 0.4).fract() * 0.4;
        let envelope = (syllable / 0.02).min((0.3 - syllable) / 0.02).clamp(0.0, 1.0);
        *sample = (f32::from(*sample) * envelope) as i16;
    }
    pcm
}

fn source_rate(codec: Codec) -> u32 {
    codec.rate()
}

/// PCM at the codec's own rate as payloads of `frame_ms`.
pub fn encoded(codec: Codec, pcm: &[i16], frame_ms: u32) -> Vec<Vec<u8>> {
    let settings = OpusSettings { bit_rate: 32_000, expected_loss: 20, ..OpusSettings::default() };
    encoded_with(codec, pcm, frame_ms, &settings)
}

pub fn encoded_with(codec: Codec, pcm: &[i16], frame_ms: u32, settings: &OpusSettings) -> Vec<Vec<u8>> {
    let mut opus = opus::Encoder::new(48000, settings).unwrap();
    let mut g722 = g722::Encoder::new();
    let frames = pcm.chunks_exact((source_rate(codec) * frame_ms / 1000) as usize);
    frames
        .map(|frame| {
            let mut payload = Vec::new();
            match codec {
                Codec::Pcmu => g711::encode(Law::Mu, frame, &mut payload),
                Codec::Pcma => g711::encode(Law::A, frame, &mut payload),
                Codec::G722 => g722.encode(frame, &mut payload),
                Codec::Opus => opus.encode(frame, &mut payload).unwrap(),
            }
            payload
        })
        .collect()
}

/// A listener: what was sent, decoded at `codec.rate()`, put where its timestamp says.
pub struct Listener {
    codec: Codec,
    opus: opus::Decoder,
    g722: g722::Decoder,
    pub pcm: Vec<i16>,
    pub timestamps: Vec<u32>,
    pub markers: Vec<bool>,
    pub noise: Vec<(u32, u8)>,
    pub sizes: Vec<usize>,
}

impl Listener {
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            opus: opus::Decoder::new(48000).unwrap(),
            g722: g722::Decoder::new(),
            pcm: Vec::new(),
            timestamps: Vec::new(),
            markers: Vec::new(),
            noise: Vec::new(),
            sizes: Vec::new(),
        }
    }

    pub fn hear(&mut self, timestamp: u32, kind: Kind, marker: bool, payload: &[u8]) {
        if kind == Kind::Noise {
            self.noise.push((timestamp, payload[0]));
            return;
        }
        self.timestamps.push(timestamp);
        self.markers.push(marker);
        self.sizes.push(payload.len());
        let place = timestamp as usize * self.codec.rate() as usize / self.codec.clock() as usize;
        self.pcm.resize(place, 0);
        match self.codec {
            Codec::Pcmu => g711::decode(Law::Mu, payload, &mut self.pcm),
            Codec::Pcma => g711::decode(Law::A, payload, &mut self.pcm),
            Codec::G722 => self.g722.decode(payload, &mut self.pcm),
            Codec::Opus => self.opus.decode(payload, &mut self.pcm).unwrap(),
        }
    }
}

/// What the network does to packet `number`: None loses it, else so many microseconds on its way.
pub type Network<'a> = &'a dyn Fn(usize) -> Option<u64>;

pub const PERFECT: Network<'static> = &|_| Some(5_000);

/// Everything a path needs: packets of `frame_ms` at times of their own, through a transcoder, to a listener.
pub struct Path {
    pub transcoder: Transcoder,
    pub listener: Listener,
    from: Codec,
    pub now: u64,
}

pub const START: u64 = 77_000_000;

impl Path {
    pub fn new(from: Codec, to: Codec, settings: &Settings) -> Self {
        let transcoder = Transcoder::new(from, to, settings).unwrap();
        Self { transcoder, listener: Listener::new(to), from, now: START }
    }

    pub fn tick_until(&mut self, end: u64) {
        let listener = &mut self.listener;
        while let Some(due) = self.transcoder.due().filter(|&due| due <= end) {
            if let Some(frame) = self.transcoder.tick(due) {
                listener.hear(frame.timestamp, frame.kind, frame.marker, frame.payload);
            }
        }
        self.now = end;
    }

    pub fn push(&mut self, number: usize, ticks: u32, kind: Kind, payload: &[u8], at: u64) {
        self.push_marked(number, ticks, (kind, false), payload, at);
    }

    pub fn push_marked(&mut self, number: usize, ticks: u32, (kind, marker): (Kind, bool), payload: &[u8], at: u64) {
        self.tick_until(at);
        let packet = Packet {
            sequence_number: 65_500u16.wrapping_add(number as u16),
            timestamp: u32::MAX - 5000,
            marker,
            kind,
            payload,
        };
        let packet = Packet { timestamp: packet.timestamp.wrapping_add(ticks), ..packet };
        self.transcoder.push(&packet, at);
    }

    /// Sends all payloads, `frame_ms` apart, and plays until everything was heard.
    pub fn run(&mut self, payloads: &[Vec<u8>], frame_ms: u32, network: Network<'_>) {
        let each = u64::from(frame_ms) * 1000;
        let arrival = |number: usize| network(number).map(|way| (START + number as u64 * each + way, number));
        let mut arrivals: Vec<_> = (0..payloads.len()).filter_map(arrival).collect();
        arrivals.sort_unstable();
        for (at, number) in arrivals {
            let ticks = number as u32 * self.from.clock() / 1000 * frame_ms;
            self.push(number, ticks, Kind::Audio, &payloads[number], at);
        }
        self.tick_until(START + payloads.len() as u64 * each + 200_000);
    }
}

/// Amplitude of one frequency in `pcm`, looked at through a Hann window.
pub fn amplitude_at(pcm: &[i16], frequency: f32, rate: u32) -> f32 {
    let count = pcm.len() as f64;
    let (mut real, mut imaginary, mut weight) = (0.0f64, 0.0f64, 0.0f64);
    for (index, &sample) in pcm.iter().enumerate() {
        let window = 0.5 - 0.5 * (std::f64::consts::TAU * index as f64 / count).cos();
        let (sine, cosine) = (std::f64::consts::TAU * index as f64 * f64::from(frequency) / f64::from(rate)).sin_cos();
        real += window * cosine * f64::from(sample);
        imaginary += window * sine * f64::from(sample);
        weight += window;
    }
    (2.0 * real.hypot(imaginary) / weight) as f32
}

pub fn decibel(ratio: f32) -> f32 {
    20.0 * ratio.max(1e-9).log10()
}

/// What is left of `pcm` in each 10 ms after the best sine of this frequency is taken out, as a share of the sine.
pub fn residues(pcm: &[i16], frequency: f32, rate: u32) -> Vec<f32> {
    let each = (rate / 100) as usize;
    pcm.chunks_exact(each)
        .map(|part| {
            let (mut cs, mut ss, mut cc, mut cx, mut sx) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
            let turn = std::f64::consts::TAU * f64::from(frequency) / f64::from(rate);
            for (index, &sample) in part.iter().enumerate() {
                let (s, c) = (turn * index as f64).sin_cos();
                let x = f64::from(sample);
                cc += c * c;
                ss += s * s;
                cs += c * s;
                cx += c * x;
                sx += s * x;
            }
            let determinant = cc * ss - cs * cs;
            let (a, b) = ((cx * ss - sx * cs) / determinant, (sx * cc - cx * cs) / determinant);
            let sum = |index: usize| {
                let (s, c) = (turn * index as f64).sin_cos();
                f64::from(part[index]) - a * c - b * s
            };
            let left: f64 = (0..part.len()).map(|index| sum(index).powi(2)).sum();
            let sine = (a * a + b * b) / 2.0 * part.len() as f64;
            (left / sine.max(1.0)).sqrt() as f32
        })
        .collect()
}

/// Lag in samples at which `heard` is most like `said`, both at the same rate.
pub fn lag(said: &[i16], heard: &[i16], most: usize) -> usize {
    let likeness = |lag: usize| -> f64 {
        let pairs = said.iter().zip(&heard[lag.min(heard.len())..]);
        let both = pairs.clone().map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let energy = pairs.map(|(_, &b)| f64::from(b) * f64::from(b)).sum::<f64>();
        both / energy.sqrt().max(1.0)
    };
    (0..most).max_by(|&one, &other| likeness(one).total_cmp(&likeness(other))).unwrap_or(0)
}
