//! What is heard when packets are lost, late, out of order, or of another clock.

mod common;

use common::{Network, PERFECT, Path, START, encoded, speech, tone, vowel};
use gateway_audio::noise::root_mean_square;
use gateway_audio::{Codec, Kind, PlayoutSettings, Settings};

/// An even distribution of `0..of` from a number.
fn chance(number: usize, of: u64) -> u64 {
    let mut state = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    state ^= state >> 31;
    state = state.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (state ^ (state >> 29)) % of
}

/// 10 ms stretches per thousand whose level is more than 15 dB below `level`.
fn gaps(pcm: &[i16], rate: u32, level: f32) -> f32 {
    let parts: Vec<_> = pcm.chunks_exact(rate as usize / 100).collect();
    let silent = parts.iter().filter(|part| root_mean_square(part) < level * 0.178).count();
    silent as f32 * 1000.0 / parts.len() as f32
}

/// Gaps per thousand with this network: as they would be with nothing put in their place, and as they are.
fn before_and_after(from: Codec, to: Codec, network: Network<'_>, wait: u64) -> (f32, f32) {
    let pcm = vowel(from.rate(), 20.0);
    let payloads = encoded(from, &pcm, 20);
    let mut path = Path::new(from, to, &Settings::default());
    path.run(&payloads, 20, network);
    let missing = (0..payloads.len()).filter(|&number| network(number).is_none_or(|way| way > wait)).count();
    let second = to.rate() as usize;
    let after = gaps(&path.listener.pcm[second..second * 19], to.rate(), root_mean_square(&pcm));
    println!("{:?}", path.transcoder.statistics());
    (missing as f32 * 1000.0 / payloads.len() as f32, after)
}

#[test]
fn lost_packets_leave_no_gaps() {
    for percent in [1, 5, 10] {
        let network = |number: usize| (chance(number, 100) >= percent).then_some(5_000);
        for (from, to, most) in
            [(Codec::Opus, Codec::Pcmu, 6.0), (Codec::Pcmu, Codec::Opus, 6.0), (Codec::G722, Codec::Pcma, 6.0)]
        {
            let (before, after) = before_and_after(from, to, &network, 60_000);
            println!("{} -> {} {percent} % lost: {before:.1} -> {after:.1} per mille", from.name(), to.name());
            assert!(after <= most, "{} -> {} {percent} %: {before} -> {after}", from.name(), to.name());
        }
    }
}

#[test]
fn jitter_of_50_ms_with_reordering_leaves_no_gaps() {
    let network = |number: usize| Some(5_000 + chance(number, 50_000));
    for (from, to) in [(Codec::Opus, Codec::Pcmu), (Codec::Pcmu, Codec::Opus), (Codec::G722, Codec::Pcma)] {
        // Played at the time of the quickest packet and the shortest wait, all that is later would be missing.
        let (before, after) = before_and_after(from, to, &network, 15_000);
        println!("{} -> {} 50 ms: {before:.1} -> {after:.1} per mille", from.name(), to.name());
        assert!(after <= 2.0, "{} -> {}: {before} -> {after}", from.name(), to.name());
    }
}

#[test]
fn a_lost_packet_of_opus_is_recovered_from_the_copy_in_the_next() {
    let payloads = encoded(Codec::Opus, &speech(48000, 20.0), 20);
    let network = |number: usize| (number % 20 != 10).then_some(5_000);
    let mut path = Path::new(Codec::Opus, Codec::Pcmu, &Settings::default());
    path.run(&payloads, 20, &network);
    let statistics = path.transcoder.statistics();
    println!("{statistics:?}");
    assert_eq!(statistics.lost, 50);
    assert!(statistics.recovered >= 30, "{statistics:?}");
}

#[test]
fn the_wait_follows_the_jitter_up_and_down() {
    let payloads = encoded(Codec::Pcmu, &speech(8000, 60.0), 20);
    let network = |number: usize| Some(5_000 + if (500..1000).contains(&number) { chance(number, 80_000) } else { 0 });
    let each = Path::new(Codec::Pcmu, Codec::Pcma, &Settings::default());
    let mut path = each;
    let mut waits = Vec::new();
    for end in [490, 990, 2900] {
        path = Path::new(Codec::Pcmu, Codec::Pcma, &Settings::default());
        path.run(&payloads[..end], 20, &network);
        waits.push(path.transcoder.statistics().waited_ms);
    }
    println!("{waits:?} {:?}", path.transcoder.statistics());
    assert!(waits[0] <= 30 && waits[1] >= 60 && waits[2] <= 30, "{waits:?}");
}

