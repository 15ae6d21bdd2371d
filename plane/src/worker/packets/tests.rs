use super::super::feeding::{feed, MOST_HELD};
use super::super::path::{place, Passing};
use super::*;
use crate::counters::ThreadCounters;
use crate::flow::{Action, Config, Feed, Lane, Route, Send, Stage, Way};
use crate::key_frame::Format;
use crate::limits::PER_SOURCE;
use crate::outgoing::Outgoing;
use crate::srtp::{Receiver, Sender, Suite, ROOM};
use crate::sys::Bell;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{channel, sync_channel, Receiver as Queue};
use std::sync::Arc;

const NOW: u64 = 5;
const PEER: Addr = Addr::v4(0x0a00_0001, 4000);

/// The parts of thread 0 of two, and what it says: punts, punts of strangers and events.
struct Thread {
    table: Table,
    outbox: Outbox,
    uplink: Uplink,
    punts: Queue<Up>,
    _strangers: Queue<Up>,
    events: Queue<Up>,
}

fn thread() -> Thread {
    let ((punt, punts), (stranger, strangers), (event, events)) = (sync_channel(9), sync_channel(9), channel());
    let (bell, attached) = (Arc::new(Bell::new().unwrap()), Arc::new(AtomicBool::new(true)));
    let counters = Arc::<ThreadCounters>::default();
    let uplink = Uplink::new(0, counters, (punt, stranger), event, bell, attached, 1);
    Thread { table: Table::new(1), outbox: Outbox::new(None), uplink, punts, _strangers: strangers, events }
}

fn sender(seed: u8) -> Sender {
    Sender::new(Suite::Gcm128, &[seed; 28]).unwrap()
}

fn voice(crypto: &mut Sender, number: u16) -> Vec<u8> {
    let mut room = vec![0; HEADER + 20 + ROOM];
    Header { sequence_number: number, ssrc: 7, ..Header::default() }.write(&mut room);
    let length = crypto.protect(&mut room, HEADER + 20).unwrap();
    room.truncate(length);
    room
}

fn report(crypto: &mut Sender) -> Vec<u8> {
    let mut room = vec![0; 8 + ROOM];
    room[..8].copy_from_slice(&[0x80, 201, 0, 1, 0, 0, 0, 7]);
    let length = crypto.protect_rtcp(&mut room, 8).unwrap();
    room.truncate(length);
    room
}

fn secure(flow: u32, max_packets_per_second: u32) -> Box<Receive> {
    let config = Config { secure: true, mux: true, max_packets_per_second, idle_after: 0 };
    let mut receive = Box::new(Receive::new(flow, config, None, Arc::default()));
    receive.set_key(Receiver::new(Suite::Gcm128, &[1; 28]), 1);
    receive
}

#[test]
fn forged_reports_on_a_pair_port_take_nothing_from_the_peers_own() {
    let mut thread = thread();
    let mut receive = secure(1, 100);
    receive.source = Some(PEER);
    for _ in 0..PER_FLOW + PER_SOURCE {
        pair_rtcp_in(&mut receive, &mut thread.uplink, 1, &mut report(&mut sender(9)), PEER, NOW);
    }
    assert!(thread.punts.try_recv().is_err());
    pair_rtcp_in(&mut receive, &mut thread.uplink, 1, &mut report(&mut sender(1)), PEER, NOW);
    assert!(matches!(thread.punts.try_recv(), Ok(Up::Frame(_))));
}

#[test]
fn so_many_true_reports_of_one_address_are_told_of() {
    let mut thread = thread();
    let (mut receive, mut crypto) = (secure(1, 100), sender(1));
    receive.source = Some(PEER);
    let mut told = 0;
    for _ in 0..PER_SOURCE + 7 {
        pair_rtcp_in(&mut receive, &mut thread.uplink, 1, &mut report(&mut crypto), PEER, NOW);
        told += u32::from(thread.punts.try_recv().is_ok());
    }
    assert_eq!(told, PER_SOURCE);
    assert_eq!(receive.counters.received.discards[Discard::Rate as usize].get(), 7);
}

