//! One end of a call: what it sends, and what it makes of what it hears.

use std::net::SocketAddr;
use std::os::fd::RawFd;

use crate::histogram::Histogram;
use crate::payload::{self, Check, Said, Source};
use crate::srtp::Srtp;

/// Timestamp ticks, packets and time of one run, the same for all.
#[derive(Clone, Copy)]
pub struct Schedule {
    /// Nanoseconds from one packet of an end to the next.
    pub interval: u64,
    /// RTP number of the first packet: runs over the same calls go on where the last one stopped, since a number
    /// that comes again under the same key is a replay.
    pub first: u32,
    /// Packets an end sends before it counts.
    pub warm: u32,
    /// Packets an end sends in all.
    pub total: u32,
    /// Every so many packets one octet of the payload is changed after it was made; 0: none.
    pub corrupt: u32,
}

/// Where an end is and how it speaks.
pub struct End {
    pub call: u32,
    /// 0 or 1: which end of the call, and so which direction it sends.
    pub direction: u8,
    pub fd: RawFd,
    pub remote: SocketAddr,
    pub payload_type: u8,
    pub ssrc: u32,
    /// RTP clock ticks of a packet.
    pub ticks: u32,
    pub source: Source,
    pub check: Check,
    pub send: Option<Srtp>,
    pub receive: Option<Srtp>,
    /// A whole Binding request that renews the consent, empty for ends without ICE.
    pub consent: Vec<u8>,
}

/// The sending half.
pub struct Sender {
    pub fd: RawFd,
    pub consent: Vec<u8>,
    call: u32,
    direction: u8,
    payload_type: u8,
    ssrc: u32,
    ticks: u32,
    source: Source,
    protection: Option<Srtp>,
    first: u32,
}

impl Sender {
    /// Make the packet with that number into `packet`.
    pub fn write(&mut self, number: u32, sent: u64, corrupt: bool, packet: &mut Vec<u8>) {
        packet.clear();
        let marker = if number == 0 { 0x80 } else { 0 };
        packet.extend_from_slice(&[0x80, marker | self.payload_type]);
        let index = self.first.wrapping_add(number);
        packet.extend_from_slice(&(index as u16).to_be_bytes());
        packet.extend_from_slice(&index.wrapping_mul(self.ticks).to_be_bytes());
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
        match &self.source {
            Source::Pattern(length) => {
                let said = Said { call: self.call, direction: self.direction, number, sent };
                payload::write(said, *length, packet);
            }
            Source::Frames(frames) => packet.extend_from_slice(&frames[number as usize % frames.len()]),
        }
        if corrupt {
            let place = 12 + (number as usize * 7) % (packet.len() - 12);
            packet[place] ^= 0x10;
        }
        if let Some(protection) = &mut self.protection {
            protection.protect(packet);
        }
    }
}

/// What one receiving half, or all of a direction together, has counted within the measured time.
pub struct Heard {
    pub received: u64,
    pub duplicated: u64,
    /// Packets whose payload is not to the last octet what was sent (tones: is not that tone).
    pub corrupted: u64,
    /// Packets of another call or direction.
    pub misdelivered: u64,
    /// Packets whose RTP number or timestamp does not run as the payload's number does.
    pub renumbered: u64,
    pub unauthentic: u64,
    /// Packets before the first of the other end: silence of the gateway's own.
    pub before: u64,
    /// Packets beyond those that the other end has sent: what a transcoder plays until it rests.
    pub after: u64,
    pub rtcp: u64,
    /// STUN, DTLS and what is nothing.
    pub other: u64,
    pub delay: Histogram,
}

impl Heard {
    pub fn new() -> Heard {
        Heard {
            received: 0,
            duplicated: 0,
            corrupted: 0,
            misdelivered: 0,
            renumbered: 0,
            unauthentic: 0,
            before: 0,
            after: 0,
            rtcp: 0,
            other: 0,
            delay: Histogram::new(),
        }
    }

    pub fn merge(&mut self, other: &Heard) {
        self.received += other.received;
        self.duplicated += other.duplicated;
        self.corrupted += other.corrupted;
        self.misdelivered += other.misdelivered;
        self.renumbered += other.renumbered;
        self.unauthentic += other.unauthentic;
        self.before += other.before;
        self.after += other.after;
        self.rtcp += other.rtcp;
        self.other += other.other;
        self.delay.merge(&other.delay);
    }
}

/// The receiving half.
pub struct Receiver {
    pub fd: RawFd,
    call: u32,
    /// The direction it hears: the other end's.
    pub direction: u8,
    check: Check,
    protection: Option<Srtp>,
    ticks: u32,
    schedule: Schedule,
    /// By packet number, a bit for those that came.
    came: Vec<u64>,
    /// Packets by number seen at all, for checks that say no number.
    any: u64,
    /// RTP number and timestamp less those of the payload, once known.
    offset: Option<(u16, u32)>,
    /// The same of a stream that says no number: the last RTP number.
    last: Option<u16>,
}

