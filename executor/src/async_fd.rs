//! Fds as futures: wait until a file descriptor is ready.
//!
//! An [`AsyncFd`] owns a file descriptor (anything that is [`AsFd`]) and its registration with the
//! [reactor] of the executor that created it. Tasks wait for readiness and do the input
//! or output themselves, on a non-blocking fd; nothing is read before the kernel has announced it,
//! and nothing is asked of the kernel while nothing has changed.
//!
//! Waiting takes `&self`: any number of tasks can wait for the same fd, in both directions, and all
//! of those that wait for a direction are woken when it becomes ready.
//!
//! Threads: an `AsyncFd` is `Send` and `Sync` if its fd type is. It stays with the executor that it
//! was created under; other threads can wait for it too, and are woken from there.
//!
//! Sockets, pipes and eventfds have ready-made types in [`net`](crate::net). Regular files are
//! always "ready" and still block: see [`blocking`](mod@crate::blocking).

#![forbid(unsafe_code)]

use std::error;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::current;

pub(crate) mod reactor;
pub(crate) mod source;
#[cfg(test)]
pub(crate) mod test_loop;
#[cfg(test)]
mod tests;
mod waiters;

pub(crate) use reactor::{Events, Reactor};

use reactor::{SourceKey, closed};
pub use source::Ready;
use source::{AfterClear, Direction, Interest, Source};
use waiters::Ticket;

/// A file descriptor whose readiness can be awaited.
///
/// The fd must be in non-blocking mode (`O_NONBLOCK`) if [`read_with`](Self::read_with) or
/// [`write_with`](Self::write_with) is to be used: an operation that blocks stops the whole loop. The
/// mode is the caller's to set, because it belongs to the open file, which others may share.
pub struct AsyncFd<T: AsFd> {
    /// Only [`into_inner`](Self::into_inner) takes it, and that consumes `self`.
    inner: Option<T>,
    reactor: Arc<Reactor>,
    source: Arc<Source>,
    key: SourceKey,
}

impl<T: AsFd> AsyncFd<T> {
    /// Registers `fd` with the executor that polls on this thread.
    ///
    /// # Errors
    ///
    /// Fails, and gives the fd back, if the fd is of a kind that cannot be waited for (regular
    /// files), if it is registered already, or if the kernel has no memory.
    ///
    /// # Panics
    ///
    /// Outside any executor.
    pub fn new(fd: T) -> Result<Self, RegisterError<T>> {
        Self::with_interest(fd, Interest::Both)
    }

    /// Registers `fd` for reading alone, which spares wake-ups when room for writing appears.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    ///
    /// # Panics
    ///
    /// Outside any executor.
    pub fn read_only(fd: T) -> Result<Self, RegisterError<T>> {
        Self::with_interest(fd, Interest::Read)
    }

    /// Registers `fd` for writing alone.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    ///
    /// # Panics
    ///
    /// Outside any executor.
    pub fn write_only(fd: T) -> Result<Self, RegisterError<T>> {
        Self::with_interest(fd, Interest::Write)
    }

    pub(crate) fn with_interest(fd: T, interest: Interest) -> Result<Self, RegisterError<T>> {
        let registered = current::reactor().and_then(|reactor| {
            let (key, source) = reactor.register(fd.as_fd(), interest)?;
            Ok((reactor, key, source))
        });
        match registered {
            Ok((reactor, key, source)) => Ok(Self { inner: Some(fd), reactor, source, key }),
            Err(error) => Err(RegisterError { source: fd, error }),
        }
    }

    /// Returns the fd.
    ///
    /// Do not put another fd in its place through interior mutability: the registration is the
    /// first one's.
    pub fn get_ref(&self) -> &T {
        self.inner.as_ref().expect("only `into_inner` takes it, which consumes `self`")
    }

    /// Ends the registration and returns the fd, open.
    #[must_use = "dropping the fd closes it"]
    pub fn into_inner(mut self) -> T {
        self.deregister();
        self.inner.take().expect("only `into_inner` takes it, which consumes `self`")
    }

    /// Waits until there is something to read: data, the end, or an error.
    ///
    /// Readiness is remembered until [`clear_ready`](Self::clear_ready), so this can complete at once
    /// although the data was read meanwhile. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// Fails once the executor has been shut down.
    pub async fn readable(&self) -> io::Result<Ready> {
        self.wait(Direction::Read).await
    }

    /// Waits until there is room to write to, or an error.
    ///
    /// As [`readable`](Self::readable) otherwise.
    ///
    /// # Errors
    ///
    /// Fails once the executor has been shut down.
    pub async fn writable(&self) -> io::Result<Ready> {
        self.wait(Direction::Write).await
    }

    /// Forgets readiness, after an operation showed that it would block.
    ///
    /// What has happened since `ready` was observed is not forgotten. Forgetting without that proof
    /// loses events: the kernel announces only changes.
    pub fn clear_ready(&self, ready: Ready) {
        if self.source.clear(ready) == AfterClear::WatchWrite {
            let watched = self.reactor.watch_write(self.as_fd(), self.key);
            if watched.is_err() {
                // The fd was closed behind our back. Nobody may wait for an event that cannot come.
                self.source.fail();
            }
        }
    }

