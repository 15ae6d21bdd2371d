//! Which packet thread takes what is new: the first that has room, since a turn that many packets share costs each of them
//! less. What a thread has stays there: only new flows, and sources that no flow has, go to another.

use super::ports::parts;
use super::{Port, Registry, Thread};
use crate::addr::Addr;
use crate::sys::{self, Steering, BUCKETS};
use std::os::fd::AsRawFd;

/// Share of its time at which a thread takes nothing new, and that it must be below to begin with it again.
const FULL: f64 = 0.5;
const ROOM: f64 = 0.4;
/// What a flow may come to take of a thread's time that has not spoken yet: 50 packets/s of 6 us.
const SHARE: f64 = 0.0003;
/// As how many flows one counts whose packets are transcoded.
pub(super) const TRANSCODED: u32 = 20;
/// ns over which a thread's time is measured.
const MEASURED: u64 = 1_000_000_000;

/// What one thread has to do.
#[derive(Default)]
pub(super) struct Load {
    /// Flows that it receives.
    pub flows: u32,
    /// Share of the time in which it did not wait for a core that it worked, when that was measured last.
    share: f64,
    measured: u64,
    spent: (u64, u64),
}

impl Load {
    fn expected(&self) -> f64 {
        self.share.max(f64::from(self.flows) * SHARE)
    }

    fn is_due(&self, now: u64) -> bool {
        now.saturating_sub(self.measured) >= MEASURED
    }

    /// `spent`: ns that the thread has worked, and has waited for a core, since it began; None where nobody knows.
    fn measure(&mut self, spent: Option<(u64, u64)>, now: u64) {
        let spent = spent.unwrap_or(self.spent);
        let (worked, waited) = (spent.0.saturating_sub(self.spent.0), spent.1.saturating_sub(self.spent.1));
        let passed = now.saturating_sub(self.measured).saturating_sub(waited).max(worked).max(1);
        self.share = worked as f64 / passed as f64;
        (self.spent, self.measured) = (spent, now);
    }
}

/// Which thread hears new sources on shared ports, and which sources are not new.
pub(super) struct Heard {
    steering: Steering,
    /// Pairs of flows in each bucket.
    pairs: Box<[u32]>,
}

impl Heard {
    /// None where the kernel tells sources apart by its own hash: there is one thread, or there are too many.
    pub fn new(threads: usize, seed: u32) -> Option<Self> {
        Some(Self { steering: Steering::new(threads, seed)?, pairs: vec![0; BUCKETS].into() })
    }
}

/// The thread that takes what is new, where `taking` did so far.
fn choose(loads: &[f64], taking: usize) -> usize {
    let has_room = |(thread, load): (usize, &f64)| *load < if thread == taking { FULL } else { ROOM };
    loads.iter().enumerate().position(has_room).unwrap_or_else(|| least(loads))
}

/// The thread that has least to do.
fn least(loads: &[f64]) -> usize {
    (0..loads.len()).min_by(|one, other| loads[*one].total_cmp(&loads[*other])).unwrap_or(0)
}

impl Registry {
    /// The thread of what is new.
    pub(super) fn choose_thread(&mut self) -> usize {
        let loads: Vec<f64> = self.threads.iter().map(|thread| thread.load.expected()).collect();
        // Where the kernel spreads the sources, the rest is spread, too.
        self.taking = if self.heard.is_some() { choose(&loads, self.taking) } else { least(&loads) };
        self.taking
    }

    /// Count what a thread has to do.
    pub(super) fn expect_load(&mut self, thread: usize, more: u32, less: u32) {
        let flows = &mut self.threads[thread].load.flows;
        *flows = flows.saturating_add(more).saturating_sub(less);
    }

    /// Look what the threads have to do, and have sources that no flow has be heard by the one that takes what is new.
    pub(super) fn place(&mut self, now: u64) {
        for Thread { counters, load, .. } in &mut self.threads {
            if load.is_due(now) {
                load.measure(sys::scheduled(counters.thread.get()), now);
            }
        }
        let taking = self.choose_thread();
        let Some(Heard { steering, pairs }) = &mut self.heard else { return };
        let free = (0..BUCKETS).filter(|bucket| pairs[*bucket] == 0);
        if free.filter(|bucket| steering.set(*bucket, taking)).count() > 0 {
            self.steer();
        }
    }

