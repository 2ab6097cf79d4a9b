//! A timer of the kernel's, as a file descriptor that the loop watches.

#![forbid(unsafe_code)]

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::OnTimer;
use crate::aio::context::Context;
use crate::aio::fd_handler::{FdHandler, OnReadable};
use crate::clock::Clock;

/// The kernel's name for a clock, if it has that clock.
pub(super) fn clock_id(clock: Clock) -> Option<ClockId> {
    match clock {
        Clock::Realtime => Some(ClockId::CLOCK_MONOTONIC),
        Clock::Host => Some(ClockId::CLOCK_REALTIME),
        Clock::Virtual | Clock::VirtualRt => None,
    }
}

/// A `timerfd`, watched until it is dropped.
pub(super) struct KernelTimer {
    handler: FdHandler<Fd>,
}

struct Fd(TimerFd);

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

struct Expired<C>(PhantomData<C>);

impl<C: OnTimer> OnReadable for Expired<C> {
    fn ready(number: usize) {
        C::fired(number);
    }

    fn poll(number: usize) -> bool {
        C::is_due(number)
    }
}

impl KernelTimer {
    pub(super) fn new<C: OnTimer>(context: &Context, clock: ClockId, number: usize) -> KernelTimer {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = match TimerFd::new(clock, flags) {
            Ok(timer) => Fd(timer),
            Err(error) => panic!("a timer of the kernel's cannot be made: {error}"),
        };
        KernelTimer { handler: FdHandler::new::<Expired<C>>(context, timer, number) }
    }

    pub(super) fn arm_at(&self, deadline: i64) {
        // What is past fires at once; 0 would disarm.
        let deadline = Duration::from_nanos(u64::try_from(deadline).unwrap_or(0).max(1));
        let expiration = Expiration::OneShot(TimeSpec::from_duration(deadline));
        let set = self.handler.fd().0.set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME);
        set.expect("the kernel takes every time that is not negative");
    }

    /// Also takes back that it has fired.
    pub(super) fn disarm(&self) {
        self.handler.fd().0.unset().expect("a timer can always be disarmed");
    }
}
