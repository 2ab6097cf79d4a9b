//! The table of an executor's tasks.
//!
//! Every live task has a place, which owns the reference that keeps the task alive. The home thread enters
//! and removes without a lock and without an atomic read-modify-write; any thread may list meanwhile, so
//! that an out-of-band monitor command can tell what a stuck main loop is doing.
//!
//! A place is a *sequence lock* whose sequence is the task's id, which is never used twice: a reader who finds
//! the same id before and after it has read the rest has read what belongs together. All fields are atomic,
//! so that a reader who comes too late reads stale values, not torn ones.
//!
//! Places come in chunks that stay where they are for as long as the table lives. Growing is one allocation
//! of a chunk: nothing is copied, and nobody waits while a million tasks are moved.
//!
//! Names are aside, behind a lock: most tasks have none.

use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::{Arc, OnceLock, PoisonError};

use crate::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
use crate::sync::{Mutex, MutexGuard};
use crate::task::{TaskLabel, TaskRef};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct TaskTable {
    chunks: Chunk,
    /// The places that were used before, linked through `task`. Home.
    free: AtomicPtr<Slot>,
    /// The chunk that has places which were never used. Home.
    last: AtomicPtr<Chunk>,
    /// How many of its places were used. Home.
    used: AtomicUsize,
    names: Mutex<HashMap<u64, Arc<str>>>,
}

/// Where a task is in its executor's table. Valid while the table is there, [place-in-table].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(NonNull<Slot>);

impl Place {
    /// The task's id.
    ///
    /// # Safety
    ///
    /// The table is there.
    pub(crate) unsafe fn id(self) -> u64 {
        // SAFETY: [place-in-table]: by this function's contract.
        unsafe { self.0.as_ref() }.id.load(Ordering::Relaxed)
    }
}

/// A place for one task.
#[derive(Debug)]
struct Slot {
    /// The task's id; 0 while there is none.
    id: AtomicU64,
    /// A `&'static Location`.
    spawned_at: AtomicPtr<Location<'static>>,
    /// The task's reference, from `TaskRef::into_raw`; the next free place while there is none. Home.
    task: AtomicPtr<()>,
    /// How often the task was polled.
    polls: AtomicU32,
    /// Whether there is a name for the id.
    named: AtomicBool,
}

/// Some places, and more of them.
#[derive(Debug)]
struct Chunk {
    slots: Box<[Slot]>,
    next: OnceLock<Box<Chunk>>,
}

// A model reads the whole table, in every order.
const FIRST_CHUNK: usize = if cfg!(aio_loom) { 2 } else { 64 };
/// Chunks double up to this size: what a large table does not use is little, and a chunk is made in
/// microseconds.
const LARGEST_CHUNK: usize = 1024;

/// What the table tells about a task.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) label: TaskLabel,
    pub(crate) polls: u32,
}

impl TaskTable {
    pub(crate) fn new() -> Arc<TaskTable> {
        let table = Arc::new(TaskTable {
            chunks: Chunk::new(FIRST_CHUNK),
            free: AtomicPtr::default(),
            last: AtomicPtr::default(),
            used: AtomicUsize::new(0),
            names: Mutex::default(),
        });
        // Relaxed, as everything of the home thread's own.
        table.last.store(ptr::from_ref(&table.chunks).cast_mut(), Ordering::Relaxed);
        table
    }

    fn names(&self) -> MutexGuard<'_, HashMap<u64, Arc<str>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place that is free, and stays so until [`enter`](Self::enter). Home.
    #[inline]
    pub(crate) fn vacant(&self) -> Place {
        match NonNull::new(self.free.load(Ordering::Relaxed)) {
            Some(slot) => Place(slot),
            None => self.fresh(),
        }
    }

    /// Puts a place that was never used into the list of free ones, which is empty.
    fn fresh(&self) -> Place {
        let used = self.used.load(Ordering::Relaxed);
        // SAFETY: [place-in-table]: set by `new` and `grow` to a chunk of this table.
        let mut chunk = unsafe { &*self.last.load(Ordering::Relaxed) };
        let used = if used < chunk.slots.len() {
            used
        } else {
            chunk = self.grow(chunk);
            0
        };
        self.used.store(used + 1, Ordering::Relaxed);
        let slot = NonNull::from(&chunk.slots[used]);
        self.free.store(slot.as_ptr(), Ordering::Relaxed);
        Place(slot)
    }

