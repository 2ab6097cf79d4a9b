//! The timers of a QEMU event loop.
//!
//! Where a context of QEMU's has its timer lists is known to C's inline functions alone. One exported function
//! makes timers for a context: that of the throttling code, which the block layer uses. From such a timer the
//! list is read, and the timer freed. Good enough for tests; see `aio_context_timer_group` in `aio-sys` for
//! what the library does instead.

use std::ffi::c_void;
use std::ptr;

use aio_sys::{
    AioContext, QEMU_CLOCK_MAX, QEMUClockType, QEMUTimer, QEMUTimerCB, QEMUTimerListGroup,
};

use super::aio::Loop;

/// C's `ThrottleTimers`, which begins so in every release; the rest is C's own.
#[repr(C)]
struct ThrottleTimers {
    read: *mut QEMUTimer,
    rest: [u64; 15],
}

unsafe extern "C" {
    /// Makes a timer for each callback that is there.
    fn throttle_timers_init(
        timers: *mut ThrottleTimers,
        ctx: *mut AioContext,
        clock: QEMUClockType,
        read: Option<QEMUTimerCB>,
        write: Option<QEMUTimerCB>,
        opaque: *mut c_void,
    );
    /// Frees the timers.
    fn throttle_timers_destroy(timers: *mut ThrottleTimers);
}

/// # Safety
///
/// None: the type is that of a callback. The timer is never armed.
unsafe extern "C" fn never(_opaque: *mut c_void) {}

/// The timer lists of a loop, of which only the one for `clock` is there.
pub(super) fn timer_group(home: Loop, clock: QEMUClockType) -> QEMUTimerListGroup {
    let mut timers = ThrottleTimers { read: ptr::null_mut(), rest: [0; 15] };
    // SAFETY: the loop is alive, and there is more room than C needs in any release.
    unsafe {
        throttle_timers_init(
            &raw mut timers,
            home.0,
            clock,
            Some(never),
            Some(never),
            ptr::null_mut(),
        );
    }
    let mut group = QEMUTimerListGroup { tl: [ptr::null_mut(); QEMU_CLOCK_MAX] };
    // SAFETY: it was just made; the list is the loop's.
    group.tl[clock.index()] = unsafe { (*timers.read).timer_list };
    // SAFETY: they were just made, and are not armed.
    unsafe { throttle_timers_destroy(&raw mut timers) };
    group
}
