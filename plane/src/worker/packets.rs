//! What becomes of one datagram (RFC 7983, RFC 5761): forwarded, answered, punted or dropped and counted.

use super::outbox::Outbox;
use super::path::{place, refresh, rtp_in, Passing};
use super::table::Table;
use super::{Handle, Order, ReceiveOrder, Relayed, Shared, Up, Uplink};
use crate::addr::Addr;
use crate::counters::{Discard, Dropped};
use crate::flow::{Action, Lane, Pair, Receive, Way};
use crate::limits::{PER_FLOW, STRANGERS_PER_FLOW};
use crate::rtp::{self, Header, HEADER, LONGEST};
use crate::stun;
use crate::sys::{self, SLOT};
use crate::wire::up;
use std::os::fd::AsRawFd;

const SHORTEST: usize = 12;
const SHORTEST_RTCP: usize = 8;

/// The parts of a thread that a datagram of a shared port meets.
pub struct Here<'a> {
    pub table: &'a mut Table,
    pub outbox: &'a mut Outbox,
    pub uplink: &'a mut Uplink,
    pub others: &'a [Handle],
    pub now: u64,
}

impl Here<'_> {
    pub(super) fn take_shared(&mut self, shared: &mut Shared, number: usize, data: &mut [u8], source: Addr) {
        if !shared.only_from.is_empty() && !shared.only_from.contains(&source.with_port(0)) {
            return self.uplink.counters.count(Dropped::Foreign);
        }
        if data.len() < SHORTEST {
            let reason = if data.is_empty() { Dropped::Oversized } else { Dropped::Short };
            return self.uplink.counters.count(reason);
        }
        match data[0] {
            128..=191 => match shared.pairs.get(&source) {
                Some(pair) => self.take_media(pair, shared.path, data, source),
                None => self.uplink.counters.count(Dropped::UnprovedMedia),
            },
            0..=3 => self.take_stun(shared, number, data, source),
            20..=63 => match shared.pairs.get(&source) {
                Some(pair) => self.take_dtls(pair, shared.path, data, source),
                None => self.uplink.counters.count(Dropped::UnprovedDtls),
            },
            _ => self.uplink.counters.count(Dropped::UnknownProtocol),
        }
    }

    fn take_media(&mut self, pair: &Pair, path: u64, data: &mut [u8], source: Addr) {
        if pair.owner == self.uplink.thread {
            // The slot may be another flow's by now.
            if let Some(slot) = self.table.still_slot(pair.flow, pair.slot) {
                media_in(self.table, self.outbox, self.uplink, slot, path, data, source, self.now);
            }
        } else if let Some(owner) = self.others.get(pair.owner) {
            // Rare: a peer that changes its address while another thread still owns it.
            self.uplink.counters.count(Dropped::Handed);
            owner.send(Order::Foreign { flow: pair.flow, path, source, data: (*data).into() });
        }
    }

    pub fn take_foreign(&mut self, flow: u32, path: u64, source: Addr, data: &mut [u8]) {
        if let Some(slot) = self.table.receive_slot(flow) {
            media_in(self.table, self.outbox, self.uplink, slot, path, data, source, self.now);
        }
    }

    fn take_stun(&mut self, shared: &mut Shared, number: usize, data: &[u8], source: Addr) {
        let request = stun::is_binding_request(data);
        if !request && !stun::is_binding_success(data) {
            return self.uplink.counters.count(Dropped::StunNotRequest);
        }
        let pair = shared.pairs.get(&source);
        if let Some(pair) = pair.filter(|_| request) {
            let check = stun::read(data, &pair.credentials);
            if let Some(check) = check.filter(|check| !check.use_candidate || pair.selected) {
                let way = Way::new(Lane::Shared(number), &source);
                self.outbox.answer(self.table, number, &way, |room| {
                    stun::respond(&check, &pair.credentials, data, &source, room)
                });
                pair.checked.set(self.now);
                pair.counters.received.heard.set(self.now);
                self.uplink.counters.checks.add(1);
                return;
            }
        }
        if pair.is_some() {
            if self.uplink.allow_admitted(&source, self.now) {
                self.uplink.punt(up::stun(shared.path, &source, self.now, data));
            }
        } else if self.uplink.allow_stranger(&source, self.now) {
            self.uplink.punt_stranger(up::stun(shared.path, &source, self.now, data));
        }
    }

    fn take_dtls(&mut self, pair: &Pair, path: u64, data: &[u8], source: Addr) {
        if self.uplink.allow_admitted(&source, self.now) {
            self.uplink.punt(up::dtls(pair.flow, path, &source, self.now, data));
        }
    }
}

