//! The numbers of one outgoing stream: one SSRC, monotonic over new sources, holds and packets of our own.
//!
//! Where a packet has no place in the stream (on hold, a digit of ours is on its way, a payload
//! type that is dropped) it leaves no gap in the sequence numbers.

use crate::event::{Event, Said};
use crate::rtp::Header;

/// Seconds a timestamp may go back before its source is taken to have begun a new timeline, and
/// seconds it may be ahead of the wall clock.
pub const JUMP_LIMIT: u32 = 3;
pub const MARKER: u8 = 0x80;
const HALF: u32 = 0x8000_0000;
const ANCHOR_SPAN: i64 = 1 << 24;
const FLOOR_REACH: u16 = 1000;
const LONGEST_PAUSE: u64 = 0x4000_0000;

/// One outgoing stream. `last_*` are of the newest packet sent.
pub struct Outgoing {
    pub ssrc: u32,
    pub last_sequence_number: u16,
    pub last_timestamp: u32,
    /// ns; None before the first packet.
    pub last_sent: Option<u64>,
    /// ns at which `last_timestamp` was first sent: packets of an event or a picture share one.
    pub stamped: u64,
    /// RTP clocks of the audio that comes and of the audio that goes, Hz.
    pub rate_in: u32,
    pub rate_out: u32,
    /// What is added to the first packet of a run: that a talkspurt begins; nothing where the marker ends a frame.
    begins: u8,
    fresh: bool,
    resume: bool,
    injected: bool,
    sequence_offset: u16,
    offset: u32,
    anchor_in: u32,
    anchor_out: u32,
    floor: u16,
    event: Option<Event>,
}

impl Outgoing {
    /// `ends_frames`: the marker is the source's own, since it ends a frame (RFC 6184 section 5.1, RFC 7741 section 4.1).
    pub fn new(ssrc: u32, sequence_number: u16, timestamp: u32, clock_rate: u32, ends_frames: bool) -> Self {
        Self {
            ssrc,
            last_sequence_number: sequence_number.wrapping_sub(1),
            last_timestamp: timestamp,
            last_sent: None,
            stamped: 0,
            rate_in: clock_rate,
            rate_out: clock_rate,
            begins: if ends_frames { 0 } else { MARKER },
            fresh: true,
            resume: false,
            injected: false,
            sequence_offset: 0,
            offset: 0,
            anchor_in: 0,
            anchor_out: 0,
            floor: 0,
            event: None,
        }
    }

    /// The incoming number of an outgoing one of this run, among the last `kept` that there are.
    pub fn lost_before(&self, number: u16, kept: u16) -> Option<u16> {
        let incoming = number.wrapping_sub(self.sequence_offset);
        let recent = self.last_sequence_number.wrapping_sub(number) < kept.min(FLOOR_REACH);
        (recent && !self.fresh && !self.resume && incoming.wrapping_sub(self.floor) < 0x8000).then_some(incoming)
    }

    /// What comes next begins a run: its numbers have nothing to do with those before.
    pub fn refresh(&mut self) {
        self.fresh = true;
        if let Some(event) = &mut self.event {
            event.part();
        }
    }

    /// An incoming packet has nothing to go out for it: let it leave no gap.
    pub fn skip(&mut self) {
        self.resume = true;
    }

    /// The RTP clock of what will be sent, while nothing has been.
    pub fn set_clock(&mut self, clock_rate: u32) {
        if self.last_sent.is_none() {
            self.rate_out = clock_rate;
        }
    }

    /// The source speaks with these clocks; others than before must be joined afresh.
    pub fn set_rates(&mut self, rate_in: u32, rate_out: u32) {
        if (rate_in, rate_out) != (self.rate_in, self.rate_out) {
            self.rate_in = rate_in;
            self.rate_out = rate_out;
            self.fresh = true;
        }
    }

