//! The threads that run blocking work.
//!
//! Owns the queue and the count of threads. A thread takes the oldest work, runs it, and looks for
//! more; after a while without any it ends. Whoever submits work wakes an idle thread, or creates one.
//! A thread that has been woken but has not looked yet no longer counts as idle, so a burst of work
//! finds as many threads as it needs.
//!
//! Threads: any. One lock; no work runs or is dropped under it.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow};

/// What a thread of the pool can run.
pub(super) trait Work: Send + Sync {
    fn run(&self);
}

/// Names a piece of work; also its place in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

pub(super) struct Pool {
    state: Mutex<State>,
    /// Tells one idle thread that `notified` has grown.
    work: Condvar,
    most: usize,
    linger: Duration,
    spawn: fn(&'static Self) -> io::Result<()>,
}

struct State {
    queue: BTreeMap<Ticket, Arc<dyn Work>>,
    next: u64,
    /// Threads that exist or are being created.
    threads: usize,
    /// Threads that wait and have not been told to look.
    idle: usize,
    /// Threads that wait and have been told to look.
    notified: usize,
}

impl Pool {
    pub(super) const fn new(
        most: usize,
        linger: Duration,
        spawn: fn(&'static Self) -> io::Result<()>,
    ) -> Self {
        let state = State { queue: BTreeMap::new(), next: 0, threads: 0, idle: 0, notified: 0 };
        Self { state: Mutex::new(state), work: Condvar::new(), most, linger, spawn }
    }

    /// Returns the pool of the process.
    pub(super) fn global() -> &'static Self {
        static POOL: Pool = Pool::new(16, Duration::from_secs(5), spawn_thread);
        &POOL
    }

    /// Queues `work` and sees to it that a thread will run it.
    ///
    /// Fails if there is no thread and none can be created. With at least one thread the work waits
    /// for it instead.
    pub(super) fn submit(&'static self, work: Arc<dyn Work>) -> io::Result<Ticket> {
        let mut state = self.lock();
        if state.idle > 0 {
            state.idle -= 1;
            state.notified += 1;
            self.work.notify_one();
        } else if state.threads < self.most {
            // Under the lock, so that a thread counts only once it exists: whoever relies on the
            // thread that another caller is about to create would be lost if that failed.
            match (self.spawn)(self) {
                Ok(()) => state.threads += 1,
                Err(error) if state.threads == 0 => return Err(error),
                // The others will get to it. They look at the queue before they end.
                Err(_) => {}
            }
        }
        Ok(state.push(work))
    }

    /// Removes work that no thread has taken yet. Does nothing otherwise.
    pub(super) fn cancel(&self, ticket: Ticket) {
        let removed = self.lock().queue.remove(&ticket);
        drop(removed);
    }

    /// The life of a thread.
    fn serve(&self) {
        while let Some(work) = self.next() {
            // Work keeps its own panics; this is for a result that panics when it is dropped.
            let _ = catch_unwind(AssertUnwindSafe(move || {
                work.run();
                drop(work);
            }));
        }
    }

    /// Waits for work; `None` ends the thread, which is no longer counted then.
    fn next(&self) -> Option<Arc<dyn Work>> {
        loop {
            let work = self.lock().queue.pop_first();
            match work {
                Some((_, work)) => return Some(work),
                None if self.wait() => {}
                None => return None,
            }
        }
    }

    /// Waits idle for work. Returns whether to look for some; otherwise the thread is to end.
    fn wait(&self) -> bool {
        let mut state = self.lock();
        let mut look = !state.queue.is_empty();
        if !look {
            state.idle += 1;
            let quiet = |state: &mut State| state.notified == 0;
            let waited = self.work.wait_timeout_while(state, self.linger, quiet);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            look = state.stop_waiting();
        }
        drop(state);
        look
    }

    #[cfg(test)]
    pub(super) fn threads(&self) -> usize {
        self.lock().threads
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.lock().queue.len()
    }

    /// Locks the state. No foreign code runs under the lock, so it cannot be poisoned in a state that
    /// matters.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Pool")
            .field("threads", &state.threads)
            .field("queued", &state.queue.len())
            .finish_non_exhaustive()
    }
}

impl State {
    /// Takes back what was counted for a thread that waited, and the thread itself if it was waiting
    /// for nothing. Returns whether it is to look for work.
    fn stop_waiting(&mut self) -> bool {
        if self.notified > 0 {
            self.notified -= 1;
            return true;
        }
        self.idle -= 1;
        let look = !self.queue.is_empty();
        if !look {
            self.threads -= 1;
        }
        look
    }

    fn push(&mut self, work: Arc<dyn Work>) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.queue.insert(ticket, work);
        ticket
    }
}

/// Creates a thread with all signals blocked: they are for QEMU's own threads.
pub(super) fn spawn_thread(pool: &'static Pool) -> io::Result<()> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let name = String::from("blocking");
    let spawned = thread::Builder::new().name(name).spawn(move || pool.serve());
    before.thread_set_mask()?;
    spawned.map(drop)
}