/// Media of a proved address: RTP and RTCP on one port.
#[allow(clippy::too_many_arguments)]
fn media_in(
    table: &mut Table,
    outbox: &mut Outbox,
    uplink: &mut Uplink,
    slot: usize,
    path: u64,
    data: &mut [u8],
    source: Addr,
    now: u64,
) {
    let Some(Some(receive)) = table.receives.get_mut(slot) else { return };
    if data.len() > LONGEST {
        return receive.discard(Discard::Malformed);
    }
    if rtp::is_rtcp(data[1]) {
        let Some(length) = open_rtcp(receive, data, now) else { return };
        if within_punts(receive, now) {
            uplink.punt(up::rtcp(receive.flow, path, &source, now, &data[..length]));
        }
    } else if let Some(length) = receive.take(data, now) {
        rtp_in(table, outbox, uplink, slot, &data[..length], now);
    }
}

/// One compound RTCP packet on a port of a pair, which anybody may have sent.
fn pair_rtcp_in(receive: &mut Receive, uplink: &mut Uplink, path: u64, data: &mut [u8], source: Addr, now: u64) {
    let peer = receive.is_peer(&source);
    // What others send is read where it is authentic, but takes nothing from the peer's own.
    let allowed = peer || receive.strangers.take(STRANGERS_PER_FLOW, now) && uplink.allow_stranger(&source, now);
    if !allowed {
        return receive.discard(Discard::Rate);
    }
    let Some(length) = open_rtcp(receive, data, now) else { return };
    // Before the flow's own: without SRTP anybody's passes for the peer's, and punts of its audio count there too.
    if peer && !uplink.allow_admitted(&source, now) {
        return receive.discard(Discard::Rate);
    }
    if within_punts(receive, now) {
        uplink.punt(up::rtcp(receive.flow, path, &source, now, &data[..length]));
    }
}

/// Whether a datagram is DTLS (RFC 7983).
const fn is_dtls(first: u8) -> bool {
    matches!(first, 20..=63)
}

/// One DTLS datagram on a port of a pair, which anybody may have sent: the gateway knows from whom it takes them.
fn pair_dtls_in(receive: &mut Receive, uplink: &mut Uplink, path: u64, data: &[u8], source: Addr, now: u64) {
    if !receive.config.secure {
        return receive.discard(Discard::Malformed);
    }
    let known = receive.source == Some(source) || receive.named == Some(source) || receive.rtcp == Some(source);
    let frame = |receive: &Receive| up::dtls(receive.flow, path, &source, now, data);
    if known && uplink.allow_admitted(&source, now) {
        uplink.punt(frame(receive));
    } else if !known && receive.strangers.take(STRANGERS_PER_FLOW, now) && uplink.allow_stranger(&source, now) {
        uplink.punt_stranger(frame(receive));
    } else {
        receive.discard(Discard::Rate);
    }
}

/// The length in the clear of one compound RTCP packet, authentic where there are keys.
fn open_rtcp(receive: &mut Receive, data: &mut [u8], now: u64) -> Option<usize> {
    if data.len() < SHORTEST_RTCP || data.len() > LONGEST || data[0] >> 6 != 2 || !rtp::is_rtcp(data[1]) {
        receive.discard(Discard::Malformed);
        return None;
    }
    let length = receive.open_rtcp(data, now)?;
    if length < SHORTEST_RTCP {
        receive.discard(Discard::Malformed);
        return None;
    }
    Some(length)
}

/// Whether RTCP that was opened is within the flow's rate. What is forged is not counted there: it would take the
/// peer's place.
fn within_punts(receive: &mut Receive, now: u64) -> bool {
    if !receive.punts.take(PER_FLOW, now) {
        receive.discard(Discard::Rate);
        return false;
    }
    if receive.crypto.is_set() || receive.rtcp_crypto.is_set() {
        receive.counters.received.heard.set(now);
    }
    true
}

