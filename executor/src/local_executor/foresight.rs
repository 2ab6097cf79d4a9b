//! Whether it pays to ask for ready fds before the event loop does.
//!
//! Two tasks of one executor that talk through a socket make each other's fd ready. Asked for at the end of a
//! run, that costs one system call a hop; left to the event loop it costs a pass of the loop and the same
//! system call. But before the loop goes to sleep the question is wasted. So the answers decide: after one
//! that found something it is asked again, after one that found nothing it is left out for a while, and
//! for longer each time.

#![forbid(unsafe_code)]

use std::cell::Cell;

/// See the module's documentation. Home.
#[derive(Debug, Default)]
pub(super) struct Foresight {
    /// Runs until the next question.
    rest: Cell<u32>,
    /// How long the latest rest was.
    latest: Cell<u32>,
}

/// Runs without the question after it failed for the first time, and at most: a wasted system call in a
/// hundred runs costs each a few nanoseconds.
const RESTS: (u32, u32) = (8, 128);

impl Foresight {
    /// Whether to ask at the end of this run.
    pub(super) fn asks(&self) -> bool {
        let rest = self.rest.get();
        self.rest.set(rest.saturating_sub(1));
        rest == 0
    }

    /// Learns from an answer.
    pub(super) fn learn(&self, found: bool) {
        let rest = if found { 0 } else { (self.latest.get() * 2).clamp(RESTS.0, RESTS.1) };
        self.rest.set(rest);
        self.latest.set(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::{Foresight, RESTS};

    #[test]
    fn it_asks_while_it_finds_and_rests_longer_each_time_it_does_not() {
        let foresight = Foresight::default();
        for _ in 0..3 {
            assert!(foresight.asks());
            foresight.learn(true);
        }
        for rest in [8, 16, 32, 64, 128, 128] {
            assert!(foresight.asks());
            foresight.learn(false);
            assert_eq!((0..rest).filter(|_| foresight.asks()).count(), 0, "a rest of {rest}");
        }
        assert!(foresight.asks());
        foresight.learn(true);
        foresight.learn(false);
        assert_eq!(
            (0..100).position(|_| foresight.asks()),
            Some(RESTS.0 as usize),
            "it is forgotten"
        );
    }
}
