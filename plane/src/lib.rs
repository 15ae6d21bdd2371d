//! The packet plane of the gateway: sockets, SRTP contexts, routes and numbering, and no signalling.
//!
//! One control thread speaks with the gateway over a Unix socket; packet threads forward. Each
//! half of a flow (what it receives, what it sends) is owned by one packet thread, so no packet
//! takes a lock. `docs/plane.md` describes the messages and the rules.

pub mod addr;
pub mod arrivals;
pub mod control;
pub mod counters;
pub mod event;
pub mod flow;
pub mod handshake;
pub mod inbound;
pub mod kept;
pub mod key_frame;
pub mod limits;
pub mod outgoing;
pub mod registry;
pub mod rtp;
pub mod srtp;
pub mod stun;
#[allow(unsafe_code)]
pub mod sys;
pub mod transcoding;
pub mod wire;
pub mod worker;
