//! The memory of an executor's tasks, and with it the list of them.
//!
//! Each task has one *cell*. Cells of about one size lie side by side in a [`Chunk`], which is aligned to its size, so
//! that a cell's address tells where its chunk is, and the chunk tells whose it is. There is no other list of the tasks:
//! whoever wants to see them goes through the chunks (see [`TaskTable`](crate::task_table)).
//!
//! - *Home* takes and frees cells with a few plain instructions.
//! - A cell whose last reference goes on *another thread* is pushed on a lock-free stack, which home takes whole when a
//!   chunk has nothing to give.
//! - A *chunk* whose cells are all free is kept for the next burst, or given back to the allocator beyond [`KEEP`] of
//!   them. Readers on other threads hold a lock while they go through the chunks; home only tries to take it, and gives
//!   the chunk back another time if somebody reads. So no reader ever holds up the home thread.
//! - When the executor *ends*, cells can be in use still: by wakers and handles, on any thread. From then on they are
//!   counted, and whoever frees the last one lets go of the home, and with it of all chunks.
//!
//! Relies on: one home thread. It does not know what is in a cell but for its header.

mod chunk;
mod place;
mod shelf;

use std::iter;
use std::ptr::{self, NonNull};
use std::sync::{Arc, PoisonError, TryLockError};

use crossbeam_utils::CachePadded;

use self::chunk::Chunk;
use self::shelf::Shelf;
use crate::home::{self, Home};
use crate::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use crate::sync::{Cell, Mutex, MutexGuard};
use crate::task::Header;
use crate::thread_id;

pub(crate) use self::chunk::{Class, MAX_STAGE};
pub(crate) use self::place::Place;

/// Empty chunks that are kept: 8 MiB. A model gives each back at once.
const KEEP: usize = if cfg!(aio_loom) { 0 } else { 512 };

/// More than there can be cells: while the executor is open, nobody finds the last one.
const OPEN: usize = usize::MAX / 2;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Arena {
    thread: u32,
    /// All chunks, oldest first. Home writes; others read with the lock.
    first: AtomicPtr<chunk::Head>,
    /// Held by those that go through the chunks on other threads, and while a chunk is taken out.
    readers: Mutex<()>,
    /// Cells that were freed on other threads, linked through `queue_next`; [`closed`] after the end.
    freed_elsewhere: CachePadded<AtomicPtr<Header>>,
    /// After the end, the cells in use; before it, [`OPEN`].
    in_use: AtomicUsize,
    // Home only, from here on.
    last: Cell<Option<Chunk>>,
    /// The chunks that have free cells.
    shelves: [Shelf; Class::COUNT],
    /// The upper half of the ids of the tasks that come next.
    id_high: Cell<u32>,
    /// How many chunks have no cell in use.
    empty: Cell<usize>,
    /// Whether the executor has ended.
    closed: Cell<bool>,
    /// Whether a reference on the home was taken for the cells.
    holds_home: Cell<bool>,
}

/// A head of `freed_elsewhere` that means "closed". Never read through.
static CLOSED: u8 = 0;

fn closed() -> *mut Header {
    ptr::from_ref(&CLOSED).cast::<Header>().cast_mut()
}

impl Arena {
    /// An arena of this thread's.
    pub(crate) fn new() -> Arena {
        Arena {
            thread: thread_id::get_or_assign(),
            first: AtomicPtr::default(),
            readers: Mutex::new(()),
            freed_elsewhere: CachePadded::new(AtomicPtr::default()),
            in_use: AtomicUsize::new(OPEN),
            last: Cell::new(None),
            shelves: std::array::from_fn(|_| Shelf::default()),
            id_high: Cell::new(0),
            empty: Cell::new(0),
            closed: Cell::new(false),
            holds_home: Cell::new(false),
        }
    }

    /// All chunks, oldest first. Home, or with the lock.
    fn chunks(&self) -> impl Iterator<Item = Chunk> {
        // Acquire: pairs with the Release in `append`.
        let first = Chunk::from_raw(self.first.load(Ordering::Acquire));
        iter::successors(first, |chunk| chunk.next())
    }

