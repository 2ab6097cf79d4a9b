//! The table of an executor's tasks.
//!
//! Every live task has an entry, which owns the reference that keeps the task alive. The home thread
//! enters and removes; any thread may list and cancel, so that an out-of-band monitor command can tell
//! what a stuck main loop is doing. The lock is held for a few instructions at a time, and never while
//! user code runs.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slab::Slab;

use crate::task::{TaskLabel, TaskRef};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct TaskTable {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tasks: Slab<Entry>,
    /// Aside, since most tasks have none.
    names: HashMap<u32, Arc<str>>,
}

#[derive(Debug)]
struct Entry {
    task: TaskRef,
    id: u64,
    spawned_at: &'static Location<'static>,
}

/// What the table tells about a task.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) label: TaskLabel,
    pub(crate) polls: u32,
}

impl Inner {
    fn label(&self, key: u32, entry: &Entry) -> TaskLabel {
        TaskLabel {
            id: entry.id,
            name: self.names.get(&key).cloned(),
            spawned_at: entry.spawned_at,
        }
    }
}

/// The slab's index of a key.
fn index(key: u32) -> usize {
    key as usize
}

impl TaskTable {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a task, which `make` builds given its key. Home.
    ///
    /// # Panics
    ///
    /// If there are four billion tasks.
    #[inline]
    pub(crate) fn insert(&self, label: TaskLabel, make: impl FnOnce(u32) -> TaskRef) {
        let TaskLabel { id, name, spawned_at } = label;
        let mut inner = self.lock();
        let vacant = inner.tasks.vacant_entry();
        let key = u32::try_from(vacant.key()).expect("fewer than four billion tasks");
        vacant.insert(Entry { task: make(key), id, spawned_at });
        if let Some(name) = name {
            inner.names.insert(key, name);
        }
    }

    /// Removes a complete task and hands out the table's reference. Home.
    #[inline]
    pub(crate) fn remove(&self, key: u32) -> TaskRef {
        let mut inner = self.lock();
        if !inner.names.is_empty() {
            inner.names.remove(&key);
        }
        inner.tasks.remove(index(key)).task
    }

    /// Which task this is. Any thread.
    pub(crate) fn label(&self, key: u32) -> Option<TaskLabel> {
        let inner = self.lock();
        inner.tasks.get(index(key)).map(|entry| inner.label(key, entry))
    }

    /// All tasks. Any thread.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let inner = self.lock();
        let row = |(key, entry): (usize, &Entry)| Row {
            label: inner.label(u32::try_from(key).expect("keys are 32 bits"), entry),
            polls: entry.task.polls(),
        };
        inner.tasks.iter().map(row).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().tasks.len()
    }

    /// References on all tasks. Any thread.
    pub(crate) fn all(&self) -> Vec<TaskRef> {
        self.lock().tasks.iter().map(|(_, entry)| entry.task.clone()).collect()
    }

    /// Asks a task to be cancelled. Returns whether there is one of that id. Any thread.
    pub(crate) fn cancel(&self, id: u64) -> bool {
        let task = {
            let inner = self.lock();
            inner.tasks.iter().find(|(_, entry)| entry.id == id).map(|(_, e)| e.task.clone())
        };
        task.inspect(TaskRef::cancel).is_some()
    }
}
