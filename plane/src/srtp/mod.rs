//! SRTP and SRTCP (RFC 3711, RFC 7714): contexts of one direction of one flow.

mod cipher;
mod derive;
mod window;

pub use cipher::{Aes, Cipher, Suite};
pub use window::Window;

use crate::rtp;
use crate::sys;
use cipher::{RTCP_INDEX, RTCP_PREFIX};
use ring::digest;

/// Sources a peer may use at a time; the one idle longest makes room.
pub const MAX_SOURCES: usize = 32;
/// A source whose first packet has a number below this may have begun before the wrap.
const WRAP_REACH: u16 = 0x1000;
/// Roll-over counts that a packet is tried with whose count is not known: at 50 packets a second, those of three hours.
const WRAPS: u64 = 8;
/// Packets of one key that may be searched so and not found.
const SEARCHES: u8 = 32;
/// Octets of the longest master key identifier (RFC 4568 section 6.1).
pub const MAX_MKI: usize = 128;
/// Octets that protecting may add.
pub const ROOM: usize = 16 + RTCP_INDEX;

/// Why a packet was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    Authentication,
    Replay,
    Malformed,
    /// The index was used already or cannot follow the ones used.
    Repeated,
}

struct Source {
    ssrc: u32,
    window: Window,
    used: u64,
    /// Whether the peer's roll-over count may have gone on unheard.
    unsettled: bool,
}

impl Source {
    fn find(sources: &mut [Self], ssrc: u32) -> Option<&mut Self> {
        sources.iter_mut().find(|each| each.ssrc == ssrc)
    }

    /// Keep a source that has authenticated its first packet.
    fn admit(sources: &mut Vec<Self>, ssrc: u32, index: u64, used: u64) {
        let mut window = Window::default();
        window.mark(index);
        let source = Self { ssrc, window, used, unsettled: false };
        if sources.len() < MAX_SOURCES {
            sources.push(source);
        } else if let Some(oldest) = sources.iter_mut().min_by_key(|each| each.used) {
            *oldest = source;
        }
    }
}

/// Opens what a peer protected.
pub struct Receiver {
    material: Box<[u8]>,
    mki: Box<[u8]>,
    rtp: Cipher,
    rtcp: Cipher,
    sources: Vec<Source>,
    reports: Vec<Source>,
    uses: u64,
    searches: u8,
}

impl Receiver {
    /// `material` is master key and master salt; None where its length is not the suite's.
    pub fn new(suite: Suite, material: &[u8]) -> Option<Self> {
        let (rtp, rtcp) = Cipher::pair(suite, material)?;
        let material = tagged(suite, material);
        let (sources, reports) = (Vec::new(), Vec::new());
        Some(Self { material, mki: [].into(), rtp, rtcp, sources, reports, uses: 0, searches: SEARCHES })
    }

    /// Want this master key identifier in every packet (RFC 3711 section 3.1); empty: none.
    pub fn set_mki(&mut self, mki: Box<[u8]>) {
        self.mki = mki;
    }

    /// Have what the next packet needs in the caches.
    pub fn prefetch(&self) {
        self.rtp.prefetch();
        if let Some(source) = self.sources.first() {
            sys::prefetch(source);
        }
    }

    pub fn same_key(&self, other: &Self) -> bool {
        self.material == other.material
    }

    /// What `other` wants to be in packets, for the same key.
    pub fn take_mki(&mut self, other: Self) {
        self.mki = other.mki;
    }

    /// Go on where `other`, a context of the same key, would begin anew: nothing that was opened is opened again, and the
    /// peer's roll-over counts may have gone on while other keys were in use.
    pub fn resume(&mut self, other: Self) {
        self.take_mki(other);
        self.searches = SEARCHES;
        self.sources.iter_mut().for_each(|each| each.unsettled = true);
    }

