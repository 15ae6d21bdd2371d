//! Where a flow is heard from and sends to: pairs of browsers, sources of phones.

use super::ports::parts;
use super::{Flow, Port, Registry};
use crate::addr::Addr;
use crate::flow::{Lane, Pair, Way};
use crate::stun::Credential;
use crate::wire::down::Secret;
use crate::worker::{Order, ReceiveOrder, SendOrder};
use std::sync::Arc;

/// Pairs a flow may have at a time.
const MAX_PAIRS: usize = 64;

impl Registry {
    pub(super) fn set_credentials(&mut self, flow: u32, credentials: &[(Box<[u8]>, Secret)]) -> Option<()> {
        let known = self.flows.get_mut(&flow)?;
        known.credentials =
            credentials.iter().filter_map(|(ufrag, password)| Credential::new(ufrag, &password.0)).collect();
        self.put_pairs(flow);
        Some(())
    }

    pub(super) fn admit_pair(&mut self, flow: u32, path: u64, source: Addr) -> Option<()> {
        self.shared_number(path)?;
        let known = self.flows.get_mut(&flow)?;
        if known.pairs.len() >= MAX_PAIRS && !known.pairs.contains_key(&(path, source)) {
            return None;
        }
        self.take_from_holder(flow, path, source);
        let known = self.flows.get_mut(&flow)?;
        let before = known.pairs.len();
        let count = Arc::clone(known.pairs.entry((path, source)).or_default());
        count.set(crate::sys::now());
        let (is_new, is_first) = (known.pairs.len() > before, known.selected.is_none());
        if is_new {
            self.keep_heard(path, &source);
        }
        if is_first {
            self.move_receive(flow, parts(path).1)?;
        }
        self.put_pairs(flow);
        Some(())
    }

    /// What comes from the source is this flow's now: whose it was sends nothing there any more.
    fn take_from_holder(&mut self, flow: u32, path: u64, source: Addr) {
        let (port, _, index) = parts(path);
        let Some(holder) = self.holders.insert((port, index, source), flow).filter(|holder| *holder != flow) else {
            return;
        };
        // Each thread has a path of its own to the socket's address.
        for thread in 0..self.threads.len() {
            self.remove_pair(holder, super::ports::path(port, thread, index), source);
        }
    }

    /// Whether the flow has the source by another thread's path to the same address.
    fn has_elsewhere(&self, flow: u32, path: u64, source: Addr) -> bool {
        let (port, _, index) = parts(path);
        let held = |thread| self.flows[&flow].pairs.contains_key(&(super::ports::path(port, thread, index), source));
        self.flows.contains_key(&flow) && (0..self.threads.len()).any(held)
    }

    /// A source is no more that flow's, where it has not become another's.
    pub(super) fn release(&mut self, flow: u32, path: u64, source: Addr) {
        let (port, _, index) = parts(path);
        if self.holders.get(&(port, index, source)) == Some(&flow) {
            self.holders.remove(&(port, index, source));
        }
    }

    pub(super) fn remove_pair(&mut self, flow: u32, path: u64, source: Addr) -> Option<()> {
        let known = self.flows.get_mut(&flow)?;
        known.pairs.remove(&(path, source))?;
        if known.selected == Some((path, source)) {
            known.selected = None;
            self.update_ways(flow);
        }
        if !self.has_elsewhere(flow, path, source) {
            self.release(flow, path, source);
        }
        self.let_go(&source);
        self.drop_pair(flow, path, source);
        Some(())
    }

    pub(super) fn select(&mut self, flow: u32, path: u64, source: Addr) -> Option<()> {
        let known = self.flows.get_mut(&flow)?;
        if !known.pairs.contains_key(&(path, source)) {
            return None;
        }
        known.selected = Some((path, source));
        self.move_receive(flow, parts(path).1)?;
        self.put_pairs(flow);
        self.update_ways(flow);
        Some(())
    }

    pub(super) fn expect(&mut self, flow: u32, named: Option<Addr>, description: u32) -> Option<()> {
        let known = self.flows.get_mut(&flow)?;
        if (known.named, known.description) != (named, description) {
            (known.named, known.description) = (named, description);
            known.source = None;
        }
        self.to_receive(flow, ReceiveOrder::Expect(named, description))?;
        self.update_ways(flow);
        Some(())
    }

    /// The number in every thread of the socket a path names.
    fn shared_number(&self, path: u64) -> Option<usize> {
        let (port, thread, index) = parts(path);
        match self.ports.get(&port)? {
            Port::Shared(hosts) if thread < self.threads.len() => hosts.get(index).map(|host| host.number),
            _ => None,
        }
    }

