//! The two halves of a flow; each is owned by one packet thread.

mod keys;

use crate::addr::Addr;
use crate::arrivals::Arrivals;
use crate::counters::{Count, Discard, FlowCounters, Unsent};
use crate::inbound::Inbound;
use crate::kept::Kept;
use crate::key_frame::Format;
use crate::limits::Bucket;
use crate::outgoing::Outgoing;
use crate::rtp::Header;
use crate::srtp::{Receiver, Refused, Sender};
use crate::sys::SockAddr;
use crate::transcoding::Transcoding;
use keys::{change, Opening, Retired};
use std::cell::Cell;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// What becomes of a payload type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Action {
    /// Nobody expects it: it is not even counted as received.
    #[default]
    None,
    Drop,
    Forward,
    Punt,
    Copy,
    /// Goes out as another codec, by the flow's transcoders.
    Transcode,
    /// A retransmission (RFC 4588): what it repeats is forwarded in its place.
    Unwrap,
}

impl Action {
    /// The action with that number on the wire.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Drop),
            1 => Some(Self::Forward),
            2 => Some(Self::Punt),
            3 => Some(Self::Copy),
            4 => Some(Self::Transcode),
            5 => Some(Self::Unwrap),
            _ => None,
        }
    }
}

/// One entry of a route table; rates in Hz.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Route {
    pub action: Action,
    pub payload_type: u8,
    pub rate_in: u32,
    pub rate_out: u32,
}

/// What becomes of each of the 128 payload types.
pub type Routes = [Route; 128];

/// What a stream is fed with, by incoming payload type: the outgoing one, and how its key frames are told.
pub type Fed = [Option<(u8, Format)>; 128];

/// A packet that waits until its stream is with the thread that it came to.
pub struct Held {
    pub header: Header,
    /// The newest number that had come then.
    pub highest: u16,
    pub payload: Box<[u8]>,
}

/// How far a stream has come that is to be fed.
pub enum Stage {
    /// The key frame has not come yet.
    Waits,
    /// It has begun to come, and what there is of it waits.
    Begins(Vec<Held>),
    Flows,
}

/// A stream that what a flow receives goes to beside the flow's target, from a key frame on.
pub struct Feed {
    pub target: u32,
    /// Where the target was last found among the thread's send halves.
    pub slot: usize,
    pub types: Box<Fed>,
    pub stage: Stage,
}

/// How a peer's packets are taken.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Config {
    pub secure: bool,
    pub mux: bool,
    pub max_packets_per_second: u32,
    /// ns; 0: never.
    pub idle_after: u64,
}

/// The sockets of a pair port, and the names of their paths.
pub struct PairSockets {
    pub rtp: OwnedFd,
    pub rtcp: OwnedFd,
    pub rtp_path: u64,
    pub rtcp_path: u64,
}

/// What a flow receives.
pub struct Receive {
    pub flow: u32,
    pub config: Config,
    pub crypto: Opening,
    /// Of RTCP that comes by a connection of its own (RFC 5764 section 5.1.1.1); unset: that of RTP.
    pub rtcp_crypto: Opening,
    pub inbound: Inbound,
    pub routes: Box<Routes>,
    pub transcoding: Transcoding,
    /// When packets came whose sender is to be told, by its transport-wide numbers.
    pub arrivals: Option<Box<Arrivals>>,
    /// Identifier of the header extension that says how its pictures lie; 0: there is none.
    pub orientation: u8,
    pub target: Option<u32>,
    /// Where the target was last found among the thread's send halves.
    pub target_slot: usize,
    pub feeds: Vec<Feed>,
    /// Payload type of the last audio; 255: none.
    pub media: u8,
    pub rate: Bucket,
    pub punts: Bucket,
    /// Of punts of strangers.
    pub strangers: Bucket,
    /// Authentic RTP, before appendix A.1.
    pub packets: u64,
    pub octets: u64,
    pub counters: Arc<FlowCounters>,
    pub sockets: Option<Arc<PairSockets>>,
    pub source: Option<Addr>,
    pub named: Option<Addr>,
    /// The number of the description that named it.
    pub description: u32,
    /// Where the gateway says that the peer's RTCP is, apart from RTP.
    pub rtcp: Option<Addr>,
    /// Flows whose packets come with this one's (RFC 9143), and where each was last found.
    pub bundled: Vec<(u32, usize)>,
}

impl Receive {
    pub fn new(flow: u32, config: Config, sockets: Option<Arc<PairSockets>>, counters: Arc<FlowCounters>) -> Self {
        Self {
            flow,
            config,
            crypto: Opening::default(),
            rtcp_crypto: Opening::default(),
            inbound: Inbound::default(),
            routes: Box::new([Route::default(); 128]),
            transcoding: Transcoding::default(),
            arrivals: None,
            orientation: 0,
            target: None,
            target_slot: usize::MAX,
            feeds: Vec::new(),
            media: 255,
            rate: Bucket::new(),
            punts: Bucket::new(),
            strangers: Bucket::new(),
            packets: 0,
            octets: 0,
            counters,
            sockets,
            source: None,
            named: None,
            description: 0,
            rtcp: None,
            bundled: Vec::new(),
        }
    }

