//! Counts of nanoseconds in buckets that are at most 3 % wide.

const FINE: u32 = 5;

pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    largest: u64,
}

impl Histogram {
    pub fn new() -> Histogram {
        Histogram { buckets: vec![0; 64 << FINE], count: 0, largest: 0 }
    }

    pub fn add(&mut self, value: u64) {
        let shift = (63 - (value | 1).leading_zeros()).saturating_sub(FINE);
        let bucket = ((shift as usize) << FINE) + (value >> shift) as usize;
        self.buckets[bucket] += 1;
        self.count += 1;
        self.largest = self.largest.max(value);
    }

    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.largest = self.largest.max(other.largest);
    }

    /// The least value that `share` (0 to 1) of all do not exceed, as far as the buckets tell.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                let shift = (bucket >> FINE).saturating_sub(1);
                let upper = (((bucket - (shift << FINE)) as u64 + 1) << shift) - 1;
                return upper.min(self.largest);
            }
        }
        0
    }

    /// As JSON: median, p99, p99.9 and maximum in microseconds.
    pub fn json(&self) -> String {
        let of = |share| self.quantile(share) as f64 / 1e3;
        format!(
            "{{\"median\":{:.1},\"p99\":{:.1},\"p999\":{:.1},\"max\":{:.1}}}",
            of(0.5),
            of(0.99),
            of(0.999),
            self.largest as f64 / 1e3
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_three_percent() {
        let mut histogram = Histogram::new();
        (1..=100_000u64).for_each(|value| histogram.add(value * 100));
        for (share, value) in [(0.5, 5_000_000.0), (0.99, 9_900_000.0), (1.0, 10_000_000.0)] {
            let found = histogram.quantile(share) as f64;
            assert!((found / value - 1.0).abs() < 0.035, "{share}: {found}");
        }
        assert_eq!(Histogram::new().quantile(0.5), 0);
    }
}
