//! Binding requests of admitted pairs (RFC 8489, RFC 8445 section 7.3): read, proved, answered.

use crate::addr::Addr;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use std::net::IpAddr;

const MAGIC_COOKIE: u32 = 0x2112_A442;
const FINGERPRINT_XOR: u32 = 0x5354_554E;
const LONGEST: usize = 1280;
const HEADER: usize = 20;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const SUCCESS: u16 = 0x0101;
/// Octets of the longest response.
pub const RESPONSE: usize = 80;

/// Whether the datagram says it is a Binding request.
pub fn is_binding_request(data: &[u8]) -> bool {
    data.starts_with(&[0, 1])
}

/// Whether the datagram says it is the success response to a Binding request of the gateway's own.
pub fn is_binding_success(data: &[u8]) -> bool {
    data.starts_with(&[1, 1])
}

/// One of our ufrags with its password.
pub struct Credential {
    ufrag: Box<[u8]>,
    key: Hmac<Sha1>,
}

impl Credential {
    pub fn new(ufrag: &[u8], password: &[u8]) -> Option<Self> {
        Some(Self { ufrag: ufrag.into(), key: <Hmac<Sha1> as Mac>::new_from_slice(password).ok()? })
    }
}

/// What a plain authentic check says.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    pub use_candidate: bool,
    credential: usize,
}

/// Read a check and prove it; None for everything that the gateway should see instead.
pub fn read(data: &[u8], credentials: &[Credential]) -> Option<Check> {
    if data.len() < HEADER + 8 || data.len() > LONGEST || data.len() % 4 != 0 {
        return None;
    }
    let stated = usize::from(half(data, 2)?);
    if half(data, 0)? != 1 || stated + HEADER != data.len() || word(data, 4)? != MAGIC_COOKIE {
        return None;
    }
    let fingerprint = data.len() - 8;
    if word(data, fingerprint)? != u32::from(FINGERPRINT) << 16 | 4
        || word(data, fingerprint + 4)? != crc(&data[..fingerprint])
    {
        return None;
    }
    let mut credential = None;
    let mut use_candidate = false;
    let mut position = HEADER;
    while position < fingerprint {
        let (kind, length) = (half(data, position)?, usize::from(half(data, position + 2)?));
        let value = data.get(position + 4..position + 4 + length)?;
        match kind {
            USERNAME => {
                let local = value.split(|each| *each == b':').next()?;
                credential = credentials.iter().position(|each| *each.ufrag == *local);
            }
            MESSAGE_INTEGRITY => {
                let credential = credential?;
                let proved = proves(&credentials[credential].key, data, position, value);
                // What follows it, but for FINGERPRINT, is not proved: the gateway may look at it.
                let last = position + 4 + length == fingerprint;
                return (proved && last).then_some(Check { use_candidate, credential });
            }
            USE_CANDIDATE => use_candidate = true,
            ICE_CONTROLLED => return None,
            PRIORITY | 0x8000.. => {}
            // Unknown and to be understood (RFC 8489 section 14): the gateway answers 420.
            _ => return None,
        }
        position += 4 + length.next_multiple_of(4);
    }
    None
}

fn proves(key: &Hmac<Sha1>, data: &[u8], position: usize, code: &[u8]) -> bool {
    let mut mac = key.clone();
    mac.update(&data[..2]);
    // The length counts up to the end of MESSAGE-INTEGRITY (RFC 8489 section 14.5).
    mac.update(&((position + 24 - HEADER) as u16).to_be_bytes());
    mac.update(&data[4..position]);
    mac.verify_slice(code).is_ok()
}

/// Write the success response to a check that `read` has proved; its length.
pub fn respond(check: &Check, credentials: &[Credential], data: &[u8], source: &Addr, out: &mut [u8]) -> usize {
    let transaction = &data[4..HEADER];
    out[..2].copy_from_slice(&SUCCESS.to_be_bytes());
    out[4..HEADER].copy_from_slice(transaction);
    let mut end = HEADER;
    let port = (source.port ^ (MAGIC_COOKIE >> 16) as u16).to_be_bytes();
    let (family, length) = if source.is_v6() { (2, 20) } else { (1, 8) };
    out[end..end + 2].copy_from_slice(&XOR_MAPPED_ADDRESS.to_be_bytes());
    out[end + 2..end + 6].copy_from_slice(&[0, length, 0, family]);
    out[end + 6..end + 8].copy_from_slice(&port);
    end += 8;
    let mut address = [0; 16];
    let octets = match source.ip() {
        IpAddr::V4(ip) => {
            address[..4].copy_from_slice(&ip.octets());
            4
        }
        IpAddr::V6(ip) => {
            address.copy_from_slice(&ip.octets());
            16
        }
    };
    for (place, (octet, mask)) in out[end..].iter_mut().zip(address[..octets].iter().zip(transaction)) {
        *place = octet ^ mask;
    }
    end += octets;
    set_length(out, end + 24);
    let mut mac = credentials[check.credential].key.clone();
    mac.update(&out[..end]);
    out[end..end + 2].copy_from_slice(&MESSAGE_INTEGRITY.to_be_bytes());
    out[end + 2..end + 4].copy_from_slice(&[0, 20]);
    out[end + 4..end + 24].copy_from_slice(&mac.finalize().into_bytes());
    end += 24;
    set_length(out, end + 8);
    let sum = crc(&out[..end]);
    out[end..end + 2].copy_from_slice(&FINGERPRINT.to_be_bytes());
    out[end + 2..end + 4].copy_from_slice(&[0, 4]);
    out[end + 4..end + 8].copy_from_slice(&sum.to_be_bytes());
    end + 8
}

