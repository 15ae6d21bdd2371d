//! SRTP with AES-GCM (RFC 7714): session keys come from outside, RTP only.

use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey, AES_128_GCM, AES_256_GCM};

/// Roll-over counters that are tried for the first packet of a stream.
const WRAPS: u32 = 4;

/// One direction's session key and salt, and where its packet index stands.
pub struct Srtp {
    key: LessSafeKey,
    salt: [u8; 12],
    roll_over: u32,
    highest: Option<u16>,
}

impl Srtp {
    /// `key` is 16 or 32 octets; None for other lengths.
    pub fn new(key: &[u8], salt: &[u8]) -> Option<Srtp> {
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
        Some(Srtp { key, salt: salt.try_into().ok()?, roll_over: 0, highest: None })
    }

    /// The same, with `first` as the index of the first packet.
    pub fn starting(self, first: u32) -> Srtp {
        Srtp { roll_over: first >> 16, ..self }
    }

    fn nonce(&self, header: &[u8], roll_over: u32) -> Nonce {
        let mut nonce = [0u8; 12];
        nonce[2..6].copy_from_slice(&header[8..12]);
        nonce[6..10].copy_from_slice(&roll_over.to_be_bytes());
        nonce[10..12].copy_from_slice(&header[2..4]);
        for (octet, salt) in nonce.iter_mut().zip(self.salt) {
            *octet ^= salt;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// The roll-over counter that fits a sequence number best (RFC 3711 section 3.3.1).
    fn guess(&self, sequence: u16) -> u32 {
        let Some(highest) = self.highest else { return self.roll_over };
        if highest < 0x8000 && sequence.wrapping_sub(highest) >= 0x8000 && sequence > highest {
            self.roll_over.wrapping_sub(1)
        } else if highest >= 0x8000 && sequence < highest.wrapping_sub(0x8000) {
            self.roll_over.wrapping_add(1)
        } else {
            self.roll_over
        }
    }

    fn took(&mut self, sequence: u16, roll_over: u32) {
        if roll_over != self.roll_over || self.highest.map_or(true, |highest| sequence > highest) {
            if roll_over.wrapping_sub(self.roll_over) > 1 {
                return; // one from before the wrap
            }
            self.highest = Some(sequence);
            self.roll_over = roll_over;
        }
    }

    /// Encrypt `packet` (12 octets of header) in place; it grows by the tag's 16 octets.
    pub fn protect(&mut self, packet: &mut Vec<u8>) {
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        let roll_over = self.guess(sequence);
        let nonce = self.nonce(packet, roll_over);
        let (header, payload) = packet.split_at_mut(12);
        if let Ok(tag) = self.key.seal_in_place_separate_tag(nonce, Aad::from(&*header), payload) {
            packet.extend_from_slice(tag.as_ref());
        }
        self.took(sequence, roll_over);
    }

    /// Decrypt in place; the length of header and payload, None where it is not authentic.
    pub fn unprotect(&mut self, packet: &mut [u8], header: usize) -> Option<usize> {
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        // A stream that is met on its way may have wrapped before.
        let unknown = if self.highest.is_none() { WRAPS } else { 1 };
        let guess = self.guess(sequence);
        let untouched = if unknown > 1 { packet.to_vec() } else { Vec::new() };
        for roll_over in guess..guess.saturating_add(unknown) {
            if roll_over > guess {
                packet.copy_from_slice(&untouched);
            }
            let nonce = self.nonce(packet, roll_over);
            let (head, sealed) = packet.split_at_mut(header);
            if let Ok(plain) = self.key.open_in_place(nonce, Aad::from(&*head), sealed) {
                let length = header + plain.len();
                if self.highest.is_none() {
                    self.roll_over = roll_over;
                }
                self.took(sequence, roll_over);
                return Some(length);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_protected_reads_back_also_over_a_wrap() {
        let mut sender = Srtp::new(&[1; 16], &[2; 12]).unwrap();
        let mut receiver = Srtp::new(&[1; 16], &[2; 12]).unwrap();
        for number in 65_000u32..66_500 {
            let mut packet = vec![0x80, 0];
            packet.extend_from_slice(&(number as u16).to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0, 9, 0, 0, 0, 7]);
            packet.extend_from_slice(&[number as u8; 160]);
            let before = packet.clone();
            sender.protect(&mut packet);
            let length = receiver.unprotect(&mut packet, 12).unwrap();
            assert_eq!(packet[..length], before);
        }
    }

    #[test]
    fn a_stream_is_met_after_its_wrap() {
        let mut sender = Srtp::new(&[1; 16], &[2; 12]).unwrap().starting(3 << 16);
        let mut receiver = Srtp::new(&[1; 16], &[2; 12]).unwrap();
        for number in 5..8 {
            let mut packet = vec![0x80, 0, 0, number, 0, 0, 0, 9, 0, 0, 0, 7, 1, 2, 3];
            let before = packet.clone();
            sender.protect(&mut packet);
            let length = receiver.unprotect(&mut packet, 12).unwrap();
            assert_eq!(packet[..length], before);
        }
    }

    #[test]
    fn a_changed_packet_is_refused() {
        let mut sender = Srtp::new(&[1; 16], &[2; 12]).unwrap();
        let mut receiver = Srtp::new(&[1; 16], &[2; 12]).unwrap();
        let mut packet = vec![0x80, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 7, 1, 2, 3];
        sender.protect(&mut packet);
        packet[13] ^= 1;
        assert!(receiver.unprotect(&mut packet, 12).is_none());
    }
}
