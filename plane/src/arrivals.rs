//! When the packets of one peer came, by their transport-wide numbers, and what tells it so
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).

/// Numbers that are remembered, of which one message tells at most: a peer that sends more in that time is told of the last.
pub const WINDOW: u16 = 512;
/// Octets of the longest beginning of a compound packet.
pub const MAX_HEAD: usize = 128;
/// Octets of the longest compound packet that is made: each packet's delta takes two at most, seven packets share a chunk.
const LONGEST: usize = MAX_HEAD + 20 + 2 * WINDOW as usize + 2 * WINDOW as usize / 7 + 8;
/// ns between two messages: at least, and at most however little comes.
const SHORTEST_INTERVAL: u64 = 50_000_000;
const LONGEST_INTERVAL: u64 = 250_000_000;
/// What is told takes no more than this part of what comes.
const SHARE: u64 = 20;
/// Octets of IP, UDP and SRTCP around a message.
const AROUND: u64 = 48;
/// ns of a tick of arrival, and ticks of one of the reference time.
const TICK: u64 = 250_000;
const REFERENCE: i64 = 256;
/// ns that count as time in which something came, at most.
const LONGEST_PAUSE: u64 = 1_000_000_000;
const RTPFB: u8 = 205;
const FORMAT: u8 = 15;

/// How a peer numbers its packets, and how messages to it begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counting {
    /// Identifier of the header extension (RFC 8285), 1 to 255.
    pub extension: u8,
    /// The RTCP packets before each message: a report, and our CNAME (RFC 3550 section 6.1).
    pub head: Box<[u8]>,
}

/// The last packets of one peer.
pub struct Arrivals {
    pub counting: Counting,
    /// SSRC of the packet that came last.
    source: u32,
    /// When the packet of a number came, ns; 0: never.
    times: Box<[u64; WINDOW as usize]>,
    highest: Option<u16>,
    /// How many of the last numbers are to be told of.
    untold: u16,
    count: u8,
    due: Option<u64>,
    interval: u64,
    told_at: u64,
    /// Octets that came since it was told last.
    octets: u64,
    room: Box<[u8; LONGEST]>,
}

impl Arrivals {
    pub fn new(counting: Counting) -> Self {
        Self {
            counting,
            source: 0,
            times: Box::new([0; WINDOW as usize]),
            highest: None,
            untold: 0,
            count: 0,
            due: None,
            interval: SHORTEST_INTERVAL,
            told_at: 0,
            octets: 0,
            room: Box::new([0; LONGEST]),
        }
    }

    /// A packet of `size` octets came from `source`; when the peer is to be told, ns, where that was not known yet.
    ///
    /// Told of once: a repeated number counts for nothing. One that is further from the last than is remembered begins
    /// afresh, and what was not told of before stays so.
    pub fn note(&mut self, number: u16, source: u32, size: usize, now: u64) -> Option<u64> {
        self.octets += size as u64;
        self.source = source;
        let highest = *self.highest.get_or_insert(number.wrapping_sub(1));
        let (ahead, behind) = (number.wrapping_sub(highest), highest.wrapping_sub(number));
        if ahead.wrapping_sub(1) < WINDOW - 1 {
            (1..ahead).for_each(|step| *self.time(highest.wrapping_add(step)) = 0);
            self.highest = Some(number);
            self.untold = (self.untold + ahead).min(WINDOW);
        } else if behind < WINDOW {
            if *self.time(number) != 0 {
                return None;
            }
            self.untold = self.untold.max(behind + 1);
        } else {
            self.times.fill(0);
            self.highest = Some(number);
            self.untold = 1;
        }
        *self.time(number) = now;
        if self.due.is_some() {
            return None;
        }
        self.due = Some(now + self.interval);
        self.due
    }

    fn time(&mut self, number: u16) -> &mut u64 {
        &mut self.times[usize::from(number % WINDOW)]
    }

    /// When the peer is to be told, ns.
    pub const fn due(&self) -> Option<u64> {
        self.due
    }

