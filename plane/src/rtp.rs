//! RTP and RTCP headers (RFC 3550 section 5.1, RFC 5761 section 4).

/// Octets of the fixed header.
pub const HEADER: usize = 12;
/// Octets of a header extension of one element of one octet.
pub const ELEMENT: usize = 8;
/// Octets of the longest packet that is taken.
pub const LONGEST: usize = 1500;

/// Whether the second octet is an RTCP packet type where both share a port.
pub const fn is_rtcp(second: u8) -> bool {
    second >= 192 && second <= 223
}

/// The fixed header, and what of an extension is carried on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Marker bit and payload type as they are.
    pub second: u8,
    pub sequence_number: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// How the picture lies (3GPP TS 26.114 section 7.4.5), where the packet says so.
    pub turned: Option<u8>,
}

impl Header {
    pub const fn payload_type(&self) -> u8 {
        self.second & 0x7f
    }

    /// Read what is fixed of it; `packet` has at least 12 octets.
    pub fn read(packet: &[u8]) -> Option<Self> {
        let fixed: &[u8; HEADER] = packet.first_chunk()?;
        Some(Self {
            second: fixed[1],
            sequence_number: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            turned: None,
        })
    }

    /// Octets before the payload where the extension of that identifier says how the picture lies; 0: none does.
    pub const fn length_with(&self, orientation: u8) -> usize {
        if self.turned.is_some() && orientation != 0 {
            HEADER + ELEMENT
        } else {
            HEADER
        }
    }

    /// Write it with that extension; the octets before the payload.
    pub fn write_with(&self, packet: &mut [u8], orientation: u8) -> usize {
        self.write(packet);
        let (Some(turned), 1..) = (self.turned, orientation) else { return HEADER };
        packet[0] |= 0x10;
        packet[HEADER..HEADER + ELEMENT].copy_from_slice(&if orientation < 15 {
            [0xbe, 0xde, 0, 1, orientation << 4, turned, 0, 0]
        } else {
            [0x10, 0, 0, 1, orientation, 1, turned, 0]
        });
        HEADER + ELEMENT
    }

