//! Sending file descriptors to a monitor.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// Sends bytes with fds, of which the sender keeps none.
pub(crate) fn pass(socket: &UnixStream, bytes: &str, fds: Vec<OwnedFd>) {
    let numbers: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let parts = [IoSlice::new(bytes.as_bytes())];
    let sent = sendmsg::<()>(socket.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None);
    assert_eq!(sent, Ok(bytes.len()));
}
