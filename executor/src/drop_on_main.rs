//! Values whose destructor needs the Big QEMU Lock.
//!
//! A destructor has no arguments, so it cannot ask for a capability: nothing in the types keeps a future that
//! holds a reference on a QEMU object from being dropped on an iothread, or inside a poll. [`DropOnMain`]
//! brings the value to where its destructor may run instead.
//!
//! Owns the queue of values that wait for the main loop. One one-shot bottom half empties it; the end of
//! `run_main` empties it too, because tasks are dropped there and no bottom half runs afterwards.
//!
//! Threads: any. The queue's mutex is held for a push or a take, never while a destructor runs.

#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use crate::aio::bottom_half::run_oneshot;
use crate::aio::context::Context;
use crate::bql::{self, borrows};
use crate::current;
use crate::cx::Bql;
use crate::task::report_lost_panic;

/// A value that is dropped on the main loop, under the Big QEMU Lock, wherever this wrapper is dropped.
///
/// For what holds a reference on something of QEMU's whose release calls C code that asserts the lock
/// (`object_unref` with its finalizers, `bdrv_unref`), or whose destructor looks at BQL data. Wrapped, it may
/// be kept across an `.await`, captured by [`IoContext::run`](crate::IoContext::run), or be part of a future
/// that is cancelled on an iothread.
///
/// # Where the destructor runs
///
/// At once, if the right place is here: the Big QEMU Lock is held, this is not an iothread, no future is being
/// polled or dropped, and no `BqlRefCell` is borrowed. Otherwise soon, in a bottom half of the main loop. So
/// the destructor never finds itself in a coroutine, nor in front of a cell that its own caller has borrowed.
/// A panic in it goes to the [hook](crate::set_task_panic_hook) then.
///
/// What still waits when [`run_main`](crate::run_main) ends is dropped there, after the tasks. After that it
/// waits for the next `run_main`; if there is none, the value leaks, as everything does at the end of a process.
/// In a process without a main loop, the value is dropped here, and the lock is waited for.
///
/// # Why `T: Send`
///
/// The value goes to the main loop's thread. `&Bql` would not do as the permission to use a value that is not
/// `Send`, either: any thread can hold the lock.
///
/// # Examples
///
/// ```
/// use executor::{DropOnMain, IoThread, MainCx, block_on, reschedule_to, run_main};
///
/// /// Something of QEMU's, and what its release asserts.
/// struct Disk;
///
/// impl Drop for Disk {
///     fn drop(&mut self) {
///         assert!(executor::bql::is_locked());
///     }
/// }
///
/// run_main(|nc| {
///     let thread = IoThread::create(nc, "io0").unwrap();
///     let disk = DropOnMain::new(Disk);
///     // The iothread lets go of the disk, without the lock.
///     let reading = reschedule_to(&thread.io(), async move { drop(disk) });
///     block_on(nc, async move |_: &MainCx| reading.await.unwrap());
///     thread.destroy(nc).unwrap();
/// });
/// ```
pub struct DropOnMain<T: Send + 'static> {
    /// `None` only while the wrapper is being taken apart.
    value: Option<T>,
}

impl<T: Send + 'static> DropOnMain<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> DropOnMain<T> {
        DropOnMain { value: Some(value) }
    }

    /// The value, for as long as the lock is proved to be held.
    pub fn get<'g>(&'g self, _bql: &'g Bql) -> &'g T {
        self.value.as_ref().expect("it is there until the drop")
    }

    /// The value, for as long as the lock is proved to be held.
    pub fn get_mut<'g>(&'g mut self, _bql: &'g Bql) -> &'g mut T {
        self.value.as_mut().expect("it is there until the drop")
    }

    /// Takes the value out. Its destructor is the caller's business again.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::{DropOnMain, run_main};
    ///
    /// run_main(|nc| {
    ///     let mut names = DropOnMain::new(vec!["vda"]);
    ///     names.get_mut(nc).push("vdb");
    ///     assert_eq!(names.get(nc).len(), 2);
    ///     assert_eq!(names.into_inner(nc), ["vda", "vdb"]);
    /// });
    /// ```
    pub fn into_inner(mut self, _bql: &Bql) -> T {
        self.value.take().expect("it is there until the drop")
    }
}

impl<T: Send + 'static> Drop for DropOnMain<T> {
    fn drop(&mut self) {
        let Some(value) = self.value.take() else { return };
        match Context::main_if_any() {
            Some(main) if bql::is_locked() && main.is_home() && is_quiet() => drop(value),
            Some(_) => bury(Box::new(value)),
            None if bql::is_locked() => drop(value),
            None => bql::with_bql(|_| drop(value)),
        }
    }
}

impl<T: Send + 'static> From<T> for DropOnMain<T> {
    fn from(value: T) -> DropOnMain<T> {
        DropOnMain::new(value)
    }
}

impl<T: Send + 'static> fmt::Debug for DropOnMain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DropOnMain").finish_non_exhaustive()
    }
}

/// Whether nothing on this thread's stack would be surprised by a destructor.
fn is_quiet() -> bool {
    !current::in_poll() && borrows::live().is_empty()
}

pub(crate) type Buried = Box<dyn Any + Send>;

static WAITING: Mutex<Vec<Buried>> = Mutex::new(Vec::new());

fn take_waiting() -> Vec<Buried> {
    mem::take(&mut *WAITING.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Lets the main loop drop a value soon. Any thread, and any place on its stack.
pub(crate) fn bury(value: Buried) {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.push(value);
    let first = waiting.len() == 1;
    drop(waiting);
    if first {
        run_oneshot(&Context::iohandler(), drop_waiting);
    }
}

/// Drops what waits, and what that leaves behind. In the main loop's thread, under the lock.
pub(crate) fn drop_waiting() {
    loop {
        let waiting = take_waiting();
        if waiting.is_empty() {
            return;
        }
        for value in waiting {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
                report_lost_panic(&"a destructor on the main loop", payload);
            }
        }
    }
}