    /// Write it as the header of a packet without CSRC list, extension and padding.
    pub fn write(&self, packet: &mut [u8]) {
        packet[0] = 0x80;
        packet[1] = self.second;
        packet[2..4].copy_from_slice(&self.sequence_number.to_be_bytes());
        packet[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        packet[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
    }
}

/// Octets before the payload; None where version, CSRC list or extension do not fit.
pub fn header_length(packet: &[u8]) -> Option<usize> {
    if packet.len() < HEADER || packet[0] >> 6 != 2 {
        return None;
    }
    let mut end = HEADER + 4 * usize::from(packet[0] & 0x0f);
    if packet[0] & 0x10 != 0 {
        if packet.len() < end + 4 {
            return None;
        }
        end += 4 + 4 * usize::from(u16::from_be_bytes([packet[end + 2], packet[end + 3]]));
    }
    (end <= packet.len()).then_some(end)
}

/// The element of that identifier in the header extension, in its one- or two-octet form (RFC 8285 section 4).
///
/// `packet` is well-formed, as `payload` has found. None where there is none, or its length points outside the extension.
pub fn extension(packet: &[u8], id: u8) -> Option<&[u8]> {
    if packet.first()? & 0x10 == 0 {
        return None;
    }
    let start = HEADER + 4 * usize::from(packet[0] & 0x0f);
    let (head, rest) = packet.get(start..)?.split_first_chunk::<4>()?;
    let mut rest = rest.get(..4 * usize::from(u16::from_be_bytes([head[2], head[3]])))?;
    let two_octets = match (head[0], head[1]) {
        (0xbe, 0xde) => false,
        (0x10, 0..=0x0f) => true,
        _ => return None,
    };
    while let Some((first, after)) = rest.split_first() {
        let (found, length, data) = match *first {
            0 => {
                rest = after;
                continue;
            }
            first if two_octets => (first, usize::from(*after.first()?), &after[1..]),
            // Nothing after 15 is read (section 4.2).
            first if first >> 4 == 15 => return None,
            first => (first >> 4, usize::from(first & 0x0f) + 1, after),
        };
        let element = data.get(..length)?;
        if found == id {
            return Some(element);
        }
        rest = &data[length..];
    }
    None
}

/// Where the payload of a packet in the clear begins and ends; None where it is malformed.
pub fn payload(packet: &[u8]) -> Option<(usize, usize)> {
    let start = header_length(packet)?;
    let mut end = packet.len();
    if packet[0] & 0x20 != 0 {
        let padding = usize::from(packet[end - 1]);
        if padding == 0 || padding > end - start {
            return None;
        }
        end -= padding;
    }
    Some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn csrc_list_extension_and_padding_are_stripped() {
        let mut packet = vec![0x80 | 0x20 | 0x10 | 2, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        packet.extend([0; 8]);
        packet.extend([0xbe, 0xde, 0, 1, 9, 9, 9, 9]);
        packet.extend(*b"voice");
        packet.extend([0, 0, 3]);
        let (start, end) = payload(&packet).unwrap();
        assert_eq!(&packet[start..end], b"voice");
    }

    #[test]
    fn padding_longer_than_the_packet_is_malformed() {
        let mut packet = [0u8; 20];
        packet[0] = 0xa0;
        packet[19] = 9;
        assert_eq!(payload(&packet), None);
        packet[19] = 0;
        assert_eq!(payload(&packet), None);
    }

    fn extended(profile: u16, elements: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x91, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4];
        packet.extend(profile.to_be_bytes());
        packet.extend(((elements.len() / 4) as u16).to_be_bytes());
        packet.extend(elements);
        packet.extend(*b"voice");
        packet
    }

    #[test]
    fn an_element_is_found_in_both_forms_behind_padding_and_others() {
        let one = extended(0xbede, &[0x20, 9, 0, 0x31, 1, 2, 0x50, 7]);
        assert_eq!(extension(&one, 3), Some(&[1, 2][..]));
        assert_eq!(extension(&one, 2), Some(&[9][..]));
        assert_eq!(extension(&one, 5), Some(&[7][..]));
        assert_eq!(extension(&one, 4), None);
        let two = extended(0x1003, &[2, 0, 0, 3, 2, 1, 2, 200, 1, 5, 0, 0]);
        assert_eq!(extension(&two, 3), Some(&[1, 2][..]));
        assert_eq!(extension(&two, 2), Some(&[][..]));
        assert_eq!(extension(&two, 200), Some(&[5][..]));
    }

    #[test]
    fn what_points_outside_is_unknown_or_follows_15_is_nobodys() {
        assert_eq!(extension(&extended(0xbede, &[0x33, 1, 2, 3]), 3), None);
        assert_eq!(extension(&extended(0x1000, &[3, 3, 1, 2]), 3), None);
        assert_eq!(extension(&extended(0x1000, &[0, 0, 0, 3]), 3), None);
        assert_eq!(extension(&extended(0xf001, &[0x31, 1, 2, 0]), 3), None);
        assert_eq!(extension(&extended(0xbede, &[0xf0, 0, 0x30, 1]), 3), None);
        let mut short = extended(0xbede, &[0x31, 1, 2, 0]);
        short[19] = 9;
        assert_eq!(extension(&short, 3), None);
        assert_eq!(extension(&[], 3), None);
    }

    proptest! {
        #[test]
        fn no_packet_makes_reading_an_extension_panic(packet in prop::collection::vec(any::<u8>(), 0..200), id: u8) {
            let _ = extension(&packet, id);
            let mut extended = packet;
            extended.splice(..0, [0x90, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xbe, 0xde, 0]);
            let _ = extension(&extended, id);
            (extended[12], extended[13]) = (0x10, 0);
            let _ = extension(&extended, id);
        }

        #[test]
        fn no_packet_makes_finding_the_payload_panic(packet in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some((start, end)) = payload(&packet) {
                prop_assert!(start <= end && end <= packet.len());
            }
        }

        #[test]
        fn a_written_header_reads_the_same(second: u8, sequence_number: u16, timestamp: u32, ssrc: u32) {
            let header = Header { second, sequence_number, timestamp, ssrc, turned: None };
            let mut packet = [0; 12];
            header.write(&mut packet);
            prop_assert_eq!(Header::read(&packet), Some(header));
        }

        #[test]
        fn how_a_picture_lies_is_written_in_the_form_of_its_identifier(turned: Option<u8>, orientation: u8) {
            let mut packet = [0xff; 24];
            let length = Header { turned, ..Header::default() }.write_with(&mut packet, orientation);
            let said = turned.filter(|_| orientation != 0);
            prop_assert_eq!(payload(&packet), Some((length, packet.len())));
            prop_assert_eq!(length, if said.is_some() { 20 } else { 12 });
            if orientation != 15 {
                prop_assert_eq!(extension(&packet, orientation), said.as_ref().map(std::slice::from_ref));
            }
        }
    }
}
