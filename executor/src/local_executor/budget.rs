//! How long an executor may keep the event loop.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::clock::Clock;

/// How much an executor does before it lets fds, timers and other bottom halves have their turn.
///
/// It ends a run after `polls` polls or once `time` has passed, whichever comes first. The clock is read
/// every sixteen polls only, the first time after as many, so a run of slow polls may overrun `time` by up
/// to thirty-two of them.
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
    time: i64,
    /// When the time is spent. Not known before the clock was read for the first time.
    until: Option<i64>,
}

impl Budget {
    pub(super) fn start(self) -> Left {
        let time = i64::try_from(self.time.as_nanos()).unwrap_or(i64::MAX);
        Left { polls: self.polls.max(1), time, until: None }
    }
}

impl Left {
    /// Takes one poll off the budget. Returns whether there is more.
    #[inline]
    pub(super) fn spend(&mut self) -> bool {
        self.polls -= 1;
        if self.polls % STRIDE == 0 {
            return self.polls > 0 && !self.is_late();
        }
        true
    }

    /// Most runs are over before this is asked, and pay nothing for the clock.
    #[cold]
    fn is_late(&mut self) -> bool {
        let now = Clock::Realtime.now();
        now >= *self.until.get_or_insert(now.saturating_add(self.time))
    }

    /// Whether it is time to look at what other threads want, in the middle of a run.
    #[inline]
    pub(super) fn look_around(&self) -> bool {
        self.polls % STRIDE == STRIDE - 1
    }
}