    /// Calls `visit` with the place of each cell that was ever used. Any thread.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(Place)) {
        let _chunks_stay = (self.thread != thread_id::get()).then(|| lock(&self.readers));
        self.chunks().flat_map(Chunk::cells).for_each(|cell| visit(Place::of(cell)));
    }

    /// Counts a cell in use.
    #[inline]
    fn taken(&self, chunk: Chunk) {
        if chunk.count_taken() {
            self.empty.set(self.empty.get() - 1);
        }
    }

    /// What was freed on other threads comes back. Returns whether there was anything.
    fn collect(&self) -> bool {
        if self.closed.get() || !self.may_collect() {
            return false;
        }
        // Acquire: pairs with the Release in `free_elsewhere`: its thread is done with the cell.
        let newest = self.freed_elsewhere.swap(ptr::null_mut(), Ordering::Acquire);
        put_back(newest);
        !newest.is_null()
    }

    /// A look that costs less than an exchange. A model does without: loom forgets this look for that of the thread that
    /// pushes, and would not try what comes between.
    fn may_collect(&self) -> bool {
        cfg!(aio_loom) || !self.freed_elsewhere.load(Ordering::Relaxed).is_null()
    }

    /// A chunk with room comes into its list.
    fn list(&self, chunk: Chunk) {
        self.shelves[chunk.class().index()].push_front(chunk);
        chunk.set_simple(!self.closed.get());
    }

    fn unlist(&self, chunk: Chunk) {
        self.shelves[chunk.class().index()].remove(chunk);
        chunk.set_simple(false);
    }

    /// Whether tasks that come next may have cells of this chunk: all its tasks have the upper half of their ids in common.
    fn suits(&self, chunk: Chunk) -> bool {
        if chunk.is_empty() {
            chunk.set_id_high(self.id_high.get());
        }
        chunk.id_high() == self.id_high.get()
    }

    /// The ids that come next have another upper half: once in four billion tasks, or for a task that has brought its
    /// id from another executor.
    #[cold]
    fn turn_to(&self, id_high: u32) {
        self.id_high.set(id_high);
        for chunk in self.chunks() {
            if chunk.is_listed() {
                self.unlist(chunk);
            }
            if chunk.has_room() && self.suits(chunk) {
                self.list(chunk);
            }
        }
    }

    #[inline]
    fn emptied(&self, chunk: Chunk) {
        self.empty.set(self.empty.get() + 1);
        if !chunk.is_at_the_back() || self.empty.get() > KEEP {
            self.put_to_the_back(chunk);
        }
    }

    /// Empty chunks are taken last, so that they stay empty, and given back if there are many.
    fn put_to_the_back(&self, chunk: Chunk) {
        let shelf = &self.shelves[chunk.class().index()];
        shelf.remove(chunk);
        shelf.push_back(chunk);
        while self.empty.get() > KEEP {
            let Some(last) = shelf.back().filter(|chunk| chunk.is_empty()) else { return };
            if !self.give_back(last) {
                return;
            }
        }
    }

    /// Gives an empty chunk back to the allocator, unless somebody reads.
    fn give_back(&self, chunk: Chunk) -> bool {
        let alone = match self.readers.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        self.unlist(chunk);
        self.take_out(chunk);
        drop(alone);
        self.empty.set(self.empty.get() - 1);
        // SAFETY: [chunk-stays]: empty, in no list, and no reader has it: the lock was ours meanwhile.
        unsafe { chunk.free() };
        true
    }

    fn append(&self, chunk: Chunk) {
        let last = self.last.replace(Some(chunk));
        chunk.set_previous(last);
        // Release: pairs with the Acquire in `chunks` and `Chunk::next`; the new chunk's head was written before.
        match last {
            Some(last) => last.set_next(Some(chunk), Ordering::Release),
            None => self.first.store(chunk.as_ptr(), Ordering::Release),
        }
    }

    fn take_out(&self, chunk: Chunk) {
        let (previous, next) = (chunk.previous(), chunk.next());
        // Relaxed: readers are locked out, and what they will find was published before.
        match previous {
            Some(previous) => previous.set_next(next, Ordering::Relaxed),
            None => self.first.store(Chunk::into_raw(next), Ordering::Relaxed),
        }
        match next {
            Some(next) => next.set_previous(previous),
            None => self.last.set(previous),
        }
    }

    /// How many chunks there are, and how many of them are empty. Home.
    #[cfg(test)]
    pub(crate) fn census(&self) -> (usize, usize) {
        (self.chunks().count(), self.empty.get())
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let mut rest = Chunk::from_raw(self.first.load(Ordering::Acquire));
        while let Some(chunk) = rest {
            rest = chunk.next();
            // SAFETY: [chunk-stays]: the home goes, so no cell is in use, and nobody reads.
            unsafe { chunk.free() };
        }
    }
}

