//! Streams that one flow feeds beside its target: many see one picture.

use super::{Flow, Registry};
use crate::flow::Fed;
use crate::worker::ReceiveOrder;

/// Streams that one flow may feed beside its target.
const MAX_FEEDS: usize = 1024;

impl Registry {
    /// Have what comes to `source` go out on the stream of `target` as well, from its next key frame on; None: no more.
    ///
    /// Who feeds the stream until then goes on.
    pub(super) fn feed(&mut self, target: u32, source: Option<u32>, types: Box<Fed>) -> Option<()> {
        let (fed_by, next) = self.flows.get(&target).map(|known| (known.fed_by, known.fed_next))?;
        let Some(known) = source.and_then(|source| self.flows.get_mut(&source)) else {
            self.starve(target)?;
            return source.is_none().then_some(());
        };
        if fed_by != source && next != source {
            if known.feeds.len() >= MAX_FEEDS {
                self.starve(target)?;
                return None;
            }
            known.feeds.push(target);
        }
        if let Some(other) = next.filter(|other| Some(*other) != source) {
            self.end_feed(target, other);
        }
        self.unfeed(target, target);
        self.flows.get_mut(&target)?.fed_next = source.filter(|_| fed_by != source);
        self.to_receive(source?, ReceiveOrder::Feed { target, types: Some(types) })
    }

    /// The key frame of `source` has come: it alone feeds the stream of `target`.
    pub fn begin_feed(&mut self, target: u32, source: u32) -> Option<()> {
        let thread = self.flows.get(&source)?.receive_thread;
        let known = self.flows.get_mut(&target)?;
        if known.fed_next == Some(source) {
            known.fed_next = None;
            if let Some(before) = known.fed_by.replace(source) {
                self.end_feed(target, before);
            }
        } else if known.fed_by != Some(source) {
            return None; // it is not wanted any more
        }
        self.move_send(target, thread)?;
        self.to_receive(source, ReceiveOrder::Begin { target })
    }

    /// Nobody feeds the stream of `target` beside another any more.
    pub(super) fn starve(&mut self, target: u32) -> Option<()> {
        let known = self.flows.get_mut(&target)?;
        for source in [known.fed_by.take(), known.fed_next.take()].into_iter().flatten() {
            self.end_feed(target, source);
        }
        Some(())
    }

    /// A flow is gone, with those whose streams it fed and with who fed its own.
    pub(super) fn end_feeds(&mut self, flow: u32, gone: &Flow) {
        for fed in &gone.feeds {
            if let Some(fed) = self.flows.get_mut(fed) {
                fed.fed_by = fed.fed_by.filter(|source| *source != flow);
                fed.fed_next = fed.fed_next.filter(|source| *source != flow);
            }
        }
        for source in [gone.fed_by, gone.fed_next].into_iter().flatten() {
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
