//! What the control thread knows: ports, flows, which thread owns what; it turns messages into orders.

mod feeds;
mod flows;
mod ports;
mod report;

use crate::addr::Addr;
use crate::counters::{Count, FlowCounters, ThreadCounters};
use crate::flow::{Config, PairSockets};
use crate::stun::Credential;
use crate::sys::Binding;
use crate::wire::down::Message;
use crate::wire::up;
use crate::worker::{Handle, Order};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Octets of all records together.
const MAX_RECORDS: usize = 256 << 20;

/// One port.
enum Port {
    Shared(Vec<SharedHost>),
    Pair { sockets: Arc<PairSockets>, bound: (Addr, Addr), flow: Option<u32> },
}

/// One listening address of a shared port.
struct SharedHost {
    /// Its number in every packet thread.
    number: usize,
    bound: Addr,
    /// One socket a thread.
    sockets: Vec<Arc<OwnedFd>>,
}

/// One flow, as far as it is not the packet threads'.
struct Flow {
    port: u32,
    config: Config,
    counters: Arc<FlowCounters>,
    receive_thread: usize,
    send_thread: usize,
    target: Option<u32>,
    /// Flows whose streams it feeds, or is to feed.
    feeds: Vec<u32>,
    /// Whom its own stream is fed by, and by whom from that one's next key frame on.
    fed_by: Option<u32>,
    fed_next: Option<u32>,
    source: Option<Addr>,
    named: Option<Addr>,
    /// The number of the description that named it.
    description: u32,
    rtp: Option<Addr>,
    rtcp: Option<Addr>,
    selected: Option<(u64, Addr)>,
    pairs: HashMap<(u64, Addr), Arc<Count>>,
    credentials: Arc<[Credential]>,
    /// The flow whose transport it shares (RFC 9143).
    carrier: Option<u32>,
    /// Those that share its own.
    bundled: Vec<u32>,
    /// What was ever sent through its transport under its keys: source and flow.
    sources: Vec<(u32, u32)>,
    watched_since: u64,
    /// When it was heard before the silence that was told of last, ns.
    idle_told: u64,
}

/// One packet thread.
struct Thread {
    handle: Handle,
    counters: Arc<ThreadCounters>,
    /// It was told something since it was last woken.
    told: Cell<bool>,
    /// It was told something since it last said that all was done.
    busy: Cell<bool>,
}

/// Everything the plane holds.
pub struct Registry {
    threads: Vec<Thread>,
    ports: BTreeMap<u32, Port>,
    flows: BTreeMap<u32, Flow>,
    records: BTreeMap<Box<[u8]>, Box<[u8]>>,
    record_octets: usize,
    next_number: usize,
    next_thread: usize,
    /// The flow that was opened last, where the next is to be on its thread.
    alone: Option<u32>,
    /// Flows have ended that their threads may not have let go of yet.
    leaving: Cell<bool>,
    /// Messages that named nothing there is.
    unknown: u64,
    /// Messages that could not be read.
    pub malformed: u64,
    /// Frames for the gateway that found no room.
    pub unsent: u64,
}

impl Registry {
    pub fn new(threads: Vec<(Handle, Arc<ThreadCounters>)>) -> Self {
        let told = |(handle, counters)| Thread { handle, counters, told: Cell::new(false), busy: Cell::new(false) };
        Self {
            threads: threads.into_iter().map(told).collect(),
            ports: BTreeMap::new(),
            flows: BTreeMap::new(),
            records: BTreeMap::new(),
            record_octets: 0,
            next_number: 0,
            next_thread: 0,
            alone: None,
            leaving: Cell::new(false),
            unknown: 0,
            malformed: 0,
            unsent: 0,
        }
    }