    /// Runs `operation` as soon as the fd is readable, again and again until it does not fail with
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) or [`Interrupted`](io::ErrorKind::Interrupted).
    ///
    /// # Errors
    ///
    /// Returns the operation's error, or fails once the executor has been shut down.
    pub async fn read_with<R>(&self, operation: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.run(Direction::Read, operation).await
    }

    /// Runs `operation` as soon as the fd is writable; as [`read_with`](Self::read_with) otherwise.
    ///
    /// # Errors
    ///
    /// Returns the operation's error, or fails once the executor has been shut down.
    pub async fn write_with<R>(&self, operation: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.run(Direction::Write, operation).await
    }

    /// Polls for readability; the poll function of [`readable`](Self::readable).
    ///
    /// The waker is kept until the next event, even if the caller loses interest.
    ///
    /// # Errors
    ///
    /// Fails once the executor has been shut down.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.poll_ready(Direction::Read, cx)
    }

    /// Polls for writability; the poll function of [`writable`](Self::writable).
    ///
    /// # Errors
    ///
    /// Fails once the executor has been shut down.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.poll_ready(Direction::Write, cx)
    }

    /// Polls for the peer's going away, or an error, also while there is data that nobody reads.
    ///
    /// A peer that has only ended its own direction is still there.
    #[allow(dead_code, reason = "used by the `qmp` feature")]
    pub(crate) fn poll_hang_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.source.park_hang_up(cx.waker()) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Polls an operation; the poll function behind the stream types.
    pub(crate) fn poll_with<R>(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<(Ready, R)>> {
        loop {
            let ready = ready!(self.poll_ready(direction, cx))?;
            if let Some(result) = self.attempt(ready, &mut operation) {
                return Poll::Ready(result.map(|value| (ready, value)));
            }
        }
    }

    /// Takes note that an operation moved less than it was asked to, which proves that the next one
    /// would block, unless there is more to find than data.
    ///
    /// It is for the caller to know that the fd is of a kind where this holds: a byte stream.
    pub(crate) fn drained(&self, ready: Ready) {
        if !ready.is_unusual() {
            self.clear_ready(ready);
        }
    }

    fn poll_ready(&self, direction: Direction, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        let ready = self.source.ready(direction);
        match ready.or_else(|| self.source.park_poll(direction, cx.waker())) {
            None => Poll::Pending,
            Some(ready) if ready.is_closed() => Poll::Ready(Err(closed())),
            Some(ready) => Poll::Ready(Ok(ready)),
        }
    }

    fn wait(&self, direction: Direction) -> Wait<'_> {
        Wait { source: &self.source, direction, ticket: None }
    }

    async fn run<R>(
        &self,
        direction: Direction,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            let ready = self.wait(direction).await?;
            if let Some(result) = self.attempt(ready, &mut operation) {
                return result;
            }
        }
    }

    /// Runs `operation` once. Returns `None` if it is to be tried again when the fd is ready.
    fn attempt<R>(
        &self,
        ready: Ready,
        operation: &mut impl FnMut(&T) -> io::Result<R>,
    ) -> Option<io::Result<R>> {
        let result = operation(self.get_ref());
        match result.as_ref().map_err(io::Error::kind) {
            Err(io::ErrorKind::WouldBlock) => {
                self.clear_ready(ready);
                None
            }
            Err(io::ErrorKind::Interrupted) => None,
            _ => Some(result),
        }
    }

    fn deregister(&self) {
        if let Some(fd) = &self.inner {
            self.reactor.deregister(fd.as_fd(), self.key);
        }
    }
}

impl<T: AsFd> AsFd for AsyncFd<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}

impl<T: AsFd> Drop for AsyncFd<T> {
    fn drop(&mut self) {
        // Before the fd is closed: afterwards its number may be somebody else's.
        self.deregister();
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for AsyncFd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncFd").field("fd", self.get_ref()).finish_non_exhaustive()
    }
}

/// Waits for one direction; leaves the list of waiters when it is dropped.
struct Wait<'a> {
    source: &'a Source,
    direction: Direction,
    ticket: Option<Ticket>,
}

impl Future for Wait<'_> {
    type Output = io::Result<Ready>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let ready = this.source.ready(this.direction);
        match ready.or_else(|| this.source.park(this.direction, &mut this.ticket, cx.waker())) {
            None => Poll::Pending,
            Some(ready) if ready.is_closed() => Poll::Ready(Err(closed())),
            Some(ready) => Poll::Ready(Ok(ready)),
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.source.leave(self.direction, ticket);
        }
    }
}

/// The error of a registration that failed, with the fd that was to be registered.
#[derive(Debug)]
pub struct RegisterError<T> {
    source: T,
    error: io::Error,
}

impl<T> RegisterError<T> {
    /// Returns the fd, and why it could not be registered.
    pub fn into_parts(self) -> (T, io::Error) {
        (self.source, self.error)
    }

    /// Returns why the fd could not be registered.
    pub fn error(&self) -> &io::Error {
        &self.error
    }
}

impl<T> From<RegisterError<T>> for io::Error {
    fn from(error: RegisterError<T>) -> Self {
        error.error
    }
}

impl<T> fmt::Display for RegisterError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot wait for this fd: {}", self.error)
    }
}

impl<T: fmt::Debug> error::Error for RegisterError<T> {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}
