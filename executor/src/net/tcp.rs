//! TCP sockets.
//!
//! Owns the listener and the connected stream; the transfers are those of all
//! [sockets](super::socket). Addresses are numeric: looking names up blocks, so it is work for
//! [`blocking`](crate::blocking::blocking).
//!
//! Threads: any; creating one takes an executor on the thread.

#![forbid(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{self, Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::io::{AsyncRead, AsyncWrite};
use nix::sys::socket::{AddressFamily, SockaddrStorage};

use super::accept::accept;
use super::socket::{Connecting, Socket, create, finish_connect, start_connect};
use crate::async_fd::AsyncFd;

/// A TCP socket that accepts connections.
#[derive(Debug)]
pub struct TcpListener {
    fd: AsyncFd<net::TcpListener>,
}

impl TcpListener {
    /// Listens at `address`; port 0 lets the kernel choose one.
    ///
    /// # Errors
    ///
    /// As [`std::net::TcpListener::bind`], or if the socket cannot be watched.
    ///
    /// # Panics
    ///
    /// Outside any executor.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::from_std(net::TcpListener::bind(address)?)
    }

    /// Takes over a listening socket, and puts it in non-blocking mode.
    ///
    /// # Errors
    ///
    /// If the socket cannot be watched.
    ///
    /// # Panics
    ///
    /// Outside any executor.
    pub fn from_std(listener: net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { fd: AsyncFd::read_only(listener)? })
    }

    /// Waits for a connection.
    ///
    /// Connections that break off early are skipped; if the process is out of fds or memory, it is
    /// tried again every 100 milliseconds. Dropping the future loses no connection.
    ///
    /// # Errors
    ///
    /// If the listener is broken, or the connection cannot be watched.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, address) = accept(&self.fd, net::TcpListener::accept).await?;
        Ok((TcpStream::from_std(stream)?, address))
    }

    /// Returns the standard library's listener, for its options and addresses.
    pub fn get_ref(&self) -> &net::TcpListener {
        self.fd.get_ref()
    }
}

/// A connected TCP socket.
#[derive(Debug)]
pub struct TcpStream {
    socket: Socket<net::TcpStream>,
}

impl TcpStream {
    /// Connects to `address`.
    ///
    /// How long that can take is up to the kernel (minutes): use a
    /// [`timeout`](crate::time::timeout) to limit it.
    ///
    /// # Errors
    ///
    /// If the connection is refused or fails otherwise, or if the socket cannot be watched.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let fd = create(family)?;
        match start_connect(&fd, &SockaddrStorage::from(address))? {
            Connecting::Done => Self::from_std(fd.into()),
            Connecting::InProgress => Self::from_std(finish_connect(fd).await?.into()),
            // For TCP it means that there is no local port left, and waiting is not for us to decide.
            Connecting::QueueFull => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }

    /// Takes over a connected socket, and puts it in non-blocking mode.
    ///
    /// # Errors
    ///
    /// If the socket cannot be watched.
    ///
    /// # Panics
    ///
    /// Outside any executor.
    pub fn from_std(stream: net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { socket: Socket::new(stream)? })
    }

    /// Ends the watch and returns the socket, still in non-blocking mode.
    #[must_use = "dropping the socket closes it"]
    pub fn into_std(self) -> net::TcpStream {
        self.socket.into_inner()
    }

    /// Returns the standard library's socket, for its options (`set_nodelay`) and addresses.
    pub fn get_ref(&self) -> &net::TcpStream {
        self.socket.get_ref()
    }

    /// Ends one direction of the connection, or both.
    ///
    /// # Errors
    ///
    /// As [`std::net::TcpStream::shutdown`], but a connection that has ended is no error.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// Waits until the peer has closed the connection for both directions, or it has failed.
    #[allow(dead_code, reason = "used by the `qmp` feature")]
    pub(crate) fn poll_hang_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_hang_up(cx)
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}

impl AsyncRead for &TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_read(cx, &mut [IoSliceMut::new(buffer)])
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_read(cx, buffers)
    }
}

impl AsyncWrite for &TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_write(cx, &[IoSlice::new(buffer)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_write(cx, buffers)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_close()
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read(cx, buffer)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read_vectored(cx, buffers)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_close(cx)
    }
}
