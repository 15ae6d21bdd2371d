//! The way from a packet thread to the control thread: a bounded queue, and limits of what goes into it.

use crate::addr::Addr;
use crate::counters::{Dropped, ThreadCounters};
use crate::limits::Limits;
use crate::sys::Bell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, SyncSender};
use std::sync::Arc;

/// What a packet thread says.
pub enum Up {
    /// A message for the gateway as it goes over the socket.
    Frame(Vec<u8>),
    /// The same, of what a stranger sent.
    Stranger(Vec<u8>),
    /// A pair port listens to another source now, by the description of that number.
    Learned { flow: u32, source: Addr, description: u32, now: u64 },
    /// The key frame comes with which `source` is to feed the stream of `target`, which may be with another thread.
    Begins { target: u32, source: u32 },
    /// A compound RTCP packet for the peer of a flow whose send half is with another thread.
    Report { flow: u32, packet: Box<[u8]> },
}

pub struct Uplink {
    /// Index of this thread.
    pub thread: usize,
    pub counters: Arc<ThreadCounters>,
    punts: SyncSender<Up>,
    strangers: SyncSender<Up>,
    events: Sender<Up>,
    bell: Arc<Bell>,
    attached: Arc<AtomicBool>,
    limits: Limits,
    waiting: bool,
}

impl Uplink {
    /// `attached`: whether a gateway listens. What strangers sent has a queue of its own.
    pub fn new(
        thread: usize,
        counters: Arc<ThreadCounters>,
        (punts, strangers): (SyncSender<Up>, SyncSender<Up>),
        events: Sender<Up>,
        bell: Arc<Bell>,
        attached: Arc<AtomicBool>,
        seed: u64,
    ) -> Self {
        Self { thread, counters, punts, strangers, events, bell, attached, limits: Limits::new(seed), waiting: false }
    }

    /// Whether a datagram of a stranger may go up, by `punt_stranger`.
    pub fn allow_stranger(&mut self, source: &Addr, now: u64) -> bool {
        self.is_attached() && {
            let allowed = self.limits.allow_stranger(source, now);
            self.counted(allowed)
        }
    }

    /// Whether a datagram of a source that has proved to be a flow's may go up.
    pub fn allow_admitted(&mut self, source: &Addr, now: u64) -> bool {
        self.is_attached() && {
            let allowed = self.limits.allow_admitted(source, now);
            self.counted(allowed)
        }
    }

    fn is_attached(&self) -> bool {
        let attached = self.attached.load(Ordering::Relaxed);
        if !attached {
            self.counters.count(Dropped::PuntsOrphaned);
        }
        attached
    }

    fn counted(&self, allowed: bool) -> bool {
        if !allowed {
            self.counters.count(Dropped::PuntsLimited);
        }
        allowed
    }

    /// Send up what may be lost; the newest is where there is no room.
    pub fn punt(&mut self, frame: Vec<u8>) {
        if self.is_attached() {
            let sent = self.punts.try_send(Up::Frame(frame)).is_ok();
            self.queued(sent);
        }
    }

    /// The same of a stranger.
    pub fn punt_stranger(&mut self, frame: Vec<u8>) {
        if self.is_attached() {
            let sent = self.strangers.try_send(Up::Stranger(frame)).is_ok();
            self.queued(sent);
        }
    }

    fn queued(&mut self, sent: bool) {
        if !sent {
            self.counters.count(Dropped::PuntsFull);
        }
        self.waiting |= sent;
    }

    /// Send up what must not be lost; there is little of it.
    pub fn tell(&mut self, event: Up) {
        let _ = self.events.send(event);
        self.waiting = true;
    }

    /// Wake the control thread if it has something to read.
    pub fn flush(&mut self) {
        if std::mem::take(&mut self.waiting) {
            self.bell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{channel, sync_channel};

    type Queues = (std::sync::mpsc::Receiver<Up>, std::sync::mpsc::Receiver<Up>);

    /// One with room for one frame of each kind, what takes them, and whether a gateway listens.
    fn uplink() -> (Uplink, Queues, Arc<AtomicBool>) {
        let ((punt, punts), (stranger, strangers), (event, _events)) = (sync_channel(1), sync_channel(1), channel());
        let (bell, attached) = (Arc::new(Bell::new().unwrap()), Arc::new(AtomicBool::new(true)));
        let made = Uplink::new(0, Arc::default(), (punt, stranger), event, bell, Arc::clone(&attached), 1);
        (made, (punts, strangers), attached)
    }

    #[test]
    fn while_no_gateway_listens_nothing_is_kept_for_it() {
        let (mut uplink, (punts, strangers), attached) = uplink();
        attached.store(false, Ordering::Relaxed);
        uplink.punt(vec![1]);
        uplink.punt_stranger(vec![1]);
        assert!(!uplink.allow_stranger(&Addr::v4(1, 1), 5) && !uplink.allow_admitted(&Addr::v4(1, 1), 5));
        assert_eq!(uplink.counters.dropped[Dropped::PuntsOrphaned as usize].get(), 4);
        attached.store(true, Ordering::Relaxed);
        assert!(uplink.allow_stranger(&Addr::v4(1, 1), 5) && uplink.allow_admitted(&Addr::v4(1, 1), 5));
        assert!(punts.try_recv().is_err() && strangers.try_recv().is_err());
    }

    #[test]
    fn strangers_fill_no_queue_but_their_own() {
        let (mut uplink, (punts, strangers), _attached) = uplink();
        (0..3).for_each(|_| uplink.punt_stranger(vec![1]));
        uplink.punt(vec![2]);
        assert!(matches!(punts.try_recv(), Ok(Up::Frame(frame)) if frame == [2]));
        assert!(matches!(strangers.try_recv(), Ok(Up::Stranger(frame)) if frame == [1]));
        assert!(punts.try_recv().is_err() && strangers.try_recv().is_err());
        assert_eq!(uplink.counters.dropped[Dropped::PuntsFull as usize].get(), 2);
    }
}
