//! What a gateway says to the plane.

use super::{Malformed, Reader};
use crate::addr::Addr;
use crate::arrivals::{Counting, MAX_HEAD};
use crate::flow::{Action, Config, Fed, Route, Routes, Silence};
use crate::kept::{self, Kept};
use crate::key_frame::Format;
use crate::srtp::{Suite, MAX_MKI};
use crate::transcoding::Conversion;
use crate::worker::{Injected, Relayed};
use gateway_audio::{Codec, OpusSettings, Settings};

/// Hosts of a shared port.
pub const MAX_HOSTS: usize = 64;
/// Octets of one datagram or payload.
const LONGEST_DATA: usize = 2048;

/// One message, read and checked.
#[derive(Debug, PartialEq)]
pub enum Message {
    OpenShared {
        request: u32,
        port: u32,
        number: u16,
        receive_buffer: u32,
        send_buffer: u32,
        hosts: Vec<Addr>,
        only_from: Vec<Addr>,
        dscp: u8,
    },
    OpenPair {
        request: u32,
        port: u32,
        host: Addr,
        dscp: u8,
    },
    ClosePort {
        port: u32,
    },
    OpenFlow {
        flow: u32,
        port: u32,
        config: Config,
    },
    Keep {
        flow: u32,
        ssrc: u32,
        kept: Option<Box<Kept>>,
    },
    Resend {
        flow: u32,
        numbers: Box<[u16]>,
    },
    OpenBundled {
        flow: u32,
        carrier: u32,
    },
    ConfigureFlow {
        flow: u32,
        config: Config,
    },
    CloseFlow {
        flow: u32,
    },
    SetReceiveKey {
        flow: u32,
        suite: Suite,
        material: Secret,
        mki: Box<[u8]>,
    },
    SetSendKey {
        flow: u32,
        suite: Suite,
        material: Secret,
    },
    /// Keys of RTCP that has a DTLS association of its own (RFC 5764 section 5.1.1.1).
    SetRtcpKeys {
        flow: u32,
        suite: Suite,
        receive: Secret,
        send: Secret,
    },
    DropKeys {
        flow: u32,
    },
    SetCredentials {
        flow: u32,
        credentials: Vec<(Box<[u8]>, Secret)>,
    },
    AdmitPair {
        flow: u32,
        path: u64,
        source: Addr,
    },
    RemovePair {
        flow: u32,
        path: u64,
        source: Addr,
    },
    Select {
        flow: u32,
        path: u64,
        source: Addr,
    },
    Expect {
        flow: u32,
        named: Option<Addr>,
        /// The number of the description that names it; another one forgets the source.
        description: u32,
    },
    AdmitSource {
        flow: u32,
        source: Addr,
        data: Box<[u8]>,
    },
    SetDestination {
        flow: u32,
        rtp: Option<Addr>,
        rtcp: Option<Addr>,
    },
    StartStream {
        flow: u32,
        ssrc: u32,
        sequence_number: u16,
        timestamp: u32,
        clock_rate: u32,
        ends_frames: bool,
    },
    Route {
        source: u32,
        target: Option<u32>,
        routes: Box<Routes>,
    },
    /// What comes to `source` goes out on the stream of `target` as well, from its next key frame on.
    Feed {
        target: u32,
        source: Option<u32>,
        types: Box<Fed>,
    },
    SetOpen {
        flow: u32,
        value: bool,
    },
    SetMuted {
        flow: u32,
        value: bool,
    },
    Resync {
        flow: u32,
        ssrc: Option<u32>,
    },
    Inject {
        flow: u32,
        injected: Injected,
    },
    Relay {
        source: u32,
        relayed: Relayed,
    },
    SetSilence {
        flow: u32,
        silence: Option<Silence>,
    },
    Send {
        path: u64,
        to: Addr,
        data: Box<[u8]>,
    },
    SendRtcp {
        flow: u32,
        packet: Box<[u8]>,
    },
    Snapshot {
        request: u32,
        flows: Vec<u32>,
    },
    Counters {
        request: u32,
    },
    Inventory {
        request: u32,
    },
    Shutdown,
    Convert {
        flow: u32,
        number: u8,
        conversion: Box<Conversion>,
    },
    /// The peer numbers its packets transport-wide, and is told when they came; None: it is told no more.
    CountArrivals {
        flow: u32,
        counting: Option<Counting>,
    },
    /// How pictures lie is said by the header extension of that identifier, both ways; 0: it is not.
    CarryOrientation {
        flow: u32,
        identifier: u8,
    },
}

