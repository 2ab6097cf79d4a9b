//! TCP sockets.
//!
//! Owns the listener and the connected stream; the transfers are those of all
//! [sockets](super::socket). Addresses are numeric: looking names up blocks, so it is work for
//! [`blocking`](crate::blocking::blocking).
//!
//! Threads: any; creating one takes an executor on the thread.

#![forbid(unsafe_code)]

use std::io;
use std::net::{self, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::{AddressFamily, SockaddrStorage};

use super::accept::accept;
use super::socket::{Connecting, Stream, create, finish_connect, start_connect};
use crate::async_fd::AsyncFd;

/// A TCP socket that accepts connections.
///
/// # Examples
///
/// ```
/// use executor::LocalExecutor;
/// use executor::net::{TcpListener, TcpStream};
/// use futures_util::future::try_join;
/// use futures_util::io::{AsyncReadExt, AsyncWriteExt};
///
/// let executor = LocalExecutor::new()?;
/// executor.run(async {
///     let listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
///     let address = listener.get_ref().local_addr()?;
///     let connecting = TcpStream::connect(address);
///     let ((mut server, peer), mut client) = try_join(listener.accept(), connecting).await?;
///     assert_eq!(peer, client.get_ref().local_addr()?);
///
///     server.write_all(b"welcome").await?;
///     drop(server);
///     let mut text = String::new();
///     client.read_to_string(&mut text).await?;
///     assert_eq!(text, "welcome");
///     Ok::<_, std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
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
///
/// # Examples
///
/// ```
/// use executor::LocalExecutor;
/// use executor::net::{TcpListener, TcpStream};
///
/// let executor = LocalExecutor::new()?;
/// executor.run(async {
///     // Sockets that somebody else has made, such as systemd.
///     let listener = TcpListener::from_std(std::net::TcpListener::bind("127.0.0.1:0")?)?;
///     let address = listener.get_ref().local_addr()?;
///     let client = TcpStream::from_std(std::net::TcpStream::connect(address)?)?;
///     client.get_ref().set_nodelay(true)?;
///     let (server, peer) = listener.accept().await?;
///     assert_eq!(peer, client.get_ref().local_addr()?);
///     assert!(client.get_ref().nodelay()? && !server.get_ref().nodelay()?);
///     Ok::<_, std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub type TcpStream = Stream<net::TcpStream>;

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
        Stream::new(stream)
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