/// For a look of another thread's at the chunks.
fn lock(readers: &Mutex<()>) -> MutexGuard<'_, ()> {
    readers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A free cell, for a task with this upper half of its id. What was in it is gone, but for its header. Home.
#[inline]
pub(crate) fn allocate(home: &Arc<Home>, class: Class, id_high: u32) -> NonNull<Header> {
    let arena = home.arena();
    if arena.id_high.get() != id_high {
        arena.turn_to(id_high);
    }
    if arena.closed.get() {
        count_one_more(home);
    }
    let found = arena.shelves[class.index()].front().and_then(|chunk| {
        let cell = chunk.pop()?;
        arena.taken(chunk);
        Some(cell)
    });
    found.unwrap_or_else(|| allocate_slowly(home, class))
}

fn allocate_slowly(home: &Arc<Home>, class: Class) -> NonNull<Header> {
    let arena = home.arena();
    loop {
        let Some(chunk) = arena.shelves[class.index()].front() else {
            if !arena.collect() {
                add_chunk(home, class);
            }
            continue;
        };
        let mut cell = chunk.pop();
        if cell.is_none() {
            if arena.collect() {
                continue;
            }
            cell = chunk.carve();
        }
        if let Some(cell) = cell {
            arena.taken(chunk);
            return cell;
        }
        arena.unlist(chunk);
    }
}

#[cold]
fn add_chunk(home: &Arc<Home>, class: Class) {
    let arena = home.arena();
    let chunk = Chunk::new(home::pointer(home), arena.thread, class, arena.id_high.get());
    if !arena.closed.get() && !arena.holds_home.replace(true) {
        hold(home);
    }
    arena.append(chunk);
    arena.empty.set(arena.empty.get() + 1);
    arena.list(chunk);
}

/// Whether this is the home thread of a cell that is in use. Any thread.
#[inline]
pub(crate) fn is_home(cell: NonNull<Header>) -> bool {
    Chunk::of(cell).is_home()
}

/// The home of a cell that is in use. Any thread.
#[inline]
pub(crate) fn home_of(cell: NonNull<Header>) -> NonNull<Home> {
    Chunk::of(cell).home()
}

/// Frees a cell. Any thread.
///
/// # Safety
///
/// It came from [`allocate`], and nobody uses it any more.
#[inline]
pub(crate) unsafe fn free(cell: NonNull<Header>) {
    let chunk = Chunk::of(cell);
    if chunk.is_home() {
        free_at_home(chunk, cell);
    } else {
        // SAFETY: forwarded.
        unsafe { free_elsewhere(chunk.home(), cell) };
    }
}

#[inline]
fn free_at_home(chunk: Chunk, cell: NonNull<Header>) {
    chunk.push(cell);
    if !chunk.is_simple() {
        return settle(chunk);
    }
    if chunk.is_empty() {
        arena_of(chunk).emptied(chunk);
    }
}

/// What is left to do for a chunk that got a cell back while it was full, or while tasks have other ids than those in
/// it, or after the executor's end.
fn settle(chunk: Chunk) {
    let arena = arena_of(chunk);
    if !chunk.is_listed() && arena.suits(chunk) {
        arena.list(chunk);
    }
    if !arena.closed.get() {
        if chunk.is_empty() {
            arena.emptied(chunk);
        }
        return;
    }
    if chunk.is_empty() {
        // It stays: it goes with the home.
        arena.empty.set(arena.empty.get() + 1);
    }
    // SAFETY: [cells-hold-home]: the cell that just came back was counted.
    unsafe { count_one_less(chunk.home()) };
}

