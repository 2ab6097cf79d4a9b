//! Coroutines that wait for something, like threads at a condition variable.
//!
//! Threads: those that the caller's lock lets in; the queue has none of its own.

use std::ffi::c_int;

use super::queue::Queue;
use super::schedule::aio_co_wake;
use super::{Coroutine, qemu_coroutine_yield};
use crate::types::{CoQueue, QemuLockable};

const _: () = assert!(size_of::<Queue>() <= size_of::<CoQueue>());
const _: () = assert!(align_of::<Queue>() <= align_of::<CoQueue>());

/// To wait before the others: again for what was not there after all.
pub const CO_QUEUE_WAIT_FRONT: c_int = 1;

/// # Safety
///
/// `queue` was initialised, and stays where it is during `'a`.
unsafe fn from_raw<'a>(queue: *mut CoQueue) -> &'a Queue {
    // SAFETY: the caller's promise; [layout].
    unsafe { &*queue.cast_const().cast() }
}

/// # Safety
///
/// `lock` is null or a lock that the caller may take.
unsafe fn lock(lock: *mut QemuLockable) {
    // SAFETY: the caller's promise.
    if let Some(QemuLockable { object, lock, .. }) = unsafe { lock.as_ref() } {
        // SAFETY: the caller's promise.
        unsafe { lock(*object) };
    }
}

/// # Safety
///
/// `lock` is null or a lock that the caller holds.
unsafe fn unlock(lock: *mut QemuLockable) {
    // SAFETY: the caller's promise.
    if let Some(QemuLockable { object, unlock, .. }) = unsafe { lock.as_ref() } {
        // SAFETY: the caller's promise.
        unsafe { unlock(*object) };
    }
}

/// Makes a queue that is empty.
///
/// # Safety
///
/// `queue` is writable, and no coroutine waits in it.
pub unsafe extern "C" fn qemu_co_queue_init(queue: *mut CoQueue) {
    // SAFETY: the caller's promise; [layout].
    unsafe { queue.cast::<Queue>().write(Queue::new()) };
}

/// Waits in the queue, without the lock: the coroutine yields, and has the lock again when it goes on.
///
/// # Panics
///
/// Aborts outside a coroutine.
///
/// # Safety
///
/// `queue` was initialised. `lock` is null or held, and protects the queue. The caller keeps no address of a
/// thread-local.
pub unsafe extern "C" fn qemu_co_queue_wait_impl(
    queue: *mut CoQueue,
    lockable: *mut QemuLockable,
    flags: c_int,
) {
    // SAFETY: the caller's promise.
    let queue = unsafe { from_raw(queue) };
    if flags & CO_QUEUE_WAIT_FRONT == 0 {
        queue.push_back(Coroutine::current());
    } else {
        queue.push_front(Coroutine::current());
    }
    // Another thread may wake the coroutine from here on, which its own thread does after the yield.
    // SAFETY: the caller's promise.
    unsafe { unlock(lockable) };
    // SAFETY: the caller's promise.
    unsafe { qemu_coroutine_yield() };
    // SAFETY: the caller's promise.
    unsafe { lock(lockable) };
}

/// Wakes the coroutine that has waited longest, without the lock; says whether there was one. Outside
/// coroutines it runs before this returns.
///
/// # Safety
///
/// As for [`qemu_co_queue_wait_impl`].
pub unsafe extern "C" fn qemu_co_enter_next_impl(
    queue: *mut CoQueue,
    lockable: *mut QemuLockable,
) -> bool {
    // SAFETY: the caller's promise.
    let Some(next) = unsafe { from_raw(queue) }.pop_front() else { return false };
    // SAFETY: the caller's promise.
    unsafe { unlock(lockable) };
    // SAFETY: [co-alive]: it waits.
    unsafe { aio_co_wake(next.as_raw()) };
    // SAFETY: the caller's promise.
    unsafe { lock(lockable) };
    true
}

/// [`qemu_co_enter_next_impl`] until the queue is empty.
///
/// # Safety
///
/// As for [`qemu_co_queue_wait_impl`].
pub unsafe extern "C" fn qemu_co_enter_all_impl(queue: *mut CoQueue, lockable: *mut QemuLockable) {
    // SAFETY: the caller's promise.
    while unsafe { qemu_co_enter_next_impl(queue, lockable) } {}
}

/// In a coroutine: wakes the one that has waited longest when the caller yields or ends; says whether there
/// was one.
///
/// # Safety
///
/// `queue` was initialised, and the caller has the lock that protects it.
pub unsafe extern "C" fn qemu_co_queue_next(queue: *mut CoQueue) -> bool {
    // SAFETY: the caller's promise; in a coroutine nothing runs before it yields, so the lock may be kept.
    unsafe { qemu_co_enter_next_impl(queue, std::ptr::null_mut()) }
}

/// In a coroutine: [`qemu_co_queue_next`] for all that wait.
///
/// # Safety
///
/// As for [`qemu_co_queue_next`].
pub unsafe extern "C" fn qemu_co_queue_restart_all(queue: *mut CoQueue) {
    // SAFETY: the caller's promise.
    unsafe { qemu_co_enter_all_impl(queue, std::ptr::null_mut()) };
}

/// Says whether nobody waits.
///
/// # Safety
///
/// As for [`qemu_co_queue_next`].
#[must_use]
pub unsafe extern "C" fn qemu_co_queue_empty(queue: *mut CoQueue) -> bool {
    // SAFETY: the caller's promise.
    unsafe { from_raw(queue) }.is_empty()
}
