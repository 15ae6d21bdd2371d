//! What each pair costs: microseconds of one core a frame of 20 ms, playout buffer included, best of several runs.
//!
//! Many streams take turns, so that none finds its state in the nearest cache.
//! `cargo bench -p gateway-audio` (streams and seconds may follow `--`).

use gateway_audio::opus::{self, OpusSettings};
use gateway_audio::{Codec, Kind, Packet, Settings, Transcoder, g711, g722};

const RUNS: usize = 5;

/// Harmonics of a gliding pitch in syllables, with a little noise: what a speech coder works hardest on.
fn speech(rate: u32, seconds: usize) -> Vec<i16> {
    let (mut phase, mut seed) = (0.0f32, 1u32);
    let sample = |index: usize| {
        let time = index as f32 / rate as f32;
        phase += (140.0 + 30.0 * (time * 3.0).sin()) / rate as f32;
        let voice: f32 = (1..20).map(|n| (phase.fract() * std::f32::consts::TAU * n as f32).sin() / n as f32).sum();
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let syllable = (time / 0.4).fract() * 0.4;
        let envelope = (syllable / 0.02).min((0.3 - syllable) / 0.02).clamp(0.0, 1.0);
        (4000.0 * voice * envelope + (seed >> 16) as f32 / 655.36 - 50.0) as i16
    };
    (0..rate as usize * seconds).map(sample).collect()
}

fn encoded(codec: Codec, seconds: usize) -> Vec<Vec<u8>> {
    let mut opus = opus::Encoder::new(48000, &OpusSettings::default()).expect("an encoder");
    let mut g722 = g722::Encoder::new();
    let mut payload_of = |frame: &[i16]| {
        let mut payload = Vec::new();
        match codec {
            Codec::Pcmu => g711::encode(g711::Law::Mu, frame, &mut payload),
            Codec::Pcma => g711::encode(g711::Law::A, frame, &mut payload),
            Codec::G722 => g722.encode(frame, &mut payload),
            Codec::Opus => opus.encode(frame, &mut payload).expect("a payload"),
        }
        payload
    };
    speech(codec.rate(), seconds).chunks_exact(codec.rate() as usize / 50).map(&mut payload_of).collect()
}

/// Microseconds that this thread has had a processor: others on the machine do not count.
fn processor_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split(' ').next().and_then(|first| first.parse::<f64>().ok()).expect("nanoseconds") / 1000.0
}

fn run(from: Codec, to: Codec, payloads: &[Vec<u8>], streams: usize) -> f64 {
    let make = || Transcoder::new(from, to, &Settings::default()).expect("a transcoder");
    let mut transcoders: Vec<_> = (0..streams).map(|_| make()).collect();
    let (mut frames, mut octets) = (0u64, 0usize);
    let began = processor_time();
    for (number, payload) in payloads.iter().enumerate() {
        let now = 1_000_000 + number as u64 * 20_000;
        let timestamp = number as u32 * from.clock() / 50;
        for transcoder in &mut transcoders {
            let packet =
                Packet { sequence_number: number as u16, timestamp, marker: false, kind: Kind::Audio, payload };
            transcoder.push(&packet, now);
            if let Some(frame) = transcoder.tick(now) {
                frames += 1;
                octets += frame.payload.len();
            }
        }
    }
    assert!(octets > 0);
    (processor_time() - began) / frames as f64
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (streams, seconds) = (numbers.next().unwrap_or(50), numbers.next().unwrap_or(4));
    let codecs = [Codec::Opus, Codec::Pcmu, Codec::Pcma, Codec::G722];
    println!("{streams} streams of {seconds} s, best of {RUNS}: microseconds a frame of 20 ms");
    for from in codecs {
        let payloads = encoded(from, seconds);
        for to in codecs.into_iter().filter(|&to| to != from) {
            let best = (0..RUNS).map(|_| run(from, to, &payloads, streams)).fold(f64::MAX, f64::min);
            println!("{:>5} -> {:<5} {best:7.2}", from.name(), to.name());
        }
    }
}
