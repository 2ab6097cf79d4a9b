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
///
/// # Examples
///
/// ```
/// use executor::LocalExecutor;
/// use std::rc::Rc;
///
/// let executor = LocalExecutor::new()?;
/// let words = Rc::new(["tasks", "need", "not", "be", "Send"]);
/// let count = executor.spawn_named("count", {
///     let words = Rc::clone(&words);
///     async move { words.len() }
/// });
/// let spawner = executor.spawner(); // For tasks that spawn others.
/// let joined = executor.spawn(async move { spawner.spawn(async move { words.join(" ") }).await });
///
/// assert_eq!(executor.run(count).expect("it does not panic"), 5);
/// let text = executor.run(async { joined.await?.or_else(Err) }).expect("neither panics");
/// assert_eq!(text, "tasks need not be Send");
/// assert_eq!(executor.stats().completed, 3);
/// assert!(executor.probe().tasks().is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::{Context, LocalExecutor, run_main};
    ///
    /// run_main(|_nc| {
    ///     // A second executor in the main loop, beside that of `MainCx`: for a subsystem with a budget of its own.
    ///     let executor = LocalExecutor::attach(&Context::iohandler());
    ///     let task = executor.spawn(async { 42 });
    ///     assert!(!task.is_finished(), "it is polled by the main loop, as soon as that runs");
    ///     task.detach();
    ///     assert_eq!(executor.stats().live, 1);
    /// }); // Dropped under the lock, with its task.
    ///
    /// // Another thread cannot attach to this thread's loop.
    /// let here = Context::for_this_thread()?;
    /// let elsewhere = std::thread::spawn(move || drop(LocalExecutor::attach(&here)));
    /// assert!(elsewhere.join().is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

    /// Spawns a task, to be polled by this thread's event loop. The future need not be `Send`. After
    /// [`shutdown`](Self::shutdown) it is dropped at once, and its handle says "cancelled".
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    ///
    /// use executor::LocalExecutor;
    ///
    /// let executor = LocalExecutor::new()?;
    /// let steps = Rc::new(Cell::new(0));
    /// let task = executor.spawn({
    ///     let steps = Rc::clone(&steps);
    ///     async move { steps.set(steps.get() + 1) }
    /// });
    /// assert_eq!(steps.get(), 0, "spawning polls nothing");
    /// executor.run(task).expect("it does not panic");
    /// assert_eq!(steps.get(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::LocalExecutor;
    /// use executor::net::UnixStream;
    /// use futures_util::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// let executor = LocalExecutor::new()?;
    /// // The future may borrow: it ends before `run` does.
    /// let mut reply = String::new();
    /// executor.run(async {
    ///     let (mut client, mut server) = UnixStream::pair()?;
    ///     server.write_all(b"ready").await?;
    ///     drop(server);
    ///     client.read_to_string(&mut reply).await
    /// })?;
    /// assert_eq!(reply, "ready");
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::LocalExecutor;
    ///
    /// let executor = LocalExecutor::new()?;
    /// let task = executor.spawn(std::future::ready(()));
    /// executor.run_once();
    /// assert!(task.is_finished());
    /// executor.run_once(); // There is nothing to do, and nothing is waited for.
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    ///
    /// use executor::LocalExecutor;
    ///
    /// /// Says when it is dropped.
    /// struct Guard(Rc<Cell<bool>>);
    ///
    /// impl Drop for Guard {
    ///     fn drop(&mut self) {
    ///         self.0.set(true);
    ///     }
    /// }
    ///
    /// let executor = LocalExecutor::new()?;
    /// let dropped = Rc::new(Cell::new(false));
    /// let guard = Guard(Rc::clone(&dropped));
    /// let task = executor.spawn(async move {
    ///     std::future::pending::<()>().await;
    ///     drop(guard);
    /// });
    /// assert!(executor.shutdown().is_empty(), "nothing has survived");
    /// assert!(dropped.get() && task.is_finished());
    ///
    /// let late = executor.spawn(async { 1 });
    /// assert!(executor.run(late).unwrap_err().is_cancelled());
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
    /// executor.set_timer_slack(Duration::ZERO);
    /// let began = Clock::Realtime.now();
    /// let crowd: Vec<_> = (0..8).map(|n| executor.spawn(sleep(Duration::from_micros(200 + n)))).collect();
    /// for sleeper in crowd {
    ///     executor.run(sleeper).expect("it does not panic");
    /// }
    /// assert!(Clock::Realtime.now() - began >= 207_000, "none ends early, with slack or without");
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
///
/// # Examples
///
/// ```
/// use executor::{LocalExecutor, LocalSpawner};
/// use futures_util::task::LocalSpawn;
///
/// async fn count_down(spawner: LocalSpawner, from: u32) -> u32 {
///     let named = |n: u32| spawner.spawn_named(format!("step {n}"), async move { n - 1 });
///     let next = named(from).await.expect("it does not panic");
///     spawner.spawn(async move { next - 1 }).await.expect("it does not panic")
/// }
///
/// let executor = LocalExecutor::new()?;
/// let spawner = executor.spawner();
/// assert_eq!(executor.run(count_down(spawner.clone(), 3)), 1);
///
/// // Libraries that spawn take a `LocalSpawn`.
/// assert!(spawner.status_local().is_ok());
/// drop(executor);
/// assert!(spawner.status_local().unwrap_err().is_shutdown());
/// # Ok::<(), std::io::Error>(())
/// ```
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