fn arena_of<'a>(chunk: Chunk) -> &'a Arena {
    // SAFETY: [cells-hold-home]: the callers are about a cell that is in use, or just was and is not yet counted.
    unsafe { chunk.home().as_ref() }.arena()
}

/// Frees what other threads had freed. Home.
fn put_back(mut newest: *mut Header) {
    while let Some(cell) = NonNull::new(newest) {
        // SAFETY: [cell-in-chunk]: the stack was taken whole, so that its cells are ours alone.
        newest = unsafe { cell.as_ref() }.queue_next.get();
        free_at_home(Chunk::of(cell), cell);
    }
}

/// # Safety
///
/// As for [`free`]; the cell is one of `home`'s.
unsafe fn free_elsewhere(home: NonNull<Home>, cell: NonNull<Header>) {
    // SAFETY: [cells-hold-home]: the cell is in use until it is pushed or counted.
    let stack = &unsafe { home.as_ref() }.arena().freed_elsewhere;
    let mut head = stack.load(Ordering::Relaxed);
    while head != closed() {
        // SAFETY: [cell-in-chunk]: the cell is this thread's until the exchange succeeds.
        unsafe { cell.as_ref() }.queue_next.set(head);
        // Release: pairs with the Acquire in `collect` and `close`: this thread is done with the cell.
        match stack.compare_exchange_weak(head, cell.as_ptr(), Ordering::Release, Ordering::Relaxed)
        {
            // The home may be gone from here on.
            Ok(_) => return,
            Err(now) => head = now,
        }
    }
    // SAFETY: [cells-hold-home]: the executor has ended, so that this cell is or will be counted, as one that is in use.
    unsafe { count_one_less(home) };
}

/// Takes the reference on the home that the cells in use have in common.
fn hold(home: &Arc<Home>) {
    let _the_cells_own_it = Arc::into_raw(Arc::clone(home));
}

/// A task is spawned on an executor that has ended. Home.
#[cold]
fn count_one_more(home: &Arc<Home>) {
    // Relaxed: a cell more, for whoever counts; `count_one_less` orders.
    if home.arena().in_use.fetch_add(1, Ordering::Relaxed) == 0 {
        // Whoever freed the last cell gave up the reference, or is about to.
        hold(home);
    }
}

/// A cell was freed after the executor's end. Any thread. The last one lets go of the home.
///
/// # Safety
///
/// `home` came from [`home::pointer`], and the cell was one of its own.
unsafe fn count_one_less(home: NonNull<Home>) {
    // SAFETY: [cells-hold-home]: the cell counts until the next line.
    let in_use = &unsafe { home.as_ref() }.arena().in_use;
    // Release: this thread is done with the cell. Acquire: for whoever frees the memory, with it.
    if in_use.fetch_sub(1, Ordering::AcqRel) == 1 {
        // SAFETY: [cells-hold-home]: no cell is in use any more, so `hold`'s reference is ours.
        unsafe { Arc::decrement_strong_count(home.as_ptr()) };
    }
}

/// The end of the executor: gives back what it can, and has what is in use counted. Home.
pub(crate) fn close(home: &Arc<Home>) {
    let arena = home.arena();
    if arena.closed.get() {
        return;
    }
    // Acquire: as in `collect`. From here on other threads count what they free, perhaps before the count begins.
    put_back(arena.freed_elsewhere.swap(closed(), Ordering::Acquire));
    arena.closed.set(true);
    let mut taken = 0;
    let mut rest = arena.chunks().next();
    while let Some(chunk) = rest {
        rest = chunk.next();
        chunk.set_simple(false);
        taken += chunk.in_use();
        if chunk.is_empty() {
            // If somebody reads, it goes with the home.
            let _given_back = arena.give_back(chunk);
        }
    }
    let freed = OPEN - taken;
    // As in `count_one_less`.
    if arena.in_use.fetch_sub(freed, Ordering::AcqRel) == freed && arena.holds_home.get() {
        // SAFETY: [cells-hold-home]: no cell is in use, so `hold`'s reference is ours. `home` is another one.
        unsafe { Arc::decrement_strong_count(Arc::as_ptr(home)) };
    }
}

#[cfg(test)]
mod tests;
