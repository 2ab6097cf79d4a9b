//! Waiting for a condition in a nested loop.
//!
//! Owns the number of threads that wait. QEMU's `AIO_WAIT_WHILE` is a macro; callers rebuild it from
//! [`aio_wait_begin`], `aio_poll` and [`aio_wait_end`].
//!
//! Threads: the main loop may wait for anything; an iothread only for work in its own context. Who
//! makes a condition true in another thread calls [`aio_wait_kick`] afterwards.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::bottom_half::aio_bh_schedule_oneshot_full;
use super::current::qemu_get_current_aio_context;
use super::main_loop::qemu_get_aio_context;
use super::poll::aio_poll;
use crate::types::{AioContext, QEMUBHFunc};

/// How many threads wait.
static WAITERS: AtomicU32 = AtomicU32::new(0);

/// Announces that the calling thread checks a condition from now on, and sleeps in between.
///
/// QEMU has no such function: the macro counts in `global_aio_wait`.
pub extern "C" fn aio_wait_begin() {
    // SeqCst: pairs with the load in `aio_wait_kick`: either the waiter sees the condition, or the
    // kicker sees the waiter.
    WAITERS.fetch_add(1, Ordering::SeqCst);
}

/// Ends what [`aio_wait_begin`] began.
pub extern "C" fn aio_wait_end() {
    // SeqCst: as there, although late kicks do no harm.
    WAITERS.fetch_sub(1, Ordering::SeqCst);
}

/// Makes those who wait check their condition again. Any thread may call this.
pub extern "C" fn aio_wait_kick() {
    // SeqCst: pairs with `aio_wait_begin`; as a read-modify-write it is also ordered after the
    // caller's change of the condition.
    let main = qemu_get_aio_context();
    if WAITERS.fetch_add(0, Ordering::SeqCst) != 0 && !main.is_null() {
        // SAFETY: the main context lives for ever; the callback does nothing.
        unsafe { schedule(main, do_nothing, ptr::null_mut()) };
    }
}

/// # Safety
///
/// As for `aio_bh_schedule_oneshot_full`.
unsafe fn schedule(ctx: *mut AioContext, cb: QEMUBHFunc, opaque: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { aio_bh_schedule_oneshot_full(ctx, cb, opaque, c"aio_wait".as_ptr()) };
}

/// # Safety
///
/// None: the type is that of a callback.
unsafe extern "C" fn do_nothing(_opaque: *mut c_void) {}

/// What [`aio_wait_bh_oneshot`] lends to its bottom half.
struct Request {
    callback: QEMUBHFunc,
    opaque: *mut c_void,
    done: AtomicBool,
}

/// # Safety
///
/// `request` is a [`Request`] that lives until `done` is set.
unsafe extern "C" fn serve(request: *mut c_void) {
    let request: *const Request = request.cast_const().cast();
    // SAFETY: the caller's promise.
    let Request { callback, opaque, .. } = *unsafe { &*request };
    // SAFETY: [opaque-is-callback].
    unsafe { callback(opaque) };
    // SAFETY: the caller's promise.
    // Release: pairs with the load of the waiter; the last access to the request.
    unsafe { (*request).done.store(true, Ordering::Release) };
    aio_wait_kick();
}

/// Runs `cb` in the home thread of `ctx` and waits for it in a nested loop of the main context.
///
/// # Panics
///
/// Aborts unless the current context of the thread is the main context.
///
/// # Safety
///
/// `ctx` is alive and its thread runs; `cb` may be called with `opaque`.
pub unsafe extern "C" fn aio_wait_bh_oneshot(
    ctx: *mut AioContext,
    cb: QEMUBHFunc,
    opaque: *mut c_void,
) {
    let main = qemu_get_aio_context();
    assert!(
        !main.is_null() && ptr::eq(qemu_get_current_aio_context(), main),
        "aio_wait_bh_oneshot must be called in the main loop"
    );
    let request = Request { callback: cb, opaque, done: AtomicBool::new(false) };
    // SAFETY: the request lives until `done` is set.
    unsafe { schedule(ctx, serve, (&raw const request).cast_mut().cast()) };
    aio_wait_begin();
    // Acquire: pairs with the store in `serve`.
    while !request.done.load(Ordering::Acquire) {
        // SAFETY: the main context lives for ever.
        unsafe { aio_poll(main, true) };
    }
    aio_wait_end();
}
