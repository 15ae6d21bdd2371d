//! One codec turned into another behind a playout buffer.

use crate::codec::{Codec, Encoder};
use crate::noise;
use crate::opus::OpusSettings;
use crate::playout::{Heard, Kind, Packet, Playout, PlayoutSettings, Statistics};
use crate::resample::Resampler;
use crate::{Error, Micros};

/// Frames that are made up for at once after the caller was late; the time of more is passed over.
const CATCH_UP: u64 = 3;
/// A silent sender's noise is told again when it changed by so many dB, looked at so often, in any case so often (ms).
/// Before it is told the first time, it is listened to for so many ms, and still sent as audio.
const NOISE_AFTER_MS: u32 = 60;
const NOISE_CHANGE: u8 = 2;
const NOISE_LOOK_MS: u32 = 200;
const NOISE_AGAIN_MS: u32 = 2_000;

/// How audio goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Milliseconds of audio in each packet: 10, 20, 30, 40, 50 or 60, for Opus 10, 20, 40 or 60.
    pub frame_ms: u32,
    /// Where Opus goes out.
    pub opus: OpusSettings,
    /// How packets that come in wait.
    pub playout: PlayoutSettings,
    /// Whether the listener takes comfort noise (RFC 3389): a silent sender's silence is then not sent as audio.
    pub comfort_noise: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { frame_ms: 20, opus: OpusSettings::default(), playout: PlayoutSettings::default(), comfort_noise: false }
    }
}

/// A packet to send, without its numbers.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Audio of the codec, or comfort noise.
    pub kind: Kind,
    /// Ticks of the outgoing clock since the first frame; it never goes back.
    pub timestamp: u32,
    /// Whether audio begins here: after silence, or at all.
    pub marker: bool,
    /// What to send.
    pub payload: &'a [u8],
}

/// Packets of one stream in, frames of another codec out, one every `frame_ms` while there is something to hear.
pub struct Transcoder {
    playout: Playout,
    resampler: Option<Resampler>,
    encoder: Encoder,
    comfort_noise: bool,
    /// Microseconds, samples before the resampler and ticks of the outgoing clock, a frame.
    frame: Micros,
    samples: usize,
    ticks: u32,
    due: Option<Micros>,
    /// When the frame of `timestamp` was or would be due.
    last_due: Option<Micros>,
    timestamp: u32,
    /// Whether the next audio begins after silence.
    marker: bool,
    silence: Option<Silence>,
    pcm: Vec<i16>,
    resampled: Vec<i16>,
    payload: Vec<u8>,
    frames: u64,
}

/// A silence that is told as comfort noise; times in ms.
#[derive(Default)]
struct Silence {
    lasted: u32,
    since_look: u32,
    since_told: u32,
    root_mean_square: f32,
    level: Option<u8>,
}

impl Transcoder {
    /// Between these two; `Error::Unsupported` for a frame length that is not offered.
    pub fn new(from: Codec, to: Codec, settings: &Settings) -> Result<Self, Error> {
        let lengths: &[u32] = if to == Codec::Opus { &[10, 20, 40, 60] } else { &[10, 20, 30, 40, 50, 60] };
        if !lengths.contains(&settings.frame_ms) {
            return Err(Error::Unsupported);
        }
        let rate = from.common_rate(to);
        let playout = Playout::new(from, rate, settings.playout)?;
        let encoder = Encoder::new(to, rate, &settings.opus)?;
        Ok(Self {
            resampler: Resampler::new(playout.rate(), encoder.rate())?,
            comfort_noise: settings.comfort_noise,
            frame: Micros::from(settings.frame_ms) * 1000,
            samples: (playout.rate() * settings.frame_ms / 1000) as usize,
            ticks: to.clock() * settings.frame_ms / 1000,
            due: None,
            last_due: None,
            timestamp: 0,
            marker: true,
            silence: None,
            pcm: Vec::new(),
            resampled: Vec::new(),
            payload: Vec::new(),
            frames: 0,
            playout,
            encoder,
        })
    }

