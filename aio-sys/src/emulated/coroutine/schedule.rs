//! Handing coroutines to the thread of a context.
//!
//! Owns the lock-free list of those that a context will enter, and the bottom half that enters them: all that
//! are on the list when it runs, in the order in which they were scheduled.
//!
//! Threads: [`aio_co_schedule`], [`aio_co_enter`] and [`aio_co_wake`] from any. A coroutine that is not
//! suspended yet may be scheduled in the context that it runs in: the bottom half comes after the yield.
//!
//! Invariant `[co-scheduled-once]`: whoever set `is_scheduled` owns the link until the bottom half has cleared
//! it, so a coroutine is on one list at most.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::super::bottom_half::{
    aio_bh_new_full, aio_bh_schedule_oneshot_full, qemu_bh_delete, qemu_bh_schedule,
};
use super::super::context::{Context, aio_context_ref, aio_context_unref};
use super::{
    Coroutine, enter, qemu_coroutine_get_aio_context, qemu_coroutine_self, qemu_coroutine_yield,
    qemu_get_current_aio_context,
};
use crate::types::{self, AioContext, QEMUBH};

/// The coroutines that wait for a context to enter them.
#[derive(Default)]
pub(in super::super) struct Scheduled {
    latest: AtomicPtr<Coroutine>,
    /// Written once, before anybody else knows of the context.
    bottom_half: AtomicPtr<QEMUBH>,
}

impl Scheduled {
    /// Makes the bottom half of a context.
    ///
    /// # Safety
    ///
    /// `ctx` is alive, and nobody else knows of it yet.
    pub(in super::super) unsafe fn open(ctx: *mut AioContext) {
        let name = c"aio_co_schedule".as_ptr();
        // SAFETY: the callback gets its context, which outlives the bottom half.
        let bottom_half =
            unsafe { aio_bh_new_full(ctx, enter_all, ctx.cast(), name, ptr::null_mut()) };
        // SAFETY: the caller's promise.
        let scheduled = &unsafe { Context::from_raw(ctx) }.scheduled;
        scheduled.bottom_half.store(bottom_half, Ordering::Relaxed);
    }

    /// Deletes the bottom half of a context.
    ///
    /// # Panics
    ///
    /// A coroutine that is scheduled would never run.
    ///
    /// # Safety
    ///
    /// `ctx` is alive, and nobody else uses it any more.
    pub(in super::super) unsafe fn close(ctx: *mut AioContext) {
        // SAFETY: the caller's promise.
        let scheduled = &unsafe { Context::from_raw(ctx) }.scheduled;
        let latest = scheduled.latest.load(Ordering::Relaxed);
        assert!(latest.is_null(), "a coroutine is still scheduled: its AioContext cannot go");
        // SAFETY: it was made in `open` and is not used again.
        unsafe { qemu_bh_delete(scheduled.bottom_half.load(Ordering::Relaxed)) };
    }

    fn push(&self, coroutine: &Coroutine) {
        let new = ptr::from_ref(coroutine).cast_mut();
        let mut latest = self.latest.load(Ordering::Relaxed);
        loop {
            coroutine.next_scheduled.set(latest);
            // Release: pairs with `take`; hands over the coroutine and all that it did.
            match self.latest.compare_exchange_weak(
                latest,
                new,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => latest = now,
            }
        }
    }

    /// Takes all; the earliest is the first.
    fn take(&self) -> *const Coroutine {
        // Acquire: pairs with `push`.
        let mut rest: *const Coroutine = self.latest.swap(ptr::null_mut(), Ordering::Acquire);
        let mut straight = ptr::null();
        // SAFETY: [co-scheduled-once]: the list was taken whole.
        while let Some(coroutine) = unsafe { rest.as_ref() } {
            rest = coroutine.next_scheduled.replace(straight);
            straight = coroutine;
        }
        straight
    }
}

/// Enters all coroutines that are scheduled in a context.
///
/// # Safety
///
/// `ctx` is the context that runs this bottom half.
unsafe extern "C" fn enter_all(ctx: *mut c_void) {
    let ctx: *mut AioContext = ctx.cast();
    // SAFETY: the caller's promise.
    let mut rest = unsafe { Context::from_raw(ctx) }.scheduled.take();
    // SAFETY: [co-alive]: what is scheduled has not ended.
    while let Some(coroutine) = unsafe { rest.as_ref() } {
        // First: once it runs it may be scheduled again.
        rest = coroutine.next_scheduled.get();
        // Release: pairs with the exchange in `aio_co_schedule`.
        coroutine.is_scheduled.store(false, Ordering::Release);
        // SAFETY: [co-scheduled-once]: it was handed to this thread, suspended.
        unsafe { enter(ctx, coroutine) };
    }
}

