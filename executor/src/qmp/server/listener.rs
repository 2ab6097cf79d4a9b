//! Sockets that take clients: made on the main loop, where errors have somebody to go to, and served in the
//! monitor's thread.
//!
//! Owns the listening sockets' names. The file of a UNIX socket is removed at the end, unless it has become
//! somebody else's. A file that a crashed program left behind is replaced, which is only tried when
//! nobody listens there. Both happen under a [`Lock`], so that several servers do not take each other's for stale.
//!
//! Threads: a [`Listener`] is made and dropped on the main loop; its task runs in the monitor's.

#![forbid(unsafe_code)]

use std::fs::{self, File, Permissions};
use std::future::Future;
use std::io;
use std::net;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net as unix;
use std::path::{self, Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};

use super::address::Address;
use super::client::Monitor;
use super::transport::Transport;
use crate::net::{TcpListener, UnixListener};
use crate::time::sleep;
use lock::Lock;

mod lock;
#[cfg(test)]
mod tests;

/// How long to wait after an error of `accept` that nothing is known about.
const BACK_OFF: Duration = Duration::from_secs(1);

/// The task that accepts clients.
pub(super) type Accepting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A name that clients can connect to.
#[derive(Debug)]
pub(super) struct Listener {
    /// Where it is, with the port that the kernel has chosen.
    pub(super) address: Address,
    /// Removed when this is dropped.
    _file: Option<SocketFile>,
}

impl Listener {
    /// Makes a socket that listens, and the task to run in the monitor's thread.
    pub(super) fn unix(path: &Path, monitor: &Arc<Monitor>) -> io::Result<(Self, Accepting)> {
        let lock = Lock::take(path)?;
        let socket = bind_unix(path)?;
        let file = SocketFile::of(path)?;
        drop(lock);
        let address = Address::Unix(path.to_owned());
        let accepting = Box::pin(accept_unix(socket, Arc::clone(monitor)));
        Ok((Self { address, _file: Some(file) }, accepting))
    }

    /// As [`unix`](Self::unix); looks up the host's name, which can take its time.
    pub(super) fn tcp(place: &str, monitor: &Arc<Monitor>) -> io::Result<(Self, Accepting)> {
        let socket = net::TcpListener::bind(place)?;
        let address = Address::Tcp(socket.local_addr()?.to_string());
        let accepting = Box::pin(accept_tcp(socket, Arc::clone(monitor)));
        Ok((Self { address, _file: None }, accepting))
    }
}

async fn accept_unix(socket: unix::UnixListener, monitor: Arc<Monitor>) {
    // The kernel has no memory left to watch it; clients see that it is closed.
    let Ok(listener) = UnixListener::from_std(socket) else { return };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => monitor.serve(|| Ok(Transport::Unix(stream))),
            Err(_) => sleep(BACK_OFF).await,
        }
    }
}

async fn accept_tcp(socket: net::TcpListener, monitor: Arc<Monitor>) {
    let Ok(listener) = TcpListener::from_std(socket) else { return };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Replies are small and awaited. If the option is refused, they are merely slower.
                let _slower = stream.get_ref().set_nodelay(true);
                monitor.serve(|| Ok(Transport::Tcp(stream)));
            }
            Err(_) => sleep(BACK_OFF).await,
        }
    }
}

/// Binds a socket, in the place of a stale one if need be. Under the path's lock.
fn bind_unix(path: &Path) -> io::Result<unix::UnixListener> {
    match bind_private(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path)?;
            bind_private(path)
        }
        result => result,
    }
}

/// Makes a socket whose file is its owner's alone.
///
/// Whoever may connect commands the program, so the umask has no say, except to take more away. Linux gives the
/// file the mode that the socket has when it is bound; a mode set on the file afterwards would come too late
/// for a quick client.
fn bind_private(path: &Path) -> io::Result<unix::UnixListener> {
    let socket =
        File::from(socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?);
    socket.set_permissions(Permissions::from_mode(0o600))?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::MAXALLOWABLE)?;
    Ok(OwnedFd::from(socket).into())
}

/// Removes a socket that nobody listens on.
fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use = |why| Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return in_use("the file exists and is no socket");
    }
    match try_connect(path) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path),
        _ => in_use("another program listens there"),
    }
}

/// Connects without waiting.
fn try_connect(path: &Path) -> nix::Result<()> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)
}

/// The file of a listening UNIX socket; removed when this is dropped, if it still is that file.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        // Absolute, because the program may go elsewhere.
        Ok(Self { path: path::absolute(path)?, id: file_id(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // If it cannot be removed, or somebody is about to replace it, the next server finds it stale.
        let Ok(_lock) = Lock::take(&self.path) else { return };
        if file_id(&self.path).is_ok_and(|id| id == self.id) {
            let _stays = fs::remove_file(&self.path);
        }
    }
}

fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
