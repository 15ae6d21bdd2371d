//! Which packet indices have been used, and what index a sequence number stands for.

/// Packets remembered (RFC 3711 section 3.3.2 wants 64 at least).
pub const SIZE: u64 = 1024;
const WORDS: usize = (SIZE / 64) as usize;

/// The highest index and the ones just below it.
#[derive(Default)]
pub struct Window {
    /// One more than the highest index used; 0: none yet.
    next: u64,
    bits: [u64; WORDS],
}

impl Window {
    /// The index that `sequence_number` most likely stands for (RFC 3711 appendix A).
    pub fn guess(&self, sequence_number: u16) -> Option<u64> {
        let Some(highest) = self.next.checked_sub(1) else {
            return Some(u64::from(sequence_number));
        };
        let last = highest as u16;
        let ahead = sequence_number.wrapping_sub(last);
        if ahead < 0x8000 {
            Some(highest + u64::from(ahead))
        } else {
            highest.checked_sub(0x1_0000 - u64::from(ahead))
        }
    }

    /// Whether `index` was neither used nor is too old to tell.
    pub fn is_new(&self, index: u64) -> bool {
        if index >= self.next {
            return true;
        }
        index + SIZE >= self.next && self.bits[word(index)] & bit(index) == 0
    }

    /// The lowest index above every one used that `sequence_number` may stand for.
    pub fn above(&self, sequence_number: u16) -> u64 {
        self.next + u64::from(sequence_number.wrapping_sub(self.next as u16))
    }

    /// Note that `index` is used.
    pub fn mark(&mut self, index: u64) {
        if index >= self.next {
            if index - self.next >= SIZE {
                self.bits = [0; WORDS];
            } else {
                for skipped in self.next..index {
                    self.bits[word(skipped)] &= !bit(skipped);
                }
            }
            self.next = index + 1;
        }
        self.bits[word(index)] |= bit(index);
    }
}

const fn word(index: u64) -> usize {
    (index % SIZE / 64) as usize
}

const fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn seventy_thousand_packets_pass_the_wrap() {
        let mut window = Window::default();
        for index in 65_000..135_000u64 {
            let guessed = if index == 65_000 { 65_000 } else { window.guess(index as u16).unwrap() };
            assert_eq!(guessed, index);
            assert!(window.is_new(guessed));
            window.mark(guessed);
            assert!(!window.is_new(guessed));
        }
    }

    #[test]
    fn a_late_packet_from_before_the_wrap_keeps_its_index() {
        let mut window = Window::default();
        window.mark(65_535);
        window.mark(65_540);
        assert_eq!(window.guess(65_530), Some(65_530));
        assert!(window.is_new(65_530));
        assert!(window.is_new(65_537));
    }

    #[test]
    fn what_is_above_follows_the_highest_by_less_than_a_wrap() {
        let mut window = Window::default();
        assert_eq!(window.above(7), 7);
        window.mark(0x1_fffe);
        window.mark(0x1_fff0);
        for (number, above) in [(0xffff, 0x1_ffff), (0, 0x2_0000), (0xfff0, 0x2_fff0), (0xfffe, 0x2_fffe)] {
            assert_eq!(window.above(number), above);
        }
    }

    #[test]
    fn nothing_comes_before_index_zero() {
        let mut window = Window::default();
        window.mark(3);
        assert_eq!(window.guess(65_535), None);
    }

    #[test]
    fn what_was_skipped_is_new_once_however_far_the_window_has_turned() {
        for step in [2, 65, 700, SIZE - 1, SIZE, SIZE + 1, 5 * SIZE] {
            let mut window = Window::default();
            (0..2 * SIZE).for_each(|index| window.mark(index));
            let highest = 2 * SIZE - 1 + step;
            window.mark(highest);
            for late in highest + 1 - SIZE..highest {
                assert_eq!(window.is_new(late), late >= 2 * SIZE, "{step} {late}");
                window.mark(late);
                assert!(!window.is_new(late), "{step} {late}");
            }
            assert!(!window.is_new(highest) && !window.is_new(highest - SIZE), "{step}");
        }
    }

    proptest! {
        #[test]
        fn no_index_is_new_twice(steps in prop::collection::vec((any::<bool>(), 0u64..3000), 1..200)) {
            let mut window = Window::default();
            let mut used = std::collections::HashSet::new();
            let mut at = 5000u64;
            for (forward, step) in steps {
                at = if forward { at + step } else { at.saturating_sub(step) };
                if window.is_new(at) {
                    prop_assert!(used.insert(at));
                    window.mark(at);
                }
            }
        }
    }
}
