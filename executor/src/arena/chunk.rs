//! A chunk: cells of one size class, side by side behind a head.
//!
//! Threads: what the head says of its owner is never written again, and is read by any; the links and the ids' upper half
//! are atomic; the rest is the home thread's.

use std::alloc::{Layout, handle_alloc_error};
use std::ops::Deref;
use std::ptr::{self, NonNull};

use crate::home::Home;
use crate::sync::atomic::{AtomicPtr, AtomicU32, Ordering, fence};
use crate::sync::{Cell, alloc, dealloc};
use crate::task::Header;
use crate::thread_id;

/// Chunks are aligned to this, and almost as long.
const CHUNK: usize = 16 * 1024;
/// What malloc keeps in front of each block: with it, chunks lie side by side.
const MALLOC: usize = 16;
/// The first cell: behind the head, on a cache line of its own.
const FIRST: usize = size_of::<Head>().next_multiple_of(64);

/// Sizes of cells are multiples of this, and so are their addresses.
const STEP: usize = 16;
/// The largest and the most strictly aligned thing that fits into a cell behind the header; what does not is boxed.
pub(crate) const MAX_STAGE: Layout = match Layout::from_size_align(960, STEP) {
    Ok(layout) => layout,
    Err(_) => panic!("a small size is valid"),
};

/// A size class of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class(usize);

impl Class {
    pub(super) const COUNT: usize = (size_of::<Header>() + MAX_STAGE.size()).div_ceil(STEP) + 2;

    /// The class for a cell of that layout.
    pub(crate) const fn of(cell: Layout) -> Class {
        let class = Class(cell.size().div_ceil(STEP));
        assert!(class.0 < Class::COUNT && cell.align() <= STEP, "what is large is boxed");
        class
    }

    #[inline]
    pub(super) fn index(self) -> usize {
        self.0
    }

    fn stride(self) -> usize {
        self.0 * STEP
    }
}

/// What a chunk begins with.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Head {
    // Never written again. On a line of its own, since each wake-up on another thread reads it.
    home: NonNull<Home>,
    thread: u32,
    class: Class,
    // Home writes, others read.
    next: AtomicPtr<Head>,
    id_high: AtomicU32,
    own: Own,
}

/// The home thread's part of the head.
#[derive(Debug)]
#[repr(align(64))]
struct Own {
    /// Cells that were used and are free, linked through `queue_next`.
    free: Cell<*mut Header>,
    /// How many cells were ever used, from the first one on. Others read it.
    carved: AtomicU32,
    capacity: u32,
    in_use: Cell<u32>,
    /// Whether a cell that is freed at home only has to come into `free`.
    simple: Cell<bool>,
    listed: Cell<bool>,
    previous: Cell<Option<Chunk>>,
    /// The neighbours on the shelf.
    before: Cell<Option<Chunk>>,
    behind: Cell<Option<Chunk>>,
}

/// A chunk that is there, [chunk-stays].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk(NonNull<Head>);

impl Deref for Chunk {
    type Target = Head;

    #[inline]
    fn deref(&self) -> &Head {
        // SAFETY: [chunk-stays]: the arena uses a chunk no longer than it is there.
        unsafe { self.0.as_ref() }
    }
}

const fn layout() -> Layout {
    match Layout::from_size_align(CHUNK - MALLOC, CHUNK) {
        Ok(layout) => layout,
        Err(_) => panic!("the size of a chunk is valid"),
    }
}

