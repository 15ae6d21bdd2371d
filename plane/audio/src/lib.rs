//! Speech codecs, playout and transcoding of the packet plane.
//!
//! Nothing here reads a clock or a socket: payloads come in with the time of their arrival, and a [`Transcoder`]
//! says when it wants to be asked for the next frame. Times are microseconds of any one steady clock, PCM is
//! 16 bits, mono. In the steady state nothing is allocated.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

mod codec;
mod conceal;
mod delay;
pub mod g711;
pub mod g722;
pub mod noise;
pub mod opus;
mod playout;
pub mod resample;
mod ring;
mod stretch;
mod transcode;

pub use codec::Codec;
pub use opus::OpusSettings;
pub use playout::{Heard, Kind, Packet, Playout, PlayoutSettings, Statistics};
pub use transcode::{Frame, Settings, Transcoder};

/// More audio than this in one packet, in ms, is refused (RFC 6716: 120 ms is the most Opus can hold).
pub const LONGEST_MS: u32 = 120;

/// Microseconds of a steady clock whose origin does not matter.
pub type Micros = u64;

/// What codecs and resamplers cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The payload is none of the codec's.
    Malformed,
    /// A rate or frame length that is not offered.
    Unsupported,
    /// The codec library refused: out of memory.
    Library,
}

impl std::fmt::Display for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Malformed => "malformed payload",
            Self::Unsupported => "unsupported rate or frame length",
            Self::Library => "the codec library refused",
        })
    }
}

impl std::error::Error for Error {}
