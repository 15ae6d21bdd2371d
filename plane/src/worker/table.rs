//! The halves of flows that one packet thread owns.

use super::outbox::Outbox;
use super::{Injected, SendOrder};
use crate::addr::Seeded;
use crate::counters::Unsent;
use crate::event;
use crate::flow::{Action, Playing, Receive, Send, Silence};
use crate::outgoing::{Outgoing, MARKER};
use crate::rtp::Header;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

pub struct Table {
    pub receives: Vec<Option<Box<Receive>>>,
    free_receives: Vec<usize>,
    sends: Vec<Option<Box<Send>>>,
    free_sends: Vec<usize>,
    receive_slots: HashMap<u32, usize, Seeded>,
    send_slots: HashMap<u32, usize, Seeded>,
    silences: BinaryHeap<Reverse<(u64, u32)>>,
    pub(super) frames: BinaryHeap<Reverse<(u64, u32)>>,
    /// When flows are to be told of the arrival of their packets, ns.
    pub(super) told: BinaryHeap<Reverse<(u64, u32)>>,
}

fn put<T>(slots: &mut Vec<Option<T>>, free: &mut Vec<usize>, value: T) -> usize {
    let slot = free.pop().unwrap_or_else(|| {
        slots.push(None);
        slots.len() - 1
    });
    slots[slot] = Some(value);
    slot
}

impl Table {
    pub fn new(seed: u64) -> Self {
        Self {
            receives: Vec::new(),
            free_receives: Vec::new(),
            sends: Vec::new(),
            free_sends: Vec::new(),
            receive_slots: HashMap::with_hasher(Seeded(seed)),
            send_slots: HashMap::with_hasher(Seeded(seed)),
            silences: BinaryHeap::new(),
            frames: BinaryHeap::new(),
            told: BinaryHeap::new(),
        }
    }

    pub fn put_receive(&mut self, mut half: Box<Receive>) -> usize {
        let flow = half.flow;
        half.transcoding.forget_schedule();
        if let Some(due) = half.transcoding.schedule() {
            self.expect_frame(due, flow);
        }
        if let Some(due) = half.arrivals.as_ref().and_then(|arrivals| arrivals.due()) {
            self.told.push(Reverse((due, flow)));
        }
        let slot = put(&mut self.receives, &mut self.free_receives, half);
        self.receive_slots.insert(flow, slot);
        slot
    }

    pub fn take_receive(&mut self, flow: u32) -> Option<Box<Receive>> {
        let slot = self.receive_slots.remove(&flow)?;
        self.free_receives.push(slot);
        self.receives.get_mut(slot)?.take()
    }

    pub fn receive_slot(&self, flow: u32) -> Option<usize> {
        self.receive_slots.get(&flow).copied()
    }

    /// The slot of a flow's receive half, which was `slot` when it was last looked for.
    pub fn still_slot(&self, flow: u32, slot: usize) -> Option<usize> {
        match self.receives.get(slot) {
            Some(Some(half)) if half.flow == flow => Some(slot),
            _ => self.receive_slot(flow),
        }
    }

    /// The slot of the flow that a packet in `slot`'s datagrams belongs to, told by its payload type (RFC 9143 section 9.2).
    pub fn bundled_slot(&mut self, slot: usize, payload_type: u8, now: u64) -> usize {
        let number = usize::from(payload_type);
        let Some(Some(carrier)) = self.receives.get(slot) else { return slot };
        if carrier.bundled.is_empty() || carrier.routes[number].action != Action::None {
            return slot;
        }
        for index in 0..carrier.bundled.len() {
            let Some(Some(carrier)) = self.receives.get(slot) else { return slot };
            let (flow, known) = carrier.bundled[index];
            let Some(found) = self.still_slot(flow, known) else { continue };
            if self.receives[found].as_ref().is_some_and(|each| each.routes[number].action != Action::None) {
                if let Some(carrier) = self.receives[slot].as_deref_mut() {
                    carrier.bundled[index].1 = found;
                    carrier.counters.received.heard.set(now);
                }
                return found;
            }
        }
        slot
    }

