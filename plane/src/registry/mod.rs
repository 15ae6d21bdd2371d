//! What the control thread knows: ports, flows, which thread owns what; it turns messages into orders.

mod addresses;
mod arrivals;
mod feeds;
mod flows;
mod placing;
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
use placing::{Heard, Load};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::sync::Arc;

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
    /// As how many flows it counts for the thread that receives it.
    weight: u32,
    receive_thread: usize,
    send_thread: usize,
    target: Option<u32>,
    /// Whose target it is; nobody else's.
    routed_by: Option<u32>,
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
    /// When it was opened or last configured: idleness counts from then, ns.
    watched_since: u64,
    /// From when on the silence counted that was told of last, ns.
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
    load: Load,
}

/// Everything the plane holds.
pub struct Registry {
    threads: Vec<Thread>,
    ports: BTreeMap<u32, Port>,
    flows: BTreeMap<u32, Flow>,
    /// Which flow a source is on a shared port: by port, place in it, and address.
    holders: HashMap<(u32, usize, Addr), u32>,
    next_number: usize,
    /// The thread that takes what is new.
    taking: usize,
    heard: Option<Heard>,
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
    /// `seed` keeps strangers from choosing which thread hears them.
    pub fn new(threads: Vec<(Handle, Arc<ThreadCounters>)>, seed: u64) -> Self {
        let made = |(handle, counters)| {
            let load = Load::default();
            Thread { handle, counters, told: Cell::new(false), busy: Cell::new(false), load }
        };
        Self {
            heard: Heard::new(threads.len(), seed as u32),
            taking: 0,
            threads: threads.into_iter().map(made).collect(),
            ports: BTreeMap::new(),
            flows: BTreeMap::new(),
            holders: HashMap::new(),
            next_number: 0,
            leaving: Cell::new(false),
            unknown: 0,
            malformed: 0,
            unsent: 0,
        }
    }

    /// Whether nothing would be lost if the plane ended.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
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

    /// A pair port listens to another source now; None where another description has come since, or the flow has ended.
    pub fn learned(&mut self, flow: u32, source: Addr, description: u32, now: u64) -> Option<Vec<u8>> {
        let known = self.flows.get_mut(&flow).filter(|known| known.description == description)?;
        known.source = Some(source);
        self.update_ways(flow);
        Some(up::source_learned(flow, &source, description, now))
    }

    /// Tell of each flow that has fallen silent, and look what the threads have to do.
    pub fn watch(&mut self, now: u64) -> Vec<Vec<u8>> {
        self.place(now);
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Made;

    fn at(port: u16) -> Addr {
        Addr::new([127, 0, 0, 1].into(), port)
    }

    #[test]
    fn a_stream_has_one_source_and_what_ends_leaves_no_trace() {
        let thread = Made::new().unwrap();
        let mut registry = Registry::new(vec![(thread.handle.clone(), thread.counters)], 1);
        for flow in 1..=3 {
            registry.apply(Message::OpenPair { request: 1, port: flow, host: at(0), dscp: 0 }, 1);
            registry.apply(Message::OpenFlow { flow, port: flow, config: Config::default() }, 1);
        }
        let route = |registry: &mut Registry, source, target| {
            let routes = Box::new([crate::flow::Route::default(); 128]);
            registry.apply(Message::Route { source, target, routes }, 1);
        };
        let stand = |registry: &Registry| -> Vec<(u32, Option<u32>, Option<u32>)> {
            registry.flows.iter().map(|(id, flow)| (*id, flow.target, flow.routed_by)).collect()
        };
        route(&mut registry, 1, Some(3));
        route(&mut registry, 2, Some(3));
        assert_eq!(stand(&registry), [(1, None, None), (2, Some(3), None), (3, None, Some(2))]);
        route(&mut registry, 2, Some(1));
        assert_eq!(stand(&registry), [(1, None, Some(2)), (2, Some(1), None), (3, None, None)]);
        registry.close_flow(2);
        route(&mut registry, 1, Some(1));
        assert_eq!(stand(&registry), [(1, Some(1), Some(1)), (3, None, None)]);
        route(&mut registry, 3, Some(1));
        registry.close_port(1);
        assert_eq!(stand(&registry), [(3, None, None)]);
    }

    #[test]
    fn idleness_counts_from_each_configuration_and_is_told_once_after_it() {
        let thread = Made::new().unwrap();
        let mut registry = Registry::new(vec![(thread.handle.clone(), thread.counters)], 1);
        let config = Config { idle_after: 10, ..Config::default() };
        registry.apply(Message::OpenPair { request: 1, port: 5, host: at(0), dscp: 0 }, 1);
        registry.apply(Message::OpenFlow { flow: 2, port: 5, config }, 1);
        let configure = |registry: &mut Registry, idle_after, now| {
            let config = Config { idle_after, ..config };
            registry.apply(Message::ConfigureFlow { flow: 2, config }, now);
        };
        let told = |registry: &mut Registry, times: [u64; 3]| times.map(|now| registry.watch(now).len());
        assert_eq!(told(&mut registry, [10, 11, 30]), [0, 1, 0]);
        configure(&mut registry, 10, 30);
        assert_eq!(told(&mut registry, [39, 40, 99]), [0, 1, 0]);
        configure(&mut registry, 20, 100);
        assert_eq!(told(&mut registry, [110, 119, 120]), [0, 0, 1]);
        configure(&mut registry, 0, 200);
        assert_eq!(told(&mut registry, [200, 300, 400]), [0, 0, 0]);
        configure(&mut registry, 10, 400);
        registry.flows[&2].counters.received.heard.set(405);
        assert_eq!(told(&mut registry, [410, 415, 500]), [0, 1, 0]);
    }

    #[test]
    fn a_source_learned_by_the_description_before_is_not_sent_to() {
        let thread = Made::new().unwrap();
        let mut registry = Registry::new(vec![(thread.handle.clone(), thread.counters)], 1);
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

    #[test]
    fn a_port_of_a_pair_has_one_flow_at_a_time() {
        let thread = Made::new().unwrap();
        let mut registry = Registry::new(vec![(thread.handle.clone(), thread.counters)], 1);
        registry.apply(Message::OpenPair { request: 1, port: 5, host: at(0), dscp: 0 }, 1);
        let open = |registry: &mut Registry, flow| {
            registry.apply(Message::OpenFlow { flow, port: 5, config: Config::default() }, 1);
            registry.flows.contains_key(&flow)
        };
        assert!(open(&mut registry, 1) && !open(&mut registry, 2));
        registry.close_flow(1);
        assert!(open(&mut registry, 2));
    }
}
