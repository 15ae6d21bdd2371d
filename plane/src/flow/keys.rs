//! What becomes of a context when another key takes its place.

use crate::srtp::{Receiver, Sender};
use std::collections::HashSet;

/// Keys of one flow whose contexts are kept: of those sent with the last ones, and of those received with.
pub const MAX_KEYS: usize = 64;
/// Older keys that it has sent with; with as many, nothing leaves under a new one.
const MAX_SPENT: usize = 4096;

/// Open with another key in place of `current`; one that is among the `retired` goes on, and the oldest of them is left.
pub fn open_with(current: &mut Option<Receiver>, retired: &mut Vec<Receiver>, key: Option<Receiver>) {
    match (current.as_mut(), key) {
        (Some(now), Some(next)) if now.same_key(&next) => now.take_mki(next),
        (_, key) => {
            retired.extend(current.take());
            *current = key.map(|next| match retired.iter().position(|old| old.same_key(&next)) {
                Some(known) => {
                    let mut known = retired.remove(known);
                    known.resume(next);
                    known
                }
                None => next,
            });
            if retired.len() > MAX_KEYS {
                retired.remove(0);
            }
        }
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