    pub fn put_send(&mut self, half: Box<Send>) {
        let flow = half.flow;
        if let Some(playing) = &half.playing {
            self.silences.push(Reverse((playing.due, flow)));
        }
        let slot = put(&mut self.sends, &mut self.free_sends, half);
        self.send_slots.insert(flow, slot);
    }

    pub fn take_send(&mut self, flow: u32) -> Option<Box<Send>> {
        let slot = self.send_slots.remove(&flow)?;
        self.free_sends.push(slot);
        self.sends.get_mut(slot)?.take()
    }

    pub fn send_at(&self, slot: usize) -> Option<&Send> {
        self.sends.get(slot)?.as_deref()
    }

    /// The receive half in a slot, and the send half its packets go to with that one's slot.
    pub fn both(&mut self, slot: usize) -> Option<(&mut Receive, Option<(&mut Send, usize)>)> {
        let receive = self.receives.get_mut(slot)?.as_deref_mut()?;
        let Some(target) = receive.target else { return Some((receive, None)) };
        let known = self.sends.get(receive.target_slot).and_then(Option::as_ref);
        if known.is_none_or(|send| send.flow != target) {
            receive.target_slot = self.send_slots.get(&target).copied().unwrap_or(usize::MAX);
        }
        let at = receive.target_slot;
        let send = self.sends.get_mut(at).and_then(Option::as_deref_mut);
        Some((receive, send.map(|send| (send, at))))
    }

    /// The send half of a flow, which was in `slot` when it was last looked for, and its slot.
    pub fn still_send(&mut self, flow: u32, slot: usize) -> Option<(&mut Send, usize)> {
        let known = self.sends.get(slot).and_then(Option::as_ref).is_some_and(|send| send.flow == flow);
        let at = if known { slot } else { *self.send_slots.get(&flow)? };
        Some((self.sends.get_mut(at)?.as_deref_mut()?, at))
    }

    /// Let others read the counts of those of the flows that are here.
    pub fn publish(&self, flows: &[u32]) {
        for flow in flows {
            let receive = self.receive_slots.get(flow).and_then(|slot| self.receives.get(*slot)?.as_ref());
            if let Some(receive) = receive {
                receive.publish();
            }
            if let Some(send) = self.send_slots.get(flow).and_then(|slot| self.send_at(*slot)) {
                send.publish();
            }
        }
    }

    /// Do what the gateway wants of a send half.
    pub fn obey_send(&mut self, outbox: &mut Outbox, flow: u32, order: SendOrder, now: u64) {
        let Some(&slot) = self.send_slots.get(&flow) else { return };
        self.make_room(outbox, slot);
        let Some(send) = self.sends.get_mut(slot).and_then(Option::as_deref_mut) else { return };
        match order {
            SendOrder::Secure(secure) => send.secure = secure,
            SendOrder::Key(key) => send.set_key(key),
            SendOrder::RtcpKey(key) => send.set_rtcp_key(*key),
            SendOrder::Ways { rtp, rtcp } => {
                send.rtp = rtp;
                send.rtcp = rtcp;
            }
            SendOrder::Start { ssrc, sequence_number, timestamp, clock_rate, ends_frames } => {
                start(send, Outgoing::new(ssrc, sequence_number, timestamp, clock_rate, ends_frames));
            }
            SendOrder::Orientation(identifier) => send.orientation = identifier,
            SendOrder::Open(open) => send.open = open,
            SendOrder::Muted(muted) => {
                send.muted = muted;
                if let Some(outgoing) = &mut send.outgoing {
                    outgoing.release_event();
                }
            }
            SendOrder::Refresh => {
                if let Some(outgoing) = &mut send.outgoing {
                    outgoing.refresh();
                }
            }
            SendOrder::Inject(injected) => {
                let Some(header) = own_header(send, &injected, now) else { return };
                outbox.send_rtp(send, slot, &header, &injected.payload);
            }
            SendOrder::Keep(kept) => {
                if let Some(before) = std::mem::replace(&mut send.kept, kept) {
                    send.repeated = Some(before.numbers());
                }
                if let (Some(now), Some(numbers)) = (&mut send.kept, send.repeated) {
                    now.follow(numbers);
                }
            }
            SendOrder::Resend(_) => {}
            SendOrder::Rtcp(packet) => outbox.send_rtcp(send, &packet),
            SendOrder::Silence(silence) => {
                send.playing = silence.map(|silence| Box::new(play_from(silence, flow, now)));
                if let Some(playing) = &send.playing {
                    self.silences.push(Reverse((playing.due, flow)));
                }
            }
        }
    }