#[test]
fn a_sender_with_another_clock_is_followed() {
    for parts_per_million in [-500i64, 500] {
        let payloads = encoded(Codec::Pcmu, &speech(8000, 120.0), 20);
        let network = |number: usize| Some((500_000 + number as i64 * 20_000 * parts_per_million / 1_000_000) as u64);
        let mut path = Path::new(Codec::Pcmu, Codec::Pcma, &Settings::default());
        path.run(&payloads, 20, &network);
        let statistics = path.transcoder.statistics();
        println!("{statistics:?}");
        assert!(statistics.waited_ms <= 40, "{statistics:?}");
        // A fast sender must not starve, a slow one must not be concealed all the time: 60 ms drift in two minutes.
        assert!(statistics.concealed < 8 * 100, "{statistics:?}");
        assert_eq!(statistics.late + statistics.overflow, 0);
    }
}

#[test]
fn late_and_repeated_packets_are_counted_and_not_played() {
    let payloads = encoded(Codec::Pcmu, &tone(400.0, 8000.0, 8000, 1.0), 20);
    let mut path = Path::new(Codec::Pcmu, Codec::Pcma, &Settings::default());
    for (number, payload) in payloads.iter().enumerate() {
        let at = START + number as u64 * 20_000;
        path.push(number, number as u32 * 160, Kind::Audio, payload, at);
        if number >= 20 {
            path.push(number, number as u32 * 160, Kind::Audio, payload, at + 1);
            path.push(number - 10, (number as u32 - 10) * 160, Kind::Audio, payload, at + 2);
        }
    }
    let statistics = path.transcoder.statistics();
    assert_eq!((statistics.late, statistics.duplicate), (30, 30));
}

#[test]
fn a_new_timeline_of_the_sender_is_followed_at_once() {
    let payloads = encoded(Codec::Pcmu, &tone(400.0, 8000.0, 8000, 2.0), 20);
    let mut path = Path::new(Codec::Pcmu, Codec::Pcma, &Settings::default());
    for (number, payload) in payloads.iter().enumerate() {
        let (sequence, ticks) = if number < 50 { (number, 0) } else { (number + 9_000, 1 << 30) };
        path.push(sequence, ticks + number as u32 * 160, Kind::Audio, payload, START + number as u64 * 20_000);
    }
    path.tick_until(START + 2_000_000);
    assert_eq!(path.transcoder.statistics().restarts, 1);
    assert!(gaps(&path.listener.pcm[1600..], 8000, 5600.0) <= 40.0);
}

#[test]
fn a_pause_leaves_a_gap_in_time_and_a_marker_after_it() {
    let payloads = encoded(Codec::Pcmu, &tone(400.0, 8000.0, 8000, 1.0), 20);
    let mut path = Path::new(Codec::Pcmu, Codec::Opus, &Settings::default());
    for (number, payload) in payloads.iter().enumerate() {
        let slot = if number < 25 { number } else { number + 250 };
        path.push(number, slot as u32 * 160, Kind::Audio, payload, START + slot as u64 * 20_000);
    }
    path.tick_until(START + 6_500_000);
    let listener = &path.listener;
    assert_eq!(listener.markers.iter().filter(|&&marker| marker).count(), 2);
    let step = |pair: &[u32]| pair[1] - pair[0];
    let steps: Vec<_> = listener.timestamps.windows(2).map(step).filter(|&step| step != 960).collect();
    // After a second of rest nothing is sent until the next packet: about four seconds.
    assert_eq!(steps.len(), 1);
    assert!((3 * 48000..5 * 48000).contains(&steps[0]), "{steps:?}");
    assert!(listener.pcm.len() <= 48 * 6600);
}

#[test]
fn a_caller_that_comes_late_gets_no_flood_of_frames() {
    let payloads = encoded(Codec::Pcmu, &tone(400.0, 8000.0, 8000, 1.0), 20);
    let mut path = Path::new(Codec::Pcmu, Codec::Pcma, &Settings::default());
    path.run(&payloads[..25], 20, PERFECT);
    let due = path.transcoder.due().unwrap();
    let mut stamps = Vec::new();
    for wake in [due + 700_000, due + 720_000] {
        while path.transcoder.due().is_some_and(|due| due <= wake) {
            stamps.extend(path.transcoder.tick(wake).map(|frame| frame.timestamp));
        }
    }
    assert!(stamps.len() <= 5, "{stamps:?}");
    assert!(stamps.is_sorted());
}

#[test]
fn packets_that_pile_up_beyond_the_longest_wait_go() {
    let settings =
        Settings { playout: PlayoutSettings { most_ms: 100, ..PlayoutSettings::default() }, ..Settings::default() };
    let payloads = encoded(Codec::Pcmu, &tone(400.0, 8000.0, 8000, 4.0), 20);
    let mut path = Path::new(Codec::Pcmu, Codec::Pcma, &settings);
    // The way takes half a second longer from the second second on, for a second; then all of it comes at once.
    let network =
        |number: usize| Some(if (50..100).contains(&number) { 5_000 + (100 - number) as u64 * 20_000 } else { 5_000 });
    path.run(&payloads, 20, &network);
    let statistics = path.transcoder.statistics();
    println!("{statistics:?}");
    assert!(statistics.overflow > 0 && statistics.waited_ms <= 130, "{statistics:?}");
}
