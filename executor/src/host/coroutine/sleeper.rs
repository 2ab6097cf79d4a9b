//! A coroutine that waits, and its waker.
//!
//! A waker must not enter a coroutine: that would run arbitrary code inside `wake`, and C ends the process
//! when a coroutine is entered that has not left yet, or is scheduled twice. So a wake is one step of a state,
//! and only the step out of `WAITING` asks the loop to enter the coroutine:
//!
//! ```text
//!              poll is pending            wake: schedule
//!   RUNNING ──────────────────► WAITING ────────────────► WOKEN
//!      │  ▲                                                 │
//!      │  └──────────── entered, or about to poll ──────────┤
//!      └───────────────────────── wake ─────────────────────┘
//! ```
//!
//! A coroutine that was woken while it polled asks the loop itself, and yields all the same: others have
//! their turn before a future that wakes itself.
//!
//! Threads: wakes come from any. One sleeper stands for one stay in one context; when the coroutine moves it
//! takes another, and wakes of the old one do nothing, since it waits no more.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Wake, Waker};

use aio_sys::host::Coroutine;

use crate::aio::context::Context;

const RUNNING: u8 = 0;
const WAITING: u8 = 1;
const WOKEN: u8 = 2;

/// A coroutine that may have to be entered.
struct Bed {
    coroutine: *mut Coroutine,
    context: Context,
    state: AtomicU8,
}

// SAFETY: [co-once]: the pointer is the obstacle; `aio_co_schedule` is for any thread.
unsafe impl Send for Bed {}
// SAFETY: as for `Send`.
unsafe impl Sync for Bed {}

impl Bed {
    /// Has the coroutine entered in a bottom half.
    ///
    /// # Safety
    ///
    /// [co-once]: the coroutine has not ended, has left or is about to, on the thread that runs `context`, and
    /// nobody else asks.
    unsafe fn schedule(&self) {
        // SAFETY: by this function's contract, [ctx-ref].
        unsafe { aio_sys::host::aio_co_schedule(self.context.as_raw(), self.coroutine) };
    }
}

impl Wake for Bed {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: pairs with the Acquire in `begin_poll`. Acquire: pairs with the Release in `sleep`.
        if self.state.swap(WOKEN, Ordering::AcqRel) == WAITING {
            // SAFETY: [co-once]: it waits, so it has not ended, and only this step asks for it. It has left
            // or is about to, in the home thread of `context`, whose bottom half comes after that.
            unsafe { self.schedule() };
        }
    }
}

/// The stay of the calling coroutine in one context.
pub(super) struct Sleeper {
    bed: Arc<Bed>,
    waker: Waker,
}

impl Sleeper {
    /// For the coroutine of the caller, which is in one, in the context that it was entered in.
    #[inline(never)]
    pub(super) fn of_this_coroutine() -> Sleeper {
        let coroutine = aio_sys::host::qemu_coroutine_self();
        let state = AtomicU8::new(RUNNING);
        let bed = Arc::new(Bed { coroutine, context: context(), state });
        Sleeper { waker: Waker::from(Arc::clone(&bed)), bed }
    }

    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Notes that the future is about to be polled: from now on a wake counts again.
    pub(super) fn begin_poll(&self) {
        // Acquire: pairs with the Release of the waker; the poll sees what it was woken for.
        self.bed.state.swap(RUNNING, Ordering::Acquire);
    }

    /// Leaves the coroutine until the waker is woken; if it was during the poll, until the loop comes round.
    ///
    /// # Safety
    ///
    /// In this coroutine, in the context of `of_this_coroutine`; [co-frames].
    pub(super) unsafe fn sleep(&self) {
        let waits = self.bed.state.compare_exchange(
            RUNNING,
            WAITING,
            // Release: pairs with the Acquire of the waker that schedules. Acquire: pairs with its Release.
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if waits.is_err() {
            // SAFETY: [co-once]: woken, so no waker asks any more; this thread runs the context, and its
            // bottom half comes after the yield.
            unsafe { self.bed.schedule() };
        }
        // SAFETY: in a coroutine, by this function's contract; [co-once]: it was, or will be, asked for.
        unsafe { aio_sys::host::qemu_coroutine_yield() };
    }
}

/// The context that the calling coroutine was entered in.
#[inline(never)]
pub(super) fn context() -> Context {
    let coroutine = aio_sys::host::qemu_coroutine_self();
    // SAFETY: it is alive, since it runs.
    let context = unsafe { aio_sys::host::qemu_coroutine_get_aio_context(coroutine) };
    // SAFETY: its loop runs, or we would not.
    unsafe { Context::from_raw(context) }.expect("a coroutine is entered in a context")
}

/// Moves the calling coroutine to `to`: what follows is run by that loop (`aio_co_reschedule_self`).
///
/// # Safety
///
/// In a coroutine that nobody else enters, with no waker that could; the loop of `to` runs until the
/// coroutine is there; [co-frames].
pub(super) unsafe fn move_to(to: &Context) {
    if context() == *to {
        return;
    }
    if ptr::eq(aio_sys::qemu_get_current_aio_context(), to.as_raw()) {
        // From the iohandler context to the main context: one thread, which C takes for one context.
        let coroutine = aio_sys::host::qemu_coroutine_self();
        // SAFETY: [co-once]: nobody else asks; this thread holds the lock until the coroutine has left.
        unsafe { aio_sys::host::aio_co_schedule(to.as_raw(), coroutine) };
        // SAFETY: in a coroutine, and asked for.
        unsafe { aio_sys::host::qemu_coroutine_yield() };
    } else {
        // SAFETY: by this function's contract.
        unsafe { aio_sys::host::aio_co_reschedule_self(to.as_raw()) };
    }
}
