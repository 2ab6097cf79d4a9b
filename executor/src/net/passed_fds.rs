//! File descriptors that come along with the bytes of a UNIX socket.
//!
//! The kernel makes new fds of them while it copies the bytes, so each of them has to be owned before anything
//! else can fail, also when it says that it could not deliver all: it runs out of fds in the middle of a
//! message, or out of room. They are closed in programs that this one starts.
//!
//! Threads: any.

use std::io::{self, IoSliceMut};
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;

use super::socket::Received;

/// How many are taken from a message; the kernel closes what is beyond (`TCP_MAX_FDS`).
const MOST_FDS: usize = 16;

/// Room for that many, in words, because a header begins at a word. Three words are the header's.
const ROOM: usize = 3 + MOST_FDS * FD / WORD;
const WORD: usize = size_of::<usize>();
const FD: usize = size_of::<RawFd>();

/// Reads bytes, and adds what came along to `fds`.
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<Received> {
    let mut buffers = [IoSliceMut::new(buffer)];
    let mut control = [0_usize; ROOM];
    // SAFETY: [layout]: a header of numbers and pointers, for which zero is nothing.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    // An `IoSliceMut` is an `iovec`, as its documentation says.
    header.msg_iov = buffers.as_mut_ptr().cast();
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    // SAFETY: [layout]: the header has the places and lengths of two buffers, which live until the call returns.
    let count =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    let before = fds.len();
    let filled: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let filled = filled.get(..header.msg_controllen).unwrap_or(&filled);
    fds.extend(passed(filled).map(|fd| {
        // SAFETY: [fd-received]: the kernel has just made it for us, and each is listed once.
        unsafe { OwnedFd::from_raw_fd(fd) }
    }));
    let cut = fds.len() > before || header.msg_flags & libc::MSG_CTRUNC != 0;
    Ok(Received { count, cut })
}

/// Returns the numbers of the fds in control messages, of which there may be several.
fn passed(mut control: &[u8]) -> impl Iterator<Item = RawFd> + '_ {
    let messages = std::iter::from_fn(move || {
        let length = usize::from_ne_bytes(control.first_chunk().copied()?);
        let message = control.get(..length)?;
        control = control.get(length.next_multiple_of(WORD)..).unwrap_or_default();
        Some(message)
    });
    messages
        .flat_map(|message| rights(message).chunks_exact(FD))
        .map(|bytes| RawFd::from_ne_bytes(bytes.try_into().expect("chunks are of this size")))
}

/// Returns what is behind the header of a control message, if it is about fds.
fn rights(message: &[u8]) -> &[u8] {
    let number = |at: usize| {
        let bytes = message.get(at..)?.first_chunk()?;
        Some(i32::from_ne_bytes(*bytes))
    };
    let kind = (number(WORD), number(WORD + 4));
    let is_rights = kind == (Some(libc::SOL_SOCKET), Some(libc::SCM_RIGHTS));
    if is_rights { message.get(WORD + 8..).unwrap_or_default() } else { &[] }
}
