//! Commands that tell what is going on: `x-query-tasks`, `x-task-cancel`, `x-executor-stats`.
//!
//! Their mode is `Oob`: with `exec-oob` they run in the monitor's thread, at once, also while the main loop is
//! stuck; with `execute` they take their turn like any other command. In both cases all they may use is
//! what needs no lock of QEMU's, which is what [`executors`] has.
//!
//! Threads: any.

use executor::OobContext;
use executor::qmp::{Command, Error, Oob, Registry};
use serde::{Deserialize, Serialize};

use super::executors;

/// The task that starts everybody's commands. Without it, nobody could say `quit` any more.
const DISPATCHER: &str = "qmp:dispatcher";

pub(super) fn register(registry: &mut Registry) {
    registry.command::<QueryTasks, _>(query_tasks);
    registry.command::<TaskCancel, _>(task_cancel);
    registry.command::<ExecutorStats, _>(executor_stats);
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
}

fn query_tasks(_: &OobContext, (): ()) -> Result<Vec<Task>, Error> {
    let mut tasks = Vec::new();
    for (executor, probe) in executors::all() {
        tasks.extend(probe.tasks().into_iter().map(|task| Task {
            id: task.label.id,
            name: task.label.name.map(|name| name.to_string()),
            spawned_at: task.label.spawned_at.to_string(),
            polls: task.polls,
            executor: executor.clone(),
        }));
    }
    Ok(tasks)
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
}

fn executor_stats(_: &OobContext, (): ()) -> Result<Vec<Stats>, Error> {
    let row = |(executor, probe): (String, executor::Probe)| {
        let stats = probe.stats();
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
        }
    };
    Ok(executors::all().into_iter().map(row).collect())
}
