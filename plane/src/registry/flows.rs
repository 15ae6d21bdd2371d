//! What messages do to flows: which thread owns which half, and where its packets go.

use super::ports::parts;
use super::{Flow, Port, Registry};
use crate::addr::Addr;
use crate::flow::{Config, Lane, Pair, Receive, Routes, Send, Way};
use crate::srtp;
use crate::stun::Credential;
use crate::wire::down::{Message, Secret};
use crate::worker::{Order, ReceiveOrder, SendOrder};
use std::collections::HashMap;
use std::sync::mpsc::channel;
use std::sync::Arc;

/// Pairs a flow may have at a time.
const MAX_PAIRS: usize = 64;

impl Registry {
    /// Do what a message about a flow asks; None where it names nothing there is.
    pub(super) fn apply_to_flow(&mut self, message: Message, now: u64) -> Option<()> {
        match message {
            Message::OpenFlow { flow, port, config } => return self.open_flow(flow, port, config, now),
            Message::ConfigureFlow { flow, config } => self.configure_flow(flow, config, now)?,
            Message::CloseFlow { flow } => return self.flows.contains_key(&flow).then(|| self.close_flow(flow)),
            Message::SetReceiveKey { flow, suite, material, mki } => {
                let mut key = srtp::Receiver::new(suite, &material.0);
                if let Some(key) = &mut key {
                    key.set_mki(mki);
                }
                self.to_receive(flow, ReceiveOrder::Key(key))?;
            }
            Message::SetSendKey { flow, suite, material } => {
                self.to_send(flow, SendOrder::Key(srtp::Sender::new(suite, &material.0)))?;
            }
            Message::DropKeys { flow } => {
                self.to_receive(flow, ReceiveOrder::Key(None))?;
                self.to_send(flow, SendOrder::Key(None))?;
            }
            Message::SetCredentials { flow, credentials } => self.set_credentials(flow, &credentials)?,
            Message::AdmitPair { flow, path, source } => self.admit_pair(flow, path, source)?,
            Message::RemovePair { flow, path, source } => self.remove_pair(flow, path, source)?,
            Message::Select { flow, path, source } => self.select(flow, path, source)?,
            Message::Expect { flow, named } => self.expect(flow, named)?,
            Message::AdmitSource { flow, source, data } => {
                self.to_receive(flow, ReceiveOrder::AdmitSource(source, data))?;
            }
            Message::SetDestination { flow, rtp, rtcp } => {
                let known = self.flows.get_mut(&flow)?;
                (known.rtp, known.rtcp) = (rtp, rtcp);
                self.update_ways(flow);
            }
            Message::Route { source, target, routes } => self.route(source, target, routes)?,
            Message::Convert { flow, number, conversion } => {
                self.to_receive(flow, ReceiveOrder::Convert(number, conversion))?;
            }
            Message::Resync { flow, ssrc } => self.to_receive(flow, ReceiveOrder::Resync(ssrc))?,
            Message::Relay { source, relayed } => self.to_receive(source, ReceiveOrder::Relay(relayed))?,
            other => return self.apply_to_stream(other),
        }
        Some(())
    }

    fn apply_to_stream(&mut self, message: Message) -> Option<()> {
        let (flow, order) = match message {
            Message::StartStream { flow, ssrc, sequence_number, timestamp, clock_rate } => {
                (flow, SendOrder::Start { ssrc, sequence_number, timestamp, clock_rate })
            }
            Message::SetOpen { flow, value } => (flow, SendOrder::Open(value)),
            Message::SetMuted { flow, value } => (flow, SendOrder::Muted(value)),
            Message::Inject { flow, second, advance, payload } => {
                (flow, SendOrder::Inject { second, payload, advance })
            }
            Message::SetSilence { flow, silence } => (flow, SendOrder::Silence(silence)),
            Message::SendRtcp { flow, packet } => (flow, SendOrder::Rtcp(packet)),
            _ => return None,
        };
        self.to_send(flow, order)
    }

