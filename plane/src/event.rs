//! Telephone-events on an outgoing stream (RFC 4733): every packet of one event has the timestamp of its start.

/// Octets of a telephone-event, and the codes of digits (RFC 4733 sections 2.3 and 3.2).
const SIZE: usize = 4;
const DIGITS: u8 = 16;
const END: u8 = 0x80;
/// Packets that end an event (RFC 4733 section 2.5.1.4).
const END_PACKETS: u8 = 3;
/// ns without a packet after which the end of an event is taken to be lost.
const LONGEST_PAUSE: u64 = 3_000_000_000;
/// The same while the source's audio comes, and after the first packet with the end flag.
const PAUSE_BESIDE_AUDIO: u64 = 200_000_000;
const PAUSE_AFTER_END: u64 = 100_000_000;

/// Whether a telephone-event is a digit; other events are for nobody here (RFC 4733 section 3).
pub fn is_digit(payload: &[u8]) -> bool {
    payload.len() >= SIZE && payload[0] < DIGITS
}

/// Whether a telephone-event has the end flag.
pub fn ends(payload: &[u8]) -> bool {
    payload.len() >= SIZE && payload[1] & END != 0
}

/// What one packet says of its event (RFC 4733 section 2.3).
#[derive(Clone, Copy)]
pub struct Said {
    pub code: u8,
    pub duration: u16,
    pub ends: bool,
}

impl Said {
    pub fn read(payload: &[u8]) -> Option<Self> {
        let &[code, _, high, low] = payload.first_chunk()?;
        Some(Self { code, duration: u16::from_be_bytes([high, low]), ends: ends(payload) })
    }
}

/// The newest event of an outgoing stream.
#[derive(Clone, Copy)]
pub struct Event {
    /// Outgoing timestamp of its start.
    pub timestamp: u32,
    /// Incoming timestamp of its start; None for an injected one.
    incoming: Option<u32>,
    /// ns of the newest packet.
    heard: u64,
    end_packets: u8,
    released: bool,
    /// Code and duration that came last.
    said: Option<(u8, u16)>,
    /// Whether another run has begun since.
    parted: bool,
}

impl Event {
    pub const fn new(timestamp: u32, incoming: Option<u32>, now: u64) -> Self {
        Self { timestamp, incoming, heard: now, end_packets: 0, released: false, said: None, parted: false }
    }

    /// Whether an incoming packet with this timestamp belongs to the event.
    pub fn is(&self, incoming: u32) -> bool {
        self.incoming == Some(incoming)
    }

    /// Take a packet of another run for the event where its digit goes on: the sender has another SSRC, or has begun again.
    pub fn rejoin(&mut self, incoming: u32, said: Said, now: u64) -> bool {
        let longer = self.said.is_some_and(|(code, duration)| code == said.code && duration < said.duration);
        let goes_on = self.parted && longer && self.end_packets == 0 && now.saturating_sub(self.heard) <= LONGEST_PAUSE;
        if goes_on {
            (self.incoming, self.released, self.parted) = (Some(incoming), false, false);
        }
        goes_on
    }

    /// Keep what an incoming packet of the event says.
    pub fn keep(&mut self, said: Said) {
        self.said = Some((said.code, said.duration));
    }

    /// Note a packet of the event.
    pub fn note(&mut self, ends: bool, now: u64) {
        self.heard = now;
        self.end_packets += u8::from(ends && self.end_packets < END_PACKETS);
    }

    /// Whether the event has the stream to itself.
    pub const fn holds(&self, now: u64) -> bool {
        let limit = if self.end_packets > 0 { PAUSE_AFTER_END } else { LONGEST_PAUSE };
        !self.released && self.end_packets < END_PACKETS && now.saturating_sub(self.heard) <= limit
    }

    /// Note audio of the event's source, which shows that an event without packets is over.
    pub fn hear_audio(&mut self, now: u64) {
        self.released |= self.end_packets > 0 || now.saturating_sub(self.heard) >= PAUSE_BESIDE_AUDIO;
    }

    /// Give the stream back to audio; packets that still come keep the timestamp.
    pub fn release(&mut self) {
        self.released = true;
    }

    /// Forget the source's timestamps, as another run begins.
    pub fn part(&mut self) {
        self.incoming = None;
        self.released = true;
        self.parted = true;
    }
}