    /// Send these packets of a stream again; the incoming numbers of those that never came here.
    pub fn resend(&mut self, outbox: &mut Outbox, flow: u32, numbers: &[u16], now: u64) -> Vec<u16> {
        let Some(&slot) = self.send_slots.get(&flow) else { return Vec::new() };
        let mut missing = Vec::new();
        for number in numbers {
            self.make_room(outbox, slot);
            let Some(send) = self.sends.get_mut(slot).and_then(Option::as_deref_mut) else { break };
            let Some(kept) = &mut send.kept else { break };
            if !kept.has(*number) {
                let lost = send.outgoing.as_ref().and_then(|outgoing| outgoing.lost_before(*number, kept.reach()));
                missing.extend(lost);
                continue;
            }
            let mut room = [0; crate::rtp::LONGEST];
            if let Some((header, length)) = kept.again(*number, now, &mut room) {
                outbox.send_again(send, &header, &room[..length]);
            }
        }
        missing
    }

    /// Flush the queue of a half's socket where it is full.
    pub(super) fn make_room(&self, outbox: &mut Outbox, slot: usize) {
        if self.send_at(slot).is_some_and(|send| outbox.must_flush(send)) {
            outbox.flush(self);
        }
    }

    /// The slot of a flow's send half.
    pub(super) fn send_slot(&self, flow: u32) -> Option<usize> {
        self.send_slots.get(&flow).copied()
    }

    /// When the next silence, frame or message about arrivals is due, ns.
    pub fn next_due(&self) -> Option<u64> {
        let times = [self.silences.peek(), self.frames.peek(), self.told.peek()];
        times.into_iter().flatten().map(|Reverse((due, _))| *due).min()
    }

    /// Play the silences that are due.
    pub fn play(&mut self, outbox: &mut Outbox, now: u64) {
        while let Some(&Reverse((due, flow))) = self.silences.peek() {
            if due > now {
                return;
            }
            self.silences.pop();
            let Some(&slot) = self.send_slots.get(&flow) else { continue };
            self.make_room(outbox, slot);
            let Some(send) = self.sends.get_mut(slot).and_then(Option::as_deref_mut) else { continue };
            // Another entry of the same half is left over where its silence was changed.
            if send.playing.as_ref().is_none_or(|playing| playing.due != due) {
                continue;
            }
            if let Some(next) = play_one(send, slot, outbox, now) {
                self.silences.push(Reverse((next, flow)));
            }
        }
    }
}

fn start(send: &mut Send, stream: Outgoing) {
    if let Some(outgoing) = send.outgoing.as_mut().filter(|outgoing| outgoing.ssrc == stream.ssrc) {
        return outgoing.set_clock(stream.rate_out);
    }
    send.counters.sent.ssrc.set(u64::from(stream.ssrc) + 1);
    send.outgoing = Some(stream);
}

/// The header of an injected packet; None where it could not leave, which is counted, or an event has the stream.
fn own_header(send: &mut Send, injected: &Injected, now: u64) -> Option<Header> {
    if !send.ready() || send.outgoing.is_none() {
        send.unsent(Unsent::NotReady);
        return None;
    }
    let (outgoing, &Injected { second, advance, .. }) = (send.outgoing.as_mut()?, injected);
    if injected.is_event {
        return Some(outgoing.emit_event(second, advance, event::ends(&injected.payload), now));
    }
    (send.muted || !outgoing.in_event(now)).then(|| outgoing.emit_audio(second, advance, now))
}

/// Begin to play, spread over the interval so that not all flows speak at once.
fn play_from(silence: Silence, flow: u32, now: u64) -> Playing {
    let spread = ((u128::from(flow.wrapping_mul(0x9E37_79B9)) * u128::from(silence.interval)) >> 32) as u64;
    Playing { due: now + silence.after + spread, since: now, last: None, silence }
}

