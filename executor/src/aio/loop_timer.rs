//! One timer of a loop, for one clock.

use std::ffi::c_void;
use std::fmt;
use std::marker::{PhantomData, PhantomPinned};
use std::pin::Pin;

use aio_sys::QEMUTimer;

use super::callback::{from_opaque, no_unwind, to_opaque};
use super::context::Context;
use crate::clock::Clock;

/// What a timer runs, given the number it was made with.
pub(crate) trait OnTimer {
    fn fired(number: usize);
}

/// A `QEMUTimer` in a loop's own timer list, disarmed when dropped. Home thread only.
pub(crate) struct LoopTimer {
    /// Boxed: the loop's list links to it, [timer-pinned].
    timer: Pin<Box<Pinned>>,
    not_send: PhantomData<*const ()>,
}

struct Pinned {
    timer: std::cell::UnsafeCell<QEMUTimer>,
    _pinned: PhantomPinned,
}

struct Trampoline<C>(PhantomData<C>);

impl<C: OnTimer> Trampoline<C> {
    extern "C" fn fired(opaque: *mut c_void) {
        no_unwind("a timer", (), || C::fired(from_opaque(opaque)));
    }
}

impl LoopTimer {
    /// A disarmed timer on `clock` that calls `C` with `number`.
    ///
    /// # Panics
    ///
    /// If the context has no timer list that we can reach.
    pub(crate) fn new<C: OnTimer>(context: &Context, clock: Clock, number: usize) -> LoopTimer {
        // SAFETY: [ctx-ref].
        let group = unsafe { aio_sys::aio_context_timer_group(context.as_raw()) };
        assert!(!group.is_null(), "the timers of this AioContext cannot be reached");
        // SAFETY: all zeroes is a valid `QEMUTimer`: integers, null pointers and no callback.
        let timer = unsafe { std::mem::zeroed::<QEMUTimer>() };
        let pinned = Pinned { timer: timer.into(), _pinned: PhantomPinned };
        let this = LoopTimer { timer: Box::pin(pinned), not_send: PhantomData };
        // SAFETY: [timer-pinned] and [opaque-is-number]; the group lives as long as the context, which
        // the executor keeps longer than its timers.
        unsafe {
            aio_sys::timer_init_full(
                this.raw(),
                group,
                clock.to_c(),
                1,
                0,
                Trampoline::<C>::fired,
                to_opaque(number),
            );
        }
        this
    }

    fn raw(&self) -> *mut QEMUTimer {
        self.timer.timer.get()
    }

    /// Lets it fire when its clock reaches `deadline`, in ns (`timer_mod_ns`).
    pub(crate) fn arm_at(&self, deadline: i64) {
        // SAFETY: initialised in `new`, [timer-pinned].
        unsafe { aio_sys::timer_mod_ns(self.raw(), deadline) }
    }

    /// `timer_del`.
    pub(crate) fn disarm(&self) {
        // SAFETY: initialised in `new`, [timer-pinned].
        unsafe { aio_sys::timer_del(self.raw()) }
    }
}

impl Drop for LoopTimer {
    fn drop(&mut self) {
        self.disarm();
        // SAFETY: disarmed, so no list links to it, [timer-pinned].
        unsafe { aio_sys::timer_deinit(self.raw()) }
    }
}

impl fmt::Debug for LoopTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopTimer").finish_non_exhaustive()
    }
}
