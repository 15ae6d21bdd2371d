//! How a gateway and a plane prove to each other that they know the state folder's secret.

use crate::wire::{Malformed, Reader, OLDEST, VERSION};
use ring::hmac;

/// First octets of a greeting.
pub const MAGIC: &[u8; 4] = b"GWPL";
/// Octets of the random part of a greeting.
pub const NONCE: usize = 32;
/// Octets of the shortest secret.
pub const SHORTEST_SECRET: usize = 16;

/// What a gateway says first.
#[derive(Debug, PartialEq, Eq)]
pub struct Greeting {
    lowest: u16,
    highest: u16,
    pub nonce: [u8; NONCE],
}

impl Greeting {
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(Malformed);
        }
        let (lowest, highest) = (reader.u16()?, reader.u16()?);
        let nonce = reader.take(NONCE)?.try_into().map_err(|_| Malformed)?;
        Ok(Self { lowest, highest, nonce })
    }

    /// The newest version both speak.
    pub fn version(&self) -> Option<u16> {
        let version = self.highest.min(VERSION);
        (version >= OLDEST && version >= self.lowest).then_some(version)
    }
}

/// The secret of the state folder.
pub struct Secret(hmac::Key);

impl Secret {
    /// None where it is too short to be one.
    pub fn new(octets: &[u8]) -> Option<Self> {
        (octets.len() >= SHORTEST_SECRET).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, octets)))
    }

    /// What the one in `role` proves itself by, for the random parts of the gateway and of the plane.
    pub fn proof(&self, role: &str, gateway: &[u8; NONCE], plane: &[u8; NONCE]) -> [u8; 32] {
        let tag = hmac::sign(&self.0, &message(role, gateway, plane));
        let mut proof = [0; 32];
        proof.copy_from_slice(tag.as_ref());
        proof
    }

    pub fn proves(&self, role: &str, gateway: &[u8; NONCE], plane: &[u8; NONCE], proof: &[u8]) -> bool {
        hmac::verify(&self.0, &message(role, gateway, plane), proof).is_ok()
    }
}

fn message(role: &str, gateway: &[u8; NONCE], plane: &[u8; NONCE]) -> Vec<u8> {
    [role.as_bytes(), gateway, plane].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Writer;
    use proptest::prelude::*;

    fn greeting(lowest: u16, highest: u16) -> Greeting {
        let frame = Writer::new(64, 0).raw(MAGIC).u16(lowest).u16(highest).raw(&[1; NONCE]).finish();
        Greeting::read(&frame[5..]).unwrap()
    }

    #[test]
    fn the_newest_common_version_is_spoken() {
        assert_eq!(greeting(1, 9).version(), Some(VERSION));
        assert_eq!(greeting(1, OLDEST).version(), Some(OLDEST));
        assert_eq!(greeting(VERSION + 1, 9).version(), None);
        assert_eq!(greeting(0, 0).version(), None);
    }

    #[test]
    fn only_the_secret_proves_and_only_its_own_role() {
        let secret = Secret::new(&[5; 32]).unwrap();
        let proof = secret.proof("gateway", &[1; 32], &[2; 32]);
        assert!(secret.proves("gateway", &[1; 32], &[2; 32], &proof));
        assert!(!secret.proves("plane", &[1; 32], &[2; 32], &proof));
        assert!(!Secret::new(&[6; 32]).unwrap().proves("gateway", &[1; 32], &[2; 32], &proof));
        assert!(Secret::new(&[5; 8]).is_none());
    }

    #[test]
    fn a_truncated_greeting_is_malformed() {
        let frame = Writer::new(64, 0).raw(MAGIC).u16(1).u16(1).raw(&[1; NONCE]).finish();
        for end in 5..frame.len() {
            assert_eq!(Greeting::read(&frame[5..end]), Err(Malformed));
        }
    }

    proptest! {
        #[test]
        fn no_octets_make_reading_a_greeting_panic(known: bool, body in prop::collection::vec(any::<u8>(), 0..80)) {
            let octets = if known { [MAGIC.as_slice(), &body].concat() } else { body };
            if let Ok(greeting) = Greeting::read(&octets) {
                prop_assert!(octets.starts_with(MAGIC) && octets.len() >= MAGIC.len() + 4 + NONCE);
                prop_assert!(greeting.version().is_none_or(|version| (OLDEST..=VERSION).contains(&version)));
            }
        }
    }
}
