//! The event loop object: what it is made of, and when it goes.
//!
//! Owns the reference count and the order of tearing down. The parts do the work: `doorbell` wakes
//! the loop up, `bottom_half`, `fd` and `timer` hold what it runs, `poll` runs it.
//!
//! Threads: the first cache line is the one that other threads write, to schedule and to ring. A
//! loop that busy-polls reads only that line, so a wake-up moves one line there and back. The fields
//! with `Cell`s belong to the home thread: the thread whose current context this is, or, for the two
//! main contexts, whoever holds the BQL. Those fields make `Context` `!Sync`; it is shared through
//! `AioContext` pointers, and each function says from which thread it may be called.
//!
//! Invariant `[ctx-ref]`: an `AioContext` pointer that somebody uses has a reference behind it.

use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::bottom_half::{self, Pending, Slices};
use super::busy_poll::Polling;
#[cfg(feature = "coroutine")]
use super::coroutine::Scheduled;
use super::doorbell::Doorbell;
use super::error;
use super::fd::FdMonitor;
use super::timer::TimerGroup;
use crate::types::{AioContext, Error, QEMUTimerListGroup};

/// Starts a new cache line, and not the one that the CPU fetches along with the line before.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct OwnLine<T>(T);

impl<T> Deref for OwnLine<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// What stands behind an [`AioContext`] pointer.
#[repr(C, align(128))]
pub(super) struct Context {
    // Written by other threads, read by a loop that busy-polls.
    pub(super) doorbell: Doorbell,
    pub(super) pending: Pending,
    // Home thread, except for what the parts say themselves.
    pub(super) slices: OwnLine<Slices>,
    pub(super) polling: Polling,
    pub(super) timers: Arc<TimerGroup>,
    pub(super) monitor: FdMonitor,
    #[cfg(feature = "coroutine")]
    pub(super) scheduled: Scheduled,
    references: AtomicUsize,
}

impl Context {
    /// Makes a context; the caller owns the only reference.
    pub(super) fn create() -> io::Result<*mut AioContext> {
        let doorbell = Doorbell::new()?;
        let monitor = FdMonitor::new(doorbell.fd())?;
        let context = Box::into_raw(Box::new(Self {
            doorbell,
            pending: Pending::default(),
            slices: OwnLine::default(),
            polling: Polling::default(),
            timers: TimerGroup::new(),
            monitor,
            #[cfg(feature = "coroutine")]
            scheduled: Scheduled::default(),
            references: AtomicUsize::new(1),
        }));
        // SAFETY: it was just made.
        let timers = unsafe { &(*context).timers };
        timers.announce(ring, context.cast());
        #[cfg(feature = "coroutine")]
        // SAFETY: it was just made, and the list is a part of it.
        unsafe {
            Scheduled::open(context.cast());
        }
        Ok(context.cast())
    }

    /// # Safety
    ///
    /// `ctx` came from [`create`](Self::create), and a reference is held during `'a`.
    pub(super) unsafe fn from_raw<'a>(ctx: *mut AioContext) -> &'a Self {
        // SAFETY: the caller's promise.
        unsafe { &*ctx.cast_const().cast() }
    }

    /// How long the loop may sleep (-1: for ever). Home thread.
    pub(super) fn timeout_ns(&self) -> i64 {
        match bottom_half::timeout_ns(self) {
            0 => 0,
            timeout => {
                soonest(soonest(timeout, self.monitor.timeout_ns()), self.timers.deadline_ns())
            }
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        assert!(self.slices.is_empty(), "the last reference to an AioContext went during its poll");
        bottom_half::finalize(self);
        self.timers.finalize();
    }
}

/// The earlier of two timeouts, of which -1 is the latest.
pub(super) fn soonest(a: i64, b: i64) -> i64 {
    // As unsigned numbers the negative ones are the greatest.
    if (a as u64) < b as u64 { a } else { b }
}

/// Rings the doorbell of the context that `context` points to.
///
/// # Safety
///
/// `context` is alive.
unsafe extern "C" fn ring(context: *mut std::ffi::c_void) {
    // SAFETY: the caller's promise.
    unsafe { aio_notify(context.cast()) };
}

/// Makes an event loop and returns the only reference to it, or null and an error.
///
/// # Safety
///
/// `errp` is null or points to a null pointer.
#[must_use]
pub unsafe extern "C" fn aio_context_new(errp: *mut *mut Error) -> *mut AioContext {
    Context::create().unwrap_or_else(|cause| {
        // SAFETY: the caller's promise.
        unsafe { error::set(errp, &format!("cannot create an event loop: {cause}")) };
        std::ptr::null_mut()
    })
}

/// Takes one more reference. Any thread may call this.
///
/// # Safety
///
/// The caller holds a reference, or borrows one.
pub unsafe extern "C" fn aio_context_ref(ctx: *mut AioContext) {
    // SAFETY: the caller's promise.
    let context = unsafe { Context::from_raw(ctx) };
    // Relaxed: the caller's reference keeps the context alive.
    context.references.fetch_add(1, Ordering::Relaxed);
}

/// Gives a reference back. The last one frees the context, in whichever thread this is.
///
/// # Panics
///
/// Aborts if the last reference goes while a bottom half is pending that was not deleted, or a
/// timer is armed.
///
/// # Safety
///
/// The caller owns a reference and does not use it any more.
pub unsafe extern "C" fn aio_context_unref(ctx: *mut AioContext) {
    let context: *mut Context = ctx.cast();
    // SAFETY: the caller's promise.
    let references = unsafe { &(*context).references };
    // Release: what we did with the context comes before its end. Acquire: pairs with the Release of the others, for
    // whoever ends it. Not a fence, which the thread sanitizer does not know.
    if references.fetch_sub(1, Ordering::AcqRel) == 1 {
        #[cfg(feature = "coroutine")]
        // SAFETY: [ctx-ref]: nobody has a reference any more.
        unsafe {
            Scheduled::close(ctx);
        }
        // SAFETY: [ctx-ref]: nobody has a reference any more.
        drop(unsafe { Box::from_raw(context) });
    }
}

/// Makes the loop look at all its work again; wakes it up if it sleeps. Any thread may call this.
///
/// # Safety
///
/// `ctx` is alive.
pub unsafe extern "C" fn aio_notify(ctx: *mut AioContext) {
    // SAFETY: the caller's promise.
    unsafe { Context::from_raw(ctx) }.doorbell.ring();
}

/// Returns the timer lists of a context, for `timer_init_full`.
///
/// QEMU has no such function: there the lists are a field at an offset that differs between builds.
/// With the `host` provider the two main contexts answer `main_loop_tlg`, others null.
///
/// # Safety
///
/// `ctx` is alive.
#[must_use]
pub unsafe extern "C" fn aio_context_timer_group(ctx: *mut AioContext) -> *mut QEMUTimerListGroup {
    // SAFETY: the caller's promise.
    unsafe { Context::from_raw(ctx) }.timers.as_raw()
}
