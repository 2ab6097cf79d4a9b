//! Coroutines: functions with a stack of their own, which they leave in the middle and come back to.
//!
//! Owns the coroutine: its stack, who entered it, in which context, and whom it will wake when it leaves.
//! [`enter`] is the one way in: it runs a coroutine until it yields or ends, and then those that it
//! woke, one after the other on the same stack, so that two coroutines may wake each other for ever.
//!
//! ```text
//!              enter                        yield, end
//!   suspended ───────► entered (has a caller) ────────► suspended, recycled
//!       ▲                                                   │
//!       └── scheduled: one bottom half will enter it ◄──────┘ aio_co_schedule
//! ```
//!
//! Threads: a coroutine is entered in one thread and may be entered in another the next time. What
//! schedules it hands it over: the push on the list of the context is the release, the take is the acquire.
//!
//! Thread-locals: code on such a stack may find itself in another thread after a yield. A compiler does not
//! know that and may keep the address of a thread-local. So the functions that read one and are called
//! from coroutines are never inlined.
//!
//! Invariants: `[co-one-runner]` The fields in cells belong to the thread that runs the coroutine; while it is
//! suspended, to whoever enters or schedules it next. `[co-alive]` A coroutine lives until it has ended.
//!
//! Does not unwind: a coroutine that never ends keeps its stack.

mod mutex;
mod pool;
mod queue;
mod rwlock;
mod schedule;
mod wait_queue;

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use corosensei::stack::DefaultStack;
use corosensei::{CoroutineResult, Yielder};

use super::current::qemu_get_current_aio_context;
use crate::types::{self, AioContext, CoroutineEntry};

pub use mutex::{qemu_co_mutex_init, qemu_co_mutex_lock, qemu_co_mutex_unlock};
use queue::Queue;
pub use rwlock::{
    qemu_co_rwlock_downgrade, qemu_co_rwlock_init, qemu_co_rwlock_rdlock, qemu_co_rwlock_unlock,
    qemu_co_rwlock_upgrade, qemu_co_rwlock_wrlock,
};
pub(super) use schedule::Scheduled;
pub use schedule::{aio_co_enter, aio_co_reschedule_self, aio_co_schedule, aio_co_wake};
pub use wait_queue::{
    CO_QUEUE_WAIT_FRONT, qemu_co_enter_all_impl, qemu_co_enter_next_impl, qemu_co_queue_empty,
    qemu_co_queue_init, qemu_co_queue_next, qemu_co_queue_restart_all, qemu_co_queue_wait_impl,
};

/// A stack with a function on it.
type Machine = corosensei::Coroutine<(), (), ()>;

thread_local! {
    /// The coroutine that runs, or null before the first one.
    static CURRENT: Cell<*const Coroutine> = const { Cell::new(ptr::null()) };
    /// Stands for the thread's own stack.
    static LEADER: Coroutine = const { Coroutine::new() };
}

/// What stands behind a `Coroutine` pointer.
#[repr(align(64))]
struct Coroutine {
    /// Null before the first `enter`, while it is suspended, and always in a leader.
    caller: AtomicPtr<Coroutine>,
    /// Where it was entered last.
    context: AtomicPtr<AioContext>,
    /// Set while it is on the list of a context.
    is_scheduled: AtomicBool,
    next_scheduled: Cell<*const Coroutine>,
    /// The link of the one [`Queue`] that it is in.
    next: Cell<*const Coroutine>,
    /// Those to enter when it yields or ends.
    wakeups: Queue,
    locks_held: Cell<u32>,
    /// What it waits for, if it waits for a `CoRwlock`.
    wants_to_read: Cell<bool>,
    yielder: Cell<*const Yielder<(), ()>>,
    /// Touched by `create`, `enter` and `pool` only. None in a leader.
    machine: UnsafeCell<ManuallyDrop<Option<Machine>>>,
}

// Two cache lines.
const _: () = assert!(size_of::<Coroutine>() == 128);

