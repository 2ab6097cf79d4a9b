//! Sleeps, intervals and time-outs on QEMU's clocks.
//!
//! A [`Sleep`] owns nothing but its deadline until it is first polled. Then it registers with the
//! executor that polls it: a place in that executor's [deadline queue](queue), which is served by
//! one loop timer per clock. When the executor changes (the task moved to an iothread), the next
//! poll registers it there; when it is dropped, on whichever thread, it leaves the queue at once.
//!
//! | I want | use |
//! |---|---|
//! | to wait for a while | [`sleep`], [`sleep_on`] for guest time |
//! | to wait until a given time | [`sleep_until`] |
//! | to do something again and again | [`interval`], [`interval_on`] |
//! | to stop waiting for something else | [`timeout`], [`timeout_on`] |
//!
//! Deadlines have the resolution of the loop's timers. A sleep never ends early; how late it ends is
//! a matter of what else the loop does, and, where several are due within
//! [50 us](crate::LocalExecutor::set_timer_slack) on one of the host's clocks, of what they save by ending together.
//!
//! Threads: everything here is `Send`. Constructors can be called anywhere (they read the clock);
//! polling needs an executor on the thread.

#![forbid(unsafe_code)]

use std::error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::stream::{FusedStream, Stream};

use crate::clock::{Clock, saturating_ns};
use crate::current;

pub(crate) mod queue;
#[cfg(test)]
mod tests;

pub(crate) use queue::TimerQueue;

use queue::TimerKey;

/// Waits for `duration` on the real-time clock.
///
/// The time counts from this call, not from the first poll. A duration of zero completes at the
/// first poll; one beyond the end of the clock (292 years) never does.
///
/// # Panics
///
/// Polling it outside any executor panics.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_on(Clock::Realtime, duration)
}

/// Waits for `duration` on `clock`.
///
/// Like [`sleep`]. On [`Clock::Virtual`] the wait stands still while the guest is paused.
///
/// # Panics
///
/// Polling it outside any executor panics.
pub fn sleep_on(clock: Clock, duration: Duration) -> Sleep {
    if duration.is_zero() {
        return Sleep { clock, deadline: clock.now(), state: State::Elapsed };
    }
    Sleep { clock, deadline: clock.after(duration), state: State::Idle }
}

/// Waits until `clock` shows `deadline` (in nanoseconds).
///
/// A deadline that has passed completes at the first poll.
///
/// # Panics
///
/// Polling it outside any executor panics.
pub fn sleep_until(clock: Clock, deadline: i64) -> Sleep {
    Sleep { clock, deadline, state: State::new(clock, deadline) }
}

/// Ticks once per `period` of the real-time clock; see [`interval_on`].
///
/// # Panics
///
/// If `period` is zero. Polling it outside any executor panics.
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
pub fn interval_on(clock: Clock, period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval needs a period longer than zero");
    Interval { sleep: sleep_on(clock, period), period: saturating_ns(period) }
}

/// Runs `future` for at most `duration` of the real-time clock; see [`timeout_on`].
///
/// # Errors
///
/// [`Elapsed`] if the time was up first; `future` has been dropped then.
///
/// # Panics
///
/// Polling it outside any executor panics.
pub fn timeout<F: Future>(
    duration: Duration,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> {
    timeout_on(Clock::Realtime, duration, future)
}

/// Runs `future` for at most `duration` of `clock`, counted from this call.
///
/// The future is polled before the clock is looked at, so a future that is ready wins even if it is
/// polled late, and with a duration of zero it gets one poll. A future that is ready at its first
/// poll never registers a timer.
///
/// # Errors
///
/// [`Elapsed`] if the time was up first. The future is dropped together with the time-out, before
/// the `await` ends.
///
/// # Panics
///
/// Polling it outside any executor panics.
pub fn timeout_on<F: Future>(
    clock: Clock,
    duration: Duration,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> {
    let mut sleep = sleep_on(clock, duration);
    async move {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => Pin::new(&mut sleep).poll(cx).map(|()| Err(Elapsed { _private: () })),
        })
        .await
    }
}

/// A future that waits for a deadline; made by [`sleep`] and its relatives.
///
/// It may be polled again after it has completed, and completes again at once.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    clock: Clock,
    deadline: i64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Not polled yet.
    Idle,
    /// In the queue of the executor that polled it last.
    Registered(Registration),
    /// The deadline has passed.
    Elapsed,
}

/// A place in a deadline queue, given up on drop.
#[derive(Debug)]
struct Registration {
    queue: Arc<TimerQueue>,
    key: TimerKey,
}

impl Sleep {
    /// Returns the clock it waits for.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Returns the time on the clock at which it completes, in nanoseconds.
    #[must_use]
    pub fn deadline(&self) -> i64 {
        self.deadline
    }

    /// Returns whether it has completed.
    #[must_use]
    pub fn is_elapsed(&self) -> bool {
        matches!(self.state, State::Elapsed)
    }

    /// Starts over with a new deadline on the same clock.
    ///
    /// The task that awaits it must poll it again to notice, as with any future that changes.
    pub fn reset(&mut self, deadline: i64) {
        self.state = State::new(self.clock, deadline);
        self.deadline = deadline;
    }

    fn register(&mut self, queue: Arc<TimerQueue>, cx: &Context<'_>) -> Poll<()> {
        let (key, earliest) = queue.insert(self.clock, self.deadline, cx.waker());
        self.state = State::Registered(Registration { queue, key });
        if earliest {
            current::timers_changed();
        }
        Poll::Pending
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let queue = match &self.state {
            State::Elapsed => return Poll::Ready(()),
            State::Idle => current::timers(),
            State::Registered(registration) => {
                let queue = current::timers();
                let known = &registration.queue;
                if Arc::ptr_eq(known, &queue) && known.update(&registration.key, cx.waker()) {
                    return Poll::Pending;
                }
                // Fired, or closed, or polled by another executor for the first time.
                if self.clock.now() >= self.deadline {
                    self.state = State::Elapsed;
                    return Poll::Ready(());
                }
                queue
            }
        };
        self.register(queue, cx)
    }
}

impl State {
    /// Reads the clock, so that the first poll need not.
    fn new(clock: Clock, deadline: i64) -> Self {
        if deadline <= clock.now() { Self::Elapsed } else { Self::Idle }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.queue.cancel(self.key);
    }
}

/// A stream of ticks; made by [`interval`] and [`interval_on`].
///
/// Each item is the time the tick was due at, in nanoseconds on the interval's clock. The stream
/// never ends.
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct Interval {
    sleep: Sleep,
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

/// The error of a [`timeout`] whose time was up first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed {
    _private: (),
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time is up")
    }
}

impl error::Error for Elapsed {}
