//! Who looks on while executors work.
//!
//! An [`Observer`] is told what happens to the tasks of all executors in the process: spawned, ready, polled, moved,
//! finished; and to the Big QEMU Lock. Everything that shows the inside of an executor is one: [`Accounts`] of times
//! per task, a [`ChromeTrace`], a program's own.
//!
//! | what one may want to know | how it is said |
//! |---|---|
//! | a new task | [`What::Spawned`] |
//! | a wake | [`What::Ready`], by the task in [`Event::by`]; from another thread first [`What::WokenElsewhere`] |
//! | a task is ready | [`What::Ready`]; a new one is from the start, and a moved one again |
//! | a poll | [`What::PollBegins`] and [`What::PollEnds`] |
//! | a task is idle | [`What::PollEnds`] with [`Outcome::Pending`], if no [`What::Ready`] came during the poll |
//! | an executor is idle | [`What::RunEnds`], unless a [`What::RunBegins`] follows: its budget was spent |
//! | somebody cancels a task | as a wake; that it was no wake is known when its future is dropped |
//! | a task is cancelled | [`What::PollEnds`] with [`Outcome::Cancelled`]: the future is gone |
//! | a future is dropped | between [`What::PollBegins`] and a [`What::PollEnds`] that is not [`Outcome::Pending`]; on its way to another thread, [`What::Dropped`] |
//! | work moves to another thread | [`What::Sent`] here, [`What::Moved`] there |
//! | how long the lock is held | from [`What::BqlTaken`] to [`What::BqlReleased`] |
//!
//! A task's name and the line that spawned it are in [`Event::label`], its `AioContext` in [`What::Spawned`] and
//! [`What::Moved`].
//!
//! Owns the list of observers, which only grows: it is read without a lock, on every thread. As long as it is
//! empty, an executor pays one look at a flag per sixteen polls, per spawned or sent task and per wake from another
//! thread, and the emulation's lock one each time it is taken or released.
//!
//! It knows no executor: who reports brings the task's id along.
//!
//! Coroutines of C's that drive a future (`host::coroutine`) are no tasks, and not reported.
//!
//! # Examples
//!
//! ```
//! use executor::LocalExecutor;
//! use executor::observe::{Accounts, observe};
//!
//! let accounts: &'static Accounts = Box::leak(Box::new(Accounts::new()));
//! observe(accounts); // From here on, whatever executor it is.
//!
//! let executor = LocalExecutor::new()?;
//! let slow = executor.spawn(async { (0..10_000_u64).map(std::hint::black_box).sum::<u64>() });
//! executor.run(slow).expect("it does not panic");
//! let times = accounts.times(executor.probe().thread()).expect("it has run something");
//! assert!(times.poll.quantile(1.0) > Some(100), "no poll took longer than so many nanoseconds");
//! # Ok::<(), std::io::Error>(())
//! ```

mod accounts;
mod chrome_trace;
mod histogram;
mod labels;
mod moves;
#[cfg(feature = "watchdog")]
mod stack;
#[cfg(feature = "tracing")]
mod tracing;
#[cfg(feature = "usdt")]
mod usdt;
#[cfg(feature = "watchdog")]
mod watchdog;

pub use accounts::{Accounts, Stuck, TaskAccount, TaskState, Times};
pub use chrome_trace::ChromeTrace;
pub use histogram::Histogram;
pub use moves::Departure;
pub(crate) use moves::{arrived, lost, sent};
#[cfg(feature = "tracing")]
pub use tracing::Tracing;
#[cfg(feature = "usdt")]
pub use usdt::Usdt;
#[cfg(feature = "watchdog")]
pub use watchdog::{Report, Watchdog};

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::aio::context::Context;
use crate::bql;
use crate::task::{TaskLabel, report_lost_panic};
use crate::thread_id;

