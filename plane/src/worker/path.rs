//! The packet path: what becomes of one authentic RTP packet in the clear.

use super::feeding::feed;
use super::outbox::Outbox;
use super::table::Table;
use super::Up;
use super::Uplink;
use crate::counters::{Discard, Unsent};
use crate::event::{self, Said};
use crate::flow::{Action, Receive, Route, Send};
use crate::inbound::Verdict;
use crate::limits::PER_FLOW;
use crate::outgoing::MARKER;
use crate::rtp::{self, Header, HEADER};
use crate::wire::up;

/// A packet that came: well-formed and in the clear.
struct Came<'a> {
    header: Header,
    payload: &'a [u8],
    /// Octets with the header.
    size: usize,
    route: Route,
}

impl Came<'_> {
    /// Whether it belongs to a telephone-event, which is forwarded and copied and has no clock of its own.
    fn is_event(&self) -> bool {
        self.route.action == Action::Copy && self.route.rate_in == 0
    }

    fn passing(&self, highest: u16) -> Passing<'_> {
        let header = Header { second: self.route.payload_type | self.header.second & MARKER, ..self.header };
        Passing { header, highest, payload: self.payload, is_event: self.is_event() }
    }
}

/// A packet that goes out in the place of an incoming one.
pub(super) struct Passing<'a> {
    /// With the outgoing payload type.
    pub header: Header,
    /// Newest incoming sequence number.
    pub highest: u16,
    pub payload: &'a [u8],
    pub is_event: bool,
}

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
    let Some(Some(receive)) = table.receives.get_mut(slot) else { return };
    receive.counters.received.heard.set(now);
    receive.packets += 1;
    receive.octets += packet.len() as u64;
    if receive.orientation != 0 {
        header.turned = turned(packet, receive.orientation);
    }
    let route = receive.routes[usize::from(header.payload_type())];
    let mut came = Came { header, payload: &packet[start..end], size: packet.len(), route };
    if came.is_event() && !event::is_digit(came.payload) {
        came.route.action = Action::Drop;
    }
    match route.action {
        Action::None => refuse(table, slot),
        Action::Unwrap => unwrap(table, outbox, uplink, slot, &came, now),
        _ => take(table, outbox, uplink, slot, &came, now),
    }
}

/// Count a packet that nobody expects; it leaves no gap.
fn refuse(table: &mut Table, slot: usize) {
    let Some((receive, target)) = table.both(slot) else { return };
    receive.discard(Discard::NoRoute);
    if let Some((send, _)) = target {
        skip(send);
    }
}

/// Take a packet of the flow's own stream.
fn take(table: &mut Table, outbox: &mut Outbox, uplink: &mut Uplink, slot: usize, came: &Came<'_>, now: u64) {
    let (header, route) = (&came.header, &came.route);
    let Some(Some(receive)) = table.receives.get_mut(slot) else { return };
    let Some(began) = admitted(receive, uplink, header, came.size, route, now) else { return };
    if !receive.feeds.is_empty() {
        feed(table, outbox, uplink, slot, header, came.payload, began, now);
    }
    let Some((receive, target)) = table.both(slot) else { return };
    let Some((send, at)) = target else { return punt_media(receive, uplink, header, came.payload, route, now) };
    if began {
        refresh(send);
        receive.transcoding.rest_all_but(None);
    }
    if route.rate_in != 0 {
        follow(receive, send, header, route, now);
    }
    if route.action == Action::Transcode {
        receive.transcoding.push(header, route.rate_in != 0, came.payload, now);
        let (flow, due) = (receive.flow, receive.transcoding.schedule());
        if let Some(due) = due {
            table.expect_frame(due, flow);
        }
        return;
    }
    punt_media(receive, uplink, header, came.payload, route, now);
    match route.action {
        Action::Forward | Action::Copy => {}
        Action::Drop => return skip(send),
        _ => return,
    }
    uplink.counters.forwarded.add(1);
    let passing = came.passing(receive.inbound.highest);
    if outbox.must_flush(send) {
        outbox.flush(table);
        let Some((_, Some((send, at)))) = table.both(slot) else { return };
        return place(outbox, send, at, &passing, now);
    }
    place(outbox, send, at, &passing, now);
}

/// Let the stream follow the clock of the audio that comes.
fn follow(receive: &mut Receive, send: &mut Send, header: &Header, route: &Route, now: u64) {
    let another = receive.media != header.payload_type();
    if another {
        receive.media = header.payload_type();
        receive.transcoding.rest_all_but(Some(receive.media));
    }
    // A transcoder's frames are numbered by the outgoing clock already.
    let made_here = route.action == Action::Transcode;
    let Some(outgoing) = &mut send.outgoing else { return };
    if another {
        outgoing.set_rates(if made_here { route.rate_out } else { route.rate_in }, route.rate_out);
    }
    if made_here || route.action == Action::Punt {
        outgoing.hear_audio(now);
    }
}

/// How the picture lies that a packet is of, where it says so by the extension of that identifier.
fn turned(packet: &[u8], identifier: u8) -> Option<u8> {
    match rtp::extension(packet, identifier)? {
        [turned] => Some(*turned),
        _ => None,
    }
}

/// Forward what a retransmission repeats, in its place: its number is before its payload (RFC 4588 section 4).
fn unwrap(table: &mut Table, outbox: &mut Outbox, uplink: &mut Uplink, slot: usize, came: &Came<'_>, now: u64) {
    if let Some((_, Some((send, _)))) = table.both(slot) {
        if outbox.must_flush(send) {
            outbox.flush(table);
        }
    }
    let Some((receive, _)) = table.both(slot) else { return };
    // Without more than a number it is padding, by which a sender tries what the network bears.
    let split = came.payload.split_first_chunk::<2>();
    let Some((number, payload)) = split.filter(|(_, rest)| !rest.is_empty()) else { return };
    let sequence_number = u16::from_be_bytes(*number);
    if !receive.inbound.fill(sequence_number) {
        return;
    }
    let came = Came { header: Header { sequence_number, ..came.header }, payload, size: came.size, route: came.route };
    if !receive.feeds.is_empty() {
        feed(table, outbox, uplink, slot, &came.header, payload, false, now);
    }
    let Some((receive, target)) = table.both(slot) else { return };
    let Some((send, at)) = target.filter(|(send, _)| send.passes() && send.ready()) else { return };
    place(outbox, send, at, &came.passing(receive.inbound.highest), now);
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
pub(super) fn place(outbox: &mut Outbox, send: &mut Send, slot: usize, packet: &Passing<'_>, now: u64) {
    let &Passing { header, highest, payload, is_event } = packet;
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
    let placed = match Said::read(payload).filter(|_| is_event) {
        Some(said) => outgoing.place_event(&header, highest, said, now),
        None => outgoing.place(header.second, header.sequence_number, header.timestamp, highest, now),
    };
    match placed {
        Some(out) => {
            outbox.send_rtp(send, slot, &Header { turned: header.turned, ..out }, payload);
        }
        None => send.unsent(Unsent::Late),
    }
}
