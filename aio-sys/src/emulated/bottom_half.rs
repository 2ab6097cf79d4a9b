//! Bottom halves: callbacks that any thread may ask a context to run.
//!
//! Owns the flags of each bottom half, the lock-free list of those that are pending, and the slices
//! that a running poll works on. Enqueueing is one atomic OR, one push, one ring of the doorbell.
//!
//! ```text
//!            schedule, delete, one-shot            poll
//!   idle ───────────────────────────────► pending ──────► slice ──► called, freed or left alone
//!     ▲     sets PENDING and its own flag                   │ clears PENDING, SCHEDULED, IDLE
//!     └─────────────────────────────────────────────────────┘
//! ```
//!
//! A poll takes the whole list as a *slice*. Within a slice the newest runs first; what is
//! scheduled meanwhile waits for the next poll. A nested poll appends its slice and then finishes
//! the outer slices first, so nesting starves nobody.
//!
//! Threads: everything may be called from any thread, except [`poll`] and [`Slices`], which belong to
//! the home thread of the context.
//!
//! Invariants: `[bh-linked-once]` PENDING is set exactly while the bottom half is on a list or about
//! to be pushed, so it is on one list at most. `[bh-freed-by-home]` Only the home thread frees, and
//! only after it popped DELETED or ONESHOT. `[opaque-is-callback]` The callback and its argument
//! belong together: whoever made the bottom half promised so.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use super::context::Context;
use super::simulation;
use super::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use crate::types::{AioContext, MemReentrancyGuard, QEMUBH, QEMUBHFunc};

/// On the pending list or on a slice.
const PENDING: u32 = 1 << 0;
/// The next poll calls the callback.
const SCHEDULED: u32 = 1 << 1;
/// The next poll frees the memory and calls nothing.
const DELETED: u32 = 1 << 2;
/// Freed after the call.
const ONESHOT: u32 = 1 << 3;
/// The call is no progress, and the loop may sleep a little before it.
const IDLE: u32 = 1 << 4;

/// How long a loop may sleep while only idle bottom halves are scheduled.
const IDLE_DELAY_NS: i64 = 10_000_000;

/// What stands behind a [`QEMUBH`] pointer.
struct BottomHalf {
    flags: AtomicU32,
    next: AtomicPtr<BottomHalf>,
    context: *const Context,
    callback: QEMUBHFunc,
    opaque: *mut c_void,
    name: *const c_char,
    guard: *mut MemReentrancyGuard,
}

impl BottomHalf {
    fn new(context: *const Context, callback: QEMUBHFunc, opaque: *mut c_void) -> Self {
        Self {
            flags: AtomicU32::new(0),
            next: AtomicPtr::default(),
            context,
            callback,
            opaque,
            name: ptr::null(),
            guard: ptr::null_mut(),
        }
    }

    fn name(&self) -> String {
        if self.name.is_null() {
            return String::from("(unnamed)");
        }
        // SAFETY: [bh-name]: whoever made the bottom half passed a string that lives for ever.
        let name = unsafe { CStr::from_ptr(self.name) };
        name.to_string_lossy().into_owned()
    }
}

/// Puts a bottom half on the pending list of its context and rings the doorbell.
///
/// # Safety
///
/// `bottom_half` was made by this module and its deletion was not processed yet.
unsafe fn enqueue(bottom_half: *const BottomHalf, new_flags: u32) {
    // SAFETY: the caller's promise. The field is read before the flags change: afterwards the home
    // thread may free the bottom half.
    let context = unsafe { (*bottom_half).context };
    // SAFETY: the caller's promise.
    let flags = unsafe { &(*bottom_half).flags };
    // AcqRel: the release half publishes the caller's data to the pop, whether or not this is the
    // thread that pushes.
    let old = flags.fetch_or(PENDING | new_flags, Ordering::AcqRel);
    // SAFETY: [ctx-ref]: who schedules a bottom half keeps its context alive.
    let context = unsafe { &*context };
    if old & PENDING == 0 {
        // SAFETY: [bh-linked-once]: this thread set PENDING.
        unsafe { context.pending.push(bottom_half.cast_mut()) };
    }
    context.doorbell.ring();
}

