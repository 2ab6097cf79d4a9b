//! Which event loop the calling thread runs.
//!
//! Owns one thread-local pointer. It has no destructor, so it can be read while a thread ends.
//!
//! Threads: each sees its own. A thread without a context of its own that holds the BQL counts as
//! the main loop: `AIO_WAIT_WHILE` in such a thread runs the main context.

use std::cell::Cell;
use std::ptr;

use super::bql::bql_locked;
use super::main_loop::qemu_get_aio_context;
use crate::types::AioContext;

thread_local! {
    static CURRENT: Cell<*mut AioContext> = const { Cell::new(ptr::null_mut()) };
}

/// The context that the thread was given, or null.
pub(super) fn get() -> *mut AioContext {
    CURRENT.get()
}

/// A number that no other living thread has.
pub(super) fn thread_token() -> usize {
    CURRENT.with(|current| ptr::from_ref(current) as usize)
}

/// Returns the context of the calling thread: the one it was given, else the main context if the
/// thread holds the BQL, else null.
#[must_use]
#[cfg_attr(feature = "coroutine", inline(never))] // See `coroutine`: thread-locals.
pub extern "C" fn qemu_get_current_aio_context() -> *mut AioContext {
    match get() {
        current if !current.is_null() => current,
        _ if bql_locked() => qemu_get_aio_context(),
        none => none,
    }
}

/// Makes `ctx` the context of the calling thread, for the rest of its life.
///
/// # Panics
///
/// Aborts if the thread has one already.
///
/// # Safety
///
/// `ctx` outlives the thread, and no other thread has it.
pub unsafe extern "C" fn qemu_set_current_aio_context(ctx: *mut AioContext) {
    assert!(get().is_null(), "the thread has a current AioContext already");
    CURRENT.set(ctx);
}

/// Undoes [`qemu_set_current_aio_context`], for a thread that made its context itself and ends.
///
/// QEMU has no such function: its threads keep their contexts.
pub fn forget_current_aio_context(ctx: *mut AioContext) {
    if ptr::eq(get(), ctx) {
        CURRENT.set(ptr::null_mut());
    }
}

/// Says whether the current context of the thread is another one than the main context.
#[must_use]
#[cfg_attr(feature = "coroutine", inline(never))] // See `coroutine`: thread-locals.
pub extern "C" fn qemu_in_iothread() -> bool {
    !ptr::eq(qemu_get_current_aio_context(), qemu_get_aio_context())
}