    fn to_receive(&self, flow: u32, order: ReceiveOrder) -> Option<()> {
        let known = self.flows.get(&flow)?;
        self.thread(known.receive_thread).send(Order::Receive(flow, order));
        Some(())
    }

    fn to_send(&self, flow: u32, order: SendOrder) -> Option<()> {
        let known = self.flows.get(&flow)?;
        self.thread(known.send_thread).send(Order::Send(flow, order));
        Some(())
    }

    fn open_flow(&mut self, flow: u32, port: u32, config: Config, now: u64) -> Option<()> {
        if self.flows.contains_key(&flow) {
            return None;
        }
        let sockets = match self.ports.get_mut(&port)? {
            Port::Shared(_) => None,
            Port::Pair { flow: Some(_), .. } => return None,
            Port::Pair { sockets, flow: owner, .. } => {
                *owner = Some(flow);
                Some(Arc::clone(sockets))
            }
        };
        let thread = self.choose_thread();
        let counters = Arc::default();
        let known = Flow {
            port,
            config,
            counters: Arc::clone(&counters),
            receive_thread: thread,
            send_thread: thread,
            target: None,
            source: None,
            named: None,
            rtp: None,
            rtcp: None,
            selected: None,
            pairs: HashMap::new(),
            credentials: Arc::new([]),
            watched_since: now,
            idle_told: 0,
        };
        self.flows.insert(flow, known);
        let receive = Receive::new(flow, config, sockets.clone(), Arc::clone(&counters));
        let send = Send::new(flow, config.secure, sockets, counters);
        self.thread(thread).send(Order::PutReceive(Box::new(receive)));
        self.thread(thread).send(Order::PutSend(Box::new(send)));
        Some(())
    }

    fn configure_flow(&mut self, flow: u32, config: Config, now: u64) -> Option<()> {
        let known = self.flows.get_mut(&flow)?;
        if known.config.idle_after != config.idle_after {
            known.watched_since = now;
        }
        known.config = config;
        self.to_receive(flow, ReceiveOrder::Configure(config))?;
        self.to_send(flow, SendOrder::Secure(config.secure))?;
        self.update_ways(flow);
        Some(())
    }

    pub(super) fn close_flow(&mut self, flow: u32) {
        let Some(known) = self.flows.remove(&flow) else { return };
        for (path, source) in known.pairs.keys() {
            self.drop_pair(flow, *path, *source);
        }
        drop(self.take_receive(flow, known.receive_thread));
        drop(self.take_send(flow, known.send_thread));
        if let Some(Port::Pair { flow: owner, .. }) = self.ports.get_mut(&known.port) {
            *owner = None;
        }
        for other in self.flows.values_mut() {
            if other.target == Some(flow) {
                other.target = None;
            }
        }
    }

    fn take_receive(&self, flow: u32, thread: usize) -> Option<Box<Receive>> {
        let (answer, taken) = channel();
        self.thread(thread).send(Order::TakeReceive(flow, answer));
        taken.recv().ok().flatten()
    }

    fn take_send(&self, flow: u32, thread: usize) -> Option<Box<Send>> {
        let (answer, taken) = channel();
        self.thread(thread).send(Order::TakeSend(flow, answer));
        taken.recv().ok().flatten()
    }

    /// Have `thread` own what the flow receives, and the stream that it feeds.
    fn move_receive(&mut self, flow: u32, thread: usize) -> Option<()> {
        let known = self.flows.get_mut(&flow)?;
        let (from, target) = (known.receive_thread, known.target);
        if from != thread {
            known.receive_thread = thread;
            let half = self.take_receive(flow, from)?;
            self.thread(thread).send(Order::PutReceive(half));
            self.put_pairs(flow);
        }
        target.and_then(|target| self.move_send(target, thread));
        Some(())
    }

    fn move_send(&mut self, flow: u32, thread: usize) -> Option<()> {
        let known = self.flows.get_mut(&flow)?;
        let from = known.send_thread;
        if from != thread {
            known.send_thread = thread;
            let half = self.take_send(flow, from)?;
            self.thread(thread).send(Order::PutSend(half));
        }
        Some(())
    }

