//! The part of an executor that its tasks and wakers know.
//!
//! One [`Home`] per executor, shared by the executor, every task cell made for it and every handle
//! that may send it something; it goes when the last of them goes, so a waker that outlives its
//! executor still finds an inbox, a closed one. The run queue and the cell pool belong to the home
//! thread; the inbox and the doorbell to everybody.
//!
//! It knows neither an event loop nor C: the doorbell is a trait object.

use std::alloc::{Layout, handle_alloc_error};
use std::cell::Cell;
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::inbox::{Inbox, Job, Pushed};
use crate::run_queue::RunQueue;
use crate::sync::{alloc, dealloc};
use crate::thread_id;

/// How an executor asks its event loop to be run.
pub(crate) trait Doorbell: Send + Sync {
    /// Makes the loop call the executor soon. Any thread; must not block or allocate.
    fn ring(&self);
}

/// What an executor shares with its tasks. See the module's documentation.
pub(crate) struct Home {
    inbox: Inbox,
    /// Padded: each wake elsewhere reads it, and each poll at home writes to what is beside it otherwise.
    thread: CachePadded<u32>,
    doorbell: Box<dyn Doorbell>,
    // Home thread only, from here on.
    queue: RunQueue,
    pool: Pool,
    /// Whether the doorbell needs ringing for a task that becomes ready at home.
    idle: Cell<bool>,
}

// SAFETY: [home-thread]: the run queue, the pool and `idle` are the obstacle; each function that
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
            queue: RunQueue::new(),
            pool: Pool::new(),
            idle: Cell::new(true),
        })
    }

    /// Whether the calling thread is the home thread. Any thread, at any time.
    #[inline]
    pub(crate) fn is_home(&self) -> bool {
        *self.thread == thread_id::get()
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Home.
    #[inline]
    pub(crate) fn queue(&self) -> &RunQueue {
        &self.queue
    }

    /// Rings for a task that was queued at home, if nobody is running the queue. Home.
    #[inline]
    pub(crate) fn ring_if_idle(&self) {
        if self.idle.get() {
            self.idle.set(false);
            self.doorbell.ring();
        }
    }

    /// Says whether the queue will be looked at without a ring. Returns what held before. Home.
    pub(crate) fn set_idle(&self, idle: bool) -> bool {
        self.idle.replace(idle)
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

/// Size classes are this far apart, and each is as much larger than a multiple of it as what malloc's blocks
/// lose to their headers.
const CLASS: usize = 16;
const OFFSET: usize = 8;
const CLASSES: usize = 33;
/// Blocks kept for reuse in each size class.
const KEEP: usize = 4096;

/// Memory for task cells.
///
/// A block freed at home is kept for the next task of about its size, which saves the allocator's
/// work on both ends of a task's life; a block freed elsewhere goes straight back to the allocator.
/// Each block counts as one reference on the [`Home`], whether a task lives in it or not.
#[derive(Debug)]
struct Pool {
    free: [Cell<*mut FreeBlock>; CLASSES],
    kept: [Cell<usize>; CLASSES],
    closed: Cell<bool>,
}

#[derive(Debug)]
struct FreeBlock {
    next: *mut FreeBlock,
}

/// A cell's block: its real layout, and its size class if it can be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    layout: Layout,
    class: Option<usize>,
}

impl Block {
    /// The block for a cell of that layout.
    pub(crate) const fn of(cell: Layout) -> Block {
        let class = cell.size().saturating_sub(OFFSET).div_ceil(CLASS);
        if class >= CLASSES || cell.align() > CLASS {
            return Block { layout: cell, class: None };
        }
        Block { layout: class_layout(class), class: Some(class) }
    }
}

const fn class_layout(class: usize) -> Layout {
    match Layout::from_size_align(class * CLASS + OFFSET, CLASS) {
        Ok(layout) => layout,
        Err(_) => panic!("small sizes are valid"),
    }
}

impl Pool {
    fn new() -> Pool {
        Pool {
            free: [const { Cell::new(ptr::null_mut()) }; CLASSES],
            kept: [const { Cell::new(0) }; CLASSES],
            closed: Cell::new(false),
        }
    }

    fn take(&self, class: usize) -> Option<NonNull<u8>> {
        let block = NonNull::new(self.free[class].get())?;
        // SAFETY: [home-thread]: kept blocks are ours, and hold a `FreeBlock` since `keep`.
        let next = unsafe { block.as_ref() }.next;
        self.free[class].set(next);
        self.kept[class].set(self.kept[class].get() - 1);
        Some(block.cast())
    }

    fn keep(&self, class: usize, block: NonNull<u8>) -> bool {
        if self.closed.get() || self.kept[class].get() == KEEP {
            return false;
        }
        let block = block.cast::<FreeBlock>();
        // SAFETY: the block is unused, at least `CLASS` bytes long and as strictly aligned.
        unsafe { block.write(FreeBlock { next: self.free[class].get() }) };
        self.free[class].set(block.as_ptr());
        self.kept[class].set(self.kept[class].get() + 1);
        true
    }
}

/// Memory for a task cell. It counts as a reference on `home`. Home.
#[inline]
pub(crate) fn allocate(home: &Arc<Home>, block: Block) -> NonNull<u8> {
    let kept = block.class.and_then(|class| home.pool.take(class));
    kept.unwrap_or_else(|| allocate_new(home, block.layout))
}

fn allocate_new(home: &Arc<Home>, layout: Layout) -> NonNull<u8> {
    // SAFETY: a cell has a header, so the size is not zero.
    let memory = unsafe { alloc(layout) };
    let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
    let _counted_by_the_block = Arc::into_raw(Arc::clone(home));
    memory
}

/// The home as a cell knows it: a pointer to all of the `Arc`, its counts included, which one that was made of a
/// `&Home` would not be.
#[inline]
pub(crate) fn pointer(home: &Arc<Home>) -> NonNull<Home> {
    // SAFETY: an `Arc` is never null.
    unsafe { NonNull::new_unchecked(Arc::as_ptr(home).cast_mut()) }
}

/// Frees a cell's memory. Any thread.
///
/// # Safety
///
/// - `home` came from [`pointer()`].
/// - `memory` came from [`allocate`] for the same home and block, and nobody uses it any more.
#[inline]
pub(crate) unsafe fn free(home: NonNull<Home>, memory: NonNull<u8>, block: Block) {
    // SAFETY: the block counts as a reference on its home.
    let shared = unsafe { home.as_ref() };
    if let Some(class) = block.class {
        if shared.is_home() && shared.pool.keep(class, memory) {
            return;
        }
    }
    // SAFETY: allocated with this very layout.
    unsafe { dealloc(memory.as_ptr(), block.layout) };
    // SAFETY: `allocate` left the block this count, by `Arc::into_raw`.
    unsafe { Arc::decrement_strong_count(home.as_ptr()) };
}

/// Gives the kept blocks back to the allocator, for good. Home; `home` keeps a reference of its own.
pub(crate) fn close_pool(home: &Arc<Home>) {
    home.pool.closed.set(true);
    for class in 0..CLASSES {
        while let Some(block) = home.pool.take(class) {
            let layout = class_layout(class);
            // SAFETY: kept blocks were allocated with this layout and are unused.
            unsafe { dealloc(block.as_ptr(), layout) };
            // SAFETY: each block counts as a reference, by `Arc::into_raw` in `allocate`.
            unsafe { Arc::decrement_strong_count(Arc::as_ptr(home)) };
        }
    }
}

#[cfg(test)]
mod tests;
