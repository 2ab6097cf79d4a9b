//! Adaptive busy polling: looking for work for a while before asking the kernel to sleep.
//!
//! A sleep and a wake-up across CPUs cost microseconds; a loop that still looks when the work
//! arrives sees it after one cache line has moved. Owns the parameters and the adaptation: each
//! handler has a time to poll that grows while its events come soon after the loop began to wait,
//! and shrinks when they come late.
//!
//! Threads: the home thread, except for [`aio_context_set_poll_params`].
//!
//! Relies on every handler having an `io_poll` callback. One that has none can only be asked
//! through the kernel, so it turns busy polling off; the doorbell itself is a flag in memory.

use std::hint;
use std::sync::atomic::{AtomicI64, Ordering};

use super::context::{Context, soonest};
use super::error;
use super::fd::Ready;
use super::os;
use super::simulation;
use crate::types::{AioContext, Error};

/// The first time to poll after one that was zero.
const FIRST_POLL_NS: i64 = 4_000;
/// How often the doorbell is looked at between two readings of the clock.
const LOOKS_PER_CLOCK_READ: u32 = 8;

/// The parameters and the poll time of the doorbell. All are hints: no order is needed.
#[derive(Default)]
pub(super) struct Polling {
    max_ns: AtomicI64,
    grow: AtomicI64,
    shrink: AtomicI64,
    doorbell_ns: AtomicI64,
}

impl Polling {
    pub(super) fn is_on(&self) -> bool {
        self.max_ns.load(Ordering::Relaxed) != 0
    }

    /// Sets the parameters. Any thread may call this.
    pub(super) fn set(&self, max_ns: i64, grow: i64, shrink: i64) {
        self.max_ns.store(max_ns, Ordering::Relaxed);
        self.grow.store(grow, Ordering::Relaxed);
        self.shrink.store(shrink, Ordering::Relaxed);
        self.doorbell_ns.store(0, Ordering::Relaxed);
    }

    /// Adapts one poll time to a wait of `blocked_ns`.
    fn adapt(&self, poll_ns: &AtomicI64, blocked_ns: i64) {
        let max = self.max_ns.load(Ordering::Relaxed);
        let current = poll_ns.load(Ordering::Relaxed);
        let new = if blocked_ns <= current {
            return;
        } else if blocked_ns > max {
            match self.shrink.load(Ordering::Relaxed) {
                0 => 0,
                shrink => current / shrink,
            }
        } else {
            self.grown(current).min(max)
        };
        poll_ns.store(new, Ordering::Relaxed);
    }

    fn grown(&self, current: i64) -> i64 {
        match (current, self.grow.load(Ordering::Relaxed)) {
            (0, _) => FIRST_POLL_NS,
            (current, 0) => current.saturating_mul(2),
            (current, grow) => current.saturating_mul(grow),
        }
    }
}

/// Asks the handlers from userspace for a while, if this pass may sleep and has a time to poll.
///
/// Returns how long the pass may still sleep, 0 if something is ready, and when it began to wait, if
/// poll times are adapted.
pub(super) fn run(context: &Context, timeout_ns: i64, ready: &mut Ready) -> (i64, Option<i64>) {
    let timeout_ns = if context.doorbell.is_rung() { 0 } else { timeout_ns };
    let begin = (timeout_ns != 0 && context.polling.is_on()).then(os::monotonic_ns);
    let found = begin.is_some_and(|begin| {
        if context.monitor.has_polled() {
            ask_handlers(context, timeout_ns, begin, ready)
        } else {
            watch_doorbell(context, timeout_ns, begin)
        }
    });
    (if found { 0 } else { timeout_ns }, begin)
}

/// The common case: the doorbell is all there is to look at. Its poll time needs no adaptation when
/// it rings within that time.
fn watch_doorbell(context: &Context, timeout_ns: i64, begin: i64) -> bool {
    let limit_ns = context.polling.doorbell_ns.load(Ordering::Relaxed);
    let Some(deadline) = deadline(context, timeout_ns, begin, limit_ns) else { return false };
    loop {
        for _ in 0..LOOKS_PER_CLOCK_READ {
            if context.doorbell.is_rung() {
                return true;
            }
            hint::spin_loop();
        }
        if os::monotonic_ns() >= deadline {
            return false;
        }
    }
}

fn ask_handlers(context: &Context, timeout_ns: i64, begin: i64, ready: &mut Ready) -> bool {
    let handlers = context.monitor.polled();
    let doorbell_ns = context.polling.doorbell_ns.load(Ordering::Relaxed);
    let poll_times = handlers.iter().map(|handler| handler.poll_ns.load(Ordering::Relaxed));
    let limit_ns = poll_times.fold(doorbell_ns, i64::max);
    let Some(deadline) = deadline(context, timeout_ns, begin, limit_ns) else { return false };
    loop {
        ready.doorbell |= context.doorbell.is_rung();
        let mut found = ready.doorbell;
        for handler in handlers.iter() {
            found |= ready.add_if_polled(handler);
        }
        if found {
            adapt(context, Some(begin), ready);
            return true;
        }
        if os::monotonic_ns() >= deadline {
            return false;
        }
        hint::spin_loop();
    }
}

/// When to stop, or `None` if this pass does not poll.
fn deadline(context: &Context, timeout_ns: i64, begin: i64, limit_ns: i64) -> Option<i64> {
    if limit_ns == 0 || context.monitor.needs_kernel() {
        return None;
    }
    // Time stands still while a simulated loop looks.
    if let Some(looks) = simulation::busy_polls() {
        return looks.then_some(begin);
    }
    Some(begin.saturating_add(soonest(timeout_ns, limit_ns)))
}

/// Adapts the poll times of what became ready to how long the pass has waited since `begin`.
pub(super) fn adapt(context: &Context, begin: Option<i64>, ready: &Ready) {
    let Some(begin) = begin.filter(|_| !ready.is_empty()) else { return };
    let blocked_ns = os::monotonic_ns() - begin;
    if ready.doorbell {
        context.polling.adapt(&context.polling.doorbell_ns, blocked_ns);
    }
    for poll_ns in ready.poll_times() {
        context.polling.adapt(poll_ns, blocked_ns);
    }
}

/// Sets how long a context may busy-poll (0: never) and how its poll times adapt: they are
/// multiplied by `grow` (0: by 2) and divided by `shrink` (0: start again from 0).
///
/// Any thread may call this. All poll times start from zero.
///
/// # Safety
///
/// `ctx` is alive; `errp` is null or points to a null pointer.
pub unsafe extern "C" fn aio_context_set_poll_params(
    ctx: *mut AioContext,
    max_ns: i64,
    grow: i64,
    shrink: i64,
    errp: *mut *mut Error,
) {
    if max_ns < 0 || grow < 0 || shrink < 0 {
        // SAFETY: the caller's promise.
        unsafe { error::set(errp, "busy-polling parameters cannot be negative") };
        return;
    }
    // SAFETY: the caller's promise.
    let context = unsafe { Context::from_raw(ctx) };
    context.polling.set(max_ns, grow, shrink);
    context.monitor.reset_poll_times();
    context.doorbell.ring();
}
