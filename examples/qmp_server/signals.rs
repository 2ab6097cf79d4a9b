//! The signals that the program knows: those that end it, as something to await, and the one that asks what it is
//! doing.
//!
//! Owns a `signalfd`: the signals are blocked in every thread, so they interrupt nothing, and are read
//! from an fd that the main loop watches like any other.
//!
//! `SIGUSR1` is received by a thread of its own, so that it is answered while the main loop is stuck.
//!
//! Threads: the main loop's; [`Signals::block`] before there are others.

use std::io::{self, Write};
use std::thread;

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
        Self::set().thread_block()?;
        Ok(request().thread_block()?)
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

fn request() -> SigSet {
    SigSet::from_iter([Signal::SIGUSR1])
}

/// Prints what `text` returns on stderr at each SIGUSR1, which is [blocked](Signals::block), until the program ends.
pub(super) fn print_on_request(text: impl Fn() -> String + Send + 'static) -> io::Result<()> {
    let print = move || {
        while request().wait().is_ok() {
            // Nobody to tell.
            let _ = io::stderr().write_all(text().as_bytes());
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(print)?;
    Ok(())
}
