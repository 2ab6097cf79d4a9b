//! A task's `Waker`: a [`TaskRef`] behind the standard library's vtable.
//!
//! Valid on every thread and for ever: at home it touches plain memory, elsewhere it posts to the
//! home's inbox, and when the executor is gone it finds the inbox closed. Waking never polls, drops
//! a future, blocks, allocates or takes a lock.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::cell::TaskRef;

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// A waker for the time of a poll, which needs no reference of its own.
#[derive(Debug)]
pub(super) struct Borrowed(ManuallyDrop<Waker>);

impl Deref for Borrowed {
    type Target = Waker;

    #[inline]
    fn deref(&self) -> &Waker {
        &self.0
    }
}

/// The waker of the task whose header is at `header`; its clones own references, itself does not.
#[inline]
pub(super) fn borrowed(header: *const ()) -> Borrowed {
    // SAFETY: the vtable keeps `RawWaker`'s contract, given that the data are a task's header. The
    // one reference that this waker would own is never given up, so it need not exist; the task is
    // alive during the poll, [running-is-lock].
    Borrowed(ManuallyDrop::new(unsafe { Waker::new(header, &VTABLE) }))
}

/// The task behind a waker, if it is one of ours. The reference stays the waker's.
#[inline]
pub(super) fn task_of(waker: &Waker) -> Option<ManuallyDrop<TaskRef>> {
    // SAFETY: [waker-is-ref]: the vtable says that the data are ours; the waker is borrowed by the caller,
    // who uses the answer no longer than it.
    std::ptr::eq(waker.vtable(), &raw const VTABLE).then(|| unsafe { peek(waker.data()) })
}

/// The waker's reference, for as long as the caller does not give it up.
///
/// # Safety
///
/// `data` is the data of a live waker of ours, [waker-is-ref].
#[inline]
unsafe fn peek(data: *const ()) -> ManuallyDrop<TaskRef> {
    // SAFETY: the data of our wakers come from `TaskRef::into_raw` or `borrowed`.
    ManuallyDrop::new(unsafe { TaskRef::from_raw(data) })
}

/// # Safety
///
/// As for `peek`.
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: forwarded.
    let task = unsafe { peek(data) };
    RawWaker::new(TaskRef::clone(&task).into_raw(), &VTABLE)
}

/// # Safety
///
/// As for `peek`; consumes the waker.
unsafe fn wake(data: *const ()) {
    // SAFETY: forwarded; the waker's reference is ours now.
    unsafe { TaskRef::from_raw(data) }.wake();
}

/// # Safety
///
/// As for `peek`.
unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: forwarded.
    unsafe { peek(data) }.wake_by_ref();
}

/// # Safety
///
/// As for `peek`; consumes the waker.
unsafe fn drop_waker(data: *const ()) {
    // SAFETY: forwarded; the waker's reference is ours now.
    drop(unsafe { TaskRef::from_raw(data) });
}
