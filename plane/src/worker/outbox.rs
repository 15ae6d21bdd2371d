//! Where packets leave: by io_uring all of a turn by one system call; without it many of a shared port by one, those of
//! a pair port at once.

use super::table::Table;
use crate::counters::Unsent;
use crate::flow::{Lane, Send, Way};
use crate::rtp::{Header, LONGEST};
use crate::srtp::ROOM;
use crate::sys::{self, Batch, Post, SLOT};
use std::os::fd::RawFd;

const BATCH: usize = 64;

/// Count a packet that does not leave.
fn refused(send: &Send, reason: Unsent) -> bool {
    send.unsent(reason);
    false
}

/// Take back what was counted of a packet that the system did not take.
fn uncount(table: &Table, (slot, octets): (usize, usize)) {
    if let Some(send) = table.send_at(slot) {
        send.uncount(octets);
    }
}

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
                uncount(table, owners[index]);
            });
        }
    }
}

/// The packets of all sockets that wait for the end of the turn.
struct Posts {
    post: Post,
    /// As a queue's.
    owners: Box<[(usize, usize); Post::SIZE]>,
    shared: Vec<Option<RawFd>>,
}

impl Posts {
    fn flush(&mut self, table: &Table) {
        let Self { post, owners, .. } = self;
        if post.count() > 0 {
            post.flush(|index| uncount(table, owners[index]));
        }
    }

    fn socket(&self, send: &Send, lane: Lane) -> Option<RawFd> {
        match lane {
            Lane::Shared(number) => self.shared.get(number).copied().flatten(),
            lane => send.socket(lane),
        }
    }

    fn commit(&mut self, socket: RawFd, way: &Way, length: usize, owner: (usize, usize)) {
        self.owners[self.post.count()] = owner;
        self.post.push(socket, length, &way.to);
    }
}

/// One socket of a shared port at a time, and each packet of a pair port by itself.
struct Queues {
    queues: Vec<Option<Queue>>,
    scratch: Box<[u8; SLOT]>,
}

impl Queues {
    fn full(&self, lane: Lane) -> bool {
        let Lane::Shared(number) = lane else { return false };
        matches!(self.queues.get(number), Some(Some(queue)) if queue.batch.is_full())
    }

    fn room(&mut self, lane: Lane) -> Option<&mut [u8]> {
        match lane {
            Lane::Shared(number) => Some(self.queues.get_mut(number)?.as_mut()?.batch.room()),
            Lane::Rtp | Lane::Rtcp => Some(&mut self.scratch[..]),
        }
    }

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
}

enum Means {
    Queues(Queues),
    Posts(Box<Posts>),
}

pub struct Outbox {
    means: Means,
}

fn place<T>(places: &mut Vec<Option<T>>, number: usize, value: T) {
    if places.len() <= number {
        places.resize_with(number + 1, || None);
    }
    places[number] = Some(value);
}

impl Outbox {
    /// `post` where all sockets are written to by one call.
    pub fn new(post: Option<Post>) -> Self {
        let means = match post {
            Some(post) => {
                let owners = Box::new([(usize::MAX, 0); Post::SIZE]);
                Means::Posts(Box::new(Posts { post, owners, shared: Vec::new() }))
            }
            None => Means::Queues(Queues { queues: Vec::new(), scratch: Box::new([0; SLOT]) }),
        };
        Self { means }
    }

    pub fn open(&mut self, number: usize, socket: RawFd) {
        match &mut self.means {
            Means::Posts(posts) => place(&mut posts.shared, number, socket),
            Means::Queues(queues) => {
                let queue = Queue { socket, batch: Batch::new(BATCH), owners: [(usize::MAX, 0); BATCH] };
                place(&mut queues.queues, number, queue);
            }
        }
    }

    pub fn close(&mut self, number: usize) {
        match &mut self.means {
            Means::Posts(posts) => posts.shared.get_mut(number).map_or((), |shared| *shared = None),
            Means::Queues(queues) => queues.queues.get_mut(number).map_or((), |queue| *queue = None),
        }
    }

    /// Send everything that waits.
    pub fn flush(&mut self, table: &Table) {
        match &mut self.means {
            Means::Posts(posts) => posts.flush(table),
            Means::Queues(queues) => queues.queues.iter_mut().flatten().for_each(|queue| queue.flush(table)),
        }
    }

    /// Whether `table` must be flushed before `send` may write to the lane.
    pub fn must_flush(&self, send: &Send) -> bool {
        match &self.means {
            Means::Posts(posts) => posts.post.is_full(),
            Means::Queues(queues) => [send.rtp, send.rtcp].iter().flatten().any(|way| queues.full(way.lane)),
        }
    }

