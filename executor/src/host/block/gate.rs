//! When reads may begin: not in a drained section.
//!
//! A backend could queue what comes in such a section, but what it queues would go on in the context that it
//! was queued in, and the section may be there to move the node to another one. So QEMU's queue is off and the
//! reads wait here, as those of an export or a guest's device wait in front of their backends.
//!
//! Threads: any. The main loop's starts reads; before 8.1 a section may begin in the thread of the node. The
//! mutex is held for a few instructions; a read is counted under it, so that a section which begins waits for
//! the read, or the read for the section.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use aio_sys::host::BlockDevOps;

use super::Reference;
use super::read::{self, Operation};
use crate::aio::callback::no_unwind;

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Gate(Mutex<State>);

#[derive(Default)]
struct State {
    /// Whether there is a drained section.
    drained: bool,
    /// What waits for its end.
    held: Vec<Operation>,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a read and gives it back, or keeps it for later.
    pub(super) fn admit(&self, read: Operation) -> Option<Operation> {
        let mut state = self.lock();
        if state.drained {
            state.held.push(read);
            return None;
        }
        // SAFETY: [blk-ref]: the read has a share of the user. Any thread may count.
        unsafe { aio_sys::host::blk_inc_in_flight(read.backend()) };
        drop(state);
        Some(read)
    }

    /// Gives up what is held.
    pub(super) fn clear(&self) {
        let held = std::mem::take(&mut self.lock().held);
        // Outside of the lock: a destructor is anybody's code.
        drop(held);
    }

    fn open(&self) {
        let mut state = self.lock();
        state.drained = false;
        let held = std::mem::take(&mut state.held);
        drop(state);
        // A section may begin meanwhile, again.
        for read in held.into_iter().filter(|read| read.is_wanted()) {
            if let Some(read) = self.admit(read) {
                read::enter_later(read);
            }
        }
    }
}

/// What QEMU keeps, the same for all users.
fn ops() -> &'static BlockDevOps {
    static OPS: OnceLock<BlockDevOps> = OnceLock::new();
    OPS.get_or_init(|| aio_sys::host::drained_ops(drained_begin, drained_end))
}

/// Lets QEMU tell the gate of drained sections. Main loop's thread, locks held; until `forget`.
pub(super) fn watch(reference: &Reference) {
    let gate = Arc::as_ptr(&reference.gate).cast_mut().cast::<c_void>();
    // SAFETY: [blk-ref]: the reference has a share of the gate, and forgets it before it goes.
    unsafe { aio_sys::host::blk_set_dev_ops(reference.as_ptr(), ops(), gate) };
}

/// Ends what `watch` began.
pub(super) fn forget(reference: &Reference) {
    let null = std::ptr::null_mut();
    // SAFETY: [blk-ref]; main loop's thread, lock held, by the reference's contract.
    unsafe { aio_sys::host::blk_set_dev_ops(reference.as_ptr(), std::ptr::null(), null) };
}

/// # Safety
///
/// As C calls it: `opaque` is from `watch`.
unsafe extern "C" fn drained_begin(opaque: *mut c_void) {
    // SAFETY: by this function's contract.
    let gate = unsafe { &*opaque.cast::<Gate>() };
    no_unwind("the beginning of a drained section", (), || gate.lock().drained = true);
}

/// # Safety
///
/// As C calls it: `opaque` is from `watch`.
unsafe extern "C" fn drained_end(opaque: *mut c_void) {
    // SAFETY: by this function's contract.
    let gate = unsafe { &*opaque.cast::<Gate>() };
    no_unwind("the end of a drained section", (), || gate.open());
}
