//! Bottom halves: how any thread makes a loop call us.

use std::ffi::{CStr, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use aio_sys::QEMUBH;

use super::callback::{from_opaque, no_unwind, to_opaque};
use super::context::Context;

/// What a bottom half runs, given the number it was made with.
pub(crate) trait OnBottomHalf {
    fn run(number: usize);
}

/// A bottom half that can be scheduled again and again (`aio_bh_new_full`).
///
/// Any thread may schedule it, also while another closes it. [`BottomHalf::close`] deletes the C object
/// as soon as nobody is about to schedule it, so that no deleted bottom half is ever touched and none
/// stays pending on a loop that ends, [bh-gate].
pub(crate) struct BottomHalf {
    raw: *mut QEMUBH,
    /// Keeps the loop's object alive for as long as the bottom half may be scheduled.
    _context: Context,
    /// `CLOSED`, and the number of threads between `enter` and `leave` times `INSIDE`.
    gate: AtomicU32,
}

// SAFETY: [bh-gate]: the raw pointer is the obstacle; C allows scheduling and deletion on any thread,
// and the gate orders them.
unsafe impl Send for BottomHalf {}
// SAFETY: as for `Send`.
unsafe impl Sync for BottomHalf {}

const CLOSED: u32 = 1;
const INSIDE: u32 = 2;

struct Trampoline<C>(PhantomData<C>);

impl<C: OnBottomHalf> Trampoline<C> {
    extern "C" fn run(opaque: *mut c_void) {
        no_unwind("a bottom half", (), || C::run(from_opaque(opaque)));
    }
}

impl BottomHalf {
    /// A bottom half on `context` that calls `C` with `number`.
    pub(crate) fn new<C: OnBottomHalf>(
        context: &Context,
        number: usize,
        name: &'static CStr,
    ) -> BottomHalf {
        // SAFETY: [opaque-is-number]; the name is static, the context alive.
        let raw = unsafe {
            aio_sys::aio_bh_new_full(
                context.as_raw(),
                Trampoline::<C>::run,
                to_opaque(number),
                name.as_ptr(),
                ptr::null_mut(),
            )
        };
        BottomHalf { raw, _context: context.clone(), gate: AtomicU32::new(0) }
    }

    /// Makes the loop run it soon; several calls before that are one. Any thread. Never blocks.
    /// Does nothing once closed.
    pub(crate) fn schedule(&self) {
        // Acquire: pairs with the Release in `close`; a closed bottom half is not touched.
        if self.gate.fetch_add(INSIDE, Ordering::Acquire) & CLOSED == 0 {
            // SAFETY: [bh-gate]: not closed when we entered, so not deleted before we leave.
            unsafe { aio_sys::qemu_bh_schedule(self.raw) };
        }
        // Release: pairs with the Acquire of whoever deletes; our scheduling comes first.
        if self.gate.fetch_sub(INSIDE, Ordering::AcqRel) == CLOSED | INSIDE {
            self.delete_once();
        }
    }

    /// Deletes it, now or when the last thread that is scheduling it has done so. It is not called any
    /// more by the calling thread. Once.
    pub(crate) fn close(&self) {
        if self.gate.fetch_or(CLOSED, Ordering::AcqRel) == 0 {
            self.delete_once();
        }
    }

    /// Deletes it unless that has been done: a thread may enter and leave the closed gate later.
    fn delete_once(&self) {
        // The count of a gate that is done stays far from zero for ever.
        const DONE: u32 = 1 << 30;
        let closed =
            self.gate.compare_exchange(CLOSED, CLOSED | DONE, Ordering::AcqRel, Ordering::Relaxed);
        if closed.is_ok() {
            // SAFETY: [bh-gate]: closed and nobody inside, and `DONE` lets one thread here only.
            unsafe { aio_sys::qemu_bh_delete(self.raw) };
        }
    }
}

impl Drop for BottomHalf {
    fn drop(&mut self) {
        if *self.gate.get_mut() == 0 {
            self.close();
        }
    }
}

impl fmt::Debug for BottomHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BottomHalf").field("raw", &self.raw).finish_non_exhaustive()
    }
}

/// Runs `work` once in the loop of `context` (`aio_bh_schedule_oneshot`). Any thread.
///
/// If the loop ends first, `work` leaks, and QEMU aborts when the context goes: the caller must know that
/// the loop runs.
pub(crate) fn run_oneshot(context: &Context, work: impl FnOnce() + Send + 'static) {
    // SAFETY: `work` is `Send`.
    unsafe { run_oneshot_here(context, work) }
}

/// As [`run_oneshot`], for work that must stay on this thread.
///
/// # Safety
///
/// The calling thread runs `context`, and no other does; or `F` is `Send`.
pub(crate) unsafe fn run_oneshot_here<F: FnOnce() + 'static>(context: &Context, work: F) {
    extern "C" fn run<F: FnOnce()>(opaque: *mut c_void) {
        // SAFETY: [opaque-is-box]: from `Box::into_raw` below, and a oneshot runs once.
        let work = unsafe { Box::from_raw(opaque.cast::<F>()) };
        no_unwind("a one-shot bottom half", (), work);
    }
    let opaque = Box::into_raw(Box::new(work)).cast::<c_void>();
    // SAFETY: [ctx-ref]; the name is static, and `opaque` is freed by the one call.
    unsafe {
        aio_sys::aio_bh_schedule_oneshot_full(
            context.as_raw(),
            run::<F>,
            opaque,
            c"executor-oneshot".as_ptr(),
        );
    }
}