/// Send one silence where nothing else was sent; when to look again.
fn play_one(send: &mut Send, slot: usize, outbox: &mut Outbox, now: u64) -> Option<u64> {
    let goes = send.passes() && send.ready();
    let playing = send.playing.as_deref_mut()?;
    let outgoing = send.outgoing.as_mut()?;
    let quiet_since = outgoing.last_sent.unwrap_or(0).max(playing.since);
    let goes_on = playing.last.is_some() && playing.last == outgoing.last_sent;
    let early = !goes_on && now < quiet_since + playing.silence.after;
    if early || !goes || outgoing.in_event(now) {
        playing.last = None;
        playing.due = if early { quiet_since + playing.silence.after } else { now + playing.silence.after };
        return Some(playing.due);
    }
    let interval = playing.silence.interval.max(1_000_000);
    let (timestamp, marker) = if goes_on {
        let ticks = interval as u128 * u128::from(outgoing.rate_out) / 1_000_000_000;
        (outgoing.last_timestamp.wrapping_add(ticks as u32), 0)
    } else {
        (outgoing.timestamp_at(now), MARKER)
    };
    let header = outgoing.emit(playing.silence.payload_type | marker, timestamp, now);
    playing.last = Some(now);
    // A thread that was held up does not catch up.
    playing.due = (playing.due + interval).max(now + 1_000_000);
    let due = playing.due;
    let payload = std::mem::take(&mut playing.silence.payload);
    outbox.send_rtp(send, slot, &header, &payload);
    if let Some(playing) = send.playing.as_deref_mut() {
        playing.silence.payload = payload;
    }
    Some(due)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Config;
    use std::sync::Arc;

    fn half(flow: u32) -> Box<Receive> {
        Box::new(Receive::new(flow, Config::default(), None, Arc::default()))
    }

    #[test]
    fn silences_are_spread_over_their_interval() {
        let silence = || Silence { payload_type: 0, payload: [].into(), after: 1_000, interval: 1_000_000 };
        let mut phases: Vec<u64> = (1..=100).map(|flow| play_from(silence(), flow, 7).due - 1_007).collect();
        phases.extend([0, 1_000_000]);
        phases.sort_unstable();
        assert!(phases.windows(2).all(|pair| pair[1] - pair[0] < 30_000), "{phases:?}");
    }

    const MS: u64 = 1_000_000;

    fn stream(table: &mut Table) -> &mut Outgoing {
        table.sends[0].as_mut().unwrap().outgoing.as_mut().unwrap()
    }

    /// The ms of a range in which silence is played; with speech a packet comes every 20 ms.
    fn played(table: &mut Table, outbox: &mut Outbox, range: std::ops::Range<u64>, speech: bool) -> Vec<u64> {
        let mut found = Vec::new();
        for ms in range {
            let outgoing = stream(table);
            if speech && ms % 20 == 0 {
                let number = (ms / 20) as u16;
                outgoing.place(0, number, 160 * u32::from(number), number, ms * MS).unwrap();
            }
            let before = outgoing.last_sequence_number;
            table.play(outbox, ms * MS);
            if stream(table).last_sequence_number != before {
                found.push(ms);
            }
        }
        found
    }

    /// A table with one send half that can send.
    fn sending() -> (Table, Outbox) {
        let (mut table, outbox) = (Table::new(1), Outbox::new(None));
        let mut send = Send::new(1, false, None, Arc::default());
        send.outgoing = Some(Outgoing::new(7, 1, 1, 8000, false));
        send.rtp = Some(crate::flow::Way::new(crate::flow::Lane::Rtp, &crate::addr::Addr::v4(1, 1)));
        send.open = true;
        table.put_send(Box::new(send));
        (table, outbox)
    }

    fn silence() -> Silence {
        Silence { payload_type: 0, payload: [0xff].into(), after: 50 * MS, interval: 20 * MS }
    }

    #[test]
    fn a_silence_that_is_asked_for_again_is_played_once() {
        let (mut table, mut outbox) = sending();
        for now in [1000, 1001, 1002] {
            table.obey_send(&mut outbox, 1, SendOrder::Silence(Some(silence())), now * MS);
        }
        let quiet = played(&mut table, &mut outbox, 1003..2003, false);
        assert!(quiet.len() > 45, "{quiet:?}");
        assert!(quiet.windows(2).all(|pair| (20..=21).contains(&(pair[1] - pair[0]))), "{quiet:?}");
    }

    #[test]
    fn a_thread_that_was_held_up_does_not_catch_up_with_silence() {
        let (mut table, mut outbox) = sending();
        table.obey_send(&mut outbox, 1, SendOrder::Silence(Some(silence())), 1000 * MS);
        let before = stream(&mut table).last_sequence_number;
        table.play(&mut outbox, 1200 * MS);
        table.play(&mut outbox, 9000 * MS);
        assert_eq!(stream(&mut table).last_sequence_number, before.wrapping_add(2));
        assert!(table.next_due() > Some(9000 * MS));
    }

    #[test]
    fn silence_yields_to_speech_and_comes_again_after_it() {
        let (mut table, mut outbox) = sending();
        table.obey_send(&mut outbox, 1, SendOrder::Silence(Some(silence())), 1000 * MS);
        assert_eq!(played(&mut table, &mut outbox, 1000..2000, true), []);
        let quiet = played(&mut table, &mut outbox, 2000..3000, false);
        assert!((2030..=2031).contains(&quiet[0]), "{quiet:?}");
        assert!(quiet.windows(2).all(|pair| (20..=21).contains(&(pair[1] - pair[0]))), "{quiet:?}");
        assert!(quiet.len() > 45);
        assert_eq!(played(&mut table, &mut outbox, 3000..4000, true), []);
        assert!(!played(&mut table, &mut outbox, 4000..4100, false).is_empty());
    }

    fn event(advance: Option<i32>, end: u8) -> SendOrder {
        SendOrder::Inject(Injected { second: 101, advance, is_event: true, payload: [1, end, 0, 160].into() })
    }

    #[test]
    fn silence_never_lands_in_an_event() {
        let (mut table, mut outbox) = sending();
        table.obey_send(&mut outbox, 1, SendOrder::Silence(Some(silence())), 1000 * MS);
        table.obey_send(&mut outbox, 1, event(None, 0), 1001 * MS);
        assert_eq!(played(&mut table, &mut outbox, 1002..3000, false), []);
        table.obey_send(&mut outbox, 1, event(Some(0), 0), 3000 * MS);
        assert_eq!(played(&mut table, &mut outbox, 3001..3100, false), []);
        table.obey_send(&mut outbox, 1, event(Some(0), 0x80), 3100 * MS);
        let quiet = played(&mut table, &mut outbox, 3101..3400, false);
        assert!((3200..=3255).contains(&quiet[0]), "{quiet:?}");
    }

    #[test]
    fn audio_of_ours_waits_for_an_event_unless_the_stream_is_muted() {
        let (mut table, mut outbox) = sending();
        let audio = || {
            let payload = [0xff].into();
            SendOrder::Inject(Injected { second: 0, advance: Some(160), is_event: false, payload })
        };
        table.obey_send(&mut outbox, 1, event(None, 0), 1000 * MS);
        let sent = stream(&mut table).last_sequence_number;
        table.obey_send(&mut outbox, 1, audio(), 1020 * MS);
        assert_eq!(stream(&mut table).last_sequence_number, sent);
        table.obey_send(&mut outbox, 1, SendOrder::Muted(true), 1030 * MS);
        table.obey_send(&mut outbox, 1, event(None, 0), 1030 * MS);
        table.obey_send(&mut outbox, 1, audio(), 1040 * MS);
        assert_eq!(stream(&mut table).last_sequence_number, sent.wrapping_add(2));
        assert_eq!(stream(&mut table).last_timestamp, 1 + 8 * 40);
    }

    #[test]
    fn a_slot_that_has_become_another_flows_is_not_its_own_any_more() {
        let mut table = Table::new(1);
        let slot = table.put_receive(half(1));
        assert_eq!(table.still_slot(1, slot), Some(slot));
        table.take_receive(1);
        assert_eq!(table.put_receive(half(2)), slot);
        assert_eq!(table.still_slot(1, slot), None);
        let again = table.put_receive(half(1));
        assert_eq!(table.still_slot(1, slot), Some(again));
        assert_eq!(table.still_slot(2, usize::MAX), Some(slot));
    }
}
