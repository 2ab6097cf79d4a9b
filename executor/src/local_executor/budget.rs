//! How long an executor may keep the event loop.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::clock::Clock;

/// How much an executor does before it lets fds, timers and other bottom halves have their turn.
///
/// It ends a run after `polls` polls or once `time` has passed, whichever comes first. The clock is read
/// every sixteen polls only, the first time after as many, so a run of slow polls may overrun `time` by up
/// to thirty-two of them.
///
/// As often it looks at what other threads want. If that is very much (64 requests at once, and again and again), it
/// lets what comes next wait for 25 to 200 us, as long as it has other tasks to poll.
///
/// # Examples
///
/// ```
/// use executor::{Budget, LocalExecutor};
///
/// let executor = LocalExecutor::new()?;
/// executor.set_budget(Budget { polls: 4, ..Budget::default() });
/// for _ in 0..8 {
///     executor.spawn(async {}).detach();
/// }
/// executor.run_once(); // One turn of the loop: the executor gets so far,
/// assert_eq!(executor.stats().polls, 4);
/// executor.run_once(); // and goes on in the next one.
/// assert_eq!(executor.stats().polls, 8);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Polls in a run, at least 1. Default 1024: in QEMU a turn of the main loop costs as much as 250 polls.
    pub polls: u32,
    /// Time of a run. Default 1 ms: a main loop that is late by more delays the guest's devices.
    pub time: Duration,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { polls: 1024, time: Duration::from_millis(1) }
    }
}

/// Polls between two looks at the clock, which costs as much as four polls, and at what other threads want.
const STRIDE: u32 = 16;

/// What is left of a budget.
#[derive(Debug)]
pub(super) struct Left {
    polls: u32,
    /// Polls until the next look at the clock.
    look: u32,
    time: i64,
    /// When the time is spent. Not known before the clock was read for the first time.
    until: Option<i64>,
}

impl Budget {
    pub(super) fn start(self) -> Left {
        let time = i64::try_from(self.time.as_nanos()).unwrap_or(i64::MAX);
        Left { polls: self.polls_of_a_run(), look: STRIDE, time, until: None }
    }

    /// At least 1, but for a test that goes step by step and has made its step.
    fn polls_of_a_run(self) -> u32 {
        let polls = self.polls_unless_cut_short().max(1);
        #[cfg(feature = "testing")]
        let polls = crate::testing::most_polls(polls);
        polls
    }

    #[cfg(not(feature = "simulation"))]
    fn polls_unless_cut_short(self) -> u32 {
        self.polls
    }

    /// A simulation cuts runs short.
    #[cfg(feature = "simulation")]
    fn polls_unless_cut_short(self) -> u32 {
        use crate::aio::simulation::{choose, is_short};

        if is_short() { [1, 2, 3][choose(3)] } else { self.polls }
    }
}

impl Left {
    /// How many polls to make before the clock and other threads are looked at again. At least 1.
    #[inline]
    pub(super) fn batch(&self) -> u32 {
        self.polls.min(self.look)
    }

    /// Takes polls off the budget, no more than the batch. Returns whether it is spent.
    #[inline]
    pub(super) fn spend(&mut self, polls: u32) -> bool {
        self.polls -= polls;
        self.look -= polls;
        // Most runs are over before the look, and pay nothing for the clock.
        self.polls == 0 || (self.look == 0 && self.is_late())
    }

    #[cold]
    fn is_late(&mut self) -> bool {
        self.look = STRIDE;
        let now = Clock::Realtime.now();
        now >= *self.until.get_or_insert(now.saturating_add(self.time))
    }
}