/// Read one datagram of a pair port's RTP socket.
pub fn read_rtp(table: &mut Table, outbox: &mut Outbox, uplink: &mut Uplink, slot: usize, now: u64) {
    let mut buffer = [0u8; SLOT];
    let Some(Some(receive)) = table.receives.get(slot) else { return };
    let Some(sockets) = &receive.sockets else { return };
    let Some((length, source)) = sys::receive_from(sockets.rtp.as_raw_fd(), &mut buffer) else { return };
    take_rtp(table, outbox, uplink, slot, whole(&mut buffer, length), source, now);
}

/// A datagram of so many octets, empty where it did not fit.
fn whole(buffer: &mut [u8], length: usize) -> &mut [u8] {
    buffer.get_mut(..length).unwrap_or_default()
}

/// Take one datagram of a pair port's RTP socket, empty where it did not fit.
pub fn take_rtp(
    table: &mut Table,
    outbox: &mut Outbox,
    uplink: &mut Uplink,
    slot: usize,
    data: &mut [u8],
    source: Addr,
    now: u64,
) {
    let Some(Some(receive)) = table.receives.get_mut(slot) else { return };
    let Some(sockets) = &receive.sockets else { return };
    let path = sockets.rtp_path;
    if data.len() > LONGEST || data.len() < SHORTEST_RTCP {
        return receive.discard(Discard::Malformed);
    }
    pair_in(table, outbox, uplink, slot, path, data, source, now);
}

/// One datagram on the RTP socket of a pair port.
#[allow(clippy::too_many_arguments)]
fn pair_in(
    table: &mut Table,
    outbox: &mut Outbox,
    uplink: &mut Uplink,
    slot: usize,
    path: u64,
    data: &mut [u8],
    source: Addr,
    now: u64,
) {
    let Some(Some(receive)) = table.receives.get_mut(slot) else { return };
    if is_dtls(data[0]) {
        return pair_dtls_in(receive, uplink, path, data, source, now);
    }
    if data[0] >> 6 != 2 {
        return receive.discard(Discard::Malformed);
    }
    if rtp::is_rtcp(data[1]) {
        return if receive.config.mux {
            pair_rtcp_in(receive, uplink, path, data, source, now);
        } else {
            receive.discard(Discard::UnexpectedRtcp);
        };
    }
    if data.len() < HEADER {
        return receive.discard(Discard::Malformed);
    }
    if receive.source == Some(source) {
        if let Some(length) = receive.take(data, now) {
            rtp_in(table, outbox, uplink, slot, &data[..length], now);
        }
    } else if receive.named == Some(source) {
        admit_source(table, outbox, uplink, slot, source, data, now);
    } else if receive.strangers.take(STRANGERS_PER_FLOW, now) && uplink.allow_stranger(&source, now) {
        receive.discard(Discard::WrongSource);
        let heard = receive.counters.received.heard.get();
        uplink.punt_stranger(up::stranger(receive.flow, path, &source, heard, now, data));
    } else {
        receive.discard(Discard::WrongSource);
    }
}

/// Listen to `source` if its packet is authentic and of a payload type that may come; then take the packet.
fn admit_source(
    table: &mut Table,
    outbox: &mut Outbox,
    uplink: &mut Uplink,
    slot: usize,
    source: Addr,
    data: &mut [u8],
    now: u64,
) {
    let Some(Some(receive)) = table.receives.get_mut(slot) else { return };
    if data.len() < HEADER {
        return;
    }
    let routed = receive.routes.iter().any(|route| route.action != Action::None);
    if routed && receive.routes[usize::from(data[1] & 0x7f)].action == Action::None {
        return receive.discard(Discard::WrongSource);
    }
    let is_source = receive.source == Some(source);
    let taken = if is_source { receive.take(data, now) } else { receive.take_newly(data, now) };
    let Some(length) = taken else { return };
    if rtp::payload(&data[..length]).is_none() {
        return receive.discard(Discard::Malformed);
    }
    if !is_source {
        receive.source = Some(source);
        uplink.tell(Up::Learned { flow: receive.flow, source, description: receive.description, now });
    }
    rtp_in(table, outbox, uplink, slot, &data[..length], now);
}

/// Read one datagram of a pair port's RTCP socket.
pub fn read_rtcp(table: &mut Table, uplink: &mut Uplink, slot: usize, now: u64) {
    let mut buffer = [0u8; SLOT];
    let Some(Some(receive)) = table.receives.get(slot) else { return };
    let Some(sockets) = &receive.sockets else { return };
    let Some((length, source)) = sys::receive_from(sockets.rtcp.as_raw_fd(), &mut buffer) else { return };
    take_rtcp(table, uplink, slot, whole(&mut buffer, length), source, now);
}

