//! A list of timers, sorted by expiry; equal expiries in the order of arming.
//!
//! Owns the links, not the timers. The lock around it is the caller's.
//!
//! Threads: one at a time, see `[timer-locked]`; only [`expiry`] may be read by others meanwhile.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::types::{QEMUTimer, QEMUTimerCB};

/// The expiry of a timer that is on no list.
pub(super) const NOT_ARMED: i64 = -1;

/// The expiry of a timer, which other threads may read at any time.
///
/// # Safety
///
/// `timer` is alive during `'a`.
pub(super) unsafe fn expiry<'a>(timer: *const QEMUTimer) -> &'a AtomicI64 {
    // SAFETY: the caller's promise.
    let expire_time = unsafe { &raw const (*timer).expire_time };
    // SAFETY: the caller's promise; all accesses while the timer is in use go through here.
    unsafe { AtomicI64::from_ptr(expire_time.cast_mut()) }
}

/// # Safety
///
/// `timer` is alive.
unsafe fn link(timer: *mut QEMUTimer) -> *mut *mut QEMUTimer {
    // SAFETY: the caller's promise.
    unsafe { &raw mut (*timer).next }
}

/// The list.
pub(super) struct Sorted {
    head: *mut QEMUTimer,
}

// SAFETY: the obstacle is the pointer; [timer-locked] serialises what is done through it.
unsafe impl Send for Sorted {}

impl Default for Sorted {
    fn default() -> Self {
        Self { head: ptr::null_mut() }
    }
}

impl Sorted {
    /// When the first timer fires.
    pub(super) fn first_ns(&self) -> Option<i64> {
        // SAFETY: [timer-pinned].
        (!self.head.is_null()).then(|| unsafe { expiry(self.head) }.load(Ordering::Relaxed))
    }

    /// The first link that points to null or to a timer of which `found` is true.
    fn find(&mut self, found: impl Fn(*mut QEMUTimer) -> bool) -> *mut *mut QEMUTimer {
        let mut place = &raw mut self.head;
        loop {
            // SAFETY: [timer-pinned]: `place` is the head or the link of a timer on the list.
            let timer = unsafe { *place };
            if timer.is_null() || found(timer) {
                return place;
            }
            // SAFETY: [timer-pinned].
            place = unsafe { link(timer) };
        }
    }

    /// Inserts a timer; says whether it is the first now.
    ///
    /// # Safety
    ///
    /// `timer` is alive, pinned, and on no list.
    pub(super) unsafe fn insert(&mut self, timer: *mut QEMUTimer, expire_ns: i64) -> bool {
        // SAFETY: [timer-pinned].
        let place = self.find(|other| unsafe { expiry(other) }.load(Ordering::Relaxed) > expire_ns);
        // SAFETY: `find` returned a link of the list.
        let next = unsafe { place.replace(timer) };
        // SAFETY: the caller's promise.
        unsafe { (*timer).next = next };
        // SAFETY: the caller's promise.
        // Relaxed: the lock orders; readers without it only want a number.
        unsafe { expiry(timer) }.store(expire_ns, Ordering::Relaxed);
        ptr::eq(self.head, timer)
    }

    /// Removes a timer, if it is on the list.
    ///
    /// # Safety
    ///
    /// `timer` is alive, and on no other list.
    pub(super) unsafe fn remove(&mut self, timer: *mut QEMUTimer) {
        // SAFETY: the caller's promise.
        // Relaxed: as in `insert`.
        let old = unsafe { expiry(timer) }.swap(NOT_ARMED, Ordering::Relaxed);
        if old == NOT_ARMED {
            return;
        }
        let place = self.find(|other| ptr::eq(other, timer));
        // SAFETY: the caller's promise.
        let next = unsafe { (*timer).next };
        // SAFETY: an armed timer is on the list, so `place` is the link that points to it.
        unsafe { place.write(next) };
    }

    /// Takes the first timer off if it is due at `now`, and returns what to call.
    pub(super) fn pop_due(&mut self, now: i64) -> Option<(QEMUTimerCB, *mut c_void)> {
        if self.first_ns()? > now {
            return None;
        }
        let timer = self.head;
        // SAFETY: [timer-pinned]: it is on this list. Once it is removed its owner may free it.
        let QEMUTimer { cb, opaque, .. } = *unsafe { &*timer };
        // SAFETY: as above.
        unsafe { self.remove(timer) };
        Some((cb.expect("an armed timer was initialised"), opaque))
    }
}
