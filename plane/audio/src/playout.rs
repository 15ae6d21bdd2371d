//! The playout buffer: packets as they come, audio as it is asked for.
//!
//! Packets wait until a wanted share of them comes in time (`delay.rs`), are put in order, and what is missing
//! is recovered from a copy or concealed. Where packets wait longer or shorter than wanted, because the network
//! or the sender's clock changed, audio is made shorter or longer by a period of its pitch, or in silence at will.

use crate::codec::{Codec, Decoder};
use crate::conceal::Concealer;
use crate::delay::Delays;
use crate::noise::{ComfortNoise, root_mean_square};
use crate::ring::{Ring, SLOTS, Slot};
use crate::{Error, LONGEST_MS, Micros, opus, stretch};

/// Audio is made in steps of so many ms where nothing says how much is missing.
const STEP_MS: u32 = 10;
/// A loss is concealed no longer than this; then comes noise.
const CONCEALED_MS: u32 = 120;
/// Played audio that is kept: two of the longest periods and what is compared.
const HISTORY_MS: u32 = 40;
/// The least wait of so many microseconds of audio decides whether audio is stretched.
const LOOK: i64 = 100_000;
/// So much longer, or shorter, than wanted may packets wait, in microseconds.
const TOO_LONG: i64 = 15_000;
const TOO_SHORT: i64 = 5_000;
/// Where they wait so much too long, audio is shortened even where its periods are not alike.
const FAR_TOO_LONG: i64 = 150_000;
/// After a loss, waits are long enough for the copy in the next packet for so many packets.
const LOSS_MEMORY: u32 = 500;
/// After so many late packets in a row the sender must have begun another timeline.
const LATE_RUN: u32 = 25;
/// Before the first packet come so many that overtook it or were overtaken.
const EARLIER: i64 = 8;

/// How long packets wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayoutSettings {
    /// What is expected of a new stream, in ms.
    pub start_ms: u16,
    /// Bounds of the wait, in ms.
    pub least_ms: u16,
    /// See `least_ms`; a packet that waits longer than this goes.
    pub most_ms: u16,
    /// Thousandths of the packets that shall come in time.
    pub in_time: u16,
    /// With nothing heard for so long, in ms, the stream rests until the next packet.
    pub idle_ms: u16,
    /// The same after the sender said that it falls silent: comfort noise, discontinuous Opus.
    pub silent_ms: u16,
}

impl Default for PlayoutSettings {
    fn default() -> Self {
        Self { start_ms: 40, least_ms: 10, most_ms: 400, in_time: 980, idle_ms: 1_000, silent_ms: 10_000 }
    }
}

/// What a packet holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A payload of the codec.
    Audio,
    /// Comfort noise (RFC 3389).
    Noise,
}

/// An RTP packet without its header.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// As in the header.
    pub sequence_number: u16,
    /// As in the header, in ticks of the codec's RTP clock.
    pub timestamp: u32,
    /// By its payload type.
    pub kind: Kind,
    /// Without padding.
    pub payload: &'a [u8],
}

/// What was heard in a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Audio of the sender, or what concealed it.
    Voice,
    /// Nothing but the noise of a sender that is silent.
    Silence,
}

/// Counts of one stream since it began; durations in samples of the PCM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets pushed.
    pub received: u64,
    /// Packets whose payload is none of the codec's.
    pub malformed: u64,
    /// Packets whose turn was over.
    pub late: u64,
    /// Packets that came before.
    pub duplicate: u64,
    /// Packets that waited too long, or for whose timeline there was no room.
    pub overflow: u64,
    /// Packets missing when their turn came.
    pub lost: u64,
    /// Of those, recovered from the copy in the next packet.
    pub recovered: u64,
    /// Samples that concealed a loss.
    pub concealed: u64,
    /// Samples taken out.
    pub shortened: u64,
    /// Samples put in.
    pub lengthened: u64,
    /// Times the sender began another timeline.
    pub restarts: u64,
    /// Wait that is wanted, and that of the last packet played, in ms.
    pub wanted_ms: u32,
    /// See `wanted_ms`.
    pub waited_ms: u32,
    /// Interarrival jitter, in microseconds.
    pub jitter: u32,
}

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
    /// Ticks of the last packet.
    duration: i64,
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

    /// Microseconds that the next packet of a silent sender should wait.
    pub fn wanted(&self) -> i64 {
        // The copy of a lost packet is in the next one: that one too must be there in time.
        let copy = if self.lossy > 0 && self.copies { self.micros(self.duration) } else { 0 };
        self.delays.wanted() + copy
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

    // Audio as it is asked for.

    /// Appends `samples` samples that are to be played `now`.
    pub fn pull(&mut self, now: Micros, samples: usize, pcm: &mut Vec<i16>) -> Heard {
        self.fill(now, samples);
        if self.excess != 0 {
            self.stretch(now, samples);
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
    fn step(&mut self, now: Micros) {
        let Some(first) = self.ring.first(self.next_sequence) else {
            return self.without(now);
        };
        let (sequence, timestamp, noise) = (first.sequence, first.timestamp, first.noise);
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
            let missing = self.wanted() - waited;
            if missing <= 0 {
                self.decode(sequence, now);
            } else {
                let most = self.samples_of(STEP_MS);
                let samples = (missing * i64::from(self.rate) / 1_000_000) as usize;
                self.quiet(samples.clamp(1, most));
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
    fn without(&mut self, _now: Micros) {
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
        let Slot { timestamp, .. } = *slot;
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

    // The wait of the packets, kept near what is wanted.

    fn look(&mut self, timestamp: i64, now: Micros) {
        let waited = self.delays.waited(self.micros(timestamp), now);
        self.statistics.waited_ms = (waited / 1000).max(0) as u32;
        self.look = (self.look.0.min(waited), self.look.1 + self.micros(self.duration));
        if self.look.1 < LOOK {
            return;
        }
        let excess = self.look.0 - self.wanted();
        self.look = (i64::MAX, 0);
        self.excess = if (-TOO_SHORT..=TOO_LONG).contains(&excess) { 0 } else { excess };
    }

    fn stretch(&mut self, now: Micros, samples: usize) {
        let quiet = root_mean_square(&self.line[self.at..]) <= 2.0 * self.floor;
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
