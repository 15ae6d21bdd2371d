//! A packet thread: waits for its sockets, forwards, answers checks, plays silence; the rest it punts.

mod ahead;
mod arrivals;
mod feeding;
mod frames;
mod outbox;
mod packets;
mod path;
mod table;
mod uplink;
mod waiting;

use crate::addr::{Addr, Seeded};
use crate::arrivals::Counting;
use crate::counters::ThreadCounters;
use crate::flow::{Config, Fed, Pair, Receive, Routes, Send, Silence, Way};
use crate::kept::Kept;
use crate::srtp;
use crate::sys::{self, Arrival, Bell};
use crate::transcoding::Conversion;
use crate::wire::up;
use outbox::Outbox;
use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::Arc;
use table::Table;
pub use uplink::{Up, Uplink};
pub use waiting::Carrier;
use waiting::Waiting;

/// Longest wait, ns.
const LONGEST: u64 = 1_000_000_000;
/// Orders taken a turn, so that a busy gateway does not hold up packets.
const ORDERS: usize = 64;
const KIND: u32 = 56;
const BELL: u64 = 0;
const SHARED: u64 = 1;
const RTP: u64 = 2;
const RTCP: u64 = 3;

/// What the control thread has a packet thread do.
pub enum Order {
    OpenShared {
        number: usize,
        path: u64,
        socket: Arc<OwnedFd>,
        only_from: Arc<[Addr]>,
    },
    CloseShared {
        number: usize,
    },
    PutReceive(Box<Receive>),
    TakeReceive(u32, Sender<Option<Box<Receive>>>),
    PutSend(Box<Send>),
    TakeSend(u32, Sender<Option<Box<Send>>>),
    /// The flow has ended: drop what is here of it.
    Drop(u32),
    PutPair {
        number: usize,
        source: Addr,
        pair: Pair,
    },
    DropPair {
        number: usize,
        source: Addr,
        flow: u32,
    },
    Receive(u32, ReceiveOrder),
    Send(u32, SendOrder),
    /// A datagram that came to another thread.
    Foreign {
        flow: u32,
        path: u64,
        source: Addr,
        data: Box<[u8]>,
    },
    /// Answer once everything before is done, and these flows' counts can be read.
    Fence(Sender<()>, Arc<[u32]>),
}

/// A packet that was punted and comes back as something else.
#[derive(Clone, Debug, PartialEq)]
pub struct Relayed {
    pub sequence_number: u16,
    pub timestamp: u32,
    pub second: u8,
    pub payload: Box<[u8]>,
    pub offset: Option<i32>,
}

pub enum ReceiveOrder {
    Configure(Config),
    Key(Option<srtp::Receiver>),
    /// The key of RTCP that comes by a connection of its own.
    RtcpKey(Box<srtp::Receiver>),
    /// The address of a description, and the description's number.
    Expect(Option<Addr>, u32),
    /// Where the peer's RTCP is.
    Rtcp(Option<Addr>),
    AdmitSource(Addr, Box<[u8]>),
    Route {
        target: Option<u32>,
        routes: Box<Routes>,
    },
    Convert(u8, Box<Conversion>),
    /// The stream of `target` is fed with what comes, from the next key frame on; None: no more.
    Feed {
        target: u32,
        types: Option<Box<Fed>>,
    },
    /// The stream of `target` is with the same thread, and nobody else feeds it: its key frame may go.
    Begin {
        target: u32,
    },
    Resync(Option<u32>),
    Relay(Relayed),
    /// The flows whose packets come with this one's.
    Bundled(Box<[u32]>),
    /// How its packets are numbered, of whose arrival it is told; None: it is not.
    Arrivals(Option<Counting>),
    /// Identifier of the header extension that says how pictures lie; 0: there is none.
    Orientation(u8),
}