fn set_length(out: &mut [u8], end: usize) {
    out[2..4].copy_from_slice(&((end - HEADER) as u16).to_be_bytes());
}

fn half(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..).and_then(|rest| rest.first_chunk()).map(|octets| u16::from_be_bytes(*octets))
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..).and_then(|rest| rest.first_chunk()).map(|octets| u32::from_be_bytes(*octets))
}

const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        let mut value = octet as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xEDB8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[octet] = value;
        octet += 1;
    }
    table
};

/// The value of FINGERPRINT over what precedes it (RFC 8489 section 14.7).
fn crc(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |sum, octet| CRC[((sum ^ u32::from(*octet)) & 0xff) as usize] ^ sum >> 8) ^ FINGERPRINT_XOR
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub fn request(ufrag: &str, password: &str, extra: &[(u16, &[u8])]) -> Vec<u8> {
        let mut made = vec![0, 1, 0, 0];
        made.extend(MAGIC_COOKIE.to_be_bytes());
        made.extend([7; 12]);
        let add = |made: &mut Vec<u8>, kind: u16, value: &[u8]| {
            made.extend(kind.to_be_bytes());
            made.extend((value.len() as u16).to_be_bytes());
            made.extend(value);
            made.resize(made.len().next_multiple_of(4), 0);
        };
        add(&mut made, USERNAME, format!("{ufrag}:theirs").as_bytes());
        add(&mut made, PRIORITY, &[0, 0, 0, 1]);
        for (kind, value) in extra {
            add(&mut made, *kind, value);
        }
        let end = made.len();
        set_length(&mut made, end + 24);
        let mut mac = <Hmac<Sha1> as Mac>::new_from_slice(password.as_bytes()).unwrap();
        mac.update(&made);
        let code: [u8; 20] = mac.finalize().into_bytes().into();
        add(&mut made, MESSAGE_INTEGRITY, &code);
        let end = made.len();
        set_length(&mut made, end + 8);
        let sum = crc(&made).to_be_bytes();
        add(&mut made, FINGERPRINT, &sum);
        made
    }

    fn ours() -> Vec<Credential> {
        vec![
            Credential::new(b"other", b"nothing").unwrap(),
            Credential::new(b"ours", b"a password of this leg").unwrap(),
        ]
    }

    #[test]
    fn an_authentic_check_is_read() {
        let data = request("ours", "a password of this leg", &[(0x802a, &[0; 8]), (USE_CANDIDATE, &[])]);
        assert_eq!(read(&data, &ours()), Some(Check { use_candidate: true, credential: 1 }));
    }

    #[test]
    fn everything_else_is_left_to_the_gateway() {
        let good = request("ours", "a password of this leg", &[]);
        assert!(read(&good, &ours()).is_some());
        assert!(read(&request("ours", "another", &[]), &ours()).is_none());
        assert!(read(&request("strange", "a password of this leg", &[]), &ours()).is_none());
        assert!(read(&request("ours", "a password of this leg", &[(ICE_CONTROLLED, &[0; 8])]), &ours()).is_none());
        assert!(read(&request("ours", "a password of this leg", &[(0x7777, &[0; 4])]), &ours()).is_none());
        for end in 0..good.len() {
            assert!(read(&good[..end], &ours()).is_none());
        }
    }

    #[test]
    fn any_changed_bit_is_refused() {
        let good = request("ours", "a password of this leg", &[]);
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 4;
            assert!(read(&bad, &ours()).is_none(), "octet {position}");
        }
    }

    #[test]
    fn the_response_names_the_source_and_is_signed() {
        let data = request("ours", "a password of this leg", &[]);
        let check = read(&data, &ours()).unwrap();
        for source in [Addr::v4(0x7f00_0001, 4000), Addr::v6(0x2001_0db8 << 96 | 5, 4000)] {
            let mut out = [0; RESPONSE];
            let length = respond(&check, &ours(), &data, &source, &mut out);
            let response = &out[..length];
            assert_eq!(half(response, 0), Some(SUCCESS));
            assert_eq!(usize::from(half(response, 2).unwrap()) + 20, length);
            assert_eq!(response[4..20], data[4..20]);
            assert_eq!(half(response, 26).unwrap() ^ 0x2112, 4000);
            assert_eq!(word(response, length - 4), Some(crc(&response[..length - 8])));
            let integrity = length - 8 - 24;
            assert!(proves(&ours()[1].key, response, integrity, &response[integrity + 4..integrity + 24]));
        }
    }

    #[test]
    fn the_checksum_is_the_one_of_the_rfc() {
        assert_eq!(crc(b"123456789") ^ FINGERPRINT_XOR, 0xCBF4_3926);
    }

    proptest! {
        #[test]
        fn no_datagram_makes_reading_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&data, &ours()).is_none());
        }

        #[test]
        fn a_valid_frame_with_any_attributes_does_not_panic(body in prop::collection::vec(any::<u8>(), 0..120)) {
            let mut data = vec![0, 1, 0, 0];
            data.extend(MAGIC_COOKIE.to_be_bytes());
            data.extend([7; 12]);
            data.extend(&body);
            data.resize(data.len().next_multiple_of(4), 0);
            let end = data.len();
            set_length(&mut data, end + 8);
            let sum = crc(&data);
            data.extend([0x80, 0x28, 0, 4]);
            data.extend(sum.to_be_bytes());
            let _ = read(&data, &ours());
        }
    }
}
