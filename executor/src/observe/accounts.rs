//! Times per task, and which poll is going on.
//!
//! Owns what `x-query-tasks` adds to the table of tasks, and what a watchdog looks at. Entries are spread over
//! locks that are held for some instructions each, by the home thread and by readers: a listing never keeps
//! the home thread waiting for longer than it takes to copy a sixteenth of the entries.
//!
//! Threads: any.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::unistd::gettid;

use super::{Event, Histogram, Observer, Outcome, What};
use crate::task::TaskLabel;

const SHARDS: usize = 16;

/// An [`Observer`] that keeps a [`TaskAccount`] for each task, [`Times`] for each thread, and in mind which task
/// each thread is polling. Costs two looks at the clock and four locks a poll.
///
/// It must be [observing](super::observe) when a task is spawned to know it.
///
/// # Examples
///
/// ```
/// use executor::LocalExecutor;
/// use executor::observe::{Accounts, observe};
///
/// let accounts: &'static Accounts = Box::leak(Box::new(Accounts::new()));
/// observe(accounts);
/// let executor = LocalExecutor::new()?;
/// executor.spawn_named("waits", std::future::pending::<()>()).detach();
/// executor.run_once();
///
/// let label = &executor.probe().tasks()[0].label;
/// let account = accounts.task(label.id).expect("it was spawned while somebody looked on");
/// assert!(account.polled >= account.longest && account.age >= account.polled);
/// let times = accounts.times(executor.probe().thread()).expect("it has run");
/// assert_eq!(times.poll.counts().iter().sum::<u64>(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Accounts {
    began: Instant,
    tasks: [Mutex<HashMap<u64, Account>>; SHARDS],
    threads: Mutex<HashMap<u32, Lane>>,
}

/// How long things took in the executors of a thread.
///
/// # Examples
///
/// ```
/// use executor::LocalExecutor;
/// use executor::observe::{Accounts, Times, observe};
///
/// /// A line for an operator.
/// fn line(times: &Times) -> String {
///     let micros = |nanoseconds: Option<u64>| nanoseconds.unwrap_or(0).div_ceil(1000);
///     let [poll, queue] = [&times.poll, &times.queue].map(|times| micros(times.quantile(0.99)));
///     format!("99% of polls took up to {poll} us, and waited for up to {queue} us")
/// }
///
/// let accounts: &'static Accounts = Box::leak(Box::new(Accounts::new()));
/// observe(accounts);
/// let executor = LocalExecutor::new()?;
/// executor.run(executor.spawn(async {})).expect("it does not panic");
/// let times = accounts.times(executor.probe().thread()).expect("it has run");
/// assert!(times.poll.quantile(0.99).is_some() && times.run.quantile(0.5).is_some());
/// assert!(times.wake.counts().is_empty(), "it was spawned, never woken");
/// assert!(line(&times).ends_with(" us"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Times {
    /// Polls.
    pub poll: Histogram,
    /// Tasks in the run queue, until they were polled.
    pub queue: Histogram,
    /// From the first wake of a suspended task to its poll, also if another thread woke it; of a
    /// [`Migratable`](crate::Migratable) that moves here from its departure.
    pub wake: Histogram,
    /// Runs: from the event loop's call until it got its thread back.
    pub run: Histogram,
    /// The Big QEMU Lock in the hand of this thread, from when it was taken until it was released; inside QEMU as far
    /// as our code knows, see [`What::BqlTaken`].
    pub bql: Histogram,
}

/// What is known of a task.
///
/// # Examples
///
/// ```
/// use executor::LocalExecutor;
/// use executor::observe::{Accounts, observe};
///
/// let accounts: &'static Accounts = Box::leak(Box::new(Accounts::new()));
/// observe(accounts);
/// let executor = LocalExecutor::new()?;
/// let spawner = executor.spawner();
/// executor.spawn(async move { spawner.spawn(std::future::pending::<()>()).await }).detach();
/// executor.run_once();
///
/// let [parent, child] = &executor.probe().tasks()[..] else { panic!() };
/// let account = accounts.task(child.label.id).expect("it was spawned while somebody looked on");
/// assert_eq!(account.parent, parent.label.id);
/// assert_eq!((account.woken, account.woken_by), (None, 0), "nobody has");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskAccount {
    /// How long it has been there.
    pub age: Duration,
    /// The task that spawned it, or sent its future from another thread; 0 for none.
    pub parent: u64,
    /// The time of all its polls.
    pub polled: Duration,
    /// The time of its longest poll.
    pub longest: Duration,
    /// How long ago it was woken for the last time; `None` if it never was.
    pub woken: Option<Duration>,
    /// The task that woke it for the last time, 0 for none.
    pub woken_by: u64,
    /// What it does now.
    pub state: TaskState,
}

