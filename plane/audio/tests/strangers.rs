//! Whatever a stranger sends, nothing panics, and little comes of it.

use gateway_audio::{Codec, Kind, OpusSettings, Packet, Settings, Transcoder, g722, opus};
use proptest::prelude::*;

const CODECS: [Codec; 4] = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus];

fn packets() -> impl Strategy<Value = Vec<(u16, u32, bool, Vec<u8>, u64, u64)>> {
    let number = prop_oneof![0..50u16, any::<u16>()];
    let timestamp = prop_oneof![(0..400u32).prop_map(|n| n * 160), any::<u32>()];
    let payload = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        proptest::collection::vec(any::<u8>(), 0..1500),
        Just(vec![0x78; 1]),
    ];
    let wait = prop_oneof![0..30_000u64, 0..5_000_000u64];
    let packet = (number, timestamp, any::<bool>(), payload, wait.clone(), wait);
    proptest::collection::vec(packet, 1..60)
}

proptest! {
    #[test]
    fn no_stream_makes_a_transcoder_panic(
        pair in (0..4usize, 0..4usize),
        (noise, discontinuous, constant_bit_rate) in any::<(bool, bool, bool)>(),
        packets in packets(),
    ) {
        let opus = OpusSettings { discontinuous, constant_bit_rate, ..OpusSettings::default() };
        let settings = Settings { comfort_noise: noise, opus, ..Settings::default() };
        let mut transcoder = Transcoder::new(CODECS[pair.0], CODECS[pair.1], &settings).unwrap();
        let (mut now, mut frames, mut last) = (10_000_000, 0u64, 0u32);
        let mut began = false;
        for (sequence_number, timestamp, is_noise, payload, before, after) in packets {
            now += before;
            let kind = if is_noise { Kind::Noise } else { Kind::Audio };
            transcoder.push(&Packet { sequence_number, timestamp, marker: sequence_number % 5 == 0, kind, payload: &payload }, now);
            now += after;
            let mut made = 0;
            let mut asked = 0;
            while transcoder.due().is_some_and(|due| due <= now) {
                asked += 1;
                if let Some(frame) = transcoder.tick(now) {
                    prop_assert!(!frame.payload.is_empty() && frame.payload.len() <= 1276);
                    prop_assert!(!began || frame.timestamp > last);
                    (last, began) = (frame.timestamp, true);
                    made += 1;
                }
            }
            prop_assert!(asked <= 5);
            frames += made;
        }
        prop_assert_eq!(frames, transcoder.frames());
    }

    #[test]
    fn no_payload_makes_a_decoder_panic(payload in proptest::collection::vec(any::<u8>(), 0..1500), wanted in 1..48usize) {
        let (mut decoder, mut pcm) = (opus::Decoder::new(8000).unwrap(), Vec::new());
        let _ = decoder.decode(&payload, &mut pcm);
        let _ = opus::has_copy(&payload);
        prop_assert!(pcm.len() <= 960);
        let _ = decoder.recover(&payload, wanted * 20, &mut pcm);
        prop_assert!(pcm.len() <= 960 + wanted * 20);
        pcm.clear();
        g722::Decoder::new().decode(&payload, &mut pcm);
        prop_assert_eq!(pcm.len(), 2 * payload.len());
    }
}
