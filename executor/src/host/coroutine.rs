//! Futures inside C coroutines.
//!
//! [`wait`] is an `.await` for code that C called in a coroutine: it polls, leaves the coroutine while the
//! future is pending, and is entered again once for any number of wakes.
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
//! The coroutine may be entered in another thread than the one it left: QEMU's main context is run by
//! whoever holds the Big QEMU Lock. So the future is `Send`, and no address of a thread-local survives a
//! yield: what polls is never inlined here.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{self, Poll, Wake, Waker};

use aio_sys::host::Coroutine;

use crate::aio::context::Context;

const RUNNING: u8 = 0;
const WAITING: u8 = 1;
const WOKEN: u8 = 2;

/// A coroutine that may have to be entered.
struct Sleeper {
    coroutine: *mut Coroutine,
    context: Context,
    state: AtomicU8,
}

// SAFETY: [co-once]: the pointer is the obstacle; `aio_co_schedule` is for any thread.
unsafe impl Send for Sleeper {}
// SAFETY: as for `Send`.
unsafe impl Sync for Sleeper {}

impl Sleeper {
    /// Returns whether the coroutine is to leave. A wake during the poll forbids it.
    fn may_leave(&self) -> bool {
        let left = self.state.compare_exchange(
            RUNNING,
            WAITING,
            // Release: pairs with the Acquire of the waker that schedules. Acquire: pairs with its Release.
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        left.is_ok()
    }

    /// Notes that the future is about to be polled: from now on a wake counts again.
    fn begin_poll(&self) {
        // Acquire: pairs with the Release of the waker; the poll sees what it was woken for.
        self.state.swap(RUNNING, Ordering::Acquire);
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: pairs with the Acquire in `begin_poll`. Acquire: pairs with the Release in `may_leave`.
        if self.state.swap(WOKEN, Ordering::AcqRel) == WAITING {
            // SAFETY: [co-once]: it waits, so it has not ended, and only this step asks for it. It has left
            // or is about to, in the home thread of `context`, whose bottom half comes after that.
            unsafe { aio_sys::host::aio_co_schedule(self.context.as_raw(), self.coroutine) };
        }
    }
}

/// Polls `future` to its end in the calling coroutine, which leaves while it has to wait.
///
/// # Safety
///
/// The caller runs in a coroutine of C's, which nobody else enters until this returns, and no frame between
/// it and the C code that it was called by holds something that must stay on this thread.
pub(super) unsafe fn wait<F: Future + Send>(future: F) -> F::Output {
    debug_assert!(aio_sys::host::qemu_in_coroutine(), "`wait` is for code inside a coroutine");
    let context = Context::current().expect("a coroutine runs in an event loop");
    let coroutine = aio_sys::host::qemu_coroutine_self();
    let sleeper = Arc::new(Sleeper { coroutine, context, state: AtomicU8::new(RUNNING) });
    let waker = Waker::from(Arc::clone(&sleeper));
    let mut future = pin!(future);
    loop {
        sleeper.begin_poll();
        if let Poll::Ready(output) = poll(future.as_mut(), &waker) {
            return output;
        }
        if sleeper.may_leave() {
            // SAFETY: in a coroutine, by this function's contract; [co-once]: `wake` enters it again.
            unsafe { aio_sys::host::qemu_coroutine_yield() };
        }
    }
}

/// Not inlined: see the module's documentation.
#[inline(never)]
fn poll<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut task::Context::from_waker(waker))
}