/// A packet of the gateway's own.
#[derive(Debug, PartialEq, Eq)]
pub struct Injected {
    /// Marker and payload type.
    pub second: u8,
    /// Ticks after the packet before, of an event after its start; None: by the wall clock.
    pub advance: Option<i32>,
    /// Whether it belongs to a telephone-event (RFC 4733).
    pub is_event: bool,
    pub payload: Box<[u8]>,
}

pub enum SendOrder {
    Secure(bool),
    Key(Option<srtp::Sender>),
    RtcpKey(Box<srtp::Sender>),
    Ways {
        rtp: Option<Way>,
        rtcp: Option<Way>,
    },
    Start {
        ssrc: u32,
        sequence_number: u16,
        timestamp: u32,
        clock_rate: u32,
        ends_frames: bool,
    },
    Open(bool),
    Muted(bool),
    Inject(Injected),
    Rtcp(Box<[u8]>),
    Silence(Option<Silence>),
    Keep(Option<Box<Kept>>),
    Resend(Box<[u16]>),
    /// Identifier of the header extension that says how pictures lie; 0: there is none.
    Orientation(u8),
    /// Another source feeds the stream.
    Refresh,
}

/// How the control thread reaches a packet thread.
#[derive(Clone)]
pub struct Handle {
    orders: Sender<Order>,
    bell: Arc<Bell>,
}

impl Handle {
    pub fn new(orders: Sender<Order>, bell: Arc<Bell>) -> Self {
        Self { orders, bell }
    }

    /// Have it done soon; a thread that has ended takes the process with it.
    pub fn send(&self, order: Order) {
        self.queue(order);
        self.ring();
    }

    /// Have it done after `ring`.
    pub fn queue(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// Wake the thread for what was queued.
    pub fn ring(&self) {
        self.bell.ring();
    }
}

/// One socket of a shared port.
struct Shared {
    path: u64,
    socket: Arc<OwnedFd>,
    /// Addresses that datagrams are taken from; none: all.
    only_from: Arc<[Addr]>,
    pairs: HashMap<Addr, Pair, Seeded>,
}

pub struct Worker {
    waiting: Waiting,
    orders: Receiver<Order>,
    bell: Arc<Bell>,
    shared: Vec<Option<Shared>>,
    table: Table,
    outbox: Outbox,
    uplink: Uplink,
    others: Vec<Handle>,
    seed: u64,
}

impl Worker {
    /// `others`: every packet thread by its index, this one included; `way`: the carrier, and us it may gather for.
    pub fn new(
        orders: Receiver<Order>,
        bell: Arc<Bell>,
        uplink: Uplink,
        others: Vec<Handle>,
        seed: u64,
        way: (Carrier, u32),
    ) -> std::io::Result<Self> {
        let (mut waiting, post) = Waiting::new(way.0, way.1)?;
        waiting.add_bell(bell.fd(), BELL << KIND)?;
        Ok(Self {
            waiting,
            orders,
            bell,
            shared: Vec::new(),
            table: Table::new(seed),
            outbox: Outbox::new(post),
            uplink,
            others,
            seed,
        })
    }

    /// Work until the process ends.
    pub fn run(mut self) {
        self.uplink.counters.thread.set(sys::thread());
        loop {
            let due = self.table.next_due();
            let wait = due.map_or(LONGEST, |due| due.saturating_sub(sys::now()).min(LONGEST));
            let now = match self.waiting {
                Waiting::Epoll { .. } => self.take_ready(wait),
                Waiting::Uring(_) => self.take_arrivals(wait),
            };
            self.uplink.counters.turns.add(1);
            self.table.play(&mut self.outbox, now);
            self.table.play_frames(&mut self.outbox, now);
            self.table.tell_arrivals(&mut self.outbox, &mut self.uplink, now);
            self.outbox.flush(&self.table);
            self.uplink.flush();
        }
    }

