//! UNIX-domain stream sockets.
//!
//! Owns the listener and the connected stream; the transfers are those of all
//! [sockets](super::socket). Peculiar to the family is a full queue: connecting fails at once then, and
//! no event tells when there is room, so it is tried again by the clock.
//!
//! Threads: any; creating one takes an executor on the thread.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, UnixAddr};

use super::accept::accept;
use super::socket::{Connecting, Stream, create, finish_connect, start_connect};
use crate::async_fd::AsyncFd;
use crate::time;

/// How long to wait before asking a listener again whose queue was full.
const QUEUE_FULL: Duration = Duration::from_millis(10);

/// A UNIX socket that accepts connections.
///
/// # Examples
///
/// ```
/// use executor::LocalExecutor;
/// use executor::net::{UnixListener, UnixStream};
/// use futures_util::future::try_join;
/// use futures_util::io::{AsyncReadExt, AsyncWriteExt};
///
/// # let path = std::env::temp_dir().join(format!("executor-listener-{}", std::process::id()));
/// let executor = LocalExecutor::new()?;
/// executor.run(async {
///     let listener = UnixListener::bind(&path)?;
///     let connecting = UnixStream::connect(&path);
///     let ((mut server, _), mut client) = try_join(listener.accept(), connecting).await?;
///
///     server.write_all(b"welcome").await?;
///     drop(server);
///     let mut text = String::new();
///     client.read_to_string(&mut text).await?;
///     assert_eq!(text, "welcome");
///
///     assert!(listener.get_ref().local_addr()?.as_pathname().is_some());
///     std::fs::remove_file(&path) // The listener does not.
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct UnixListener {
    fd: AsyncFd<net::UnixListener>,
}

impl UnixListener {
    /// Creates a socket at `path` and listens on it.
    ///
    /// The file must not exist, and stays when the listener is dropped.
    ///
    /// # Errors
    ///
    /// As [`std::os::unix::net::UnixListener::bind`], or if the socket cannot be watched.
    ///
    /// # Panics
    ///
    /// Outside any executor.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::from_std(net::UnixListener::bind(path)?)
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
    pub fn from_std(listener: net::UnixListener) -> io::Result<Self> {
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
    pub async fn accept(&self) -> io::Result<(UnixStream, net::SocketAddr)> {
        let (stream, address) = accept(&self.fd, net::UnixListener::accept).await?;
        Ok((UnixStream::from_std(stream)?, address))
    }

    /// Returns the standard library's listener, for its options and addresses.
    pub fn get_ref(&self) -> &net::UnixListener {
        self.fd.get_ref()
    }
}

/// A connected UNIX socket.
///
/// Fds that the peer sends along are closed unseen.
///
/// # Examples
///
/// ```
/// use executor::LocalExecutor;
/// use executor::net::{UnixListener, UnixStream};
/// use futures_util::io::{AsyncReadExt, AsyncWriteExt};
///
/// # use std::os::linux::net::SocketAddrExt;
/// # let name = format!("executor-stream-{}", std::process::id());
/// # let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
/// let executor = LocalExecutor::new()?;
/// executor.run(async {
///     let (mut one, mut other) = UnixStream::pair()?;
///     one.write_all(b"!").await?;
///     let mut byte = [0];
///     other.read_exact(&mut byte).await?;
///     assert_eq!(byte, *b"!");
///
///     // Sockets that the standard library has made: here with an address that is no path.
///     let listener = std::os::unix::net::UnixListener::bind_addr(&address)?;
///     let listener = UnixListener::from_std(listener)?;
///     let client = std::os::unix::net::UnixStream::connect_addr(&address)?;
///     let client = UnixStream::from_std(client)?;
///     let (server, _) = listener.accept().await?;
///     assert!(client.get_ref().peer_addr()?.as_pathname().is_none());
///     drop(server);
///     Ok::<_, std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub type UnixStream = Stream<net::UnixStream>;

impl UnixStream {
    /// Connects to the socket at `path`.
    ///
    /// While the listener's queue is full it is asked again every 10 milliseconds, for as long as it
    /// takes: use a [`timeout`](crate::time::timeout) to limit that.
    ///
    /// # Errors
    ///
    /// If there is no such socket, nobody listens, or the socket cannot be watched.
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        let address = UnixAddr::new(path.as_ref())?;
        let mut fd = create(AddressFamily::Unix)?;
        loop {
            match start_connect(&fd, &address)? {
                Connecting::Done => return Self::from_std(fd.into()),
                Connecting::QueueFull => time::sleep(QUEUE_FULL).await,
                Connecting::InProgress => {
                    fd = finish_connect(fd).await?;
                    return Self::from_std(fd.into());
                }
            }
        }
    }

    /// Creates two sockets that are connected to each other.
    ///
    /// # Errors
    ///
    /// If the process is out of fds, or the sockets cannot be watched.
    ///
    /// # Panics
    ///
    /// Outside any executor.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = net::UnixStream::pair()?;
        Ok((Self::from_std(one)?, Self::from_std(other)?))
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
    pub fn from_std(stream: net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Stream::new(stream)
    }
}

impl AsFd for UnixListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