/// Octets that no log shows.
#[derive(PartialEq, Eq)]
pub struct Secret(pub Box<[u8]>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret")
    }
}

/// Read the body of a message; None where no type has that number.
pub fn read(kind: u8, body: &[u8]) -> Option<Result<Message, Malformed>> {
    let mut reader = Reader::new(body);
    let read = &mut reader;
    let message = match kind {
        1..=3 | 27 | 28 | 30 | 31 => general(kind, read),
        4..=9 => flows(kind, read),
        10..=16 => addresses(kind, read),
        17..=26 => streams(kind, read),
        32 => convert(read),
        33 => bundled(read),
        34 => keep(read),
        35 => resend(read),
        36 => rtcp_keys(read),
        37 => feed(read),
        38 => arrivals(read),
        39 => read.u32().and_then(|flow| Ok(Message::CarryOrientation { flow, identifier: read.u8()? })),
        _ => return None,
    };
    Some(message)
}

/// Of messages of before there was one, none.
fn dscp(read: &mut Reader<'_>) -> Result<u8, Malformed> {
    let value = if read.is_empty() { 0 } else { read.u8()? };
    if value < 64 {
        Ok(value)
    } else {
        Err(Malformed)
    }
}

fn general(kind: u8, read: &mut Reader<'_>) -> Result<Message, Malformed> {
    Ok(match kind {
        1 => {
            let (request, port, number) = (read.u32()?, read.u32()?, read.u16()?);
            let (receive_buffer, send_buffer) = (read.u32()?, read.u32()?);
            let count = usize::from(read.u8()?);
            if count == 0 || count > MAX_HOSTS {
                return Err(Malformed);
            }
            let hosts = (0..count).map(|_| read.addr()).collect::<Result<_, _>>()?;
            let allowed = if read.is_empty() { 0 } else { read.u8()? };
            let only_from = (0..allowed).map(|_| Ok(read.addr()?.with_port(0))).collect::<Result<_, Malformed>>()?;
            let dscp = dscp(read)?;
            Message::OpenShared { request, port, number, receive_buffer, send_buffer, hosts, only_from, dscp }
        }
        2 => {
            let (request, port, host) = (read.u32()?, read.u32()?, read.addr()?);
            Message::OpenPair { request, port, host, dscp: dscp(read)? }
        }
        3 => Message::ClosePort { port: read.u32()? },
        27 => {
            let (request, count) = (read.u32()?, read.u32()?);
            let flows = (0..count).map(|_| read.u32()).collect::<Result<_, _>>()?;
            Message::Snapshot { request, flows }
        }
        28 => Message::Counters { request: read.u32()? },
        30 => Message::Inventory { request: read.u32()? },
        _ => Message::Shutdown,
    })
}

fn config(read: &mut Reader<'_>) -> Result<Config, Malformed> {
    let (secure, mux, max_packets_per_second) = (read.flag()?, read.flag()?, read.u32()?);
    let idle_after = if read.is_empty() { 0 } else { read.duration()? };
    Ok(Config { secure, mux, max_packets_per_second, idle_after })
}

fn key(read: &mut Reader<'_>) -> Result<(u32, Suite, Secret), Malformed> {
    let (flow, suite) = (read.u32()?, Suite::from_number(read.u8()?).ok_or(Malformed)?);
    Ok((flow, suite, material(read, suite)?))
}

fn material(read: &mut Reader<'_>, suite: Suite) -> Result<Secret, Malformed> {
    let material = read.short()?;
    let (key, salt) = suite.lengths();
    if material.len() != key + salt {
        return Err(Malformed);
    }
    Ok(Secret(material.into()))
}

fn rtcp_keys(read: &mut Reader<'_>) -> Result<Message, Malformed> {
    let (flow, suite, receive) = key(read)?;
    Ok(Message::SetRtcpKeys { flow, suite, receive, send: material(read, suite)? })
}

fn flows(kind: u8, read: &mut Reader<'_>) -> Result<Message, Malformed> {
    Ok(match kind {
        4 => Message::OpenFlow { flow: read.u32()?, port: read.u32()?, config: config(read)? },
        5 => Message::ConfigureFlow { flow: read.u32()?, config: config(read)? },
        6 => Message::CloseFlow { flow: read.u32()? },
        7 => {
            let (flow, suite, material) = key(read)?;
            let mki = if read.is_empty() { &[] } else { read.short()? };
            if mki.len() > MAX_MKI {
                return Err(Malformed);
            }
            Message::SetReceiveKey { flow, suite, material, mki: mki.into() }
        }
        8 => {
            let (flow, suite, material) = key(read)?;
            Message::SetSendKey { flow, suite, material }
        }
        _ => Message::DropKeys { flow: read.u32()? },
    })
}

