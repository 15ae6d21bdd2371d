//! G.711: eight bits a sample, by tables and, the other way, by the position of the highest bit.
//!
//! Decision values are the Recommendation's, which at the borders of two segments are not halfway between codes.

/// Which of the two laws of ITU-T G.711.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// Table 2a: PCMU.
    Mu,
    /// Table 1a: PCMA.
    A,
}

const BIAS: i32 = 0x84;
/// What encodes to silence: mu-law's and A-law's smallest positive value.
pub const MU_SILENCE: u8 = 0xFF;
/// A-law has no zero; this is +8.
pub const A_SILENCE: u8 = 0xD5;

const fn mu_value(octet: u8) -> i16 {
    // Every octet is sent inverted.
    let code = !octet;
    let exponent = (code >> 4) & 0x07;
    let magnitude = (((((code & 0x0F) as i32) << 3) + BIAS) << exponent) - BIAS;
    (if code & 0x80 != 0 { -magnitude } else { magnitude }) as i16
}

const fn a_value(octet: u8) -> i16 {
    // Every even bit is sent inverted.
    let code = octet ^ 0x55;
    let exponent = (code >> 4) & 0x07;
    let low = (((code & 0x0F) as i32) << 4) + 8;
    let magnitude = if exponent == 0 { low } else { (low + 0x100) << (exponent - 1) };
    (if code & 0x80 != 0 { magnitude } else { -magnitude }) as i16
}

const fn table(law: Law) -> [i16; 256] {
    let mut values = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        values[octet] = match law {
            Law::Mu => mu_value(octet as u8),
            Law::A => a_value(octet as u8),
        };
        octet += 1;
    }
    values
}

static MU: [i16; 256] = table(Law::Mu);
static A: [i16; 256] = table(Law::A);

/// Appends one sample for each octet.
pub fn decode(law: Law, payload: &[u8], pcm: &mut Vec<i16>) {
    let values = match law {
        Law::Mu => &MU,
        Law::A => &A,
    };
    pcm.extend(payload.iter().map(|&octet| values[octet as usize]));
}

/// Appends one octet for each sample.
pub fn encode(law: Law, pcm: &[i16], payload: &mut Vec<u8>) {
    match law {
        Law::Mu => payload.extend(pcm.iter().map(|&sample| mu_code(sample))),
        Law::A => payload.extend(pcm.iter().map(|&sample| a_code(sample))),
    }
}

fn mu_code(sample: i16) -> u8 {
    let negative = sample < 0;
    // The bias puts the borders of the segments on powers of two, and the decision values between two codes
    // in their middle, so that cutting bits off rounds to the nearest.
    let magnitude = (i32::from(sample).abs() + BIAS).min(0x7FFF);
    let exponent = 24 - (magnitude as u32).leading_zeros();
    let mantissa = (magnitude >> (exponent + 3)) & 0x0F;
    let code = (exponent << 4) as u8 | mantissa as u8;
    !(if negative { code | 0x80 } else { code })
}

fn a_code(sample: i16) -> u8 {
    let negative = sample < 0;
    // -1 and 0 are equally far from no code: each keeps its sign.
    let magnitude = if negative { !i32::from(sample) } else { i32::from(sample) };
    let exponent = 24u32.saturating_sub((magnitude as u32 | 0xFF).leading_zeros());
    let mantissa = (magnitude >> (exponent.max(1) + 3)) & 0x0F;
    let code = (exponent << 4) as u8 | mantissa as u8;
    (if negative { code } else { code | 0x80 }) ^ 0x55
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_are_those_of_the_recommendation() {
        for (octet, value) in [(0xFF, 0), (0x80, 32124), (0x00, -32124)] {
            assert_eq!(MU[octet], value);
        }
        for (octet, value) in [(0xD5, 8), (0xAA, 32256), (0x55, -8)] {
            assert_eq!(A[octet], value);
        }
    }

    #[test]
    fn every_sample_lies_within_the_interval_of_its_code() {
        for (law, values) in [(Law::Mu, &MU), (Law::A, &A)] {
            for sample in -32635..=32635i16 {
                let mut code = Vec::new();
                encode(law, &[sample], &mut code);
                let segment = match law {
                    Law::Mu => (!code[0] >> 4 & 7) + 2,
                    Law::A => ((code[0] ^ 0x55) >> 4 & 7).max(1) + 2,
                };
                let error = (i32::from(values[code[0] as usize]) - i32::from(sample)).abs();
                assert!(error <= 1 << segment, "{law:?} {sample}: {error}");
            }
        }
    }

    #[test]
    fn every_code_comes_back() {
        for (law, values) in [(Law::Mu, &MU), (Law::A, &A)] {
            let mut again = Vec::new();
            encode(law, values, &mut again);
            for (octet, &code) in again.iter().enumerate() {
                assert_eq!(values[octet], values[code as usize], "{law:?}");
            }
        }
    }
}
