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

/// The main loop below a loop that is not ours; the emulation only.
#[cfg(not(feature = "in-tree"))]
pub(crate) mod embedding {
    use std::io;
    use std::os::fd::BorrowedFd;
    use std::time::Duration;

    use aio_sys::emulated;

    /// Gets the main loop ready for a loop that is not ours, and returns what that has to watch. Main loop's thread, lock
    /// held.
    pub(crate) fn embed() -> io::Result<BorrowedFd<'static>> {
        emulated::main_loop_embed()
    }

    /// The first half of [`wait`](super::wait), up to the sleep: announces it, and says how long nothing will be due. Main loop's
    /// thread, lock held.
    pub(crate) fn prepare() -> Option<Duration> {
        u64::try_from(emulated::main_loop_prepare()).ok().map(Duration::from_nanos)
    }

    /// Whether somebody has rung since [`prepare`]. Any thread.
    pub(crate) fn is_rung() -> bool {
        emulated::main_loop_is_rung()
    }

    /// The second half of [`wait`](super::wait), after the sleep. Main loop's thread, lock held.
    pub(crate) fn dispatch() {
        // SAFETY: the callers have the right to run the loop, and the lock.
        unsafe { emulated::main_loop_dispatch() }
    }

    /// Takes [`prepare`] back. Main loop's thread, lock held.
    pub(crate) fn unembed() {
        emulated::main_loop_unembed();
    }
}