#[test]
fn reports_in_the_clear_in_a_peers_name_take_a_few_of_its_flows_punts_and_no_more() {
    let mut thread = thread();
    let config = Config { secure: false, mux: true, max_packets_per_second: 100, idle_after: 0 };
    let mut receive = Receive::new(1, config, None, Arc::default());
    receive.source = Some(PEER);
    let mut told = 0;
    for _ in 0..=PER_FLOW {
        let mut data = [0x80, 201, 0, 1, 0, 0, 0, 7];
        pair_rtcp_in(&mut receive, &mut thread.uplink, 1, &mut data, PEER, NOW);
        told += u32::from(thread.punts.try_recv().is_ok());
    }
    assert_eq!(told, PER_SOURCE);
    let left = (0..PER_FLOW).filter(|_| receive.punts.take(PER_FLOW, NOW)).count();
    assert_eq!(left, (PER_FLOW - PER_SOURCE) as usize);
}

#[test]
fn forged_reports_on_a_shared_port_take_nothing_from_the_peers_own() {
    let mut thread = thread();
    let slot = thread.table.put_receive(secure(1, 100));
    let hear = |thread: &mut Thread, mut data: Vec<u8>| {
        media_in(&mut thread.table, &mut thread.outbox, &mut thread.uplink, slot, 1, &mut data, PEER, NOW);
        thread.punts.try_recv().is_ok()
    };
    assert!((0..=PER_FLOW).all(|_| !hear(&mut thread, report(&mut sender(9)))));
    let mut crypto = sender(1);
    let told = (0..=PER_FLOW).filter(|_| hear(&mut thread, report(&mut crypto))).count();
    assert_eq!(told, PER_FLOW as usize);
}

#[test]
fn so_many_packets_of_a_flow_are_told_of_that_the_gateway_takes_itself() {
    let mut thread = thread();
    let mut receive = secure(1, 10_000);
    receive.routes[0] = Route { action: Action::Punt, ..Route::default() };
    let slot = thread.table.put_receive(receive);
    let mut crypto = sender(1);
    let mut hear = |number, now| {
        let Thread { table, outbox, uplink, .. } = &mut thread;
        media_in(table, outbox, uplink, slot, 1, &mut voice(&mut crypto, number), PEER, now);
        thread.punts.try_recv().is_ok()
    };
    assert_eq!((1..=PER_FLOW as u16 + 300).filter(|number| hear(*number, NOW)).count(), PER_FLOW as usize);
    assert!(hear(PER_FLOW as u16 + 301, NOW + 2_000_000_000));
}

#[test]
fn reports_of_another_version_than_2_are_dropped() {
    let mut thread = thread();
    let mut receive = Receive::new(1, Config { mux: true, ..Config::default() }, None, Arc::default());
    receive.source = Some(PEER);
    for (first, is_told) in [(0x00, false), (0x40, false), (0x80, true), (0xc0, false)] {
        pair_rtcp_in(&mut receive, &mut thread.uplink, 1, &mut [first, 201, 0, 1, 0, 0, 0, 7], PEER, NOW);
        assert_eq!(thread.punts.try_recv().is_ok(), is_told, "{first:#x}");
    }
}

#[test]
fn reports_of_the_port_next_to_that_of_rtp_are_the_peers_own_unless_both_share_one() {
    for (mux, most) in [(false, PER_SOURCE), (true, STRANGERS_PER_FLOW)] {
        let (mut thread, mut receive, mut crypto) = (thread(), secure(1, 100), sender(1));
        (receive.config.mux, receive.source) = (mux, Some(PEER));
        let mut hear = || {
            let next = PEER.with_port(PEER.port + 1);
            pair_rtcp_in(&mut receive, &mut thread.uplink, 1, &mut report(&mut crypto), next, NOW);
            thread.punts.try_recv().is_ok()
        };
        assert_eq!((0..=PER_SOURCE).filter(|_| hear()).count(), most as usize, "{mux}");
    }
}

#[test]
fn where_keys_are_dropped_neither_packets_nor_reports_are_taken() {
    let mut thread = thread();
    let mut receive = secure(1, 100);
    receive.source = Some(PEER);
    receive.set_rtcp_key(Receiver::new(Suite::Gcm128, &[2; 28]), 1);
    let slot = thread.table.put_receive(receive);
    let (mut crypto, mut rtcp_crypto) = (sender(1), sender(2));
    let mut hear = |thread: &mut Thread, number| {
        let Thread { table, outbox, uplink, .. } = thread;
        pair_in(table, outbox, uplink, slot, 1, &mut voice(&mut crypto, number), PEER, NOW);
        pair_in(table, outbox, uplink, slot, 1, &mut report(&mut rtcp_crypto), PEER, NOW);
        (thread.table.receives[slot].as_ref().unwrap().packets, thread.punts.try_recv().is_ok())
    };
    assert_eq!(hear(&mut thread, 1), (1, true));
    let Thread { table, outbox, uplink, .. } = &mut thread;
    obey_receive(table, outbox, uplink, 1, ReceiveOrder::Key(None), NOW);
    assert_eq!(hear(&mut thread, 2), (1, false));
}

