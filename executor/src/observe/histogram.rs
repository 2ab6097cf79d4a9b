//! Counts of times, by powers of two.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

const BUCKETS: usize = 40;

/// How many times fell between each two powers of two nanoseconds.
///
/// Bucket 0 counts 0 and 1 ns, bucket `n` from 2^n up to below 2^(n+1), the last one all above 2^39 ns, nine
/// minutes. Any thread may count and read; what is counted meanwhile may be missing.
///
/// # Examples
///
/// ```
/// use executor::observe::Histogram;
///
/// static LATENCY: Histogram = Histogram::new();
///
/// for nanoseconds in [900, 1_000, 1_100, 70_000] {
///     LATENCY.count(nanoseconds);
/// }
/// assert_eq!(LATENCY.counts()[9..11], [2, 1], "512 to 1023, 1024 to 2047");
/// assert_eq!(LATENCY.quantile(0.75), Some(2_047));
/// assert_eq!(LATENCY.quantile(1.0), Some(131_071));
/// ```
#[derive(Debug)]
pub struct Histogram([AtomicU64; BUCKETS]);

impl Histogram {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Histogram {
        Histogram([const { AtomicU64::new(0) }; BUCKETS])
    }

    /// Counts a time in nanoseconds.
    pub fn count(&self, nanoseconds: u64) {
        let bucket = (nanoseconds | 1).ilog2() as usize;
        // Relaxed: nothing else hangs on it.
        self.0[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// The counts, up to the last that is not 0.
    #[must_use]
    pub fn counts(&self) -> Vec<u64> {
        let mut counts: Vec<u64> = self.0.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        let used = counts.iter().rposition(|n| *n != 0).map_or(0, |last| last + 1);
        counts.truncate(used);
        counts
    }

    /// A time in nanoseconds that a share of all times does not exceed, rounded up to the end of its bucket;
    /// `None` if there are none.
    ///
    /// # Panics
    ///
    /// If `share` is not between 0 and 1.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<u64> {
        assert!((0.0..=1.0).contains(&share), "a share is between 0 and 1");
        let counts = self.counts();
        let wanted = (counts.iter().sum::<u64>() as f64 * share).ceil().max(1.0) as u64;
        let reached = counts.iter().scan(0, |sum, n| {
            *sum += n;
            Some(*sum)
        });
        let bucket = reached.into_iter().position(|sum| sum >= wanted)?;
        Some((2 << bucket) - 1)
    }
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn times_fall_between_powers_of_two() {
        let times = Histogram::new();
        for time in [0, 1, 2, 3, 4, 7, 8, u64::MAX] {
            times.count(time);
        }
        let counts = times.counts();
        assert_eq!(counts[..4], [2, 2, 2, 1]);
        assert_eq!((counts.len(), counts[39]), (40, 1));
    }

    #[test]
    fn a_quantile_is_the_end_of_its_bucket() {
        let times = Histogram::new();
        assert_eq!(times.quantile(0.5), None);
        for time in [5, 6, 7, 1000] {
            times.count(time);
        }
        assert_eq!(times.quantile(0.5), Some(7));
        assert_eq!(times.quantile(1.0), Some(1023));
        assert_eq!(times.quantile(0.0), Some(7));
    }
}
