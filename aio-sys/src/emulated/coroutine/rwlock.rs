//! A lock for many readers or one writer, which may be suspended while they have it.
//!
//! Owns who has it and who waits, in their order. Fair: who comes while others wait gets in line, a reader
//! too. Whoever is woken owns the lock already; a reader then wakes the next in line if that is a reader, too.
//!
//! Threads: as `mutex`, and in the same way.

use std::sync::{Mutex, MutexGuard};

use super::queue::Queue;
use super::schedule::aio_co_wake;
use super::{Coroutine, qemu_coroutine_yield};
use crate::types::CoRwlock;

/// What stands in a [`CoRwlock`].
struct Lock(Mutex<State>);

/// `owners` in a lock that is held for writing.
const WRITER: i32 = -1;

struct State {
    /// How many readers have it, or [`WRITER`].
    owners: i32,
    waiters: Queue,
}

const _: () = assert!(size_of::<Lock>() <= size_of::<CoRwlock>());
const _: () = assert!(align_of::<Lock>() <= align_of::<CoRwlock>());

impl State {
    fn may_read(&self) -> bool {
        self.owners == 0 || (self.owners > 0 && self.waiters.is_empty())
    }

    /// Gets in line.
    fn wait(&self, coroutine: &Coroutine, to_read: bool) {
        coroutine.wants_to_read.set(to_read);
        self.waiters.push_back(coroutine);
    }

    /// Gives the lock to the first in line, if it may have it now.
    fn admit<'a>(&mut self) -> Option<&'a Coroutine> {
        let owners = match self.waiters.front()?.wants_to_read.get() {
            true if self.owners >= 0 => self.owners + 1,
            false if self.owners == 0 => WRITER,
            _ => return None,
        };
        self.owners = owners;
        self.waiters.pop_front()
    }
}

impl Lock {
    /// # Safety
    ///
    /// `lock` was initialised, and stays where it is during `'a`.
    unsafe fn from_raw<'a>(lock: *mut CoRwlock) -> &'a Self {
        // SAFETY: the caller's promise; [layout].
        unsafe { &*lock.cast_const().cast() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("a failed assertion ends the process")
    }

    /// Turns a reader into the writer, or sends it to the end of the line and says who is let in instead.
    fn upgrade_or_wait<'a>(&self, reader: &Coroutine) -> Option<Option<&'a Coroutine>> {
        let mut state = self.state();
        assert!(state.owners > 0, "qemu_co_rwlock_upgrade: the CoRwlock is not held for reading");
        if state.owners == 1 && state.waiters.is_empty() {
            state.owners = WRITER;
            return None;
        }
        state.owners -= 1;
        state.wait(reader, false);
        Some(state.admit())
    }
}

fn wake(next: Option<&Coroutine>) {
    if let Some(next) = next {
        // SAFETY: [co-alive]: it waits. It is suspended, or its home thread is another one.
        unsafe { aio_co_wake(next.as_raw()) };
    }
}

/// Lets the first in line in, if it may.
fn admit_next(mut state: MutexGuard<'_, State>) {
    let next = state.admit();
    drop(state);
    wake(next);
}

fn count_lock(coroutine: &Coroutine) {
    coroutine.locks_held.set(coroutine.locks_held.get() + 1);
}

/// Makes a lock that nobody has.
///
/// # Safety
///
/// `lock` is writable, and no coroutine uses it.
pub unsafe extern "C" fn qemu_co_rwlock_init(lock: *mut CoRwlock) {
    let new = Lock(Mutex::new(State { owners: 0, waiters: Queue::new() }));
    // SAFETY: the caller's promise; [layout].
    unsafe { lock.cast::<Lock>().write(new) };
}

/// Takes the lock for reading; the coroutine yields until it may.
///
/// # Panics
///
/// Aborts if it would have to wait outside a coroutine.
///
/// # Safety
///
/// `lock` was initialised; the caller keeps no address of a thread-local.
pub unsafe extern "C" fn qemu_co_rwlock_rdlock(lock: *mut CoRwlock) {
    let coroutine = Coroutine::current();
    // SAFETY: the caller's promise.
    let lock = unsafe { Lock::from_raw(lock) };
    let mut state = lock.state();
    if state.may_read() {
        state.owners += 1;
        drop(state);
    } else {
        state.wait(coroutine, true);
        drop(state);
        // SAFETY: the caller's promise.
        unsafe { qemu_coroutine_yield() };
        admit_next(lock.state());
    }
    count_lock(coroutine);
}

/// Takes the lock for writing; the coroutine yields until it may.
///
/// # Panics
///
/// Aborts if it would have to wait outside a coroutine.
///
/// # Safety
///
/// As for [`qemu_co_rwlock_rdlock`].
pub unsafe extern "C" fn qemu_co_rwlock_wrlock(lock: *mut CoRwlock) {
    let coroutine = Coroutine::current();
    // SAFETY: the caller's promise.
    let mut state = unsafe { Lock::from_raw(lock) }.state();
    if state.owners == 0 {
        state.owners = WRITER;
        drop(state);
    } else {
        state.wait(coroutine, false);
        drop(state);
        // SAFETY: the caller's promise.
        unsafe { qemu_coroutine_yield() };
    }
    count_lock(coroutine);
}

/// Turns reading into writing; behind those that wait already, so others may write in between.
///
/// # Panics
///
/// Aborts unless the lock is held for reading.
///
/// # Safety
///
/// As for [`qemu_co_rwlock_rdlock`]; the caller has the lock.
pub unsafe extern "C" fn qemu_co_rwlock_upgrade(lock: *mut CoRwlock) {
    // SAFETY: the caller's promise.
    let lock = unsafe { Lock::from_raw(lock) };
    if let Some(next) = lock.upgrade_or_wait(Coroutine::current()) {
        wake(next);
        // SAFETY: the caller's promise.
        unsafe { qemu_coroutine_yield() };
    }
}

/// Turns writing into reading, at once.
///
/// # Panics
///
/// Aborts unless the lock is held for writing.
///
/// # Safety
///
/// `lock` was initialised, and the caller has it.
pub unsafe extern "C" fn qemu_co_rwlock_downgrade(lock: *mut CoRwlock) {
    // SAFETY: the caller's promise.
    let mut state = unsafe { Lock::from_raw(lock) }.state();
    assert!(
        state.owners == WRITER,
        "qemu_co_rwlock_downgrade: the CoRwlock is not held for writing"
    );
    state.owners = 1;
    admit_next(state);
}

/// Gives the lock back.
///
/// # Panics
///
/// Aborts if nobody has it, or outside a coroutine.
///
/// # Safety
///
/// `lock` was initialised, and the caller has it.
pub unsafe extern "C" fn qemu_co_rwlock_unlock(lock: *mut CoRwlock) {
    let coroutine = Coroutine::current();
    assert!(coroutine.is_entered(), "qemu_co_rwlock_unlock must be called in a coroutine");
    // SAFETY: the caller's promise.
    let mut state = unsafe { Lock::from_raw(lock) }.state();
    state.owners = match state.owners {
        WRITER => 0,
        0 => panic!("qemu_co_rwlock_unlock: nobody has the CoRwlock"),
        readers => readers - 1,
    };
    coroutine.locks_held.set(coroutine.locks_held.get() - 1);
    admit_next(state);
}
