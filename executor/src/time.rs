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
//!
//! # Examples
//!
//! A server that reminds a client who says nothing, and gives up after the third time:
//!
//! ```
//! use std::time::Duration;
//!
//! use executor::LocalExecutor;
//! use executor::net::UnixStream;
//! use executor::time::timeout;
//! use futures_util::io::{AsyncReadExt, AsyncWriteExt};
//!
//! async fn serve(mut client: UnixStream) -> std::io::Result<Option<u8>> {
//!     let mut byte = [0];
//!     for _ in 0..3 {
//!         match timeout(Duration::from_millis(2), client.read_exact(&mut byte)).await {
//!             Ok(read) => return read.map(|()| Some(byte[0])),
//!             Err(_elapsed) => client.write_all(b"well?").await?,
//!         }
//!     }
//!     Ok(None)
//! }
//!
//! let executor = LocalExecutor::new()?;
//! executor.run(async {
//!     let (mut silent, client) = UnixStream::pair()?;
//!     assert_eq!(serve(client).await?, None);
//!     let mut heard = String::new();
//!     silent.read_to_string(&mut heard).await?;
//!     assert_eq!(heard, "well?well?well?");
//!     Ok::<_, std::io::Error>(())
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```

#![forbid(unsafe_code)]

use std::error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::clock::Clock;
use crate::current;

pub(crate) mod queue;
#[cfg(test)]
mod tests;
mod ticks;

pub(crate) use queue::TimerQueue;
pub use ticks::{Interval, interval, interval_on};

use queue::TimerKey;

/// Waits for `duration` on the real-time clock.
///
/// The time counts from this call, not from the first poll. A duration of zero completes at the
/// first poll; one beyond the end of the clock (292 years) never does.
///
/// # Panics
///
/// Polling it outside any executor panics.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use executor::LocalExecutor;
/// use executor::clock::Clock;
/// use executor::time::sleep;
///
/// let executor = LocalExecutor::new()?;
/// let began = Clock::Realtime.now();
/// executor.run(sleep(Duration::from_millis(2)));
/// assert!(Clock::Realtime.now() - began >= 2_000_000, "it never ends early");
/// # Ok::<(), std::io::Error>(())
/// ```
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
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use executor::clock::{Clock, pause_virtual, resume_virtual};
/// use executor::time::{sleep_on, timeout};
/// use executor::{MainCx, block_on, run_main};
///
/// const MS: Duration = Duration::from_millis(1);
///
/// async fn guest_sleeps(_: &MainCx) -> bool {
///     timeout(20 * MS, sleep_on(Clock::Virtual, MS)).await.is_ok()
/// }
///
/// run_main(|nc| {
///     pause_virtual(nc); // As QMP's `stop` does.
///     assert!(!block_on(nc, guest_sleeps), "no time passes for a guest that is paused");
///     resume_virtual(nc);
///     assert!(block_on(nc, async |_: &MainCx| sleep_on(Clock::Virtual, MS).await) == ());
/// });
/// ```
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
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use executor::LocalExecutor;
/// use executor::clock::Clock;
/// use executor::time::sleep_until;
///
/// let executor = LocalExecutor::new()?;
/// let deadline = Clock::Realtime.after(Duration::from_millis(2));
/// executor.run(sleep_until(Clock::Realtime, deadline));
/// assert!(Clock::Realtime.now() >= deadline);
/// executor.run(sleep_until(Clock::Realtime, deadline)); // It has passed: ready at once.
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn sleep_until(clock: Clock, deadline: i64) -> Sleep {
    Sleep { clock, deadline, state: State::new(clock, deadline) }
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
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use executor::LocalExecutor;
/// use executor::net::UnixStream;
/// use executor::time::timeout;
/// use futures_util::io::{AsyncReadExt, AsyncWriteExt};
///
/// let executor = LocalExecutor::new()?;
/// executor.run(async {
///     let (mut client, mut server) = UnixStream::pair()?;
///     let mut byte = [0];
///     let silence = timeout(Duration::from_millis(2), client.read_exact(&mut byte)).await;
///     assert!(silence.is_err(), "the server has said nothing");
///
///     server.write_all(b"!").await?;
///     let answer = timeout(Duration::from_secs(10), client.read_exact(&mut byte)).await;
///     answer.expect("the answer is there")?;
///     assert_eq!(byte, *b"!");
///     Ok::<(), std::io::Error>(())
/// })
/// # .map_err(Into::<Box<dyn std::error::Error>>::into)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// # Examples
///
/// ```
/// use std::future::pending;
/// use std::time::Duration;
///
/// use executor::clock::Clock;
/// use executor::time::timeout_on;
/// use executor::{MainCx, block_on, run_main};
///
/// /// Gives the guest two milliseconds of its own time to answer.
/// async fn ask_guest(_: &MainCx) -> Option<u32> {
///     let answer = pending(); // It does not.
///     timeout_on(Clock::Virtual, Duration::from_millis(2), answer).await.ok()
/// }
///
/// run_main(|nc| assert_eq!(block_on(nc, ask_guest), None));
/// ```
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
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use executor::LocalExecutor;
/// use executor::clock::Clock;
/// use executor::time::sleep;
///
/// let executor = LocalExecutor::new()?;
/// let mut idle = sleep(Duration::from_secs(3600));
/// assert_eq!(idle.clock(), Clock::Realtime);
/// assert!(idle.deadline() > Clock::Realtime.now() && !idle.is_elapsed());
/// // Something has happened: it counts from here again.
/// idle.reset(Clock::Realtime.after(Duration::from_millis(1)));
/// executor.run(&mut idle);
/// assert!(idle.is_elapsed());
/// # Ok::<(), std::io::Error>(())
/// ```
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

/// The error of a [`timeout`] whose time was up first.
///
/// # Examples
///
/// ```
/// use std::future::{pending, ready};
/// use std::time::Duration;
///
/// use executor::LocalExecutor;
/// use executor::time::{Elapsed, timeout};
///
/// let executor = LocalExecutor::new()?;
/// let error: Elapsed = executor.run(timeout(Duration::ZERO, pending::<()>())).unwrap_err();
/// assert_eq!(error.to_string(), "the time is up");
/// assert_eq!(executor.run(timeout(Duration::ZERO, ready(1))), Ok(1), "ready is ready");
/// # Ok::<(), std::io::Error>(())
/// ```
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