fn addresses(kind: u8, read: &mut Reader<'_>) -> Result<Message, Malformed> {
    let flow = read.u32()?;
    Ok(match kind {
        10 => {
            let count = read.u8()?;
            let one = |read: &mut Reader<'_>| Ok((read.short()?.into(), Secret(read.short()?.into())));
            let credentials = (0..count).map(|_| one(read)).collect::<Result<_, Malformed>>()?;
            Message::SetCredentials { flow, credentials }
        }
        11 => Message::AdmitPair { flow, path: read.u64()?, source: read.addr()? },
        12 => Message::RemovePair { flow, path: read.u64()?, source: read.addr()? },
        13 => Message::Select { flow, path: read.u64()?, source: read.addr()? },
        14 => Message::Expect {
            flow,
            named: read.maybe_addr()?,
            description: if read.is_empty() { 0 } else { read.u32()? },
        },
        15 => Message::AdmitSource { flow, source: read.addr()?, data: data(read)? },
        _ => Message::SetDestination { flow, rtp: read.maybe_addr()?, rtcp: read.maybe_addr()? },
    })
}

/// What a stream keeps, and under which source and payload types it is sent again; no packets: nothing.
fn keep(read: &mut Reader<'_>) -> Result<Message, Malformed> {
    let (flow, ssrc, next, packets) = (read.u32()?, read.u32()?, read.u16()?, read.u16()?);
    let one = |read: &mut Reader<'_>| Ok((payload_type(read)?, payload_type(read)?));
    let types = (0..read.u8()?).map(|_| one(read)).collect::<Result<Vec<_>, Malformed>>()?;
    if packets > kept::MOST {
        return Err(Malformed);
    }
    let kept = (packets > 0).then(|| Box::new(Kept::new(ssrc, next, &types, packets)));
    Ok(Message::Keep { flow, ssrc, kept })
}

fn resend(read: &mut Reader<'_>) -> Result<Message, Malformed> {
    let flow = read.u32()?;
    let numbers = (0..read.u8()?).map(|_| read.u16()).collect::<Result<_, Malformed>>()?;
    Ok(Message::Resend { flow, numbers })
}

fn bundled(read: &mut Reader<'_>) -> Result<Message, Malformed> {
    Ok(Message::OpenBundled { flow: read.u32()?, carrier: read.u32()? })
}

/// A datagram or a payload behind a length of 16 bits.
fn data(read: &mut Reader<'_>) -> Result<Box<[u8]>, Malformed> {
    let data = read.short()?;
    if data.len() > LONGEST_DATA {
        return Err(Malformed);
    }
    Ok(data.into())
}

fn payload_type(read: &mut Reader<'_>) -> Result<u8, Malformed> {
    Some(read.u8()?).filter(|number| *number < 128).ok_or(Malformed)
}

/// An RTP clock in Hz.
fn clock(read: &mut Reader<'_>) -> Result<u32, Malformed> {
    Some(read.u32()?).filter(|rate| *rate <= 1_000_000).ok_or(Malformed)
}

fn streams(kind: u8, read: &mut Reader<'_>) -> Result<Message, Malformed> {
    if kind == 25 {
        return Ok(Message::Send { path: read.u64()?, to: read.addr()?, data: data(read)? });
    }
    let flow = read.u32()?;
    Ok(match kind {
        17 => Message::StartStream {
            flow,
            ssrc: read.u32()?,
            sequence_number: read.u16()?,
            timestamp: read.u32()?,
            clock_rate: clock(read)?,
            ends_frames: !read.is_empty() && read.flag()?,
        },
        18 => {
            let target = if read.flag()? { Some(read.u32()?) } else { None };
            Message::Route { source: flow, target, routes: routes(read)? }
        }
        19 => Message::SetOpen { flow, value: read.flag()? },
        20 => Message::SetMuted { flow, value: read.flag()? },
        21 => Message::Resync { flow, ssrc: if read.flag()? { Some(read.u32()?) } else { None } },
        22 => {
            let second = read.u8()?;
            let advance = if read.flag()? { Some(read.i32()?) } else { None };
            let payload = data(read)?;
            let is_event = !read.is_empty() && read.flag()?;
            Message::Inject { flow, injected: Injected { second, advance, is_event, payload } }
        }
        23 => {
            let (sequence_number, timestamp, second) = (read.u16()?, read.u32()?, read.u8()?);
            let offset = if read.flag()? { Some(read.i32()?) } else { None };
            let relayed = Relayed { sequence_number, timestamp, second, offset, payload: data(read)? };
            Message::Relay { source: flow, relayed }
        }
        24 => Message::SetSilence { flow, silence: if read.flag()? { Some(silence(read)?) } else { None } },
        _ => Message::SendRtcp { flow, packet: data(read)? },
    })
}

