//! Any packets of a stream of each codec, turned into each of the others: what is heard of them, and no more.
#![no_main]

use gateway_audio::{Codec, Kind, OpusSettings, Packet, Settings, Transcoder};
use libfuzzer_sys::fuzz_target;

const CODECS: [Codec; 4] = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus];

/// Octets that say how a packet stands to the one before; then its length, and so many.
const HEAD: usize = 4;

fuzz_target!(|data: &[u8]| {
    let Some(([pair, flags], mut data)) = data.split_first_chunk() else { return };
    let (from, to) = (CODECS[usize::from(pair & 3)], CODECS[usize::from(pair >> 2 & 3)]);
    let opus = OpusSettings { discontinuous: flags & 1 != 0, constant_bit_rate: flags & 2 != 0, ..Default::default() };
    let settings = Settings { comfort_noise: flags & 4 != 0, opus, ..Settings::default() };
    let mut transcoder = Transcoder::new(from, to, &settings).unwrap();
    let (mut now, mut sequence_number, mut timestamp) = (10_000_000, 0u16, 0u32);
    while let Some(([step, noise, wait, length], rest)) = data.split_first_chunk::<HEAD>() {
        let (payload, behind) = rest.split_at(rest.len().min(usize::from(*length) * 6));
        data = behind;
        sequence_number = sequence_number.wrapping_add_signed(i16::from(*step as i8));
        timestamp = timestamp.wrapping_add_signed(i32::from(*step as i8) * 160);
        let kind = if noise % 16 == 1 { Kind::Noise } else { Kind::Audio };
        transcoder.push(&Packet { sequence_number, timestamp, marker: sequence_number % 5 == 0, kind, payload }, now);
        now += u64::from(*wait) * 1_000;
        while transcoder.due().is_some_and(|due| due <= now) {
            if let Some(frame) = transcoder.tick(now) {
                assert!(!frame.payload.is_empty() && frame.payload.len() <= 1276);
            }
        }
    }
});
