//! The end of QEMU, heard in time.
//!
//! QEMU tells its shutdown notifiers when it has been asked to end, in the main loop and before it takes
//! anything down. Later is too late: while QEMU cleans its monitors up it waits for the command that is
//! being dispatched, in a loop without timers, so a command of ours that sleeps would keep it for ever.
//!
//! What the tasks leave under way in the block layer is waited for, too: QEMU is about to close its nodes.
//!
//! The notifier is told as well when the guest has shut down and QEMU goes on (`-no-shutdown`); then tasks
//! go on, too.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr;

use aio_sys::host::{Notifier, SHUTDOWN_ACTION_PAUSE};

use super::block;
use crate::aio::callback::no_unwind;
use crate::cx::NoCoroutine;
use crate::main_loop;

/// The notifier, which QEMU links into a list.
struct Linked(UnsafeCell<Notifier>);

// SAFETY: [bql-first]: Rust code touches it once, under the lock; the links are QEMU's from then on.
unsafe impl Sync for Linked {}

static NOTIFIER: Linked = Linked(UnsafeCell::new(Notifier {
    notify: Some(ending),
    next: ptr::null_mut(),
    previous: ptr::null_mut(),
}));

/// Asks QEMU to say when it ends. Once; main loop's thread, lock held.
pub(super) fn expect() {
    // SAFETY: [bql-first]: the notifier lives for ever and is in no list yet.
    unsafe { aio_sys::host::qemu_register_shutdown_notifier(NOTIFIER.0.get()) };
}

extern "C" fn ending(_notifier: *mut Notifier, _data: *mut c_void) {
    // SAFETY: [bql-first]: notifiers are called under the lock, which protects the variable.
    if unsafe { aio_sys::host::shutdown_action } == SHUTDOWN_ACTION_PAUSE {
        return;
    }
    no_unwind("the end of QEMU", (), || {
        for task in main_loop::shut_down() {
            crate::task::write_stderr(&format!("executor: {task} could not be cancelled\n"));
        }
        // SAFETY: QEMU asks whether it is to end between two turns of the main loop, outside of coroutines,
        // and the tasks are gone.
        unsafe { NoCoroutine::assume(block::end) };
    });
}