    /// Open with another key, or take nothing; of a key that was used before it is known what has come.
    pub fn set_key(&mut self, key: Option<Receiver>, now: u64) {
        if key.is_none() {
            self.set_rtcp_key(None, now);
        }
        self.crypto.set(key, now);
    }

    /// The same of RTCP that comes by a connection of its own.
    pub fn set_rtcp_key(&mut self, key: Option<Receiver>, now: u64) {
        self.rtcp_crypto.set(key, now);
    }

    /// Whether RTCP from there is the peer's as far as addresses tell: where RTP comes from, or of the next port, or where
    /// the gateway sends it.
    pub fn is_peer(&self, source: &Addr) -> bool {
        if !self.config.mux && self.rtcp == Some(*source) {
            return true;
        }
        let next = u16::from(!self.config.mux);
        self.source.or(self.named).is_some_and(|known| known.with_port(known.port.wrapping_add(next)) == *source)
    }

    pub fn discard(&self, reason: Discard) {
        self.counters.received.discard(reason);
    }

    /// The length in the clear of an RTP packet that is authentic and within the flow's packets a second. What is forged
    /// is not counted among them: it would take the peer's place.
    pub fn take(&mut self, packet: &mut [u8], now: u64) -> Option<usize> {
        let opened = self.crypto.open(packet, now, Receiver::open);
        self.opened(opened, packet.len()).filter(|_| self.within_rate(now))
    }

    /// The same of a packet by which its sender may become the source: under the newest key.
    pub fn take_newly(&mut self, packet: &mut [u8], now: u64) -> Option<usize> {
        let opened = self.crypto.open_newly(packet);
        self.opened(opened, packet.len()).filter(|_| self.within_rate(now))
    }

    fn within_rate(&mut self, now: u64) -> bool {
        let within = self.rate.take(self.config.max_packets_per_second, now);
        if !within {
            self.discard(Discard::Rate);
        }
        within
    }

    /// The length in the clear of an authentic RTCP packet, opened in place where there is a key.
    pub fn open_rtcp(&mut self, packet: &mut [u8], now: u64) -> Option<usize> {
        let apart = self.rtcp_crypto.is_set();
        let crypto = if apart { &mut self.rtcp_crypto } else { &mut self.crypto };
        let opened = crypto.open(packet, now, Receiver::open_rtcp);
        self.opened(opened, packet.len())
    }

    /// The length of a packet that was opened, or of one of `length` octets where neither is nor has to be a key.
    fn opened(&self, opened: Option<Result<usize, Refused>>, length: usize) -> Option<usize> {
        match opened {
            Some(result) => result.map_err(|refused| self.refuse(refused)).ok(),
            None if self.config.secure => {
                self.discard(Discard::NotReady);
                None
            }
            None => Some(length),
        }
    }

    fn refuse(&self, refused: Refused) {
        self.discard(match refused {
            Refused::Authentication => Discard::Authentication,
            Refused::Replay | Refused::Repeated => Discard::Replay,
            Refused::Malformed => Discard::Malformed,
        });
    }

    /// Let others read how the incoming stream stands.
    pub fn publish(&self) {
        let (inbound, out) = (&self.inbound, &self.counters.received);
        out.packets.set(self.packets);
        out.octets.set(self.octets);
        out.ssrc.set(inbound.ssrc.map_or(0, |ssrc| u64::from(ssrc) + 1));
        out.generation.set(u64::from(inbound.generation));
        out.admitted.set(inbound.received);
        out.admitted_octets.set(inbound.octets);
        out.expected.set(inbound.expected());
        out.run_received.set(inbound.run_received);
        out.lost.set(inbound.lost());
        out.loss_runs.set(inbound.loss_runs);
        out.extended_highest.set(u64::from(inbound.extended_highest()));
        out.jitter.set(inbound.jitter);
        out.arrived.set(inbound.arrived);
        out.clock_rate.set(u64::from(inbound.clock_rate));
        out.payload_type.set(if self.media == 255 { 0 } else { u64::from(self.media) + 1 });
        out.playout.iter().zip(self.transcoding.figures()).for_each(|(count, value)| count.set(value));
    }
}

/// Through what a packet leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// A socket of a shared port, by its number in every thread.
    Shared(usize),
    Rtp,
    Rtcp,
}

/// Through what and to whom.
#[derive(Clone, Copy)]
pub struct Way {
    pub lane: Lane,
    pub to: SockAddr,
}

impl Way {
    pub fn new(lane: Lane, to: &Addr) -> Self {
        Self { lane, to: SockAddr::new(to) }
    }
}

/// What is sent where nothing else is. Times in ns.
#[derive(Clone, Debug, PartialEq)]
pub struct Silence {
    pub payload_type: u8,
    pub payload: Box<[u8]>,
    pub after: u64,
    pub interval: u64,
}