    /// Take the master key identifier out from before the last `tail` octets; the packet without it.
    fn without_mki<'a>(&self, packet: &'a mut [u8], tail: usize) -> Result<&'a mut [u8], Refused> {
        if self.mki.is_empty() {
            return Ok(packet);
        }
        let behind = packet.len().checked_sub(tail).ok_or(Refused::Malformed)?;
        let before = behind.checked_sub(self.mki.len()).ok_or(Refused::Malformed)?;
        if packet[before..behind] != *self.mki {
            return Err(Refused::Authentication);
        }
        packet.copy_within(behind.., before);
        Ok(&mut packet[..before + tail])
    }

    /// Open one SRTP packet in place; its length in the clear.
    pub fn open(&mut self, packet: &mut [u8]) -> Result<usize, Refused> {
        let packet = self.without_mki(packet, self.rtp.rtp_tail())?;
        let length = rtp::header_length(packet).ok_or(Refused::Malformed)?;
        let header = rtp::Header::read(packet).ok_or(Refused::Malformed)?;
        let is_short = packet.len() < length + self.rtp.tag();
        self.uses += 1;
        if let Some(source) = Source::find(&mut self.sources, header.ssrc) {
            let guess = source.window.guess(header.sequence_number).filter(|index| source.window.is_new(*index));
            if guess.is_none() && (is_short || !source.unsettled) {
                return Err(Refused::Replay);
            }
            if is_short {
                return Err(Refused::Malformed);
            }
            if source.unsettled {
                return self.open_unsettled(packet, length, &header, guess);
            }
            let index = guess.ok_or(Refused::Replay)?;
            let plain = self.rtp.open(packet, length, header.ssrc, index).ok_or(Refused::Authentication)?;
            source.window.mark(index);
            source.used = self.uses;
            return Ok(plain);
        }
        if is_short {
            return Err(Refused::Malformed);
        }
        let (plain, index) = self.open_first(packet, length, &header).ok_or(Refused::Authentication)?;
        Source::admit(&mut self.sources, header.ssrc, index, self.uses);
        Ok(plain)
    }

    /// Open the first packet of a source: its length in the clear and its index.
    ///
    /// What was lost may have been a wrap (RFC 3711 section 3.3.1), so a low number is tried with the roll-over count
    /// one higher too. A peer that keeps its key where this plane is not the first of its call has wrapped more often:
    /// those are tried as well, of a few sources, since what is not the peer's costs as much.
    fn open_first(&mut self, packet: &mut [u8], length: usize, header: &rtp::Header) -> Option<(usize, u64)> {
        let low = u64::from(header.sequence_number);
        let wraps = match self.searches {
            1.. => WRAPS,
            0 if header.sequence_number < WRAP_REACH => 2,
            0 => 1,
        };
        let found = self.rtp.open_at(packet, length, header.ssrc, (0..wraps).map(|wrap| low + (wrap << 16)));
        self.searches = self.searches.saturating_sub(u8::from(found.is_none()));
        found
    }

    /// Open a packet of a source that was heard before other keys were: at the `guess`, if that is new, or at an index
    /// above all that were used. One that opens above them settles how far the source has come.
    ///
    /// Where what is not the peer's has used the searches up, each packet is tried with one more count, which its number
    /// tells: so none costs much, and of eight packets of the peer one opens whatever else comes in its name.
    fn open_unsettled(
        &mut self,
        packet: &mut [u8],
        length: usize,
        header: &rtp::Header,
        guess: Option<u64>,
    ) -> Result<usize, Refused> {
        let Some(source) = Source::find(&mut self.sources, header.ssrc) else { return Err(Refused::Authentication) };
        let above = source.window.above(header.sequence_number);
        let turn = u64::from(header.sequence_number) % WRAPS;
        let wraps = if self.searches > 0 { 0..WRAPS } else { turn..turn + 1 };
        let later = wraps.map(|wrap| above + (wrap << 16)).filter(|index| Some(*index) != guess);
        let Some((plain, index)) = self.rtp.open_at(packet, length, header.ssrc, guess.into_iter().chain(later)) else {
            self.searches = self.searches.saturating_sub(1);
            return Err(if guess.is_some() { Refused::Authentication } else { Refused::Replay });
        };
        source.unsettled = index < above;
        source.window.mark(index);
        source.used = self.uses;
        Ok(plain)
    }

    /// Open one SRTCP packet in place; the length of the compound packet in the clear.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, Refused> {
        let packet = self.without_mki(packet, self.rtcp.after_rtcp_index())?;
        let (ssrc, index) = self.rtcp.rtcp_index(packet).ok_or(Refused::Malformed)?;
        self.uses += 1;
        let wide = u64::from(index);
        if let Some(source) = Source::find(&mut self.reports, ssrc) {
            if !source.window.is_new(wide) {
                return Err(Refused::Replay);
            }
            let plain = self.rtcp.open_rtcp(packet, ssrc, index).ok_or(Refused::Authentication)?;
            source.window.mark(wide);
            source.used = self.uses;
            return Ok(plain);
        }
        let plain = self.rtcp.open_rtcp(packet, ssrc, index).ok_or(Refused::Authentication)?;
        Source::admit(&mut self.reports, ssrc, wide, self.uses);
        Ok(plain)
    }
}

