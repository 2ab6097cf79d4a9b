//! Commands that tell what is going on: `x-query-tasks`, `x-task-cancel`, `x-executor-stats`, `x-watchdog`.
//!
//! Their mode is `Oob`: with `exec-oob` they run in the monitor's thread, at once, also while the main loop is
//! stuck; with `execute` they take their turn like any other command. In both cases all they may use is
//! what needs no lock of QEMU's, which is what [`executors`] has.
//!
//! Threads: any.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use executor::observe::{TaskAccount, TaskState, Times};
use executor::qmp::{Command, Error, JobInfo, Jobs, Oob, Registry};
use executor::{OobContext, TaskInfo};
use serde::{Deserialize, Serialize};

use super::{executors, observers};

/// The task that starts everybody's commands. Without it, nobody could say `quit` any more.
const DISPATCHER: &str = "qmp:dispatcher";

/// For people who ask without a server ([`table`]): those of the one that was registered last.
static JOBS: Mutex<Option<Jobs>> = Mutex::new(None);

pub(super) fn register(registry: &mut Registry, jobs: &Jobs) {
    let before = known_jobs().replace(jobs.clone());
    drop(before);
    let jobs = jobs.clone();
    registry.command::<QueryTasks, _>(move |_: &OobContext, ()| Ok(with_progress(tasks(), &jobs)));
    registry.command::<TaskCancel, _>(task_cancel);
    registry.command::<ExecutorStats, _>(executor_stats);
    registry.command::<SetWatchdog, _>(set_watchdog);
}

struct QueryTasks;

impl Command for QueryTasks {
    const NAME: &'static str = "x-query-tasks";
    const HELP: &'static str = "show the tasks of all executors";
    type Mode = Oob;
    type Args = ();
    type Ret = Vec<Task>;
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Task {
    id: u64,
    /// Absent if it was spawned without.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The line of the source.
    spawned_at: String,
    /// How often it was polled.
    polls: u32,
    executor: String,
    /// What it waits for, as far as it says so; the innermost first.
    waits_for: Vec<String>,
    /// Absent if it is not about a job, as commands that take long are.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    /// Absent if no accounts are kept, or the task was there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Account>,
}

/// How far a long command has come.
#[derive(Deserialize, Serialize)]
struct Progress {
    /// The id of the job, as in `JOB_STATUS_CHANGE`.
    job: String,
    /// What it is about.
    label: String,
    /// How much is done, in a unit of the command's own.
    current: u64,
    total: u64,
}

/// Times are in microseconds.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Account {
    state: State,
    age: u64,
    /// The task that spawned it.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<u64>,
    /// In all its polls.
    polled: u64,
    /// In the longest of them; the one that is going on counts.
    longest_poll: u64,
    /// How long ago it was woken; absent if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    woken: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    woken_by: Option<u64>,
}

/// What a task does.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// It waits for somebody to wake it.
    Waiting,
    /// It waits for its poll.
    Ready,
    Polled,
}

fn with_progress(mut tasks: Vec<Task>, jobs: &Jobs) -> Vec<Task> {
    let mut jobs: BTreeMap<u64, JobInfo> =
        jobs.list().into_iter().map(|job| (job.task, job)).collect();
    for task in &mut tasks {
        task.progress = jobs.remove(&task.id).map(Progress::of);
    }
    tasks
}

impl Progress {
    fn of(job: JobInfo) -> Self {
        let JobInfo { id, label, current, total, .. } = job;
        Self { job: id, label: label.into_owned(), current, total }
    }
}

fn tasks() -> Vec<Task> {
    let mut tasks = Vec::new();
    for (executor, probe) in executors::all() {
        tasks.extend(probe.tasks().into_iter().map(|task| Task::of(task, &executor)));
    }
    tasks
}

fn known_jobs() -> MutexGuard<'static, Option<Jobs>> {
    JOBS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the same for people: a line per task.
pub(crate) fn table() -> String {
    let jobs = known_jobs().clone();
    let tasks = jobs.map_or_else(tasks, |jobs| with_progress(tasks(), &jobs));
    let mut table = format!("{} tasks\n", tasks.len());
    for task in tasks {
        // Writing to a string cannot fail.
        let _ = writeln!(table, "{task}");
    }
    table
}

impl Task {
    fn of(task: TaskInfo, executor: &str) -> Self {
        let account = observers::accounts().and_then(|accounts| accounts.task(task.label.id));
        Self {
            id: task.label.id,
            name: task.label.name.map(|name| name.to_string()),
            spawned_at: task.label.spawned_at.to_string(),
            polls: task.polls,
            executor: executor.to_owned(),
            waits_for: task.waits_for.into_iter().map(Cow::into_owned).collect(),
            progress: None,
            account: account.map(Account::of),
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, spawned_at, polls, executor, .. } = self;
        write!(f, "{id:>6} {executor:<8}")?;
        if let Some(Account { state, age, longest_poll, .. }) = &self.account {
            write!(f, " {state:<8?} {age:>10} us old, longest poll {longest_poll:>7} us,")?;
        }
        let name = self.name.as_deref().unwrap_or("-");
        write!(f, " {polls:>6} polls, {name}, {spawned_at}")?;
        if let Some(Progress { label, current, total, .. }) = &self.progress {
            write!(f, ", {current} of {total} done of {label}")?;
        }
        match self.waits_for.as_slice() {
            [] => Ok(()),
            waits => write!(f, ", waits for {}", waits.join(" in ")),
        }
    }
}

