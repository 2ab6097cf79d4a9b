//! The task: one cell that holds a future, later its output, and everything to run it.
//!
//! ```text
//!              ┌───────────┐ 1 spawn                       ┌──────────┐
//!              │  queued   │◄──────────────────────────────│ (future) │
//!              └─────┬─────┘                               └──────────┘
//!      2 start_poll  │   ▲  5 wake                          ▲
//!                    ▼   │                                  │
//!              ┌─────────┴─┐ 3 finish_poll: Nothing ┌───────┴───┐
//!              │  running  ├───────────────────────►│   idle    │
//!              └─────┬─────┘                        └───────────┘
//!                    │  ▲ 4 finish_poll: Enqueue (woken while running) goes back to queued
//!      6 complete    ▼
//!              ┌───────────┐ 7 merge          ┌───────────┐ 8 last reference  ┌───────┐
//!              │ complete  ├─────────────────►│  merged   ├──────────────────►│ freed │
//!              └───────────┘                  └───────────┘                   └───────┘
//! ```
//!
//! 1. `spawn::spawn` writes the cell, which is its entry in the table, and queues it.
//! 2. `Running::start` → `State::start_poll`; the executor polls it, or drops its future if it was
//!    cancelled.
//! 3. and 4. `Running::suspend` → `State::finish_poll`.
//! 5. A waker at home: `TaskRef::wake` → `State::wake` → `RunQueue::push`. Elsewhere: `State::post`
//!    → `Inbox::push`, and `State::take_post` at home leads to the same `State::wake`.
//! 6. `Running::complete` and `Running::fail` → `State::complete`.
//! 7. `Running::finish` → `State::merge`, after the table has let go.
//! 8. `TaskRef::drop` on any thread → `arena::free`.
//!
//! Who may touch what:
//!
//! - [home-thread] A future is polled and dropped on the home thread only; so are the local word, the
//!   run queue's link and the joiner touched.
//! - [running-is-lock] Whoever set `RUNNING` has the stage to itself until it clears it. The stage of a
//!   complete task belongs to whoever got it from `State::take_result`.
//! - [queued-once] A task is in the run queue iff `QUEUED`, in the inbox iff `POSTED`, once each.
//! - [waker-is-ref] Each `TaskRef`, `Waker` and place in the inbox owns one reference.
//! - [header-first] A cell begins with its header, so their addresses are equal.
//! - [last-ref-frees] The memory goes with the last reference, which can only exist once the future
//!   is gone and the result taken or dropped.

mod cell;
mod entry;
mod join;
mod joiner;
mod kind;
mod lost;
mod running;
mod spawn;
mod state;
mod waker;

pub(crate) use cell::{Header, Polled, TaskRef};
pub(crate) use entry::Glance;
pub(crate) use kind::Kinds;
pub(crate) use lost::write_stderr;
pub(crate) use lost::{Payload, report_lost_panic, wake_without_panic};
#[cfg(feature = "qmp")]
pub(crate) use lost::{drop_payload, message};
pub(crate) use running::Running;
pub(crate) use spawn::spawn;

pub use join::{JoinError, JoinHandle};
pub use lost::{TaskPanic, set_task_panic_hook};

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// Which task: for people, in messages and listings.
///
/// # Examples
///
/// ```
/// use executor::{LocalExecutor, TaskLabel};
///
/// let executor = LocalExecutor::new()?;
/// let task = executor.spawn_named("worker", async { TaskLabel::current() });
/// let label = executor.run(task).expect("it does not panic").expect("it is a task");
/// assert_eq!(label.name.as_deref(), Some("worker"));
/// assert_eq!(label.spawned_at.line(), line!() - 3);
/// assert!(label.to_string().starts_with(&format!("task {} `worker` spawned at", label.id)));
/// assert!(TaskLabel::current().is_none(), "this is no task");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TaskLabel {
    /// Unique in the process.
    pub id: u64,
    /// The name given at spawn, if any.
    pub name: Option<Arc<str>>,
    /// The line that spawned it.
    pub spawned_at: &'static Location<'static>,
}

impl TaskLabel {
    /// Returns which task is being polled on this thread: how a task gets to know its own id. `None` outside
    /// of tasks, and in the future of a `block_on`.
    #[must_use]
    pub fn current() -> Option<TaskLabel> {
        crate::current::task()
    }
}

impl fmt::Display for TaskLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "task {} `{name}` spawned at {}", self.id, self.spawned_at),
            None => write!(f, "task {} spawned at {}", self.id, self.spawned_at),
        }
    }
}

/// Ends the process after a sentence on stderr: for faults that unwinding would make worse.
#[cold]
pub(crate) fn abort(sentence: &str) -> ! {
    write_stderr(&format!("executor: {sentence}\n"));
    std::process::abort()
}