    /// Whether nothing would be lost if the plane ended.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty() && self.records.is_empty()
    }

    /// Do what a message asks; what is to be answered.
    pub fn apply(&mut self, message: Message, now: u64) -> Option<Vec<u8>> {
        match message {
            Message::OpenShared { request, port, number, receive_buffer, send_buffer, hosts, only_from, dscp } => {
                let binding = Binding { reuse: self.threads.len() > 1, receive_buffer, send_buffer, dscp };
                Some(self.open_shared(request, port, number, binding, &hosts, only_from.into()))
            }
            Message::OpenPair { request, port, host, dscp } => Some(self.open_pair(request, port, &host, dscp)),
            Message::ClosePort { port } => {
                self.close_port(port);
                None
            }
            Message::Snapshot { request, flows } => Some(self.snapshot(request, &flows, now)),
            Message::Counters { request } => Some(self.counters(request)),
            Message::Inventory { request } => Some(self.inventory(request)),
            Message::SetRecord { key, record } => {
                self.set_record(key, record);
                None
            }
            Message::Send { path, to, data } => {
                self.send_raw(path, &to, &data);
                None
            }
            // The control thread ends the process before it asks for anything here.
            Message::Shutdown => None,
            other => {
                if self.apply_to_flow(other, now).is_none() {
                    self.unknown += 1;
                }
                None
            }
        }
    }

    fn set_record(&mut self, key: Box<[u8]>, record: Box<[u8]>) {
        let before = self.records.remove(&key).map_or(0, |old| old.len());
        self.record_octets -= before;
        if !record.is_empty() && self.record_octets + record.len() <= MAX_RECORDS {
            self.record_octets += record.len();
            self.records.insert(key, record);
        }
    }

    /// A pair port listens to another source now; None where another description has come since, or the flow has ended.
    pub fn learned(&mut self, flow: u32, source: Addr, description: u32, now: u64) -> Option<Vec<u8>> {
        let known = self.flows.get_mut(&flow).filter(|known| known.description == description)?;
        known.source = Some(source);
        self.update_ways(flow);
        Some(up::source_learned(flow, &source, description, now))
    }

    /// Tell of each flow that has fallen silent.
    pub fn watch(&mut self, now: u64) -> Vec<Vec<u8>> {
        let mut told = Vec::new();
        for (id, flow) in &mut self.flows {
            let limit = flow.config.idle_after;
            if limit == 0 {
                continue;
            }
            let heard = flow.counters.received.heard.get().max(flow.watched_since);
            let silent = now.saturating_sub(heard);
            if silent >= limit && flow.idle_told != heard {
                flow.idle_told = heard;
                told.push(up::idle(*id, silent));
            }
        }
        told
    }

    /// Have a packet thread do something once `wake` is called.
    fn order(&self, thread: usize, order: Order) {
        let thread = &self.threads[thread];
        thread.handle.queue(order);
        thread.told.set(true);
        thread.busy.set(true);
    }

    /// Wake the packet threads that were told something.
    pub fn wake(&self) {
        for thread in &self.threads {
            if thread.told.take() {
                thread.handle.ring();
            }
        }
    }

    /// The thread of a new flow: that of the one before where that is joined with nobody, since the two are mostly
    /// of one call, and no half has to move then when they are joined.
    fn choose_thread(&mut self, flow: u32) -> usize {
        let before = self.alone.take().and_then(|before| self.flows.get(&before));
        if let Some(before) = before.filter(|before| before.target.is_none()) {
            return before.receive_thread;
        }
        self.alone = Some(flow);
        self.next_thread = (self.next_thread + 1) % self.threads.len();
        self.next_thread
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Made;

    fn at(port: u16) -> Addr {
        Addr::new([127, 0, 0, 1].into(), port)
    }

    #[test]
    fn a_source_learned_by_the_description_before_is_not_sent_to() {
        let thread = Made::new().unwrap();
        let mut registry = Registry::new(vec![(thread.handle.clone(), thread.counters)]);
        let mut apply = |message| drop(registry.apply(message, 1));
        let config = Config { max_packets_per_second: 100, ..Config::default() };
        apply(Message::OpenPair { request: 1, port: 5, host: at(0), dscp: 0 });
        apply(Message::OpenFlow { flow: 2, port: 5, config });
        apply(Message::Expect { flow: 2, named: Some(at(4000)), description: 1 });
        apply(Message::SetDestination { flow: 2, rtp: Some(at(4000)), rtcp: None });
        assert!(registry.learned(2, at(4001), 1, 1).is_some());
        assert_eq!(registry.destination(&registry.flows[&2]), Some(at(4001)));
        let mut apply = |message| drop(registry.apply(message, 1));
        apply(Message::Expect { flow: 2, named: Some(at(5000)), description: 2 });
        apply(Message::SetDestination { flow: 2, rtp: Some(at(5000)), rtcp: None });
        assert!(registry.learned(2, at(4001), 1, 1).is_none());
        assert_eq!(registry.destination(&registry.flows[&2]), Some(at(5000)));
        assert!(registry.learned(2, at(5001), 2, 1).is_some());
        assert!(registry.learned(3, at(5001), 2, 1).is_none());
    }
}
