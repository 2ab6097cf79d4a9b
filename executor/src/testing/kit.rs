//! What a test is given: the main loop, stopped, and the means to let it go on.

#![forbid(unsafe_code)]

use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use super::clock::{self, Limit, PausedClock, paused};
use super::main_thread::on_main_thread;
use super::record::{Recording, Step};
use crate::aio::context::Context;
use crate::aio::paused as c;
use crate::bql;
use crate::cx::{MainCx, NoCoroutine};
use crate::main_loop::{self, block_on, main_core, run_main};
use crate::probe::TaskInfo;
use crate::task::TaskLabel;
use crate::task_fn::TaskFn;

/// The main loop of a test: it runs when the test says so, and its clocks stand still.
///
/// From [`run`]. It is the right to run the main loop ([`NoCoroutine`]), too: spawn with it, [`block_on`] with it, make
/// iothreads with it.
///
/// ```
/// use std::time::Duration;
///
/// use executor::time::timeout;
/// use executor::{MainCx, testing};
///
/// testing::run(|kit| {
///     let day = Duration::from_secs(24 * 3600);
///     let late = kit.spawn(async move |_: &MainCx| timeout(day, std::future::pending::<()>()).await);
///     kit.advance(day);
///     let answer = kit.block_on(async move |_: &MainCx| late.await);
///     assert!(answer.expect("it does not panic").is_err(), "nobody came for a day");
/// });
/// ```
pub struct Kit<'n> {
    nc: &'n mut NoCoroutine,
    clock: PausedClock,
    record: Recording,
    #[cfg(feature = "qmp")]
    pub(super) servers: Vec<super::fake::Owned>,
}

/// Runs a test on the main loop, with clocks that stand still. See the [module's documentation](super) for what that
/// means.
///
/// A process has one main loop, so the tests of a program have it one after another, in a thread that is kept for
/// them: `test` and its result go there and back. What the test has left is cleaned up: tasks are cancelled, servers
/// dropped. A panic of the test is the caller's.
///
/// ```
/// use std::time::Duration;
///
/// use executor::MainCx;
/// use executor::testing;
/// use executor::time::sleep;
///
/// const HOUR: Duration = Duration::from_secs(3600);
///
/// testing::run(|kit| {
///     let task = kit.spawn(async |_: &MainCx| sleep(HOUR).await);
///     kit.advance(HOUR - Duration::from_nanos(1));
///     assert!(!task.is_finished());
///     kit.advance(Duration::from_nanos(1));
///     assert!(task.is_finished());
/// });
/// ```
///
/// # Panics
///
/// If `test` does; in a test, or inside QEMU; if another thread of the process has called
/// [`run_main`] itself; if an iothread of the test is not destroyed at its end.
#[track_caller]
pub fn run<R: Send + 'static>(test: impl for<'n> FnOnce(&mut Kit<'n>) -> R + Send + 'static) -> R {
    on_main_thread(move || {
        paused(|clock| {
            run_main(|nc| {
                let record = Recording::begin();
                test(&mut Kit {
                    nc,
                    clock,
                    record,
                    #[cfg(feature = "qmp")]
                    servers: Vec::new(),
                })
            })
        })
    })
}

