//! The smallest host of a `MainLoop`: `poll()` on its descriptor alone.

#![allow(dead_code, reason = "every test program uses another part")]

use std::os::fd::AsFd;

use executor::MainLoop;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Longer than anything here takes: whoever sleeps for so long has lost a wake-up.
pub(crate) const FOR_EVER: u16 = 10_000;

/// Whether the descriptor is readable, after up to `timeout_ms`.
pub(crate) fn is_readable(main: &MainLoop, timeout_ms: u16) -> bool {
    let mut fds = [PollFd::new(main.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(timeout_ms)).expect("a descriptor can be polled") == 1
}

/// The smallest host: sleeps until the descriptor is readable, and dispatches. Returns how often it woke up.
pub(crate) fn drive(main: &mut MainLoop, until: impl Fn() -> bool) -> usize {
    let mut wake_ups = 0;
    while !until() {
        assert!(is_readable(main, FOR_EVER), "a wake-up was lost");
        main.dispatch();
        wake_ups += 1;
    }
    wake_ups
}

/// Runs what is ready, until there is nothing more.
pub(crate) fn settle(main: &mut MainLoop) {
    while is_readable(main, 0) {
        main.dispatch();
    }
}

pub(crate) fn main_loop() -> MainLoop {
    MainLoop::new().expect("there are fds left")
}
