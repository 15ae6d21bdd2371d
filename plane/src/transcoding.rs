//! The transcoders of one flow: payload types that come in and go out as another codec.

use crate::flow::{Action, Routes};
use crate::outgoing::MARKER;
use crate::rtp::Header;
use gateway_audio::{Codec, Frame, Kind, Packet, Settings, Transcoder};

/// What audio of one payload type becomes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conversion {
    pub from: Codec,
    pub to: Codec,
    /// Outgoing payload type.
    pub payload_type: u8,
    /// Outgoing payload type of comfort noise (RFC 3389), where the listener takes it.
    pub noise: Option<u8>,
    pub settings: Settings,
}

struct Stream {
    number: u8,
    conversion: Conversion,
    transcoder: Transcoder,
}

/// What is counted of a playout buffer; see `Figures`.
type Counts = [u64; 6];

impl Stream {
    fn counts(&self) -> Counts {
        let (counts, rate) = (self.transcoder.statistics(), u64::from(self.transcoder.playout_rate().max(1)));
        let ms = |samples: u64| samples * 1000 / rate;
        [counts.late, counts.lost, counts.recovered, ms(counts.concealed), ms(counts.shortened), ms(counts.lengthened)]
    }
}

/// One transcoder for each payload type; only the one whose packets come speaks.
#[derive(Default)]
pub struct Transcoding {
    streams: Vec<Stream>,
    /// Of those that are gone.
    before: Counts,
    /// Payload type of the packet that came last.
    speaking: u8,
    /// When the thread that owns the flow will ask for a frame, ns.
    scheduled: Option<u64>,
}

/// Transcoders, then of their playout buffers and of those before them together: packets that came too late, were
/// missing, were recovered; ms concealed, taken out, put in; and ms that packets of the one that speaks should wait, and
/// that the last waited.
pub type Figures = [u64; 9];

/// Payload types with a transcoder of their own that one flow may have.
const MAX_STREAMS: usize = 8;

impl Transcoding {
    /// Audio of payload type `number` shall become this. One that is so already goes on.
    pub fn set(&mut self, number: u8, conversion: Conversion) {
        if self.streams.iter().any(|stream| stream.number == number && stream.conversion == conversion) {
            return;
        }
        self.forget(|stream| stream.number == number);
        let settings = Settings { comfort_noise: conversion.noise.is_some(), ..conversion.settings };
        if self.streams.len() < MAX_STREAMS {
            if let Ok(transcoder) = Transcoder::new(conversion.from, conversion.to, &settings) {
                self.streams.push(Stream { number, conversion, transcoder });
            }
        }
    }

    /// Forget those whose payload type is not transcoded any more.
    pub fn keep(&mut self, routes: &Routes) {
        self.forget(|stream| routes[usize::from(stream.number & 0x7f)].action != Action::Transcode);
    }

    /// Drop some, and go on counting where they stopped.
    fn forget(&mut self, gone: impl Fn(&Stream) -> bool) {
        for stream in self.streams.iter().filter(|stream| gone(stream)) {
            self.before.iter_mut().zip(stream.counts()).for_each(|(sum, more)| *sum += more);
        }
        self.streams.retain(|stream| !gone(stream));
    }