/// The bottom halves that wait for the next poll: a lock-free stack that is only taken whole.
#[derive(Default)]
pub(super) struct Pending(AtomicPtr<BottomHalf>);

impl Pending {
    /// Pushes a bottom half. Callable from any thread.
    ///
    /// # Safety
    ///
    /// `bottom_half` is alive and the caller is the one that set PENDING.
    unsafe fn push(&self, bottom_half: *mut BottomHalf) {
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: the caller's promise.
            let next = unsafe { &(*bottom_half).next };
            next.store(head, Ordering::Relaxed);
            // Release: pairs with `take` and `head`; publishes `next` and the bottom half itself.
            match self.0.compare_exchange_weak(
                head,
                bottom_half,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(newer) => head = newer,
            }
        }
    }

    fn take(&self) -> *mut BottomHalf {
        if self.head().is_null() {
            return ptr::null_mut();
        }
        // Acquire: pairs with `push`.
        self.0.swap(ptr::null_mut(), Ordering::Acquire)
    }

    fn head(&self) -> *mut BottomHalf {
        // Acquire: pairs with `push`.
        self.0.load(Ordering::Acquire)
    }
}

/// The part of the pending list that one running [`poll`] took. Lives on the stack of that poll.
struct Slice {
    head: Cell<*mut BottomHalf>,
    next: Cell<*const Slice>,
}

/// The slices of all running polls of a context, oldest first.
///
/// Invariant `[slice-on-stack]`: a slice leaves the queue before the poll that owns it returns,
/// because that poll ends only when the queue is empty.
pub(super) struct Slices {
    oldest: Cell<*const Slice>,
    newest: Cell<*const Slice>,
}

impl Default for Slices {
    fn default() -> Self {
        Self { oldest: Cell::new(ptr::null()), newest: Cell::new(ptr::null()) }
    }
}

impl Slices {
    pub(super) fn is_empty(&self) -> bool {
        self.oldest.get().is_null()
    }

    fn append(&self, slice: &Slice) {
        // SAFETY: [slice-on-stack].
        match unsafe { self.newest.get().as_ref() } {
            Some(newest) => newest.next.set(slice),
            None => self.oldest.set(slice),
        }
        self.newest.set(slice);
    }

    /// Takes the next bottom half of the oldest slice that has one, and its flags.
    fn pop(&self) -> Option<(*mut BottomHalf, u32)> {
        // SAFETY: [slice-on-stack].
        while let Some(slice) = unsafe { self.oldest.get().as_ref() } {
            let head = slice.head.get();
            if !head.is_null() {
                // SAFETY: [bh-linked-once]: it is on this slice and nowhere else.
                let (next, flags) = unsafe { unlink(head) };
                slice.head.set(next);
                return Some((head, flags));
            }
            self.remove_oldest(slice);
        }
        None
    }

    fn remove_oldest(&self, slice: &Slice) {
        self.oldest.set(slice.next.get());
        if slice.next.get().is_null() {
            self.newest.set(ptr::null());
        }
    }

    fn iter(&self) -> impl Iterator<Item = *mut BottomHalf> + '_ {
        // SAFETY: [slice-on-stack], for both closures: nothing is popped while the caller iterates.
        let first = unsafe { self.oldest.get().as_ref() };
        // SAFETY: as above.
        let slices = std::iter::successors(first, |slice| unsafe { slice.next.get().as_ref() });
        slices.flat_map(|slice| chain(slice.head.get()))
    }
}

/// Takes a bottom half off its list: clears its pending state and returns what followed it and the
/// flags it had.
///
/// # Safety
///
/// `bottom_half` is the head of a list that this thread owns.
unsafe fn unlink(bottom_half: *mut BottomHalf) -> (*mut BottomHalf, u32) {
    // SAFETY: the caller's promise; linked bottom halves are alive by [bh-freed-by-home].
    let bottom_half = unsafe { &*bottom_half };
    // The link is read first: once PENDING is clear any thread may push again and overwrite it.
    let next = bottom_half.next.load(Ordering::Relaxed);
    // AcqRel: pairs with the OR in `enqueue`, whose caller's data the callback will read.
    let flags = bottom_half.flags.fetch_and(!(PENDING | SCHEDULED | IDLE), Ordering::AcqRel);
    (next, flags)
}

