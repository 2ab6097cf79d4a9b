//! The main loop below a loop that is not ours.
//!
//! `main_loop_wait` in two halves, for a program whose own loop sleeps. What `GLib`'s prepare and query are for QEMU's
//! main loop is [`main_loop_prepare`] here, and check and dispatch are [`main_loop_dispatch`]:
//!
//! ```text
//!   main_loop_prepare     BQL held     announces the sleep, answers rings, looks for work, sets the alarm
//!   the program's loop    not held     waits until the descriptor is readable
//!   main_loop_dispatch    BQL held     asks the kernel, ends the announcement, runs both contexts
//! ```
//!
//! Owns the alarm, a timerfd that makes the descriptor readable when work is due that nobody rings for, so that the
//! program's loop need not know how long it may sleep.
//!
//! The protocol is that of `doorbell`. The announcement stands from prepare on, whatever happens between it and the
//! program's sleep: a ring writes the eventfd, and the descriptor is readable until dispatch has asked the kernel.
//!
//! Threads: as `main_loop_wait`, but for [`main_loop_is_rung`]. No lock is released here.
//!
//! QEMU has none of these functions.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::context::Context;
use super::main_loop::{Contexts, iohandler_get_aio_context, qemu_get_aio_context};
use super::os::Alarm;
use super::simulation;

/// The alarm, once somebody has embedded the main loop.
static CLOCK: OnceLock<AlarmClock> = OnceLock::new();

struct AlarmClock {
    alarm: Alarm,
    /// Whether it may go off. The main loop's thread only.
    is_set: AtomicBool,
}

impl AlarmClock {
    /// Sets the alarm (-1: never goes off). One system call, or none if there was and is nothing to wait for.
    fn set(&self, timeout_ns: i64) {
        let set = timeout_ns >= 0;
        // Relaxed: the main loop's thread only.
        if self.is_set.swap(set, Ordering::Relaxed) || set {
            self.alarm.set(timeout_ns);
        }
    }
}

/// Gets the main loop ready for another loop, and returns the descriptor that is readable when
/// [`main_loop_dispatch`] has something to do, if [`main_loop_prepare`] was called since the last time.
///
/// May be called again; the descriptor is the same, and stays open.
///
/// # Errors
///
/// What the system says if there are no more descriptors.
///
/// # Panics
///
/// Unless the thread called `qemu_init_main_loop` and holds the BQL, and in a simulation, whose time the kernel does not
/// know.
pub fn main_loop_embed() -> io::Result<BorrowedFd<'static>> {
    assert!(!simulation::is_on(), "main_loop_embed: a simulation must sleep by itself");
    let monitor = &Contexts::lend_to("main_loop_embed").iohandler.monitor;
    if CLOCK.get().is_none() {
        let alarm = Alarm::new()?;
        monitor.watch_alarm(&alarm)?;
        // Nobody else does this: the lock is held.
        let _set_once = CLOCK.set(AlarmClock { alarm, is_set: AtomicBool::new(false) });
    }
    // SAFETY: [fd-open]: the iohandler context lives for ever, and owns it.
    Ok(unsafe { BorrowedFd::borrow_raw(monitor.as_raw_fd()) })
}

/// Announces that the program's loop may sleep, and says for how many nanoseconds nothing is due (-1: for ever). The
/// descriptor of [`main_loop_embed`] becomes readable when they are over, or when somebody rings or a descriptor is
/// ready.
///
/// # Panics
///
/// Aborts unless the thread called `qemu_init_main_loop` and holds the BQL.
#[must_use]
pub extern "C" fn main_loop_prepare() -> i64 {
    let timeout_ns = Contexts::lend_to("main_loop_prepare").prepare();
    if let Some(clock) = CLOCK.get() {
        clock.set(timeout_ns);
    }
    timeout_ns
}

/// Says whether somebody has rung since [`main_loop_prepare`]. Any thread may call this.
#[must_use]
pub extern "C" fn main_loop_is_rung() -> bool {
    let contexts = [qemu_get_aio_context(), iohandler_get_aio_context()];
    contexts.into_iter().filter(|context| !context.is_null()).any(|context| {
        // SAFETY: the two contexts live for ever.
        unsafe { Context::from_raw(context) }.doorbell.is_rung()
    })
}

/// Runs both contexts once and the main loop's own timers, without waiting for anything.
///
/// # Panics
///
/// Aborts unless the thread called `qemu_init_main_loop` and holds the BQL.
///
/// # Safety
///
/// Nothing that the BQL protects is borrowed: callbacks may release it.
pub unsafe extern "C" fn main_loop_dispatch() {
    let contexts = Contexts::lend_to("main_loop_dispatch");
    // In any case: only this makes the descriptor unreadable after a ring.
    let ready = contexts.collect();
    contexts.dispatch(ready);
}

/// Takes [`main_loop_prepare`] back: from now on nobody looks at the descriptor, and a ring does not make it readable.
///
/// # Panics
///
/// Aborts unless the thread called `qemu_init_main_loop` and holds the BQL.
pub extern "C" fn main_loop_unembed() {
    let contexts = Contexts::lend_to("main_loop_unembed");
    contexts.stay_awake();
    if let Some(clock) = CLOCK.get() {
        clock.set(-1);
    }
    // Rings that nobody has answered; whoever sleeps next looks for work first.
    let _ = contexts.collect();
}
