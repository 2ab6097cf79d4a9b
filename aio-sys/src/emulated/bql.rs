//! The Big QEMU Lock.
//!
//! Owns the lock, a thread-local flag that says who holds it, and the count of borrows that forbid
//! its release. Whoever holds it is the main loop, as far as the main contexts are concerned.
//!
//! Threads: any. The lock is not recursive.
//!
//! Invariant `[bql-guard]`: the guard of the mutex lives in `GUARD` from the lock to the unlock, and
//! only the thread that holds the mutex touches `GUARD`.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, c_char, c_int};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::simulation;

static BQL: Mutex<()> = Mutex::new(());
static GUARD: GuardCell = GuardCell(UnsafeCell::new(None));

/// How many borrows forbid to release the BQL. Written by its holder only.
static BORROWS: AtomicU32 = AtomicU32::new(0);
static REPORTER: Mutex<Option<fn() -> String>> = Mutex::new(None);
static OBSERVER: OnceLock<fn(taken: bool)> = OnceLock::new();

thread_local! {
    static LOCKED: Cell<bool> = const { Cell::new(false) };
}

/// Keeps the guard between `bql_lock_impl` and `bql_unlock`.
struct GuardCell(UnsafeCell<Option<MutexGuard<'static, ()>>>);

// SAFETY: [bql-guard]: the mutex inside serialises the accesses, and a guard is dropped by the
// thread that made it.
unsafe impl Sync for GuardCell {}

/// Installs a function that names the borrows which are alive, for the message of `bql_unlock`.
pub fn set_bql_borrow_reporter(reporter: fn() -> String) {
    *REPORTER.lock().unwrap_or_else(PoisonError::into_inner) = Some(reporter);
}

/// Installs a function that is told each time that the BQL was taken, and that it is about to be released, by the thread
/// that holds it. There is one at most; it stays for good.
pub fn set_bql_observer(observer: fn(taken: bool)) {
    // The first one stays.
    let _ = OBSERVER.set(observer);
}

/// Takes the BQL; waits until it is free. `file` and `line` say where, for the message of a misuse.
///
/// # Panics
///
/// Aborts if the thread holds it already.
///
/// # Safety
///
/// `file` is null or a NUL-terminated string.
pub unsafe extern "C" fn bql_lock_impl(file: *const c_char, line: c_int) {
    if LOCKED.get() {
        // SAFETY: the caller's promise.
        unsafe { refuse_second_lock(file, line) };
    }
    simulation::wait_for_bql();
    // The holder of a poisoned lock would have aborted.
    let guard = BQL.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: [bql-guard]: this thread holds the mutex.
    unsafe { *GUARD.0.get() = Some(guard) };
    LOCKED.set(true);
    simulation::note_bql(true);
    if let Some(observer) = OBSERVER.get() {
        observer(true);
    }
}

/// # Safety
///
/// `file` is null or a NUL-terminated string.
unsafe fn refuse_second_lock(file: *const c_char, line: c_int) -> ! {
    // SAFETY: the caller's promise.
    let file = (!file.is_null()).then(|| unsafe { CStr::from_ptr(file) }.to_string_lossy());
    let file = file.as_deref().unwrap_or("?");
    panic!("bql_lock_impl: the thread holds the BQL already ({file}:{line})");
}

/// Releases the BQL.
///
/// # Panics
///
/// Aborts if the thread does not hold it, or if a borrow forbids it; see [`bql_block_unlock`].
///
/// # Safety
///
/// Nothing that the BQL protects is used until it is taken again.
pub unsafe extern "C" fn bql_unlock() {
    assert!(LOCKED.get(), "bql_unlock: the thread does not hold the BQL");
    let borrows = BORROWS.load(Ordering::Relaxed);
    if borrows != 0 {
        refuse_unlock(borrows);
    }
    if let Some(observer) = OBSERVER.get() {
        observer(false);
    }
    LOCKED.set(false);
    simulation::note_bql(false);
    // SAFETY: [bql-guard]: this thread holds the mutex until the guard is dropped.
    let guard = unsafe { (*GUARD.0.get()).take() };
    drop(guard);
}

#[cold]
fn refuse_unlock(borrows: u32) -> ! {
    let reporter = *REPORTER.lock().unwrap_or_else(PoisonError::into_inner);
    let report = reporter.map_or_else(String::new, |report| format!(": {}", report()));
    panic!("bql_unlock: the BQL cannot be released while {borrows} borrow(s) are active{report}");
}

/// Whether nobody holds the BQL at this moment.
#[cfg(any(feature = "simulation", feature = "testing"))]
pub(super) fn is_free() -> bool {
    !matches!(BQL.try_lock(), Err(std::sync::TryLockError::WouldBlock))
}

/// Says whether the calling thread holds the BQL.
#[must_use]
#[cfg_attr(feature = "coroutine", inline(never))] // See `coroutine`: thread-locals.
pub extern "C" fn bql_locked() -> bool {
    LOCKED.get()
}

/// Says whether the calling thread holds the BQL, and so may do what only the main loop may.
#[must_use]
#[cfg_attr(feature = "coroutine", inline(never))] // See `coroutine`: thread-locals.
pub extern "C" fn qemu_in_main_thread() -> bool {
    LOCKED.get()
}

/// Forbids to release the BQL until it was allowed as often (`increase` false) as forbidden.
///
/// # Panics
///
/// Aborts if the thread does not hold the BQL, or allows what was not forbidden.
pub extern "C" fn bql_block_unlock(increase: bool) {
    assert!(LOCKED.get(), "bql_block_unlock: the thread does not hold the BQL");
    let borrows = BORROWS.load(Ordering::Relaxed);
    let changed = if increase { borrows.checked_add(1) } else { borrows.checked_sub(1) };
    let changed = changed.expect("bql_block_unlock: as many calls with false as with true");
    BORROWS.store(changed, Ordering::Relaxed);
}
