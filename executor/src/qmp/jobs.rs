//! Jobs: what long commands are about, and how far each has come.
//!
//! A handler that takes long begins a [`Job`] and counts with its [`Progress`], wherever the work is done. Whoever
//! has the [`Jobs`] can list them at any time, also while the main loop is stuck. When a job's status changes, one
//! function is told: the clients of a server get QEMU's event `JOB_STATUS_CHANGE`.
//!
//! The statuses and their order are QEMU's. A job that succeeds is "waiting" and "pending" on its way, for
//! nothing, and one that fails, panics or is cancelled is "aborting"; nobody has to dismiss it. It cannot be
//! paused; its id ends with the number of the task, which can be cancelled.
//!
//! Threads: a job begins and ends on the main loop, so its changes are told in their order; counting and
//! listing from any thread.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::command::{Blocking, Command};
use super::error::Error;
use super::registry::Registry;
use super::server::EventSink;
use crate::cx::{MainCx, NoCoroutine};
use crate::task::TaskLabel;

/// The event that tells of a change.
const CHANGE: &str = "JOB_STATUS_CHANGE";

/// The jobs of a program. Clones are the same.
///
/// # Examples
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use executor::qmp::{Error, JobStatus, Jobs};
/// use executor::{block_on, run_main, MainCx};
///
/// async fn copy(cx: &MainCx, jobs: &Jobs, blocks: u64) -> Result<(), Error> {
///     let job = jobs.begin(cx, "x-copy", "copying disk0", blocks);
///     for _ in 0..blocks {
///         // ... If this returns an error, or the client goes, the job is aborted.
///         job.progress().advance(1);
///     }
///     job.conclude();
///     Ok(())
/// }
///
/// let told = Arc::new(Mutex::new(Vec::new()));
/// let notes = Arc::clone(&told);
/// // `Jobs::new` has the clients of a server told.
/// let jobs = Jobs::telling(move |change| notes.lock().unwrap().push(change.status));
/// run_main(|nc| {
///     block_on(nc, async |cx: &MainCx| {
///         let command = cx.main().run(async move |cx: &MainCx| copy(cx, &jobs, 3).await);
///         command.await.expect("it does not panic").expect("nothing fails");
///     });
/// });
/// use JobStatus::{Concluded, Created, Null, Pending, Running, Waiting};
/// assert_eq!(*told.lock().unwrap(), [Created, Running, Waiting, Pending, Concluded, Null]);
/// ```
#[derive(Clone)]
pub struct Jobs {
    shared: Arc<Shared>,
}

struct Shared {
    /// By their ids.
    jobs: Mutex<BTreeMap<String, Entry>>,
    tell: Box<dyn Fn(&JobStatusChange) + Send + Sync>,
}

struct Entry {
    task: u64,
    kind: &'static str,
    label: Cow<'static, str>,
    status: JobStatus,
    progress: Progress,
}

/// What a job is at. QEMU's `JobStatus`, without those that no job of ours is ever at.
///
/// ```
/// use executor::qmp::JobStatus;
///
/// let status: JobStatus = serde_json::from_str("\"aborting\"")?;
/// assert_eq!(status, JobStatus::Aborting);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum JobStatus {
    /// It has begun, and done nothing.
    Created,
    /// It works.
    Running,
    /// It has succeeded.
    Waiting,
    /// It has succeeded.
    Pending,
    /// It has failed, or was cancelled.
    Aborting,
    /// It has ended, one way or the other.
    Concluded,
    /// It is no more.
    Null,
}

/// A job's status has changed: the data of QEMU's event `JOB_STATUS_CHANGE`.
///
/// ```
/// use executor::qmp::{JobStatus, JobStatusChange};
///
/// let change: JobStatusChange =
///     serde_json::from_str(r#"{"id": "x-copy-17", "status": "running"}"#)?;
/// assert_eq!((change.id.as_str(), change.status), ("x-copy-17", JobStatus::Running));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct JobStatusChange {
    /// The job's.
    pub id: String,
    /// What it is at now.
    pub status: JobStatus,
}

/// What is known of a job, for whoever lists them.
///
/// ```
/// use executor::qmp::{JobInfo, JobStatus, Jobs};
/// use executor::{block_on, run_main, MainCx};
///
/// let jobs = Jobs::telling(|_change| {});
/// let (begun, listed) = (jobs.clone(), run_main(|nc| {
///     let command = nc.spawn(async move |cx: &MainCx| {
///         let _job = jobs.begin(cx, "x-copy", "copying disk0", 3);
///         jobs.list()
///     });
///     block_on(nc, async move |_: &MainCx| command.await.expect("it does not panic"))
/// }));
/// let [JobInfo { kind, status, current, total, .. }] = &listed[..] else { panic!("{listed:?}") };
/// assert_eq!((*kind, *status, *current, *total), ("x-copy", JobStatus::Running, 0, 3));
/// assert_eq!(begun.list(), [], "it has ended since");
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct JobInfo {
    /// See [`Job::id`].
    pub id: String,
    /// The task that has begun it.
    pub task: u64,
    /// Its kind: mostly the command's name.
    pub kind: &'static str,
    /// What it is about, for people.
    pub label: Cow<'static, str>,
    /// What it is at.
    pub status: JobStatus,
    /// How much is done, in units of the job's own.
    pub current: u64,
    /// How much there is to do, as far as is known.
    pub total: u64,
}