/// When a silence is due, and whether it is what was sent last.
pub struct Playing {
    pub silence: Silence,
    pub due: u64,
    pub since: u64,
    pub last: Option<u64>,
}

/// What a flow sends.
pub struct Send {
    pub flow: u32,
    pub secure: bool,
    pub crypto: Option<Sender>,
    /// Of RTCP that goes by a connection of its own; None: that of RTP.
    pub rtcp_crypto: Option<Sender>,
    /// Contexts of keys used before: were one to come back, its indices must go on.
    retired: Retired,
    retired_rtcp: Retired,
    pub outgoing: Option<Outgoing>,
    /// What may be sent again.
    pub kept: Option<Box<Kept>>,
    /// Source and next number of the retransmissions, while nothing is kept.
    pub repeated: Option<(u32, u16)>,
    /// Whether relayed packets go out.
    pub open: bool,
    /// Whether injected ones have the stream to themselves.
    pub muted: bool,
    /// Identifier of the header extension by which the peer is told how pictures lie; 0: it is not.
    pub orientation: u8,
    pub rtp: Option<Way>,
    pub rtcp: Option<Way>,
    pub playing: Option<Box<Playing>>,
    /// RTP that left, and the octets of its payload.
    packets: Cell<u64>,
    octets: Cell<u64>,
    pub counters: Arc<FlowCounters>,
    pub sockets: Option<Arc<PairSockets>>,
}

impl Send {
    pub fn new(flow: u32, secure: bool, sockets: Option<Arc<PairSockets>>, counters: Arc<FlowCounters>) -> Self {
        Self {
            flow,
            secure,
            crypto: None,
            rtcp_crypto: None,
            retired: Retired::default(),
            retired_rtcp: Retired::default(),
            outgoing: None,
            kept: None,
            repeated: None,
            open: false,
            muted: false,
            orientation: 0,
            rtp: None,
            rtcp: None,
            playing: None,
            packets: Cell::new(0),
            octets: Cell::new(0),
            counters,
            sockets,
        }
    }

    /// Protect with another key; one that was used before goes on where it stopped.
    pub fn set_key(&mut self, key: Option<Sender>) {
        if key.is_none() {
            self.retired_rtcp.add(self.rtcp_crypto.take());
        }
        change(&mut self.crypto, &mut self.retired, key);
    }

    /// The same of RTCP that goes by a connection of its own.
    pub fn set_rtcp_key(&mut self, key: Sender) {
        change(&mut self.rtcp_crypto, &mut self.retired_rtcp, Some(key));
        if self.rtcp_crypto.is_none() {
            // It would go under the key of RTP.
            self.set_key(None);
        }
    }

    /// Whether what comes in may go out now.
    pub fn passes(&self) -> bool {
        self.open && !self.muted
    }

    /// Whether RTP would go out now.
    pub fn ready(&self) -> bool {
        self.rtp.is_some() && self.is_safe()
    }

    /// Whether what leaves is protected, or never had to be.
    pub fn is_safe(&self) -> bool {
        self.crypto.is_some() || !self.secure && self.retired.is_empty()
    }

    pub fn unsent(&self, reason: Unsent) {
        self.counters.sent.unsent(reason);
    }

    /// The socket of a pair port behind a lane.
    pub fn socket(&self, lane: Lane) -> Option<RawFd> {
        let sockets = self.sockets.as_ref()?;
        match lane {
            Lane::Rtp => Some(sockets.rtp.as_raw_fd()),
            Lane::Rtcp => Some(sockets.rtcp.as_raw_fd()),
            Lane::Shared(_) => None,
        }
    }

    /// Count one packet with so many octets of payload that left.
    pub fn count(&self, octets: usize) {
        self.packets.set(self.packets.get() + 1);
        self.octets.set(self.octets.get() + octets as u64);
    }

    /// Take back what `count` counted: the system did not take it.
    pub fn uncount(&self, octets: usize) {
        self.packets.set(self.packets.get() - 1);
        self.octets.set(self.octets.get() - octets as u64);
        self.unsent(Unsent::Socket);
    }

    /// Let others read the numbers sent last.
    pub fn publish(&self) {
        let Some(outgoing) = &self.outgoing else { return };
        let out = &self.counters.sent;
        out.packets.set(self.packets.get());
        out.octets.set(self.octets.get());
        out.sequence_number.set(u64::from(outgoing.last_sequence_number));
        out.timestamp.set(u64::from(outgoing.last_timestamp));
        out.sent_at.set(outgoing.last_sent.map_or(0, |_| outgoing.stamped));
        out.rate_out.set(u64::from(outgoing.rate_out));
    }
}

/// One address that has proved to be a flow's, on one socket of a shared port.
pub struct Pair {
    pub flow: u32,
    /// The thread that owns the flow's receive half, and its slot there.
    pub owner: usize,
    pub slot: usize,
    pub selected: bool,
    pub credentials: Arc<[crate::stun::Credential]>,
    /// When the last check came, ns.
    pub checked: Arc<Count>,
    pub counters: Arc<FlowCounters>,
}

#[cfg(test)]
mod tests;