/// Protects what goes to a peer; no index is ever used twice with its key.
pub struct Sender {
    material: Box<[u8]>,
    rtp: Cipher,
    rtcp: Cipher,
    sources: Vec<(u32, Window)>,
    rtcp_index: u32,
}

impl Sender {
    /// `material` is master key and master salt; None where its length is not the suite's.
    pub fn new(suite: Suite, material: &[u8]) -> Option<Self> {
        let (rtp, rtcp) = Cipher::pair(suite, material)?;
        Some(Self { material: tagged(suite, material), rtp, rtcp, sources: Vec::new(), rtcp_index: 0 })
    }

    /// Have what the next packet needs in the caches.
    pub fn prefetch(&self) {
        self.rtp.prefetch();
        if let Some(source) = self.sources.first() {
            sys::prefetch(source);
        }
    }

    pub fn same_key(&self, other: &Self) -> bool {
        self.material == other.material
    }

    /// Names the key where it is not kept.
    pub fn digest(&self) -> [u8; 16] {
        let whole = digest::digest(&digest::SHA256, &self.material);
        let mut out = [0; 16];
        out.copy_from_slice(&whole.as_ref()[..16]);
        out
    }

    /// A context of the same key: only for other sources than this one's.
    pub fn of_same_key(&self) -> Option<Self> {
        let (suite, material) = self.material.split_first()?;
        Self::new(Suite::from_number(*suite)?, material)
    }

    /// Protect the RTP packet in the first `length` octets of `room`, which has `ROOM` more; its new length.
    pub fn protect(&mut self, room: &mut [u8], length: usize) -> Result<usize, Refused> {
        let header_length = rtp::header_length(&room[..length]).ok_or(Refused::Malformed)?;
        let header = rtp::Header::read(room).ok_or(Refused::Malformed)?;
        let position = match self.sources.iter().position(|(ssrc, _)| *ssrc == header.ssrc) {
            Some(position) => position,
            // Forgetting one would let its numbers come again under the same key.
            None if self.sources.len() == MAX_SOURCES => return Err(Refused::Repeated),
            None => {
                self.sources.push((header.ssrc, Window::default()));
                self.sources.len() - 1
            }
        };
        let window = &mut self.sources[position].1;
        let index = window.guess(header.sequence_number).ok_or(Refused::Repeated)?;
        if !window.is_new(index) {
            return Err(Refused::Repeated);
        }
        window.mark(index);
        Ok(self.rtp.seal(room, header_length, length, header.ssrc, index))
    }

    /// Protect the compound RTCP packet in the first `length` octets of `room`; its new length.
    pub fn protect_rtcp(&mut self, room: &mut [u8], length: usize) -> Result<usize, Refused> {
        if length < RTCP_PREFIX {
            return Err(Refused::Malformed);
        }
        if self.rtcp_index >= 0x7fff_ffff {
            return Err(Refused::Repeated);
        }
        self.rtcp_index += 1;
        Ok(self.rtcp.seal_rtcp(room, length, self.rtcp_index))
    }
}

fn tagged(suite: Suite, material: &[u8]) -> Box<[u8]> {
    let mut kept = vec![suite as u8];
    kept.extend_from_slice(material);
    kept.into_boxed_slice()
}

#[cfg(test)]
mod tests;