    /// The header of a packet in the place of an incoming one; None where it is too late for that.
    ///
    /// `highest`: newest sequence number of the incoming run.
    pub fn place(&mut self, second: u8, number: u16, timestamp: u32, highest: u16, now: u64) -> Option<Header> {
        let mut second = second;
        if self.fresh || self.resume {
            if self.fresh {
                second |= self.begins;
            }
            self.anchor(number, timestamp, now);
        } else if number != highest && self.is_before_floor(number, highest) {
            return None;
        }
        let mut sequence_number = number.wrapping_add(self.sequence_offset);
        let mut when = self.map(timestamp);
        if sequence_number.wrapping_sub(self.last_sequence_number) < 0x8000 {
            if self.jumps(when, now) {
                self.fresh = true;
                second |= self.begins;
                self.anchor(number, timestamp, now);
                (sequence_number, when) = (number.wrapping_add(self.sequence_offset), self.map(timestamp));
            }
            self.last_sequence_number = sequence_number;
            self.stamp(when, now);
        }
        self.injected = false;
        Some(Header { second, sequence_number, timestamp: when, ssrc: self.ssrc, turned: None })
    }

    /// The header of an incoming packet of a telephone-event, as `place`.
    pub fn place_event(&mut self, incoming: &Header, highest: u16, said: Said, now: u64) -> Option<Header> {
        let (number, timestamp) = (incoming.sequence_number, incoming.timestamp);
        if self.event.as_mut().is_some_and(|event| event.rejoin(timestamp, said, now)) {
            self.anchor(number, timestamp, now);
        }
        let Some(mut event) = self.event.filter(|event| event.is(timestamp)) else {
            let placed = self.place(incoming.second, number, timestamp, highest, now)?;
            if number == highest {
                let mut event = Event::new(placed.timestamp, Some(timestamp), now);
                event.keep(said);
                self.note_event(event, said.ends, now);
            }
            return Some(placed);
        };
        if self.fresh || self.resume {
            self.join(number);
            // After a packet of ours the next audio is to be joined by its time as well.
            self.resume = self.injected;
        } else if number != highest && self.is_before_floor(number, highest) {
            return None;
        }
        let sequence_number = number.wrapping_add(self.sequence_offset);
        if sequence_number.wrapping_sub(self.last_sequence_number) < 0x8000 {
            self.last_sequence_number = sequence_number;
            self.last_sent = Some(now);
        }
        event.keep(said);
        self.note_event(event, said.ends, now);
        let timestamp = event.timestamp;
        Some(Header { second: incoming.second, sequence_number, timestamp, ssrc: self.ssrc, turned: None })
    }

    /// The header of a packet of our own, after all others; `timestamp` is an outgoing one.
    pub fn emit(&mut self, second: u8, timestamp: u32, now: u64) -> Header {
        self.stamp(timestamp, now);
        self.next(second, timestamp)
    }

    /// The header of a packet of audio of our own, `advance` ticks after the one before; None: by the wall clock, as after
    /// an event.
    pub fn emit_audio(&mut self, second: u8, advance: Option<i32>, now: u64) -> Header {
        self.release_event();
        let after_event = self.event.is_some_and(|event| event.timestamp == self.last_timestamp);
        let timestamp = match advance {
            Some(ticks) if !after_event => self.last_timestamp.wrapping_add_signed(ticks),
            _ => self.timestamp_at(now),
        };
        self.emit(second, timestamp, now)
    }

    /// The header of a packet of an event, `advance` ticks after the start of the one before; None: another begins.
    pub fn emit_event(&mut self, second: u8, advance: Option<i32>, ends: bool, now: u64) -> Header {
        let event = match (advance, self.event) {
            (Some(0), Some(event)) => {
                self.last_sent = Some(now);
                event
            }
            (Some(ticks), Some(event)) => self.begin_event(event.timestamp.wrapping_add_signed(ticks), now),
            (_, last) => {
                let timestamp = self.timestamp_at(now);
                let repeats = last.is_some_and(|event| event.timestamp == timestamp);
                self.begin_event(timestamp.wrapping_add(u32::from(repeats)), now)
            }
        };
        self.note_event(event, ends, now);
        self.next(second, event.timestamp)
    }

    /// Whether an event has the stream to itself: neither audio of ours nor silence may go out.
    pub fn in_event(&self, now: u64) -> bool {
        self.event.is_some_and(|event| event.holds(now))
    }

    /// Note audio of the source that comes while its events go out.
    pub fn hear_audio(&mut self, now: u64) {
        if let Some(event) = &mut self.event {
            event.hear_audio(now);
        }
    }

    /// Give the stream back to audio though an event has not ended.
    pub fn release_event(&mut self) {
        if let Some(event) = &mut self.event {
            event.release();
        }
    }

