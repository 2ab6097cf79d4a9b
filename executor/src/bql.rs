//! The Big QEMU Lock: who holds it, and data that it protects.
//!
//! QEMU's main loop, its vCPU threads and its device models share their data under one lock. C code
//! keeps the rule by convention. Here the convention has two halves that the compiler and the
//! run-time can check:
//!
//! 1. **Access takes proof.** [`Bql`] is a value that nobody can make, keep or send; functions lend it
//!    while the lock is held. [`BqlCell`] and [`BqlRefCell`] open only for a `&Bql`.
//! 2. **The lock stays while something is borrowed.** A [`BqlRef`] or [`BqlRefMut`] blocks
//!    `bql_unlock` for as long as it lives (QEMU aborts otherwise), because whoever takes the lock next
//!    would find the data half changed, or would be refused a borrow that it has every right to.
//!
//! # Which cell?
//!
//! | The data is | use |
//! |---|---|
//! | small and `Copy`, or replaced as a whole (a counter, a flag, an `Option<Arc<_>>`) | [`BqlCell`] |
//! | changed in place (a `Vec`, a map, a device's registers) | [`BqlRefCell`] |
//! | used by one task alone | no cell: keep it in the task |
//! | shared by tasks of one thread, off the BQL | `Cell`, `RefCell` in an `Rc` |
//! | needed by threads without the BQL | `Mutex`, atomics, or send a message |
//!
//! The standard library's cells do not do for data under the BQL: they are not `Sync`, so a static or
//! a structure that C shares between threads cannot hold them, and they do not know the lock. A
//! `Mutex` would do, but it is a second lock to order against the first, for data that the first
//! protects already. Lending `&T` or `&mut T` without counting is not sound either: C code calls back,
//! and the callback finds the same cell while the first borrow is still on the stack.
//!
//! # Borrows and `.await`
//!
//! A task gives up the processor at an `.await`, and the loop releases the BQL before it sleeps. A
//! borrow that lives across an `.await` would therefore abort the process some time later, in code that
//! did nothing wrong. With a witness it does not compile: the guard borrows from the `&Bql`, whose
//! scope is a plain closure, where there is no `.await`. Instead of keeping a guard:
//!
//! - take what you need out of the cell (clone, copy, an `Arc`), end the scope, await, open a scope
//!   again;
//! - expect that the data may have changed in between, as anywhere else that a coroutine yields;
//! - to keep others out for the whole operation, set a flag in the data (or use an async lock), which
//!   says what is going on and can be seen in a debugger.
//!
//! Code that was written for QEMU's own cells borrows without a witness;
//! [`borrow_ambient`](BqlRefCell::borrow_ambient) is for it. There the compiler cannot see a guard that
//! is kept across an `.await` (the clippy lint `await_holding_invalid_type` sees the simple cases), so the
//! executor looks after every poll and panics with the places that borrowed.
//!
//! # Threads and safety
//!
//! Every access checks first that this thread holds the lock, before it looks at anything in the
//! cell; that is one call that reads a thread-local flag. The check stays although there is a witness,
//! because C functions that wait on a condition variable release the lock behind everybody's back.
//! Cells are `Sync` only for contents that are `Send`: under one lock, every thread takes turns in
//! owning the contents.
//!
//! # Examples
//!
//! ```
//! use executor::bql::{BqlCell, BqlRefCell, with_bql};
//! use std::thread;
//!
//! struct Machine {
//!     running: BqlCell<bool>,
//!     devices: BqlRefCell<Vec<String>>,
//! }
//!
//! static MACHINE: Machine =
//!     Machine { running: BqlCell::new(false), devices: BqlRefCell::new(Vec::new()) };
//!
//! let plug = |name: &'static str| {
//!     thread::spawn(move || {
//!         with_bql(|bql| {
//!             MACHINE.running.set(bql, true);
//!             MACHINE.devices.borrow_mut(bql).push(name.to_owned());
//!         });
//!     })
//! };
//! for thread in ["vda", "net0"].map(plug) {
//!     thread.join().expect("it does not panic");
//! }
//! with_bql(|bql| {
//!     assert!(MACHINE.running.get(bql));
//!     assert_eq!(MACHINE.devices.borrow(bql).len(), 2);
//! });
//! ```