/// What a task does.
///
/// # Examples
///
/// ```
/// use executor::observe::{Accounts, TaskState, observe};
/// use executor::{LocalExecutor, TaskLabel};
///
/// let accounts: &'static Accounts = Box::leak(Box::new(Accounts::new()));
/// observe(accounts);
/// let executor = LocalExecutor::new()?;
/// let waits = executor.spawn(std::future::pending::<()>());
/// let id = executor.probe().tasks()[0].label.id;
/// let state = |id| accounts.task(id).map(|account| account.state);
/// assert_eq!(state(id), Some(TaskState::Ready));
/// executor.run_once();
/// assert_eq!(state(id), Some(TaskState::Waiting));
///
/// let looks = executor.spawn(async move { state(TaskLabel::current()?.id) });
/// let while_polled = executor.run(looks).expect("it does not panic");
/// assert!(matches!(while_polled, Some(TaskState::Polled(_))));
/// executor.run(waits.cancel());
/// assert_eq!(accounts.task(id).map(|account| account.state), None, "it has gone");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskState {
    /// It waits for somebody to wake it.
    Waiting,
    /// It waits for its poll.
    Ready,
    /// It is being polled, for that long.
    Polled(Duration),
}

/// A poll that has taken longer than it should, and is still going on.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use executor::LocalExecutor;
/// use executor::observe::{Accounts, observe};
///
/// let accounts: &'static Accounts = Box::leak(Box::new(Accounts::new()));
/// observe(accounts);
/// let executor = LocalExecutor::new()?;
/// // As a watchdog would see it from its thread; the poll goes on meanwhile.
/// let looks = executor.spawn_named("looks", async move {
///     let [first] = &accounts.stuck(Duration::ZERO)[..] else { panic!() };
///     let [second] = &accounts.stuck(Duration::ZERO)[..] else { panic!() };
///     assert!(first.is_same_poll(second) && second.elapsed >= first.elapsed);
///     first.task.name.clone()
/// });
/// let name = executor.run(looks).expect("it does not panic");
/// assert_eq!(name.as_deref(), Some("looks"));
/// assert!(accounts.stuck(Duration::ZERO).is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stuck {
    /// The task that is polled.
    pub task: TaskLabel,
    /// The thread that polls it, as in [`Event::thread`].
    pub thread: u32,
    /// For how long.
    pub elapsed: Duration,
    /// The thread's number in the system, as `gettid` gives it.
    pub os_thread: i32,
    /// When the poll began: with the task, which poll it is.
    since: u64,
}

#[derive(Debug)]
struct Account {
    label: TaskLabel,
    parent: u64,
    spawned: u64,
    polled: u64,
    longest: u64,
    woken: Option<u64>,
    woken_by: u64,
    /// When another thread woke it first since its last poll.
    woken_elsewhere: Option<u64>,
    now: Now,
}

/// What a task does, and since when.
#[derive(Clone, Copy, Debug)]
enum Now {
    Waiting,
    Ready(u64),
    Polled(u64),
}

/// What a thread does.
#[derive(Debug)]
struct Lane {
    os_thread: i32,
    /// The innermost last.
    open: Vec<Open>,
    /// Since when it has the Big QEMU Lock.
    bql: Option<u64>,
    times: Arc<Times>,
}

/// A poll, or a run if the task is 0, on the stack of a thread.
#[derive(Clone, Copy, Debug)]
struct Open {
    task: u64,
    since: u64,
}

