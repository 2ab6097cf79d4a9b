//! How often an executor that is busy looks at what other threads want.
//!
//! Mostly after each batch of polls. But a look that finds many requests costs their senders, too: the next wake of
//! each task that was served is not a flag that is set already, it is a push, onto a stack that all of them share.
//! So in a *flood* the executor waits until more have come, while it has other things to do, and for a bounded
//! time: who is served together with a hundred others is late because of them anyway.
//!
//! What is not served for that reason is owed: nobody rings for it again, so a run does not end without it.

#![forbid(unsafe_code)]

use std::cell::Cell;

use crate::clock::Clock;

/// Requests found by one look that are a flood. A look each 16 polls finds fewer unless several threads do nothing
/// else, or one thread has many tasks to wake.
const MANY: usize = 64;
/// How long a flood is left alone, in ns: at first, and at most, as it goes on.
const RESTS: (i64, i64) = (25_000, 200_000);

/// See the module's documentation. Home.
#[derive(Debug, Default)]
pub(super) struct Flood {
    /// When the next look is due. 0 while there is no flood.
    next_look: Cell<i64>,
    /// How long it is between the latest look and the next one.
    rest: Cell<i64>,
}

impl Flood {
    /// Whether requests may be owed.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.next_look.get() != 0
    }

    /// Whether a look can wait, if there are other things to do.
    #[inline]
    pub(super) fn can_wait(&self) -> bool {
        self.is_on() && Clock::Realtime.now() < self.next_look.get()
    }

    /// Learns what a look has found.
    #[inline]
    pub(super) fn learn(&self, found: usize) {
        if found >= MANY {
            self.go_on();
        } else {
            self.next_look.set(0);
        }
    }

    #[cold]
    fn go_on(&self) {
        let rest = if self.is_on() { self.rest.get() * 2 } else { 0 };
        self.rest.set(rest.clamp(RESTS.0, RESTS.1));
        self.next_look.set(Clock::Realtime.now() + self.rest.get());
    }
}

#[cfg(test)]
mod tests {
    use super::{Flood, MANY, RESTS};
    use crate::clock::Clock;

    #[test]
    fn a_look_that_finds_many_is_the_last_one_for_a_while_and_one_that_finds_few_is_not() {
        let flood = Flood::default();
        for few in [0, 1, MANY - 1] {
            flood.learn(few);
            assert!(!flood.is_on() && !flood.can_wait());
        }
        flood.learn(MANY);
        while flood.can_wait() {}
        assert!(flood.is_on(), "what came meanwhile is still owed");
        flood.learn(1);
        assert!(!flood.is_on());
    }

    #[test]
    fn a_flood_that_goes_on_is_left_alone_for_longer_up_to_a_bound() {
        let flood = Flood::default();
        for rest in [25_000, 50_000, 100_000, 200_000, 200_000] {
            let before = Clock::Realtime.now();
            flood.learn(MANY);
            assert_eq!(flood.rest.get(), rest);
            assert!((before..=Clock::Realtime.now()).contains(&(flood.next_look.get() - rest)));
        }
        flood.learn(0);
        flood.learn(MANY);
        assert_eq!(flood.rest.get(), RESTS.0, "it is forgotten");
    }
}
