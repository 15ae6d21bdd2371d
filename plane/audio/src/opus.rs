//! Opus (RFC 6716) through libopus. The only file that knows the binding.

use opusic_c::{Application, Bandwidth, Bitrate, Channels, InbandFec, SampleRate};

use crate::{Error, LONGEST_MS};

/// The largest payload that one frame of Opus can have (RFC 6716 section 3.4: 1275 octets and the first one).
const LARGEST: usize = 1276;
/// A payload of so many octets holds no audio: the encoder has nothing to say (discontinuous transmission).
const SILENT: usize = 2;

/// How Opus is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpusSettings {
    /// Bits a second, 6,000 to 510,000.
    pub bit_rate: u32,
    /// 0 to 10.
    pub complexity: u8,
    /// Whether each packet carries a poorer copy of the one before (RFC 6716 section 2.1.7).
    pub forward_error_correction: bool,
    /// Percent of the packets that are expected to be lost: how much of the bit rate the copies may have.
    pub expected_loss: u8,
    /// Whether nothing is sent while there is nothing to hear.
    pub discontinuous: bool,
    /// Whether all packets are of one size.
    pub constant_bit_rate: bool,
    /// Samples a second that the listener plays at most: no more of the band than that is coded.
    pub playback_rate: u32,
}

impl Default for OpusSettings {
    fn default() -> Self {
        Self {
            bit_rate: 24_000,
            complexity: 5,
            forward_error_correction: true,
            expected_loss: 5,
            discontinuous: false,
            constant_bit_rate: false,
            playback_rate: 48_000,
        }
    }
}

/// The band of so many samples a second (RFC 7587 section 3.1.1).
const fn bandwidth(rate: u32) -> Bandwidth {
    match rate {
        ..12_000 => Bandwidth::Narrow,
        12_000..16_000 => Bandwidth::Medium,
        16_000..24_000 => Bandwidth::Wide,
        24_000..48_000 => Bandwidth::Superwide,
        _ => Bandwidth::Full,
    }
}

fn sample_rate(rate: u32) -> Result<SampleRate, Error> {
    match rate {
        8000 => Ok(SampleRate::Hz8000),
        16000 => Ok(SampleRate::Hz16000),
        48000 => Ok(SampleRate::Hz48000),
        _ => Err(Error::Unsupported),
    }
}

/// Samples at `rate` Hz in a payload, by its first octets (RFC 6716 section 3.1); None where it is malformed.
pub fn samples(payload: &[u8], rate: u32) -> Option<usize> {
    let first = *payload.first()?;
    let config = first >> 3;
    // In units of 2.5 ms: SILK 10, 20, 40, 60 ms, hybrid 10, 20 ms, CELT 2.5, 5, 10, 20 ms.
    let each = match config {
        0..12 => [4, 8, 16, 24][(config & 3) as usize],
        12..16 => [4, 8][(config & 1) as usize],
        _ => 1 << (config & 3),
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(*payload.get(1)? & 0x3F),
    };
    let units = each * frames;
    (units > 0 && units * 5 <= LONGEST_MS as usize * 2).then_some(units * rate as usize / 400)
}

/// The first bits of the first SILK frame, one for each 20 ms that has speech, then whether copies follow
/// (RFC 6716 section 4.2.3), and how many such 20 ms there are; None where there is no SILK.
fn silk_flags(payload: &[u8]) -> Option<(u8, u8)> {
    let first = *payload.first()?;
    let config = first >> 3;
    if config >= 16 {
        return None;
    }
    let frames = if config < 12 { [1, 1, 2, 3][(config & 3) as usize] } else { 1 };
    let start = match first & 3 {
        0 | 1 => 1,
        2 if payload.get(1).is_some_and(|&length| length >= 252) => 3,
        2 => 2,
        // Several frames with padding are what no sender of speech makes.
        _ => return None,
    };
    Some((*payload.get(start)?, frames))
}

/// Whether the payload holds a copy of the packet before it.
pub fn has_copy(payload: &[u8]) -> bool {
    silk_flags(payload).is_some_and(|(flags, frames)| {
        let side = payload[0] & 0x04 != 0 && flags >> (6 - 2 * frames) & 1 != 0;
        flags >> (7 - frames) & 1 != 0 || side
    })
}

/// Whether the sender found speech in this payload; true where it does not say.
pub fn has_speech(payload: &[u8]) -> bool {
    silk_flags(payload).is_none_or(|(flags, frames)| flags >> (8 - frames) != 0)
}

/// Whether the sender has nothing to say from here on.
pub fn is_silent(payload: &[u8]) -> bool {
    payload.len() <= SILENT
}

/// Payloads of one stream to mono PCM; what is sent in stereo is folded.
pub struct Decoder {
    inner: opusic_c::Decoder,
    rate: u32,
}

impl Decoder {
    /// A decoder whose PCM has `rate` Hz: 8000, 16000 or 48000.
    pub fn new(rate: u32) -> Result<Self, Error> {
        let inner = opusic_c::Decoder::new(Channels::Mono, sample_rate(rate)?).map_err(|_| Error::Library)?;
        Ok(Self { inner, rate })
    }