/// Take one datagram of a pair port's RTCP socket, empty where it did not fit.
pub fn take_rtcp(table: &mut Table, uplink: &mut Uplink, slot: usize, data: &mut [u8], source: Addr, now: u64) {
    let Some(Some(receive)) = table.receives.get_mut(slot) else { return };
    let Some(sockets) = &receive.sockets else { return };
    let path = sockets.rtcp_path;
    if data.is_empty() {
        receive.discard(Discard::Malformed);
    } else if is_dtls(data[0]) {
        pair_dtls_in(receive, uplink, path, data, source, now);
    } else {
        pair_rtcp_in(receive, uplink, path, data, source, now);
    }
}

/// Do what the gateway wants of a receive half.
pub fn obey_receive(
    table: &mut Table,
    outbox: &mut Outbox,
    uplink: &mut Uplink,
    flow: u32,
    order: ReceiveOrder,
    now: u64,
) {
    let Some(slot) = table.receive_slot(flow) else { return };
    let Some(Some(receive)) = table.receives.get_mut(slot) else { return };
    match order {
        ReceiveOrder::Configure(config) => receive.config = config,
        ReceiveOrder::Key(key) => receive.set_key(key, now),
        ReceiveOrder::RtcpKey(key) => receive.set_rtcp_key(Some(*key), now),
        ReceiveOrder::Rtcp(address) => receive.rtcp = address,
        ReceiveOrder::Expect(named, description) => {
            if (receive.named, receive.description) != (named, description) {
                (receive.named, receive.description) = (named, description);
                receive.source = None;
            }
        }
        ReceiveOrder::AdmitSource(source, mut data) => {
            admit_source(table, outbox, uplink, slot, source, &mut data, now);
        }
        ReceiveOrder::Route { target, routes } => {
            let another = receive.target != target;
            receive.target = target;
            receive.transcoding.keep(&routes);
            receive.routes = routes;
            receive.media = 255;
            if another {
                if let Some((_, Some((send, _)))) = table.both(slot) {
                    refresh(send);
                }
            }
        }
        ReceiveOrder::Feed { target, types } => super::feeding::obey(receive, uplink, target, types, now),
        ReceiveOrder::Begin { target } => super::feeding::begin(table, outbox, uplink, slot, target, now),
        ReceiveOrder::Convert(number, conversion) => receive.transcoding.set(number, *conversion),
        ReceiveOrder::Resync(ssrc) => {
            if ssrc.is_none() || ssrc == receive.inbound.ssrc {
                receive.inbound.resync(now);
            }
        }
        ReceiveOrder::Relay(relayed) => relay(table, outbox, slot, &relayed, now),
        ReceiveOrder::Orientation(identifier) => receive.orientation = identifier,
        ReceiveOrder::Arrivals(counting) => super::arrivals::obey(receive, counting),
        ReceiveOrder::Bundled(flows) => receive.bundled = flows.iter().map(|flow| (*flow, usize::MAX)).collect(),
    }
}

/// Send what a punted packet became.
fn relay(table: &mut Table, outbox: &mut Outbox, slot: usize, relayed: &Relayed, now: u64) {
    if let Some((_, Some((send, _)))) = table.both(slot) {
        if outbox.must_flush(send) {
            outbox.flush(table);
        }
    }
    let Some((receive, Some((send, at)))) = table.both(slot) else { return };
    let (number, timestamp) = (relayed.sequence_number, relayed.timestamp);
    let header = Header { second: relayed.second, sequence_number: number, timestamp, ..Header::default() };
    let Some(offset) = relayed.offset else {
        let highest = receive.inbound.highest;
        let passing = Passing { header, highest, payload: &relayed.payload, is_event: false };
        return place(outbox, send, at, &passing, now);
    };
    let (ready, passes) = (send.ready(), send.passes());
    let Some(outgoing) = &mut send.outgoing else { return };
    if !passes || !ready {
        return outgoing.skip();
    }
    let out = outgoing.emit_at(relayed.second, number, timestamp, offset, now);
    outbox.send_rtp(send, at, &out, &relayed.payload);
}

#[cfg(test)]
mod tests;