impl Accounts {
    /// Empty ones. Time is counted from here.
    #[must_use]
    pub fn new() -> Accounts {
        Accounts {
            began: Instant::now(),
            tasks: std::array::from_fn(|_| Mutex::default()),
            threads: Mutex::default(),
        }
    }

    /// What is known of a task; `None` if it has ended, or was there before. Any thread.
    #[must_use]
    pub fn task(&self, id: u64) -> Option<TaskAccount> {
        let now = self.now();
        self.shard(id).get(&id).map(|account| account.at(now))
    }

    /// The times of a thread's executors; `None` if none has run since somebody looks on. Any thread.
    ///
    /// The number is that of [`Event::thread`] and [`Probe::thread`](crate::Probe::thread).
    #[must_use]
    pub fn times(&self, thread: u32) -> Option<Arc<Times>> {
        lock(&self.threads).get(&thread).map(|lane| Arc::clone(&lane.times))
    }

    /// The polls that have taken longer than `limit` and are going on, the innermost of each thread. Any thread:
    /// what a watchdog asks for.
    #[must_use]
    pub fn stuck(&self, limit: Duration) -> Vec<Stuck> {
        let now = self.now();
        let polls: Vec<_> = lock(&self.threads)
            .iter()
            .filter_map(|(thread, lane)| Some((*thread, lane.os_thread, *lane.open.last()?)))
            .collect();
        let stuck = |(thread, os_thread, open): (u32, i32, Open)| {
            let Open { task, since } = open;
            let elapsed = Duration::from_nanos(now.saturating_sub(since));
            let task = self.shard(task).get(&task)?.label.clone();
            (elapsed > limit).then_some(Stuck { task, thread, elapsed, os_thread, since })
        };
        polls.into_iter().filter_map(stuck).collect()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn shard(&self, id: u64) -> MutexGuard<'_, HashMap<u64, Account>> {
        lock(&self.tasks[(id % SHARDS as u64) as usize])
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Account)) {
        if let Some(account) = self.shard(id).get_mut(&id) {
            change(account);
        }
    }

    fn spawned(&self, label: &TaskLabel, parent: u64) {
        let account = Account::new(label, parent, self.now());
        self.shard(label.id).insert(label.id, account);
    }

    /// A migratable task goes; to be polled is what it wants there.
    fn sent(&self, task: u64) {
        let now = self.now();
        self.change(task, |account| {
            (account.woken, account.woken_by) = (Some(now), task);
            account.woken_elsewhere = Some(now);
            account.now = Now::Ready(now);
        });
    }

    fn moved(&self, label: &TaskLabel, by: u64) {
        let now = self.now();
        let new = || Account::new(label, by, now);
        self.shard(label.id).entry(label.id).or_insert_with(new).now = Now::Ready(now);
    }

    fn forget(&self, task: u64) {
        let gone = self.shard(task).remove(&task);
        drop(gone);
    }

    fn bql(&self, thread: u32, taken: bool) {
        let now = self.now();
        self.change_lane(thread, |lane| match (taken, lane.bql.take()) {
            (true, _) => lane.bql = Some(now),
            (false, Some(since)) => lane.times.bql.count(now.saturating_sub(since)),
            // It was taken before anybody looked on.
            (false, None) => {}
        });
    }

    fn ready(&self, task: u64, by: u64) {
        let now = self.now();
        self.change(task, |account| {
            (account.woken, account.woken_by) = (Some(now), by);
            account.now = Now::Ready(now);
        });
    }

    fn woken_elsewhere(&self, task: u64) {
        let now = self.now();
        self.change(task, |account| {
            account.woken_elsewhere = account.woken_elsewhere.or(Some(now));
        });
    }

    fn begins(&self, thread: u32, task: u64) -> Arc<Times> {
        let since = self.now();
        self.change_lane(thread, |lane| {
            lane.open.push(Open { task, since });
            Arc::clone(&lane.times)
        })
    }

    fn change_lane<R>(&self, thread: u32, change: impl FnOnce(&mut Lane) -> R) -> R {
        change(lock(&self.threads).entry(thread).or_insert_with(Lane::of_this_thread))
    }

    fn poll_begins(&self, thread: u32, task: u64) {
        let times = self.begins(thread, task);
        let now = self.now();
        self.change(task, |account| account.poll_begins(now, &times));
    }

    /// Returns how long it took, in nanoseconds. What began before anybody looked on is not known.
    fn ends(&self, thread: u32, task: u64) -> Option<(u64, Arc<Times>)> {
        let now = self.now();
        self.change_lane(thread, |lane| {
            let begun = lane.open.iter().rposition(|open| open.task == task)?;
            let since = lane.open[begun].since;
            lane.open.truncate(begun);
            Some((now.saturating_sub(since), Arc::clone(&lane.times)))
        })
    }

    fn poll_ends(&self, thread: u32, task: u64, outcome: Outcome) {
        let Some((took, times)) = self.ends(thread, task) else { return };
        times.poll.count(took);
        if outcome.is_end() {
            return self.forget(task);
        }
        self.change(task, |account| {
            account.polled += took;
            account.longest = account.longest.max(took);
            // A task that was woken during its poll is ready already, and one that moves may be polled already.
            if let (Now::Polled(_), Outcome::Pending) = (account.now, outcome) {
                account.now = Now::Waiting;
            }
        });
    }
}

