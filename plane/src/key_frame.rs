//! Where a whole picture begins in a stream of video.

/// How the payload says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// It does not: any packet will do.
    Any,
    Vp8,
    H264,
    Vp9,
    Av1,
}

impl Format {
    /// The format with that number on the wire.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Any),
            1 => Some(Self::Vp8),
            2 => Some(Self::H264),
            3 => Some(Self::Vp9),
            4 => Some(Self::Av1),
            _ => None,
        }
    }

    /// Whether a packet with this payload is the first of a key frame.
    pub fn begins(self, payload: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Vp8 => vp8(payload).unwrap_or(false),
            Self::H264 => h264(payload).unwrap_or(false),
            Self::Vp9 => vp9(payload).unwrap_or(false),
            // N: the packet begins a coded video sequence (RTP payload format for AV1, section 4.4).
            Self::Av1 => payload.first().is_some_and(|first| first & 0x08 != 0),
        }
    }
}

/// RFC 7741 sections 4.2 and 4.3: the start of partition 0, whose first octet says P = 0.
fn vp8(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    if first & 0x17 != 0x10 {
        return Some(false);
    }
    let mut at = 1;
    if first & 0x80 != 0 {
        let extended = *payload.get(at)?;
        at += 1;
        if extended & 0x80 != 0 {
            at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
        }
        at += usize::from(extended & 0x40 != 0) + usize::from(extended & 0x30 != 0);
    }
    Some(payload.get(at)? & 1 == 0)
}

/// RFC 6184: a sequence parameter set, alone or in a STAP-A, or an IDR slice or its first fragment.
fn h264(payload: &[u8]) -> Option<bool> {
    const IDR: u8 = 5;
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    /// Units of a STAP-A that are looked at.
    const MOST_UNITS: usize = 8;
    Some(match payload.first()? & 0x1f {
        IDR | SPS => true,
        STAP_A => {
            let mut at = 1;
            for _ in 0..MOST_UNITS {
                if matches!(payload.get(at + 2)? & 0x1f, SPS | IDR) {
                    return Some(true);
                }
                at += 2 + usize::from(u16::from_be_bytes([payload[at], payload[at + 1]]));
            }
            false
        }
        FU_A => *payload.get(1)? & 0x9f == 0x80 | IDR,
        _ => false,
    })
}

/// RFC 9628 section 4.2: P = 0 and B, in the lowest spatial layer.
fn vp9(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    if first & 0x48 != 0x08 {
        return Some(false);
    }
    let mut at = 1;
    if first & 0x80 != 0 {
        at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
    }
    Some(first & 0x20 == 0 || payload.get(at)? & 0x0e == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn vp8_begins_with_partition_0_of_a_key_frame() {
        for (payload, begins) in [
            (&[0x10, 0x00][..], true),
            (&[0x10, 0x01], false),
            (&[0x11, 0x00], false),
            (&[0x00, 0x00], false),
            (&[0x90, 0x80, 0x12, 0x00], true),
            (&[0x90, 0x80, 0x92, 0x12, 0x00], true),
            (&[0x90, 0xf0, 0x92, 0x12, 0x01, 0x02, 0x00], true),
            (&[0x90, 0xf0, 0x92, 0x12, 0x01, 0x02, 0x01], false),
            (&[0x90, 0xe0, 0x12, 0x01, 0x02], false),
            (&[], false),
        ] {
            assert_eq!(Format::Vp8.begins(payload), begins, "{payload:?}");
        }
    }

    #[test]
    fn h264_begins_with_its_parameters_or_an_idr_slice() {
        for (payload, begins) in [
            (&[0x67, 0x42][..], true),
            (&[0x65], true),
            (&[0x61], false),
            (&[0x78, 0, 9, 0x67], true),
            (&[0x78, 0, 9, 0x61], false),
            (&[0x78, 0, 2, 0x09, 0xf0, 0, 3, 0x06, 5, 1, 0, 2, 0x67, 0x42], true),
            (&[0x78, 0, 2, 0x09, 0xf0, 0, 1, 0x61], false),
            (&[0x78, 0xff, 0xff, 0x09], false),
            (&[0x7c, 0x85], true),
            (&[0x7c, 0x05], false),
            (&[0x7c, 0x81], false),
            (&[0x7c], false),
            (&[], false),
        ] {
            assert_eq!(Format::H264.begins(payload), begins, "{payload:?}");
        }
    }

    #[test]
    fn vp9_and_av1_say_it_in_their_first_octets() {
        assert!(Format::Vp9.begins(&[0x08]));
        assert!(!Format::Vp9.begins(&[0x48]));
        assert!(!Format::Vp9.begins(&[0x00]));
        assert!(Format::Vp9.begins(&[0xa8, 0x81, 0x02, 0x00]));
        assert!(!Format::Vp9.begins(&[0xa8, 0x01, 0x02]));
        assert!(Format::Av1.begins(&[0x18]));
        assert!(!Format::Av1.begins(&[0x10]));
        assert!(Format::Any.begins(&[]));
    }

    proptest! {
        #[test]
        fn no_payload_makes_looking_panic(number in 0u8..5, payload in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Format::from_number(number).map(|format| format.begins(&payload));
        }
    }
}