impl Jobs {
    /// Returns a list of jobs whose changes the clients of a server get, as `JOB_STATUS_CHANGE`.
    ///
    /// Inside QEMU, `host::Loading::jobs` returns one whose changes the clients of QEMU's monitors get, too.
    pub fn new(events: EventSink) -> Self {
        Self::telling(move |change| events.emit(CHANGE, change))
    }

    /// Returns a list of jobs whose changes `tell` is told, on the main loop. It is not to panic.
    ///
    /// ```
    /// use executor::qmp::Jobs;
    ///
    /// let jobs = Jobs::telling(|change| println!("{} is {:?}", change.id, change.status));
    /// assert_eq!(jobs.list(), []);
    /// ```
    pub fn telling(tell: impl Fn(&JobStatusChange) + Send + Sync + 'static) -> Self {
        Self { shared: Arc::new(Shared { jobs: Mutex::default(), tell: Box::new(tell) }) }
    }

    /// Begins a job of the task that calls this: it is created, and runs.
    ///
    /// `kind` is mostly the command's name, `label` says for people what the job is about, and `total` is how much
    /// there is to do, in units of your own, or 0 if that is to be found out.
    ///
    /// # Panics
    ///
    /// Outside of tasks, and if the task has a job of this kind already.
    #[track_caller]
    pub fn begin(
        &self,
        _cx: &MainCx,
        kind: &'static str,
        label: impl Into<Cow<'static, str>>,
        total: u64,
    ) -> Job {
        let task = TaskLabel::current().expect("a job is begun by a task").id;
        let id = format!("{kind}-{task}");
        let progress = Progress::new(total);
        let (label, status) = (label.into(), JobStatus::Created);
        let entry = Entry { task, kind, label, status, progress: progress.clone() };
        let added = self.add(&id, entry);
        assert!(added, "the task has a job `{id}` already, which is to end before");
        let jobs = self.clone();
        let job = Job { jobs, id, task, progress, ended: false, home: PhantomData };
        self.tell(&job.id, JobStatus::Created);
        self.turn(&job.id, JobStatus::Running);
        job
    }

    /// Returns the jobs that there are, by their ids. Any thread.
    pub fn list(&self) -> Vec<JobInfo> {
        self.lock().iter().map(|(id, entry)| entry.info(id)).collect()
    }

    /// Returns whether the id was free.
    fn add(&self, id: &str, entry: Entry) -> bool {
        let mut jobs = self.lock();
        let free = !jobs.contains_key(id);
        if free {
            jobs.insert(id.to_owned(), entry);
        }
        free
    }

    fn turn(&self, id: &str, status: JobStatus) {
        if let Some(entry) = self.lock().get_mut(id) {
            entry.status = status;
        }
        self.tell(id, status);
    }

    fn remove(&self, id: &str) {
        let entry = self.lock().remove(id);
        drop(entry);
        self.tell(id, JobStatus::Null);
    }

    fn tell(&self, id: &str, status: JobStatus) {
        (self.shared.tell)(&JobStatusChange { id: id.to_owned(), status });
    }

    /// No foreign code runs under the lock.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.shared.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.list()).finish()
    }
}

impl Entry {
    fn info(&self, id: &str) -> JobInfo {
        JobInfo {
            id: id.to_owned(),
            task: self.task,
            kind: self.kind,
            label: self.label.clone(),
            status: self.status,
            current: self.progress.current(),
            total: self.progress.total(),
        }
    }
}

/// A long command, from [`Jobs::begin`] on. Dropped without [`conclude`](Self::conclude), it is aborted.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use executor::qmp::{JobStatus, Jobs};
/// use executor::{block_on, run_main, MainCx};
///
/// let told = Arc::new(Mutex::new(Vec::new()));
/// let notes = Arc::clone(&told);
/// let jobs = Jobs::telling(move |change| notes.lock().unwrap().push(change.status));
/// run_main(|nc| {
///     let command = nc.spawn(async move |cx: &MainCx| {
///         let job = jobs.begin(cx, "x-copy", "copying disk0", 3);
///         assert_eq!(job.id(), format!("x-copy-{}", job.task()));
///         "no space".parse::<u32>()?; // It fails, and the job with it.
///         job.conclude();
///         Ok::<(), std::num::ParseIntError>(())
///     });
///     block_on(nc, async move |_: &MainCx| command.await.expect("it does not panic").unwrap_err());
/// });
/// assert!(told.lock().unwrap().contains(&JobStatus::Aborting));
/// ```
#[derive(Debug)]
#[must_use = "a job that is dropped is aborted"]
pub struct Job {
    jobs: Jobs,
    id: String,
    task: u64,
    progress: Progress,
    ended: bool,
    home: PhantomData<*const ()>,
}