    /// One packet that came `now`.
    pub fn push(&mut self, packet: &Packet<'_>, now: Micros) {
        let before = self.playout.statistics().malformed;
        self.playout.push(packet, now);
        if self.due.is_some() || self.playout.statistics().malformed > before {
            return;
        }
        let due = self.playout.first_pull(packet, now, self.samples);
        if let Some(last) = self.last_due {
            // The time of the rest passed on the listener's side too.
            self.skip(due.saturating_sub(last).div_ceil(self.frame));
        }
        self.due = Some(due);
        self.marker = true;
    }

    /// Another sender comes now, as another SSRC tells, or none: nothing is due until its first packet came.
    pub fn reset(&mut self) {
        self.playout.reset();
        self.due = None;
        self.silence = None;
    }

    /// When `tick` wants to be called; None while nothing comes.
    pub fn due(&self) -> Option<Micros> {
        self.due
    }

    /// The next frame that is due `now`; None where it is not sent, or none is due: see `due`.
    pub fn tick(&mut self, now: Micros) -> Option<Frame<'_>> {
        let due = self.due.filter(|&due| due <= now)?;
        if self.playout.is_idle(due) {
            self.due = None;
            self.silence = None;
            return None;
        }
        // The time of more than a few frames is passed over.
        let missed = (now - due) / self.frame;
        let passed = if missed > CATCH_UP { missed } else { 0 };
        self.skip(passed);
        let due = due + passed * self.frame;
        let timestamp = self.timestamp;
        let made = self.make(due);
        self.skip(1);
        self.due = Some(due + self.frame);
        self.last_due = self.due;
        let (kind, marker) = made?;
        self.frames += 1;
        Some(Frame { kind, timestamp, marker, payload: &self.payload })
    }

    /// Frames made so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// What the playout buffer did.
    pub fn statistics(&self) -> Statistics {
        self.playout.statistics()
    }

    /// Hz of the samples that `statistics` counts.
    pub fn playout_rate(&self) -> u32 {
        self.playout.rate()
    }

    fn skip(&mut self, frames: u64) {
        self.timestamp = self.timestamp.wrapping_add(self.ticks.wrapping_mul(frames as u32));
    }

    /// Makes the payload of the frame that is due then; None where there is nothing to send.
    fn make(&mut self, due: Micros) -> Option<(Kind, bool)> {
        self.pcm.clear();
        let heard = self.playout.pull(due, self.samples, &mut self.pcm);
        let pcm = match &mut self.resampler {
            Some(resampler) => {
                self.resampled.clear();
                resampler.process(&self.pcm, &mut self.resampled);
                &self.resampled
            }
            None => &self.pcm,
        };
        self.payload.clear();
        if heard == Heard::Voice {
            self.silence = None;
        } else if self.comfort_noise {
            let silence = self.silence.get_or_insert_with(Silence::default);
            silence.hear(noise::root_mean_square(pcm), (self.frame / 1000) as u32);
            if silence.lasted >= NOISE_AFTER_MS {
                self.marker = true;
                self.payload.push(silence.told()?);
                return Some((Kind::Noise, false));
            }
        }
        let failed = self.encoder.encode(pcm, &mut self.payload).is_err() || self.payload.is_empty();
        if failed || self.encoder.is_silent(&self.payload) {
            self.marker = true;
            return None;
        }
        Some((Kind::Audio, std::mem::take(&mut self.marker)))
    }
}

impl Silence {
    /// So many ms more of this root mean square.
    fn hear(&mut self, root_mean_square: f32, milliseconds: u32) {
        // The first of it holds what the filters remember of the voice.
        let share = if self.lasted < NOISE_AFTER_MS { 1.0 } else { 0.2 };
        self.root_mean_square += (root_mean_square - self.root_mean_square) * share;
        self.lasted = self.lasted.saturating_add(milliseconds);
        self.since_look += milliseconds;
        self.since_told += milliseconds;
    }

    /// The level, if it is time to tell it.
    fn told(&mut self) -> Option<u8> {
        if self.level.is_some() && self.since_look < NOISE_LOOK_MS {
            return None;
        }
        self.since_look = 0;
        let level = noise::level(self.root_mean_square);
        let changed = self.level.is_none_or(|told| told.abs_diff(level) >= NOISE_CHANGE);
        if !changed && self.since_told < NOISE_AGAIN_MS {
            return None;
        }
        self.level = Some(level);
        self.since_told = 0;
        Some(level)
    }
}
