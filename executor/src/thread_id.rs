//! A number for the thread, cheap to read and never used twice.
//!
//! `std::thread::current().id()` costs a reference count and fails while thread-locals are being
//! destroyed, when wakers must still work. This is one thread-local word without a destructor.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(not(aio_loom))]
thread_local! {
    static ID: Cell<u32> = const { Cell::new(NONE) };
}

// loom's threads are not those of the system; its macro knows no `const`.
#[cfg(aio_loom)]
loom::thread_local! {
    static ID: Cell<u32> = Cell::new(NONE);
}

/// A thread that never asked for a number. No executor lives there.
const NONE: u32 = 0;

/// This thread's number, 0 if it has none. Any thread, at any time.
#[inline]
pub(crate) fn get() -> u32 {
    ID.with(Cell::get)
}

/// This thread's number, given out now if need be.
pub(crate) fn get_or_assign() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(NONE + 1);
    if ID.with(Cell::get) == NONE {
        // Relaxed: only uniqueness matters.
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(id != u32::MAX, "more than 4 billion threads had executors");
        ID.with(|known| known.set(id));
    }
    ID.with(Cell::get)
}
