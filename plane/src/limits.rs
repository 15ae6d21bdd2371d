//! How much the gateway is asked: token buckets without allocation. Strangers have some of their own, so that no flood
//! of theirs takes anything from a peer that has proved itself.

use crate::addr::{Addr, Seeded};
use std::hash::BuildHasher;

/// Punts a second of one source (address and port).
pub const PER_SOURCE: u32 = 200;
/// Punts a second of all sources that belong to no flow, on one thread.
pub const STRANGERS: u32 = 5_000;
/// Punts a second of one flow, and of strangers on its ports.
pub const PER_FLOW: u32 = 1_000;
pub const STRANGERS_PER_FLOW: u32 = 50;
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
    strangers: Box<[Bucket]>,
    all_strangers: Bucket,
    admitted: Box<[Bucket]>,
}

impl Limits {
    pub fn new(seed: u64) -> Self {
        let buckets = || vec![Bucket::new(); BUCKETS].into_boxed_slice();
        Self { seeded: Seeded(seed), strangers: buckets(), all_strangers: Bucket::new(), admitted: buckets() }
    }

    fn place(&self, source: &Addr) -> usize {
        self.seeded.hash_one(source) as usize % BUCKETS
    }

    /// Whether a datagram of a source without a flow may be punted.
    pub fn allow_stranger(&mut self, source: &Addr, now: u64) -> bool {
        let place = self.place(source);
        self.strangers[place].take(PER_SOURCE, now) && self.all_strangers.take(STRANGERS, now)
    }

    /// Whether one of a source that has proved to be a flow's may be.
    pub fn allow_admitted(&mut self, source: &Addr, now: u64) -> bool {
        let place = self.place(source);
        self.admitted[place].take(PER_SOURCE, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_gets_its_share_and_no_more_each_second() {
        let mut limits = Limits::new(1);
        let loud = Addr::v4(1, 1);
        assert_eq!((0..1000).filter(|_| limits.allow_stranger(&loud, 5)).count(), PER_SOURCE as usize);
        assert!(limits.allow_stranger(&Addr::v4(9, 9), 5));
        assert!(limits.allow_stranger(&loud, 2_000_000_000));
    }

    #[test]
    fn all_strangers_together_get_a_share() {
        let mut limits = Limits::new(1);
        let allowed = (0..100_000u32).filter(|each| limits.allow_stranger(&Addr::v4(*each, 7), 5)).count();
        assert_eq!(allowed, STRANGERS as usize);
    }

    #[test]
    fn what_strangers_used_up_is_not_taken_from_who_has_proved_itself() {
        let mut limits = Limits::new(1);
        let peer = Addr::v4(1, 1);
        (0..100_000u32).for_each(|each| assert!(limits.allow_stranger(&Addr::v4(each, 7), 5) || each >= STRANGERS));
        assert!(!limits.allow_stranger(&peer, 5));
        assert_eq!((0..1000).filter(|_| limits.allow_admitted(&peer, 5)).count(), PER_SOURCE as usize);
    }
}
