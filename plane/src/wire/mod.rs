//! The messages on the Unix socket: frames of a length, a type and a body, everything in network order.
//!
//! Fields are only ever added at the end of a body: what is missing there takes its default, so
//! a message of the version before is read as well, and what is too much is ignored.

pub mod down;
pub mod up;

use crate::addr::Addr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Version spoken (2 has FEED and FED, and numbers of descriptions, 3 COUNT_ARRIVALS, 4 CARRY_ORIENTATION, and what listeners
/// say of Opus), and the oldest one understood.
pub const VERSION: u16 = 4;
pub const OLDEST: u16 = 1;
/// Octets of the longest frame from a gateway.
pub const LONGEST_FRAME: usize = 1 << 20;

/// A body that does not hold what its type says.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Malformed;

/// Reads a body from its start to its end.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        if length > self.rest.len() {
            return Err(Malformed);
        }
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    pub fn flag(&mut self) -> Result<bool, Malformed> {
        Ok(self.u8()? != 0)
    }

    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// Seconds, as ns; what is negative, endless or no number is malformed.
    pub fn duration(&mut self) -> Result<u64, Malformed> {
        let seconds = f64::from_be_bytes(self.array()?);
        if (0.0..1e9).contains(&seconds) {
            Ok((seconds * 1e9) as u64)
        } else {
            Err(Malformed)
        }
    }

    /// Octets behind a length of 16 bits.
    pub fn short(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.short()?).map_err(|_| Malformed)
    }

    /// An address, None where there is none.
    pub fn maybe_addr(&mut self) -> Result<Option<Addr>, Malformed> {
        let ip = match self.u8()? {
            0 => return Ok(None),
            4 => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            _ => return Err(Malformed),
        };
        Ok(Some(Addr::new(ip, self.u16()?)))
    }

    pub fn addr(&mut self) -> Result<Addr, Malformed> {
        self.maybe_addr()?.ok_or(Malformed)
    }
}

/// Writes one frame.
pub struct Writer {
    frame: Vec<u8>,
}

impl Writer {
    pub fn new(kind: u8, room: usize) -> Self {
        let mut frame = Vec::with_capacity(room + 5);
        frame.extend_from_slice(&[0, 0, 0, 0, kind]);
        Self { frame }
    }

    /// The frame with its length.
    pub fn finish(mut self) -> Vec<u8> {
        let length = (self.frame.len() - 4) as u32;
        self.frame[..4].copy_from_slice(&length.to_be_bytes());
        self.frame
    }

    pub fn raw(mut self, octets: &[u8]) -> Self {
        self.frame.extend_from_slice(octets);
        self
    }

    pub fn u8(self, value: u8) -> Self {
        self.raw(&[value])
    }

    pub fn u16(self, value: u16) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub fn u32(self, value: u32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub fn u64(self, value: u64) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// A time or a duration in ns, as seconds; 0 ns is "never".
    pub fn time(self, ns: u64) -> Self {
        let seconds = if ns == 0 { f64::NEG_INFINITY } else { ns as f64 / 1e9 };
        self.raw(&seconds.to_be_bytes())
    }

    pub fn seconds(self, ns: u64) -> Self {
        self.raw(&(ns as f64 / 1e9).to_be_bytes())
    }

    pub fn short(self, octets: &[u8]) -> Self {
        let kept = &octets[..octets.len().min(0xffff)];
        self.u16(kept.len() as u16).raw(kept)
    }

    pub fn addr(self, addr: &Addr) -> Self {
        match addr.ip() {
            IpAddr::V4(ip) => self.u8(4).raw(&ip.octets()).u16(addr.port),
            IpAddr::V6(ip) => self.u8(6).raw(&ip.octets()).u16(addr.port),
        }
    }

    pub fn maybe_addr(self, addr: Option<&Addr>) -> Self {
        match addr {
            Some(addr) => self.addr(addr),
            None => self.u8(0),
        }
    }

    /// `self`, after `write` has added each of `items`.
    pub fn each<T>(self, items: impl IntoIterator<Item = T>, write: impl Fn(Self, T) -> Self) -> Self {
        items.into_iter().fold(self, write)
    }
}