    #[cold]
    fn grow<'a>(&self, last: &'a Chunk) -> &'a Chunk {
        let size = (last.slots.len() * 2).min(LARGEST_CHUNK);
        let chunk: &Chunk = last.next.get_or_init(|| Box::new(Chunk::new(size)));
        self.last.store(ptr::from_ref(chunk).cast_mut(), Ordering::Relaxed);
        chunk
    }

    /// Enters a task at the place that [`vacant`](Self::vacant) has just given. Home.
    #[inline]
    pub(crate) fn enter(&self, place: Place, label: TaskLabel, task: TaskRef) {
        let TaskLabel { id, name, spawned_at } = label;
        let slot = self.slot(place);
        debug_assert!(self.free.load(Ordering::Relaxed) == place.0.as_ptr(), "taken from `vacant`");
        self.free.store(slot.task.load(Ordering::Relaxed).cast(), Ordering::Relaxed);
        let named = name.is_some();
        if let Some(name) = name {
            self.names().insert(id, name);
        }
        // Pairs with the fence in `Slot::read`: who reads one of these finds the id 0, or the new one.
        fence(Ordering::Release);
        slot.spawned_at.store(ptr::from_ref(spawned_at).cast_mut(), Ordering::Relaxed);
        slot.task.store(task.into_raw().cast_mut(), Ordering::Relaxed);
        slot.polls.store(0, Ordering::Relaxed);
        slot.named.store(named, Ordering::Relaxed);
        // Release: pairs with the Acquire in `Slot::read`.
        slot.id.store(id, Ordering::Release);
    }

    /// Removes a complete task and hands out the table's reference. Home.
    #[inline]
    pub(crate) fn remove(&self, place: Place) -> TaskRef {
        let slot = self.slot(place);
        if slot.named.load(Ordering::Relaxed) {
            self.names().remove(&slot.id.load(Ordering::Relaxed));
        }
        slot.id.store(0, Ordering::Relaxed);
        let task = slot.task.load(Ordering::Relaxed);
        slot.task.store(self.free.load(Ordering::Relaxed).cast(), Ordering::Relaxed);
        self.free.store(place.0.as_ptr(), Ordering::Relaxed);
        // SAFETY: [waker-is-ref]: `enter` stored it, and the place gives it up here.
        unsafe { TaskRef::from_raw(task) }
    }

    /// Counts a poll. Home.
    #[inline]
    pub(crate) fn count_poll(&self, place: Place) {
        let polls = &self.slot(place).polls;
        // Not a read-modify-write: only this thread writes.
        polls.store(polls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Which task is there. Home, before the task is removed.
    pub(crate) fn id(&self, place: Place) -> u64 {
        self.slot(place).id.load(Ordering::Relaxed)
    }

    #[inline]
    fn slot(&self, place: Place) -> &Slot {
        // SAFETY: [place-in-table]: chunks stay where they are until the table goes.
        unsafe { place.0.as_ref() }
    }

    /// Which task this is. Home, before the task is removed.
    pub(crate) fn label(&self, place: Place) -> Option<TaskLabel> {
        self.row(self.slot(place)).map(|row| row.label)
    }

    fn row(&self, slot: &Slot) -> Option<Row> {
        let (id, spawned_at, polls, named) = slot.read()?;
        let name = if named { self.names().get(&id).cloned() } else { None };
        Some(Row { label: TaskLabel { id, name, spawned_at }, polls })
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        let chunks = std::iter::successors(Some(&self.chunks), |chunk| chunk.next());
        chunks.flat_map(|chunk| &chunk.slots[..])
    }

    /// All tasks. Any thread.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.slots().filter_map(|slot| self.row(slot)).collect()
    }

    /// References on all tasks, or on that of an id. Home.
    pub(crate) fn tasks(&self, id: Option<u64>) -> Vec<TaskRef> {
        let wanted = |slot: &&Slot| match (slot.id.load(Ordering::Relaxed), id) {
            (0, _) => false,
            (here, wanted) => wanted.is_none_or(|wanted| wanted == here),
        };
        self.slots().filter(wanted).map(Slot::task).collect()
    }

    /// Whether there is a task of that id. Any thread.
    pub(crate) fn has(&self, id: u64) -> bool {
        self.slots().any(|slot| slot.id.load(Ordering::Relaxed) == id)
    }
}

impl Drop for TaskTable {
    fn drop(&mut self) {
        // Survivors: tasks that were on the stack when their executor ended, or spawned without end.
        let survivors: Vec<_> = self.slots().filter(|slot| slot.is_taken()).collect();
        for slot in survivors {
            let task = slot.task.load(Ordering::Relaxed);
            // SAFETY: [waker-is-ref]: `enter` stored it, and the place is gone after this.
            drop(unsafe { TaskRef::from_raw(task) });
        }
    }
}

impl Slot {
    fn new() -> Slot {
        Slot {
            id: AtomicU64::new(0),
            spawned_at: AtomicPtr::default(),
            task: AtomicPtr::default(),
            polls: AtomicU32::new(0),
            named: AtomicBool::new(false),
        }
    }

    fn is_taken(&self) -> bool {
        self.id.load(Ordering::Relaxed) != 0
    }

    /// The id, the line, the polls, and whether there is a name. Any thread.
    fn read(&self) -> Option<(u64, &'static Location<'static>, u32, bool)> {
        // Acquire: pairs with the Release in `enter`.
        let id = self.id.load(Ordering::Acquire);
        let spawned_at = self.spawned_at.load(Ordering::Relaxed);
        let polls = self.polls.load(Ordering::Relaxed);
        let named = self.named.load(Ordering::Relaxed);
        // Pairs with the fence in `enter`: if one of these is a later task's, so is the id now.
        fence(Ordering::Acquire);
        if id == 0 || self.id.load(Ordering::Relaxed) != id {
            return None;
        }
        // SAFETY: [place-in-table]: `enter` stored a static location before the id.
        Some((id, unsafe { &*spawned_at }, polls, named))
    }

    /// A reference of the caller's own. Home, while the place is taken.
    fn task(&self) -> TaskRef {
        let task = self.task.load(Ordering::Relaxed);
        // SAFETY: [waker-is-ref]: the place's reference, which stays the place's.
        let task = ManuallyDrop::new(unsafe { TaskRef::from_raw(task) });
        TaskRef::clone(&task)
    }
}

impl Chunk {
    fn new(size: usize) -> Chunk {
        let slots = std::iter::repeat_with(Slot::new).take(size).collect();
        Chunk { slots, next: OnceLock::new() }
    }

    fn next(&self) -> Option<&Chunk> {
        self.next.get().map(|next| &**next)
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // One by one: chunks that drop their next would recurse.
        let mut next = self.next.take();
        while let Some(mut chunk) = next {
            next = chunk.next.take();
        }
    }
}

#[cfg(test)]
mod tests;