fn chain(head: *mut BottomHalf) -> impl Iterator<Item = *mut BottomHalf> {
    let first = (!head.is_null()).then_some(head);
    std::iter::successors(first, |&bottom_half| {
        // SAFETY: [bh-freed-by-home]: the caller is the home thread and frees nothing meanwhile.
        let next = unsafe { (*bottom_half).next.load(Ordering::Relaxed) };
        (!next.is_null()).then_some(next)
    })
}

/// Runs what is pending. Says whether a callback ran that is not idle.
pub(super) fn poll(context: &Context) -> bool {
    let slice = Slice { head: Cell::new(context.pending.take()), next: Cell::new(ptr::null()) };
    context.slices.append(&slice);
    let mut progress = false;
    while let Some((bottom_half, flags)) = context.slices.pop() {
        if flags & (SCHEDULED | DELETED) == SCHEDULED {
            progress |= flags & IDLE == 0;
            simulation::preempt();
            // SAFETY: [bh-freed-by-home]: it was popped alive and is freed below at the earliest.
            unsafe { call(bottom_half) };
        }
        if flags & (DELETED | ONESHOT) != 0 {
            // SAFETY: [bh-freed-by-home].
            drop(unsafe { Box::from_raw(bottom_half) });
        }
    }
    progress
}

/// Calls the callback, with the device's guard held.
///
/// # Safety
///
/// `bottom_half` is alive, and stays so unless its callback deletes it.
unsafe fn call(bottom_half: *const BottomHalf) {
    // SAFETY: the caller's promise.
    let BottomHalf { callback, opaque, guard, .. } = *unsafe { &*bottom_half };
    // SAFETY: [opaque-is-callback]: the guard is null or outlives the bottom half's last call.
    let was_engaged =
        unsafe { guard.as_mut() }.map(|guard| std::mem::replace(&mut guard.engaged_in_io, true));
    // SAFETY: [opaque-is-callback].
    unsafe { callback(opaque) };
    // SAFETY: as above.
    if let Some((guard, was)) = unsafe { guard.as_mut() }.zip(was_engaged) {
        guard.engaged_in_io = was;
    }
}

/// How long the loop may sleep as far as bottom halves are concerned (-1: for ever).
pub(super) fn timeout_ns(context: &Context) -> i64 {
    let mut timeout = -1;
    for bottom_half in chain(context.pending.head()).chain(context.slices.iter()) {
        // SAFETY: [bh-freed-by-home]: this is the home thread.
        // Acquire: pairs with the OR in `enqueue`.
        let flags = unsafe { (*bottom_half).flags.load(Ordering::Acquire) };
        match flags & (SCHEDULED | DELETED | IDLE) {
            SCHEDULED => return 0,
            both if both == SCHEDULED | IDLE => timeout = IDLE_DELAY_NS,
            _ => {}
        }
    }
    timeout
}

/// Frees the deleted bottom halves of a context that nobody uses any more.
///
/// # Panics
///
/// A bottom half that is pending and was not deleted is a leak: somebody still waits for it.
pub(super) fn finalize(context: &Context) {
    let mut head = context.pending.take();
    while !head.is_null() {
        // SAFETY: [bh-linked-once]: the list was taken whole.
        let (next, flags) = unsafe { unlink(head) };
        // SAFETY: [bh-freed-by-home]: nobody else uses the context any more.
        let bottom_half = unsafe { Box::from_raw(head) };
        assert!(
            flags & DELETED != 0,
            "bottom half `{}` is leaked: delete it before its AioContext goes",
            bottom_half.name()
        );
        head = next;
    }
}

/// Makes a bottom half of `ctx`. Its callback runs in the home thread of the context.
///
/// Any thread may call this. `name` is kept, not copied. The guard may be null.
///
/// # Safety
///
/// * `ctx` is alive, and outlives the bottom half.
/// * `cb` may be called with `opaque` until the deletion of the bottom half was processed.
/// * `name` is null or a string that lives for ever; `guard` is null or outlives the bottom half.
#[must_use]
pub unsafe extern "C" fn aio_bh_new_full(
    ctx: *mut AioContext,
    cb: QEMUBHFunc,
    opaque: *mut c_void,
    name: *const c_char,
    guard: *mut MemReentrancyGuard,
) -> *mut QEMUBH {
    let new = BottomHalf::new(ctx.cast_const().cast(), cb, opaque);
    Box::into_raw(Box::new(BottomHalf { name, guard, ..new })).cast()
}