    /// Tell every thread of the flow's pairs on its sockets as they stand.
    pub(super) fn put_pairs(&self, flow: u32) {
        let Some(known) = self.flows.get(&flow) else { return };
        for ((path, source), checked) in &known.pairs {
            let Some(number) = self.shared_number(*path) else { continue };
            let pair = Pair {
                flow,
                owner: known.receive_thread,
                slot: usize::MAX,
                selected: known.selected == Some((*path, *source)),
                credentials: Arc::clone(&known.credentials),
                checked: Arc::clone(checked),
                counters: Arc::clone(&known.counters),
            };
            self.order(parts(*path).1, Order::PutPair { number, source: *source, pair });
        }
    }

    pub(super) fn drop_pair(&self, flow: u32, path: u64, source: Addr) {
        if let Some(number) = self.shared_number(path) {
            self.order(parts(path).1, Order::DropPair { number, source, flow });
        }
    }

    /// The flow whose transport it is.
    pub(super) fn carrying<'a>(&'a self, flow: &'a Flow) -> &'a Flow {
        flow.carrier.and_then(|carrier| self.flows.get(&carrier)).unwrap_or(flow)
    }

    /// Where RTP of the flow goes.
    pub(super) fn destination(&self, flow: &Flow) -> Option<Addr> {
        let flow = self.carrying(flow);
        match self.ports.get(&flow.port)? {
            Port::Shared(_) => flow.selected.map(|(_, source)| source),
            Port::Pair { .. } => flow.source.or(flow.rtp),
        }
    }