    /// Have the kernel give each source to the thread that is to hear it.
    pub(super) fn steer(&mut self) {
        let Some(Heard { steering, .. }) = &self.heard else { return };
        let hosts = self.ports.values().filter_map(|port| match port {
            Port::Shared(hosts) => Some(hosts),
            Port::Pair { .. } => None,
        });
        let done = hosts.flatten().all(|host| {
            host.sockets.first().is_none_or(|first| steering.attach(first.as_raw_fd(), host.bound.is_v6()).is_ok())
        });
        if !done {
            // This kernel does not do it: which thread hears a source is told by the source's first datagram.
            self.heard = None;
        }
    }

    /// A flow has the source now, by that path: whoever hears it goes on with it.
    pub(super) fn keep_heard(&mut self, path: u64, source: &Addr) {
        let Some(Heard { steering, pairs }) = &mut self.heard else { return };
        let bucket = steering.bucket(source);
        pairs[bucket] += 1;
        // Its datagram crossed a change.
        if pairs[bucket] == 1 && steering.set(bucket, parts(path).1) {
            self.steer();
        }
    }

    /// A flow has the source no more.
    pub(super) fn let_go(&mut self, source: &Addr) {
        if let Some(Heard { steering, pairs }) = &mut self.heard {
            let pairs = &mut pairs[steering.bucket(source)];
            *pairs = pairs.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ports::path;
    use super::*;
    use crate::counters::ThreadCounters;
    use crate::flow::{Action, Config, Route};
    use crate::wire::down::Message;
    use crate::worker::{Handle, Made, Order};
    use std::collections::HashMap;
    use std::sync::mpsc::Receiver;
    use std::sync::Arc;

    #[test]
    fn many_threads_take_what_is_new_by_turns() {
        let mut registry = registry(5);
        for flow in 1..=10 {
            registry.apply(Message::OpenFlow { flow, port: 5, config: Config::default() }, 1);
        }
        assert!(registry.heard.is_none());
        assert!(registry.threads.iter().all(|thread| thread.load.flows == 2));
    }

    /// A registry whose threads do nothing, with a port for browsers.
    fn registry(threads: usize) -> Registry {
        registry_of((0..threads).map(|_| Made::new().unwrap()).map(|made| (made.handle, made.counters)).collect())
    }

    fn registry_of(threads: Vec<(Handle, Arc<ThreadCounters>)>) -> Registry {
        let mut registry = Registry::new(threads, 7);
        let hosts = vec![Addr::v4(0x7f00_0001, 0)];
        let buffers = (1 << 16, 1 << 16);
        registry.apply(
            Message::OpenShared {
                request: 1,
                port: 5,
                number: 0,
                receive_buffer: buffers.0,
                send_buffer: buffers.1,
                hosts,
                only_from: Vec::new(),
                dscp: 0,
            },
            1,
        );
        registry
    }

    #[test]
    fn a_port_that_was_opened_is_heard_by_the_first_thread() {
        let registry = registry(2);
        let Some(Port::Shared(hosts)) = registry.ports.get(&5) else { panic!("it is not open") };
        let sockets = &hosts[0].sockets;
        for _ in 0..30 {
            let peer = sys::udp(&Addr::v4(0x7f00_0001, 0), sys::Binding::default()).unwrap();
            assert!(sys::send_to(peer.as_raw_fd(), b"here", &sys::SockAddr::new(&hosts[0].bound)));
        }
        let heard = |thread: usize| {
            (0..40).filter(|_| sys::receive_from(sockets[thread].as_raw_fd(), &mut [0; 8]).is_some()).count()
        };
        assert_eq!((heard(0), heard(1)), (30, 0));
    }

    fn hears(registry: &Registry, source: &Addr) -> usize {
        let steering = &registry.heard.as_ref().unwrap().steering;
        steering.thread(steering.bucket(source))
    }

    #[test]
    fn a_source_that_a_flow_has_stays_where_it_is_heard() {
        let mut registry = registry(2);
        let (one, other) = (Addr::v4(1, 1), Addr::v4(2, 2));
        registry.apply(Message::OpenFlow { flow: 1, port: 5, config: Config::default() }, 1);
        registry.apply(Message::AdmitPair { flow: 1, path: path(5, 0, 0), source: one }, 1);
        // Once more the same, as after a check: it is still one pair.
        registry.apply(Message::AdmitPair { flow: 1, path: path(5, 0, 0), source: one }, 1);
        registry.expect_load(0, 2000, 0);
        registry.watch(1);
        assert_eq!((hears(&registry, &one), hears(&registry, &other)), (0, 1));
        registry.apply(Message::OpenFlow { flow: 2, port: 5, config: Config::default() }, 1);
        assert_eq!(registry.flows[&2].receive_thread, 1);
        registry.apply(Message::RemovePair { flow: 1, path: path(5, 0, 0), source: one }, 1);
        registry.watch(1);
        assert_eq!(hears(&registry, &one), 1);
        registry.expect_load(0, 0, 2000);
        registry.watch(1);
        assert_eq!((hears(&registry, &one), hears(&registry, &other)), (0, 0));
    }

    #[test]
    fn a_source_whose_datagram_crossed_a_change_stays_where_that_was_heard() {
        let mut registry = registry(2);
        let source = Addr::v4(1, 1);
        registry.apply(Message::OpenFlow { flow: 1, port: 5, config: Config::default() }, 1);
        registry.expect_load(0, 2000, 0);
        registry.watch(1);
        registry.apply(Message::AdmitPair { flow: 1, path: path(5, 0, 0), source }, 1);
        assert_eq!(hears(&registry, &source), 0);
        registry.apply(Message::CloseFlow { flow: 1 }, 1);
        registry.watch(1);
        assert_eq!(hears(&registry, &source), 1);
    }

    #[test]
    fn what_ends_or_moves_is_no_load_any_more() {
        let mut registry = registry(2);
        for flow in 1..=3 {
            registry.apply(Message::OpenFlow { flow, port: 5, config: Config::default() }, 1);
        }
        let route = |registry: &mut Registry, source, action| {
            let mut routes = Box::new([Route::default(); 128]);
            routes[7].action = action;
            registry.apply(Message::Route { source, target: None, routes }, 1);
        };
        route(&mut registry, 2, Action::Transcode);
        route(&mut registry, 2, Action::Transcode);
        route(&mut registry, 1, Action::Transcode);
        route(&mut registry, 1, Action::Forward);
        registry.apply(Message::AdmitPair { flow: 3, path: path(5, 1, 0), source: Addr::v4(1, 1) }, 1);
        let flows = |registry: &Registry| [0, 1].map(|thread: usize| registry.threads[thread].load.flows);
        assert_eq!(flows(&registry), [1 + TRANSCODED, 1]);
        for flow in 1..=3 {
            registry.apply(Message::CloseFlow { flow }, 1);
        }
        assert_eq!(flows(&registry), [0, 0]);
    }

    /// What a thread does that keeps what it is to send, and sends nothing.
    fn keep(orders: &Receiver<Order>) {
        let mut sends = HashMap::new();
        while let Ok(order) = orders.recv() {
            match order {
                Order::PutSend(half) => drop(sends.insert(half.flow, half)),
                Order::TakeSend(flow, answer) => drop(answer.send(sends.remove(&flow))),
                _ => {}
            }
        }
    }

    #[test]
    fn what_shares_a_transport_is_load_as_well() {
        let Made { handle, counters, orders, .. } = Made::new().unwrap();
        std::thread::spawn(move || keep(&orders));
        let mut registry = registry_of(vec![(handle, counters)]);
        let flows = |registry: &Registry| registry.threads[0].load.flows;
        for flow in [1, 2] {
            registry.apply(Message::OpenFlow { flow, port: 5, config: Config::default() }, 1);
        }
        registry.apply(Message::OpenBundled { flow: 3, carrier: 1 }, 1);
        registry.apply(Message::OpenBundled { flow: 4, carrier: 1 }, 1);
        assert_eq!(flows(&registry), 4);
        registry.apply(Message::CloseFlow { flow: 4 }, 1);
        assert_eq!(flows(&registry), 3);
        registry.apply(Message::CloseFlow { flow: 1 }, 1);
        assert_eq!(flows(&registry), 1);
    }

    #[test]
    fn the_first_thread_takes_what_is_new_until_it_is_half_full() {
        assert_eq!(choose(&[0.49, 0.0], 0), 0);
        assert_eq!(choose(&[0.5, 0.0], 0), 1);
        assert_eq!(choose(&[0.45, 0.1], 1), 1);
        assert_eq!(choose(&[0.39, 0.1], 1), 0);
        assert_eq!(choose(&[0.9, 0.7, 0.8], 0), 1);
        assert_eq!(choose(&[0.0], 0), 0);
    }

    #[test]
    fn flows_that_have_not_spoken_yet_are_reckoned_with() {
        let mut load = Load { flows: 1000, ..Load::default() };
        assert!((load.expected() - 0.3).abs() < 1e-9);
        load.measure(Some((0, 0)), MEASURED);
        assert!(!load.is_due(2 * MEASURED - 1) && load.is_due(2 * MEASURED));
        load.measure(Some((MEASURED / 4, MEASURED / 2)), 2 * MEASURED);
        assert!((load.expected() - 0.5).abs() < 1e-9);
        load.measure(None, 3 * MEASURED);
        assert!((load.expected() - 0.3).abs() < 1e-9);
    }
}
