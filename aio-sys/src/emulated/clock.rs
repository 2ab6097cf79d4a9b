//! The four clocks.
//!
//! Owns whether each clock is enabled, and the guest's time. A disabled clock still has a value;
//! only the timers on it stand still. The guest's time is the monotonic clock minus the time during
//! which the guest's ticks were disabled; as in QEMU it starts at zero, disabled, with frozen ticks:
//! to start the guest is `cpu_enable_ticks` and `qemu_clock_enable(QEMU_CLOCK_VIRTUAL, true)`.
//!
//! Threads: any.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::{os, simulation};
use crate::types::{QEMU_CLOCK_HOST, QEMU_CLOCK_MAX, QEMU_CLOCK_REALTIME, QEMUClockType};

static ENABLED: [AtomicBool; QEMU_CLOCK_MAX] = [
    AtomicBool::new(true),
    AtomicBool::new(false), // The guest is not started.
    AtomicBool::new(true),
    AtomicBool::new(true),
];

/// The guest's time: `offset_ns`, plus the monotonic clock while it runs.
#[derive(Default)]
pub(super) struct GuestTime {
    runs: bool,
    offset_ns: i64,
}

static GUEST: Mutex<GuestTime> = Mutex::new(GuestTime { runs: false, offset_ns: 0 });

fn guest() -> MutexGuard<'static, GuestTime> {
    simulation::guest().unwrap_or(&GUEST).lock().expect("nothing panics under this lock")
}

pub(super) fn is_enabled(clock: QEMUClockType) -> bool {
    // SeqCst: pairs with `set_enabled`; see `TimerList::run`.
    ENABLED[clock.index()].load(Ordering::SeqCst)
}

/// Enables or disables a clock; returns what it was.
pub(super) fn set_enabled(clock: QEMUClockType, enabled: bool) -> bool {
    // SeqCst: pairs with `is_enabled`.
    ENABLED[clock.index()].swap(enabled, Ordering::SeqCst)
}

/// Returns the time of a clock in nanoseconds.
#[must_use]
pub extern "C" fn qemu_clock_get_ns(clock: QEMUClockType) -> i64 {
    match clock {
        QEMU_CLOCK_REALTIME => os::monotonic_ns(),
        // QEMU's wall clock counts microseconds.
        QEMU_CLOCK_HOST => os::wall_clock_ns() / 1_000 * 1_000,
        _ => guest_ns(),
    }
}

fn guest_ns() -> i64 {
    let guest = guest();
    guest.offset_ns + if guest.runs { os::monotonic_ns() } else { 0 }
}

/// Lets the guest's time run on from where it stands. No effect if it runs.
pub extern "C" fn cpu_enable_ticks() {
    let mut guest = guest();
    if !guest.runs {
        guest.offset_ns -= os::monotonic_ns();
        guest.runs = true;
    }
}

/// Freezes the guest's time. No effect if it stands. The timers on `QEMU_CLOCK_VIRTUAL` that are
/// due fire nevertheless, until the clock is disabled too.
pub extern "C" fn cpu_disable_ticks() {
    let mut guest = guest();
    if guest.runs {
        guest.offset_ns += os::monotonic_ns();
        guest.runs = false;
    }
}
