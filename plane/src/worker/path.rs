//! The packet path: what becomes of one authentic RTP packet in the clear.

use super::feeding::feed;
use super::outbox::Outbox;
use super::table::Table;
use super::Up;
use super::Uplink;
use crate::counters::{Discard, Unsent};
use crate::flow::{Action, Receive, Route, Send};
use crate::inbound::Verdict;
use crate::limits::PER_FLOW;
use crate::outgoing::MARKER;
use crate::rtp::{self, Header, HEADER};
use crate::wire::up;

/// Octets of a telephone-event, and the codes of digits (RFC 4733 sections 2.3 and 3.2).
const EVENT: usize = 4;
const DIGITS: u8 = 16;

/// Take one packet of the flow in `slot`, or of one that shares its transport.
pub(super) fn rtp_in(
    table: &mut Table,
    outbox: &mut Outbox,
    uplink: &mut Uplink,
    slot: usize,
    packet: &[u8],
    now: u64,
) {
    let bounds = if packet[0] == 0x80 { Some((HEADER, packet.len())) } else { rtp::payload(packet) };
    let (Some((start, end)), Some(mut header)) = (bounds, Header::read(packet)) else {
        if let Some(Some(receive)) = table.receives.get(slot) {
            receive.discard(Discard::Malformed);
        }
        return;
    };
    if packet[0] & 0x10 != 0 {
        table.note_arrival(slot, packet, header.ssrc, now);
    }
    let slot = table.bundled_slot(slot, packet[1] & 0x7f, now);
    let Some((receive, target)) = table.both(slot) else { return };
    let counters = &receive.counters.received;
    counters.heard.set(now);
    receive.packets += 1;
    receive.octets += packet.len() as u64;
    if receive.orientation != 0 {
        header.turned = turned(packet, receive.orientation);
    }
    let mut route = receive.routes[usize::from(header.payload_type())];
    if route.action == Action::Copy && route.rate_in == 0 && !is_digit(&packet[start..end]) {
        route.action = Action::Drop;
    }
    if route.action == Action::None {
        receive.discard(Discard::NoRoute);
        if let Some((send, _)) = target {
            skip(send);
        }
        return;
    }
    if route.action == Action::Unwrap {
        return unwrap(table, outbox, uplink, slot, &header, &packet[start..end], &route, now);
    }
    let Some(began) = admitted(receive, uplink, &header, packet.len(), &route, now) else { return };
    if !receive.feeds.is_empty() {
        feed(table, outbox, uplink, slot, &header, &packet[start..end], began, now);
    }
    let Some((receive, target)) = table.both(slot) else { return };
    let Some((send, at)) = target else {
        return punt_media(receive, uplink, &header, &packet[start..end], &route, now);
    };
    if began {
        refresh(send);
        receive.transcoding.rest_all_but(None);
    }
    if route.rate_in != 0 && receive.media != header.payload_type() {
        receive.media = header.payload_type();
        receive.transcoding.rest_all_but(Some(receive.media));
        if let Some(outgoing) = &mut send.outgoing {
            // A transcoder's frames are numbered by the outgoing clock already.
            let made_here = route.action == Action::Transcode;
            outgoing.set_rates(if made_here { route.rate_out } else { route.rate_in }, route.rate_out);
        }
    }
    if route.action == Action::Transcode {
        receive.transcoding.push(&header, route.rate_in != 0, &packet[start..end], now);
        let (flow, due) = (receive.flow, receive.transcoding.schedule());
        if let Some(due) = due {
            table.expect_frame(due, flow);
        }
        return;
    }
    punt_media(receive, uplink, &header, &packet[start..end], &route, now);
    match route.action {
        Action::Forward | Action::Copy => {}
        Action::Drop => return skip(send),
        _ => return,
    }
    let highest = receive.inbound.highest;
    let full = outbox.must_flush(send);
    if full {
        outbox.flush(table);
        return forward_again(table, outbox, slot, &header, &packet[start..end], &route, now);
    }
    uplink.counters.forwarded.add(1);
    let second = route.payload_type | header.second & MARKER;
    place(outbox, send, at, second, &header, highest, &packet[start..end], now);
}

/// How the picture lies that a packet is of, where it says so by the extension of that identifier.
fn turned(packet: &[u8], identifier: u8) -> Option<u8> {
    match rtp::extension(packet, identifier)? {
        [turned] => Some(*turned),
        _ => None,
    }
}

