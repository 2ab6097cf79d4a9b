//! Accepting connections for years.
//!
//! A server must survive errors that are not about it. Which ones those are, and what helps, is
//! decided here, for all kinds of listeners.
//!
//! Threads: any. It knows no addresses.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;

use crate::async_fd::AsyncFd;
use crate::time;

/// How long to wait for others to give back what has run out.
const BACK_OFF: Duration = Duration::from_millis(100);

/// What an error of `accept` calls for.
#[derive(Debug, PartialEq, Eq)]
enum Remedy {
    /// The connection is lost; the next one may be fine.
    TryAgain,
    /// Fds or memory have run out. The connection stays in the queue, and no event will announce
    /// it again, so waiting is for the clock.
    WaitAWhile,
    /// The listener is broken.
    GiveUp,
}

/// Accepts one connection.
///
/// Connections that break off before they are accepted are skipped, and a shortage of fds or
/// memory is waited out.
pub(super) async fn accept<L: AsFd, C>(
    listener: &AsyncFd<L>,
    mut operation: impl FnMut(&L) -> io::Result<C>,
) -> io::Result<C> {
    loop {
        let error = match listener.read_with(&mut operation).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        match remedy(&error) {
            Remedy::TryAgain => {}
            Remedy::WaitAWhile => time::sleep(BACK_OFF).await,
            Remedy::GiveUp => return Err(error),
        }
    }
}

fn remedy(error: &io::Error) -> Remedy {
    match error.raw_os_error().map(Errno::from_raw) {
        // The last group are errors of the network that Linux reports for the new socket.
        Some(
            Errno::ECONNABORTED
            | Errno::EINTR
            | Errno::EPERM
            | Errno::EPROTO
            | Errno::ENOPROTOOPT
            | Errno::ENETDOWN
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::EHOSTUNREACH
            | Errno::ENONET
            | Errno::EOPNOTSUPP,
        ) => Remedy::TryAgain,
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => Remedy::WaitAWhile,
        _ => Remedy::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::async_fd::test_loop::TestLoop;
    use crate::clock::Clock;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

    fn failing_first(number: Errno) -> impl FnMut(&UnixListener) -> io::Result<UnixStream> {
        let mut first = true;
        move |listener| match std::mem::take(&mut first) {
            true => Err(number.into()),
            false => Ok(listener.accept()?.0),
        }
    }

    fn try_accept(number: Errno) -> io::Result<UnixStream> {
        let name = format!("executor-accept-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(name)?;
        let listener = UnixListener::bind_addr(&address)?;
        let _client = UnixStream::connect_addr(&address)?;
        let lp = TestLoop::new();
        let listener = lp.enter(|| AsyncFd::read_only(listener))?;
        lp.block_on(accept(&listener, failing_first(number)))
    }

    #[test]
    fn a_connection_that_was_aborted_is_skipped() {
        try_accept(Errno::ECONNABORTED).expect("the next one is accepted");
    }

    #[test]
    fn a_shortage_of_fds_is_waited_out() {
        let start = Clock::Realtime.now();

        try_accept(Errno::EMFILE).expect("the connection is still in the queue");

        assert!(Clock::Realtime.now() - start >= 100_000_000);
    }

    #[test]
    fn a_broken_listener_is_an_error() {
        let error = try_accept(Errno::EINVAL).expect_err("nothing can help");

        assert_eq!(error.raw_os_error(), Some(Errno::EINVAL as i32));
    }
}
