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
/// Flows that may share one transport beside its own.
const MAX_BUNDLED: usize = 8;
/// Sources that may be sent through one transport in its life: as many as its keys count for.
const MAX_SENT_SOURCES: usize = 32;

impl Flow {
    fn new(port: u32, config: Config, thread: usize, now: u64) -> Self {
        Self {
            port,
            config,
            counters: Arc::default(),
            receive_thread: thread,
            send_thread: thread,
            target: None,
            feeds: Vec::new(),
            fed_by: None,
            fed_next: None,
            source: None,
            named: None,
            description: 0,
            rtp: None,
            rtcp: None,
            selected: None,
            pairs: HashMap::new(),
            credentials: Arc::new([]),
            carrier: None,
            bundled: Vec::new(),
            sources: Vec::new(),
            watched_since: now,
            idle_told: 0,
        }
    }
}

impl Registry {
    /// Do what a message about a flow asks; None where it names nothing there is.
    pub(super) fn apply_to_flow(&mut self, message: Message, now: u64) -> Option<()> {
        match message {
            Message::OpenFlow { flow, port, config } => return self.open_flow(flow, port, config, now),
            Message::OpenBundled { flow, carrier } => return self.open_bundled(flow, carrier, now),
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
                for each in self.with_bundled(flow)? {
                    self.to_send(each, SendOrder::Key(srtp::Sender::new(suite, &material.0)))?;
                }
            }
            Message::SetRtcpKeys { flow, suite, receive, send } => {
                let receive = srtp::Receiver::new(suite, &receive.0)?;
                let send = srtp::Sender::new(suite, &send.0)?;
                self.to_receive(flow, ReceiveOrder::RtcpKey(Box::new(receive)))?;
                self.to_send(flow, SendOrder::RtcpKey(Box::new(send)))?;
            }
            Message::DropKeys { flow } => {
                self.to_receive(flow, ReceiveOrder::Key(None))?;
                for each in self.with_bundled(flow)? {
                    self.to_send(each, SendOrder::Key(None))?;
                }
            }
            Message::SetCredentials { flow, credentials } => self.set_credentials(flow, &credentials)?,
            Message::AdmitPair { flow, path, source } => self.admit_pair(flow, path, source)?,
            Message::RemovePair { flow, path, source } => self.remove_pair(flow, path, source)?,
            Message::Select { flow, path, source } => self.select(flow, path, source)?,
            Message::Expect { flow, named, description } => self.expect(flow, named, description)?,
            Message::AdmitSource { flow, source, data } => {
                self.to_receive(flow, ReceiveOrder::AdmitSource(source, data))?;
            }
            Message::SetDestination { flow, rtp, rtcp } => {
                let known = self.flows.get_mut(&flow)?;
                (known.rtp, known.rtcp) = (rtp, rtcp);
                self.to_receive(flow, ReceiveOrder::Rtcp(rtcp))?;
                self.update_ways(flow);
            }
            Message::Route { source, target, routes } => self.route(source, target, routes)?,
            Message::Feed { target, source, types } => self.feed(target, source, types)?,
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
            Message::StartStream { flow, ssrc, sequence_number, timestamp, clock_rate, ends_frames } => {
                self.claim(flow, ssrc)?;
                (flow, SendOrder::Start { ssrc, sequence_number, timestamp, clock_rate, ends_frames })
            }
            Message::Keep { flow, ssrc, kept } => {
                if kept.is_some() {
                    self.claim(flow, ssrc)?;
                }
                (flow, SendOrder::Keep(kept))
            }
            Message::Resend { flow, numbers } => (flow, SendOrder::Resend(numbers)),
            Message::SetOpen { flow, value } => (flow, SendOrder::Open(value)),
            Message::SetMuted { flow, value } => (flow, SendOrder::Muted(value)),
            Message::Inject { flow, second, advance, payload } => {
                (flow, SendOrder::Inject { second, payload, advance })
            }
            Message::SetSilence { flow, silence } => (flow, SendOrder::Silence(silence)),
            Message::SendRtcp { flow, packet } => {
                self.owns_report(flow, &packet)?;
                (flow, SendOrder::Rtcp(packet))
            }
            _ => return None,
        };
        self.to_send(flow, order)
    }

    pub(super) fn to_receive(&self, flow: u32, order: ReceiveOrder) -> Option<()> {
        let known = self.flows.get(&flow)?;
        self.order(known.receive_thread, Order::Receive(flow, order));
        Some(())
    }

    fn to_send(&self, flow: u32, order: SendOrder) -> Option<()> {
        let known = self.flows.get(&flow)?;
        self.order(known.send_thread, Order::Send(flow, order));
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
        let thread = self.choose_thread(flow);
        let known = Flow::new(port, config, thread, now);
        let receive = Receive::new(flow, config, sockets.clone(), Arc::clone(&known.counters));
        let send = Send::new(flow, config.secure, sockets, Arc::clone(&known.counters));
        self.flows.insert(flow, known);
        self.order(thread, Order::PutReceive(Box::new(receive)));
        self.order(thread, Order::PutSend(Box::new(send)));
        Some(())
    }

    /// A flow of the addresses and keys of another, which must be on a shared port.
    fn open_bundled(&mut self, flow: u32, carrier: u32, now: u64) -> Option<()> {
        let owner = self.flows.get(&carrier)?;
        let shared = matches!(self.ports.get(&owner.port), Some(Port::Shared(_)));
        if self.flows.contains_key(&flow) || owner.carrier.is_some() || !shared || owner.bundled.len() >= MAX_BUNDLED {
            return None;
        }
        let (port, receive_thread, send_thread) = (owner.port, owner.receive_thread, owner.send_thread);
        let config = Config { idle_after: 0, ..owner.config };
        let carrying = self.take_send(carrier, send_thread)?;
        let mut known = Flow::new(port, config, receive_thread, now);
        known.carrier = Some(carrier);
        let receive = Receive::new(flow, config, None, Arc::clone(&known.counters));
        let mut send = Send::new(flow, config.secure, None, Arc::clone(&known.counters));
        send.set_key(carrying.crypto.as_ref().and_then(srtp::Sender::of_same_key));
        self.order(send_thread, Order::PutSend(carrying));
        self.flows.insert(flow, known);
        self.flows.get_mut(&carrier)?.bundled.push(flow);
        self.order(receive_thread, Order::PutReceive(Box::new(receive)));
        self.order(receive_thread, Order::PutSend(Box::new(send)));
        self.update_ways(carrier);
        self.tell_bundled(carrier)
    }

    /// A flow and those that share its transport.
    fn with_bundled(&self, flow: u32) -> Option<Vec<u32>> {
        let known = self.flows.get(&flow)?;
        Some(std::iter::once(flow).chain(known.bundled.iter().copied()).collect())
    }

    fn tell_bundled(&self, carrier: u32) -> Option<()> {
        let bundled = self.flows.get(&carrier)?.bundled.as_slice().into();
        self.to_receive(carrier, ReceiveOrder::Bundled(bundled))
    }

    /// Let `flow` send as `ssrc`: under one key no two flows may, since each counts its own indices.
    fn claim(&mut self, flow: u32, ssrc: u32) -> Option<()> {
        let known = self.flows.get(&flow)?;
        if !matches!(self.ports.get(&known.port), Some(Port::Shared(_))) {
            return Some(());
        }
        let carrier = known.carrier.unwrap_or(flow);
        let sources = &mut self.flows.get_mut(&carrier)?.sources;
        match sources.iter().find(|(source, _)| *source == ssrc) {
            Some((_, owner)) => (*owner == flow).then_some(()),
            None if sources.len() >= MAX_SENT_SOURCES => None,
            None => {
                sources.push((ssrc, flow));
                Some(())
            }
        }
    }

    /// Where flows share a key, a report goes by the flow whose source it is of.
    fn owns_report(&self, flow: u32, packet: &[u8]) -> Option<()> {
        let known = self.flows.get(&flow)?;
        if known.carrier.is_none() && known.bundled.is_empty() {
            return Some(());
        }
        let ssrc = u32::from_be_bytes(*packet.get(4..)?.first_chunk()?);
        let carrier = self.flows.get(&known.carrier.unwrap_or(flow))?;
        carrier.sources.contains(&(ssrc, flow)).then_some(())
    }

    fn configure_flow(&mut self, flow: u32, config: Config, now: u64) -> Option<()> {
        let known = self.flows.get_mut(&flow)?;
        if known.config.idle_after != config.idle_after {
            known.watched_since = now;
        }
        known.config = config;
        self.to_receive(flow, ReceiveOrder::Configure(config))?;
        for each in self.with_bundled(flow)? {
            self.to_send(each, SendOrder::Secure(config.secure))?;
        }
        self.update_ways(flow);
        Some(())
    }

    pub(super) fn close_flow(&mut self, flow: u32) {
        let Some(known) = self.flows.remove(&flow) else { return };
        known.bundled.iter().for_each(|each| self.close_flow(*each));
        if let Some(carrier) = known.carrier {
            if let Some(owner) = self.flows.get_mut(&carrier) {
                owner.bundled.retain(|each| *each != flow);
            }
            self.tell_bundled(carrier);
        }
        for (path, source) in known.pairs.keys() {
            self.drop_pair(flow, *path, *source);
        }
        self.end_feeds(flow, &known);
        self.order(known.receive_thread, Order::Drop(flow));
        if known.send_thread != known.receive_thread {
            self.order(known.send_thread, Order::Drop(flow));
        }
        self.leaving.set(true);
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
        self.order(thread, Order::TakeReceive(flow, answer));
        self.wake();
        taken.recv().ok().flatten()
    }

    fn take_send(&self, flow: u32, thread: usize) -> Option<Box<Send>> {
        let (answer, taken) = channel();
        self.order(thread, Order::TakeSend(flow, answer));
        self.wake();
        taken.recv().ok().flatten()
    }

    /// Have `thread` own what the flow receives, and the stream that it feeds.
    fn move_receive(&mut self, flow: u32, thread: usize) -> Option<()> {
        let known = self.flows.get_mut(&flow)?;
        let (from, target) = (known.receive_thread, known.target);
        if from != thread {
            known.receive_thread = thread;
            let half = self.take_receive(flow, from)?;
            self.order(thread, Order::PutReceive(half));
            self.put_pairs(flow);
        }
        target.and_then(|target| self.move_send(target, thread));
        for fed in self.flows.get(&flow)?.feeds.clone() {
            if self.flows.get(&fed).is_some_and(|fed| fed.fed_by == Some(flow)) {
                self.move_send(fed, thread);
            }
        }
        for each in self.flows.get(&flow)?.bundled.clone() {
            self.move_receive(each, thread);
        }
        Some(())
    }

    pub(super) fn move_send(&mut self, flow: u32, thread: usize) -> Option<()> {
        let known = self.flows.get_mut(&flow)?;
        let from = known.send_thread;
        if from != thread {
            known.send_thread = thread;
            let half = self.take_send(flow, from)?;
            self.order(thread, Order::PutSend(half));
        }
        Some(())
    }

    fn route(&mut self, source: u32, target: Option<u32>, routes: Box<Routes>) -> Option<()> {
        let known = self.flows.get(&source)?;
        let (thread, before) = (known.receive_thread, known.target);
        if let Some(target) = target {
            self.flows.get(&target)?;
            self.unfeed(target, source);
            self.starve(target)?;
            self.move_send(target, thread)?;
            if before != Some(target) {
                self.to_send(target, SendOrder::Refresh)?;
            }
        }
        self.flows.get_mut(&source)?.target = target;
        self.to_receive(source, ReceiveOrder::Route { target, routes })
    }

    /// Nobody but `source` feeds `target` from now on.
    pub(super) fn unfeed(&mut self, target: u32, source: u32) {
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

    fn expect(&mut self, flow: u32, named: Option<Addr>, description: u32) -> Option<()> {
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
            self.order(parts(*path).1, Order::PutPair { number, source: *source, pair });
        }
    }

    fn drop_pair(&self, flow: u32, path: u64, source: Addr) {
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