/// Looks on while executors work.
///
/// Each event is reported by the thread on which it happens, in the middle of the executor's work: an observer
/// takes notes and returns. It must not block or take the Big QEMU Lock, and what it does with executors itself is
/// not observed. A panic is reported as a task's that nobody joins; the executor goes on.
///
/// # Examples
///
/// ```
/// use std::sync::Mutex;
///
/// use executor::LocalExecutor;
/// use executor::observe::{Event, Observer, What, observe};
///
/// /// Notes who was spawned, and by whom.
/// struct Family(Mutex<Vec<(Option<String>, u64)>>);
///
/// impl Observer for Family {
///     fn observe(&self, event: &Event<'_>) {
///         if let What::Spawned { label, .. } = &event.what {
///             let name = label.name.as_deref().map(str::to_owned);
///             self.0.lock().unwrap().push((name, event.by));
///         }
///     }
/// }
///
/// static FAMILY: Family = Family(Mutex::new(Vec::new()));
///
/// observe(&FAMILY);
/// let executor = LocalExecutor::new()?;
/// let spawner = executor.spawner();
/// let parent = executor.spawn_named("parent", async move {
///     spawner.spawn_named("child", async {}).detach();
/// });
/// let id = executor.probe().tasks()[0].label.id;
/// executor.run(parent).expect("it does not panic");
/// let family = FAMILY.0.lock().unwrap();
/// assert_eq!(*family, [(Some("parent".to_owned()), 0), (Some("child".to_owned()), id)]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Observer: Send + Sync {
    /// Something happened. Any thread; for tasks of the main loop that is the main loop's, under the Big QEMU
    /// Lock, but for [`What::WokenElsewhere`].
    fn observe(&self, event: &Event<'_>);
}

/// Something that happened.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// use executor::LocalExecutor;
/// use executor::observe::{Event, Observer, observe};
///
/// /// Counts what happens in one thread.
/// #[derive(Default)]
/// struct InThread {
///     thread: AtomicU32,
///     events: AtomicU32,
/// }
///
/// impl Observer for InThread {
///     fn observe(&self, event: &Event<'_>) {
///         if event.task != 0 && event.thread == self.thread.load(Ordering::Relaxed) {
///             self.events.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// static HERE: InThread = InThread { thread: AtomicU32::new(0), events: AtomicU32::new(0) };
///
/// let executor = LocalExecutor::new()?;
/// HERE.thread.store(executor.probe().thread(), Ordering::Relaxed);
/// observe(&HERE);
/// let elsewhere = std::thread::spawn(|| {
///     let executor = LocalExecutor::new().expect("there are fds left");
///     executor.run(executor.spawn(async {})).expect("it does not panic");
/// });
/// elsewhere.join().expect("it does not panic");
/// executor.run(executor.spawn(async {})).expect("it does not panic");
/// assert_eq!(HERE.events.load(Ordering::Relaxed), 3, "spawned, a poll begins, and ends");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The task's id, 0 if it concerns none.
    pub task: u64,
    /// The task that was being polled on this thread: who spawned it, or woke it; of what has come from another executor,
    /// who sent it. 0 for none.
    pub by: u64,
    /// A number for the thread, never used twice in a process.
    pub thread: u32,
    /// What it was.
    pub what: What<'a>,
}

impl Event<'_> {
    /// The task's name and the line that spawned it; `None` if it concerns none, or one that was there before anybody
    /// looked on. Takes a lock, which nobody holds for long.
    #[must_use]
    pub fn label(&self) -> Option<TaskLabel> {
        match self.what {
            What::Spawned { label, .. } | What::Moved { label, .. } => Some(label.clone()),
            _ => labels::of(self.task),
        }
    }
}