/// Whether a telephone-event is a digit; other events are for nobody here (RFC 4733 section 3).
fn is_digit(payload: &[u8]) -> bool {
    payload.len() >= EVENT && payload[0] < DIGITS
}

/// The rest of the packet path where the queue had to be emptied first.
fn forward_again(
    table: &mut Table,
    outbox: &mut Outbox,
    slot: usize,
    header: &Header,
    payload: &[u8],
    route: &Route,
    now: u64,
) {
    if let Some((receive, Some((send, at)))) = table.both(slot) {
        let second = route.payload_type | header.second & MARKER;
        place(outbox, send, at, second, header, receive.inbound.highest, payload, now);
    }
}

#[allow(clippy::too_many_arguments)]
/// Forward what a retransmission repeats, in its place: its number is before its payload (RFC 4588 section 4).
fn unwrap(
    table: &mut Table,
    outbox: &mut Outbox,
    uplink: &mut Uplink,
    slot: usize,
    header: &Header,
    payload: &[u8],
    route: &Route,
    now: u64,
) {
    if let Some((_, Some((send, _)))) = table.both(slot) {
        if outbox.must_flush(send) {
            outbox.flush(table);
        }
    }
    let Some((receive, _)) = table.both(slot) else { return };
    // Without more than a number it is padding, by which a sender tries what the network bears.
    let Some((number, payload)) = payload.split_first_chunk::<2>().filter(|(_, rest)| !rest.is_empty()) else { return };
    let sequence_number = u16::from_be_bytes(*number);
    if !receive.inbound.fill(sequence_number) {
        return;
    }
    let header = Header { sequence_number, ..*header };
    if !receive.feeds.is_empty() {
        feed(table, outbox, uplink, slot, &header, payload, false, now);
    }
    let Some((receive, target)) = table.both(slot) else { return };
    let Some((send, at)) = target.filter(|(send, _)| send.passes() && send.ready()) else { return };
    let second = route.payload_type | header.second & MARKER;
    place(outbox, send, at, second, &header, receive.inbound.highest, payload, now);
}

/// Appendix A.1, told to the gateway where a run begins; None: the packet does not count.
fn admitted(
    receive: &mut Receive,
    uplink: &mut Uplink,
    header: &Header,
    size: usize,
    route: &Route,
    now: u64,
) -> Option<bool> {
    let inbound = &mut receive.inbound;
    let verdict = inbound.admit(header.ssrc, header.sequence_number, header.timestamp, size, route.rate_in, now);
    if verdict == Verdict::Refused {
        receive.discard(Discard::Misordered);
        return None;
    }
    let began = verdict == Verdict::NewRun;
    if began {
        let generation = inbound.generation;
        uplink.tell(Up::Frame(up::run_began(receive.flow, header.ssrc, generation, now)));
    }
    Some(began)
}

fn punt_media(receive: &mut Receive, uplink: &mut Uplink, header: &Header, payload: &[u8], route: &Route, now: u64) {
    if matches!(route.action, Action::Punt | Action::Copy) && receive.punts.take(PER_FLOW, now) {
        let inbound = &receive.inbound;
        let in_order = inbound.highest == header.sequence_number;
        uplink.punt(up::media(receive.flow, header, in_order, inbound.generation, now, payload));
    }
}

fn skip(send: &mut Send) {
    if let Some(outgoing) = &mut send.outgoing {
        outgoing.skip();
    }
}

pub(super) fn refresh(send: &mut Send) {
    if let Some(outgoing) = &mut send.outgoing {
        outgoing.refresh();
    }
}

/// Send a packet in the place of an incoming one.
#[allow(clippy::too_many_arguments)]
pub(super) fn place(
    outbox: &mut Outbox,
    send: &mut Send,
    slot: usize,
    second: u8,
    header: &Header,
    highest: u16,
    payload: &[u8],
    now: u64,
) {
    let (ready, passes) = (send.ready(), send.passes());
    let probes = payload.is_empty() && send.sockets.is_some();
    let Some(outgoing) = &mut send.outgoing else { return };
    // Padding alone, by which a browser tries what the network bears, is for no phone.
    if !passes || !ready || probes {
        outgoing.skip();
        if !ready {
            send.unsent(Unsent::NotReady);
        }
        return;
    }
    match outgoing.place(second, header.sequence_number, header.timestamp, highest, now) {
        Some(out) => {
            outbox.send_rtp(send, slot, &Header { turned: header.turned, ..out }, payload);
        }
        None => send.unsent(Unsent::Late),
    }
}