impl Chunk {
    /// A chunk without cells in use.
    pub(super) fn new(home: NonNull<Home>, thread: u32, class: Class, id_high: u32) -> Chunk {
        // SAFETY: [cell-in-chunk]: a chunk's size is not zero.
        let memory = unsafe { alloc(layout()) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout()) };
        let own = Own {
            free: Cell::new(ptr::null_mut()),
            carved: AtomicU32::new(0),
            // Fits: a chunk is small.
            capacity: ((layout().size() - FIRST) / class.stride()) as u32,
            in_use: Cell::new(0),
            simple: Cell::new(false),
            listed: Cell::new(false),
            previous: Cell::new(None),
            before: Cell::new(None),
            behind: Cell::new(None),
        };
        let (next, id_high) = (AtomicPtr::default(), AtomicU32::new(id_high));
        let head = memory.cast::<Head>();
        // SAFETY: [cell-in-chunk]: the memory is ours, long and aligned enough.
        unsafe { head.write(Head { home, thread, class, next, id_high, own }) };
        Chunk(head)
    }

    /// # Safety
    ///
    /// None of its cells is in use, and nobody will look at it, [chunk-stays].
    pub(super) unsafe fn free(self) {
        // SAFETY: [chunk-stays]: allocated with this layout, and unused by this function's contract.
        unsafe { dealloc(self.0.as_ptr().cast(), layout()) };
    }

    /// The chunk of a cell.
    #[inline]
    pub(super) fn of(cell: NonNull<Header>) -> Chunk {
        let offset = cell.as_ptr() as usize % CHUNK;
        // SAFETY: [cell-in-chunk]: it lies in a chunk, for the whole of which its pointer is good.
        let head = unsafe { cell.as_ptr().byte_sub(offset) };
        // SAFETY: [cell-in-chunk]: the start of an allocation is not null.
        Chunk(unsafe { NonNull::new_unchecked(head) }.cast())
    }

    pub(super) fn from_raw(head: *mut Head) -> Option<Chunk> {
        NonNull::new(head).map(Chunk)
    }

    pub(super) fn into_raw(chunk: Option<Chunk>) -> *mut Head {
        chunk.map_or(ptr::null_mut(), Chunk::as_ptr)
    }

    pub(super) fn as_ptr(self) -> *mut Head {
        self.0.as_ptr()
    }

    fn cell(self, index: u32) -> NonNull<Header> {
        let offset = FIRST + index as usize * self.class.stride();
        debug_assert!(offset + self.class.stride() <= layout().size(), "cells end with the chunk");
        // SAFETY: [cell-in-chunk]: within the chunk.
        let cell = unsafe { self.0.as_ptr().byte_add(offset) };
        // SAFETY: [cell-in-chunk]: not at the start of an allocation, so not null.
        unsafe { NonNull::new_unchecked(cell) }.cast()
    }

    /// The cells that were ever used. Any thread.
    pub(super) fn cells(self) -> impl Iterator<Item = NonNull<Header>> {
        // Acquire: pairs with the Release in `carve`; their headers were written before.
        (0..self.own.carved.load(Ordering::Acquire)).map(move |index| self.cell(index))
    }

    /// A cell that was never used. Its header is new. Home.
    pub(super) fn carve(self) -> Option<NonNull<Header>> {
        let carved = self.own.carved.load(Ordering::Relaxed);
        if carved == self.own.capacity {
            return None;
        }
        let cell = self.cell(carved);
        // SAFETY: [cell-in-chunk]: nobody knows of the cell yet.
        unsafe { cell.write(Header::vacant()) };
        // Release: pairs with the Acquire in `cells`.
        self.own.carved.store(carved + 1, Ordering::Release);
        Some(cell)
    }

    /// Takes a free cell that was used before. Home.
    #[inline]
    pub(super) fn pop(self) -> Option<NonNull<Header>> {
        let cell = NonNull::new(self.own.free.get())?;
        // SAFETY: [cell-in-chunk]: what is in the list is free, and home's alone but for its shared words.
        self.own.free.set(unsafe { cell.as_ref() }.queue_next.get());
        Some(cell)
    }

    /// Takes back a cell. Home.
    #[inline]
    pub(super) fn push(self, cell: NonNull<Header>) {
        // SAFETY: [cell-in-chunk]: it was just freed, so it is ours.
        unsafe { cell.as_ref() }.queue_next.set(self.own.free.replace(cell.as_ptr()));
        self.own.in_use.set(self.own.in_use.get() - 1);
    }

    /// Counts a cell in use. Returns whether it is the first. Home.
    #[inline]
    pub(super) fn count_taken(self) -> bool {
        self.own.in_use.replace(self.own.in_use.get() + 1) == 0
    }

    /// The next chunk of the arena. Home, or with the lock.
    pub(super) fn next(self) -> Option<Chunk> {
        // Acquire: pairs with the Release in `Arena::append`.
        Chunk::from_raw(self.next.load(Ordering::Acquire))
    }

    pub(super) fn set_next(self, next: Option<Chunk>, order: Ordering) {
        self.next.store(Chunk::into_raw(next), order);
    }
}

impl Head {
    /// Whether this is its home thread. Any thread.
    #[inline]
    pub(super) fn is_home(&self) -> bool {
        self.thread == thread_id::get()
    }

    /// Any thread.
    #[inline]
    pub(super) fn home(&self) -> NonNull<Home> {
        self.home
    }

    /// The upper half of the ids of its tasks. Any thread.
    #[inline]
    pub(super) fn id_high(&self) -> u32 {
        // Relaxed: it changes only while no task of the chunk is listed, and the ids order the rest.
        self.id_high.load(Ordering::Relaxed)
    }

    // Home, from here on.

    pub(super) fn set_id_high(&self, id_high: u32) {
        // Pairs with the fence in `Header::read`: who reads the new one finds the tasks gone that had the old one.
        fence(Ordering::Release);
        self.id_high.store(id_high, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn class(&self) -> Class {
        self.class
    }

    pub(super) fn has_room(&self) -> bool {
        !self.own.free.get().is_null()
            || self.own.carved.load(Ordering::Relaxed) < self.own.capacity
    }

    pub(super) fn in_use(&self) -> usize {
        self.own.in_use.get() as usize
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.own.in_use.get() == 0
    }

    #[inline]
    pub(super) fn is_simple(&self) -> bool {
        self.own.simple.get()
    }

    pub(super) fn set_simple(&self, simple: bool) {
        self.own.simple.set(simple);
    }

    pub(super) fn is_listed(&self) -> bool {
        self.own.listed.get()
    }

    #[inline]
    pub(super) fn is_at_the_back(&self) -> bool {
        self.own.behind.get().is_none()
    }

    pub(super) fn previous(&self) -> Option<Chunk> {
        self.own.previous.get()
    }

    pub(super) fn set_previous(&self, previous: Option<Chunk>) {
        self.own.previous.set(previous);
    }

    pub(super) fn set_listed(&self, listed: bool) {
        self.own.listed.set(listed);
    }

    pub(super) fn before(&self) -> &Cell<Option<Chunk>> {
        &self.own.before
    }

    pub(super) fn behind(&self) -> &Cell<Option<Chunk>> {
        &self.own.behind
    }
}
