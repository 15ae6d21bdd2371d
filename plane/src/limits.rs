//! How much strangers may ask of the gateway: token buckets without allocation.

use crate::addr::{Addr, Seeded};
use std::hash::BuildHasher;

/// Punts a second of one source (address and port).
pub const PER_SOURCE: u32 = 200;
/// Punts a second of all sources that belong to no flow, on one thread.
pub const STRANGERS: u32 = 5_000;
/// Punts a second of one flow.
pub const PER_FLOW: u32 = 1_000;
const BUCKETS: usize = 4096;

/// So many a second, as many at once.
#[derive(Clone, Copy)]
pub struct Bucket {
    second: u64,
    used: u32,
}

impl Bucket {
    pub const fn new() -> Self {
        Self { second: 0, used: 0 }
    }

    /// Take one of `limit` a second at `now` ns.
    pub fn take(&mut self, limit: u32, now: u64) -> bool {
        let second = now >> 30;
        if second != self.second {
            self.second = second;
            self.used = 0;
        }
        self.used = self.used.saturating_add(1);
        self.used <= limit
    }
}

impl Default for Bucket {
    fn default() -> Self {
        Self::new()
    }
}

/// The punts of one thread. Sources share 4,096 buckets by a hash that a stranger cannot foresee.
pub struct Limits {
    seeded: Seeded,
    sources: Box<[Bucket]>,
    all: Bucket,
}

impl Limits {
    pub fn new(seed: u64) -> Self {
        Self { seeded: Seeded(seed), sources: vec![Bucket::new(); BUCKETS].into_boxed_slice(), all: Bucket::new() }
    }

    /// Whether a datagram of a source without a flow may be punted.
    pub fn allow(&mut self, source: &Addr, now: u64) -> bool {
        let place = self.seeded.hash_one(source) as usize % BUCKETS;
        self.sources[place].take(PER_SOURCE, now) && self.all.take(STRANGERS, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_gets_its_share_and_no_more_each_second() {
        let mut limits = Limits::new(1);
        let loud = Addr::v4(1, 1);
        assert_eq!((0..1000).filter(|_| limits.allow(&loud, 5)).count(), PER_SOURCE as usize);
        assert!(limits.allow(&Addr::v4(9, 9), 5));
        assert!(limits.allow(&loud, 2_000_000_000));
    }

    #[test]
    fn all_strangers_together_get_a_share() {
        let mut limits = Limits::new(1);
        let allowed = (0..100_000u32).filter(|each| limits.allow(&Addr::v4(*each, 7), 5)).count();
        assert_eq!(allowed, STRANGERS as usize);
    }
}