impl Coroutine {
    const fn new() -> Self {
        Self {
            caller: AtomicPtr::new(ptr::null_mut()),
            context: AtomicPtr::new(ptr::null_mut()),
            is_scheduled: AtomicBool::new(false),
            next_scheduled: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
            wakeups: Queue::new(),
            locks_held: Cell::new(0),
            wants_to_read: Cell::new(false),
            yielder: Cell::new(ptr::null()),
            machine: UnsafeCell::new(ManuallyDrop::new(None)),
        }
    }

    /// # Safety
    ///
    /// `co` came from this module, and is alive during `'a`.
    unsafe fn from_raw<'a>(co: *mut types::Coroutine) -> &'a Self {
        // SAFETY: the caller's promise.
        unsafe { &*co.cast_const().cast() }
    }

    fn as_raw(&self) -> *mut types::Coroutine {
        ptr::from_ref(self).cast_mut().cast()
    }

    fn is_entered(&self) -> bool {
        // Relaxed: who asks about another thread's coroutine gets an answer that is old already.
        !self.caller.load(Ordering::Relaxed).is_null()
    }

    /// The coroutine that runs in this thread, or the leader.
    ///
    /// Never inlined: see the module.
    #[inline(never)]
    fn current<'a>() -> &'a Self {
        let current = match CURRENT.get() {
            none if none.is_null() => LEADER.with(ptr::from_ref),
            current => current,
        };
        // SAFETY: [co-alive]: it runs; a leader lives as long as its thread.
        unsafe { &*current }
    }

    #[inline(never)]
    fn make_current(&self) {
        CURRENT.set(self);
    }

    /// Runs until it yields or ends; says whether it ended.
    ///
    /// # Safety
    ///
    /// It has not ended.
    unsafe fn resume(&self) -> bool {
        // SAFETY: [co-one-runner]: it is suspended, and this thread alone has entered it.
        let machine = unsafe { &mut *self.machine.get() };
        let machine = machine.as_mut().expect("a coroutine has a machine until it has ended");
        matches!(machine.resume(()), CoroutineResult::Return(()))
    }
}

/// Runs a coroutine until it yields or ends, and then those that were woken meanwhile, the latest first.
///
/// # Safety
///
/// `coroutine` is alive and suspended; `context` is null or alive.
unsafe fn enter(context: *mut AioContext, coroutine: &Coroutine) {
    let from = Coroutine::current();
    let pending = Queue::new();
    pending.push_back(coroutine);
    while let Some(coroutine) = pending.pop_front() {
        claim(coroutine, from, context);
        coroutine.make_current();
        // SAFETY: [co-alive]: the caller's promise; what was woken is suspended, too.
        let ended = unsafe { coroutine.resume() };
        from.make_current();
        pending.prepend(&coroutine.wakeups);
        if ended {
            // SAFETY: it has ended, and nothing waits for it any more.
            unsafe { end(coroutine) };
        }
    }
}

/// Notes who enters a coroutine, and where.
fn claim(coroutine: &Coroutine, from: &Coroutine, context: *mut AioContext) {
    // Acquire: pairs with `schedule`.
    let is_scheduled = coroutine.is_scheduled.load(Ordering::Acquire);
    assert!(!is_scheduled, "the coroutine was already scheduled: it would be entered twice");
    let from = ptr::from_ref(from).cast_mut();
    // Relaxed: that it is suspended was seen when it was handed over.
    let unclaimed = ptr::null_mut();
    let claimed =
        coroutine.caller.compare_exchange(unclaimed, from, Ordering::Relaxed, Ordering::Relaxed);
    assert!(claimed.is_ok(), "the coroutine was entered recursively: it has not yielded yet");
    // Release: pairs with `aio_co_wake`.
    coroutine.context.store(context, Ordering::Release);
}