    fn room(&mut self, lane: Lane) -> Option<&mut [u8]> {
        match &mut self.means {
            Means::Posts(posts) => Some(posts.post.room()),
            Means::Queues(queues) => queues.room(lane),
        }
    }

    /// What is in the lane's room leaves; `owner` is the slot of the send half with the octets of its payload.
    fn commit(&mut self, send: &Send, way: &Way, length: usize, owner: (usize, usize)) -> bool {
        match &mut self.means {
            Means::Posts(posts) => match posts.socket(send, way.lane) {
                Some(socket) => {
                    posts.commit(socket, way, length, owner);
                    true
                }
                None => false,
            },
            Means::Queues(queues) => queues.commit(send, way, length, owner),
        }
    }

    /// Protect and send one packet of the half in `slot`, which is ready.
    pub fn send_rtp(&mut self, send: &mut Send, slot: usize, header: &Header, payload: &[u8]) {
        if let Some(kept) = &mut send.kept {
            kept.keep(header, payload);
        }
        if self.send_packet(send, (slot, payload.len()), header, payload) {
            send.count(payload.len());
        }
    }

    /// The same of a retransmission, which is none of the stream's packets.
    pub fn send_again(&mut self, send: &mut Send, header: &Header, payload: &[u8]) {
        if send.passes() && send.ready() {
            self.send_packet(send, (usize::MAX, 0), header, payload);
        }
    }

    fn send_packet(&mut self, send: &mut Send, owner: (usize, usize), header: &Header, payload: &[u8]) -> bool {
        let Some(way) = send.rtp else { return refused(send, Unsent::NotReady) };
        if header.length_with(send.orientation) + payload.len() + ROOM > LONGEST {
            return refused(send, Unsent::TooLong);
        }
        let Some(room) = self.room(way.lane) else { return refused(send, Unsent::NotReady) };
        let start = header.write_with(room, send.orientation);
        let mut length = start + payload.len();
        room[start..length].copy_from_slice(payload);
        if let Some(crypto) = &mut send.crypto {
            match crypto.protect(room, length) {
                Ok(protected) => length = protected,
                Err(_) => return refused(send, Unsent::Send),
            }
        }
        self.commit(send, &way, length, owner) || refused(send, Unsent::Socket)
    }

    /// Protect and send one compound RTCP packet.
    pub fn send_rtcp(&mut self, send: &mut Send, packet: &[u8]) {
        let Some(way) = send.rtcp else { return send.unsent(Unsent::NotReady) };
        if !send.is_safe() {
            return send.unsent(Unsent::NotReady);
        }
        if packet.len() + ROOM > LONGEST {
            return send.unsent(Unsent::TooLong);
        }
        let Some(room) = self.room(way.lane) else { return send.unsent(Unsent::NotReady) };
        room[..packet.len()].copy_from_slice(packet);
        let mut length = packet.len();
        if let Some(crypto) = send.rtcp_crypto.as_mut().or(send.crypto.as_mut()) {
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
        let nobody = (usize::MAX, 0);
        match &mut self.means {
            Means::Posts(posts) => {
                let Some(socket) = posts.shared.get(number).copied().flatten() else { return };
                if posts.post.is_full() {
                    posts.flush(table);
                }
                let length = write(posts.post.room());
                posts.commit(socket, way, length, nobody);
            }
            Means::Queues(queues) => {
                let Some(Some(queue)) = queues.queues.get_mut(number) else { return };
                if queue.batch.is_full() {
                    queue.flush(table);
                }
                let length = write(queue.batch.room());
                queue.owners[queue.batch.count] = nobody;
                queue.batch.push(length, &way.to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Addr;
    use crate::rtp::HEADER;
    use std::sync::Arc;

    #[test]
    fn what_would_be_too_long_once_protected_is_counted_and_does_not_leave() {
        let mut send = Send::new(1, false, None, Arc::default());
        let way = Some(Way::new(Lane::Rtp, &Addr::v4(0x7f00_0001, 4000)));
        (send.rtp, send.rtcp) = (way, way);
        let mut outbox = Outbox::new(None);
        let counters = Arc::clone(&send.counters);
        let too_long = || counters.sent.unsent[Unsent::TooLong as usize].get();
        let longest = [0; LONGEST - ROOM + 1];
        outbox.send_rtp(&mut send, 0, &Header::default(), &longest[HEADER + 1..]);
        outbox.send_rtcp(&mut send, &longest[1..]);
        assert_eq!(too_long(), 0);
        outbox.send_rtp(&mut send, 0, &Header::default(), &longest[HEADER..]);
        assert_eq!(too_long(), 1);
        outbox.send_rtcp(&mut send, &longest);
        assert_eq!(too_long(), 2);
    }
}
