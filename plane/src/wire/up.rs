//! What the plane says to the gateway.

use super::Writer;
use crate::addr::Addr;
use crate::rtp::Header;

pub const HELLO: u8 = 64;
pub const PROOF: u8 = 65;
pub const REPLY: u8 = 66;
pub const STUN: u8 = 67;
pub const DTLS: u8 = 68;
pub const RTCP: u8 = 69;
pub const MEDIA: u8 = 70;
pub const STRANGER: u8 = 71;
pub const SOURCE_LEARNED: u8 = 72;
pub const RUN_BEGAN: u8 = 73;
pub const IDLE: u8 = 74;
pub const REFUSED: u8 = 75;
pub const MISSING: u8 = 76;
pub const FED: u8 = 77;

/// Octets of a punt beside its datagram, at most.
const AROUND: usize = 64;

pub fn stun(path: u64, source: &Addr, now: u64, data: &[u8]) -> Vec<u8> {
    Writer::new(STUN, data.len() + AROUND).u64(path).addr(source).time(now).raw(data).finish()
}

fn of_flow(kind: u8, flow: u32, path: u64, source: &Addr, now: u64, data: &[u8]) -> Vec<u8> {
    Writer::new(kind, data.len() + AROUND).u32(flow).u64(path).addr(source).time(now).raw(data).finish()
}

pub fn dtls(flow: u32, path: u64, source: &Addr, now: u64, data: &[u8]) -> Vec<u8> {
    of_flow(DTLS, flow, path, source, now, data)
}

pub fn rtcp(flow: u32, path: u64, source: &Addr, now: u64, packet: &[u8]) -> Vec<u8> {
    of_flow(RTCP, flow, path, source, now, packet)
}

pub fn stranger(flow: u32, path: u64, source: &Addr, heard: u64, now: u64, data: &[u8]) -> Vec<u8> {
    let head = Writer::new(STRANGER, data.len() + AROUND).u32(flow).u64(path).addr(source);
    head.time(now).time(heard).raw(data).finish()
}

/// A packet of a route that is punted or copied.
pub fn media(flow: u32, header: &Header, in_order: bool, generation: u32, now: u64, payload: &[u8]) -> Vec<u8> {
    Writer::new(MEDIA, payload.len() + AROUND)
        .u32(flow)
        .time(now)
        .u8(header.second)
        .u8(u8::from(in_order))
        .u16(header.sequence_number)
        .u32(header.timestamp)
        .u32(generation)
        .raw(payload)
        .finish()
}

/// `description`: the number of the EXPECT under which it was learned.
pub fn source_learned(flow: u32, source: &Addr, description: u32, now: u64) -> Vec<u8> {
    Writer::new(SOURCE_LEARNED, AROUND).u32(flow).addr(source).time(now).u32(description).finish()
}

pub fn run_began(flow: u32, ssrc: u32, generation: u32, now: u64) -> Vec<u8> {
    Writer::new(RUN_BEGAN, AROUND).u32(flow).u32(ssrc).u32(generation).time(now).finish()
}

pub fn idle(flow: u32, silent: u64) -> Vec<u8> {
    Writer::new(IDLE, AROUND).u32(flow).seconds(silent).finish()
}

/// Packets that a receiver of the flow lacks and that never came here, by the numbers they would have come with.
pub fn missing(flow: u32, now: u64, numbers: &[u16]) -> Vec<u8> {
    let head = Writer::new(MISSING, AROUND + 2 * numbers.len()).u32(flow).time(now).u8(numbers.len() as u8);
    head.each(numbers, |writer, number| writer.u16(*number)).finish()
}

/// The key frame has come with which `source` began to feed the stream of `target`.
pub fn fed(target: u32, source: u32, now: u64) -> Vec<u8> {
    Writer::new(FED, AROUND).u32(target).u32(source).time(now).finish()
}

/// A message that was not understood; the text never quotes it.
pub fn refused(kind: u8, text: &str) -> Vec<u8> {
    Writer::new(REFUSED, AROUND).u8(kind).short(text.as_bytes()).finish()
}

/// The answer to a request; `body` continues it.
pub fn reply(request: u32, room: usize) -> Writer {
    Writer::new(REPLY, room + AROUND).u32(request).u8(1)
}

/// The answer to a request that failed.
pub fn failure(request: u32, code: &str, text: &str) -> Vec<u8> {
    Writer::new(REPLY, AROUND).u32(request).u8(0).short(code.as_bytes()).short(text.as_bytes()).finish()
}
