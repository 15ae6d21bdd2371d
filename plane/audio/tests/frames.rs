//! Lengths of packets turned into each other, and timestamps that only go forward.

mod common;

use common::{PAIRS, PERFECT, Path, amplitude, amplitude_at, decibel, encoded, speech, tone};
use gateway_audio::{Codec, Error, Settings, Transcoder};

#[test]
fn packets_are_cut_to_the_length_that_is_wanted() {
    for (from, to) in
        [(Codec::Pcmu, Codec::Pcma), (Codec::Opus, Codec::Pcmu), (Codec::Pcmu, Codec::Opus), (Codec::G722, Codec::Opus)]
    {
        for frame_in in [10, 20, 40, 60] {
            for frame_out in [10, 20, 30, 40, 50, 60] {
                let settings = Settings { frame_ms: frame_out, ..Settings::default() };
                if Transcoder::new(from, to, &settings).is_err() {
                    assert!(to == Codec::Opus && matches!(frame_out, 30 | 50));
                    continue;
                }
                let mut path = Path::new(from, to, &settings);
                let said = tone(1004.0, amplitude(-10.0), from.rate(), 3.0);
                path.run(&encoded(from, &said, frame_in), frame_in, PERFECT);
                let (listener, statistics) = (&path.listener, path.transcoder.statistics());
                let ticks = to.clock() * frame_out / 1000;
                assert!(listener.timestamps.windows(2).all(|pair| pair[1] - pair[0] == ticks));
                let rate = to.rate() as usize;
                let heard = &listener.pcm[rate * 3 / 2..rate * 5 / 2];
                let change = decibel(amplitude_at(heard, 1004.0, to.rate()) / amplitude(-10.0));
                assert!(change.abs() < 1.0, "{from:?} {frame_in} -> {to:?} {frame_out}: {change:.1} dB {statistics:?}");
                // What follows the last packet is concealed, and nothing else is.
                let after = u64::from(from.common_rate(to)) * 130 / 1000;
                assert!(statistics.concealed <= after, "{from:?} {frame_in} -> {to:?} {frame_out}: {statistics:?}");
            }
        }
    }
}

#[test]
fn a_frame_length_that_is_not_offered_is_refused() {
    for frame_ms in [0, 5, 15, 70, 1000] {
        let settings = Settings { frame_ms, ..Settings::default() };
        assert_eq!(Transcoder::new(Codec::Pcmu, Codec::Pcma, &settings).err(), Some(Error::Unsupported));
    }
}

#[test]
fn timestamps_never_go_back() {
    // Losses, jitter and pauses of every kind.
    for (from, to) in PAIRS {
        let network =
            |number: usize| (number % 97 < 80 && number % 13 != 0).then_some((number * 7919 % 120) as u64 * 1000);
        let mut path = Path::new(from, to, &Settings { frame_ms: 40, ..Settings::default() });
        path.run(&encoded(from, &speech(from.rate(), 20.0), 20), 20, &network);
        assert!(path.listener.timestamps.windows(2).all(|pair| pair[1] > pair[0]));
    }
}
