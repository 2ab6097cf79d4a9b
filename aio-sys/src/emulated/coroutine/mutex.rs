//! A lock that a coroutine may hold while it is suspended.
//!
//! Owns who holds it and who waits, in their order. To unlock is to hand over: nobody overtakes those that
//! wait. A short lock of the operating system protects that; it is never held across a switch of stacks.
//!
//! Threads: any; holders and waiters may be coroutines of different threads.
//!
//! Different from QEMU: a coroutine that must wait does not spin first.

use std::ptr;
use std::sync::Mutex;

use super::queue::Queue;
use super::schedule::aio_co_wake;
use super::{Coroutine, qemu_coroutine_yield};
use crate::types::CoMutex;

/// What stands in a [`CoMutex`].
struct Lock(Mutex<State>);

struct State {
    holder: *const Coroutine,
    waiters: Queue,
}

const _: () = assert!(size_of::<Lock>() <= size_of::<CoMutex>());
const _: () = assert!(align_of::<Lock>() <= align_of::<CoMutex>());

impl Lock {
    /// # Safety
    ///
    /// `mutex` was initialised, and stays where it is during `'a`.
    unsafe fn from_raw<'a>(mutex: *mut CoMutex) -> &'a Self {
        // SAFETY: the caller's promise; [layout].
        unsafe { &*mutex.cast_const().cast() }
    }

    /// Takes the lock, or gets in line and says so.
    fn take_or_wait(&self, coroutine: &Coroutine) -> bool {
        let mut state = self.0.lock().expect("a failed assertion ends the process");
        let is_free = state.holder.is_null();
        if is_free {
            state.holder = coroutine;
        } else {
            state.waiters.push_back(coroutine);
        }
        !is_free
    }

    /// Hands the lock to the first in line, and returns it.
    fn hand_over<'a>(&self, holder: &Coroutine) -> Option<&'a Coroutine> {
        let mut state = self.0.lock().expect("a failed assertion ends the process");
        let is_holder = ptr::eq(state.holder, holder);
        assert!(is_holder, "qemu_co_mutex_unlock: the coroutine does not hold the CoMutex");
        let next = state.waiters.pop_front();
        state.holder = next.map_or(ptr::null(), ptr::from_ref);
        next
    }
}

/// Makes a lock that nobody holds.
///
/// # Safety
///
/// `mutex` is writable, and no coroutine uses it.
pub unsafe extern "C" fn qemu_co_mutex_init(mutex: *mut CoMutex) {
    let lock = Lock(Mutex::new(State { holder: ptr::null(), waiters: Queue::new() }));
    // SAFETY: the caller's promise; [layout].
    unsafe { mutex.cast::<Lock>().write(lock) };
}

/// Takes the lock; the coroutine yields until it is its turn.
///
/// # Panics
///
/// Aborts if it would have to wait outside a coroutine.
///
/// # Safety
///
/// `mutex` was initialised; the caller keeps no address of a thread-local.
pub unsafe extern "C" fn qemu_co_mutex_lock(mutex: *mut CoMutex) {
    let coroutine = Coroutine::current();
    // SAFETY: the caller's promise.
    if unsafe { Lock::from_raw(mutex) }.take_or_wait(coroutine) {
        // SAFETY: the caller's promise.
        unsafe { qemu_coroutine_yield() };
    }
    coroutine.locks_held.set(coroutine.locks_held.get() + 1);
}

/// Gives the lock to the coroutine that has waited longest, and wakes it.
///
/// # Panics
///
/// Aborts unless the calling coroutine holds the lock.
///
/// # Safety
///
/// `mutex` was initialised.
pub unsafe extern "C" fn qemu_co_mutex_unlock(mutex: *mut CoMutex) {
    let coroutine = Coroutine::current();
    assert!(coroutine.is_entered(), "qemu_co_mutex_unlock must be called in a coroutine");
    // SAFETY: the caller's promise.
    let next = unsafe { Lock::from_raw(mutex) }.hand_over(coroutine);
    coroutine.locks_held.set(coroutine.locks_held.get() - 1);
    if let Some(next) = next {
        // SAFETY: [co-alive]: it waits. It is suspended, or its home thread is another one.
        unsafe { aio_co_wake(next.as_raw()) };
    }
}
