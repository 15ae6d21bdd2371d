//! Streams that are fed with what one flow receives: many see one picture, each from a key frame on.

use super::outbox::Outbox;
use super::path::{place, refresh};
use super::table::Table;
use super::{Up, Uplink};
use crate::flow::{Fed, Feed, Receive};
use crate::outgoing::MARKER;
use crate::rtp::Header;
use crate::wire::up;

/// Begin or end to feed a stream.
pub(super) fn obey(receive: &mut Receive, target: u32, types: Option<Box<Fed>>) {
    receive.feeds.retain(|feed| feed.target != target);
    receive.feeds.extend(types.map(|types| Feed { target, slot: usize::MAX, types, waits: true }));
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
        let begins = feed.waits && format.begins(payload);
        if feed.waits && !begins {
            continue;
        }
        let Some((send, at)) = table.still_send(feed.target, feed.slot) else { continue };
        feed.slot = at;
        if begins {
            feed.waits = false;
            uplink.tell(Up::Frame(up::fed(feed.target, source, now)));
        }
        if begins || began {
            refresh(send);
        }
        if outbox.must_flush(send) {
            outbox.flush(table);
        }
        let Some((send, at)) = table.still_send(feed.target, at) else { continue };
        uplink.counters.forwarded.add(1);
        place(outbox, send, at, payload_type | header.second & MARKER, header, highest, payload, now);
    }
    if let Some(Some(receive)) = table.receives.get_mut(slot) {
        receive.feeds = feeds;
    }
}