impl Job {
    /// Returns the id by which clients tell jobs apart: the kind and the task's id, as in `x-copy-17`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the id of the task that has begun it.
    pub fn task(&self) -> u64 {
        self.task
    }

    /// Returns what to count with.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Says that it has succeeded.
    pub fn conclude(mut self) {
        self.end(&[JobStatus::Waiting, JobStatus::Pending]);
    }

    fn end(&mut self, statuses: &[JobStatus]) {
        if mem::replace(&mut self.ended, true) {
            return;
        }
        for status in statuses.iter().chain(&[JobStatus::Concluded]) {
            self.jobs.turn(&self.id, *status);
        }
        self.jobs.remove(&self.id);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.end(&[JobStatus::Aborting]);
    }
}

/// How far a job has come. `Clone + Send + Sync`: clones count together, from any thread.
///
/// ```
/// use executor::qmp::Jobs;
/// use executor::{block_on, reschedule_to, run_main, IoThread, MainCx};
///
/// let jobs = Jobs::telling(|_change| {});
/// run_main(|nc| {
///     let io0 = IoThread::create(nc, "io0").expect("there are threads left");
///     let io = io0.io();
///     let command = nc.spawn(async move |cx: &MainCx| {
///         let job = jobs.begin(cx, "x-copy", "copying disk0", 0);
///         let progress = job.progress().clone();
///         progress.set_total(2); // Found out by now.
///         let copying = reschedule_to(&io, async move { progress.advance(1) });
///         copying.await.expect("it does not panic");
///         assert_eq!((job.progress().current(), job.progress().total()), (1, 2));
///     });
///     block_on(nc, async move |_: &MainCx| command.await.expect("it does not panic"));
///     io0.destroy(nc).expect("it was not destroyed before");
/// });
/// ```
#[derive(Clone, Debug)]
pub struct Progress {
    counts: Arc<Counts>,
}

/// All accesses are relaxed: they are numbers for people, and guard nothing.
#[derive(Debug)]
struct Counts {
    current: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    fn new(total: u64) -> Self {
        let counts = Counts { current: AtomicU64::new(0), total: AtomicU64::new(total) };
        Self { counts: Arc::new(counts) }
    }

    /// Counts what was done since the last call. Stands for `job_progress_update()`.
    pub fn advance(&self, done: u64) {
        self.counts.current.fetch_add(done, Ordering::Relaxed);
    }

    /// Says how much there is to do, what is done included. Stands for `job_progress_set_remaining()`.
    pub fn set_total(&self, total: u64) {
        self.counts.total.store(total, Ordering::Relaxed);
    }

    /// How much is done.
    pub fn current(&self) -> u64 {
        self.counts.current.load(Ordering::Relaxed)
    }

    /// How much there is to do, as far as is known.
    pub fn total(&self) -> u64 {
        self.counts.total.load(Ordering::Relaxed)
    }
}

struct QueryJobs;

impl Command for QueryJobs {
    const NAME: &'static str = "query-jobs";
    const HELP: &'static str = "show the long commands that are running";
    type Mode = Blocking;
    type Args = ();
    type Ret = Vec<Info>;
}

/// QEMU's `JobInfo`. Nobody can look at a job that has failed, so there is no `error`.
#[derive(Deserialize, Serialize)]
#[serde(rename = "JobInfo", rename_all = "kebab-case")]
struct Info {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    status: JobStatus,
    current_progress: u64,
    total_progress: u64,
}

impl From<JobInfo> for Info {
    fn from(job: JobInfo) -> Self {
        let JobInfo { id, kind, status, current, total, .. } = job;
        let kind = kind.to_owned();
        Self { id, kind, status, current_progress: current, total_progress: total }
    }
}

impl Registry {
    /// Adds `query-jobs`, which lists `jobs` as QEMU does, and says that clients get `JOB_STATUS_CHANGE`.
    ///
    /// Inside QEMU, that command is QEMU's own, and knows nothing of these.
    ///
    /// ```
    /// use executor::qmp::{EventSink, Jobs, Registry};
    ///
    /// let (mut registry, events) = (Registry::new(), EventSink::new());
    /// let jobs = Jobs::new(events.clone());
    /// registry.add_query_jobs(&jobs);
    /// assert!(registry.names().contains(&"query-jobs"));
    /// // Handlers that take long get a clone of `jobs`, and the server gets `registry` and `events`.
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if `query-jobs` is registered already.
    #[track_caller]
    pub fn add_query_jobs(&mut self, jobs: &Jobs) {
        let jobs = jobs.clone();
        self.event::<JobStatusChange>(CHANGE);
        self.command::<QueryJobs, _>(move |_: &mut NoCoroutine, ()| -> Result<Vec<Info>, Error> {
            Ok(jobs.list().into_iter().map(Info::from).collect())
        });
    }
}
