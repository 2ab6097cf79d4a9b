//! The paused clock: how far time may go, and what is said when nothing goes on without it.
//!
//! Threads: those of a test; [`Outside`] goes anywhere.

#![forbid(unsafe_code)]

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::record;
use crate::aio::paused::{self as c, Stuck};
use crate::clock::saturating_ns;
use crate::current;
use crate::probe::TaskInfo;

/// The clocks of a test, which stand still.
///
/// ```
/// use std::time::Duration;
///
/// use executor::clock::Clock;
///
/// executor::testing::run(|kit| {
///     let clock = kit.clock();
///     let began = Clock::Virtual.now();
///     kit.advance(Duration::from_secs(60));
///     assert_eq!(Clock::Virtual.now() - began, 60_000_000_000);
///     assert_eq!(clock.elapsed(), Duration::from_secs(60));
/// });
/// ```
///
/// From [`Kit::clock`](super::Kit::clock) or [`paused`]. It can be copied into tasks. Every method panics in a thread that
/// is not one of the test's, and after its end.
#[derive(Clone, Copy)]
pub struct PausedClock {
    _private: (),
}

/// Runs `test` with clocks that stand still, in this thread, for code that needs no main loop: a test of a
/// [`LocalExecutor`](crate::LocalExecutor). Make executors inside; those that were there before are in real time.
///
/// ```
/// use std::time::Duration;
///
/// use executor::LocalExecutor;
/// use executor::testing::paused;
/// use executor::time::sleep;
///
/// const HOUR: Duration = Duration::from_secs(3600);
///
/// paused(|clock| {
///     let executor = LocalExecutor::new().expect("there are file descriptors left");
///     let task = executor.spawn(sleep(HOUR));
///     executor.run(async move {
///         clock.advance(HOUR / 2).await;
///         assert!(!task.is_finished());
///         clock.advance(HOUR / 2).await;
///         assert!(task.is_finished());
///     });
/// });
/// ```
///
/// # Panics
///
/// If the clock of this thread is paused already, or if an iothread is left at the end.
pub fn paused<R>(test: impl FnOnce(PausedClock) -> R) -> R {
    c::pause(|| test(PausedClock { _private: () }))
}

impl PausedClock {
    /// Lets `duration` pass: leaps from deadline to deadline, each time until nobody can go on. When this completes, so
    /// much time has passed, and everybody who waited for that has gone as far as they can.
    ///
    /// A test that is no task has [`Kit::advance`](super::Kit::advance).
    ///
    /// # Panics
    ///
    /// If somebody else in the test waits for time to pass.
    pub async fn advance(self, duration: Duration) {
        self.assert_here();
        let _limit = Limit::set(duration);
        rest().await;
    }

    /// Waits until nobody can go on before time does. Time stands still meanwhile.
    ///
    /// ```
    /// use executor::LocalExecutor;
    /// use executor::testing::paused;
    ///
    /// paused(|clock| {
    ///     let executor = LocalExecutor::new().expect("there are file descriptors left");
    ///     let task = executor.spawn(async { executor::time::sleep(std::time::Duration::ZERO).await });
    ///     executor.run(clock.idle());
    ///     assert!(task.is_finished());
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// As [`advance`](Self::advance).
    pub async fn idle(self) {
        self.advance(Duration::ZERO).await;
    }

    /// Sets whether time leaps to the next deadline by itself whenever nobody can go on; off at first. Then whatever
    /// waits for time (`block_on`, a client for its reply) gets there at once. [`idle`](Self::idle) and
    /// [`advance`](Self::advance) let time go no further than without it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use executor::LocalExecutor;
    /// use executor::testing::paused;
    /// use executor::time::sleep;
    ///
    /// paused(|clock| {
    ///     clock.set_auto_advance(true);
    ///     let executor = LocalExecutor::new().expect("there are file descriptors left");
    ///     executor.run(sleep(Duration::from_secs(3600)));
    ///     assert_eq!(clock.elapsed(), Duration::from_secs(3600));
    /// });
    /// ```
    pub fn set_auto_advance(self, auto: bool) {
        self.assert_here();
        c::set_auto(auto);
    }

    /// How much time has passed since the test began.
    ///
    /// ```
    /// executor::testing::run(|kit| {
    ///     kit.advance(std::time::Duration::from_secs(7));
    ///     assert_eq!(kit.clock().elapsed().as_secs(), 7);
    /// });
    /// ```
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.assert_here();
        from_ns(c::elapsed_ns().unwrap_or(0))
    }

    /// Says that something begins outside of the test's threads that belongs to it, such as a thread that the test
    /// starts. Until the answer is dropped, the test is not idle, and time does not go on: it waits, in real time.
    ///
    /// ```
    /// use executor::NoCoroutine;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// static CALLED: AtomicBool = AtomicBool::new(false);
    ///
    /// executor::testing::run(|kit| {
    ///     let (main, outside) = (kit.main(), kit.clock().outside());
    ///     let thread = std::thread::spawn(move || {
    ///         main.call(|_: &mut NoCoroutine| CALLED.store(true, Ordering::Relaxed)).detach();
    ///         drop(outside);
    ///     });
    ///     kit.run_until_idle();
    ///     assert!(CALLED.load(Ordering::Relaxed));
    ///     thread.join().expect("it does not panic");
    /// });
    /// ```
    #[must_use = "the test waits as long as it is there"]
    pub fn outside(self) -> Outside {
        self.assert_here();
        Outside { _outside: c::outside() }
    }

    /// Sets for how long, in real time, the test waits for what goes on [outside](Self::outside) and in the pool for
    /// [`blocking`](mod@crate::blocking) work before it panics: 30 seconds, unless it is set.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use executor::blocking::blocking;
    /// use executor::LocalExecutor;
    ///
    /// executor::testing::paused(|clock| {
    ///     clock.set_patience(Duration::from_secs(300)); // On a slow machine.
    ///     let executor = LocalExecutor::new().expect("there are file descriptors left");
    ///     let sum = executor.run(async { blocking(|| (0..1000_u64).sum::<u64>()).await });
    ///     assert_eq!(sum.expect("it does not panic"), 499_500);
    /// });
    /// ```
    pub fn set_patience(self, patience: Duration) {
        self.assert_here();
        c::set_patience(patience);
    }

    #[track_caller]
    pub(super) fn assert_here(self) {
        assert!(
            c::program().is_some(),
            "the clock of this thread is not paused: use `PausedClock` inside `testing::run` or `testing::paused`, in \
             the test's own thread or an iothread that the test has made"
        );
    }
}