/// What happened.
///
/// # Examples
///
/// What a task that yields once goes through:
///
/// ```
/// use std::sync::Mutex;
///
/// use executor::LocalExecutor;
/// use executor::observe::{Event, Observer, What, observe};
///
/// struct Log(Mutex<Vec<&'static str>>);
///
/// impl Observer for Log {
///     fn observe(&self, event: &Event<'_>) {
///         self.0.lock().unwrap().push(match event.what {
///             What::Spawned { .. } => "spawned",
///             What::Ready => "ready",
///             What::PollBegins => "poll",
///             What::PollEnds { .. } => "end",
///             _ => return,
///         });
///     }
/// }
///
/// static LOG: Log = Log(Mutex::new(Vec::new()));
///
/// observe(&LOG);
/// let executor = LocalExecutor::new()?;
/// let mut yielded = false;
/// let task = executor.spawn(std::future::poll_fn(move |cx| {
///     if std::mem::replace(&mut yielded, true) {
///         return std::task::Poll::Ready(());
///     }
///     cx.waker().wake_by_ref();
///     std::task::Poll::Pending
/// }));
/// executor.run(task).expect("it does not panic");
/// assert_eq!(*LOG.0.lock().unwrap(), ["spawned", "poll", "ready", "end", "poll", "end"]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum What<'a> {
    /// A task was spawned. It is ready, which is not said again.
    Spawned {
        /// Its id, name and place of birth.
        label: &'a TaskLabel,
        /// Where it is polled.
        context: &'a Context,
    },
    /// A suspended task was queued: somebody woke or cancelled it.
    Ready,
    /// A thread that is not its own woke or cancelled a task, which gets [`What::Ready`] at home.
    WokenElsewhere,
    /// The future is about to be polled, or dropped if the task was cancelled.
    PollBegins,
    /// The poll is over.
    PollEnds {
        /// What came of it.
        outcome: Outcome,
    },
    /// A future, or a function that makes one, sets out for another executor: [`reschedule_to`](crate::reschedule_to),
    /// [`RemoteSpawner`](crate::RemoteSpawner) and their relatives. [`Event::by`] sends it. [`Event::task`] is 0, since
    /// it becomes a task there; but that of a [`Migratable`](crate::Migratable) is what moves.
    Sent {
        /// Which move: a number that is never used twice in a process.
        number: u64,
    },
    /// What was [`Sent`](What::Sent) has come, as [`Event::task`], which is ready. [`Event::by`] sent it. If it has
    /// become a task just now, [`What::Spawned`] came before.
    Moved {
        /// The task's id, name and place of birth.
        label: &'a TaskLabel,
        /// Where it is polled from now on.
        context: &'a Context,
        /// Where it came from.
        from: Departure,
    },
    /// What was [`Sent`](What::Sent) does not come: the other executor has ended. [`Event::task`] has ended, too.
    Dropped {
        /// Which move.
        number: u64,
    },
    /// An executor begins to run what is ready: the event loop called it.
    RunBegins {
        /// The event loop.
        context: &'a Context,
    },
    /// The executor goes back to the event loop.
    RunEnds,
    /// This thread has the Big QEMU Lock from now on. In the emulation each time that it is taken is reported.
    ///
    /// Inside QEMU the lock is C's, and what is known is what our code does: it is said to be held in the scope of a
    /// [`with_bql`](crate::bql::with_bql) or [`IoCx::lock_bql`](crate::IoCx::lock_bql), and while an executor runs
    /// with it. What the main loop does before and after is not counted, so there the times are lower bounds.
    BqlTaken,
    /// This thread is about to give up the Big QEMU Lock, or, inside QEMU, our code goes back to C's with it.
    BqlReleased,
}

/// How a poll ended. After all but `Pending` the task has left its executor.
///
/// A future that came from another executor fails for whoever awaits its [`Remote`](crate::Remote): that, too, is
/// `Panicked` or `Cancelled`.
///
/// # Examples
///
/// ```
/// use std::sync::Mutex;
///
/// use executor::LocalExecutor;
/// use executor::observe::{Event, Observer, Outcome, What, observe};
///
/// struct Ends(Mutex<Vec<Outcome>>);
///
/// impl Observer for Ends {
///     fn observe(&self, event: &Event<'_>) {
///         match event.what {
///             What::PollEnds { outcome } if outcome.is_end() => {
///                 self.0.lock().unwrap().push(outcome);
///             }
///             _ => {}
///         }
///     }
/// }
///
/// static ENDS: Ends = Ends(Mutex::new(Vec::new()));
///
/// observe(&ENDS);
/// let executor = LocalExecutor::new()?;
/// executor.run(executor.spawn(async {})).expect("it does not panic");
/// executor.run(executor.spawn(async { panic!("it does") })).unwrap_err();
/// let waits = executor.spawn(std::future::pending::<()>());
/// executor.run(waits.cancel());
/// assert_eq!(*ENDS.0.lock().unwrap(), [Outcome::Completed, Outcome::Panicked, Outcome::Cancelled]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The task waits.
    Pending,
    /// It completed.
    Completed,
    /// It panicked, or was suspended with a borrow.
    Panicked,
    /// It was cancelled.
    Cancelled,
    /// It is a [`Migratable`](crate::Migratable)'s, which goes on elsewhere: see [`What::Moved`].
    Moved,
}

