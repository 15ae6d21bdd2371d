//! Packets that wait for their turn, by sequence number.

use crate::Micros;

/// Packets that can wait: 640 ms of the shortest ones.
pub const SLOTS: i64 = 64;

/// Octets by which the room of a payload grows.
const ROOM: usize = 256;

/// One packet that waits; `sequence` and `timestamp` never wrap.
#[derive(Default)]
pub struct Slot {
    pub sequence: i64,
    pub timestamp: i64,
    pub arrived: Micros,
    pub noise: bool,
    pub payload: Vec<u8>,
    full: bool,
}

impl Slot {
    /// Keeps a copy of the payload, in a room that most payloads fit in, so that it seldom grows.
    pub fn keep(&mut self, payload: &[u8]) {
        self.payload.clear();
        if self.payload.capacity() < payload.len() {
            self.payload.reserve_exact(payload.len().next_multiple_of(ROOM));
        }
        self.payload.extend_from_slice(payload);
    }
}

/// A window of sequence numbers, each with room for its packet; the rooms are used over and over.
pub struct Ring {
    slots: Vec<Slot>,
    waiting: usize,
}

impl Ring {
    pub fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Slot::default()).collect(), waiting: 0 }
    }

    fn place(sequence: i64) -> usize {
        sequence.rem_euclid(SLOTS) as usize
    }

    /// The room of this number, taken; None where a packet waits there already. All that wait must be within `SLOTS`.
    pub fn take(&mut self, sequence: i64) -> Option<&mut Slot> {
        let slot = &mut self.slots[Self::place(sequence)];
        if slot.full {
            return None;
        }
        slot.full = true;
        slot.sequence = sequence;
        self.waiting += 1;
        Some(slot)
    }

    /// The packet with the lowest number, none of which is below `from`.
    pub fn first(&self, from: i64) -> Option<&Slot> {
        if self.waiting == 0 {
            return None;
        }
        (from..from + SLOTS).map(|sequence| &self.slots[Self::place(sequence)]).find(|slot| slot.full)
    }

    /// Gives the room of this packet back.
    pub fn free(&mut self, sequence: i64) {
        let slot = &mut self.slots[Self::place(sequence)];
        if slot.full {
            slot.full = false;
            self.waiting -= 1;
        }
    }

    /// Gives every room back.
    pub fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.full = false);
        self.waiting = 0;
    }

    /// Packets that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}
