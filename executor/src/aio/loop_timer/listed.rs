//! A `QEMUTimer` in the timer lists of a context.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::marker::{PhantomData, PhantomPinned};
use std::pin::Pin;

use aio_sys::{QEMUTimer, QEMUTimerCB};

use super::OnTimer;
use crate::aio::callback::{from_opaque, no_unwind, to_opaque};
use crate::aio::context::Context;
use crate::clock::Clock;

/// A timer of C's, disarmed when dropped.
pub(super) struct ListedTimer {
    /// Boxed: the list links to it, [timer-pinned].
    timer: Pin<Box<Pinned>>,
    not_send: PhantomData<*const ()>,
}

struct Pinned {
    timer: UnsafeCell<QEMUTimer>,
    _pinned: PhantomPinned,
}

/// What C calls in the home thread of the list.
pub(super) extern "C" fn call<C: OnTimer>(opaque: *mut c_void) {
    no_unwind("a timer", (), || C::fired(from_opaque(opaque)));
}

impl ListedTimer {
    /// A disarmed timer in the lists of `context`, unless those cannot be reached.
    pub(super) fn new(
        context: &Context,
        clock: Clock,
        callback: QEMUTimerCB,
        number: usize,
    ) -> Option<ListedTimer> {
        // SAFETY: [ctx-ref].
        let group = unsafe { aio_sys::aio_context_timer_group(context.as_raw()) };
        if group.is_null() {
            return None;
        }
        let pinned = Pinned { timer: QEMUTimer::new().into(), _pinned: PhantomPinned };
        let this = ListedTimer { timer: Box::pin(pinned), not_send: PhantomData };
        // SAFETY: [timer-pinned] and [opaque-is-number]; the group lives as long as the context, which
        // the executor keeps longer than its timers.
        unsafe {
            aio_sys::timer_init_full(
                this.raw(),
                group,
                clock.to_c(),
                1,
                0,
                callback,
                to_opaque(number),
            );
        }
        Some(this)
    }

    fn raw(&self) -> *mut QEMUTimer {
        self.timer.timer.get()
    }

    pub(super) fn arm_at(&self, deadline: i64) {
        // SAFETY: initialised in `new`, [timer-pinned].
        unsafe { aio_sys::timer_mod_ns(self.raw(), deadline) }
    }

    pub(super) fn disarm(&self) {
        // SAFETY: initialised in `new`, [timer-pinned].
        unsafe { aio_sys::timer_del(self.raw()) }
    }
}

impl Drop for ListedTimer {
    fn drop(&mut self) {
        self.disarm();
        // SAFETY: disarmed, so no list links to it, [timer-pinned].
        unsafe { aio_sys::timer_deinit(self.raw()) }
    }
}