    /// Wait for sockets and read those that are ready; when that was.
    fn take_ready(&mut self, wait: u64) -> u64 {
        let Waiting::Epoll { poll, .. } = &mut self.waiting else { return sys::now() };
        let ready = poll.wait(wait.div_ceil(1_000_000) as i32);
        let now = sys::now();
        for index in 0..ready {
            let Waiting::Epoll { poll, .. } = &self.waiting else { return now };
            let (kind, number) = parts(poll.token(index));
            match kind {
                BELL => self.take_orders(now),
                SHARED => self.read_shared(number, now),
                RTP => packets::read_rtp(&mut self.table, &mut self.outbox, &mut self.uplink, number, now),
                RTCP => packets::read_rtcp(&mut self.table, &mut self.uplink, number, now),
                _ => {}
            }
        }
        now
    }

    /// Wait for datagrams and take them; when they came.
    fn take_arrivals(&mut self, wait: u64) -> u64 {
        let Waiting::Uring(ring) = &mut self.waiting else { return sys::now() };
        if ring.wait(wait).is_err() {
            // Nothing can be received any more: whoever started us starts another.
            std::process::abort();
        }
        let now = sys::now();
        self.fetch_ahead();
        while let Waiting::Uring(ring) = &mut self.waiting {
            let Some(arrival) = ring.next() else { break };
            if parts(arrival.token).0 == BELL {
                self.take_orders(now);
            } else {
                self.take_arrival(&arrival, now);
            }
            if let Waiting::Uring(ring) = &mut self.waiting {
                ring.give_back(arrival);
            }
        }
        now
    }

    /// One datagram that was received already.
    fn take_arrival(&mut self, arrival: &Arrival, now: u64) {
        let Self { waiting, shared, table, outbox, uplink, others, .. } = self;
        let Waiting::Uring(ring) = waiting else { return };
        let (data, source) = ring.datagram(arrival);
        let (kind, number) = parts(arrival.token);
        match kind {
            SHARED => {
                let Some(Some(shared)) = shared.get_mut(number) else { return };
                packets::Here { table, outbox, uplink, others, now }.take_shared(shared, number, data, source);
            }
            RTP => packets::take_rtp(table, outbox, uplink, number, data, source, now),
            RTCP => packets::take_rtcp(table, uplink, number, data, source, now),
            _ => {}
        }
    }

    fn read_shared(&mut self, number: usize, now: u64) {
        let Self { waiting, shared, table, outbox, uplink, others, .. } = self;
        let Waiting::Epoll { batch, .. } = waiting else { return };
        let Some(Some(shared)) = shared.get_mut(number) else { return };
        for index in 0..batch.receive(shared.socket.as_raw_fd()) {
            let (data, source) = batch.datagram(index);
            packets::Here { table, outbox, uplink, others, now }.take_shared(shared, number, data, source);
        }
    }

    fn take_orders(&mut self, now: u64) {
        self.bell.silence();
        for _ in 0..ORDERS {
            let Ok(order) = self.orders.try_recv() else { return };
            self.obey(order, now);
        }
        self.bell.ring();
    }

