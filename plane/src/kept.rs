//! What was sent last, to be sent again where a receiver asks for it (RFC 4585 section 6.2.1, RFC 4588).

use crate::limits::Bucket;
use crate::outgoing::MARKER;
use crate::rtp::{Header, HEADER, LONGEST};

/// Packets one stream may keep.
pub const MOST: u16 = 1024;
/// Packets a second that are sent again at most, whatever is asked.
const AGAIN: u32 = 500;
/// Octets of a payload that is kept: with its number before it the packet must still fit.
const ROOM: usize = LONGEST - HEADER - 64;

#[derive(Clone)]
struct Packet {
    /// Whether its payload is here.
    there: bool,
    second: u8,
    sequence_number: Option<u16>,
    timestamp: u32,
    turned: Option<u8>,
    length: u16,
}

/// The last packets of one stream, and the stream that repeats them.
pub struct Kept {
    ssrc: u32,
    next: u16,
    /// Payload type of the retransmission of each payload type; 255: none.
    types: Box<[u8; 128]>,
    packets: Box<[Packet]>,
    payloads: Box<[u8]>,
    again: Bucket,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Kept {{ ssrc: {}, packets: {} }}", self.ssrc, self.packets.len())
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        (self.ssrc, self.next, &self.types) == (other.ssrc, other.next, &other.types)
            && self.packets.len() == other.packets.len()
    }
}

impl Kept {
    /// `types`: pairs of a payload type and that of its retransmission. Room for `count` packets is made at once.
    pub fn new(ssrc: u32, next: u16, types: &[(u8, u8)], count: u16) -> Self {
        let count = usize::from(count.clamp(1, MOST));
        let mut table = Box::new([255; 128]);
        types.iter().for_each(|(media, again)| table[usize::from(media & 0x7f)] = *again);
        let none = Packet { there: false, second: 0, sequence_number: None, timestamp: 0, turned: None, length: 0 };
        Self {
            ssrc,
            next,
            types: table,
            packets: vec![none; count].into_boxed_slice(),
            payloads: vec![0; count * ROOM].into_boxed_slice(),
            again: Bucket::new(),
        }
    }

    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Source and next number of the retransmissions.
    pub const fn numbers(&self) -> (u32, u16) {
        (self.ssrc, self.next)
    }

    /// Go on with the numbers of what repeated under the same source before: none may come twice.
    pub fn follow(&mut self, (ssrc, next): (u32, u16)) {
        if ssrc == self.ssrc {
            self.next = next;
        }
    }

    /// Keep a packet that goes out.
    pub fn keep(&mut self, header: &Header, payload: &[u8]) {
        let place = usize::from(header.sequence_number) % self.packets.len();
        self.packets[place] = Packet {
            there: payload.len() <= ROOM,
            second: header.second,
            sequence_number: Some(header.sequence_number),
            timestamp: header.timestamp,
            turned: header.turned,
            length: payload.len() as u16,
        };
        if let Some(room) = self.payloads[place * ROOM..][..ROOM].get_mut(..payload.len()) {
            room.copy_from_slice(payload);
        }
    }

    /// Write the payload of the packet that repeats `number` into `room`: its header and its length.
    ///
    /// None where it was not kept, its payload type is not repeated, or too many were.
    pub fn again(&mut self, number: u16, now: u64, room: &mut [u8]) -> Option<(Header, usize)> {
        let place = usize::from(number) % self.packets.len();
        let packet = self.packets.get(place).filter(|packet| packet.there && packet.sequence_number == Some(number))?;
        let payload_type = self.types[usize::from(packet.second & 0x7f)];
        if payload_type > 127 || !self.again.take(AGAIN, now) {
            return None;
        }
        let length = usize::from(packet.length);
        room.get_mut(..2)?.copy_from_slice(&number.to_be_bytes());
        room.get_mut(2..2 + length)?.copy_from_slice(&self.payloads[place * ROOM..][..length]);
        let second = packet.second & MARKER | payload_type;
        let (timestamp, turned) = (packet.timestamp, packet.turned);
        let header = Header { second, sequence_number: self.next, timestamp, ssrc: self.ssrc, turned };
        self.next = self.next.wrapping_add(1);
        Some((header, length + 2))
    }

    /// Whether a packet of that number went out, as far back as packets are kept.
    pub fn has(&self, number: u16) -> bool {
        self.packets[usize::from(number) % self.packets.len()].sequence_number == Some(number)
    }

    /// Packets that are kept.
    pub fn reach(&self) -> u16 {
        self.packets.len() as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(sequence_number: u16) -> Header {
        Header { second: 96 | MARKER, sequence_number, timestamp: 7, ssrc: 1, turned: None }
    }

    #[test]
    fn a_packet_is_repeated_with_its_number_before_it_until_another_takes_its_place() {
        let mut kept = Kept::new(5, 65_535, &[(96, 97)], 4);
        let mut room = [0; 1500];
        (65_534..=65_537u32).for_each(|number| kept.keep(&header(number as u16), &[number as u8; 3]));
        let (again, length) = kept.again(0, 1, &mut room).unwrap();
        assert_eq!((again.second, again.sequence_number, again.timestamp, again.ssrc), (97 | MARKER, 65_535, 7, 5));
        assert_eq!(&room[..length], [0, 0, 0, 0, 0]);
        assert_eq!(kept.again(0, 1, &mut room).unwrap().0.sequence_number, 0);
        kept.keep(&header(2), b"next");
        assert!(kept.again(65_534, 1, &mut room).is_none());
        assert!(!kept.has(65_534) && kept.has(2));
    }

    #[test]
    fn what_has_no_payload_type_of_its_own_or_comes_too_often_is_not_repeated() {
        let mut kept = Kept::new(5, 1, &[(98, 99)], 4);
        let mut room = [0; 1500];
        kept.keep(&header(1), b"other");
        assert!(kept.again(1, 1, &mut room).is_none());
        kept.keep(&Header { second: 98, turned: Some(3), ..header(1) }, b"x");
        assert_eq!(kept.again(1, 1, &mut room).unwrap().0.turned, Some(3));
        assert_eq!((0..1000).filter(|_| kept.again(1, 1, &mut room).is_some()).count(), AGAIN as usize - 1);
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let mut kept = Kept::new(5, 1, &[(96, 97)], 4);
        kept.keep(&header(1), &[0; ROOM + 1]);
        assert!(kept.has(1) && !kept.has(0));
        assert!(kept.again(1, 1, &mut [0; 1500]).is_none());
        kept.keep(&header(1), &[0; ROOM]);
        assert!(kept.again(1, 1, &mut [0; 1500]).is_some());
    }
}