impl Account {
    fn of(account: TaskAccount) -> Self {
        let present = |id: u64| Some(id).filter(|id| *id != 0);
        let (state, going_on) = match account.state {
            TaskState::Ready => (State::Ready, Duration::ZERO),
            TaskState::Polled(time) => (State::Polled, time),
            _ => (State::Waiting, Duration::ZERO),
        };
        Self {
            state,
            age: microseconds(account.age),
            parent: present(account.parent),
            polled: microseconds(account.polled + going_on),
            longest_poll: microseconds(account.longest.max(going_on)),
            woken: account.woken.map(microseconds),
            woken_by: present(account.woken_by),
        }
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

struct TaskCancel;

impl Command for TaskCancel {
    const NAME: &'static str = "x-task-cancel";
    const HELP: &'static str = "cancel a task";
    type Mode = Oob;
    type Args = TaskCancelArgs;
    type Ret = ();
}

#[derive(Deserialize)]
struct TaskCancelArgs {
    id: u64,
}

fn task_cancel(_: &OobContext, args: TaskCancelArgs) -> Result<(), Error> {
    for (_, probe) in executors::all() {
        let Some(task) = probe.tasks().into_iter().find(|task| task.label.id == args.id) else {
            continue;
        };
        if task.label.name.as_deref() == Some(DISPATCHER) {
            return Err(Error::generic(format!(
                "Task {} starts the commands, this one, too",
                args.id
            )));
        }
        if probe.cancel(args.id) {
            return Ok(());
        }
    }
    Err(Error::generic(format!("Task {} not found", args.id)))
}

struct ExecutorStats;

impl Command for ExecutorStats {
    const NAME: &'static str = "x-executor-stats";
    const HELP: &'static str = "show what the executors have done";
    type Mode = Oob;
    type Args = ();
    type Ret = Vec<Stats>;
}

/// What an executor has done since it was made; see [`executor::Stats`] for what is counted.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Stats {
    executor: String,
    live: u64,
    spawned: u64,
    completed: u64,
    polls: u64,
    slices: u64,
    requests: u64,
    timers: u64,
    fd_events: u64,
    /// Absent if no accounts are kept, or its thread has not run any of it since.
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<Histograms>,
}

/// How often something took less than 2 ns, less than 4 ns, less than 8 ns, and so on, on the executor's thread.
#[derive(Deserialize, Serialize)]
struct Histograms {
    /// A poll.
    poll: Vec<u64>,
    /// A task's time in the run queue.
    queue: Vec<u64>,
    /// From a wake to the poll.
    wake: Vec<u64>,
    /// A run: as long as nothing else happened in the loop.
    run: Vec<u64>,
    /// The thread holds the Big QEMU Lock; inside QEMU as far as the executors know.
    bql: Vec<u64>,
}

impl Histograms {
    fn of(times: &Times) -> Self {
        Self {
            poll: times.poll.counts(),
            queue: times.queue.counts(),
            wake: times.wake.counts(),
            run: times.run.counts(),
            bql: times.bql.counts(),
        }
    }
}

fn executor_stats(_: &OobContext, (): ()) -> Result<Vec<Stats>, Error> {
    let row = |(executor, probe): (String, executor::Probe)| {
        let stats = probe.stats();
        let times = observers::accounts().and_then(|accounts| accounts.times(probe.thread()));
        Stats {
            executor,
            live: stats.live,
            spawned: stats.spawned,
            completed: stats.completed,
            polls: stats.polls,
            slices: stats.slices,
            requests: stats.requests,
            timers: stats.timers,
            fd_events: stats.fd_events,
            times: times.map(|times| Histograms::of(&times)),
        }
    };
    Ok(executors::all().into_iter().map(row).collect())
}

struct SetWatchdog;

impl Command for SetWatchdog {
    const NAME: &'static str = "x-watchdog";
    const HELP: &'static str = "show or set how long a poll may take before it is reported";
    type Mode = Oob;
    type Args = WatchdogArgs;
    type Ret = WatchdogState;
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WatchdogArgs {
    /// Milliseconds that a poll may take before it is reported; 0 for any time. Absent: nothing changes.
    limit_ms: Option<u64>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
struct WatchdogState {
    limit_ms: u64,
}

fn set_watchdog(_: &OobContext, args: WatchdogArgs) -> Result<WatchdogState, Error> {
    if let Some(limit) = args.limit_ms {
        let limit = Some(Duration::from_millis(limit)).filter(|limit| !limit.is_zero());
        let failed = |error| Error::generic(format!("Cannot start the watchdog: {error}"));
        observers::watch(limit).map_err(failed)?;
    }
    let limit = observers::limit().unwrap_or_default();
    Ok(WatchdogState { limit_ms: microseconds(limit) / 1000 })
}
