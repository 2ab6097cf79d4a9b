//! Pipes.
//!
//! Owns the two ends. Each is registered for its own direction alone. The pipe is a byte stream
//! (not in packet mode), so a short transfer means empty or full.
//!
//! Threads: any; creating one takes an executor on the thread.

#![forbid(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::io::{AsyncRead, AsyncWrite};
use nix::fcntl::OFlag;
use nix::sys::uio::{readv, writev};
use nix::unistd::{pipe2, write};

use crate::async_fd::AsyncFd;
use crate::async_fd::source::Direction;

/// More buffers than this in one call are an error of the kernel's (`IOV_MAX`).
const MOST_BUFFERS: usize = 1024;

/// Creates a pipe.
///
/// # Errors
///
/// If the process is out of fds, or the ends cannot be watched.
///
/// # Panics
///
/// Outside any executor.
///
/// # Examples
///
/// ```
/// use executor::LocalExecutor;
/// use executor::net::pipe;
/// use futures_util::future::try_join;
/// use futures_util::io::{AsyncReadExt, AsyncWriteExt};
///
/// let executor = LocalExecutor::new()?;
/// let text = executor.run(async {
///     let (mut reader, mut writer) = pipe()?;
///     let mut text = Vec::new();
///     let write = async {
///         writer.write_all(&[7; 100_000]).await?; // More than a pipe holds.
///         writer.close().await
///     };
///     try_join(write, reader.read_to_end(&mut text)).await?;
///     Ok::<_, std::io::Error>(text)
/// })?;
/// assert_eq!(text.len(), 100_000);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let reader = PipeReader { fd: AsyncFd::read_only(reader)? };
    Ok((reader, PipeWriter { fd: Some(AsyncFd::write_only(writer)?) }))
}

/// The end of a pipe that is read from.
///
/// # Examples
///
/// The output of a program:
///
/// ```
/// use std::process::Command;
///
/// use executor::LocalExecutor;
/// use executor::net::pipe;
/// use futures_util::io::AsyncReadExt;
///
/// let executor = LocalExecutor::new()?;
/// let said = executor.run(async {
///     let (mut reader, writer) = pipe()?;
///     let writer = writer.into_inner().expect("it has not been closed");
///     let mut child = Command::new("echo").arg("hello").stdout(writer).spawn()?;
///     let mut said = String::new();
///     reader.read_to_string(&mut said).await?;
///     drop(reader.into_inner()); // Closes it; `dup` would keep it for somebody else.
///     child.wait()?;
///     Ok::<_, std::io::Error>(said)
/// })?;
/// assert_eq!(said, "hello\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct PipeReader {
    fd: AsyncFd<OwnedFd>,
}

/// The end of a pipe that is written to.
///
/// Closing it (or dropping it) ends the stream for the reader.
///
/// # Examples
///
/// ```
/// use std::io;
///
/// use executor::LocalExecutor;
/// use executor::net::pipe;
/// use futures_util::io::AsyncWriteExt;
///
/// let executor = LocalExecutor::new()?;
/// executor.run(async {
///     let (reader, mut writer) = pipe()?;
///     writer.write_all(b"nobody will read this").await?;
///     drop(reader);
///     let error = writer.write_all(b"!").await.unwrap_err();
///     assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
///     writer.close().await?;
///     assert!(writer.into_inner().is_none(), "it has been closed");
///     Ok::<_, io::Error>(())
/// })?;
/// # Ok::<(), io::Error>(())
/// ```
#[derive(Debug)]
pub struct PipeWriter {
    /// `None` once it has been closed.
    fd: Option<AsyncFd<OwnedFd>>,
}

impl PipeReader {
    /// Ends the watch and returns the fd, in non-blocking mode.
    #[must_use = "dropping the fd closes it"]
    pub fn into_inner(self) -> OwnedFd {
        self.fd.into_inner()
    }

    fn poll(
        &self,
        cx: &mut Context<'_>,
        asked: usize,
        operation: impl FnMut(&OwnedFd) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if asked == 0 {
            return Poll::Ready(Ok(0));
        }
        let (seen, count) = ready!(self.fd.poll_with(Direction::Read, cx, operation))?;
        // Nothing read is the end of the stream, which stays.
        if count > 0 && count < asked {
            self.fd.drained(seen);
        }
        Poll::Ready(Ok(count))
    }
}

impl PipeWriter {
    /// Ends the watch and returns the fd, in non-blocking mode; `None` if it has been closed.
    #[must_use = "dropping the fd closes it"]
    pub fn into_inner(self) -> Option<OwnedFd> {
        self.fd.map(AsyncFd::into_inner)
    }

    fn poll(
        &self,
        cx: &mut Context<'_>,
        asked: usize,
        operation: impl FnMut(&OwnedFd) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let Some(fd) = &self.fd else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let (seen, count) = ready!(fd.poll_with(Direction::Write, cx, operation))?;
        if count < asked {
            fd.drained(seen);
        }
        Poll::Ready(Ok(count))
    }
}

impl AsFd for PipeReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsyncRead for PipeReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        // Not `read`, which takes another type in the version of nix that goes with QEMU's libc.
        self.poll(cx, buffer.len(), |fd| Ok(readv(fd, &mut [IoSliceMut::new(buffer)])?))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let most = buffers.len().min(MOST_BUFFERS);
        let buffers = &mut buffers[..most];
        let asked = buffers.iter().map(|buffer| buffer.len()).sum();
        self.poll(cx, asked, |fd| Ok(readv(fd, buffers)?))
    }
}

impl AsyncWrite for PipeWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, buffer.len(), |fd| Ok(write(fd, buffer)?))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let buffers = &buffers[..buffers.len().min(MOST_BUFFERS)];
        let asked = buffers.iter().map(|buffer| buffer.len()).sum();
        self.poll(cx, asked, |fd| Ok(writev(fd, buffers)?))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fd = None;
        Poll::Ready(Ok(()))
    }
}