    fn route(&mut self, source: u32, target: Option<u32>, routes: Box<Routes>) -> Option<()> {
        let known = self.flows.get(&source)?;
        let (thread, before) = (known.receive_thread, known.target);
        if let Some(target) = target {
            self.flows.get(&target)?;
            self.unfeed(target, source);
            self.move_send(target, thread)?;
            if before != Some(target) {
                self.to_send(target, SendOrder::Refresh)?;
            }
        }
        self.flows.get_mut(&source)?.target = target;
        self.to_receive(source, ReceiveOrder::Route { target, routes })
    }

    /// Nobody but `source` feeds `target` from now on.
    fn unfeed(&mut self, target: u32, source: u32) {
        let others: Vec<u32> = self
            .flows
            .iter()
            .filter(|(id, flow)| **id != source && flow.target == Some(target))
            .map(|(id, _)| *id)
            .collect();
        for other in others {
            if let Some(flow) = self.flows.get_mut(&other) {
                flow.target = None;
            }
            let routes = Box::new([crate::flow::Route::default(); 128]);
            self.to_receive(other, ReceiveOrder::Route { target: None, routes });
        }
    }

    // Addresses

    fn set_credentials(&mut self, flow: u32, credentials: &[(Box<[u8]>, Secret)]) -> Option<()> {
        let known = self.flows.get_mut(&flow)?;
        known.credentials =
            credentials.iter().filter_map(|(ufrag, password)| Credential::new(ufrag, &password.0)).collect();
        self.put_pairs(flow);
        Some(())
    }

    fn admit_pair(&mut self, flow: u32, path: u64, source: Addr) -> Option<()> {
        self.shared_number(path)?;
        let known = self.flows.get_mut(&flow)?;
        if known.pairs.len() >= MAX_PAIRS && !known.pairs.contains_key(&(path, source)) {
            return None;
        }
        let count = Arc::clone(known.pairs.entry((path, source)).or_default());
        count.set(crate::sys::now());
        if known.selected.is_none() {
            self.move_receive(flow, parts(path).1)?;
        }
        self.put_pairs(flow);
        Some(())
    }

    fn remove_pair(&mut self, flow: u32, path: u64, source: Addr) -> Option<()> {
        let known = self.flows.get_mut(&flow)?;
        known.pairs.remove(&(path, source))?;
        if known.selected == Some((path, source)) {
            known.selected = None;
            self.update_ways(flow);
        }
        self.drop_pair(flow, path, source);
        Some(())
    }

    fn select(&mut self, flow: u32, path: u64, source: Addr) -> Option<()> {
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

    fn expect(&mut self, flow: u32, named: Option<Addr>) -> Option<()> {
        let known = self.flows.get_mut(&flow)?;
        if known.named != named {
            known.named = named;
            known.source = None;
        }
        self.to_receive(flow, ReceiveOrder::Expect(named))?;
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
    fn put_pairs(&self, flow: u32) {
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
            self.thread(parts(*path).1).send(Order::PutPair { number, source: *source, pair });
        }
    }

    fn drop_pair(&self, flow: u32, path: u64, source: Addr) {
        if let Some(number) = self.shared_number(path) {
            self.thread(parts(path).1).send(Order::DropPair { number, source, flow });
        }
    }

    /// Where RTP of the flow goes.
    pub(super) fn destination(&self, flow: &Flow) -> Option<Addr> {
        match self.ports.get(&flow.port)? {
            Port::Shared(_) => flow.selected.map(|(_, source)| source),
            Port::Pair { .. } => flow.source.or(flow.rtp),
        }
    }

    /// Tell the send half where its packets go.
    pub(super) fn update_ways(&self, flow: u32) {
        let Some(known) = self.flows.get(&flow) else { return };
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
        self.to_send(flow, SendOrder::Ways { rtp, rtcp });
    }
}
