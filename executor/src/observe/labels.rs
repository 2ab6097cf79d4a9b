//! Names of the tasks that observers have seen, for those who ask.
//!
//! Owns a table of them, from the spawn to the end. Threads: any; nobody holds its lock for more than a look.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::task::TaskLabel;

static LABELS: Mutex<BTreeMap<u64, TaskLabel>> = Mutex::new(BTreeMap::new());

pub(super) fn know(label: &TaskLabel) {
    labels().insert(label.id, label.clone());
}

pub(super) fn of(task: u64) -> Option<TaskLabel> {
    labels().get(&task).cloned()
}

pub(super) fn forget(task: u64) {
    let gone = labels().remove(&task);
    drop(gone);
}

fn labels() -> MutexGuard<'static, BTreeMap<u64, TaskLabel>> {
    LABELS.lock().unwrap_or_else(PoisonError::into_inner)
}
