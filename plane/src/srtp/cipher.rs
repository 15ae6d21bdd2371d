//! The transforms of a packet, once its index is known: AES-GCM (RFC 7714), AES-CM with HMAC-SHA1 (RFC 3711, RFC 6188).

use super::derive::{derive, Label};
use crate::rtp;
use crate::sys;
use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockEncrypt, KeyInit as _};
use aes::{Aes128, Aes256};
use hmac::{Hmac, Mac};
use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey, AES_128_GCM, AES_256_GCM, MAX_TAG_LEN};
use sha1::Sha1;

/// Octets of an RTCP packet that stay in the clear.
pub const RTCP_PREFIX: usize = 8;
/// Octets of the SRTCP index with its E bit.
pub const RTCP_INDEX: usize = 4;
const ENCRYPTED: u32 = 0x8000_0000;
const GCM_TAG: usize = MAX_TAG_LEN;
const CM_RTCP_TAG: usize = 10;
/// Blocks of key stream made at a time.
const BLOCKS: usize = 8;

/// A protection profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Suite {
    Gcm128 = 1,
    Gcm256 = 2,
    Cm80 = 3,
    Cm32 = 4,
    Cm256With80 = 5,
    Cm256With32 = 6,
}

impl Suite {
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Gcm128),
            2 => Some(Self::Gcm256),
            3 => Some(Self::Cm80),
            4 => Some(Self::Cm32),
            5 => Some(Self::Cm256With80),
            6 => Some(Self::Cm256With32),
            _ => None,
        }
    }

    /// Octets of master key and of master salt.
    pub const fn lengths(self) -> (usize, usize) {
        match self {
            Self::Gcm128 => (16, 12),
            Self::Gcm256 => (32, 12),
            Self::Cm80 | Self::Cm32 => (16, 14),
            Self::Cm256With80 | Self::Cm256With32 => (32, 14),
        }
    }

    /// Octets of the tag in SRTP.
    const fn tag(self) -> usize {
        match self {
            Self::Gcm128 | Self::Gcm256 => GCM_TAG,
            Self::Cm80 | Self::Cm256With80 => 10,
            Self::Cm32 | Self::Cm256With32 => 4,
        }
    }

    /// What protects SRTCP, whose tag always has 80 bits in counter mode (RFC 4568 section 6.2).
    const fn of_rtcp(self) -> Self {
        match self {
            Self::Cm32 => Self::Cm80,
            Self::Cm256With32 => Self::Cm256With80,
            other => other,
        }
    }
}

/// The block cipher of counter mode.
pub enum Aes {
    Short(Box<Aes128>),
    Long(Box<Aes256>),
}

impl Aes {
    /// `key` has 16 or 32 octets.
    pub fn new(key: &[u8]) -> Self {
        if key.len() == 32 {
            Self::Long(Box::new(Aes256::new(GenericArray::from_slice(key))))
        } else {
            Self::Short(Box::new(Aes128::new(GenericArray::from_slice(key))))
        }
    }

    fn prefetch(&self) {
        match self {
            Self::Short(key) => sys::prefetch(&**key),
            Self::Long(key) => sys::prefetch(&**key),
        }
    }

    fn encrypt_blocks(&self, blocks: &mut [aes::Block]) {
        match self {
            Self::Short(key) => key.encrypt_blocks(blocks),
            Self::Long(key) => key.encrypt_blocks(blocks),
        }
    }
}

/// Session keys of RTP or of RTCP.
pub enum Cipher {
    Gcm { key: Box<LessSafeKey>, salt: [u8; 12] },
    Counter { key: Aes, mac: Box<Hmac<Sha1>>, salt: [u8; 14], tag: usize },
}

impl Cipher {
    /// Have the key in the caches.
    pub fn prefetch(&self) {
        match self {
            Self::Gcm { key, .. } => sys::prefetch(&**key),
            Self::Counter { key, mac, .. } => {
                key.prefetch();
                sys::prefetch(&**mac);
            }
        }
    }

    /// The keys of RTP and of RTCP; None where the length of `material` is not the suite's.
    pub fn pair(suite: Suite, material: &[u8]) -> Option<(Self, Self)> {
        let (key, salt) = suite.lengths();
        if material.len() != key + salt {
            return None;
        }
        let (master, salt) = material.split_at(key);
        Some((
            Self::new(suite, master, salt, [Label::RtpKey, Label::RtpMac, Label::RtpSalt])?,
            Self::new(suite.of_rtcp(), master, salt, [Label::RtcpKey, Label::RtcpMac, Label::RtcpSalt])?,
        ))
    }

