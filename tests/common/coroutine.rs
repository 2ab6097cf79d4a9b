//! A thin, safe-looking layer over the emulation's coroutines, for tests of their behaviour.
//!
//! As in `aio.rs`, closures stand in for callback and opaque, and nothing enforces lifetimes: a test keeps what
//! a coroutine borrows alive until it has ended. Whatever this layer hides is one call of the surface, with
//! the same name.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a module of several tests, each of which uses a part"
)]

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr;

use aio_sys::emulated as surface;
use aio_sys::{CoMutex, CoQueue, CoRwlock, Coroutine, QemuLockable};

use crate::aio::Loop;

/// A coroutine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Co(pub *mut Coroutine);

// SAFETY: coroutines may be scheduled and woken from any thread.
unsafe impl Send for Co {}
// SAFETY: as above.
unsafe impl Sync for Co {}

type Entry<'a> = Box<dyn FnOnce() + 'a>;

/// # Safety
///
/// `entry` is a boxed [`Entry`], which is given away.
unsafe extern "C" fn run(entry: *mut c_void) {
    // SAFETY: the box of `Co::new`, and a coroutine begins once.
    let entry = unsafe { Box::from_raw(entry.cast::<Entry<'_>>()) };
    entry();
}

impl Co {
    pub fn new<'a>(entry: impl FnOnce() + 'a) -> Self {
        let entry: Entry<'a> = Box::new(entry);
        let opaque = Box::into_raw(Box::new(entry)).cast();
        // SAFETY: the test keeps what the closure borrows.
        Self(unsafe { surface::qemu_coroutine_create(run, opaque) })
    }

    /// The coroutine that runs.
    pub fn current() -> Self {
        Self(surface::qemu_coroutine_self())
    }

    pub fn enter(self) {
        // SAFETY: the test says when it is suspended.
        unsafe { surface::qemu_coroutine_enter(self.0) };
    }

    pub fn is_entered(self) -> bool {
        // SAFETY: it has not ended.
        unsafe { surface::qemu_coroutine_entered(self.0) }
    }

    /// `aio_co_schedule`.
    pub fn schedule(self, context: Loop) {
        // SAFETY: the loop is alive.
        unsafe { surface::aio_co_schedule(context.0, self.0) };
    }

    /// `aio_co_enter`.
    pub fn enter_in(self, context: Loop) {
        // SAFETY: the loop is alive.
        unsafe { surface::aio_co_enter(context.0, self.0) };
    }

    /// `aio_co_wake`.
    pub fn wake(self) {
        // SAFETY: it has not ended.
        unsafe { surface::aio_co_wake(self.0) };
    }
}

pub fn in_coroutine() -> bool {
    surface::qemu_in_coroutine()
}

pub fn co_yield() {
    // SAFETY: the test keeps no address of a thread-local.
    unsafe { surface::qemu_coroutine_yield() };
}

/// `aio_co_reschedule_self`.
pub fn move_to(context: Loop) {
    // SAFETY: as for `co_yield`; the loop is alive.
    unsafe { surface::aio_co_reschedule_self(context.0) };
}

/// A `CoMutex`.
pub struct Lock(UnsafeCell<CoMutex>);

// SAFETY: it is a lock.
unsafe impl Sync for Lock {}

impl Lock {
    pub fn new() -> Box<Self> {
        let lock = Box::new(Self(UnsafeCell::default()));
        // SAFETY: nobody uses it yet.
        unsafe { surface::qemu_co_mutex_init(lock.0.get()) };
        lock
    }

    pub fn lock(&self) {
        // SAFETY: it is initialised.
        unsafe { surface::qemu_co_mutex_lock(self.0.get()) };
    }

    pub fn unlock(&self) {
        // SAFETY: it is initialised.
        unsafe { surface::qemu_co_mutex_unlock(self.0.get()) };
    }

    fn as_lockable(&self) -> QemuLockable {
        /// # Safety
        ///
        /// `object` is an initialised `CoMutex`.
        unsafe extern "C" fn lock(object: *mut c_void) {
            // SAFETY: the caller's promise.
            unsafe { surface::qemu_co_mutex_lock(object.cast()) };
        }
        /// # Safety
        ///
        /// `object` is an initialised `CoMutex`.
        unsafe extern "C" fn unlock(object: *mut c_void) {
            // SAFETY: the caller's promise.
            unsafe { surface::qemu_co_mutex_unlock(object.cast()) };
        }
        QemuLockable { object: self.0.get().cast(), lock, unlock }
    }
}

/// A `CoQueue`.
pub struct WaitQueue(UnsafeCell<CoQueue>);

impl WaitQueue {
    pub fn new() -> Box<Self> {
        let queue = Box::new(Self(UnsafeCell::default()));
        // SAFETY: nobody uses it yet.
        unsafe { surface::qemu_co_queue_init(queue.0.get()) };
        queue
    }

    /// Waits behind the others.
    pub fn wait(&self, lock: &Lock) {
        self.wait_with(lock, 0);
    }

    /// Waits before the others.
    pub fn wait_in_front(&self, lock: &Lock) {
        self.wait_with(lock, surface::CO_QUEUE_WAIT_FRONT);
    }

    fn wait_with(&self, lock: &Lock, flags: i32) {
        let mut lockable = lock.as_lockable();
        // SAFETY: it is initialised, and the lock is held.
        unsafe { surface::qemu_co_queue_wait_impl(self.0.get(), &raw mut lockable, flags) };
    }

    /// `qemu_co_queue_next`.
    pub fn next(&self) -> bool {
        // SAFETY: it is initialised.
        unsafe { surface::qemu_co_queue_next(self.0.get()) }
    }

    /// `qemu_co_queue_restart_all`.
    pub fn restart_all(&self) {
        // SAFETY: it is initialised.
        unsafe { surface::qemu_co_queue_restart_all(self.0.get()) };
    }

    /// `qemu_co_enter_next`, without a lock.
    pub fn enter_next(&self) -> bool {
        // SAFETY: it is initialised.
        unsafe { surface::qemu_co_enter_next_impl(self.0.get(), ptr::null_mut()) }
    }

    pub fn is_empty(&self) -> bool {
        // SAFETY: it is initialised.
        unsafe { surface::qemu_co_queue_empty(self.0.get()) }
    }
}

/// A `CoRwlock`.
pub struct RwLock(UnsafeCell<CoRwlock>);

impl RwLock {
    pub fn new() -> Box<Self> {
        let lock = Box::new(Self(UnsafeCell::default()));
        // SAFETY: nobody uses it yet.
        unsafe { surface::qemu_co_rwlock_init(lock.0.get()) };
        lock
    }

    pub fn read(&self) {
        // SAFETY: it is initialised.
        unsafe { surface::qemu_co_rwlock_rdlock(self.0.get()) };
    }

    pub fn write(&self) {
        // SAFETY: it is initialised.
        unsafe { surface::qemu_co_rwlock_wrlock(self.0.get()) };
    }

    pub fn upgrade(&self) {
        // SAFETY: the coroutine has it.
        unsafe { surface::qemu_co_rwlock_upgrade(self.0.get()) };
    }

    pub fn downgrade(&self) {
        // SAFETY: the coroutine has it.
        unsafe { surface::qemu_co_rwlock_downgrade(self.0.get()) };
    }

    pub fn unlock(&self) {
        // SAFETY: the coroutine has it.
        unsafe { surface::qemu_co_rwlock_unlock(self.0.get()) };
    }
}
