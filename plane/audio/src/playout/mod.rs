//! The playout buffer: packets as they come, audio as it is asked for.
//!
//! Packets wait until a wanted share of them comes in time (`delay.rs`), are put in order, and what is missing
//! is recovered from a copy or concealed. Where packets wait longer or shorter than wanted, because the network
//! or the sender's clock changed, audio is made shorter or longer by a period of its pitch, or in silence at will.

mod play;
mod values;
mod wait;

pub use values::{Heard, Kind, Packet, PlayoutSettings, Statistics};

use crate::codec::{Codec, Decoder};
use crate::conceal::Concealer;
use crate::delay::Delays;
use crate::noise::ComfortNoise;
use crate::ring::{Ring, SLOTS};
use crate::{Error, LONGEST_MS, Micros};

/// After so many late packets in a row the sender must have begun another timeline.
const LATE_RUN: u32 = 25;
/// A talk spurt begins after so many microseconds without a packet, with a marker after fewer.
const SPURT_PAUSE: Micros = 200_000;
const MARKED_PAUSE: Micros = 60_000;
/// Before the first packet come so many that overtook it or were overtaken.
const EARLIER: i64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Audio comes.
    Voice,
    /// So many samples of a loss were concealed.
    Lost(u32),
    /// The sender is silent; its next packet may be played whenever it has waited enough.
    Silent,
}

/// One stream on its way from packets to PCM.
pub struct Playout {
    codec: Codec,
    decoder: Decoder,
    settings: PlayoutSettings,
    rate: u32,
    ring: Ring,
    delays: Delays,
    concealer: Concealer,
    noise: ComfortNoise,
    /// Root mean square of the quietest audio of late.
    floor: f32,
    /// Played audio, then, from `at`, what waits to be played.
    line: Vec<i16>,
    at: usize,
    /// Samples at the end of `line` that are noise only.
    noisy: usize,
    state: State,
    /// Whether anything came, and what the last of it was numbered.
    begun: bool,
    highest: (i64, i64),
    next_sequence: i64,
    next_timestamp: i64,
    /// Ticks made up while nothing said whether the next packet was lost, late or never sent.
    borrowed: i64,
    /// Ticks of the last packet, samples of the last frame.
    duration: i64,
    frame: usize,
    last_arrival: Micros,
    /// The sender said that it falls silent; it was Opus that did.
    told_silent: bool,
    opus_silent: bool,
    /// Least wait and amount of audio, in microseconds, looked at since the last decision; and what was decided.
    look: (i64, i64),
    excess: i64,
    /// Packets until losses are forgotten, and whether packets hold copies of the ones before.
    lossy: u32,
    copies: bool,
    /// Packets in a row that came too late.
    late_run: u32,
    statistics: Statistics,
}

impl Playout {
    /// A stream of `codec` whose PCM has `rate` Hz (only Opus gives other rates than its own).
    pub fn new(codec: Codec, rate: u32, settings: PlayoutSettings) -> Result<Self, Error> {
        let decoder = Decoder::new(codec, rate)?;
        let rate = decoder.rate();
        let seed = 0x2F6E_2B1D;
        Ok(Self {
            codec,
            settings,
            rate,
            ring: Ring::new(),
            delays: Self::fresh_delays(&settings),
            concealer: Concealer::new(rate),
            noise: ComfortNoise::new(seed, rate),
            floor: 0.0,
            line: Vec::new(),
            at: 0,
            noisy: 0,
            state: State::Silent,
            begun: false,
            highest: (0, 0),
            next_sequence: 0,
            next_timestamp: 0,
            borrowed: 0,
            duration: 0,
            frame: 0,
            last_arrival: 0,
            told_silent: false,
            opus_silent: false,
            look: (i64::MAX, 0),
            excess: 0,
            lossy: 0,
            copies: false,
            late_run: 0,
            statistics: Statistics::default(),
            decoder,
        })
    }

    fn fresh_delays(settings: &PlayoutSettings) -> Delays {
        let bounds = (i64::from(settings.least_ms) * 1000, i64::from(settings.most_ms.max(settings.least_ms)) * 1000);
        Delays::new(i64::from(settings.start_ms) * 1000, bounds, f32::from(settings.in_time.min(1000)) / 1000.0)
    }

    /// Hz of the PCM.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// What happened so far.
    pub fn statistics(&self) -> Statistics {
        Statistics { wanted_ms: (self.wanted() / 1000) as u32, jitter: self.delays.jitter(), ..self.statistics }
    }

    /// Microseconds that packets should wait.
    fn wanted(&self) -> i64 {
        // The copy of a lost packet is in the next one: that one too must be there in time.
        let copy = if self.lossy > 0 && self.copies { self.micros(self.duration) } else { 0 };
        self.delays.wanted() + copy
    }

    /// Microseconds that a packet of so many samples should wait where audio begins with it: the last packet of the
    /// same frame must be there in time.
    fn wanted_of(&self, samples: usize) -> i64 {
        let rest = self.frame.saturating_sub(samples);
        self.wanted() + self.micros(self.ticks(rest))
    }

