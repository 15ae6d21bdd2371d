//! What the playout buffer is told and what it tells.

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
    /// Marker bit: a talk spurt begins (RFC 3551 section 4.1).
    pub marker: bool,
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
