//! Audio made shorter or longer by one period of its pitch, without a seam.

/// Highest and lowest pitch, in samples of 8 kHz: 400 Hz to 66 Hz.
const SHORTEST: usize = 20;
const LONGEST: usize = 120;
/// Samples of 8 kHz that are compared.
const COMPARED: usize = 80;
/// How alike two periods must be, 0 to 1, for one of them to go or to come twice.
const ALIKE: f32 = 0.85;

/// The longest period in samples at `rate`.
pub fn longest_period(rate: u32) -> usize {
    LONGEST * rate as usize / 8000
}

/// Likeness of two stretches of the same length: their correlation, -1 to 1; only every `step`th sample is looked at.
fn likeness(one: &[i16], other: &[i16], step: usize) -> f32 {
    let (mut both, mut first, mut second) = (1.0f32, 1.0f32, 1.0f32);
    for (&a, &b) in one.iter().zip(other).step_by(step) {
        let (a, b) = (f32::from(a), f32::from(b));
        both += a * b;
        first += a * a;
        second += b * b;
    }
    both / (first * second).sqrt()
}

/// The period at which `of(period)`, two stretches, are most alike, and how alike; coarsely first at higher rates.
fn search<'a>(
    periods: std::ops::RangeInclusive<usize>,
    step: usize,
    of: impl Fn(usize) -> (&'a [i16], &'a [i16]),
) -> (usize, f32) {
    let best = |periods: &mut dyn Iterator<Item = usize>, skip: usize| {
        periods
            .map(|period| {
                let (one, other) = of(period);
                (period, likeness(one, other, skip))
            })
            .fold((0, -1.0f32), |best, found| if found.1 > best.1 { found } else { best })
    };
    let coarse = best(&mut periods.clone().step_by(step), step);
    if step == 1 || coarse.0 == 0 {
        return coarse;
    }
    let near = coarse.0.saturating_sub(step).max(*periods.start())..=(coarse.0 + step).min(*periods.end());
    best(&mut near.into_iter(), 1)
}

/// The period of the end of `pcm`, in samples; the longest where it has none or there is too little.
pub fn period_at_end(pcm: &[i16], rate: u32) -> usize {
    let scale = (rate as usize / 8000).max(1);
    let (compared, longest) = (COMPARED * scale, LONGEST * scale);
    if pcm.len() < compared + longest {
        return longest.min(pcm.len()).max(1);
    }
    let end = pcm.len();
    let last = &pcm[end - compared..];
    search(SHORTEST * scale..=longest, scale, |period| (last, &pcm[end - compared - period..end - period])).0.max(1)
}

/// The period of the beginning of `pcm`, no longer than `longest`, and how alike its first two are.
fn period_at_start(pcm: &[i16], rate: u32, longest: usize) -> Option<(usize, f32)> {
    let scale = (rate as usize / 8000).max(1);
    let compared = (COMPARED * scale).min(pcm.len() / 2);
    let longest = longest.min(LONGEST * scale).min(pcm.len() - compared).min(pcm.len() / 2);
    if longest < SHORTEST * scale {
        return None;
    }
    Some(search(SHORTEST * scale..=longest, scale, |period| (&pcm[..compared], &pcm[period..period + compared])))
}

/// Between `one` and `other`, `index` of `length` samples on the way.
pub fn blend(one: i16, other: i16, index: usize, length: usize) -> i16 {
    let share = (index as f32 + 0.5) / length as f32;
    (f32::from(one) * (1.0 - share) + f32::from(other) * share).round() as i16
}

/// Takes one period, at most `most` samples, out of `line` after `start`; how many samples are gone.
///
/// `quiet` audio may lose any samples; otherwise periods must be alike.
pub fn shorten(line: &mut Vec<i16>, start: usize, rate: u32, most: usize, quiet: bool) -> usize {
    let Some((period, alike)) = period_at_start(&line[start..], rate, most) else {
        return 0;
    };
    if alike < ALIKE && !quiet {
        return 0;
    }
    splice(line, start, period);
    period
}

/// Takes `samples` samples, of which there are twice as many, out of `line` after `start`, with a cross-fade.
pub fn splice(line: &mut Vec<i16>, start: usize, samples: usize) {
    for index in 0..samples {
        line[start + index] = blend(line[start + index], line[start + samples + index], index, samples);
    }
    line.drain(start + samples..start + 2 * samples);
}

/// Puts one period more into `line` after `start`; how many samples have come.
pub fn lengthen(line: &mut Vec<i16>, start: usize, rate: u32, quiet: bool) -> usize {
    let Some((period, alike)) = period_at_start(&line[start..], rate, usize::MAX) else {
        return 0;
    };
    if alike < ALIKE && !quiet {
        return 0;
    }
    let end = line.len();
    line.resize(end + period, 0);
    line.copy_within(start + period..end, start + 2 * period);
    // The first period stays; between it and its follower comes one that leads from the follower back to it.
    for index in 0..period {
        line[start + period + index] = blend(line[start + 2 * period + index], line[start + index], index, period);
    }
    period
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(frequency: f32, samples: usize) -> Vec<i16> {
        let sample = |index: usize| (8000.0 * (index as f32 * frequency * std::f32::consts::TAU / 8000.0).sin()) as i16;
        (0..samples).map(sample).collect()
    }

    fn roughest(pcm: &[i16]) -> i32 {
        let second = |three: &[i16]| (i32::from(three[0]) - 2 * i32::from(three[1]) + i32::from(three[2])).abs();
        pcm.windows(3).map(second).max().unwrap_or(0)
    }

    #[test]
    fn a_period_goes_or_comes_without_a_seam() {
        for frequency in [100.0, 233.0, 397.0, 700.0] {
            let plain = tone(frequency, 400);
            let (mut shorter, mut longer) = (plain.clone(), plain.clone());
            let gone = shorten(&mut shorter, 40, 8000, 120, false);
            let come = lengthen(&mut longer, 40, 8000, false);
            assert!(gone >= 20 && come >= 20, "{frequency}");
            assert_eq!((shorter.len(), longer.len()), (400 - gone, 400 + come));
            for changed in [shorter, longer] {
                assert!(roughest(&changed) <= roughest(&plain) * 3 / 2 + 40, "{frequency}");
            }
        }
    }

    #[test]
    fn the_period_of_the_end_is_that_of_the_tone() {
        let period = period_at_end(&tone(100.0, 400), 8000);
        assert!((79..=81).contains(&period), "{period}");
    }

    #[test]
    fn too_little_audio_is_left_alone() {
        let mut little = tone(300.0, 30);
        assert_eq!((shorten(&mut little, 0, 8000, 120, true), lengthen(&mut little, 0, 8000, true)), (0, 0));
        assert_eq!(period_at_end(&little, 8000), 30);
        assert_eq!(period_at_end(&[], 8000), 1);
    }
}