    /// When audio that begins with this packet, which comes `now`, is to be pulled first, `samples` samples a time.
    pub fn first_pull(&mut self, packet: &Packet<'_>, now: Micros, samples: usize) -> Micros {
        self.frame = samples;
        let wait = self.wanted_of(self.decoder.samples(packet.payload).unwrap_or(samples));
        now + wait.max(0) as Micros
    }

    /// Whether nothing was heard for so long that nothing need be played.
    pub fn is_idle(&self, now: Micros) -> bool {
        let limit = if self.told_silent { self.settings.silent_ms } else { self.settings.idle_ms };
        self.ring.waiting() == 0 && now.saturating_sub(self.last_arrival) > u64::from(limit) * 1000
    }

    /// Ticks of the RTP clock as microseconds: all clocks here are 8000 or six times that.
    fn micros(&self, ticks: i64) -> i64 {
        ticks * 125 / i64::from(self.codec.clock() / 8000)
    }

    fn ticks(&self, samples: usize) -> i64 {
        samples as i64 * i64::from(self.codec.clock()) / i64::from(self.rate)
    }

    fn samples(&self, ticks: i64) -> usize {
        (ticks * i64::from(self.rate) / i64::from(self.codec.clock())).max(0) as usize
    }

    fn samples_of(&self, milliseconds: u32) -> usize {
        (self.rate * milliseconds / 1000) as usize
    }

    // Packets as they come.

    /// One packet that came `now`.
    pub fn push(&mut self, packet: &Packet<'_>, now: Micros) {
        self.statistics.received += 1;
        let well_formed = match packet.kind {
            Kind::Audio => self.decoder.samples(packet.payload).is_some(),
            Kind::Noise => !packet.payload.is_empty() && packet.payload.len() <= 8 * LONGEST_MS as usize,
        };
        if !well_formed {
            self.statistics.malformed += 1;
            return;
        }
        if !self.begun {
            self.begin(packet);
        }
        let (mut sequence, mut timestamp) = self.extended(packet);
        if self.begins_spurt(packet, sequence, now) && self.delays.resume(self.micros(timestamp), now) {
            self.be_silent();
        }
        let far = sequence >= self.next_sequence + SLOTS || self.late_run >= LATE_RUN;
        if far || !self.delays.arrived(self.micros(timestamp), now) {
            self.restart(packet);
            (sequence, timestamp) = self.highest;
            self.delays.arrived(self.micros(timestamp), now);
        }
        self.last_arrival = now;
        if sequence < self.next_sequence {
            self.statistics.late += 1;
            self.late_run += 1;
            return;
        }
        self.late_run = 0;
        let Some(slot) = self.ring.take(sequence) else {
            self.statistics.duplicate += 1;
            return;
        };
        (slot.timestamp, slot.arrived, slot.noise) = (timestamp, now, packet.kind == Kind::Noise);
        slot.keep(packet.payload);
        if sequence > self.highest.0 {
            self.highest = (sequence, timestamp);
        }
    }

    /// Whether the packet is the first of a talk spurt, before which nothing waits any more.
    fn begins_spurt(&self, packet: &Packet<'_>, sequence: i64, now: Micros) -> bool {
        let pause = if packet.marker { MARKED_PAUSE } else { SPURT_PAUSE };
        sequence > self.highest.0 && self.ring.waiting() == 0 && now.saturating_sub(self.last_arrival) >= pause
    }

    fn begin(&mut self, packet: &Packet<'_>) {
        self.begun = true;
        self.highest = (i64::from(packet.sequence_number), i64::from(packet.timestamp));
        self.next_sequence = self.highest.0 - EARLIER;
        self.state = State::Silent;
        (self.borrowed, self.duration, self.late_run) = (0, 0, 0);
    }

    /// The sender began another timeline: what waits of the old one goes.
    fn restart(&mut self, packet: &Packet<'_>) {
        self.statistics.restarts += 1;
        self.statistics.overflow += self.ring.waiting() as u64;
        self.reset();
        self.begin(packet);
    }

    /// Another sender comes now, as another SSRC tells: nothing of the one before counts any more.
    pub fn reset(&mut self) {
        self.ring.clear();
        self.delays = Self::fresh_delays(&self.settings);
        self.decoder.reset();
        self.begun = false;
        if self.state == State::Voice {
            self.be_silent();
        }
    }

    /// The sender fell silent without a word: noise as loud as its background until the next packet.
    fn be_silent(&mut self) {
        if self.state != State::Silent {
            self.state = State::Silent;
            self.noise.set(self.floor);
        }
    }

    fn extended(&self, packet: &Packet<'_>) -> (i64, i64) {
        let (sequence, timestamp) = self.highest;
        let ahead = packet.sequence_number.wrapping_sub(sequence as u16) as i16;
        let later = packet.timestamp.wrapping_sub(timestamp as u32) as i32;
        (sequence + i64::from(ahead), timestamp + i64::from(later))
    }
}