/// Makes a bottom half of the main context: [`aio_bh_new_full`] of `qemu_get_aio_context()`.
///
/// # Safety
///
/// As for [`aio_bh_new_full`]; `qemu_init_main_loop` was called.
#[must_use]
pub unsafe extern "C" fn qemu_bh_new_full(
    cb: QEMUBHFunc,
    opaque: *mut c_void,
    name: *const c_char,
    guard: *mut MemReentrancyGuard,
) -> *mut QEMUBH {
    let ctx = super::main_loop::qemu_get_aio_context();
    // SAFETY: the caller's promise.
    unsafe { aio_bh_new_full(ctx, cb, opaque, name, guard) }
}

/// Runs `cb` once in the home thread of `ctx`. Any thread may call this.
///
/// # Safety
///
/// * `ctx` is alive until the callback ran.
/// * `cb` may be called with `opaque`; `name` is null or a string that lives for ever.
pub unsafe extern "C" fn aio_bh_schedule_oneshot_full(
    ctx: *mut AioContext,
    cb: QEMUBHFunc,
    opaque: *mut c_void,
    name: *const c_char,
) {
    let new = BottomHalf::new(ctx.cast_const().cast(), cb, opaque);
    let bottom_half = Box::into_raw(Box::new(BottomHalf { name, ..new }));
    // SAFETY: it was just made.
    unsafe { enqueue(bottom_half, SCHEDULED | ONESHOT) };
}

/// Calls the callback at once, whatever the flags say. Home thread.
///
/// # Safety
///
/// `bh` is alive.
pub unsafe extern "C" fn aio_bh_call(bh: *mut QEMUBH) {
    // SAFETY: the caller's promise.
    unsafe { call(bh.cast_const().cast()) };
}

/// Runs the bottom half in the next poll of its context. Any thread may call this; it is
/// async-signal-safe, and calls that come before the callback starts collapse into one.
///
/// # Safety
///
/// `bh` is alive and was not deleted.
pub unsafe extern "C" fn qemu_bh_schedule(bh: *mut QEMUBH) {
    // SAFETY: the caller's promise.
    unsafe { enqueue(bh.cast_const().cast(), SCHEDULED) };
}

/// Like [`qemu_bh_schedule`], but the run does not count as progress, and `main_loop_wait` may
/// sleep 10 ms before it. `aio_poll` does not sleep: scheduling rings the doorbell.
///
/// # Safety
///
/// `bh` is alive and was not deleted.
pub unsafe extern "C" fn qemu_bh_schedule_idle(bh: *mut QEMUBH) {
    // SAFETY: the caller's promise.
    unsafe { enqueue(bh.cast_const().cast(), SCHEDULED | IDLE) };
}

/// Takes back [`qemu_bh_schedule`]. Any thread may call this, but only the home thread knows
/// afterwards that the callback is not running.
///
/// # Safety
///
/// `bh` is alive.
pub unsafe extern "C" fn qemu_bh_cancel(bh: *mut QEMUBH) {
    let bottom_half: *const BottomHalf = bh.cast_const().cast();
    // SAFETY: the caller's promise.
    // AcqRel: orders the cancellation with the flags of `enqueue` and `unlink`.
    unsafe { (*bottom_half).flags.fetch_and(!SCHEDULED, Ordering::AcqRel) };
}

/// Frees the bottom half in a later poll of its context; the callback does not start again. Any
/// thread may call this, the callback too. A callback that runs right now is not waited for.
///
/// # Safety
///
/// `bh` is alive and was not deleted.
pub unsafe extern "C" fn qemu_bh_delete(bh: *mut QEMUBH) {
    // SAFETY: the caller's promise.
    unsafe { enqueue(bh.cast_const().cast(), DELETED) };
}