/// # Safety
///
/// The coroutine has ended, and nobody uses it any more.
unsafe fn end(coroutine: &Coroutine) {
    let locks = coroutine.locks_held.get();
    assert!(locks == 0, "a coroutine ended while it held {locks} lock(s)");
    coroutine.caller.store(ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: the caller's promise.
    unsafe { pool::put(ptr::from_ref(coroutine).cast_mut()) };
}

/// Makes a coroutine that will run `entry`, once it is entered. Any thread may call this.
///
/// # Safety
///
/// `entry` may be called with `opaque` in whichever thread enters the coroutine first.
#[must_use]
pub unsafe extern "C" fn qemu_coroutine_create(
    entry: CoroutineEntry,
    opaque: *mut c_void,
) -> *mut types::Coroutine {
    let (coroutine, stack) = pool::take();
    let coroutine = Box::leak(coroutine);
    let this = ptr::from_ref(coroutine);
    let machine = Machine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
        // SAFETY: [co-alive].
        unsafe { &*this }.yielder.set(yielder);
        // SAFETY: [opaque-is-callback].
        unsafe { entry(opaque) };
    });
    coroutine.machine = UnsafeCell::new(ManuallyDrop::new(Some(machine)));
    coroutine.as_raw()
}

/// Runs a coroutine until it yields or ends, in the context of the caller.
///
/// # Panics
///
/// Aborts if it is entered already, or scheduled.
///
/// # Safety
///
/// `co` is alive and suspended.
pub unsafe extern "C" fn qemu_coroutine_enter(co: *mut types::Coroutine) {
    // SAFETY: the caller's promise.
    unsafe { qemu_aio_coroutine_enter(qemu_get_current_aio_context(), co) };
}

/// [`qemu_coroutine_enter`], unless it is entered already.
///
/// # Safety
///
/// `co` is alive, and no other thread runs it.
pub unsafe extern "C" fn qemu_coroutine_enter_if_inactive(co: *mut types::Coroutine) {
    // SAFETY: the caller's promise.
    if unsafe { !qemu_coroutine_entered(co) } {
        // SAFETY: as above.
        unsafe { qemu_coroutine_enter(co) };
    }
}

/// [`qemu_coroutine_enter`] in another context than the caller's: `ctx` is where `aio_co_wake` will enter it
/// the next time.
///
/// # Safety
///
/// As for [`qemu_coroutine_enter`]; the calling thread is the home thread of `ctx`.
pub unsafe extern "C" fn qemu_aio_coroutine_enter(ctx: *mut AioContext, co: *mut types::Coroutine) {
    // SAFETY: the caller's promise.
    let coroutine = unsafe { Coroutine::from_raw(co) };
    // SAFETY: the caller's promise.
    unsafe { enter(ctx, coroutine) };
}

/// Leaves the coroutine; returns when somebody enters it again, perhaps in another thread.
///
/// # Panics
///
/// Aborts outside a coroutine.
///
/// # Safety
///
/// The caller runs in a coroutine, and keeps no address of a thread-local.
#[inline(never)]
pub unsafe extern "C" fn qemu_coroutine_yield() {
    let current = Coroutine::current();
    let caller = current.caller.swap(ptr::null_mut(), Ordering::Relaxed);
    assert!(!caller.is_null(), "qemu_coroutine_yield: there is nobody to yield to");
    // SAFETY: [co-one-runner]: set when the coroutine began, on the stack that this is.
    unsafe { &*current.yielder.get() }.suspend(());
}

/// Returns the coroutine of the caller. Outside of any it is one that stands for the thread.
#[must_use]
pub extern "C" fn qemu_coroutine_self() -> *mut types::Coroutine {
    Coroutine::current().as_raw()
}

/// Says whether the caller runs in a coroutine.
#[must_use]
pub extern "C" fn qemu_in_coroutine() -> bool {
    Coroutine::current().is_entered()
}

/// Says whether the coroutine was entered and has not yielded since.
///
/// # Safety
///
/// `co` is alive.
#[must_use]
pub unsafe extern "C" fn qemu_coroutine_entered(co: *mut types::Coroutine) -> bool {
    // SAFETY: the caller's promise.
    unsafe { Coroutine::from_raw(co) }.is_entered()
}

/// Returns the context in which the coroutine was entered last: where [`aio_co_wake`] enters it.
///
/// # Safety
///
/// `co` is alive.
#[must_use]
pub unsafe extern "C" fn qemu_coroutine_get_aio_context(
    co: *mut types::Coroutine,
) -> *mut AioContext {
    // SAFETY: the caller's promise.
    // Acquire: pairs with `claim`.
    unsafe { Coroutine::from_raw(co) }.context.load(Ordering::Acquire)
}