use std::ffi::CStr;

use crate::cx::Bql;

pub(crate) mod borrows;
mod cell;
mod hold;
mod ref_cell;
#[cfg(test)]
mod tests;

pub(crate) use hold::{Held, SeenHold, assert_nothing_borrowed, report_holds, without_lock};

pub use cell::BqlCell;
pub use ref_cell::{BorrowError, BqlRef, BqlRefCell, BqlRefMut};

/// What QEMU's lock profiler and traces show as the place that locked.
const FILE: &CStr = c"executor/src/bql.rs";

/// Returns whether this thread holds the BQL. Callable from any thread.
///
/// Wraps `bql_locked`.
///
/// # Examples
///
/// ```
/// use executor::bql::{is_locked, with_bql};
///
/// /// A callback of C's that must not be called without the lock.
/// extern "C" fn unrealize() {
///     assert!(is_locked(), "`unrealize` without the Big QEMU Lock");
/// }
///
/// assert!(!is_locked());
/// with_bql(|_bql| unrealize());
/// assert!(!is_locked());
/// ```
#[must_use]
pub fn is_locked() -> bool {
    aio_sys::bql_locked()
}

/// Waits for the BQL, runs `f` under it, and releases it.
///
/// For threads that do not hold it: iothreads and threads of your own. The wait blocks the thread, and
/// whoever holds the lock may be waiting for you: from a task, prefer to send the work to the main
/// loop. Wraps `bql_lock` and `bql_unlock`.
///
/// # Panics
///
/// If this thread holds the BQL already (lend the `&Bql` that you have instead), and if `f` leaves a
/// borrow of a [`BqlRefCell`] behind; the message names the place that borrowed.
///
/// # Examples
///
/// ```
/// use std::thread;
///
/// use executor::bql::{BqlCell, with_bql};
///
/// static EVENTS: BqlCell<u32> = BqlCell::new(0);
///
/// let count = || with_bql(|bql| EVENTS.set(bql, EVENTS.get(bql) + 1));
/// let threads = [thread::spawn(count), thread::spawn(count)];
/// for thread in threads {
///     thread.join().expect("it does not panic");
/// }
/// assert_eq!(with_bql(|bql| EVENTS.get(bql)), 2);
/// ```
#[track_caller]
pub fn with_bql<R>(f: impl for<'b> FnOnce(&'b Bql) -> R) -> R {
    assert!(
        !is_locked(),
        "this thread holds the BQL already: pass on the `&Bql` that came with it instead of \
         calling `with_bql`"
    );
    let before = borrows::live();
    let locked = Locked::new();
    let seen = SeenHold::of_scope();
    let result = f(&Bql::new());
    assert!(
        !borrows::live().since(before),
        "the BQL cannot be released while a `BqlRefCell` is borrowed: {}",
        borrows::describe(before)
    );
    drop(seen);
    drop(locked);
    result
}

/// The lock, held until the value is dropped; an unwinding closure drops it too.
struct Locked {
    _private: (),
}

impl Locked {
    fn new() -> Self {
        let line = i32::try_from(line!()).expect("it is a short file");
        // SAFETY: [bql-balance]: the caller has checked that this thread does not hold the lock, and
        // `drop` releases it exactly once. The file name is a static string.
        unsafe { aio_sys::bql_lock_impl(FILE.as_ptr(), line) };
        Self { _private: () }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: [bql-balance]: `new` took the lock on this thread; nobody can have sent the value
        // elsewhere, since it does not leave `with_bql`. If a borrow was leaked, the callee aborts.
        unsafe { aio_sys::bql_unlock() };
    }
}

/// Panics unless this thread holds the BQL. [bql-first] rests on it.
#[track_caller]
fn assert_locked() {
    assert!(is_locked(), "data under the BQL was accessed by a thread that does not hold the BQL");
}

/// Forbids (`true`) or allows again (`false`) the release of the BQL; the calls are counted.
///
/// [borrow-blocks-unlock] rests on it: `borrows` calls it in pairs, for the first borrow of a thread
/// and for the last, both while the thread holds the BQL, which the callee asserts.
fn block_unlock(increase: bool) {
    aio_sys::bql_block_unlock(increase);
}
