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
//!
//! # Examples
//!
//! ```
//! use std::io::{Read, Write};
//! use std::os::unix::net::UnixStream;
//!
//! use executor::LocalExecutor;
//! use executor::async_fd::AsyncFd;
//!
//! let executor = LocalExecutor::new()?;
//! let (mut near, far) = UnixStream::pair()?;
//! far.set_nonblocking(true)?;
//! let received = executor.run(async {
//!     let far = AsyncFd::new(far)?;
//!     near.write_all(b"hello")?;
//!     let mut buffer = [0; 16];
//!     let count = far.read_with(|mut socket| socket.read(&mut buffer)).await?;
//!     Ok::<_, std::io::Error>(buffer[..count].to_vec())
//! })?;
//! assert_eq!(received, b"hello");
//! # Ok::<(), std::io::Error>(())
//! ```

#![forbid(unsafe_code)]

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::current;

mod error;
pub(crate) mod reactor;
pub(crate) mod source;
#[cfg(test)]
pub(crate) mod test_loop;
#[cfg(test)]
mod tests;
mod waiters;

pub(crate) use reactor::{Events, Reactor};

pub use error::RegisterError;
use reactor::{SourceKey, closed};
pub use source::Ready;
use source::{AfterClear, Direction, Interest, Source};
use waiters::Ticket;

/// A file descriptor whose readiness can be awaited.
///
/// The fd must be in non-blocking mode (`O_NONBLOCK`) if [`read_with`](Self::read_with) or
/// [`write_with`](Self::write_with) is to be used: an operation that blocks stops the whole loop. The
/// mode is the caller's to set, because it belongs to the open file, which others may share.
///
/// # Examples
///
/// A datagram socket, which [`net`](crate::net) has no type for:
///
/// ```
/// use std::io;
/// use std::os::unix::net::UnixDatagram;
///
/// use executor::LocalExecutor;
/// use executor::async_fd::AsyncFd;
///
/// struct Datagrams {
///     fd: AsyncFd<UnixDatagram>,
/// }
///
/// impl Datagrams {
///     fn new(socket: UnixDatagram) -> io::Result<Datagrams> {
///         socket.set_nonblocking(true)?;
///         Ok(Datagrams { fd: AsyncFd::new(socket)? })
///     }
///
///     async fn send(&self, message: &[u8]) -> io::Result<usize> {
///         self.fd.write_with(|socket| socket.send(message)).await
///     }
///
///     async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
///         self.fd.read_with(|socket| socket.recv(buffer)).await
///     }
/// }
///
/// let executor = LocalExecutor::new()?;
/// let (one, other) = UnixDatagram::pair()?;
/// executor.run(async {
///     let (one, other) = (Datagrams::new(one)?, Datagrams::new(other)?);
///     let received = executor.spawn(async move {
///         let mut buffer = [0; 16];
///         let count = other.receive(&mut buffer).await?;
///         Ok::<_, io::Error>(buffer[..count].to_vec())
///     });
///     one.send(b"ping").await?;
///     assert_eq!(received.await.expect("it does not panic")?, b"ping");
///     assert!(one.fd.get_ref().local_addr()?.is_unnamed());
///     let _socket = one.fd.into_inner(); // Open, and no longer watched.
///     Ok::<_, io::Error>(())
/// })?;
/// # Ok::<(), io::Error>(())
/// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    ///
    /// use executor::LocalExecutor;
    /// use executor::async_fd::AsyncFd;
    ///
    /// let executor = LocalExecutor::new()?;
    /// let (from, to) = UnixStream::pair()?;
    /// from.set_nonblocking(true)?;
    /// to.set_nonblocking(true)?;
    /// executor.run(async {
    ///     let (from, to) = (AsyncFd::read_only(from)?, AsyncFd::write_only(to)?);
    ///     to.writable().await?; // The one thing that can be waited for there.
    ///     to.get_ref().write_all(b"!")?;
    ///     from.readable().await?;
    ///     let mut byte = [0];
    ///     from.get_ref().read_exact(&mut byte)?;
    ///     assert_eq!(byte, *b"!");
    ///     Ok::<_, std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{self, Write};
    /// use std::os::unix::net::UnixListener;
    ///
    /// # use std::os::linux::net::SocketAddrExt;
    /// # use std::os::unix::net::{SocketAddr, UnixStream};
    /// use executor::LocalExecutor;
    /// use executor::async_fd::AsyncFd;
    ///
    /// # let name = format!("executor-read-with-{}", std::process::id());
    /// # let address = SocketAddr::from_abstract_name(name)?;
    /// # let listener = UnixListener::bind_addr(&address)?;
    /// listener.set_nonblocking(true)?;
    /// let executor = LocalExecutor::new()?;
    /// executor.run(async {
    ///     let listener = AsyncFd::read_only(listener)?;
    ///     let accepting = listener.read_with(UnixListener::accept);
    /// # let accepting = async { let _client = UnixStream::connect_addr(&address)?; accepting.await };
    ///     let (mut connection, _address) = accepting.await?;
    ///     assert!(connection.write_all(b"welcome").is_err(), "the client has gone already");
    ///     Ok::<_, io::Error>(())
    /// })?;
    /// # Ok::<(), io::Error>(())
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::poll_fn;
    /// use std::io::Write;
    /// use std::os::unix::net::UnixStream;
    /// use std::task::Poll;
    ///
    /// use executor::LocalExecutor;
    /// use executor::async_fd::AsyncFd;
    ///
    /// let executor = LocalExecutor::new()?;
    /// let (mut near, far) = UnixStream::pair()?;
    /// executor.run(async {
    ///     let far = AsyncFd::new(far)?;
    ///     // Inside a poll function of one's own: both directions at once.
    ///     let writable = poll_fn(|cx| match (far.poll_read_ready(cx), far.poll_write_ready(cx)) {
    ///         (Poll::Pending, Poll::Ready(_)) => Poll::Ready(true),
    ///         (Poll::Ready(_), _) => Poll::Ready(false),
    ///         (Poll::Pending, Poll::Pending) => Poll::Pending,
    ///     });
    ///     assert!(writable.await, "there is room, and nothing to read");
    ///     near.write_all(b"!")?;
    ///     poll_fn(|cx| far.poll_read_ready(cx)).await?;
    ///     Ok::<_, std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
