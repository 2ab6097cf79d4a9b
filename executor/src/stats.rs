//! Counters of an executor, written by its home thread and read by any.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter with one writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Home. Not a read-modify-write: only this thread writes.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What an executor counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) spawned: Counter,
    pub(crate) completed: Counter,
    pub(crate) polls: Counter,
    pub(crate) slices: Counter,
    pub(crate) requests: Counter,
    pub(crate) timers: Counter,
    pub(crate) fd_events: Counter,
}

/// What an executor has done so far.
///
/// # Examples
///
/// ```
/// use executor::LocalExecutor;
///
/// let executor = LocalExecutor::new()?;
/// let before = executor.stats();
/// executor.spawn(async {}).detach();
/// executor.spawn(std::future::pending::<()>()).detach();
/// executor.run_once();
///
/// let now = executor.stats();
/// assert_eq!(now.spawned - before.spawned, 2);
/// assert_eq!((now.live, now.completed, now.polls), (1, 1, 2));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks that exist now.
    pub live: u64,
    /// Tasks that were spawned.
    pub spawned: u64,
    /// Tasks that completed, were cancelled or panicked.
    pub completed: u64,
    /// Futures polled.
    pub polls: u64,
    /// Calls from the event loop to run ready tasks.
    pub slices: u64,
    /// Wakes and closures that came from other threads.
    pub requests: u64,
    /// Timers that fired.
    pub timers: u64,
    /// Readiness events of file descriptors.
    pub fd_events: u64,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> Stats {
        let (spawned, completed) = (self.spawned.get(), self.completed.get());
        Stats {
            live: spawned.saturating_sub(completed),
            spawned,
            completed,
            polls: self.polls.get(),
            slices: self.slices.get(),
            requests: self.requests.get(),
            timers: self.timers.get(),
            fd_events: self.fd_events.get(),
        }
    }
}
