//! G.722 beside libavcodec: `vectors/` was made with it (chirp, noise, square wave at full scale, silence).

use gateway_audio::g722::{Decoder, Encoder};

fn pcm(bytes: &[u8]) -> Vec<i16> {
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

const INPUT: &[u8] = include_bytes!("vectors/g722_input.pcm");
const CODE: &[u8] = include_bytes!("vectors/g722_code.bin");
const OUTPUT: &[u8] = include_bytes!("vectors/g722_output.pcm");
const RANDOM: &[u8] = include_bytes!("vectors/g722_random.bin");
const RANDOM_OUTPUT: &[u8] = include_bytes!("vectors/g722_random_output.pcm");

#[test]
fn the_encoder_makes_the_same_octets() {
    let (mut encoder, mut made) = (Encoder::new(), Vec::new());
    for frame in pcm(INPUT).chunks(320) {
        encoder.encode(frame, &mut made);
    }
    let first = made.iter().zip(CODE).position(|(one, other)| one != other);
    assert_eq!(
        first,
        None,
        "{:x?}",
        first.map(|at| (made[at], CODE[at], made.iter().zip(CODE).filter(|(a, b)| a != b).count()))
    );
}

#[test]
fn the_decoder_makes_the_same_samples() {
    for (code, output) in [(CODE, OUTPUT), (RANDOM, RANDOM_OUTPUT)] {
        let (mut decoder, mut made) = (Decoder::new(), Vec::new());
        for payload in code.chunks(160) {
            decoder.decode(payload, &mut made);
        }
        assert!(made == pcm(output));
    }
}
