//! What becomes of a context when another key takes its place.

use crate::rtp;
use crate::srtp::{Receiver, Refused, Sender};
use std::collections::HashSet;

/// Keys of one flow whose contexts are kept: of those sent with the last ones, and of those received with.
pub const MAX_KEYS: usize = 64;
/// Older keys that it has sent with; with as many, nothing leaves under a new one.
const MAX_SPENT: usize = 4096;

/// Time for which the previous key opens packets beside the new one, in ns (RFC 5764 section 5.2): the peer sends under it
/// until it has the new one, a round trip or a lost flight later.
pub const OVERLAP: u64 = 5_000_000_000;

/// Opens one packet in place; its length in the clear.
type Open = fn(&mut Receiver, &mut [u8]) -> Result<usize, Refused>;

/// Keys that what a peer sends is opened with, and those used before: were one to come back, nothing must be heard twice.
#[derive(Default)]
pub struct Opening {
    current: Option<Receiver>,
    /// Contexts of earlier keys, the previous one last.
    retired: Vec<Receiver>,
    /// When the previous key stops opening packets, ns; 0: it opens none.
    overlap: u64,
}

impl Opening {
    pub fn is_set(&self) -> bool {
        self.current.is_some()
    }

    /// Have what the next packet needs in the caches.
    pub fn prefetch(&self) {
        self.current.iter().for_each(Receiver::prefetch);
    }

    /// Open with another key in place of the current one, which still opens packets for the time of `OVERLAP`; with None
    /// nothing is opened. A key used before continues where it stopped.
    pub fn set(&mut self, key: Option<Receiver>, now: u64) {
        match (&mut self.current, key) {
            (Some(current), Some(next)) if current.same_key(&next) => current.take_mki(next),
            (_, key) => self.replace(key, now),
        }
    }

    fn replace(&mut self, key: Option<Receiver>, now: u64) {
        self.overlap = if self.current.is_some() && key.is_some() { now + OVERLAP } else { 0 };
        self.retired.extend(self.current.take());
        self.current = key.map(|next| match self.retired.iter().position(|old| old.same_key(&next)) {
            Some(known) => {
                let mut known = self.retired.remove(known);
                known.resume(next);
                known
            }
            None => next,
        });
        if self.retired.len() > MAX_KEYS {
            self.retired.remove(0);
        }
    }

    /// Open one packet in place by `open`; None without a key.
    pub fn open(&mut self, packet: &mut [u8], now: u64, open: Open) -> Option<Result<usize, Refused>> {
        let current = self.current.as_mut()?;
        if self.overlap == 0 {
            return Some(open(current, packet));
        }
        Some(self.open_by_either(packet, now, open))
    }

    /// Open one packet by the current key alone: the previous one proves nothing of a sender at another address.
    pub fn open_newly(&mut self, packet: &mut [u8]) -> Option<Result<usize, Refused>> {
        Some(self.current.as_mut()?.open(packet))
    }

    /// Try the previous key first, whose sources are known; the first packet under the new key is the last it is tried with.
    fn open_by_either(&mut self, packet: &mut [u8], now: u64, open: Open) -> Result<usize, Refused> {
        let (Some(current), Some(previous)) = (&mut self.current, self.retired.last_mut()) else {
            return Err(Refused::Authentication);
        };
        if now < self.overlap {
            // A failed try spoils the packet.
            let mut room = [0; rtp::LONGEST];
            let kept = room.get_mut(..packet.len()).ok_or(Refused::Malformed)?;
            kept.copy_from_slice(packet);
            let opened = open(previous, packet);
            if opened.is_ok() {
                return opened;
            }
            packet.copy_from_slice(kept);
        }
        let opened = open(current, packet);
        if opened.is_ok() || now >= self.overlap {
            self.overlap = 0;
        }
        opened
    }
}

/// Keys a flow has sent with before: contexts of the last ones, and of older ones a digest, by which they are refused.
#[derive(Default)]
pub struct Retired {
    contexts: Vec<Sender>,
    spent: HashSet<[u8; 16]>,
}

impl Retired {
    pub fn is_empty(&self) -> bool {
        self.contexts.is_empty()
    }

    pub fn add(&mut self, context: Option<Sender>) {
        self.contexts.extend(context);
    }

    /// The context to go on with for this key; None where its indices could come again.
    fn take(&mut self, next: Sender) -> Option<Sender> {
        if let Some(known) = self.contexts.iter().position(|old| old.same_key(&next)) {
            return Some(self.contexts.remove(known));
        }
        if self.spent.len() >= MAX_SPENT || self.spent.contains(&next.digest()) {
            return None;
        }
        if self.contexts.len() >= MAX_KEYS {
            let oldest = self.contexts.remove(0);
            self.spent.insert(oldest.digest());
        }
        Some(next)
    }
}

/// Protect with another key in place of `current`; one that is among the `retired` goes on where it stopped.
pub fn change(current: &mut Option<Sender>, retired: &mut Retired, key: Option<Sender>) {
    if let (Some(now), Some(next)) = (&current, &key) {
        if now.same_key(next) {
            return;
        }
    }
    retired.add(current.take());
    *current = key.and_then(|next| retired.take(next));
}