/// What a payload type becomes; codecs by their place in `CODECS`.
fn convert(read: &mut Reader<'_>) -> Result<Message, Malformed> {
    const CODECS: [Codec; 4] = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus];
    let codec = |read: &mut Reader<'_>| CODECS.get(usize::from(read.u8()?)).copied().ok_or(Malformed);
    let (flow, number, payload_type) = (read.u32()?, payload_type(read)?, payload_type(read)?);
    let noise = if read.flag()? { Some(self::payload_type(read)?) } else { None };
    let (from, to, frame_ms) = (codec(read)?, codec(read)?, u32::from(read.u8()?));
    let (bit_rate, complexity) = (read.u32()?, read.u8()?);
    let opus = OpusSettings { bit_rate, complexity, ..listener(read)? };
    let settings = Settings { frame_ms, opus, ..Settings::default() };
    let conversion = Box::new(Conversion { from, to, payload_type, noise, settings });
    Ok(Message::Convert { flow, number, conversion })
}

/// What the listener says of Opus (RFC 7587 section 6.1); a gateway of version 3 or before says nothing.
fn listener(read: &mut Reader<'_>) -> Result<OpusSettings, Malformed> {
    const CORRECTED: u8 = 1;
    const DISCONTINUOUS: u8 = 2;
    const CONSTANT: u8 = 4;
    let settings = OpusSettings::default();
    if read.is_empty() {
        return Ok(settings);
    }
    let (flags, playback_rate) = (read.u8()?, read.u32()?);
    Ok(OpusSettings {
        forward_error_correction: flags & CORRECTED != 0,
        discontinuous: flags & DISCONTINUOUS != 0,
        constant_bit_rate: flags & CONSTANT != 0,
        playback_rate,
        ..settings
    })
}

fn routes(read: &mut Reader<'_>) -> Result<Box<Routes>, Malformed> {
    let mut routes = Box::new([Route::default(); 128]);
    for _ in 0..read.u8()? {
        let number = usize::from(payload_type(read)?);
        let action = Action::from_number(read.u8()?).ok_or(Malformed)?;
        let (payload_type, rate_in, rate_out) = (payload_type(read)?, clock(read)?, clock(read)?);
        let rate_out = if rate_out == 0 { rate_in } else { rate_out };
        routes[number] = Route { action, payload_type, rate_in, rate_out };
    }
    Ok(routes)
}

fn feed(read: &mut Reader<'_>) -> Result<Message, Malformed> {
    let (target, source) = (read.u32()?, if read.flag()? { Some(read.u32()?) } else { None });
    let mut types = Box::new([None; 128]);
    for _ in 0..read.u8()? {
        let number = usize::from(payload_type(read)?);
        types[number] = Some((payload_type(read)?, Format::from_number(read.u8()?).ok_or(Malformed)?));
    }
    Ok(Message::Feed { target, source, types })
}

/// An identifier of 0: none. What goes before each message begins with a report.
fn arrivals(read: &mut Reader<'_>) -> Result<Message, Malformed> {
    let (flow, extension, head) = (read.u32()?, read.u8()?, read.short()?);
    if extension == 0 {
        return Ok(Message::CountArrivals { flow, counting: None });
    }
    if head.len() > MAX_HEAD || head.len() < 8 || head.len() % 4 != 0 {
        return Err(Malformed);
    }
    Ok(Message::CountArrivals { flow, counting: Some(Counting { extension, head: head.into() }) })
}

fn silence(read: &mut Reader<'_>) -> Result<Silence, Malformed> {
    let payload_type = payload_type(read)?;
    let (after, interval) = (read.duration()?, read.duration()?);
    if interval < 1_000_000 {
        return Err(Malformed);
    }
    Ok(Silence { payload_type, payload: data(read)?, after, interval })
}

#[cfg(test)]
mod tests;