    /// Begin to tell what is due then; whether it is this one's.
    pub fn begin(&mut self, due: u64, now: u64) -> bool {
        if self.due != Some(due) {
            return false;
        }
        self.due = None;
        // The next comes late enough that all take no more than their share of what comes.
        let passed = if self.told_at == 0 { 0 } else { now.saturating_sub(self.told_at).min(LONGEST_PAUSE) };
        let size = AROUND + (self.counting.head.len() + 20 + 2 * usize::from(self.untold)) as u64;
        let wanted = passed * SHARE * size / self.octets.max(1);
        self.interval = wanted.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
        (self.told_at, self.octets) = (now, 0);
        true
    }

    /// The next compound packet for the peer; None when it was told everything.
    pub fn tell(&mut self) -> Option<&[u8]> {
        let mut told = Told::default();
        loop {
            let highest = self.highest.filter(|_| self.untold > 0)?;
            let first = highest.wrapping_sub(self.untold - 1);
            let count = told.take(first, self.untold, &self.times);
            self.untold -= count;
            if told.reference.is_some() {
                let head = self.counting.head.len();
                let (before, room) = self.room.split_at_mut(head);
                before.copy_from_slice(&self.counting.head);
                let length = told.write(room, &self.counting.head, (self.source, first, self.count));
                self.count = self.count.wrapping_add(1);
                return Some(&self.room[..head + length]);
            }
        }
    }
}

/// Numbers in a row, what became of each, and by how many ticks each came after the one before.
struct Told {
    reference: Option<i64>,
    symbols: [u8; WINDOW as usize],
    deltas: [i16; WINDOW as usize],
    count: usize,
}

impl Default for Told {
    fn default() -> Self {
        Self { reference: None, symbols: [0; WINDOW as usize], deltas: [0; WINDOW as usize], count: 0 }
    }
}

const LOST: u8 = 0;
const SMALL: u8 = 1;
const LARGE: u8 = 2;

impl Told {
    /// Take as many of the `most` numbers from `first` as one message can tell of; how many.
    fn take(&mut self, first: u16, most: u16, times: &[u64; WINDOW as usize]) -> u16 {
        self.count = 0;
        let mut last = 0;
        for step in 0..most {
            let time = times[usize::from(first.wrapping_add(step) % WINDOW)];
            let symbol = if time == 0 {
                LOST
            } else {
                let tick = ((time + TICK / 2) / TICK) as i64;
                if self.reference.is_none() {
                    self.reference = Some(tick / REFERENCE);
                    last = tick / REFERENCE * REFERENCE;
                }
                let Ok(delta) = i16::try_from(tick - last) else { break };
                last = tick;
                self.deltas[self.count] = delta;
                if (0..=255).contains(&delta) {
                    SMALL
                } else {
                    LARGE
                }
            };
            self.symbols[self.count] = symbol;
            self.count += 1;
        }
        self.count as u16
    }

    /// Write the message; its octets. `numbers`: the media source, the first number, the count of messages before.
    fn write(&self, room: &mut [u8], head: &[u8], (source, first, count): (u32, u16, u8)) -> usize {
        let reference = (self.reference.unwrap_or(0) & 0xff_ffff) as u32;
        room[4..8].copy_from_slice(head.get(4..8).unwrap_or(&[0; 4]));
        room[8..12].copy_from_slice(&source.to_be_bytes());
        room[12..14].copy_from_slice(&first.to_be_bytes());
        room[14..16].copy_from_slice(&(self.count as u16).to_be_bytes());
        room[16..20].copy_from_slice(&(reference << 8 | u32::from(count)).to_be_bytes());
        let mut end = 20;
        let mut rest = &self.symbols[..self.count];
        while !rest.is_empty() {
            let (chunk, taken) = chunk(rest);
            room[end..end + 2].copy_from_slice(&chunk.to_be_bytes());
            end += 2;
            rest = &rest[taken..];
        }
        for (symbol, delta) in self.symbols[..self.count].iter().zip(&self.deltas) {
            match *symbol {
                SMALL => {
                    room[end] = *delta as u8;
                    end += 1;
                }
                LARGE => {
                    room[end..end + 2].copy_from_slice(&delta.to_be_bytes());
                    end += 2;
                }
                _ => {}
            }
        }
        let padding = end.wrapping_neg() % 4;
        room[end..end + padding].fill(0);
        end += padding;
        room[0] = 0x80 | FORMAT;
        room[1] = RTPFB;
        room[2..4].copy_from_slice(&((end / 4 - 1) as u16).to_be_bytes());
        end
    }
}

