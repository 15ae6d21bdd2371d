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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Addr;
    use crate::flow::Config;
    use crate::wire::down::Message;
    use crate::worker::{Made, Order};
    use std::sync::mpsc::Receiver;

    const STREAM: u32 = 4;

    /// Flows 1 to 4, and what their thread is told from now on.
    fn registry() -> (Registry, Receiver<Order>) {
        let Made { handle, counters, orders, .. } = Made::new().unwrap();
        let mut registry = Registry::new(vec![(handle, counters)], 1);
        for flow in 1..=STREAM {
            let host = Addr::v4(0x7f00_0001, 0);
            registry.apply(Message::OpenPair { request: 1, port: flow, host, dscp: 0 }, 1);
            registry.apply(Message::OpenFlow { flow, port: flow, config: Config::default() }, 1);
        }
        orders.try_iter().for_each(drop);
        (registry, orders)
    }

    fn feed(registry: &mut Registry, source: u32) -> Option<()> {
        registry.feed(STREAM, Some(source), Box::new([None; 128]))
    }

    /// Who is told what of the stream.
    fn told(orders: &Receiver<Order>) -> Vec<(u32, &'static str)> {
        let said = |order| match order {
            Order::Receive(flow, ReceiveOrder::Feed { target: STREAM, types: Some(_) }) => Some((flow, "feed")),
            Order::Receive(flow, ReceiveOrder::Feed { target: STREAM, types: None }) => Some((flow, "end")),
            Order::Receive(flow, ReceiveOrder::Begin { target: STREAM }) => Some((flow, "begin")),
            _ => None,
        };
        orders.try_iter().filter_map(said).collect()
    }

    #[test]
    fn the_key_frame_of_who_was_taken_back_begins_nothing() {
        let (mut registry, orders) = registry();
        feed(&mut registry, 1).unwrap();
        registry.begin_feed(STREAM, 1).unwrap();
        feed(&mut registry, 2).unwrap();
        feed(&mut registry, 1).unwrap();
        assert_eq!(told(&orders), [(1, "feed"), (1, "begin"), (2, "feed"), (2, "end"), (1, "feed")]);
        assert_eq!(registry.begin_feed(STREAM, 2), None);
        assert_eq!(told(&orders), []);
        assert_eq!(registry.flows[&STREAM].fed_by, Some(1));
    }

    #[test]
    fn who_was_to_come_is_ended_where_another_is_to() {
        let (mut registry, orders) = registry();
        feed(&mut registry, 1).unwrap();
        registry.begin_feed(STREAM, 1).unwrap();
        feed(&mut registry, 2).unwrap();
        told(&orders);
        feed(&mut registry, 3).unwrap();
        assert_eq!(told(&orders), [(2, "end"), (3, "feed")]);
        assert_eq!([1, 2, 3].map(|source| registry.flows[&source].feeds.len()), [1, 0, 1]);
        registry.begin_feed(STREAM, 3).unwrap();
        assert_eq!(told(&orders), [(1, "end"), (3, "begin")]);
    }

    #[test]
    fn a_stream_that_is_gone_is_fed_by_nobody() {
        let (mut registry, orders) = registry();
        feed(&mut registry, 1).unwrap();
        registry.begin_feed(STREAM, 1).unwrap();
        feed(&mut registry, 2).unwrap();
        told(&orders);
        registry.close_flow(STREAM);
        assert_eq!(told(&orders), [(1, "end"), (2, "end")]);
        assert_eq!([1, 2].map(|source| registry.flows[&source].feeds.len()), [0, 0]);
    }

    #[test]
    fn who_feeds_as_many_as_it_may_feeds_no_more() {
        let (mut registry, orders) = registry();
        registry.flows.get_mut(&1).unwrap().feeds = vec![9; MAX_FEEDS];
        feed(&mut registry, 2).unwrap();
        assert_eq!(feed(&mut registry, 1), None);
        assert_eq!(told(&orders), [(2, "feed"), (2, "end")]);
        assert_eq!((registry.flows[&1].feeds.len(), registry.flows[&STREAM].fed_next), (MAX_FEEDS, None));
    }
}
