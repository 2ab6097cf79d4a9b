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
#[derive(Clone, Debug)]
pub struct Probe {
    home: Arc<Home>,
    counters: Arc<Counters>,
}

/// A task, as [`Probe::tasks`] found it.
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