    /// The header of a packet after all others, `offset` ticks after where the incoming `timestamp` belongs.
    pub fn emit_at(&mut self, second: u8, number: u16, timestamp: u32, offset: i32, now: u64) -> Header {
        if self.fresh {
            self.anchor(number, timestamp, now);
        }
        let mut when = self.map(timestamp).wrapping_add_signed(offset);
        let repeats = self.last_sent.is_some() && when.wrapping_sub(self.last_timestamp).wrapping_sub(1) >= HALF;
        if repeats || self.jumps(when, now) {
            // Something of ours went out meanwhile: join again behind it.
            self.fresh = true;
            self.anchor(number, timestamp, now);
            when = self.anchor_out;
            self.anchor_out = when.wrapping_add_signed(offset.wrapping_neg());
            self.offset = self.anchor_out.wrapping_sub(self.anchor_in);
        }
        self.emit(second, when, now)
    }

    /// The outgoing timestamp that stands for `now`, by the wall clock since the last timestamp was first sent.
    pub fn timestamp_at(&self, now: u64) -> u32 {
        self.last_timestamp.wrapping_add(self.elapsed(now))
    }

    fn begin_event(&mut self, timestamp: u32, now: u64) -> Event {
        self.stamp(timestamp, now);
        Event::new(timestamp, None, now)
    }

    fn note_event(&mut self, mut event: Event, ends: bool, now: u64) {
        event.note(ends, now);
        self.event = Some(event);
    }

    fn stamp(&mut self, timestamp: u32, now: u64) {
        if self.last_sent.is_none() || timestamp != self.last_timestamp {
            self.stamped = now;
        }
        self.last_timestamp = timestamp;
        self.last_sent = Some(now);
    }

    /// The header with the next number.
    fn next(&mut self, second: u8, timestamp: u32) -> Header {
        self.last_sequence_number = self.last_sequence_number.wrapping_add(1);
        self.resume = true;
        self.injected = true;
        Header { second, sequence_number: self.last_sequence_number, timestamp, ssrc: self.ssrc, turned: None }
    }

    fn map(&mut self, timestamp: u32) -> u32 {
        if self.rate_in == self.rate_out {
            return timestamp.wrapping_add(self.offset);
        }
        let (rate_in, rate_out) = (i64::from(self.rate_in.max(1)), i64::from(self.rate_out));
        let mut delta = i64::from(timestamp.wrapping_sub(self.anchor_in) as i32);
        if delta.abs() >= ANCHOR_SPAN {
            // Whole seconds of both clocks, so that the anchor moves without rounding.
            let seconds = delta.div_euclid(rate_in);
            self.anchor_in = self.anchor_in.wrapping_add((seconds * rate_in) as u32);
            self.anchor_out = self.anchor_out.wrapping_add((seconds * rate_out) as u32);
            delta -= seconds * rate_in;
        }
        self.anchor_out.wrapping_add((delta * rate_out).div_euclid(rate_in) as u32)
    }

    /// Join the incoming sequence numbers to the outgoing ones after the last packet sent.
    fn join(&mut self, number: u16) {
        self.sequence_offset = self.last_sequence_number.wrapping_add(1).wrapping_sub(number);
        self.floor = number;
    }

    /// Join the incoming numbers to the outgoing ones after the last packet sent.
    fn anchor(&mut self, number: u16, timestamp: u32, now: u64) {
        self.join(number);
        let fresh = std::mem::take(&mut self.fresh);
        self.resume = false;
        if !fresh {
            let forward = self.map(timestamp).wrapping_sub(self.last_timestamp);
            // An event keeps its timestamp over a packet left out; after one of our own time must go on.
            if forward < HALF && (forward > 0 || !self.injected) {
                return;
            }
        }
        self.anchor_in = timestamp;
        self.anchor_out = self.last_timestamp;
        if self.last_sent.is_some() {
            self.anchor_out = self.last_timestamp.wrapping_add(self.elapsed(now).max(1));
        }
        self.offset = self.anchor_out.wrapping_sub(self.anchor_in);
    }