impl Default for Accounts {
    fn default() -> Accounts {
        Accounts::new()
    }
}

impl Observer for Accounts {
    fn observe(&self, event: &Event<'_>) {
        match event.what {
            What::Spawned { label, .. } => self.spawned(label, event.by),
            What::Sent { .. } => self.sent(event.task),
            What::Moved { label, .. } => self.moved(label, event.by),
            What::Dropped { .. } => self.forget(event.task),
            What::Ready => self.ready(event.task, event.by),
            What::WokenElsewhere => self.woken_elsewhere(event.task),
            What::PollBegins => self.poll_begins(event.thread, event.task),
            What::RunBegins { .. } => drop(self.begins(event.thread, 0)),
            What::PollEnds { outcome } => self.poll_ends(event.thread, event.task, outcome),
            What::RunEnds => {
                if let Some((took, times)) = self.ends(event.thread, 0) {
                    times.run.count(took);
                }
            }
            What::BqlTaken => self.bql(event.thread, true),
            What::BqlReleased => self.bql(event.thread, false),
        }
    }
}

impl Lane {
    fn of_this_thread() -> Lane {
        Lane { os_thread: gettid().as_raw(), open: Vec::new(), bql: None, times: Arc::default() }
    }
}

impl Stuck {
    /// Whether that is this poll, seen at another time.
    #[must_use]
    pub fn is_same_poll(&self, other: &Stuck) -> bool {
        self.task.id == other.task.id && self.since == other.since
    }
}

impl Account {
    /// Of a task that is there since `now`.
    fn new(label: &TaskLabel, parent: u64, now: u64) -> Account {
        Account {
            label: label.clone(),
            parent,
            spawned: now,
            polled: 0,
            longest: 0,
            woken: None,
            woken_by: 0,
            woken_elsewhere: None,
            now: Now::Ready(now),
        }
    }

    fn poll_begins(&mut self, now: u64, times: &Times) {
        if let Now::Ready(ready) = self.now {
            times.queue.count(now.saturating_sub(ready));
            if self.woken.is_some() {
                let woken = self.woken_elsewhere.map_or(ready, |elsewhere| elsewhere.min(ready));
                times.wake.count(now.saturating_sub(woken));
            }
        }
        self.woken_elsewhere = None;
        self.now = Now::Polled(now);
    }

    fn at(&self, now: u64) -> TaskAccount {
        let since = |then: u64| Duration::from_nanos(now.saturating_sub(then));
        TaskAccount {
            age: since(self.spawned),
            parent: self.parent,
            polled: Duration::from_nanos(self.polled),
            longest: Duration::from_nanos(self.longest),
            woken: self.woken.map(since),
            woken_by: self.woken_by,
            state: match self.now {
                Now::Waiting => TaskState::Waiting,
                Now::Ready(_) => TaskState::Ready,
                Now::Polled(then) => TaskState::Polled(since(then)),
            },
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
