//! How long an executor may keep the event loop.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::clock::Clock;

/// How much an executor does before it lets fds, timers and other bottom halves have their turn.
///
/// It ends a run after `polls` polls or once `time` has passed, whichever comes first. The clock is read
/// every few polls only, so a run of slow polls may overrun `time` by up to sixteen of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Polls in a run, at least 1. Default 256.
    pub polls: u32,
    /// Time of a run. Default 1 ms: a main loop that is late by more delays the guest's devices.
    pub time: Duration,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { polls: 256, time: Duration::from_millis(1) }
    }
}

/// Polls between two looks at the clock: the clock costs as much as four polls.
const STRIDE: u32 = 16;

/// What is left of a budget.
#[derive(Debug)]
pub(super) struct Left {
    polls: u32,
    until: i64,
}

impl Budget {
    pub(super) fn start(self) -> Left {
        let time = i64::try_from(self.time.as_nanos()).unwrap_or(i64::MAX);
        let until = Clock::Realtime.now().saturating_add(time);
        Left { polls: self.polls.max(1), until }
    }
}

impl Left {
    /// Takes one poll off the budget. Returns whether there is more.
    #[inline]
    pub(super) fn spend(&mut self) -> bool {
        self.polls -= 1;
        if self.polls % STRIDE == 0 {
            return self.polls > 0 && Clock::Realtime.now() < self.until;
        }
        true
    }

    /// Whether it is time to look at what other threads want, in the middle of a run.
    #[inline]
    pub(super) fn look_around(&self) -> bool {
        self.polls % STRIDE == STRIDE - 1
    }
}