    /// Appends the audio of one packet.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), Error> {
        let wanted = samples(payload, self.rate).ok_or(Error::Malformed)?;
        self.run(payload, wanted, false, pcm)
    }

    /// Appends the `wanted` samples before `next`, from the copy in it; a multiple of 2.5 ms.
    pub fn recover(&mut self, next: &[u8], wanted: usize, pcm: &mut Vec<i16>) -> Result<(), Error> {
        self.run(next, wanted, true, pcm)
    }

    /// Appends `wanted` samples of what probably was heard; a multiple of 2.5 ms.
    pub fn conceal(&mut self, wanted: usize, pcm: &mut Vec<i16>) -> Result<(), Error> {
        self.run(&[], wanted, false, pcm)
    }

    fn run(&mut self, payload: &[u8], wanted: usize, copy: bool, pcm: &mut Vec<i16>) -> Result<(), Error> {
        let start = pcm.len();
        pcm.resize(start + wanted, 0);
        let room = bytemuck::cast_slice_mut(&mut pcm[start..]);
        let made = self.inner.decode_to_slice(payload, room, copy);
        pcm.truncate(start + made.unwrap_or(0).min(wanted));
        made.map(|_| ()).map_err(|_| Error::Malformed)
    }
}

/// Mono PCM to payloads.
pub struct Encoder {
    inner: opusic_c::Encoder,
}

impl Encoder {
    /// An encoder for PCM of `rate` Hz: 8000, 16000 or 48000.
    pub fn new(rate: u32, settings: &OpusSettings) -> Result<Self, Error> {
        let make = || -> Result<Self, Error> {
            let mut inner = opusic_c::Encoder::new(Channels::Mono, sample_rate(rate)?, Application::Voip)?;
            inner.set_bitrate(Bitrate::Value(settings.bit_rate.clamp(6_000, 510_000)))?;
            inner.set_complexity(settings.complexity.min(10))?;
            inner.set_dtx(settings.discontinuous)?;
            inner.set_vbr(!settings.constant_bit_rate)?;
            inner.set_max_bandwidth(bandwidth(settings.playback_rate))?;
            if settings.forward_error_correction {
                inner.set_inband_fec(InbandFec::Mode1)?;
                inner.set_packet_loss(settings.expected_loss.min(100))?;
            }
            Ok(Self { inner })
        };
        make()
    }

    /// Appends the payload of one frame of 10, 20, 40 or 60 ms.
    pub fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>) -> Result<(), Error> {
        let start = payload.len();
        payload.resize(start + LARGEST, 0);
        let made = self.inner.encode_to_slice(bytemuck::cast_slice(pcm), &mut payload[start..]);
        payload.truncate(start + made.unwrap_or(0));
        Ok(made.map(|_| ())?)
    }
}

impl From<opusic_c::ErrorCode> for Error {
    fn from(_: opusic_c::ErrorCode) -> Self {
        Self::Library
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_octet_tells_the_duration() {
        for (payload, milliseconds) in [(&[0x08][..], 20), (&[0x18, 0][..], 60), (&[0x78][..], 20), (&[0xE1][..], 5)] {
            assert_eq!(samples(payload, 48000), Some(48 * milliseconds));
        }
    }

    #[test]
    fn more_than_120_ms_and_no_frames_at_all_are_malformed() {
        for payload in [&[][..], &[0x0B][..], &[0x0B, 0][..], &[0x0B, 7][..], &[0x1A + 1, 3][..]] {
            assert_eq!(samples(payload, 8000), None, "{payload:?}");
        }
    }

    /// Payloads of two seconds of something like a voice.
    fn spoken(settings: &OpusSettings) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(16_000, settings).unwrap();
        let sample = |at: usize| {
            let time = at as f32 / 16_000.0;
            let tone = |frequency: f32| (std::f32::consts::TAU * frequency * time).sin();
            ((1.0 + tone(3.0)) * 2500.0 * (tone(220.0) + tone(1_330.0) + tone(5_700.0))) as i16
        };
        let frame = |number: usize| (0..320).map(|at| sample(number * 320 + at)).collect::<Vec<i16>>();
        let encode = |number| {
            let mut payload = Vec::new();
            encoder.encode(&frame(number), &mut payload).unwrap();
            payload
        };
        (0..100).map(encode).collect()
    }

    #[test]
    fn no_more_is_sent_than_the_listener_wants() {
        for bit_rate in [6_000, 12_000, 24_000, 64_000] {
            let settings = OpusSettings { bit_rate, constant_bit_rate: true, ..OpusSettings::default() };
            assert!(spoken(&settings).iter().all(|payload| payload.len() as u32 == bit_rate / 400), "{bit_rate}");
        }
        let with_copies = |wanted| {
            let settings =
                OpusSettings { bit_rate: 32_000, forward_error_correction: wanted, ..OpusSettings::default() };
            spoken(&settings).iter().filter(|payload| has_copy(payload)).count()
        };
        assert!(with_copies(true) > 0);
        assert_eq!(with_copies(false), 0);
    }

    #[test]
    fn no_more_of_the_band_is_coded_than_the_listener_plays() {
        // The kinds of SILK and CELT by band (RFC 6716 table 2).
        let narrow = |config: u8| config < 4 || (16..20).contains(&config);
        for (playback_rate, is_narrow) in [(8_000, true), (0, true), (16_000, false), (48_000, false)] {
            let payloads = spoken(&OpusSettings { playback_rate, ..OpusSettings::default() });
            assert_eq!(payloads[10..].iter().all(|payload| narrow(payload[0] >> 3)), is_narrow, "{playback_rate} Hz");
        }
    }

    proptest! {
        #[test]
        fn the_duration_is_the_one_the_library_finds(payload in proptest::collection::vec(any::<u8>(), 1..40)) {
            let library = opusic_c::utils::get_nb_samples(&payload, SampleRate::Hz48000).ok().filter(|&found| found > 0);
            prop_assert_eq!(samples(&payload, 48000), library);
        }
    }
}