    /// Whether a timestamp is on another timeline than the last one.
    fn jumps(&self, when: u32, now: u64) -> bool {
        if self.last_sent.is_none() {
            return false;
        }
        let limit = self.rate_out * JUMP_LIMIT;
        let forward = when.wrapping_sub(self.last_timestamp);
        if forward >= HALF {
            forward.wrapping_neg() > limit
        } else {
            forward > self.elapsed(now).saturating_add(limit)
        }
    }

    /// Ticks of the outgoing clock since the last timestamp was first sent.
    fn elapsed(&self, now: u64) -> u32 {
        if self.last_sent.is_none() {
            return 0;
        }
        let passed = u128::from(now.saturating_sub(self.stamped)) * u128::from(self.rate_out);
        ((passed + 500_000_000) / 1_000_000_000).min(u128::from(LONGEST_PAUSE)) as u32
    }

    /// Whether a late packet belongs before the point where the numbers were joined.
    fn is_before_floor(&mut self, number: u16, highest: u16) -> bool {
        let passed = highest.wrapping_sub(self.floor);
        if passed > FLOOR_REACH {
            self.floor = highest.wrapping_sub(FLOOR_REACH);
        }
        passed < highest.wrapping_sub(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const START: u64 = 1_000 * MS;

    struct Line {
        out: Outgoing,
        now: u64,
    }

    impl Line {
        fn new() -> Self {
            Self { out: Outgoing::new(7, 100, 5000, 8000, false), now: START }
        }

        fn pass(&mut self, number: u16, timestamp: u32) -> (u16, u32, bool) {
            let header = self.out.place(0, number, timestamp, number, self.now).unwrap();
            self.now += 20 * MS;
            (header.sequence_number, header.timestamp, header.second & MARKER != 0)
        }
    }

    #[test]
    fn the_first_packet_has_the_given_numbers_and_a_marker() {
        let mut line = Line::new();
        assert_eq!(line.pass(40_000, 99), (100, 5000, true));
        assert_eq!(line.pass(40_001, 259), (101, 5160, false));
    }

    #[test]
    fn a_loss_stays_a_loss_and_a_late_packet_finds_its_place() {
        let mut line = Line::new();
        line.pass(10, 0);
        assert_eq!(line.pass(12, 320), (102, 5320, false));
        let late = line.out.place(0, 11, 160, 12, line.now).unwrap();
        assert_eq!((late.sequence_number, late.timestamp), (101, 5160));
        assert_eq!(line.pass(13, 480), (103, 5480, false));
    }

    #[test]
    fn a_packet_left_out_leaves_no_gap_and_keeps_the_timeline() {
        let mut line = Line::new();
        line.pass(10, 0);
        line.out.skip();
        line.now += 20 * MS;
        assert_eq!(line.pass(12, 320), (101, 5320, false));
    }

    #[test]
    fn an_event_keeps_its_timestamp_over_a_packet_left_out() {
        let mut line = Line::new();
        line.pass(10, 800);
        assert_eq!(line.pass(11, 960), (101, 5160, false));
        line.out.skip();
        assert_eq!(line.pass(13, 960), (102, 5160, false));
    }

    #[test]
    fn what_was_lost_is_asked_for_of_who_sent_it_alone() {
        let mut line = Line::new();
        line.pass(10, 0);
        line.pass(12, 320);
        assert_eq!((line.out.lost_before(101, 9), line.out.lost_before(101, 1)), (Some(11), None));
        line.out.skip();
        assert_eq!(line.out.lost_before(101, 9), None);
        line.pass(15, 480);
        assert_eq!((line.out.lost_before(103, 9), line.out.lost_before(101, 9)), (Some(15), None));
        line.out.refresh();
        assert_eq!(line.out.lost_before(103, 9), None);
        line.pass(4000, 9);
        assert_eq!((line.out.lost_before(104, 9), line.out.lost_before(103, 9)), (Some(4000), None));
    }

    #[test]
    fn a_new_run_goes_on_by_the_wall_clock_with_a_marker() {
        let mut line = Line::new();
        line.pass(10, 0);
        line.out.refresh();
        line.now = START + 1000 * MS;
        assert_eq!(line.pass(60_000, 4_000_000_000), (101, 13_000, true));
        assert_eq!(line.pass(60_001, 4_000_000_160), (102, 13_160, false));
    }

    #[test]
    fn packets_of_our_own_come_after_all_others_and_audio_after_them() {
        let mut line = Line::new();
        line.pass(10, 0);
        let stamp = line.out.timestamp_at(line.now);
        let own = line.out.emit(101, stamp, line.now);
        assert_eq!((own.sequence_number, own.timestamp), (101, 5160));
        line.now += 20 * MS;
        let (number, timestamp, _) = line.pass(12, 160);
        assert_eq!(number, 102);
        assert!(timestamp > 5160);
    }

    #[test]
    fn a_timeline_that_goes_back_far_or_jumps_ahead_is_joined_afresh() {
        let mut line = Line::new();
        line.pass(10, 80_000);
        assert_eq!(line.pass(11, 0), (101, 5160, true));
        assert_eq!(line.pass(12, 160), (102, 5320, false));
        assert_eq!(line.pass(13, 500_000_000), (103, 5480, true));
        // One that is late begins nothing, whatever its time.
        assert_eq!(line.pass(15, 500_000_320), (105, 5800, false));
        let late = line.out.place(0, 14, 0, 15, line.now).unwrap();
        assert_eq!((late.sequence_number, late.second), (104, 0));
        assert_eq!(line.pass(16, 500_000_480), (106, 5960, false));
    }

    #[test]
    fn clocks_are_converted_without_drift() {
        let mut line = Line::new();
        line.out.set_rates(48_000, 8000);
        for step in 0..200_000u32 {
            let (_, timestamp, _) = line.pass(step as u16, step.wrapping_mul(960));
            assert_eq!(timestamp, 5000u32.wrapping_add(step.wrapping_mul(160)));
        }
    }

    #[test]
    fn repacketised_audio_never_goes_back_behind_our_own_silence() {
        let mut line = Line::new();
        assert_eq!(line.out.emit_at(0, 10, 1000, 0, line.now).timestamp, 5000);
        assert_eq!(line.out.emit_at(0, 11, 1000, 160, line.now).timestamp, 5160);
        let silence = line.out.emit(0, 9000, line.now + 500 * MS);
        let next = line.out.emit_at(0, 12, 1320, 0, line.now + 520 * MS);
        assert_eq!(next.sequence_number, silence.sequence_number.wrapping_add(1));
        assert_eq!(next.timestamp, 9160);
        assert_eq!(line.out.emit_at(0, 12, 1320, 160, line.now + 520 * MS).timestamp, 9320);
    }

    fn event(line: &mut Line, number: u16, timestamp: u32, ends: bool) -> (u16, u32) {
        let incoming = Header { second: 101, sequence_number: number, timestamp, ..Header::default() };
        let duration = (line.now - START) / MS;
        let said = Said { code: 1, duration: duration as u16, ends };
        let placed = line.out.place_event(&incoming, number, said, line.now).unwrap();
        line.now += 20 * MS;
        (placed.sequence_number, placed.timestamp)
    }

    #[test]
    fn a_forwarded_event_keeps_its_timestamp_beside_audio_and_over_ten_seconds() {
        let mut line = Line::new();
        line.pass(10, 0);
        for step in 0..500u16 {
            assert_eq!(event(&mut line, 11 + 2 * step, 160, false), (101 + 2 * step, 5160), "{step}");
            assert_eq!(line.pass(12 + 2 * step, 160 + 160 * u32::from(step)).1, 5160 + 160 * u32::from(step), "{step}");
        }
    }

    #[test]
    fn audio_after_a_long_event_is_where_its_time_is() {
        let mut line = Line::new();
        line.pass(10, 0);
        (0..500).for_each(|step| assert_eq!(event(&mut line, 11 + step, 160, step > 496).1, 5160));
        assert_eq!(line.pass(511, 80_160), (601, 85_160, false));
    }

    #[test]
    fn audio_after_an_event_that_a_packet_of_ours_crossed_goes_on_behind_that() {
        let mut line = Line::new();
        line.pass(10, 0);
        event(&mut line, 11, 160, false);
        let stamp = line.out.timestamp_at(line.now);
        let own = line.out.emit(13, stamp, line.now);
        assert_eq!(event(&mut line, 12, 160, true), (own.sequence_number + 1, 5160));
        let (number, timestamp, _) = line.pass(13, 160);
        assert_eq!(number, own.sequence_number + 2);
        assert!(timestamp > own.timestamp);
    }

    #[test]
    fn a_digit_goes_on_over_another_run_and_not_after_its_end() {
        for (ended, goes_on) in [(false, true), (true, false)] {
            let mut line = Line::new();
            line.pass(10, 0);
            assert_eq!(event(&mut line, 11, 160, ended), (101, 5160));
            line.out.refresh();
            assert_eq!(event(&mut line, 40_000, 9_000_000, false).1 == 5160, goes_on);
            assert_eq!(event(&mut line, 40_001, 9_000_000, true).0, 103);
            let (number, timestamp, _) = line.pass(40_002, 9_000_320);
            assert_eq!(number, 104);
            assert!(timestamp > 5160 && timestamp < 5160 + 8000);
        }
    }

    #[test]
    fn a_packet_lost_behind_an_event_that_was_joined_leaves_its_gap() {
        let mut line = Line::new();
        line.pass(10, 0);
        assert_eq!(event(&mut line, 11, 160, false), (101, 5160));
        line.out.skip();
        assert_eq!(event(&mut line, 13, 160, true), (102, 5160));
        assert_eq!(line.pass(15, 640).0, 104);
    }

    #[test]
    fn an_event_of_ours_has_one_timestamp_and_the_stream_to_itself() {
        for (packets, pause) in [(1u64, 0), (5, 0), (500, 0), (10, 2_000)] {
            let mut line = Line::new();
            line.pass(10, 0);
            let began = line.now;
            assert_eq!(line.out.emit_event(101, None, false, line.now).timestamp, 5160);
            for step in 1..packets {
                line.now += (20 + if step == packets / 2 { pause } else { 0 }) * MS;
                assert!(line.out.in_event(line.now), "{packets}");
                assert_eq!(line.out.emit_event(101, Some(0), false, line.now).timestamp, 5160, "{packets}");
            }
            (0..3).for_each(|_| assert_eq!(line.out.emit_event(101, Some(0), true, line.now).timestamp, 5160));
            assert!(!line.out.in_event(line.now), "{packets}");
            line.now += 20 * MS;
            let ticks = ((line.now - began) / MS) as u32 * 8;
            assert_eq!(line.out.emit_audio(0, Some(160), line.now).timestamp, 5160 + ticks, "{packets}");
            assert_eq!(line.out.emit_audio(0, Some(160), line.now).timestamp, 5160 + ticks + 160, "{packets}");
        }
    }

    #[test]
    fn an_event_whose_end_is_lost_gives_the_stream_back() {
        let begun = || {
            let mut line = Line::new();
            line.out.emit_event(101, None, false, line.now);
            line
        };
        let mut line = begun();
        assert!(line.out.in_event(line.now + 3_000 * MS) && !line.out.in_event(line.now + 3_001 * MS));
        line.out.hear_audio(line.now + 199 * MS);
        assert!(line.out.in_event(line.now + 199 * MS));
        line.out.hear_audio(line.now + 200 * MS);
        assert!(!line.out.in_event(line.now + 200 * MS));
        let timestamp = line.out.last_timestamp;
        assert_eq!(line.out.emit_event(101, Some(0), true, line.now + 300 * MS).timestamp, timestamp);
        line = begun();
        line.out.emit_event(101, Some(0), true, line.now);
        assert!(line.out.in_event(line.now + 100 * MS) && !line.out.in_event(line.now + 101 * MS));
        for give_back in [Outgoing::refresh, Outgoing::release_event] {
            line = begun();
            give_back(&mut line.out);
            assert!(!line.out.in_event(line.now));
        }
    }

    #[test]
    fn events_that_follow_at_once_have_timestamps_of_their_own() {
        let mut line = Line::new();
        line.pass(10, 0);
        let first = line.out.emit_event(101, None, true, line.now).timestamp;
        let second = line.out.emit_event(101, None, false, line.now).timestamp;
        assert_eq!(second, first + 1);
        assert_eq!(line.out.emit_event(101, Some(65_535), false, line.now).timestamp, second + 65_535);
    }

    #[test]
    fn a_late_packet_from_before_the_joint_is_dropped() {
        let mut line = Line::new();
        line.pass(10, 0);
        line.out.skip();
        line.pass(13, 480);
        assert_eq!(line.out.place(0, 11, 160, 13, line.now), None);
    }
}
