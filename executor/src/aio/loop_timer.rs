//! One timer of a loop, for one clock.
//!
//! Where the loop's timer lists can be reached it is a `QEMUTimer` there. Inside QEMU that is so for the
//! iohandler context only: the lists of other contexts are at a place that C keeps to itself, and nested
//! loops on the main context run none. There the kernel's timers serve the host's clocks, and the
//! guest's clocks are watched by the main loop, which passes the word on.
//!
//! Threads: made and used in the loop's home thread.

use std::fmt;

use super::context::Context;
use crate::clock::Clock;

mod kernel;
mod listed;
mod relayed;

use kernel::KernelTimer;
use listed::ListedTimer;
use relayed::RelayedTimer;

/// What a timer runs, given the number it was made with.
pub(crate) trait OnTimer {
    fn fired(number: usize);

    /// Looks whether its time has come, during busy polling.
    fn is_due(number: usize) -> bool;
}

/// A timer in an event loop, disarmed when dropped. Home thread only.
pub(crate) struct LoopTimer {
    kind: Kind,
}

enum Kind {
    Listed(ListedTimer),
    Kernel(KernelTimer),
    Relayed(RelayedTimer),
}

impl LoopTimer {
    /// A disarmed timer on `clock` that calls `C` with `number`.
    ///
    /// # Panics
    ///
    /// If the process has no more file descriptors.
    pub(crate) fn new<C: OnTimer>(context: &Context, clock: Clock, number: usize) -> LoopTimer {
        LoopTimer::of_list::<C>(context, clock, number)
            .unwrap_or_else(|| LoopTimer::without_list::<C>(context, clock, number))
    }

    fn of_list<C: OnTimer>(context: &Context, clock: Clock, number: usize) -> Option<LoopTimer> {
        let timer = ListedTimer::new(context, clock, listed::call::<C>, number)?;
        Some(LoopTimer { kind: Kind::Listed(timer) })
    }

    fn without_list<C: OnTimer>(context: &Context, clock: Clock, number: usize) -> LoopTimer {
        let kind = match kernel::clock_id(clock) {
            Some(id) => Kind::Kernel(KernelTimer::new::<C>(context, id, number)),
            None => Kind::Relayed(RelayedTimer::new::<C>(context, clock, number)),
        };
        LoopTimer { kind }
    }

    /// Lets it fire when its clock reaches `deadline`, in ns (`timer_mod_ns`).
    pub(crate) fn arm_at(&self, deadline: i64) {
        match &self.kind {
            Kind::Listed(timer) => timer.arm_at(deadline),
            Kind::Kernel(timer) => timer.arm_at(deadline),
            Kind::Relayed(timer) => timer.arm_at(deadline),
        }
    }

    /// `timer_del`.
    pub(crate) fn disarm(&self) {
        match &self.kind {
            Kind::Listed(timer) => timer.disarm(),
            Kind::Kernel(timer) => timer.disarm(),
            Kind::Relayed(timer) => timer.disarm(),
        }
    }

    /// Whether the loop knows it as a file descriptor only.
    pub(crate) fn is_fd(&self) -> bool {
        matches!(self.kind, Kind::Kernel(_))
    }

    /// Takes notice that it has fired, so that it does so once.
    pub(crate) fn acknowledge(&self) {
        if let Kind::Kernel(timer) = &self.kind {
            timer.disarm();
        }
    }
}

impl fmt::Debug for LoopTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Listed(_) => "listed",
            Kind::Kernel(_) => "kernel",
            Kind::Relayed(_) => "relayed",
        };
        f.debug_tuple("LoopTimer").field(&kind).finish()
    }
}
