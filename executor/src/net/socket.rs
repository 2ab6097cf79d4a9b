//! What all stream sockets have in common: connecting, transfers, and when they are drained.
//!
//! A transfer that was cut short proves that the next one would block, with exceptions that lose
//! events if they are overlooked:
//!
//! - A UNIX socket also ends a read where the peer attached file descriptors or other credentials, with
//!   more data behind. So reads go through `recvmsg` without room for ancillary data; the kernel says
//!   that it cut some off (and closes the fds), and then the socket does not count as drained.
//! - A TCP socket also ends a read before urgent data. That is an event of its own, and
//!   [`AsyncFd::drained`] takes it into account, as it does hang-ups and errors.
//!
//! Threads: any. It knows no addresses.

#![forbid(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::io::{AsyncRead, AsyncWrite};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrLike, connect, getsockopt, recvmsg, send,
    sendmsg, shutdown, socket, sockopt,
};

use super::passed_fds;
use crate::async_fd::AsyncFd;
use crate::async_fd::source::{Direction, Interest};

/// More buffers than this in one call are an error of the kernel's (`IOV_MAX`).
const MOST_BUFFERS: usize = 1024;

/// A connected stream socket of the standard library's type `S`: [`TcpStream`](super::TcpStream) or
/// [`UnixStream`](super::UnixStream).
///
/// # Examples
///
/// ```
/// use std::net::Shutdown;
///
/// use executor::LocalExecutor;
/// use executor::net::UnixStream;
/// use futures_util::future::try_join;
/// use futures_util::io::{AsyncReadExt, AsyncWriteExt};
///
/// let executor = LocalExecutor::new()?;
/// executor.run(async {
///     let (near, mut far) = UnixStream::pair()?;
///     // By reference, one part of a program writes while another reads.
///     let mut reply = String::new();
///     let ask = async {
///         (&near).write_all(b"question").await?;
///         near.shutdown(Shutdown::Write)
///     };
///     let serve = async {
///         let mut question = String::new();
///         far.read_to_string(&mut question).await?;
///         far.write_all(question.to_uppercase().as_bytes()).await?;
///         far.close().await
///     };
///     try_join(try_join(ask, serve), (&near).read_to_string(&mut reply)).await?;
///     assert_eq!(reply, "QUESTION");
///
///     assert!(near.get_ref().take_error()?.is_none()); // What only the standard library has.
///     let _socket: std::os::unix::net::UnixStream = near.into_std();
///     Ok::<_, std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Stream<S: AsFd> {
    fd: AsyncFd<S>,
}

impl<S: AsFd> Stream<S> {
    /// Registers a connected socket in non-blocking mode.
    pub(super) fn new(socket: S) -> io::Result<Self> {
        Ok(Self { fd: AsyncFd::with_interest(socket, Interest::ReadThenWrite)? })
    }

    /// Returns the standard library's socket, for its options and addresses.
    pub fn get_ref(&self) -> &S {
        self.fd.get_ref()
    }

    /// Ends the watch and returns the socket, still in non-blocking mode.
    #[must_use = "dropping the socket closes it"]
    pub fn into_std(self) -> S {
        self.fd.into_inner()
    }

    fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let asked: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if asked == 0 {
            return Poll::Ready(Ok(0));
        }
        let operation = |socket: &S| receive(socket.as_fd(), buffers);
        let (seen, received) = ready!(self.fd.poll_with(Direction::Read, cx, operation))?;
        // Nothing received is the end of the stream, which stays.
        if received.count > 0 && received.count < asked && !received.cut {
            self.fd.drained(seen);
        }
        Poll::Ready(Ok(received.count))
    }

    /// As [`poll_read`](AsyncRead::poll_read), but fds that the peer has passed are added to `fds`, up to 16 a message.
    #[allow(dead_code, reason = "used by the `qmp` feature")]
    pub(crate) fn poll_read_with_fds(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        fds: &mut Vec<OwnedFd>,
    ) -> Poll<io::Result<usize>> {
        let asked = buffer.len();
        let operation = |socket: &S| passed_fds::receive(socket.as_fd(), buffer, fds);
        let (seen, received) = ready!(self.fd.poll_with(Direction::Read, cx, operation))?;
        if received.count > 0 && received.count < asked && !received.cut {
            self.fd.drained(seen);
        }
        Poll::Ready(Ok(received.count))
    }

    fn poll_transmit(
        &self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let buffers = &buffers[..buffers.len().min(MOST_BUFFERS)];
        let asked: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        let operation = |socket: &S| transmit(socket.as_fd(), buffers);
        let (seen, sent) = ready!(self.fd.poll_with(Direction::Write, cx, operation))?;
        if sent < asked {
            self.fd.drained(seen);
        }
        Poll::Ready(Ok(sent))
    }

    /// Waits until the peer has closed the connection for both directions, or it has failed.
    #[allow(dead_code, reason = "used by the `qmp` feature")]
    pub(crate) fn poll_hang_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.fd.poll_hang_up(cx)
    }

    /// Ends one direction of the connection, or both.
    ///
    /// # Errors
    ///
    /// As [`std::net::TcpStream::shutdown`], but a connection that has ended is no error.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => nix::sys::socket::Shutdown::Read,
            Shutdown::Write => nix::sys::socket::Shutdown::Write,
            Shutdown::Both => nix::sys::socket::Shutdown::Both,
        };
        match shutdown(self.get_ref().as_fd().as_raw_fd(), how) {
            Err(Errno::ENOTCONN) => Ok(()),
            result => Ok(result?),
        }
    }
}

impl<S: AsFd> AsFd for Stream<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}

impl<S: AsFd> AsyncRead for &Stream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_receive(cx, &mut [IoSliceMut::new(buffer)])
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_receive(cx, buffers)
    }
}

impl<S: AsFd> AsyncWrite for &Stream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_transmit(cx, &[IoSlice::new(buffer)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_transmit(cx, buffers)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Tells the peer that nothing more will be written.
    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown(Shutdown::Write))
    }
}

impl<S: AsFd> AsyncRead for Stream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_receive(cx, &mut [IoSliceMut::new(buffer)])
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_receive(cx, buffers)
    }
}

impl<S: AsFd> AsyncWrite for Stream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_transmit(cx, &[IoSlice::new(buffer)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_transmit(cx, buffers)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_close(cx)
    }
}

/// What came of a read.
pub(super) struct Received {
    pub(super) count: usize,
    /// There was ancillary data here, so there may be more behind.
    pub(super) cut: bool,
}

fn receive(fd: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>]) -> io::Result<Received> {
    let most = buffers.len().min(MOST_BUFFERS);
    let message =
        recvmsg::<()>(fd.as_raw_fd(), &mut buffers[..most], None, MsgFlags::MSG_CMSG_CLOEXEC)?;
    let cut = message.flags.contains(MsgFlags::MSG_CTRUNC);
    Ok(Received { count: message.bytes, cut })
}

fn transmit(fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    let fd = fd.as_raw_fd();
    Ok(match buffers {
        [buffer] => send(fd, buffer, MsgFlags::MSG_NOSIGNAL)?,
        _ => sendmsg::<()>(fd, buffers, &[], MsgFlags::MSG_NOSIGNAL, None)?,
    })
}

/// Creates a stream socket in non-blocking mode.
pub(super) fn create(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket(family, SockType::Stream, flags, None)?)
}

/// How a connection stands that was asked for.
pub(super) enum Connecting {
    Done,
    InProgress,
    /// The listener's queue is full; the kernel will not say when it no longer is.
    QueueFull,
}

/// Asks for a connection.
pub(super) fn start_connect(fd: &OwnedFd, address: &dyn SockaddrLike) -> io::Result<Connecting> {
    match connect(fd.as_raw_fd(), address) {
        Ok(()) => Ok(Connecting::Done),
        // Interrupted or not, the connection is under way.
        Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(Connecting::InProgress),
        Err(Errno::EAGAIN) => Ok(Connecting::QueueFull),
        Err(error) => Err(error.into()),
    }
}

/// Waits until a connection under way is there, or has failed.
pub(super) async fn finish_connect(fd: OwnedFd) -> io::Result<OwnedFd> {
    let fd = AsyncFd::write_only(fd)?;
    fd.writable().await?;
    match getsockopt(fd.get_ref(), sockopt::SocketError)? {
        0 => Ok(fd.into_inner()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
