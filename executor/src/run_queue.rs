//! The run queue: ready tasks in the order in which they became ready.
//!
//! An intrusive first-in first-out list through the task headers, so that waking never allocates
//! and a queued task costs nothing beyond its own memory. Home thread only: a wake-up from
//! elsewhere arrives through the inbox. Tasks are popped one by one, never taken as a batch, so that a
//! nested loop goes on where the outer one stopped.
//!
//! Fair by construction: a task that wakes itself goes to the end, behind everybody who waits.

use std::ptr::{self, NonNull};

use crate::sync::Cell;
use crate::task::Header;

/// The list. It owns no references: the task table's keep queued tasks alive, [queued-once].
#[derive(Debug)]
pub(crate) struct RunQueue {
    head: Cell<*mut Header>,
    tail: Cell<*mut Header>,
}

impl RunQueue {
    pub(crate) fn new() -> RunQueue {
        RunQueue { head: Cell::new(ptr::null_mut()), tail: Cell::new(ptr::null_mut()) }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.get().is_null()
    }

    /// Appends a task.
    ///
    /// # Safety
    ///
    /// - The caller has just been told `Enqueue` by the task's state, so that it is in no queue,
    ///   [queued-once].
    /// - The task stays alive until it is popped.
    #[inline]
    pub(crate) unsafe fn push(&self, task: NonNull<Header>) {
        // SAFETY: the task is alive, by this function's contract.
        unsafe { task.as_ref() }.queue_next.set(ptr::null_mut());
        let last = self.tail.replace(task.as_ptr());
        match NonNull::new(last) {
            // SAFETY: queued tasks are alive, [queued-once].
            Some(last) => unsafe { last.as_ref() }.queue_next.set(task.as_ptr()),
            None => self.head.set(task.as_ptr()),
        }
    }

    /// Takes the task that has waited longest.
    #[inline]
    pub(crate) fn pop(&self) -> Option<NonNull<Header>> {
        let first = NonNull::new(self.head.get())?;
        // SAFETY: queued tasks are alive, [queued-once].
        let next = unsafe { first.as_ref() }.queue_next.get();
        self.head.set(next);
        if next.is_null() {
            self.tail.set(ptr::null_mut());
        }
        Some(first)
    }
}

#[cfg(test)]
mod tests;
