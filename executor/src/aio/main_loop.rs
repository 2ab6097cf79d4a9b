//! The main loop itself, for standalone programs.

use std::io;
use std::ptr;

use super::context::take_error;

/// Initialises the main loop (`qemu_init_main_loop`), once per process, with the calling thread as its own.
pub(crate) fn init() -> io::Result<()> {
    if !aio_sys::qemu_get_aio_context().is_null() {
        return Ok(());
    }
    let mut error = ptr::null_mut();
    // SAFETY: not initialised before, as just seen; `error` is null and outlives the call.
    match unsafe { aio_sys::qemu_init_main_loop(&raw mut error) } {
        0 => Ok(()),
        _ => Err(take_error(error)),
    }
}

/// One iteration of the main loop (`main_loop_wait`): sleeps without the Big QEMU Lock until something
/// happens, then serves it. Main loop's thread, lock held.
pub(crate) fn wait() {
    // SAFETY: the callers have the right to run the loop, and the lock.
    unsafe { aio_sys::main_loop_wait(0) }
}