#[test]
fn a_source_that_was_named_is_learned_whatever_is_forged_in_its_name() {
    let mut thread = thread();
    let mut named = secure(1, 10);
    named.named = Some(PEER);
    let slot = thread.table.put_receive(named);
    let mut hear = |mut data: Vec<u8>| {
        let Thread { table, outbox, uplink, .. } = &mut thread;
        pair_in(table, outbox, uplink, slot, 1, &mut data, PEER, NOW);
        thread.events.try_recv().is_ok()
    };
    assert!((1..41).all(|number| !hear(voice(&mut sender(9), number))));
    assert!(hear(voice(&mut sender(1), 1)));
}

#[test]
fn media_of_a_flow_that_another_thread_owns_is_handed_over_and_taken_there() {
    let (mut here, mut there) = (thread(), thread());
    let (orders, handed) = channel();
    let handle = Handle::new(orders, Arc::new(Bell::new().unwrap()));
    let others = [handle.clone(), handle];
    let slot = there.table.put_receive(secure(1, 100));
    let pair = Pair {
        flow: 1,
        owner: 1,
        slot,
        selected: true,
        credentials: Arc::new([]),
        checked: Arc::default(),
        counters: Arc::default(),
    };
    let mut data = voice(&mut sender(1), 1);
    let Thread { table, outbox, uplink, .. } = &mut here;
    Here { table, outbox, uplink, others: &others, now: NOW }.take_media(&pair, 3, &mut data, PEER);
    assert_eq!(here.uplink.counters.dropped[Dropped::Handed as usize].get(), 1);
    let Ok(Order::Foreign { flow, path, source, mut data }) = handed.try_recv() else {
        panic!("nothing was handed over")
    };
    assert_eq!((flow, path, source), (1, 3, PEER));
    let Thread { table, outbox, uplink, .. } = &mut there;
    Here { table, outbox, uplink, others: &others, now: NOW }.take_foreign(flow, path, source, &mut data);
    assert_eq!(there.table.receives[slot].as_ref().unwrap().packets, 1);
}

#[test]
fn what_waits_for_a_stream_that_never_begins_is_bounded() {
    let mut thread = thread();
    let mut types = Box::new([None; 128]);
    types[96] = Some((96, Format::Av1));
    let mut receive = secure(1, 100);
    receive.feeds.push(Feed { target: 2, slot: usize::MAX, types, stage: Stage::Waits });
    let slot = thread.table.put_receive(receive);
    let header = Header { second: 96, ..Header::default() };
    let mut come = |payload: u8, began: bool| {
        let Thread { table, outbox, uplink, .. } = &mut thread;
        feed(table, outbox, uplink, slot, &header, &[payload], began, NOW);
        match &table.receives[slot].as_ref().unwrap().feeds[0].stage {
            Stage::Begins(held) => Some(held.len()),
            _ => None,
        }
    };
    assert_eq!((come(8, true), come(0, true), come(0, false)), (Some(1), None, None));
    let mut hear = |payload: u8| come(payload, false);
    assert_eq!(hear(8), Some(1));
    assert_eq!((1..MOST_HELD).map(|_| hear(0)).last(), Some(Some(MOST_HELD)));
    assert_eq!((hear(0), hear(0), hear(8)), (None, None, Some(1)));
}

#[test]
fn padding_alone_goes_to_browsers() {
    let mut thread = thread();
    let mut send = Send::new(2, false, None, Arc::default());
    send.outgoing = Some(Outgoing::new(7, 1, 1, 90_000, true));
    send.rtp = Some(Way::new(Lane::Shared(0), &PEER));
    send.open = true;
    let header = Header { second: 96, ..Header::default() };
    place(&mut thread.outbox, &mut send, 0, &Passing { header, highest: 0, payload: &[], is_event: false }, NOW);
    assert_eq!(send.outgoing.unwrap().last_sent, Some(NOW));
}
