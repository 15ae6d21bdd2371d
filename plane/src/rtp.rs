//! RTP and RTCP headers (RFC 3550 section 5.1, RFC 5761 section 4).

/// Octets of the fixed header.
pub const HEADER: usize = 12;
/// Octets of the longest packet that is taken.
pub const LONGEST: usize = 1500;

/// Whether the second octet is an RTCP packet type where both share a port.
pub const fn is_rtcp(second: u8) -> bool {
    second >= 192 && second <= 223
}

/// The fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Marker bit and payload type as they are.
    pub second: u8,
    pub sequence_number: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

impl Header {
    pub const fn payload_type(&self) -> u8 {
        self.second & 0x7f
    }

    /// Read it; `packet` has at least 12 octets.
    pub fn read(packet: &[u8]) -> Option<Self> {
        let fixed: &[u8; HEADER] = packet.first_chunk()?;
        Some(Self {
            second: fixed[1],
            sequence_number: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
        })
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

    proptest! {
        #[test]
        fn bounds_stay_within_any_packet(packet in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some((start, end)) = payload(&packet) {
                prop_assert!(start <= end && end <= packet.len());
            }
        }

        #[test]
        fn a_written_header_reads_the_same(second: u8, sequence_number: u16, timestamp: u32, ssrc: u32) {
            let header = Header { second, sequence_number, timestamp, ssrc };
            let mut packet = [0; 12];
            header.write(&mut packet);
            prop_assert_eq!(Header::read(&packet), Some(header));
        }
    }
}