    pub fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        figures[0] = self.streams.len() as u64;
        figures[1..].iter_mut().zip(self.before).for_each(|(sum, more)| *sum = more);
        for stream in &self.streams {
            let counts = stream.transcoder.statistics();
            figures[1..].iter_mut().zip(stream.counts()).for_each(|(sum, more)| *sum += more);
            if stream.number == self.speaking {
                (figures[7], figures[8]) = (u64::from(counts.wanted_ms), u64::from(counts.waited_ms));
            }
        }
        figures
    }

    fn speaker(&mut self) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.number == self.speaking)
    }

    /// Another sender comes, or audio of payload type `number` that was not the last: the others are silent.
    pub fn rest_all_but(&mut self, number: Option<u8>) {
        for stream in self.streams.iter_mut().filter(|stream| Some(stream.number) != number) {
            stream.transcoder.reset();
        }
    }

    /// Take a packet that came `now` (ns); comfort noise goes to the one that speaks.
    pub fn push(&mut self, header: &Header, audio: bool, payload: &[u8], now: u64) {
        if audio {
            self.speaking = header.payload_type();
        }
        let Some(stream) = self.speaker() else { return };
        let packet = Packet {
            sequence_number: header.sequence_number,
            timestamp: header.timestamp,
            marker: header.second & MARKER != 0,
            kind: if audio { Kind::Audio } else { Kind::Noise },
            payload,
        };
        stream.transcoder.push(&packet, now / 1000);
    }

    /// When to ask for a frame, ns, if that is not known yet.
    pub fn schedule(&mut self) -> Option<u64> {
        let due = self.speaker()?.transcoder.due()? * 1000;
        (self.scheduled != Some(due)).then(|| *self.scheduled.insert(due))
    }

    /// Another thread owns the flow now, and knows of no time.
    pub fn forget_schedule(&mut self) {
        self.scheduled = None;
    }

    /// Whether it was this time that was scheduled; it is then past.
    pub fn is_scheduled(&mut self, due: u64) -> bool {
        self.scheduled == Some(due) && self.scheduled.take().is_some()
    }

    /// The frame that is due, with the second octet of its header; see `Transcoder::tick`.
    pub fn tick(&mut self, now: u64) -> Option<(u8, Frame<'_>)> {
        let Stream { conversion, transcoder, .. } = self.speaker()?;
        let frame = transcoder.tick(now / 1000)?;
        let payload_type = match frame.kind {
            Kind::Audio => conversion.payload_type,
            Kind::Noise => conversion.noise?,
        };
        Some((payload_type | if frame.marker { MARKER } else { 0 }, frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Route;

    const MS: u64 = 1_000_000;

    fn conversion(to: Codec, payload_type: u8) -> Conversion {
        Conversion { from: Codec::Pcmu, to, payload_type, noise: None, settings: Settings::default() }
    }

    fn header(payload_type: u8, number: u16) -> Header {
        let timestamp = u32::from(number) * 160;
        Header { second: payload_type, sequence_number: number, timestamp, ssrc: 1, turned: None }
    }

    /// Second octets of the frames that so many packets of one payload type make.
    fn frames(transcoding: &mut Transcoding, payload_type: u8, numbers: std::ops::Range<u16>) -> Vec<u8> {
        let (mut made, mut due) = (Vec::new(), transcoding.scheduled);
        for number in numbers {
            let now = 1000 * MS + u64::from(number) * 20 * MS;
            transcoding.push(&header(payload_type, number), true, &[0x55; 160], now);
            due = transcoding.schedule().or(due);
            while let Some(next) = due.filter(|due| *due <= now && transcoding.is_scheduled(*due)) {
                made.extend(transcoding.tick(now).map(|(second, _)| second));
                assert!(!transcoding.is_scheduled(next));
                due = transcoding.schedule();
            }
        }
        made
    }

    #[test]
    fn a_payload_type_becomes_the_one_that_is_wanted() {
        let mut transcoding = Transcoding::default();
        transcoding.set(0, conversion(Codec::Pcma, 8));
        let made = frames(&mut transcoding, 0, 0..20);
        assert_eq!(made[0], 8 | MARKER);
        assert!(made.len() >= 17 && made[1..].iter().all(|&second| second == 8));
        assert_eq!(frames(&mut transcoding, 9, 20..30), []);
    }

    #[test]
    fn the_same_conversion_again_goes_on_and_another_begins_anew() {
        let mut transcoding = Transcoding::default();
        transcoding.set(0, conversion(Codec::Pcma, 8));
        frames(&mut transcoding, 0, 0..20);
        transcoding.set(0, conversion(Codec::Pcma, 8));
        assert_eq!(frames(&mut transcoding, 0, 20..21), [8]);
        transcoding.set(0, conversion(Codec::Opus, 111));
        assert_eq!(frames(&mut transcoding, 0, 21..30)[0], 111 | MARKER);
    }

    #[test]
    fn only_the_payload_type_that_comes_speaks() {
        let mut transcoding = Transcoding::default();
        transcoding.set(0, conversion(Codec::Pcma, 8));
        transcoding.set(100, conversion(Codec::G722, 9));
        frames(&mut transcoding, 0, 0..20);
        transcoding.rest_all_but(Some(100));
        let made = frames(&mut transcoding, 100, 20..40);
        assert!(made.len() > 10 && made.iter().all(|&second| second & 0x7F == 9), "{made:?}");
    }

    #[test]
    fn what_is_routed_otherwise_is_forgotten() {
        let mut transcoding = Transcoding::default();
        transcoding.set(0, conversion(Codec::Pcma, 8));
        let mut routes = [Route::default(); 128];
        routes[0].action = Action::Transcode;
        transcoding.keep(&routes);
        assert!(!frames(&mut transcoding, 0, 0..5).is_empty());
        routes[0].action = Action::Forward;
        transcoding.keep(&routes);
        assert_eq!(frames(&mut transcoding, 0, 5..10), []);
    }

    #[test]
    fn what_was_counted_of_those_that_are_gone_stays_counted() {
        let mut transcoding = Transcoding::default();
        transcoding.set(0, conversion(Codec::Pcma, 8));
        frames(&mut transcoding, 0, 0..20);
        frames(&mut transcoding, 0, 25..45);
        let counted = transcoding.figures();
        assert!(counted[0] == 1 && counted[2] > 0 && counted[4] > 0, "{counted:?}");
        transcoding.keep(&[Route::default(); 128]);
        assert_eq!(transcoding.figures()[1..7], counted[1..7]);
        assert_eq!((transcoding.figures()[0], transcoding.figures()[8]), (0, 0));
        transcoding.set(0, conversion(Codec::Opus, 111));
        transcoding.set(0, conversion(Codec::G722, 9));
        assert_eq!(transcoding.figures()[1..7], counted[1..7]);
    }

    #[test]
    fn one_flow_has_no_more_than_a_few_transcoders() {
        let mut transcoding = Transcoding::default();
        for number in 0..128 {
            transcoding.set(number, conversion(Codec::Pcma, 8));
        }
        assert_eq!(transcoding.streams.len(), MAX_STREAMS);
    }
}
