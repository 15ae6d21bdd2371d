//! What is heard after a pause of the sender, whatever its RTP clock did meanwhile.

mod common;

use common::{PAIRS, Path, START, amplitude, encoded, residues, tone};
use gateway_audio::noise::root_mean_square;
use gateway_audio::{Codec, Kind, Settings};

const BEFORE: usize = 50;
const FRAME: u64 = 20_000;

/// A tone of a second, and 0.8 s of another.
fn spoken(codec: Codec) -> Vec<Vec<u8>> {
    let mut payloads = encoded(codec, &tone(600.0, amplitude(-10.0), codec.rate(), 1.0), 20);
    payloads.extend(encoded(codec, &tone(1000.0, amplitude(-10.0), codec.rate(), 0.8), 20));
    payloads
}

/// What is heard from a pause of so many ms between the tones on, in which the RTP clock goes `passed` ms on.
fn heard((from, to): (Codec, Codec), payloads: &[Vec<u8>], (pause, passed): (u64, u64), marker: bool) -> Vec<i16> {
    let mut path = Path::new(from, to, &Settings::default());
    let mut after = 0;
    for (number, payload) in payloads.iter().enumerate() {
        let is_after = number >= BEFORE;
        let (late, ahead) = if is_after { (pause * 1000, passed as u32) } else { (0, 0) };
        let ticks = (number as u32 * 20 + ahead) * (from.clock() / 1000);
        let at = START + number as u64 * FRAME + late;
        if number == BEFORE {
            path.tick_until(at);
            after = path.listener.pcm.len();
        }
        path.push_marked(number, ticks, (Kind::Audio, marker && number == BEFORE), payload, at);
    }
    path.tick_until(path.now + 1_000_000);
    path.listener.pcm.split_off(after)
}

/// ms of the tone in what was heard, in stretches of 10 ms, and the worst that is beside it within.
fn measured(pcm: &[i16], rate: u32) -> (usize, f32) {
    let each = rate as usize / 100;
    let loud = |part: &[i16]| root_mean_square(part) > amplitude(-10.0) / 2.0f32.sqrt() * 0.5;
    let is_tone: Vec<bool> = pcm.chunks_exact(each).map(loud).collect();
    let first = is_tone.iter().position(|is_tone| *is_tone).unwrap_or(0);
    let last = is_tone.iter().rposition(|is_tone| *is_tone).unwrap_or(0);
    // The codecs' filters settle at the edges.
    let within = pcm.get((first + 6) * each..last.saturating_sub(10) * each).unwrap_or_default();
    let worst = residues(within, 1000.0, rate).into_iter().fold(0.0, f32::max);
    (is_tone.iter().filter(|is_tone| **is_tone).count() * 10, worst)
}

#[test]
fn speech_after_a_pause_is_heard_whole_whatever_the_clock_did() {
    let mut faults = Vec::new();
    for (from, to) in PAIRS {
        let payloads = spoken(from);
        for pause in [120, 400, 800, 1200, 2000, 2900, 3100, 6000] {
            for passed in [0, pause / 2, pause + 1500] {
                for marker in [false, true] {
                    let pcm = heard((from, to), &payloads, (pause, passed), marker);
                    let (ms, worst) = measured(&pcm, to.rate());
                    if !(780..=900).contains(&ms) || worst > 0.4 {
                        let names = (from.name(), to.name());
                        faults.push(format!("{names:?} {pause} ms, clock {passed}, {marker}: {ms} ms, {worst:.2}"));
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn packets_that_the_network_held_up_are_no_pause() {
    for (from, to) in [(Codec::Pcmu, Codec::Pcma), (Codec::Opus, Codec::Pcmu)] {
        let payloads = encoded(from, &tone(600.0, amplitude(-10.0), from.rate(), 10.0), 20);
        let mut path = Path::new(from, to, &Settings::default());
        // Twice a second nothing comes for 240 ms, then all at once.
        let network = |number: usize| Some(5_000 + 12u64.saturating_sub(number as u64 % 25) * FRAME);
        path.run(&payloads, 20, &network);
        let statistics = path.transcoder.statistics();
        assert!((230..=260).contains(&statistics.wanted_ms), "{statistics:?}");
        assert!(statistics.late + statistics.overflow <= 20, "{statistics:?}");
    }
}
