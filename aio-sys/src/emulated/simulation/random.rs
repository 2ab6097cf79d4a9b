//! Numbers that a seed decides.
//!
//! The generator is `SplitMix64`: one addition and three mixing steps a number, and every seed is as good as another.
//!
//! Threads: the owner's.

#![forbid(unsafe_code)]

/// A sequence of numbers that depends on its seed alone.
#[derive(Debug, Default)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        // The remainder favours small numbers by one in 2^50 at the bounds that occur.
        (self.next() % bound as u64) as usize
    }

    /// Whether something happens that happens `per_256` times out of 256.
    pub(super) fn happens(&mut self, per_256: u8) -> bool {
        self.next() % 256 < u64::from(per_256)
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_numbers_depend_on_the_seed_alone() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| random.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
    }

    #[test]
    fn what_never_happens_does_not_and_what_is_likely_does() {
        let mut random = Random::new(1);
        assert!(!(0..1000).any(|_| random.happens(0)));
        let count = (0..1000).filter(|_| random.happens(128)).count();
        assert!((400..600).contains(&count), "{count} times out of 1000");
    }
}
