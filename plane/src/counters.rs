//! What one flow has counted, written by the threads that own its halves and read by the control thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number with one writer.
#[derive(Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Why a received packet was dropped.
#[derive(Clone, Copy)]
pub enum Discard {
    Malformed,
    WrongSource,
    Rate,
    Authentication,
    Replay,
    NotReady,
    NoRoute,
    Misordered,
    UnexpectedRtcp,
}

pub const DISCARDS: [&str; 9] = [
    "malformed",
    "wrong_source",
    "rate",
    "authentication",
    "replay",
    "not_ready",
    "no_route",
    "misordered",
    "unexpected_rtcp",
];

/// Why a packet did not go out.
#[derive(Clone, Copy)]
pub enum Unsent {
    NotReady,
    Socket,
    Send,
    TooLong,
    Late,
}

pub const UNSENT: [&str; 5] = ["not_ready", "socket", "send", "too_long", "late"];

/// The receive half.
#[derive(Default)]
#[repr(align(64))]
pub struct Received {
    /// ns; 0: never.
    pub heard: Count,
    pub packets: Count,
    pub octets: Count,
    pub ssrc: Count,
    pub generation: Count,
    pub admitted: Count,
    pub admitted_octets: Count,
    pub expected: Count,
    pub run_received: Count,
    pub lost: Count,
    pub loss_runs: Count,
    pub extended_highest: Count,
    /// ns.
    pub jitter: Count,
    /// ns; 0: never.
    pub arrived: Count,
    pub clock_rate: Count,
    /// One more than the payload type; 0: none.
    pub payload_type: Count,
    pub discards: [Count; DISCARDS.len()],
    /// What the playout buffers of the flow's transcoders did; see `transcoding::Figures`.
    pub playout: [Count; 9],
}

impl Received {
    pub fn discard(&self, reason: Discard) {
        self.discards[reason as usize].add(1);
    }
}

/// The send half.
#[derive(Default)]
#[repr(align(64))]
pub struct Sent {
    /// One more than the SSRC; 0: no stream.
    pub ssrc: Count,
    pub packets: Count,
    /// Of payload.
    pub octets: Count,
    pub sequence_number: Count,
    pub timestamp: Count,
    /// ns; 0: never.
    pub sent_at: Count,
    pub rate_out: Count,
    pub unsent: [Count; UNSENT.len()],
}

impl Sent {
    pub fn unsent(&self, reason: Unsent) {
        self.unsent[reason as usize].add(1);
    }
}

/// Both halves of one flow.
#[derive(Default)]
pub struct FlowCounters {
    pub received: Received,
    pub sent: Sent,
}

/// Why a datagram was dropped before it met a flow.
#[derive(Clone, Copy)]
pub enum Dropped {
    Short,
    UnprovedMedia,
    UnprovedDtls,
    UnknownProtocol,
    StunNotRequest,
    Oversized,
    Foreign,
    PuntsLimited,
    PuntsFull,
    PuntsOrphaned,
    Handed,
}

pub const DROPPED: [&str; 11] = [
    "short",
    "unproved_media",
    "unproved_dtls",
    "unknown_protocol",
    "stun_not_request",
    "oversized",
    "foreign",
    "punts_limited",
    "punts_full",
    "punts_orphaned",
    "handed_over",
];

/// What one packet thread has dropped.
#[derive(Default)]
#[repr(align(64))]
pub struct ThreadCounters {
    pub dropped: [Count; DROPPED.len()],
    /// Checks answered without the gateway.
    pub checks: Count,
    /// Turns of the thread's loop, and packets forwarded in them.
    pub turns: Count,
    pub forwarded: Count,
    /// The kernel's number of the thread; 0: it has not begun.
    pub thread: Count,
}

impl ThreadCounters {
    pub fn count(&self, reason: Dropped) {
        self.dropped[reason as usize].add(1);
    }
}