    fn obey(&mut self, order: Order, now: u64) {
        match order {
            Order::OpenShared { number, path, socket, only_from } => {
                let pairs = HashMap::with_hasher(Seeded(self.seed));
                self.open_shared(number, Shared { path, socket, only_from, pairs });
            }
            Order::CloseShared { number } => {
                // What waits to be sent names sockets that may be closed hereafter.
                self.outbox.flush(&self.table);
                if let Some(Some(shared)) = self.shared.get_mut(number).map(Option::take) {
                    self.waiting.remove(&[shared.socket.as_raw_fd()]);
                }
                self.outbox.close(number);
            }
            Order::PutReceive(half) => self.put_receive(half),
            Order::TakeReceive(flow, answer) => {
                let _ = answer.send(self.take_receive(flow));
            }
            Order::PutSend(half) => self.table.put_send(half),
            Order::TakeSend(flow, answer) => {
                let _ = answer.send(self.take_send(flow));
            }
            Order::Drop(flow) => {
                drop(self.take_receive(flow));
                drop(self.take_send(flow));
            }
            Order::PutPair { number, source, mut pair } => {
                pair.slot = self.table.receive_slot(pair.flow).unwrap_or(usize::MAX);
                if let Some(Some(shared)) = self.shared.get_mut(number) {
                    shared.pairs.insert(source, pair);
                }
            }
            Order::DropPair { number, source, flow } => {
                if let Some(Some(shared)) = self.shared.get_mut(number) {
                    // It may be another flow's by now.
                    if shared.pairs.get(&source).is_some_and(|pair| pair.flow == flow) {
                        shared.pairs.remove(&source);
                    }
                }
            }
            Order::Receive(flow, order) => {
                packets::obey_receive(&mut self.table, &mut self.outbox, &mut self.uplink, flow, order, now);
            }
            Order::Send(flow, SendOrder::Resend(numbers)) => {
                let missing = self.table.resend(&mut self.outbox, flow, &numbers, now);
                if !missing.is_empty() {
                    self.uplink.tell(Up::Frame(up::missing(flow, now, &missing)));
                }
            }
            Order::Send(flow, order) => self.table.obey_send(&mut self.outbox, flow, order, now),
            Order::Foreign { flow, path, source, mut data } => {
                let Self { table, outbox, uplink, others, .. } = self;
                packets::Here { table, outbox, uplink, others, now }.take_foreign(flow, path, source, &mut data);
            }
            Order::Fence(answer, flows) => {
                self.table.publish(&flows);
                let _ = answer.send(());
            }
        }
    }

    fn open_shared(&mut self, number: usize, shared: Shared) {
        let socket = shared.socket.as_raw_fd();
        if self.waiting.add(socket, SHARED << KIND | number as u64).is_err() {
            return;
        }
        if self.shared.len() <= number {
            self.shared.resize_with(number + 1, || None);
        }
        self.outbox.open(number, socket);
        self.shared[number] = Some(shared);
    }

    fn take_receive(&mut self, flow: u32) -> Option<Box<Receive>> {
        let taken = self.table.take_receive(flow);
        if let Some(sockets) = taken.as_ref().and_then(|half| half.sockets.as_ref()) {
            self.waiting.remove(&[sockets.rtp.as_raw_fd(), sockets.rtcp.as_raw_fd()]);
        }
        taken
    }

    fn take_send(&mut self, flow: u32) -> Option<Box<Send>> {
        // What waits to be sent goes by its sockets.
        self.outbox.flush(&self.table);
        self.table.take_send(flow)
    }

    fn put_receive(&mut self, half: Box<Receive>) {
        let watched: Option<(RawFd, RawFd)> =
            half.sockets.as_ref().map(|sockets| (sockets.rtp.as_raw_fd(), sockets.rtcp.as_raw_fd()));
        let slot = self.table.put_receive(half);
        if let Some((rtp, rtcp)) = watched {
            let _ = self.waiting.add(rtp, RTP << KIND | slot as u64);
            let _ = self.waiting.add(rtcp, RTCP << KIND | slot as u64);
        }
    }
}

/// Kind and number of a token.
const fn parts(token: u64) -> (u64, usize) {
    (token >> KIND, (token & ((1 << KIND) - 1)) as usize)
}

/// Everything one packet thread is made of, before it runs.
pub struct Made {
    pub handle: Handle,
    pub counters: Arc<ThreadCounters>,
    pub orders: Receiver<Order>,
    pub bell: Arc<Bell>,
}

impl Made {
    pub fn new() -> std::io::Result<Self> {
        let (sender, orders) = std::sync::mpsc::channel();
        let bell = Arc::new(Bell::new()?);
        Ok(Self { handle: Handle::new(sender, Arc::clone(&bell)), counters: Arc::default(), orders, bell })
    }
}
