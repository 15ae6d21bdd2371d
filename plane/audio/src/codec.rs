//! The codecs as two enumerations, so that a stream needs neither a box nor a virtual call.

use crate::g711::{self, Law};
use crate::opus::{self, OpusSettings};
use crate::{Error, LONGEST_MS, g722};

/// A codec that can be turned into each of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 mu-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722 at 64 kbit/s.
    G722,
    /// Opus, mono.
    Opus,
}

impl Codec {
    /// By its name in SDP, in any case; None for what is not here.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Pcmu, Self::Pcma, Self::G722, Self::Opus]
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// Its name in SDP.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Opus => "opus",
        }
    }

    /// Hz of its RTP clock. G.722's says 8000 although there are 16000 samples (RFC 3551 section 4.5.2).
    pub fn clock(self) -> u32 {
        if self == Self::Opus { 48000 } else { 8000 }
    }

    /// The most samples a second that it can carry.
    pub fn rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma => 8000,
            Self::G722 => 16000,
            Self::Opus => 48000,
        }
    }

    /// Samples in a second between these two: no more than the poorer can carry.
    pub fn common_rate(self, other: Self) -> u32 {
        self.rate().min(other.rate())
    }
}

/// Payloads of one stream, in their order, to PCM.
pub(crate) enum Decoder {
    G711(Law),
    G722(Box<g722::Decoder>),
    Opus(opus::Decoder, u32),
}

impl Decoder {
    /// Opus is decoded at `rate` Hz at once, the others at their own.
    pub fn new(codec: Codec, rate: u32) -> Result<Self, Error> {
        Ok(match codec {
            Codec::Pcmu => Self::G711(Law::Mu),
            Codec::Pcma => Self::G711(Law::A),
            Codec::G722 => Self::G722(Box::default()),
            Codec::Opus => Self::Opus(opus::Decoder::new(rate)?, rate),
        })
    }

    /// Hz of the PCM it makes.
    pub fn rate(&self) -> u32 {
        match self {
            Self::G711(_) => 8000,
            Self::G722(_) => 16000,
            Self::Opus(_, rate) => *rate,
        }
    }

    /// Samples in this payload; None where it is malformed or longer than `LONGEST_MS`.
    pub fn samples(&self, payload: &[u8]) -> Option<usize> {
        let octets = payload.len();
        let fits = octets > 0 && octets <= 8 * LONGEST_MS as usize;
        match self {
            Self::G711(_) => fits.then_some(octets),
            Self::G722(_) => fits.then_some(2 * octets),
            Self::Opus(_, rate) => opus::samples(payload, *rate),
        }
    }

    /// Appends the audio of one payload; nothing where it fails.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), Error> {
        match self {
            Self::G711(law) => g711::decode(*law, payload, pcm),
            Self::G722(decoder) => decoder.decode(payload, pcm),
            Self::Opus(decoder, _) => decoder.decode(payload, pcm)?,
        }
        Ok(())
    }

    /// Starts afresh with another stream.
    pub fn reset(&mut self) {
        match self {
            Self::G711(_) => {}
            Self::G722(decoder) => **decoder = g722::Decoder::new(),
            Self::Opus(decoder, rate) => {
                if let Ok(fresh) = opus::Decoder::new(*rate) {
                    *decoder = fresh;
                }
            }
        }
    }
}

/// Frames of one stream to payloads.
pub(crate) enum Encoder {
    G711(Law),
    G722(Box<g722::Encoder>),
    Opus(opus::Encoder, u32),
}

impl Encoder {
    /// Opus takes PCM of `rate` Hz, the others of their own.
    pub fn new(codec: Codec, rate: u32, settings: &OpusSettings) -> Result<Self, Error> {
        Ok(match codec {
            Codec::Pcmu => Self::G711(Law::Mu),
            Codec::Pcma => Self::G711(Law::A),
            Codec::G722 => Self::G722(Box::default()),
            Codec::Opus => Self::Opus(opus::Encoder::new(rate, settings)?, rate),
        })
    }

    /// Hz of the PCM it takes.
    pub fn rate(&self) -> u32 {
        match self {
            Self::G711(_) => 8000,
            Self::G722(_) => 16000,
            Self::Opus(_, rate) => *rate,
        }
    }

    /// Appends the payload of one frame.
    pub fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>) -> Result<(), Error> {
        match self {
            Self::G711(law) => g711::encode(*law, pcm, payload),
            Self::G722(encoder) => encoder.encode(pcm, payload),
            Self::Opus(encoder, _) => encoder.encode(pcm, payload)?,
        }
        Ok(())
    }

    /// Whether this payload need not be sent: discontinuous transmission.
    pub fn is_silent(&self, payload: &[u8]) -> bool {
        matches!(self, Self::Opus(..)) && opus::is_silent(payload)
    }
}