    fn new(suite: Suite, master: &[u8], master_salt: &[u8], labels: [Label; 3]) -> Option<Self> {
        let mut key = [0u8; 32];
        let key = &mut key[..master.len()];
        derive(master, master_salt, labels[0], key);
        match suite {
            Suite::Gcm128 | Suite::Gcm256 => {
                let algorithm = if suite == Suite::Gcm128 { &AES_128_GCM } else { &AES_256_GCM };
                let mut salt = [0; 12];
                derive(master, master_salt, labels[2], &mut salt);
                Some(Self::Gcm { key: Box::new(LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?)), salt })
            }
            _ => {
                let mut mac = [0; 20];
                derive(master, master_salt, labels[1], &mut mac);
                let mut salt = [0; 14];
                derive(master, master_salt, labels[2], &mut salt);
                Some(Self::Counter {
                    key: Aes::new(key),
                    mac: Box::new(<Hmac<Sha1> as Mac>::new_from_slice(&mac).ok()?),
                    salt,
                    tag: suite.tag(),
                })
            }
        }
    }

    /// Protect the packet in the first `length` octets; its new length. `index` is ROC and sequence number.
    pub fn seal(&self, room: &mut [u8], header: usize, length: usize, ssrc: u32, index: u64) -> usize {
        match self {
            Self::Gcm { key, salt } => {
                let nonce = gcm_nonce(salt, ssrc, index);
                gcm_seal(key, nonce, room, header, length)
            }
            Self::Counter { key, mac, salt, tag } => {
                counter_mode(key, counter_block(salt, ssrc, index), &mut room[header..length]);
                let code = authenticator(mac, &room[..length], &((index >> 16) as u32).to_be_bytes());
                room[length..length + tag].copy_from_slice(&code[..*tag]);
                length + tag
            }
        }
    }

    /// Open a packet in place; its length in the clear, None where it is not authentic.
    pub fn open(&self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Option<usize> {
        match self {
            Self::Gcm { key, salt } => gcm_open(key, gcm_nonce(salt, ssrc, index), packet, header),
            Self::Counter { key, mac, salt, tag } => {
                let end = packet.len().checked_sub(*tag).filter(|end| *end >= header)?;
                let code = authenticator(mac, &packet[..end], &((index >> 16) as u32).to_be_bytes());
                if !equal(&code[..*tag], &packet[end..]) {
                    return None;
                }
                counter_mode(key, counter_block(salt, ssrc, index), &mut packet[header..end]);
                Some(end)
            }
        }
    }

    /// Open a packet in place at the first of these indices where it is authentic: its length in the clear and that index.
    pub fn open_at(
        &self,
        packet: &mut [u8],
        header: usize,
        ssrc: u32,
        indices: impl Iterator<Item = u64>,
    ) -> Option<(usize, u64)> {
        let mut room = [0; rtp::LONGEST];
        // A failed try spoils the packet.
        let kept = room.get_mut(..packet.len()).map(|kept| {
            kept.copy_from_slice(packet);
            &*kept
        });
        for (tries, index) in indices.enumerate() {
            if tries > 0 {
                packet.copy_from_slice(kept?);
            }
            if let Some(plain) = self.open(packet, header, ssrc, index) {
                return Some((plain, index));
            }
        }
        None
    }

    /// The SSRC and the index an SRTCP packet claims; None where it is too short or not encrypted.
    pub fn rtcp_index(&self, packet: &[u8]) -> Option<(u32, u32)> {
        let after = self.after_rtcp_index();
        if packet.len() < RTCP_PREFIX + RTCP_INDEX + if after == 0 { GCM_TAG } else { after } {
            return None;
        }
        let ssrc = u32::from_be_bytes(*packet[4..].first_chunk()?);
        let word = u32::from_be_bytes(*packet[packet.len() - after - RTCP_INDEX..].first_chunk()?);
        (word & ENCRYPTED != 0).then_some((ssrc, word & !ENCRYPTED))
    }

    /// Octets behind the index: RFC 7714 puts the tag before it, RFC 3711 behind.
    pub const fn after_rtcp_index(&self) -> usize {
        match self {
            Self::Gcm { .. } => 0,
            Self::Counter { .. } => CM_RTCP_TAG,
        }
    }

    /// Octets by which a protected packet is longer.
    pub const fn tag(&self) -> usize {
        match self {
            Self::Gcm { .. } => GCM_TAG,
            Self::Counter { tag, .. } => *tag,
        }
    }

    /// Octets of an SRTP packet behind where a master key identifier would be: RFC 7714 counts its tag to the
    /// ciphertext, RFC 3711 puts it last.
    pub const fn rtp_tail(&self) -> usize {
        match self {
            Self::Gcm { .. } => 0,
            Self::Counter { tag, .. } => *tag,
        }
    }

    /// Protect the RTCP packet in the first `length` octets, 8 at least; its new length.
    pub fn seal_rtcp(&self, room: &mut [u8], length: usize, index: u32) -> usize {
        let ssrc = u32::from_be_bytes([room[4], room[5], room[6], room[7]]);
        let word = (index | ENCRYPTED).to_be_bytes();
        match self {
            Self::Gcm { key, salt } => {
                let nonce = gcm_nonce(salt, ssrc, u64::from(index));
                let aad = rtcp_aad(room, word);
                let tag = key
                    .seal_in_place_separate_tag(
                        Nonce::assume_unique_for_key(nonce),
                        Aad::from(aad),
                        &mut room[RTCP_PREFIX..length],
                    )
                    .map(|tag| {
                        let mut kept = [0; GCM_TAG];
                        kept.copy_from_slice(tag.as_ref());
                        kept
                    })
                    .unwrap_or([0; GCM_TAG]);
                room[length..length + GCM_TAG].copy_from_slice(&tag);
                room[length + GCM_TAG..length + GCM_TAG + RTCP_INDEX].copy_from_slice(&word);
                length + GCM_TAG + RTCP_INDEX
            }
            Self::Counter { key, mac, salt, .. } => {
                let block = counter_block(salt, ssrc, u64::from(index));
                counter_mode(key, block, &mut room[RTCP_PREFIX..length]);
                room[length..length + RTCP_INDEX].copy_from_slice(&word);
                let end = length + RTCP_INDEX;
                let code = authenticator(mac, &room[..end], &[]);
                room[end..end + CM_RTCP_TAG].copy_from_slice(&code[..CM_RTCP_TAG]);
                end + CM_RTCP_TAG
            }
        }
    }

    /// Open an RTCP packet in place, once `rtcp_index` has read it; its length in the clear.
    pub fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32) -> Option<usize> {
        match self {
            Self::Gcm { key, salt } => {
                let nonce = gcm_nonce(salt, ssrc, u64::from(index));
                let aad = rtcp_aad(packet, (index | ENCRYPTED).to_be_bytes());
                let end = packet.len() - RTCP_INDEX;
                let plain = key
                    .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut packet[RTCP_PREFIX..end])
                    .ok()?;
                Some(RTCP_PREFIX + plain.len())
            }
            Self::Counter { key, mac, salt, .. } => {
                let end = packet.len() - CM_RTCP_TAG;
                let code = authenticator(mac, &packet[..end], &[]);
                if !equal(&code[..CM_RTCP_TAG], &packet[end..]) {
                    return None;
                }
                let end = end - RTCP_INDEX;
                let block = counter_block(salt, ssrc, u64::from(index));
                counter_mode(key, block, &mut packet[RTCP_PREFIX..end]);
                Some(end)
            }
        }
    }
}