impl Receiver {
    /// Take one datagram that came at `came` into `heard`.
    pub fn take(&mut self, datagram: &mut [u8], came: u64, heard: &mut Heard) {
        if datagram.len() < 12 || datagram[0] & 0xc0 != 0x80 {
            heard.other += 1;
            return;
        }
        if (192..224).contains(&datagram[1]) {
            heard.rtcp += 1;
            return;
        }
        let Some((header, length)) = self.opened(datagram) else {
            heard.unauthentic += 1;
            return;
        };
        let sequence = u16::from_be_bytes([datagram[2], datagram[3]]);
        let timestamp = u32::from_be_bytes([datagram[4], datagram[5], datagram[6], datagram[7]]);
        let payload = &datagram[header..length];
        let good = match &self.check {
            Check::Pattern => return self.take_pattern(payload, sequence, timestamp, came, heard),
            Check::Tone(frequency) => payload::has_tone(payload, *frequency),
            Check::Any => !payload.is_empty(),
        };
        self.take_audio(good, sequence, heard);
    }

    /// Where the payload begins and ends, decrypted; None for what is not authentic or no packet.
    fn opened(&mut self, datagram: &mut [u8]) -> Option<(usize, usize)> {
        let mut header = 12 + 4 * usize::from(datagram[0] & 0x0f);
        if datagram[0] & 0x10 != 0 {
            let words = u16::from_be_bytes([*datagram.get(header + 2)?, *datagram.get(header + 3)?]);
            header += 4 + 4 * usize::from(words);
        }
        if header > datagram.len() {
            return None;
        }
        match &mut self.protection {
            None => Some((header, datagram.len())),
            Some(protection) => Some((header, protection.unprotect(datagram, header)?)),
        }
    }

    fn take_pattern(&mut self, payload: &[u8], sequence: u16, timestamp: u32, came: u64, heard: &mut Heard) {
        let Some(said) = payload::read(payload) else {
            match self.offset {
                None => heard.before += 1,
                // Its own number may be what is wrong: it is told by RTP's.
                Some((first, _)) if u32::from(sequence.wrapping_sub(first)) >= self.schedule.warm => {
                    heard.corrupted += 1
                }
                Some(_) => {}
            }
            return;
        };
        if (said.call, said.direction) != (self.call, self.direction) || said.number >= self.schedule.total {
            heard.misdelivered += 1;
            return;
        }
        let expected = said.number.wrapping_mul(self.ticks);
        let offset = (sequence.wrapping_sub(said.number as u16), timestamp.wrapping_sub(expected));
        if *self.offset.get_or_insert(offset) != offset {
            heard.renumbered += 1;
            self.offset = Some(offset);
        }
        let (word, bit) = (said.number as usize / 64, 1u64 << (said.number % 64));
        if said.number >= self.schedule.warm {
            if self.came[word] & bit != 0 {
                heard.duplicated += 1;
            } else {
                heard.received += 1;
                heard.delay.add(came.saturating_sub(said.sent));
            }
        }
        self.came[word] |= bit;
    }

    fn take_audio(&mut self, good: bool, sequence: u16, heard: &mut Heard) {
        self.any += 1;
        if self.any <= u64::from(self.schedule.warm) {
            return;
        }
        if self.any > u64::from(self.schedule.total) {
            heard.after += 1;
            return;
        }
        if self.last.is_some_and(|last| sequence != last.wrapping_add(1)) {
            heard.renumbered += 1;
        }
        self.last = Some(sequence);
        if good {
            heard.received += 1;
        } else {
            heard.corrupted += 1;
        }
    }
}

/// Split both ends of a call into what sends and what receives.
pub fn split(end: End, ticks_of_other: u32, schedule: Schedule) -> (Sender, Receiver) {
    let receiver = Receiver {
        fd: end.fd,
        call: end.call,
        direction: 1 - end.direction,
        check: end.check,
        protection: end.receive,
        ticks: ticks_of_other,
        schedule,
        came: vec![0; schedule.total as usize / 64 + 1],
        any: 0,
        offset: None,
        last: None,
    };
    let sender = Sender {
        fd: end.fd,
        consent: end.consent,
        call: end.call,
        direction: end.direction,
        payload_type: end.payload_type,
        ssrc: end.ssrc,
        ticks: end.ticks,
        source: end.source,
        protection: end.send.map(|protection| protection.starting(schedule.first)),
        first: schedule.first,
    };
    (sender, receiver)
}
