//! What packets carry: a pattern that says who sent it when and is checked to the last octet, or frames of audio.

use std::f64::consts::TAU;

const MAGIC: [u8; 4] = *b"LOAD";
/// Octets of a pattern before its filling.
const HEAD: usize = 24;

/// What a direction sends.
pub enum Source {
    /// So many octets, each packet another.
    Pattern(usize),
    /// Encoded frames, again and again.
    Frames(Vec<Vec<u8>>),
}

/// What a direction's receiver looks for.
pub enum Check {
    Pattern,
    /// G.711 mu-law with this tone (Hz at 8000 Hz) as its greater part.
    Tone(f64),
    /// Anything that is not empty.
    Any,
}

/// What a pattern says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Said {
    pub call: u32,
    pub direction: u8,
    pub number: u32,
    /// When it was sent, nanoseconds of the wall clock.
    pub sent: u64,
}

/// A well-mixed 64-bit value (SplitMix64).
fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn seed(said: Said) -> u64 {
    let who = u64::from(said.call) << 32 | u64::from(said.number);
    mix(mix(who) ^ said.sent ^ u64::from(said.direction))
}

/// Append a pattern of `length` octets (at least 24).
pub fn write(said: Said, length: usize, packet: &mut Vec<u8>) {
    packet.extend_from_slice(&MAGIC);
    packet.extend_from_slice(&said.call.to_be_bytes());
    packet.extend_from_slice(&u32::from(said.direction).to_be_bytes());
    packet.extend_from_slice(&said.number.to_be_bytes());
    packet.extend_from_slice(&said.sent.to_be_bytes());
    let mut word = seed(said);
    let mut rest = length.saturating_sub(HEAD);
    while rest > 0 {
        let part = rest.min(8);
        packet.extend_from_slice(&word.to_be_bytes()[..part]);
        word = mix(word);
        rest -= part;
    }
}

/// Read a pattern; None where any octet is not what the head says it is to be.
pub fn read(payload: &[u8]) -> Option<Said> {
    if payload.len() < HEAD || payload[..4] != MAGIC || payload[8..11] != [0; 3] {
        return None;
    }
    let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap_or_default());
    let said = Said {
        call: number(4),
        direction: payload[11],
        number: number(12),
        sent: u64::from_be_bytes(payload[16..24].try_into().ok()?),
    };
    let mut word = seed(said);
    for part in payload[HEAD..].chunks(8) {
        if part != &word.to_be_bytes()[..part.len()] {
            return None;
        }
        word = mix(word);
    }
    Some(said)
}

/// Whether mu-law octets are for the greater part a tone of `frequency` (Goertzel), and no silence.
pub fn has_tone(payload: &[u8], frequency: f64) -> bool {
    let step = 2.0 * (TAU * frequency / 8000.0).cos();
    let (mut before, mut last, mut energy) = (0.0, 0.0, 0.0);
    for octet in payload {
        let sample = f64::from(linear(*octet));
        (before, last) = (last, sample + step * last - before);
        energy += sample * sample;
    }
    let power = before * before + last * last - step * before * last;
    let length = payload.len() as f64;
    energy > length * 10_000.0 && power > 0.5 * energy * length / 2.0
}

/// A mu-law octet as a linear sample (ITU-T G.711).
fn linear(octet: u8) -> i32 {
    let bits = !octet;
    let magnitude = ((i32::from(bits & 0x0f) << 3) + 0x84) << ((bits >> 4) & 7);
    if bits & 0x80 != 0 {
        0x84 - magnitude
    } else {
        magnitude - 0x84
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: Said = Said { call: 7, direction: 1, number: 99, sent: 123_456_789 };

    #[test]
    fn every_changed_bit_is_found() {
        let mut payload = Vec::new();
        write(SAID, 160, &mut payload);
        assert_eq!(payload.len(), 160);
        assert_eq!(read(&payload), Some(SAID));
        for bit in 0..160 * 8 {
            payload[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&payload), None, "bit {bit}");
            payload[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(read(&payload[..23]), None);
    }

    #[test]
    fn a_tone_is_told_from_others_and_from_silence() {
        let encode = |frequency: f64| -> Vec<u8> {
            let sample = |n: usize| (8000.0 * (TAU * frequency * n as f64 / 8000.0).sin()) as i32;
            let nearest = |wanted: i32| (0..=255u8).min_by_key(|octet| (linear(*octet) - wanted).abs()).unwrap();
            (0..160).map(sample).map(nearest).collect()
        };
        assert!(has_tone(&encode(1000.0), 1000.0));
        assert!(!has_tone(&encode(1600.0), 1000.0));
        assert!(!has_tone(&[0xff; 160], 1000.0));
    }
}
