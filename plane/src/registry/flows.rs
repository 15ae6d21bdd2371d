//! What messages do to flows: which thread owns which half, and where its packets go.

use super::placing::TRANSCODED;
use super::{Flow, Port, Registry};
use crate::flow::{Action, Config, Receive, Routes, Send};
use crate::srtp;
use crate::wire::down::Message;
use crate::worker::{Order, ReceiveOrder, SendOrder};
use std::collections::HashMap;
use std::sync::mpsc::channel;
use std::sync::Arc;

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
            weight: 1,
            receive_thread: thread,
            send_thread: thread,
            target: None,
            routed_by: None,
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
            Message::CountArrivals { flow, counting } => self.count_arrivals(flow, counting)?,
            Message::CarryOrientation { flow, identifier } => {
                self.to_receive(flow, ReceiveOrder::Orientation(identifier))?;
                self.to_send(flow, SendOrder::Orientation(identifier))?;
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
            Message::Inject { flow, injected } => (flow, SendOrder::Inject(injected)),
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

    pub(super) fn to_send(&self, flow: u32, order: SendOrder) -> Option<()> {
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
        let thread = self.choose_thread();
        self.expect_load(thread, 1, 0);
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
        self.expect_load(receive_thread, known.weight, 0);
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
    pub(super) fn owns_report(&self, flow: u32, packet: &[u8]) -> Option<()> {
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
        (known.config, known.watched_since) = (config, now);
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
        self.expect_load(known.receive_thread, 0, known.weight);
        for (path, source) in known.pairs.keys() {
            self.let_go(source);
            self.release(flow, *path, *source);
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
        if let Some(target) = known.target.and_then(|target| self.flows.get_mut(&target)) {
            target.routed_by = target.routed_by.filter(|source| *source != flow);
        }
        if let Some(source) = known.routed_by.and_then(|source| self.flows.get_mut(&source)) {
            source.target = None;
        }
    }

    /// Have a flow count as so many for the thread that receives it.
    pub(super) fn weigh(&mut self, flow: u32, weight: u32) -> Option<()> {
        let known = self.flows.get_mut(&flow)?;
        let (thread, before) = (known.receive_thread, std::mem::replace(&mut known.weight, weight));
        self.expect_load(thread, weight, before);
        Some(())
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
    pub(super) fn move_receive(&mut self, flow: u32, thread: usize) -> Option<()> {
        let known = self.flows.get_mut(&flow)?;
        let (from, target, weight) = (known.receive_thread, known.target, known.weight);
        if from != thread {
            known.receive_thread = thread;
            self.expect_load(from, 0, weight);
            self.expect_load(thread, weight, 0);
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
        self.aim(source, target)?;
        let transcodes = routes.iter().any(|route| route.action == Action::Transcode);
        self.weigh(source, if transcodes { TRANSCODED } else { 1 })?;
        self.to_receive(source, ReceiveOrder::Route { target, routes })
    }

    /// Make `target`, which nobody else is routed to any more, the target of `source`.
    fn aim(&mut self, source: u32, target: Option<u32>) -> Option<()> {
        let before = std::mem::replace(&mut self.flows.get_mut(&source)?.target, target);
        if let Some(before) = before.and_then(|before| self.flows.get_mut(&before)) {
            before.routed_by = None;
        }
        if let Some(target) = target.and_then(|target| self.flows.get_mut(&target)) {
            target.routed_by = Some(source);
        }
        Some(())
    }

    /// Nobody but `source` feeds `target` from now on.
    pub(super) fn unfeed(&mut self, target: u32, source: u32) {
        let routed_by = self.flows.get(&target).and_then(|known| known.routed_by);
        if let Some(other) = routed_by.filter(|other| *other != source) {
            self.aim(other, None);
            let routes = Box::new([crate::flow::Route::default(); 128]);
            self.to_receive(other, ReceiveOrder::Route { target: None, routes });
        }
    }
}
