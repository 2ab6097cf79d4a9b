//! The part of an executor that its tasks and wakers know.
//!
//! One [`Home`] per executor, shared by the executor, its tasks' cells and every handle
//! that may send it something; it goes when the last of them goes, so a waker that outlives its
//! executor still finds an inbox, a closed one. The run queue belongs to the home
//! thread; the inbox and the doorbell to everybody; the table of tasks says for itself.
//!
//! It knows neither an event loop nor C: the doorbell is a trait object.

use std::cell::Cell;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::arena::Arena;
use crate::inbox::{Inbox, Job, Pushed};
use crate::observe::{self, What};
use crate::run_queue::RunQueue;
use crate::task::Kinds;
use crate::task_table::TaskTable;
use crate::thread_id;

/// How an executor asks its event loop to be run.
pub(crate) trait Doorbell: Send + Sync {
    /// Makes the loop call the executor soon. Any thread; must not block or allocate.
    fn ring(&self);
}

/// The doorbell needs ringing for a task that becomes ready at home.
const IDLE: u8 = 1 << 0;
/// Observers want to know of it.
const OBSERVED: u8 = 1 << 1;

/// What an executor shares with its tasks. See the module's documentation.
pub(crate) struct Home {
    inbox: Inbox,
    /// Padded: each wake elsewhere reads it, and each poll at home writes to what is beside it otherwise.
    thread: CachePadded<u32>,
    doorbell: Box<dyn Doorbell>,
    table: TaskTable,
    // Home thread only, from here on.
    queue: RunQueue,
    kinds: Kinds,
    /// Who cares for a task that becomes ready at home: see `IDLE` and `OBSERVED`.
    attention: Cell<u8>,
}

// SAFETY: [home-thread]: the run queue, the table, the kinds and `attention` are the obstacle; each function that
// touches them is documented as "home" and called under `is_home`, or by the executor, which does
// not leave its thread. Their memory may be freed anywhere, once nobody uses it.
unsafe impl Send for Home {}
// SAFETY: as for `Send`; the inbox and the doorbell are `Sync` themselves.
unsafe impl Sync for Home {}

impl Home {
    /// A home on this thread.
    pub(crate) fn new(doorbell: Box<dyn Doorbell>) -> Arc<Home> {
        Arc::new(Home {
            inbox: Inbox::new(),
            thread: CachePadded::new(thread_id::get_or_assign()),
            doorbell,
            table: TaskTable::new(),
            queue: RunQueue::new(),
            kinds: Kinds::new(),
            attention: Cell::new(IDLE),
        })
    }

    /// Whether the calling thread is the home thread. Any thread, at any time.
    #[inline]
    pub(crate) fn is_home(&self) -> bool {
        *self.thread == thread_id::get()
    }

    /// The number of the home thread.
    pub(crate) fn thread(&self) -> u32 {
        *self.thread
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    #[inline]
    pub(crate) fn table(&self) -> &TaskTable {
        &self.table
    }

    #[inline]
    pub(crate) fn arena(&self) -> &Arena {
        self.table.arena()
    }

    /// Home.
    #[inline]
    pub(crate) fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// Home.
    #[inline]
    pub(crate) fn queue(&self) -> &RunQueue {
        &self.queue
    }

    /// A task was queued at home: rings if nobody is running the queue, and tells observers. Home.
    #[inline]
    pub(crate) fn queued(&self, task: impl FnOnce() -> u64) {
        if self.attention.get() != 0 {
            self.attend(task);
        }
    }

    #[cold]
    #[inline(never)]
    fn attend(&self, task: impl FnOnce() -> u64) {
        self.ring_if_idle();
        if self.attention.get() & OBSERVED != 0 {
            observe::report(task(), What::Ready);
        }
    }

    /// Rings if nobody is running the queue. Home.
    #[inline]
    pub(crate) fn ring_if_idle(&self) {
        if self.attention.get() & IDLE != 0 {
            self.set_idle(false);
            self.doorbell.ring();
        }
    }

    /// Says whether the queue will be looked at without a ring. Returns what held before. Home.
    pub(crate) fn set_idle(&self, idle: bool) -> bool {
        let before = self.attention.get();
        self.attention.set(before & !IDLE | if idle { IDLE } else { 0 });
        before & IDLE != 0
    }

    /// Reports to observers what is queued from now on. Home.
    pub(crate) fn set_observed(&self) {
        self.attention.set(self.attention.get() | OBSERVED);
    }

    /// Rings. Any thread.
    pub(crate) fn ring(&self) {
        self.doorbell.ring();
    }

    /// Sends a closure to be run by the executor, or gives it back if the executor is gone.
    /// Any thread.
    pub(crate) fn send(&self, job: Job) -> Result<(), Job> {
        if job.push_to(&self.inbox)? == Pushed::First {
            self.doorbell.ring();
        }
        Ok(())
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home").field("thread", &*self.thread).finish_non_exhaustive()
    }
}

/// The home as a cell knows it: a pointer to all of the `Arc`, its counts included, which one that was made of a
/// `&Home` would not be.
#[inline]
pub(crate) fn pointer(home: &Arc<Home>) -> NonNull<Home> {
    // SAFETY: an `Arc` is never null.
    unsafe { NonNull::new_unchecked(Arc::as_ptr(home).cast_mut()) }
}

#[cfg(test)]
mod tests;
