//! The halves of the flows whose datagrams came, fetched into the caches before the first is worked on.
//!
//! Between two packets of a flow lie those of all others and the kernel's own work, so nothing of it is there any
//! more. Asked for together, their lines come while others are waited for: by hints alone, nothing depends on them.

use super::table::Table;
use super::waiting::Waiting;
use super::{parts, Worker, RTP, SHARED};
use crate::sys;

/// Datagrams that are looked ahead.
const AHEAD: usize = 64;

impl Worker {
    /// Fetch what the datagrams that came will need: first the halves, then what those lead to.
    pub(super) fn fetch_ahead(&self) {
        let Waiting::Uring(ring) = &self.waiting else { return };
        let mut slots = [usize::MAX; AHEAD];
        let mut count = 0;
        for (token, source) in ring.pending().take(AHEAD) {
            let (kind, number) = parts(token);
            let slot = match (kind, source) {
                (RTP, Some(_)) => Some(number),
                (SHARED, Some(source)) => {
                    let shared = self.shared.get(number).and_then(Option::as_ref);
                    shared.and_then(|shared| shared.pairs.get(&source)).map(|pair| pair.slot)
                }
                _ => None,
            };
            if let Some(slot) = slot {
                slots[count] = slot;
                count += 1;
            }
        }
        let slots = &slots[..count];
        for step in [Table::fetch_receive, Table::fetch_send, Table::fetch_sending] {
            slots.iter().for_each(|slot| step(&self.table, *slot));
        }
    }
}

impl Table {
    fn fetch_receive(&self, slot: usize) {
        if let Some(Some(receive)) = self.receives.get(slot) {
            sys::prefetch(&**receive);
        }
    }

    /// What a receive half leads to; the send half is where it was last found.
    fn fetch_send(&self, slot: usize) {
        let Some(Some(receive)) = self.receives.get(slot) else { return };
        sys::prefetch(&receive.counters.received.heard);
        sys::prefetch(&receive.routes[0]);
        receive.sockets.iter().for_each(|sockets| sys::prefetch(&**sockets));
        receive.crypto.prefetch();
        if let Some(send) = self.send_at(receive.target_slot) {
            sys::prefetch(send);
        }
    }

    fn fetch_sending(&self, slot: usize) {
        let Some(Some(receive)) = self.receives.get(slot) else { return };
        if let Some(send) = self.send_at(receive.target_slot) {
            send.sockets.iter().for_each(|sockets| sys::prefetch(&**sockets));
            send.crypto.iter().for_each(|crypto| crypto.prefetch());
        }
    }
}
