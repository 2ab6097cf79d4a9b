//! Ticks that stay in phase.
//!
//! Owns a [`Sleep`] that is set to the next tick whenever one is taken.
//!
//! Threads: as all of `time`.

#![forbid(unsafe_code)]

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::stream::{FusedStream, Stream};

use super::{Sleep, State, sleep_on};
use crate::clock::{Clock, saturating_ns};

/// A stream of ticks; made by [`interval`] and [`interval_on`].
///
/// Each item is the time the tick was due at, in nanoseconds on the interval's clock. The stream
/// never ends.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use executor::LocalExecutor;
/// use executor::time::interval;
/// use futures_util::stream::StreamExt;
///
/// let executor = LocalExecutor::new()?;
/// let mut heart = interval(Duration::from_millis(1));
/// assert_eq!(heart.period(), 1_000_000);
/// let first = executor.run(heart.tick());
/// let others: Vec<i64> = executor.run(heart.take(2).collect()); // It is a stream, too.
/// assert!(others.iter().all(|due| (due - first) % 1_000_000 == 0));
/// assert!(first < others[0] && others[0] < others[1]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct Interval {
    pub(super) sleep: Sleep,
    period: i64,
}

impl Interval {
    /// Waits for the next tick and returns the time it was due at.
    ///
    /// Dropping the future before it completes loses no tick.
    pub async fn tick(&mut self) -> i64 {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// Returns the period in nanoseconds.
    #[must_use]
    pub fn period(&self) -> i64 {
        self.period
    }

    fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<i64> {
        ready!(Pin::new(&mut self.sleep).poll(cx));
        let due = self.sleep.deadline;
        let late = self.sleep.clock.now().saturating_sub(due).max(0);
        // The tick after the last one that has passed.
        let ahead = (late / self.period).saturating_add(1).saturating_mul(self.period);
        self.sleep.deadline = due.saturating_add(ahead);
        self.sleep.state = State::Idle;
        Poll::Ready(due)
    }
}

impl Stream for Interval {
    type Item = i64;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<i64>> {
        self.poll_tick(cx).map(Some)
    }
}

impl FusedStream for Interval {
    fn is_terminated(&self) -> bool {
        false
    }
}

/// Ticks once per `period` of the real-time clock; see [`interval_on`].
///
/// # Panics
///
/// If `period` is zero. Polling it outside any executor panics.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use executor::LocalExecutor;
/// use executor::clock::Clock;
/// use executor::time::interval;
///
/// let executor = LocalExecutor::new()?;
/// let mut heart = interval(Duration::from_millis(1));
/// let due = executor.run(heart.tick());
/// assert!(Clock::Realtime.now() >= due);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn interval(period: Duration) -> Interval {
    interval_on(Clock::Realtime, period)
}

/// Ticks once per `period` of `clock`, the first time one period from now.
///
/// The ticks stay in phase: they fall on the start time plus multiples of the period, however late
/// any of them was served. Ticks that were missed altogether, because the loop was busy or nobody
/// polled, are merged into one and not made up for, as QEMU's periodic timers do that re-arm
/// themselves from the current time.
///
/// # Panics
///
/// If `period` is zero. Polling it outside any executor panics.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use executor::clock::Clock;
/// use executor::time::interval_on;
/// use executor::{MainCx, block_on, run_main};
///
/// /// A device that raises an interrupt once a millisecond of the guest's time.
/// async fn tick_thrice(_: &MainCx) -> i64 {
///     let mut timer = interval_on(Clock::Virtual, Duration::from_millis(1));
///     let first = timer.tick().await;
///     timer.tick().await;
///     timer.tick().await - first
/// }
///
/// run_main(|nc| {
///     let between = block_on(nc, tick_thrice);
///     assert!(between >= 2_000_000 && between % 1_000_000 == 0, "in phase, whatever was missed");
/// });
/// ```
pub fn interval_on(clock: Clock, period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval needs a period longer than zero");
    Interval { sleep: sleep_on(clock, period), period: saturating_ns(period) }
}
