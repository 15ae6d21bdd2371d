//! Streams that are fed with what one flow receives: many see one picture, each from a key frame on.

use super::outbox::Outbox;
use super::path::{place, refresh, Passing};
use super::table::Table;
use super::{Up, Uplink};
use crate::flow::{Fed, Feed, Held, Receive, Stage};
use crate::outgoing::MARKER;
use crate::rtp::Header;
use crate::wire::up;

/// Packets that may wait for their stream: of more the key frame is lost, and another one begins.
pub(super) const MOST_HELD: usize = 128;

/// Begin or end to feed a stream; what it is fed with already goes on.
pub(super) fn obey(receive: &mut Receive, uplink: &mut Uplink, target: u32, types: Option<Box<Fed>>, now: u64) {
    let known = receive.feeds.iter().find(|feed| feed.target == target);
    if known.is_some_and(|feed| matches!(feed.stage, Stage::Flows) && Some(&feed.types) == types.as_ref()) {
        return uplink.tell(Up::Frame(up::fed(target, receive.flow, now)));
    }
    receive.feeds.retain(|feed| feed.target != target);
    receive.feeds.extend(types.map(|types| Feed { target, slot: usize::MAX, types, stage: Stage::Waits }));
}

/// Send a packet of the flow in `slot` to all that it feeds; `began`: it is the first of a run.
#[allow(clippy::too_many_arguments)]
pub(super) fn feed(
    table: &mut Table,
    outbox: &mut Outbox,
    uplink: &mut Uplink,
    slot: usize,
    header: &Header,
    payload: &[u8],
    began: bool,
    now: u64,
) {
    let Some(Some(receive)) = table.receives.get_mut(slot) else { return };
    let (source, highest) = (receive.flow, receive.inbound.highest);
    let mut feeds = std::mem::take(&mut receive.feeds);
    for feed in &mut feeds {
        let Some((payload_type, format)) = feed.types[usize::from(header.payload_type())] else { continue };
        let header = Header { second: payload_type | header.second & MARKER, ..*header };
        match &mut feed.stage {
            Stage::Flows => send_on(table, outbox, uplink, feed, &header, highest, payload, began, now),
            Stage::Begins(held) if !began && held.len() < MOST_HELD => {
                held.push(Held { header, highest, payload: payload.into() });
            }
            stage if format.begins(payload) => {
                *stage = Stage::Begins(vec![Held { header, highest, payload: payload.into() }]);
                uplink.tell(Up::Begins { target: feed.target, source });
            }
            stage => *stage = Stage::Waits,
        }
    }
    if let Some(Some(receive)) = table.receives.get_mut(slot) {
        receive.feeds = feeds;
    }
}

/// The stream of `target` is with this thread, and nobody else feeds it: send what waited for that.
pub(super) fn begin(table: &mut Table, outbox: &mut Outbox, uplink: &mut Uplink, slot: usize, target: u32, now: u64) {
    let Some(Some(receive)) = table.receives.get_mut(slot) else { return };
    let source = receive.flow;
    let mut feeds = std::mem::take(&mut receive.feeds);
    for feed in feeds.iter_mut().filter(|feed| feed.target == target) {
        if !matches!(feed.stage, Stage::Begins(_)) {
            continue;
        }
        let Stage::Begins(held) = std::mem::replace(&mut feed.stage, Stage::Flows) else { continue };
        uplink.tell(Up::Frame(up::fed(target, source, now)));
        for (index, Held { header, highest, payload }) in held.iter().enumerate() {
            send_on(table, outbox, uplink, feed, header, *highest, payload, index == 0, now);
        }
    }
    if let Some(Some(receive)) = table.receives.get_mut(slot) {
        receive.feeds = feeds;
    }
}

/// Send a packet on the stream that is fed; `began`: what comes has nothing to do with what came before.
#[allow(clippy::too_many_arguments)]
fn send_on(
    table: &mut Table,
    outbox: &mut Outbox,
    uplink: &mut Uplink,
    feed: &mut Feed,
    header: &Header,
    highest: u16,
    payload: &[u8],
    began: bool,
    now: u64,
) {
    let Some((send, at)) = table.still_send(feed.target, feed.slot) else { return };
    feed.slot = at;
    if began {
        refresh(send);
    }
    if outbox.must_flush(send) {
        outbox.flush(table);
    }
    let Some((send, at)) = table.still_send(feed.target, at) else { return };
    uplink.counters.forwarded.add(1);
    place(outbox, send, at, &Passing { header: *header, highest, payload, is_event: false }, now);
}
