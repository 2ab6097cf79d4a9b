//! The table of an executor's tasks.
//!
//! Every live task is listed, and the table owns the reference that keeps it alive. Any thread may read while the home
//! thread enters and removes, so that an out-of-band monitor command can tell what a stuck main loop is doing.
//!
//! The table is the memory that the tasks are in: what it says of a task is in the header of the task's cell, and to list
//! the tasks is to go through the cells. See [`arena`](crate::arena) for the cells, [`task`](crate::task) for how an
//! entry is written without a lock and read whole.
//!
//! Names are aside, behind a lock: most tasks have none.

use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::sync::{Arc, PoisonError};

use crate::arena::Arena;
use crate::sync::{Mutex, MutexGuard};
use crate::task::{Glance, TaskLabel, TaskRef};

pub(crate) use crate::arena::Place;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct TaskTable {
    arena: Arena,
    names: Mutex<HashMap<u64, Arc<str>>>,
}

/// What the table tells about a task.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) label: TaskLabel,
    pub(crate) polls: u32,
}

impl TaskTable {
    pub(crate) fn new() -> TaskTable {
        TaskTable { arena: Arena::new(), names: Mutex::default() }
    }

    #[inline]
    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    fn names(&self) -> MutexGuard<'_, HashMap<u64, Arc<str>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a task's name, before the task is entered. Home.
    pub(crate) fn name(&self, id: u64, name: Arc<str>) {
        self.names().insert(id, name);
    }

    /// Removes a complete task and hands out the table's reference. Home.
    #[inline]
    pub(crate) fn remove(&self, place: Place) -> TaskRef {
        let header = place.header();
        if header.is_named() {
            self.forget_name(place);
        }
        header.leave();
        // SAFETY: [waker-is-ref]: who is listed has a reference for it, which the table gives up here.
        unsafe { TaskRef::from_raw(place.as_raw()) }
    }

    #[cold]
    fn forget_name(&self, place: Place) {
        if let Some(id) = self.label(place).map(|label| label.id) {
            self.names().remove(&id);
        }
    }

    /// Counts a poll. Home.
    #[inline]
    pub(crate) fn count_poll(&self, place: Place) {
        place.header().count_poll();
    }

    /// Which task is there. Home, before the task is removed.
    pub(crate) fn id(&self, place: Place) -> u64 {
        place.id().unwrap_or(0)
    }

    /// Which task this is, if it is not yet removed. Home.
    pub(crate) fn label(&self, place: Place) -> Option<TaskLabel> {
        Some(self.row(place.header().read(|| place.id_high())?).label)
    }

    fn row(&self, glance: Glance) -> Row {
        let Glance { id, kind, polls, is_named } = glance;
        let name = if is_named { self.names().get(&id).cloned() } else { None };
        Row { label: TaskLabel { id, name, spawned_at: kind.spawned_at }, polls }
    }

    /// All tasks, in the order of their ids. Any thread.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut seen = Vec::new();
        self.arena.for_each(|place| seen.extend(place.header().read(|| place.id_high())));
        let mut rows: Vec<_> = seen.into_iter().map(|glance| self.row(glance)).collect();
        rows.sort_unstable_by_key(|row| row.label.id);
        rows
    }

    /// References on all tasks, or on that of an id. Home.
    pub(crate) fn tasks(&self, id: Option<u64>) -> Vec<TaskRef> {
        let mut found = Vec::new();
        self.arena.for_each(|place| {
            let here = place.id();
            if here.is_some_and(|here| id.is_none_or(|id| id == here)) {
                found.push(reference(place));
            }
        });
        found
    }

    /// Whether there is a task of that id. Any thread.
    pub(crate) fn has(&self, id: u64) -> bool {
        let mut found = false;
        self.arena.for_each(|place| found |= place.id() == Some(id));
        found
    }
}

/// A reference on a listed task. Home.
fn reference(place: Place) -> TaskRef {
    // SAFETY: [waker-is-ref]: the table's reference, which stays the table's.
    let task = ManuallyDrop::new(unsafe { TaskRef::from_raw(place.as_raw()) });
    TaskRef::clone(&task)
}

#[cfg(test)]
mod tests;
