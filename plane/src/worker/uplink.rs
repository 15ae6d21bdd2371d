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
    /// A pair port listens to another source now.
    Learned { flow: u32, source: Addr, now: u64 },
}

pub struct Uplink {
    /// Index of this thread.
    pub thread: usize,
    pub counters: Arc<ThreadCounters>,
    punts: SyncSender<Up>,
    events: Sender<Up>,
    bell: Arc<Bell>,
    attached: Arc<AtomicBool>,
    limits: Limits,
    waiting: bool,
}

impl Uplink {
    /// `attached`: whether a gateway listens.
    pub fn new(
        thread: usize,
        counters: Arc<ThreadCounters>,
        punts: SyncSender<Up>,
        events: Sender<Up>,
        bell: Arc<Bell>,
        attached: Arc<AtomicBool>,
        seed: u64,
    ) -> Self {
        Self { thread, counters, punts, events, bell, attached, limits: Limits::new(seed), waiting: false }
    }

    /// Whether a datagram of a stranger may go up.
    pub fn allow(&mut self, source: &Addr, now: u64) -> bool {
        if !self.attached.load(Ordering::Relaxed) {
            self.counters.count(Dropped::PuntsOrphaned);
            return false;
        }
        let allowed = self.limits.allow(source, now);
        if !allowed {
            self.counters.count(Dropped::PuntsLimited);
        }
        allowed
    }

    /// Send up what may be lost; the newest is where there is no room.
    pub fn punt(&mut self, frame: Vec<u8>) {
        if !self.attached.load(Ordering::Relaxed) {
            self.counters.count(Dropped::PuntsOrphaned);
        } else if self.punts.try_send(Up::Frame(frame)).is_err() {
            self.counters.count(Dropped::PuntsFull);
        } else {
            self.waiting = true;
        }
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
