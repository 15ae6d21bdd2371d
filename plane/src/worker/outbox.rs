//! Where packets leave: many of a shared port by one system call, those of a pair port at once.

use super::table::Table;
use crate::counters::Unsent;
use crate::flow::{Lane, Send, Way};
use crate::rtp::{Header, HEADER, LONGEST};
use crate::srtp::ROOM;
use crate::sys::{self, Batch, SLOT};
use std::os::fd::RawFd;

const BATCH: usize = 64;

/// The packets of one socket that wait for the end of the turn.
struct Queue {
    socket: RawFd,
    batch: Batch,
    /// Slot of the send half, and octets of payload, of each; `usize::MAX` where nobody counts it.
    owners: [(usize, usize); BATCH],
}

impl Queue {
    fn flush(&mut self, table: &Table) {
        let Self { socket, batch, owners } = self;
        if batch.count > 0 {
            batch.flush(*socket, |index| {
                let (slot, octets) = owners[index];
                if let Some(send) = table.send_at(slot) {
                    send.uncount(octets);
                }
            });
        }
    }
}

pub struct Outbox {
    queues: Vec<Option<Queue>>,
    scratch: Box<[u8; SLOT]>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { queues: Vec::new(), scratch: Box::new([0; SLOT]) }
    }
}

impl Outbox {
    pub fn open(&mut self, number: usize, socket: RawFd) {
        if self.queues.len() <= number {
            self.queues.resize_with(number + 1, || None);
        }
        self.queues[number] = Some(Queue { socket, batch: Batch::new(BATCH), owners: [(usize::MAX, 0); BATCH] });
    }

    pub fn close(&mut self, number: usize) {
        if let Some(queue) = self.queues.get_mut(number) {
            *queue = None;
        }
    }

    /// Send everything that waits.
    pub fn flush(&mut self, table: &Table) {
        for queue in self.queues.iter_mut().flatten() {
            queue.flush(table);
        }
    }

    fn full(&self, lane: Lane) -> bool {
        let Lane::Shared(number) = lane else { return false };
        matches!(self.queues.get(number), Some(Some(queue)) if queue.batch.is_full())
    }

    /// Whether `table` must be flushed before `send` may write to the lane.
    pub fn must_flush(&self, send: &Send) -> bool {
        send.rtp.is_some_and(|way| self.full(way.lane)) || send.rtcp.is_some_and(|way| self.full(way.lane))
    }

    fn room(&mut self, lane: Lane) -> Option<&mut [u8]> {
        match lane {
            Lane::Shared(number) => Some(self.queues.get_mut(number)?.as_mut()?.batch.room()),
            Lane::Rtp | Lane::Rtcp => Some(&mut self.scratch[..]),
        }
    }

    /// What is in the lane's room leaves; `owner` is the slot of the send half with the octets of its payload.
    fn commit(&mut self, send: &Send, way: &Way, length: usize, owner: (usize, usize)) -> bool {
        match way.lane {
            Lane::Shared(number) => match self.queues.get_mut(number) {
                Some(Some(queue)) => {
                    queue.owners[queue.batch.count] = owner;
                    queue.batch.push(length, &way.to);
                    true
                }
                _ => false,
            },
            lane => send.socket(lane).is_some_and(|socket| sys::send_to(socket, &self.scratch[..length], &way.to)),
        }
    }

    /// Protect and send one packet of the half in `slot`, which is ready.
    pub fn send_rtp(&mut self, send: &mut Send, slot: usize, header: &Header, payload: &[u8]) {
        let Some(way) = send.rtp else { return send.unsent(Unsent::NotReady) };
        if HEADER + payload.len() + ROOM > LONGEST {
            return send.unsent(Unsent::TooLong);
        }
        let Some(room) = self.room(way.lane) else { return send.unsent(Unsent::NotReady) };
        header.write(room);
        let mut length = HEADER + payload.len();
        room[HEADER..length].copy_from_slice(payload);
        if let Some(crypto) = &mut send.crypto {
            match crypto.protect(room, length) {
                Ok(protected) => length = protected,
                Err(_) => return send.unsent(Unsent::Send),
            }
        }
        if self.commit(send, &way, length, (slot, payload.len())) {
            send.count(payload.len());
        } else {
            send.unsent(Unsent::Socket);
        }
    }

    /// Protect and send one compound RTCP packet.
    pub fn send_rtcp(&mut self, send: &mut Send, packet: &[u8]) {
        let Some(way) = send.rtcp else { return send.unsent(Unsent::NotReady) };
        if send.secure && send.crypto.is_none() {
            return send.unsent(Unsent::NotReady);
        }
        if packet.len() + ROOM > LONGEST {
            return send.unsent(Unsent::TooLong);
        }
        let Some(room) = self.room(way.lane) else { return send.unsent(Unsent::NotReady) };
        room[..packet.len()].copy_from_slice(packet);
        let mut length = packet.len();
        if let Some(crypto) = &mut send.crypto {
            match crypto.protect_rtcp(room, length) {
                Ok(protected) => length = protected,
                Err(_) => return send.unsent(Unsent::Send),
            }
        }
        if !self.commit(send, &way, length, (usize::MAX, 0)) {
            send.unsent(Unsent::Socket);
        }
    }

    /// Send a datagram of our own through a socket of a shared port: the answer to a check.
    pub fn answer(&mut self, table: &Table, number: usize, way: &Way, write: impl FnOnce(&mut [u8]) -> usize) {
        if let Some(Some(queue)) = self.queues.get_mut(number) {
            if queue.batch.is_full() {
                queue.flush(table);
            }
            let length = write(queue.batch.room());
            queue.owners[queue.batch.count] = (usize::MAX, 0);
            queue.batch.push(length, &way.to);
        }
    }
}
