//! Standard input and output as a byte stream.
//!
//! Owns duplicates of the two fds. Their open files belong to others too: to the shell that started the
//! program, and often to standard error. So they are left in the mode they are in. A transfer that might
//! block is preceded by a question to the kernel, and no longer than a pipe with room for anything has room
//! for, which is why it does not block. (On a terminal whose output is stopped at that very moment it can.)
//!
//! A regular file or `/dev/null` cannot be waited for. There, transfers are work for the blocking pool.
//!
//! Threads: the monitor's.

#![forbid(unsafe_code)]

use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::async_fd::AsyncFd;
use crate::async_fd::source::Direction;
use crate::blocking::{Blocking, blocking};

/// What a pipe that is not full takes without blocking (`PIPE_BUF`).
const CHUNK: usize = 4096;

/// See the module's documentation.
pub(super) struct Stdio {
    input: End<Vec<u8>>,
    output: End<usize>,
}

/// One of the two fds; its transfers in the pool have results of type `R`.
enum End<R> {
    Watched(AsyncFd<File>),
    Unwatched { file: Arc<File>, transfer: Option<Blocking<io::Result<R>>> },
}

/// Duplicates of standard input and output, to be registered in the monitor's thread.
pub(super) fn duplicates() -> io::Result<[File; 2]> {
    let input: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let output: OwnedFd = io::stdout().as_fd().try_clone_to_owned()?;
    Ok([input.into(), output.into()])
}

impl Stdio {
    /// Registers the two fds. In the monitor's thread.
    pub(super) fn new([input, output]: [File; 2]) -> Self {
        Self {
            input: End::new(input, AsyncFd::read_only),
            output: End::new(output, AsyncFd::write_only),
        }
    }

    /// Reads; nothing read is the end of the input.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let asked = buffer.len().min(CHUNK);
        match &mut self.input {
            End::Watched(fd) => {
                let read = |mut file: &File| {
                    ask(file, PollFlags::POLLIN)?;
                    file.read(&mut buffer[..asked])
                };
                fd.poll_with(Direction::Read, cx, read).map_ok(|(_, count)| count)
            }
            End::Unwatched { file, transfer } => {
                let read = || read_chunk(Arc::clone(file), asked);
                let bytes = ready!(poll_transfer(transfer, cx, read))?;
                buffer[..bytes.len()].copy_from_slice(&bytes);
                Poll::Ready(Ok(bytes.len()))
            }
        }
    }

    /// Writes a part of `bytes`, which the next call begins with if this one is not ready.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = &bytes[..bytes.len().min(CHUNK)];
        match &mut self.output {
            End::Watched(fd) => {
                let write = |mut file: &File| {
                    ask(file, PollFlags::POLLOUT)?;
                    file.write(bytes)
                };
                fd.poll_with(Direction::Write, cx, write).map_ok(|(_, count)| count)
            }
            End::Unwatched { file, transfer } => {
                let write = || write_chunk(Arc::clone(file), bytes.to_vec());
                poll_transfer(transfer, cx, write)
            }
        }
    }
}

impl<R> End<R> {
    fn new<W>(file: File, watch: W) -> Self
    where
        W: FnOnce(File) -> Result<AsyncFd<File>, crate::async_fd::RegisterError<File>>,
    {
        match watch(file) {
            Ok(fd) => Self::Watched(fd),
            Err(error) => {
                let (file, _cannot_be_watched) = error.into_parts();
                Self::Unwatched { file: Arc::new(file), transfer: None }
            }
        }
    }
}

/// Fails with `WouldBlock` unless a transfer can be made now, or has an error or an end to report.
fn ask(file: &File, event: PollFlags) -> io::Result<()> {
    let mut fds = [PollFd::new(file.as_fd(), event)];
    match poll(&mut fds, PollTimeout::ZERO)? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}

fn read_chunk(file: Arc<File>, length: usize) -> Blocking<io::Result<Vec<u8>>> {
    blocking(move || {
        let mut bytes = vec![0; length];
        let count = (&*file).read(&mut bytes)?;
        bytes.truncate(count);
        Ok(bytes)
    })
}

fn write_chunk(file: Arc<File>, bytes: Vec<u8>) -> Blocking<io::Result<usize>> {
    blocking(move || (&*file).write(&bytes))
}

/// Polls the transfer that is under way, or the one that `start` starts.
fn poll_transfer<R>(
    transfer: &mut Option<Blocking<io::Result<R>>>,
    cx: &mut Context<'_>,
    start: impl FnOnce() -> Blocking<io::Result<R>>,
) -> Poll<io::Result<R>> {
    let result = ready!(Pin::new(transfer.get_or_insert_with(start)).poll(cx));
    *transfer = None;
    Poll::Ready(result?)
}