/// Enters a coroutine in a bottom half of `ctx`, in the order of these calls. Any thread may call this.
///
/// # Panics
///
/// Aborts if it is scheduled already.
///
/// # Safety
///
/// `ctx` is alive. `co` is alive and suspended, or runs in the home thread of `ctx` and will yield.
pub unsafe extern "C" fn aio_co_schedule(ctx: *mut AioContext, co: *mut types::Coroutine) {
    // SAFETY: the caller's promise.
    let coroutine = unsafe { Coroutine::from_raw(co) };
    // AcqRel: pairs with `enter_all` and `claim`.
    let was_scheduled = coroutine.is_scheduled.swap(true, Ordering::AcqRel);
    assert!(!was_scheduled, "aio_co_schedule: the coroutine was already scheduled");
    // It may run at once and let the context go.
    // SAFETY: the caller's promise.
    unsafe { aio_context_ref(ctx) };
    // SAFETY: [ctx-ref]: the reference just taken.
    let scheduled = &unsafe { Context::from_raw(ctx) }.scheduled;
    scheduled.push(coroutine);
    // SAFETY: as above; the bottom half lives as long as the context.
    unsafe { qemu_bh_schedule(scheduled.bottom_half.load(Ordering::Relaxed)) };
    // SAFETY: it was taken above.
    unsafe { aio_context_unref(ctx) };
}

/// Enters a coroutine in `ctx`: at once in the home thread of `ctx`, but in a coroutine not before that one
/// yields or ends; from other threads in a bottom half. Any thread may call this.
///
/// # Panics
///
/// Aborts if a coroutine enters itself, or one that is entered or scheduled.
///
/// # Safety
///
/// As for [`aio_co_schedule`].
pub unsafe extern "C" fn aio_co_enter(ctx: *mut AioContext, co: *mut types::Coroutine) {
    if !ptr::eq(ctx, qemu_get_current_aio_context()) {
        // SAFETY: the caller's promise.
        unsafe { aio_co_schedule(ctx, co) };
        return;
    }
    // SAFETY: the caller's promise.
    let coroutine = unsafe { Coroutine::from_raw(co) };
    let current = Coroutine::current();
    if current.is_entered() {
        assert!(!ptr::eq(current, coroutine), "aio_co_enter: a coroutine cannot enter itself");
        current.wakeups.push_back(coroutine);
    } else {
        // SAFETY: the caller's promise.
        unsafe { enter(ctx, coroutine) };
    }
}

/// Enters a coroutine where it was entered last: [`aio_co_enter`] in that context. Any thread may call this.
///
/// # Safety
///
/// `co` is alive and suspended, or will be before its home thread runs its next bottom halves.
pub unsafe extern "C" fn aio_co_wake(co: *mut types::Coroutine) {
    // SAFETY: the caller's promise.
    let ctx = unsafe { qemu_coroutine_get_aio_context(co) };
    // SAFETY: the caller's promise; a coroutine is woken while its context is alive.
    unsafe { aio_co_enter(ctx, co) };
}

/// What a coroutine on the move lends to its bottom half.
struct Move {
    coroutine: *mut types::Coroutine,
    target: *mut AioContext,
}

/// # Safety
///
/// `request` is a [`Move`] on the stack of its coroutine, which is suspended.
unsafe extern "C" fn schedule_there(request: *mut c_void) {
    let request: *const Move = request.cast_const().cast();
    // SAFETY: the caller's promise.
    let Move { coroutine, target } = *unsafe { &*request };
    // SAFETY: the caller's promise.
    unsafe { aio_co_schedule(target, coroutine) };
}

/// Moves the calling coroutine to the thread of another context: returns there. Nothing happens if the
/// current context is that one.
///
/// # Panics
///
/// Aborts outside a coroutine.
///
/// # Safety
///
/// `new_ctx` is alive, and the caller keeps no address of a thread-local.
pub unsafe extern "C" fn aio_co_reschedule_self(new_ctx: *mut AioContext) {
    let old = qemu_get_current_aio_context();
    if ptr::eq(old, new_ctx) {
        return;
    }
    let request = Move { coroutine: qemu_coroutine_self(), target: new_ctx };
    let opaque = (&raw const request).cast_mut().cast();
    let name = c"aio_co_reschedule_self".as_ptr();
    // Not scheduled from here: the other thread would enter it before it has left.
    // SAFETY: the current context is alive, and the request lives until the coroutine goes on.
    unsafe { aio_bh_schedule_oneshot_full(old, schedule_there, opaque, name) };
    // SAFETY: the caller's promise.
    unsafe { qemu_coroutine_yield() };
}
