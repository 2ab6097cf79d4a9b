//! embassy: its raw executor.
//!
//! The executor for `std` never returns, so this file has what embassy leaves to the platform: a pender, which
//! unparks the thread if it sleeps, the loop around `poll`, join handles, and storage for tasks. Storage
//! is expected to be static; here it comes from the heap and goes when its task has finished. A waker has no count of
//! references, so *no workload may wake a task that has finished*.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread::{self, Thread};

use embassy_executor::Spawner;
use embassy_executor::raw::{Executor, TaskStorage};

use super::Peer;
use crate::table::Column;

#[derive(Clone)]
pub(crate) struct Embassy {
    spawner: Spawner,
}

impl Peer for Embassy {
    const COLUMN: Column = Column::Embassy;

    type Join<T: 'static> = Join<T>;

    fn run<T, F>(main: impl FnOnce(Self) -> F + 'static) -> T
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        // Both are leaked: wakers and spawners may be around for ever.
        let parker = Parker { state: AtomicU8::new(AWAKE), thread: thread::current() };
        let parker: &'static Parker = Box::leak(Box::new(parker));
        let context = ptr::from_ref(parker).cast_mut().cast();
        let executor: &'static Executor = Box::leak(Box::new(Executor::new(context)));
        let peer = Embassy { spawner: executor.spawner() };
        let join = peer.clone().spawn(async { main(peer).await });
        loop {
            parker.wake_up();
            // SAFETY: this is the thread that made it, and no task polls it.
            unsafe { executor.poll() };
            free_finished();
            if let Some(output) = join.outcome.output.take() {
                return output;
            }
            parker.park();
        }
    }

    fn spawn<F>(&self, future: F) -> Join<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let outcome = Rc::new(Outcome { output: Cell::new(None), waiting: Cell::new(None) });
        let join = Join { outcome: Rc::clone(&outcome) };
        self.spawn_detached(async move {
            outcome.output.set(Some(future.await));
            if let Some(waiting) = outcome.waiting.take() {
                waiting.wake();
            }
        });
        join
    }

    fn spawn_detached(&self, future: impl Future<Output = ()> + 'static) {
        let leaked = Box::into_raw(Box::new(TaskStorage::new()));
        let finished = Finished { storage: leaked.cast(), free: free_of(leaked) };
        // SAFETY: it was leaked, and goes when nobody uses this any more, see `free_finished`.
        let storage = unsafe { &*leaked };
        let task = storage.spawn(|| async move {
            future.await;
            FINISHED.with_borrow_mut(|all| all.push(finished));
        });
        self.spawner.spawn(task.expect("the storage is new"));
    }
}

/// Whether the thread sleeps, or must not.
struct Parker {
    state: AtomicU8,
    thread: Thread,
}

const AWAKE: u8 = 0;
const PENDING: u8 = 1;
const ASLEEP: u8 = 2;

impl Parker {
    fn wake_up(&self) {
        // SeqCst: a task that is enqueued after this asks for another poll, by the swap in `pend`.
        self.state.store(AWAKE, Ordering::SeqCst);
    }

    fn park(&self) {
        // Relaxed: a hint, which saves the exchange.
        if self.state.load(Ordering::Relaxed) != AWAKE || !self.fall_asleep() {
            return;
        }
        // Acquire: pairs with the swap in `pend`.
        while self.state.load(Ordering::Acquire) == ASLEEP {
            thread::park();
        }
    }

    fn fall_asleep(&self) -> bool {
        // SeqCst: pairs with the swap in `pend`.
        let order = Ordering::SeqCst;
        self.state.compare_exchange(AWAKE, ASLEEP, order, order).is_ok()
    }

    fn pend(&self) {
        // SeqCst: pairs with the store in `wake_up`, after which the queue is looked at.
        if self.state.load(Ordering::SeqCst) == PENDING {
            return;
        }
        // SeqCst: pairs with the exchange in `fall_asleep`.
        if self.state.swap(PENDING, Ordering::SeqCst) == ASLEEP {
            self.thread.unpark();
        }
    }
}

/// What embassy calls when a task was woken. Nothing else in this program may have the name.
#[unsafe(export_name = "__pender")]
fn pender(context: *mut ()) {
    // SAFETY: the executor has it from `run`, where it was leaked.
    let parker = unsafe { &*context.cast::<Parker>() };
    parker.pend();
}

/// The storage of a task that has nothing more to do.
struct Finished {
    storage: *mut (),
    free: unsafe fn(*mut ()),
}

thread_local! {
    static FINISHED: RefCell<Vec<Finished>> = const { RefCell::new(Vec::new()) };
}

/// Frees what finished before the executor's last poll came to its end: nothing refers to it any more.
fn free_finished() {
    if FINISHED.with_borrow(Vec::is_empty) {
        return;
    }
    let mut finished = FINISHED.take();
    for Finished { storage, free } in finished.drain(..) {
        // SAFETY: it was leaked as what `free` takes, its task is neither polled nor queued, and nobody
        // wakes a task that has finished.
        unsafe { free(storage) };
    }
    FINISHED.set(finished);
}

/// What frees a leaked `S`, whose name nobody knows.
fn free_of<S>(_: *mut S) -> unsafe fn(*mut ()) {
    /// # Safety
    ///
    /// `storage` is a leaked `S` that nobody refers to.
    unsafe fn free<S>(storage: *mut ()) {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(storage.cast::<S>()) });
    }
    free::<S>
}

struct Outcome<T> {
    output: Cell<Option<T>>,
    waiting: Cell<Option<Waker>>,
}

/// Waits for a task.
pub(crate) struct Join<T> {
    outcome: Rc<Outcome<T>>,
}

impl<T> Future for Join<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if let Some(output) = self.outcome.output.take() {
            return Poll::Ready(output);
        }
        self.outcome.waiting.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}