impl fmt::Debug for PausedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PausedClock").field("elapsed", &c::elapsed_ns().map(from_ns)).finish()
    }
}

/// Something that goes on outside of a test's threads and that the test waits for; from [`PausedClock::outside`].
///
/// ```
/// use std::thread;
///
/// use executor::{NoCoroutine, testing};
///
/// testing::run(|kit| {
///     let (main, outside) = (kit.main(), kit.clock().outside());
///     let thread = thread::spawn(move || {
///         let _outside = outside; // Time waits for this thread from here on.
///         main.call(|_: &mut NoCoroutine| {}).detach();
///         6 * 7
///     });
///     kit.run_until_idle();
///     assert_eq!(thread.join().expect("it does not panic"), 42);
/// });
/// ```
#[derive(Debug)]
pub struct Outside {
    _outside: Option<c::Outside>,
}

/// Keeps time from going further than this.
pub(super) struct Limit;

impl Limit {
    #[track_caller]
    pub(super) fn set(ahead: Duration) -> Limit {
        let taken = c::set_limit(Some(saturating_ns(ahead)));
        assert!(
            !taken,
            "somebody else in this test waits for time to pass, or for everybody to be idle"
        );
        Limit
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        c::set_limit(None);
    }
}

/// Waits until nobody can go on.
fn rest() -> Rest {
    Rest { woken: None }
}

struct Rest {
    woken: Option<Arc<AtRest>>,
}

struct AtRest {
    is: AtomicBool,
    waiter: Mutex<Waker>,
}

impl Future for Rest {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let Some(at_rest) = &self.woken else {
            let at_rest =
                Arc::new(AtRest { is: AtomicBool::new(false), waiter: Mutex::new(waker) });
            c::wake_at_rest(Waker::from(Arc::clone(&at_rest)));
            self.woken = Some(at_rest);
            return Poll::Pending;
        };
        let replaced = std::mem::replace(&mut *at_rest.lock(), waker);
        drop(replaced);
        // SeqCst: one thread at a time; the turns order everything.
        if at_rest.is.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl AtRest {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waker> {
        self.waiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for AtRest {
    fn wake(self: Arc<Self>) {
        // SeqCst: as in `poll`.
        self.is.store(true, Ordering::SeqCst);
        let waiter = self.lock().clone();
        waiter.wake();
    }
}

pub(super) fn from_ns(ns: i64) -> Duration {
    Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
}

/// Panics if the loop has returned because the test waits, `here`, for something that does not come.
#[inline]
pub(crate) fn assert_goes_on(here: &'static Location<'static>) {
    if let Some(why) = c::take_stuck() {
        fail(why, here);
    }
}

#[cold]
fn fail(why: Stuck, here: &'static Location<'static>) -> ! {
    let tasks = describe_tasks();
    match (why, c::next_deadline_ns().map(from_ns)) {
        (Stuck::Outside, _) => panic!(
            "what goes on outside of the test, in the pool for blocking work or in threads, does not end, and {here} \
             waits for it. In this thread there are: {tasks}"
        ),
        (Stuck::Busy, _) => panic!(
            "time goes on and on, from deadline to deadline, and what {here} waits for does not come. There are: {tasks}"
        ),
        (Stuck::Forever, Some(deadline)) => panic!(
            "{here} waits for something that cannot come while the clock is paused. The next deadline is in \
             {deadline:?}: `advance` the clock, or let it `set_auto_advance(true)`. There are: {tasks}"
        ),
        (Stuck::Forever, None) => panic!(
            "{here} waits for something that never comes: nobody can go on, and nobody has a deadline. There are: {tasks}"
        ),
    }
}

/// The tasks of this thread, and what they wait for.
fn describe_tasks() -> String {
    let tasks = current::cores().into_iter().flat_map(|core| core.probe().tasks());
    let tasks: Vec<_> = tasks.map(|task| describe(&task)).collect();
    if tasks.is_empty() { "no tasks".to_owned() } else { tasks.join("; ") }
}

fn describe(task: &TaskInfo) -> String {
    let label = &task.label;
    let waits_for = match &*task.waits_for {
        [] => String::new(),
        waits => format!(", which waits for {}", waits.join(" in ")),
    };
    format!("{label}{waits_for}")
}

/// How long it is until the next deadline; at rest.
pub(super) fn next_deadline() -> Option<Duration> {
    record::assert_test();
    c::next_deadline_ns().map(from_ns)
}