impl Outcome {
    /// Whether the task is gone, for good.
    #[must_use]
    pub fn is_end(self) -> bool {
        !matches!(self, Outcome::Pending | Outcome::Moved)
    }
}

/// An entry of the list of observers.
struct Entry {
    observer: &'static dyn Observer,
    next: OnceLock<Box<Entry>>,
}

static OBSERVED: AtomicBool = AtomicBool::new(false);
static FIRST: OnceLock<Box<Entry>> = OnceLock::new();

thread_local! {
    /// The task that is being polled, 0 for none.
    static POLLED: Cell<u64> = const { Cell::new(0) };
    /// Whether an observer is on the stack: what it does itself is not observed.
    static OBSERVING: Cell<bool> = const { Cell::new(false) };
    /// What the task that is being polled says of its end, which its executor cannot know.
    static SAID: Cell<Option<Outcome>> = const { Cell::new(None) };
}

/// Shows all executors of the process to an observer, from each executor's next run on, for good. Any thread.
///
/// ```
/// use executor::observe::{observe, Event, Observer, Outcome, What};
/// use executor::LocalExecutor;
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// struct Completed(AtomicU32);
///
/// impl Observer for Completed {
///     fn observe(&self, event: &Event<'_>) {
///         if matches!(event.what, What::PollEnds { outcome: Outcome::Completed }) {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// static COMPLETED: Completed = Completed(AtomicU32::new(0));
/// observe(&COMPLETED);
/// let executor = LocalExecutor::new().expect("there are file descriptors left");
/// let task = executor.spawn(async { 1 + 1 });
/// assert_eq!(executor.run(task).expect("it does not panic"), 2);
/// assert_eq!(COMPLETED.0.load(Ordering::Relaxed), 1);
/// ```
pub fn observe(observer: &'static dyn Observer) {
    let mut entry = Box::new(Entry { observer, next: OnceLock::new() });
    let mut place = &FIRST;
    while let Err(mine) = place.set(entry) {
        entry = mine;
        place = &place.get().expect("`set` fails if it is set").next;
    }
    bql::report_holds();
    // Release: pairs with the Acquire in `is_on`; who sees it finds an entry.
    OBSERVED.store(true, Ordering::Release);
}

/// Whether anybody looks on. Any thread.
#[inline]
pub(crate) fn is_on() -> bool {
    OBSERVED.load(Ordering::Acquire)
}

/// Tells the observers. Any thread.
#[cold]
pub(crate) fn report(task: u64, what: What<'_>) {
    report_by(POLLED.get(), task, what);
}

/// Tells the observers what `by` has done. Any thread.
fn report_by(by: u64, task: u64, what: What<'_>) {
    if OBSERVING.replace(true) {
        return;
    }
    let event = Event { task, by, thread: thread_id::get_or_assign(), what };
    let mut place = &FIRST;
    while let Some(entry) = place.get() {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| entry.observer.observe(&event))) {
            report_lost_panic(&"an observer", payload);
        }
        place = &entry.next;
    }
    OBSERVING.set(false);
}

/// Tells the observers of a new task. Home.
#[cold]
pub(crate) fn spawned(label: &TaskLabel, context: &Context) {
    labels::know(label);
    report(label.id, What::Spawned { label, context });
}

/// Tells the observers of a poll. Home.
pub(crate) fn report_poll(task: u64, poll: impl FnOnce() -> Outcome) {
    report(task, What::PollBegins);
    let outcome = {
        let _polled = Polled { outer: POLLED.replace(task), said: SAID.take() };
        let outcome = poll();
        SAID.take().filter(|_| outcome == Outcome::Completed).unwrap_or(outcome)
    };
    report(task, What::PollEnds { outcome });
    if outcome.is_end() {
        labels::forget(task);
    }
}

/// The task that is being polled completes, but what it was made for comes to this end. Home.
#[cold]
pub(crate) fn say(outcome: Outcome) {
    if is_on() {
        SAID.set(Some(outcome));
    }
}

/// The task of [`POLLED`] is being polled, until this is dropped: a foreign waker's panic may end it, too.
struct Polled {
    outer: u64,
    said: Option<Outcome>,
}

impl Drop for Polled {
    fn drop(&mut self) {
        POLLED.set(self.outer);
        SAID.set(self.said);
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").finish_non_exhaustive()
    }
}
