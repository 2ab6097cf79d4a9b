//! Whether the guest runs, and when that changes.
//!
//! QEMU calls its run-state handlers wherever a guest is stopped or started, which is in any thread that holds the
//! Big QEMU Lock (a migration stops the guest in its own). Ours counts the change and wakes; tasks look when
//! it is their turn. So a task that is slow sees the last state, and not every change.
//!
//! Threads: a [`GuestWatch`] is the main loop's; the handler runs in any.

use std::ffi::c_void;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use aio_sys::host::{RunState, VMChangeStateEntry};

use crate::aio::callback::no_unwind;
use crate::bql;
use crate::cx::{Bql, MainCx};

/// Whether the guest runs now (`runstate_is_running`).
pub fn guest_runs(_bql: &Bql) -> bool {
    aio_sys::host::runstate_is_running()
}

/// Watches whether the guest runs (`qemu_add_vm_change_state_handler`). The handler is taken back when this is
/// dropped.
///
/// # Examples
///
/// ```no_run
/// use executor::MainCx;
/// use executor::host::GuestWatch;
///
/// async fn wait_for_the_guest(cx: &MainCx) {
///     GuestWatch::new(cx).until(true).await;
/// }
/// ```
pub struct GuestWatch {
    entry: NonNull<VMChangeStateEntry>,
    shared: Arc<Shared>,
    /// How many changes [`changed`](Self::changed) has returned.
    seen: u64,
    not_send: PhantomData<*const ()>,
}

/// What the handler writes.
struct Shared(Mutex<State>);

struct State {
    runs: bool,
    changes: u64,
    waiting: Option<Waker>,
}

impl Shared {
    /// No foreign code runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GuestWatch {
    /// Begins to watch.
    pub fn new(cx: &MainCx) -> GuestWatch {
        cx.bql(|bql| {
            let state = State { runs: guest_runs(bql), changes: 0, waiting: None };
            let shared = Arc::new(Shared(Mutex::new(state)));
            let opaque = Arc::as_ptr(&shared).cast_mut().cast();
            // SAFETY: [bql-first]: the lock protects the list. The state stays until `drop` has removed the
            // entry.
            let entry = unsafe { aio_sys::host::qemu_add_vm_change_state_handler(changed, opaque) };
            let entry = NonNull::new(entry).expect("QEMU has no way to refuse");
            GuestWatch { entry, shared, seen: 0, not_send: PhantomData }
        })
    }

    /// Whether the guest runs.
    pub fn runs(&self) -> bool {
        self.shared.lock().runs
    }

    /// Waits until the guest was stopped or started since the last call, or since this was made. Returns whether
    /// it runs now. Nothing is lost if the future is dropped.
    pub async fn changed(&mut self) -> bool {
        poll_fn(|cx| {
            let waker = cx.waker().clone();
            let mut state = self.shared.lock();
            if state.changes != self.seen {
                self.seen = state.changes;
                return Poll::Ready(state.runs);
            }
            let replaced = state.waiting.replace(waker);
            drop(state);
            drop(replaced);
            Poll::Pending
        })
        .await
    }

    /// Waits until the guest runs, or until it does not.
    pub async fn until(&mut self, runs: bool) {
        while self.runs() != runs {
            self.changed().await;
        }
    }
}

impl Drop for GuestWatch {
    fn drop(&mut self) {
        if !bql::is_locked() {
            // The thread is ending, and QEMU with it; the handler must not lose its state.
            let _kept = ManuallyDrop::new(Arc::clone(&self.shared));
            return;
        }
        // SAFETY: [bql-first]: the lock protects the list; from `new`, and removed once.
        unsafe { aio_sys::host::qemu_del_vm_change_state_handler(self.entry.as_ptr()) };
    }
}

impl fmt::Debug for GuestWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestWatch").field("runs", &self.runs()).finish_non_exhaustive()
    }
}

/// # Safety
///
/// `shared` is the state of a watch that lives.
unsafe extern "C" fn changed(shared: *mut c_void, runs: bool, _state: RunState) {
    no_unwind("a run-state handler", (), || {
        // SAFETY: by this function's contract.
        let shared = unsafe { &*shared.cast::<Shared>() };
        let mut state = shared.lock();
        state.runs = runs;
        state.changes += 1;
        let waiting = state.waiting.take();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    });
}
