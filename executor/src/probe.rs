//! A look at an executor from any thread.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::sync::Arc;

use crate::home::Home;
use crate::inbox::Job;
use crate::label;
use crate::stats::{Counters, Stats};
use crate::task::{TaskLabel, TaskRef};
use crate::task_table::Row;

/// Lists and cancels the tasks of an executor, from any thread, also while the executor is stuck in a
/// poll. What an out-of-band `x-query-tasks` needs.
///
/// # Examples
///
/// ```
/// use std::future::pending;
/// use std::thread;
///
/// use executor::LocalExecutor;
///
/// let executor = LocalExecutor::new()?;
/// let stuck = executor.spawn_named("stuck", pending::<()>());
/// let probe = executor.probe();
/// let operator = thread::spawn(move || {
///     // The executor's thread may be busy, or hang, meanwhile.
///     let tasks = probe.tasks();
///     assert_eq!(tasks[0].label.name.as_deref(), Some("stuck"));
///     assert_eq!(probe.stats().live, 1);
///     assert!(probe.cancel(tasks[0].label.id));
///     probe.thread()
/// });
/// let thread = operator.join().expect("it does not panic");
/// assert_eq!(thread, executor.probe().thread());
/// assert!(executor.run(stuck).unwrap_err().is_cancelled());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Probe {
    home: Arc<Home>,
    counters: Arc<Counters>,
}

/// A task, as [`Probe::tasks`] found it.
///
/// # Examples
///
/// ```
/// use executor::{LocalExecutor, label};
///
/// let executor = LocalExecutor::new()?;
/// executor.spawn_named("disk", label("the drive", std::future::pending::<()>())).detach();
/// executor.run_once();
///
/// for task in executor.probe().tasks() {
///     let line = format!("{}: {} poll, waits for {}", task.label, task.polls, task.waits_for.join(" in "));
///     assert!(line.starts_with("task "));
///     assert!(line.contains("`disk` spawned at") && line.ends_with(": 1 poll, waits for the drive"));
/// }
/// assert_eq!(executor.probe().tasks().len(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its id, name and place of birth.
    pub label: TaskLabel,
    /// How often it was polled, modulo 2^31.
    pub polls: u32,
    /// What it waits for, as far as [`label`](crate::label()) has said so; the innermost first.
    pub waits_for: Vec<Cow<'static, str>>,
}

impl Probe {
    pub(crate) fn new(home: Arc<Home>, counters: Arc<Counters>) -> Probe {
        Probe { home, counters }
    }

    /// The live tasks, in the order of their ids.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc::channel;
    /// use std::thread;
    ///
    /// use executor::LocalExecutor;
    ///
    /// let executor = LocalExecutor::new()?;
    /// let (unblock, blocked) = channel();
    /// let stuck = executor.spawn_named("stuck", async move { blocked.recv() }); // Blocks the thread.
    /// let probe = executor.probe();
    /// let operator = thread::spawn(move || {
    ///     let tasks = probe.tasks(); // Waits for nobody.
    ///     unblock.send(()).expect("it waits for this");
    ///     tasks
    /// });
    /// executor.run(stuck).expect("it does not panic").expect("it was unblocked");
    /// let tasks = operator.join().expect("it does not panic");
    /// assert_eq!(tasks.len(), 1);
    /// assert_eq!(tasks[0].label.name.as_deref(), Some("stuck"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn tasks(&self) -> Vec<TaskInfo> {
        let info = |row: Row| TaskInfo {
            waits_for: label::of(row.label.id),
            label: row.label,
            polls: row.polls,
        };
        self.home.table().rows().into_iter().map(info).collect()
    }

    /// Asks for the task of that id to be cancelled. Returns whether there is one. Its future is dropped
    /// on its own thread, soon.
    pub fn cancel(&self, id: u64) -> bool {
        if !self.home.table().has(id) {
            return false;
        }
        let home = Arc::clone(&self.home);
        let cancel = move || home.table().tasks(Some(id)).iter().for_each(TaskRef::cancel);
        if self.home.is_home() {
            cancel();
            return true;
        }
        self.home.send(Job::new(cancel)).is_ok()
    }

    /// The number of the executor's thread, as in [`Event::thread`](crate::observe::Event::thread).
    #[must_use]
    pub fn thread(&self) -> u32 {
        self.home.thread()
    }

    /// What the executor has done so far.
    pub fn stats(&self) -> Stats {
        self.counters.snapshot()
    }
}
