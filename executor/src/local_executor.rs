//! The executor: polls tasks in the event loop of one thread.
//!
//! An executor is attached to an `AioContext`. Its doorbell is one bottom half of that context; when the
//! loop runs it, [`Core::run_slice`] polls ready tasks until none is left or the budget is spent, and in
//! the latter case rings again, so that fds, timers and other bottom halves get their turn.
//!
//! Threads: an executor never leaves its home thread. What other threads may do goes through
//! [`Home`](crate::home::Home). Under a *nested* attachment (QEMU's main context) any thread that holds the Big QEMU Lock may
//! run the callbacks; they then find no executor under the number and leave the work to the home thread, see
//! `doorbell`.
//!
//! No borrow and no lock is held while user code runs (poll, drop, wake), so a task may do anything to
//! its executor, and a nested event loop inside a poll may run it again: a task on the stack is in no
//! queue, so it is not polled twice.

#![forbid(unsafe_code)]

mod budget;
mod calls;
mod core;
mod doorbell;
mod flood;
mod foresight;
mod slice;
mod timers;

pub(crate) use self::core::Core;

pub use budget::Budget;

use std::fmt;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::task::{LocalFutureObj, LocalSpawn, SpawnError};

use crate::aio::context::Context;
use crate::main_loop::assert_goes_on;
use crate::probe::Probe;
use crate::stats::Stats;
use crate::task::{JoinHandle, TaskLabel};

/// A single-threaded executor that lives in an `AioContext`.
///
/// Owns its tasks: when it is dropped, or shut down, their futures are dropped on this thread. Programs on
/// QEMU's main loop rarely need it by name; [`MainCx`](crate::MainCx) and [`NoCoroutine`](crate::NoCoroutine)
/// spawn on the main loop's executor.
#[must_use]
pub struct LocalExecutor {
    core: Rc<Core>,
}

impl LocalExecutor {
    /// An executor in the event loop `context`, which must be run by this thread.
    ///
    /// # Panics
    ///
    /// If another thread runs the context.
    pub fn attach(context: &Context) -> LocalExecutor {
        assert!(
            context.is_home(),
            "an executor must be attached by the thread that runs its AioContext"
        );
        LocalExecutor { core: Core::new(context) }
    }

    /// An executor in a loop of this thread's own, made now if need be: for programs, tests and threads
    /// that have no QEMU around them. Drive it with [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// What the system says if there are no more file descriptors.
    pub fn new() -> io::Result<LocalExecutor> {
        Ok(LocalExecutor::attach(&Context::for_this_thread()?))
    }

    /// Spawns a task, to be polled by this thread's event loop. The future need not be `Send`.
    #[track_caller]
    pub fn spawn<F: Future + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        self.core.spawn(None, Location::caller(), future)
    }

    /// Spawns a task with a name, which messages and listings show.
    #[track_caller]
    pub fn spawn_named<F: Future + 'static>(
        &self,
        name: impl Into<Arc<str>>,
        future: F,
    ) -> JoinHandle<F::Output> {
        self.core.spawn(Some(name.into()), Location::caller(), future)
    }

    /// Polls `future` and runs the executor's event loop until the future is ready.
    ///
    /// # Panics
    ///
    /// If a future is being polled on this thread: await instead. If the context is the main loop's:
    /// use [`block_on`](crate::block_on), which asks for the right to run a nested loop.
    #[track_caller]
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        self.assert_own_loop();
        let here = Location::caller();
        self.core.block_on(future, || {
            self.core.context().poll(true);
            assert_goes_on(here);
        })
    }

    /// Lets the event loop make one pass without waiting. For tests that go step by step.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    #[track_caller]
    pub fn run_once(&self) {
        self.assert_own_loop();
        self.core.block_on(std::future::ready(()), || {});
        self.core.context().poll(false);
    }

    /// Whoever holds the Big QEMU Lock can attach to the main loop's contexts, but only the main loop's
    /// thread may run them, and only with the right to: their bottom halves need not be `Send`.
    #[track_caller]
    fn assert_own_loop(&self) {
        assert!(
            !self.core.context().is_iohandler() && !self.core.context().is_main(),
            "the main loop is run by `run_main` and `block_on`, not by a `LocalExecutor`"
        );
    }

    /// Cancels all tasks and drops their futures, here and now, repeating for what their destructors
    /// spawn, within a bound. Returns the tasks that survived: one that is being polled, or destructors
    /// that spawn for ever. Afterwards the executor takes nothing more: what is spawned is cancelled.
    pub fn shutdown(&self) -> Vec<TaskLabel> {
        self.core.shutdown()
    }

    /// Sets how much the executor does before it lets the event loop have its turn.
    pub fn set_budget(&self, budget: Budget) {
        self.core.set_budget(budget);
    }

    /// Sets by how much timers may be late so that the loop wakes up once for many of them: 50 us, unless it is
    /// set, which is what the kernel allows itself, too. `ZERO` makes all exact.
    ///
    /// Only a crowd is concerned: where timers have just fired and four or more are due within `slack`, the next
    /// ones fire together, at its end. A timer that is alone is never late on purpose, and neither is one on
    /// the guest's clocks.
    pub fn set_timer_slack(&self, slack: Duration) {
        self.core.loop_timers().set_slack(slack);
    }

    /// What the executor has done so far.
    pub fn stats(&self) -> Stats {
        self.core.counters().snapshot()
    }

    /// A handle for other threads that lists and cancels this executor's tasks.
    pub fn probe(&self) -> Probe {
        self.core.probe()
    }

    /// A handle for this thread that spawns, too, and that tasks may keep.
    pub fn spawner(&self) -> LocalSpawner {
        LocalSpawner { core: Rc::clone(&self.core) }
    }

    pub(crate) fn core(&self) -> &Rc<Core> {
        &self.core
    }
}

impl Drop for LocalExecutor {
    fn drop(&mut self) {
        self.core.shutdown();
    }
}

/// Spawns on a [`LocalExecutor`] of this thread. When the executor is gone, what it spawns is cancelled
/// at once.
#[derive(Clone)]
pub struct LocalSpawner {
    core: Rc<Core>,
}

impl LocalSpawner {
    /// See [`LocalExecutor::spawn`].
    #[track_caller]
    pub fn spawn<F: Future + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        self.core.spawn(None, Location::caller(), future)
    }

    /// See [`LocalExecutor::spawn_named`].
    #[track_caller]
    pub fn spawn_named<F: Future + 'static>(
        &self,
        name: impl Into<Arc<str>>,
        future: F,
    ) -> JoinHandle<F::Output> {
        self.core.spawn(Some(name.into()), Location::caller(), future)
    }
}

impl LocalSpawn for LocalSpawner {
    #[track_caller]
    fn spawn_local_obj(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.status_local()?;
        self.spawn(future).detach();
        Ok(())
    }

    fn status_local(&self) -> Result<(), SpawnError> {
        if self.core.is_closed() { Err(SpawnError::shutdown()) } else { Ok(()) }
    }
}

impl fmt::Debug for LocalSpawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSpawner").field("context", self.core.context()).finish()
    }
}

impl fmt::Debug for LocalExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalExecutor")
            .field("context", self.core.context())
            .field("tasks", &self.core.counters().snapshot().live)
            .finish()
    }
}