    /// Tell the send half where its packets go.
    pub(super) fn update_ways(&self, flow: u32) {
        let Some(known) = self.flows.get(&flow).filter(|known| known.carrier.is_none()) else { return };
        let (rtp, rtcp) = match self.ports.get(&known.port) {
            Some(Port::Shared(_)) => {
                let way = known.selected.and_then(|(path, source)| {
                    self.shared_number(path).map(|number| Way::new(Lane::Shared(number), &source))
                });
                (way, way)
            }
            _ => {
                let rtp = self.destination(known).map(|to| Way::new(Lane::Rtp, &to));
                let apart = known.rtcp.map(|to| Way::new(Lane::Rtcp, &to));
                (rtp, if known.config.mux { rtp } else { apart })
            }
        };
        for each in std::iter::once(flow).chain(known.bundled.iter().copied()) {
            self.to_send(each, SendOrder::Ways { rtp, rtcp });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ports::path;
    use super::*;
    use crate::flow::Config;
    use crate::srtp::Suite;
    use crate::wire::down::Message;
    use crate::worker::Made;
    use std::sync::mpsc::{channel, Receiver, Sender};

    /// What a thread does that keeps what it is to receive: it tells its number and whether there is a key.
    fn keep(thread: usize, orders: &Receiver<Order>, told: &Sender<(usize, bool)>) {
        let mut kept = None;
        while let Ok(order) = orders.recv() {
            match order {
                Order::PutReceive(half) => {
                    let _ = told.send((thread, half.crypto.is_set()));
                    kept = Some(half);
                }
                Order::TakeReceive(_, answer) => drop(answer.send(kept.take())),
                Order::Receive(_, ReceiveOrder::Key(key)) => kept.as_mut().unwrap().set_key(key, 1),
                _ => {}
            }
        }
    }

    fn open_shared() -> Message {
        let (hosts, only_from) = (vec![Addr::v4(0x7f00_0001, 0)], Vec::new());
        let (receive_buffer, send_buffer) = (1 << 16, 1 << 16);
        Message::OpenShared { request: 1, port: 5, number: 0, receive_buffer, send_buffer, hosts, only_from, dscp: 0 }
    }

    #[test]
    fn the_context_moves_to_the_thread_of_the_pair_that_was_selected() {
        let (tell, told) = channel();
        let threads = (0..2).map(|thread| {
            let Made { handle, counters, orders, .. } = Made::new().unwrap();
            let tell = tell.clone();
            std::thread::spawn(move || keep(thread, &orders, &tell));
            (handle, counters)
        });
        let mut registry = Registry::new(threads.collect(), 7);
        registry.apply(open_shared(), 1);
        registry.apply(Message::OpenFlow { flow: 1, port: 5, config: Config::default() }, 1);
        assert_eq!(told.recv(), Ok((0, false)));
        let material = Secret([1; 28].into());
        registry.apply(Message::SetReceiveKey { flow: 1, suite: Suite::Gcm128, material, mki: [].into() }, 1);
        let (before, after) = (Addr::v4(1, 1), Addr::v4(2, 2));
        registry.apply(Message::AdmitPair { flow: 1, path: path(5, 0, 0), source: before }, 1);
        registry.apply(Message::Select { flow: 1, path: path(5, 0, 0), source: before }, 1);
        registry.apply(Message::AdmitPair { flow: 1, path: path(5, 1, 0), source: after }, 1);
        assert_eq!(registry.flows[&1].receive_thread, 0);
        registry.apply(Message::Select { flow: 1, path: path(5, 1, 0), source: after }, 1);
        assert_eq!(registry.flows[&1].receive_thread, 1);
        assert_eq!(told.recv_timeout(std::time::Duration::from_secs(30)), Ok((1, true)));
    }

    #[test]
    fn a_flow_has_so_many_pairs_and_room_again_where_one_goes() {
        let thread = Made::new().unwrap();
        let mut registry = Registry::new(vec![(thread.handle.clone(), thread.counters)], 7);
        registry.apply(open_shared(), 1);
        let (path, last) = (path(5, 0, 0), MAX_PAIRS as u32);
        registry.apply(Message::OpenFlow { flow: 1, port: 5, config: Config::default() }, 1);
        let mut admit = |number| {
            let source = Addr::v4(number, 1);
            registry.apply(Message::AdmitPair { flow: 1, path, source }, 1);
            registry.flows[&1].pairs.contains_key(&(path, source))
        };
        assert!((0..last).all(&mut admit));
        assert!(!admit(last) && admit(0));
        registry.apply(Message::RemovePair { flow: 1, path, source: Addr::v4(0, 1) }, 1);
        registry.apply(Message::AdmitPair { flow: 1, path, source: Addr::v4(last, 1) }, 1);
        assert!(registry.flows[&1].pairs.contains_key(&(path, Addr::v4(last, 1))));
        assert_eq!(registry.flows[&1].pairs.len(), MAX_PAIRS);
    }

    #[test]
    fn reports_leave_by_the_socket_of_rtp_only_where_both_share_one() {
        for mux in [false, true] {
            let thread = Made::new().unwrap();
            let mut registry = Registry::new(vec![(thread.handle.clone(), thread.counters)], 7);
            let host = Addr::v4(0x7f00_0001, 0);
            registry.apply(Message::OpenPair { request: 1, port: 5, host, dscp: 0 }, 1);
            let config = Config { mux, ..Config::default() };
            registry.apply(Message::OpenFlow { flow: 1, port: 5, config }, 1);
            let (rtp, rtcp) = (Some(host.with_port(4000)), Some(host.with_port(4001)));
            registry.apply(Message::SetDestination { flow: 1, rtp, rtcp }, 1);
            let ways = thread.orders.try_iter().filter_map(|order| match order {
                Order::Send(1, SendOrder::Ways { rtcp, .. }) => rtcp,
                _ => None,
            });
            assert_eq!(matches!(ways.last().unwrap().lane, Lane::Rtp), mux);
        }
    }

    /// What a thread does that keeps what one flow is to send: it tells which flows are to send SRTP only.
    fn keep_send(orders: &Receiver<Order>, told: &Sender<(u32, bool)>) {
        let mut kept = None;
        while let Ok(order) = orders.recv() {
            match order {
                Order::PutSend(half) => kept = Some(half),
                Order::TakeSend(_, answer) => drop(answer.send(kept.take())),
                Order::Send(flow, SendOrder::Secure(value)) => drop(told.send((flow, value))),
                _ => {}
            }
        }
    }

    #[test]
    fn flows_of_one_transport_are_all_told_whether_it_is_secure() {
        let (tell, told) = channel();
        let Made { handle, counters, orders, .. } = Made::new().unwrap();
        std::thread::spawn(move || keep_send(&orders, &tell));
        let mut registry = Registry::new(vec![(handle, counters)], 7);
        registry.apply(open_shared(), 1);
        registry.apply(Message::OpenFlow { flow: 1, port: 5, config: Config::default() }, 1);
        registry.apply(Message::OpenBundled { flow: 2, carrier: 1 }, 1);
        registry.apply(Message::ConfigureFlow { flow: 1, config: Config { secure: true, ..Config::default() } }, 1);
        drop(registry);
        assert_eq!(told.iter().collect::<Vec<_>>(), [(1, true), (2, true)]);
    }
}
