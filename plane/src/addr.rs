//! IP addresses with ports, small and quick to compare and to hash.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP address and a port; an IPv4 address keeps its 32 bits in the low end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addr {
    bits: u128,
    /// Host order.
    pub port: u16,
    v6: bool,
}

impl Addr {
    pub fn new(ip: IpAddr, port: u16) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::v4(u32::from(ip), port),
            IpAddr::V6(ip) => Self::v6(u128::from(ip), port),
        }
    }

    pub const fn v4(bits: u32, port: u16) -> Self {
        Self { bits: bits as u128, port, v6: false }
    }

    pub const fn v6(bits: u128, port: u16) -> Self {
        Self { bits, port, v6: true }
    }

    pub const fn is_v6(&self) -> bool {
        self.v6
    }

    pub fn ip(&self) -> IpAddr {
        if self.v6 {
            IpAddr::V6(Ipv6Addr::from(self.bits))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.bits as u32))
        }
    }

    pub const fn bits(&self) -> u128 {
        self.bits
    }

    pub const fn with_port(&self, port: u16) -> Self {
        Self { bits: self.bits, port, v6: self.v6 }
    }
}

impl Hash for Addr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.bits as u64 ^ ((self.bits >> 64) as u64).rotate_left(32));
        state.write_u64(u64::from(self.port) << 1 | u64::from(self.v6));
    }
}

/// A hash of two multiplications; the seed keeps strangers from choosing who collides.
#[derive(Clone)]
pub struct Seeded(pub u64);

impl BuildHasher for Seeded {
    type Hasher = Mixer;

    fn build_hasher(&self) -> Mixer {
        Mixer(self.0)
    }
}

pub struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = u128::from(self.0 ^ value) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (mixed as u64) ^ ((mixed >> 64) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_is_not_the_ipv6_address_with_the_same_bits() {
        assert_ne!(Addr::v4(1, 5), Addr::v6(1, 5));
    }

    #[test]
    fn hashes_of_neighbours_spread() {
        let seeded = Seeded(7);
        let low: std::collections::HashSet<u64> =
            (0..1000).map(|port| seeded.hash_one(Addr::v4(0x7f00_0001, port)) & 0xffff).collect();
        assert!(low.len() > 950);
    }
}
