//! Each pair of codecs by signal: level over frequency, delay, and nothing at the borders of packets.

mod common;

use common::{PAIRS, PERFECT, Path, amplitude, decibel, encoded, lag, residues, speech, sweep, tone};
use gateway_audio::noise::root_mean_square;
use gateway_audio::{Codec, Settings};

fn through(from: Codec, to: Codec, pcm: &[i16]) -> Path {
    let mut path = Path::new(from, to, &Settings::default());
    path.run(&encoded(from, pcm, 20), 20, PERFECT);
    path
}

const SWEEP_SECONDS: f32 = 6.0;

/// Highest frequency in Hz that this pair carries.
fn highest(from: Codec, to: Codec) -> f32 {
    if from.common_rate(to) == 8000 { 3400.0 } else { 7000.0 }
}

#[test]
fn a_sweep_keeps_its_level_within_a_decibel() {
    for (from, to) in PAIRS {
        let (low, high) = (280.0f32, highest(from, to) * 1.03);
        let path = through(from, to, &sweep(low, high, amplitude(-10.0), from.rate(), SWEEP_SECONDS));
        let rate = to.rate();
        // The frames begin with the first packet's audio; the codecs' own delay is far less than a part of the sweep.
        let part = (0.25 * rate as f32) as usize;
        for (index, heard) in path.listener.pcm.chunks_exact(part).take((SWEEP_SECONDS * 4.0) as usize).enumerate() {
            let frequency = low * (high / low).powf((index as f32 + 0.5) * 0.25 / SWEEP_SECONDS);
            if !(300.0..=highest(from, to)).contains(&frequency) || index == 0 {
                continue;
            }
            let change = decibel(root_mean_square(heard) * 2f32.sqrt() / amplitude(-10.0));
            println!("{} -> {} {frequency:.0} Hz: {change:.2} dB", from.name(), to.name());
            assert!(change.abs() <= 1.0, "{} -> {} {frequency:.0} Hz: {change:.2} dB", from.name(), to.name());
        }
    }
}

#[test]
fn no_border_of_packets_is_heard() {
    for (from, to) in PAIRS {
        let said = tone(1004.0, amplitude(-10.0), from.rate(), 2.5);
        let path = through(from, to, &said);
        let rate = to.rate() as usize;
        let left = residues(&path.listener.pcm[rate..rate * 2], 1004.0, to.rate());
        let worst = decibel(left.iter().copied().fold(0.0, f32::max));
        println!("{} -> {}: {worst:.1} dB", from.name(), to.name());
        assert!(worst < -20.0, "{} -> {}: {worst:.1} dB", from.name(), to.name());
    }
}

#[test]
fn the_delay_is_the_wait_and_that_of_the_codec() {
    for (from, to) in PAIRS {
        let said = speech(from.rate(), 8.0);
        let path = through(from, to, &said);
        let every =
            |pcm: &[i16], rate: u32| -> Vec<i16> { pcm.iter().step_by(rate as usize / 8000).copied().collect() };
        let (said, heard) = (every(&said, from.rate()), every(&path.listener.pcm, to.rate()));
        // The network takes 5 ms, and the first frame goes out when the first packet has waited 40 ms: so many samples
        // earlier lies in the listener's time what was said.
        let late = 8 * 45;
        let delay = lag(&said[48_000..56_000], &heard[48_000 - late..], 8 * 100) as f32 / 8.0 - 5.0;
        let waited = path.transcoder.statistics().waited_ms as f32;
        println!("{} -> {}: {delay:.1} ms, of which waiting {waited}", from.name(), to.name());
        assert!((0.0..=30.0).contains(&(delay - waited)), "{} -> {}: {delay} - {waited}", from.name(), to.name());
        assert!(waited <= 30.0);
    }
}
