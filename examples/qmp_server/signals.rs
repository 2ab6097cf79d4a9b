//! The signals that end the program, as something to await.
//!
//! Owns a `signalfd`: the signals are blocked in every thread, so they interrupt nothing, and are read
//! from an fd that the main loop watches like any other.
//!
//! Threads: the main loop's; [`Signals::block`] before there are others.

use std::io;

use executor::async_fd::AsyncFd;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// SIGINT and SIGTERM.
pub(super) struct Signals {
    fd: AsyncFd<SignalFd>,
}

impl Signals {
    /// Keeps the signals from ending the program, in this thread and those it makes from now on.
    pub(super) fn block() -> io::Result<()> {
        Ok(Self::set().thread_block()?)
    }

    /// Begins to receive the signals, which are [blocked](Self::block).
    pub(super) fn new() -> io::Result<Self> {
        let fd =
            SignalFd::with_flags(&Self::set(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let fd = AsyncFd::read_only(fd).map_err(|refused| refused.into_parts().1)?;
        Ok(Self { fd })
    }

    fn set() -> SigSet {
        SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM])
    }

    /// Waits for the next signal.
    pub(super) async fn next(&self) {
        let read = |fd: &SignalFd| match fd.read_signal()? {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::WouldBlock.into()),
        };
        self.fd.read_with(read).await.expect("reading a signalfd cannot fail");
    }
}
