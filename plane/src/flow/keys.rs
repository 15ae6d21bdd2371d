//! What becomes of a context when another key takes its place.

use crate::srtp::{Receiver, Sender};

/// Keys one flow may send with in its life, with another nothing leaves; and of those received with, what is kept.
pub const MAX_KEYS: usize = 64;

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

/// Protect with another key in place of `current`; one that is among the `retired` goes on where it stopped.
pub fn change(current: &mut Option<Sender>, retired: &mut Vec<Sender>, key: Option<Sender>) {
    if let (Some(now), Some(next)) = (&current, &key) {
        if now.same_key(next) {
            return;
        }
    }
    retired.extend(current.take());
    let Some(next) = key else { return };
    *current = match retired.iter().position(|old| old.same_key(&next)) {
        Some(known) => Some(retired.swap_remove(known)),
        // Forgetting one would let its indices come again.
        None if retired.len() >= MAX_KEYS => None,
        None => Some(next),
    };
}
