//! Streams that one flow feeds beside its target: many see one picture.

use super::{Flow, Registry};
use crate::flow::Fed;
use crate::worker::ReceiveOrder;

/// Streams that one flow may feed beside its target.
const MAX_FEEDS: usize = 1024;

impl Registry {
    /// Have what comes to `source` go out on the stream of `target` as well; None: no more.
    pub(super) fn feed(&mut self, target: u32, source: Option<u32>, types: Box<Fed>) -> Option<()> {
        self.starve(target)?;
        let Some(source) = source else { return Some(()) };
        let known = self.flows.get_mut(&source).filter(|known| known.feeds.len() < MAX_FEEDS)?;
        known.feeds.push(target);
        let thread = known.receive_thread;
        self.unfeed(target, target);
        self.flows.get_mut(&target)?.fed_by = Some(source);
        self.move_send(target, thread)?;
        self.to_receive(source, ReceiveOrder::Feed { target, types: Some(types) })
    }

    /// Nobody feeds the stream of `target` beside another any more.
    pub(super) fn starve(&mut self, target: u32) -> Option<()> {
        if let Some(source) = self.flows.get_mut(&target)?.fed_by.take() {
            self.end_feed(target, source);
        }
        Some(())
    }

    /// A flow is gone, with those whose streams it fed and with who fed its own.
    pub(super) fn end_feeds(&mut self, flow: u32, gone: &Flow) {
        for fed in &gone.feeds {
            if let Some(fed) = self.flows.get_mut(fed) {
                fed.fed_by = None;
            }
        }
        if let Some(source) = gone.fed_by {
            self.end_feed(flow, source);
        }
    }

    fn end_feed(&mut self, target: u32, source: u32) {
        if let Some(known) = self.flows.get_mut(&source) {
            known.feeds.retain(|each| *each != target);
            self.to_receive(source, ReceiveOrder::Feed { target, types: None });
        }
    }
}