/// The chunk that tells of the most of the next symbols, and of how many (section 3.1.2 to 3.1.4).
fn chunk(symbols: &[u8]) -> (u16, usize) {
    let first = symbols[0];
    let run = symbols.iter().take_while(|symbol| **symbol == first).count();
    let next = &symbols[..symbols.len().min(14)];
    let two_bits = next.contains(&LARGE);
    let reach = if two_bits { 7 } else { 14 };
    if run >= reach || run == symbols.len() {
        return (u16::from(first) << 13 | run as u16, run);
    }
    let next = &next[..next.len().min(reach)];
    let bits = if two_bits { 2 } else { 1 };
    let list =
        next.iter().enumerate().fold(0, |list, (place, symbol)| list | u16::from(*symbol) << (14 - bits * (place + 1)));
    (0x8000 | u16::from(two_bits) << 14 | list, next.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;
    const START: u64 = 64 * MS * 1000;
    const HEAD: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 9];

    fn arrivals() -> Arrivals {
        Arrivals::new(Counting { extension: 3, head: HEAD.into() })
    }

    /// What a message says: its first number, when each number came in ticks (None: not), its own count.
    fn read(packet: &[u8]) -> (u16, Vec<Option<i64>>, u8) {
        assert_eq!(packet[..8], HEAD);
        let message = &packet[8..];
        assert_eq!(message[..2], [0x8f, 205]);
        assert_eq!(usize::from(u16::from_be_bytes([message[2], message[3]])) * 4 + 4, message.len());
        assert_eq!(message[4..12], [0, 0, 0, 9, 0, 0, 0, 77]);
        let two = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
        let (first, count) = (two(12), usize::from(two(14)));
        let mut tick = i64::from(u32::from_be_bytes([0, message[16], message[17], message[18]])) * REFERENCE;
        let (mut at, mut symbols) = (20, Vec::new());
        while symbols.len() < count {
            let chunk = two(at);
            at += 2;
            match chunk >> 14 {
                2 => symbols.extend((0..14).map(|place| (chunk >> (13 - place) & 1) as u8)),
                3 => symbols.extend((0..7).map(|place| (chunk >> (12 - 2 * place) & 3) as u8)),
                _ => symbols.extend(std::iter::repeat_n((chunk >> 13) as u8, usize::from(chunk & 0x1fff))),
            }
        }
        assert!(symbols[count..].iter().all(|symbol| *symbol == LOST));
        let came = symbols[..count].iter().map(|symbol| {
            match *symbol {
                LOST => return None,
                SMALL => tick += i64::from(message[at]),
                LARGE => tick += i64::from(two(at) as i16),
                other => panic!("symbol {other}"),
            }
            at += usize::from(*symbol);
            Some(tick)
        });
        let came = came.collect();
        assert_eq!(at.next_multiple_of(4), message.len());
        assert!(message[at..].iter().all(|octet| *octet == 0));
        (first, came, message[19])
    }

    fn told(arrivals: &mut Arrivals, now: u64) -> Vec<(u16, Vec<Option<i64>>, u8)> {
        let due = arrivals.due().unwrap();
        assert!(arrivals.begin(due, now));
        let mut all = Vec::new();
        while let Some(packet) = arrivals.tell() {
            all.push(read(packet));
        }
        all
    }

    #[test]
    fn losses_reordering_and_repetition_over_the_wrap_are_told_once() {
        let mut arrivals = arrivals();
        for (step, number) in [65_533, 65_534, 1, 65_535, 65_534, 2].into_iter().enumerate() {
            let due = arrivals.note(number, 77, 1200, START + step as u64 * MS);
            assert_eq!(due, (step == 0).then_some(START + SHORTEST_INTERVAL));
        }
        let tick = |ms: i64| Some(1000 * REFERENCE + 4 * ms);
        let expected = vec![tick(0), tick(1), tick(3), None, tick(2), tick(5)];
        assert_eq!(told(&mut arrivals, START + 50 * MS), [(65_533, expected, 0)]);
        assert!(arrivals.tell().is_none() && arrivals.due().is_none());
        arrivals.note(0, 77, 1200, START + 60 * MS);
        assert_eq!(told(&mut arrivals, START + 110 * MS), [(0, vec![tick(60), tick(2), tick(5)], 1)]);
    }

    #[test]
    fn a_pause_too_long_for_a_delta_begins_another_message() {
        let mut arrivals = arrivals();
        arrivals.note(7, 77, 100, START);
        arrivals.note(9, 77, 100, START + 9_000 * MS);
        let came = told(&mut arrivals, START + 9_050 * MS);
        assert_eq!(came[0], (7, vec![Some(1000 * REFERENCE), None], 0));
        assert_eq!(came[1], (9, vec![Some(1000 * REFERENCE + 36_000)], 1));
    }

    #[test]
    fn numbers_far_from_the_last_begin_afresh() {
        let mut arrivals = arrivals();
        for number in [5, 30_005, 60_005, 24_469, 24_470] {
            arrivals.note(number, 77, 100, START);
        }
        let came = Some(1000 * REFERENCE);
        assert_eq!(told(&mut arrivals, START + 50 * MS), [(24_469, vec![came, came], 0)]);
    }

    #[test]
    fn more_numbers_than_are_remembered_are_told_of_by_the_last() {
        let mut arrivals = arrivals();
        for number in 0..=65_535 {
            arrivals.note(number, 77, 100, START);
        }
        assert_eq!(told(&mut arrivals, START), [(65_024, vec![Some(1000 * REFERENCE); 512], 0)]);
    }

    #[test]
    fn a_gap_at_the_edge_of_what_is_remembered_leaves_the_newest() {
        let mut arrivals = arrivals();
        arrivals.note(0, 77, 100, START);
        arrivals.note(511, 77, 100, START);
        arrivals.note(512, 77, 100, START);
        let (first, came, _) = told(&mut arrivals, START).remove(0);
        assert_eq!((first, came.len(), came.iter().flatten().count()), (1, 512, 2));
    }

    #[test]
    fn what_is_told_takes_a_twentieth_of_what_comes_where_that_is_little() {
        let mut arrivals = arrivals();
        let (mut now, mut octets) = (START, 0);
        let mut number = 0;
        for size in [1200, 100] {
            let (mut told, mut since) = (0, 0);
            for _ in 0..2000 {
                now += 10 * MS;
                if arrivals.due().is_some_and(|due| due <= now) {
                    arrivals.begin(arrivals.due().unwrap(), now);
                    while let Some(packet) = arrivals.tell() {
                        told += packet.len() as u64 + AROUND;
                        since += 1;
                    }
                }
                number += 1;
                octets += size;
                arrivals.note(number, 77, size as usize, now);
            }
            assert!(told * SHARE <= octets * 11 / 10, "{told} of {octets} octets");
            assert!((80..=400).contains(&since), "{since} messages in 20 s");
            octets = 0;
        }
    }

    #[test]
    fn what_was_due_before_is_not_due_again() {
        let mut arrivals = arrivals();
        let due = arrivals.note(1, 77, 100, START).unwrap();
        assert!(!arrivals.begin(due - 1, START));
        assert!(arrivals.begin(due, START) && !arrivals.begin(due, START));
    }

    proptest! {
        #[test]
        fn whatever_comes_every_message_reads_as_it_was_meant_and_none_makes_it_panic(
            packets in prop::collection::vec((any::<u16>(), 0u16..700, 0u64..3_000_000_000, prop::bool::weighted(0.05)), 1..300)
        ) {
            let mut arrivals = arrivals();
            let (mut now, mut base) = (START, 0u16);
            for (number, step, pause, jumps) in packets {
                base = if jumps { number } else { base.wrapping_add(step).wrapping_sub(300) };
                now += if pause % 7 == 0 { pause } else { pause / 1000 };
                arrivals.note(base, 77, 100, now);
                if pause % 5 == 0 && arrivals.due().is_some() {
                    for (_, came, _) in told(&mut arrivals, now) {
                        prop_assert!(came.iter().flatten().all(|tick| *tick <= (now / TICK + 1) as i64));
                        prop_assert!(came.len() <= usize::from(WINDOW) && came.iter().flatten().count() > 0);
                    }
                }
            }
        }
    }
}