impl Kit<'_> {
    /// The clocks.
    ///
    /// ```
    /// executor::testing::run(|kit| assert!(kit.clock().elapsed().is_zero()));
    /// ```
    #[must_use]
    pub fn clock(&self) -> PausedClock {
        self.clock
    }

    /// Runs the main loop until the future of `task` is ready, as [`block_on`] does.
    ///
    /// ```
    /// use executor::MainCx;
    ///
    /// let two = executor::testing::run(|kit| kit.block_on(async |_: &MainCx| 1 + 1));
    /// assert_eq!(two, 2);
    /// ```
    ///
    /// # Panics
    ///
    /// If it waits for something that does not come before time goes on; says what tasks wait for. Unless the clock
    /// [goes on by itself](PausedClock::set_auto_advance).
    #[track_caller]
    pub fn block_on<F, T>(&mut self, task: F) -> T
    where
        F: for<'a> TaskFn<&'a MainCx, T>,
    {
        block_on(self.nc, task)
    }

    /// Lets `duration` pass: leaps from deadline to deadline, each time until nobody can go on.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use std::time::Duration;
    ///
    /// use executor::MainCx;
    /// use executor::time::interval;
    ///
    /// executor::testing::run(|kit| {
    ///     let ticks = Rc::new(Cell::new(0));
    ///     let counted = Rc::clone(&ticks);
    ///     let ticking = async move |_: &MainCx| {
    ///         let mut every = interval(Duration::from_secs(60));
    ///         loop {
    ///             every.tick().await;
    ///             counted.set(counted.get() + 1);
    ///         }
    ///     };
    ///     kit.spawn(ticking).detach();
    ///     kit.run_until_idle();
    ///     kit.advance(Duration::from_secs(3600));
    ///     assert_eq!(ticks.get(), 60);
    /// });
    /// ```
    #[track_caller]
    pub fn advance(&mut self, duration: Duration) {
        self.wait(self.clock.advance(duration));
    }

    /// Runs until nobody can go on before time does: tasks, bottom halves and descriptors of all the test's threads, and
    /// work in the [pool](mod@crate::blocking). Time stands still.
    ///
    /// A task that wakes itself for ever keeps it from coming back.
    ///
    /// ```
    /// use executor::MainCx;
    ///
    /// executor::testing::run(|kit| {
    ///     let task = kit.spawn(async |_: &MainCx| 7);
    ///     assert!(!task.is_finished());
    ///     kit.run_until_idle();
    ///     assert!(task.is_finished());
    /// });
    /// ```
    #[track_caller]
    pub fn run_until_idle(&mut self) {
        self.wait(self.clock.idle());
    }

    /// Runs the main loop for one pass, in which at most one task of it is polled: the one that is
    /// [ready](Self::ready) first. Time stands still. Returns what was done.
    ///
    /// Iothreads have their turns when the main loop would sleep, each until it would sleep itself. A step that polls
    /// nobody may have run bottom halves, such as a `Blocking` command.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use executor::MainCx;
    /// use executor::observe::Outcome;
    /// use executor::time::sleep;
    ///
    /// executor::testing::run(|kit| {
    ///     kit.spawn(async |_: &MainCx| sleep(Duration::from_secs(1)).await).detach();
    ///     kit.spawn(async |_: &MainCx| {}).detach();
    ///     assert_eq!(kit.ready().len(), 2);
    ///
    ///     assert_eq!(kit.step().polled[0].outcome, Outcome::Pending);
    ///     assert_eq!(kit.step().polled[0].outcome, Outcome::Completed);
    ///     let step = kit.step();
    ///     assert!(step.is_idle);
    ///     assert_eq!(step.next_deadline, Some(Duration::from_secs(1)));
    /// });
    /// ```
    pub fn step(&mut self) -> Step {
        let rest = Arc::new(Rest { is: AtomicBool::new(false) });
        let limit = Limit::set(Duration::ZERO);
        c::wake_at_rest(Waker::from(Arc::clone(&rest)));
        let polled = self.record.step(|| main_loop::turn(self.nc));
        drop(limit);
        // SeqCst: one thread at a time; the turns order everything.
        let is_idle = rest.is.load(Ordering::SeqCst);
        let next_deadline = if is_idle { self.next_deadline() } else { None };
        Step { polled, is_idle, next_deadline }
    }

    /// The tasks that are ready to be polled, in the order in which that will be done, but for those that another
    /// thread has woken just now.
    ///
    /// ```
    /// use executor::MainCx;
    ///
    /// executor::testing::run(|kit| {
    ///     kit.spawn(async |cx: &MainCx| cx.spawn_named("inner", async |_: &MainCx| {}).detach()).detach();
    ///     kit.step();
    ///     assert_eq!(kit.ready()[0].name.as_deref(), Some("inner"));
    /// });
    /// ```
    #[must_use]
    pub fn ready(&self) -> Vec<TaskLabel> {
        self.record.ready()
    }

    /// The tasks of the main loop, and what they [wait for](TaskInfo::waits_for), in the order of their ids.
    ///
    /// ```
    /// use executor::{MainCx, label};
    ///
    /// executor::testing::run(|kit| {
    ///     kit.spawn(async |_: &MainCx| label("the end of time", std::future::pending::<()>()).await).detach();
    ///     kit.run_until_idle();
    ///     assert_eq!(kit.tasks()[0].waits_for, ["the end of time"]);
    /// });
    /// ```
    #[must_use]
    pub fn tasks(&self) -> Vec<TaskInfo> {
        main_core().probe().tasks()
    }

    /// Runs until nobody can go on, and returns how far away the next deadline is: on any clock, of any of the test's
    /// threads.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use executor::MainCx;
    /// use executor::time::sleep;
    ///
    /// executor::testing::run(|kit| {
    ///     assert_eq!(kit.next_deadline(), None);
    ///     kit.spawn(async |_: &MainCx| sleep(Duration::from_secs(5)).await).detach();
    ///     assert_eq!(kit.next_deadline(), Some(Duration::from_secs(5)));
    /// });
    /// ```
    #[track_caller]
    pub fn next_deadline(&mut self) -> Option<Duration> {
        self.run_until_idle();
        // The loop may still be armed for a deadline that was given up; now it goes to sleep once more.
        main_core().rearm_timers();
        self.run_until_idle();
        clock::next_deadline()
    }

    /// Runs the main loop until `wait` is ready.
    #[track_caller]
    pub(super) fn wait<T>(&mut self, wait: impl Future<Output = T>) -> T {
        bql::assert_nothing_borrowed("the main loop is to run");
        let here = Location::caller();
        main_core().block_on(wait, || {
            main_loop::turn(self.nc);
            clock::assert_goes_on(here);
        })
    }
}

/// Notes that nobody can go on, and lets the main loop's turn end.
struct Rest {
    is: AtomicBool,
}

impl Wake for Rest {
    fn wake(self: Arc<Self>) {
        // SeqCst: as in `Kit::step`.
        self.is.store(true, Ordering::SeqCst);
        Context::notify_main_loop();
    }
}

impl Deref for Kit<'_> {
    type Target = NoCoroutine;

    fn deref(&self) -> &NoCoroutine {
        self.nc
    }
}

impl DerefMut for Kit<'_> {
    fn deref_mut(&mut self) -> &mut NoCoroutine {
        self.nc
    }
}

impl fmt::Debug for Kit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kit").field("clock", &self.clock).field("tasks", &self.tasks()).finish()
    }
}