/// RFC 7714 sections 8.1 and 9.1; an SRTCP index has 31 bits and stands in the same place.
fn gcm_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> [u8; 12] {
    let mut nonce = *salt;
    for (octet, value) in nonce[2..6].iter_mut().zip(ssrc.to_be_bytes()) {
        *octet ^= value;
    }
    for (octet, value) in nonce[6..].iter_mut().zip(&index.to_be_bytes()[2..]) {
        *octet ^= value;
    }
    nonce
}

fn gcm_seal(key: &LessSafeKey, nonce: [u8; 12], room: &mut [u8], header: usize, length: usize) -> usize {
    let (aad, rest) = room.split_at_mut(header);
    let (payload, behind) = rest.split_at_mut(length - header);
    // It fails only beyond 64 GiB; an empty tag then makes the packet worthless, not readable.
    match key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&*aad), payload) {
        Ok(tag) => behind[..GCM_TAG].copy_from_slice(tag.as_ref()),
        Err(_) => payload.fill(0),
    }
    length + GCM_TAG
}

fn gcm_open(key: &LessSafeKey, nonce: [u8; 12], packet: &mut [u8], header: usize) -> Option<usize> {
    let (aad, rest) = packet.split_at_mut(header);
    let plain = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(&*aad), rest).ok()?;
    Some(header + plain.len())
}

/// What SRTCP authenticates beside the encrypted part (RFC 7714 section 9.2).
fn rtcp_aad(packet: &[u8], word: [u8; 4]) -> [u8; 12] {
    let mut aad = [0; 12];
    aad[..RTCP_PREFIX].copy_from_slice(&packet[..RTCP_PREFIX]);
    aad[RTCP_PREFIX..].copy_from_slice(&word);
    aad
}

/// RFC 3711 section 4.1.1.
fn counter_block(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut block = [0; 16];
    block[..14].copy_from_slice(salt);
    for (octet, value) in block[4..8].iter_mut().zip(ssrc.to_be_bytes()) {
        *octet ^= value;
    }
    for (octet, value) in block[8..14].iter_mut().zip(&index.to_be_bytes()[2..]) {
        *octet ^= value;
    }
    block
}

fn counter_mode(key: &Aes, block: [u8; 16], data: &mut [u8]) {
    let mut counter = 0u16;
    for part in data.chunks_mut(16 * BLOCKS) {
        let mut stream = [GenericArray::from(block); BLOCKS];
        let used = part.len().div_ceil(16);
        for each in &mut stream[..used] {
            each[14..].copy_from_slice(&counter.to_be_bytes());
            counter = counter.wrapping_add(1);
        }
        key.encrypt_blocks(&mut stream[..used]);
        for (octets, each) in part.chunks_mut(16).zip(&stream) {
            for (octet, value) in octets.iter_mut().zip(each) {
                *octet ^= value;
            }
        }
    }
}

fn authenticator(mac: &Hmac<Sha1>, packet: &[u8], more: &[u8]) -> [u8; 20] {
    let mut mac = mac.clone();
    mac.update(packet);
    mac.update(more);
    mac.finalize().into_bytes().into()
}

/// Compare in a time that does not depend on where they differ.
fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
