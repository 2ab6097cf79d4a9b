//! The byte stream of one client, whatever it is made of.
//!
//! Sockets tell when the peer has gone, also while nobody reads. Standard input and output do not: there
//! the end of the input is all there is.
//!
//! Threads: the monitor's.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::io::{AsyncRead, AsyncWrite};

#[cfg(feature = "testing")]
use super::pipe::ServerEnd;
use super::stdio::Stdio;
use crate::net::{TcpStream, UnixStream};

/// See the module's documentation.
pub(super) enum Transport {
    Unix(UnixStream),
    Tcp(TcpStream),
    Stdio(Stdio),
    #[cfg(feature = "testing")]
    Memory(ServerEnd),
}

impl Transport {
    /// Reads, and adds fds that come along to `fds`; nothing read is the end of the input.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        fds: &mut Vec<OwnedFd>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Unix(stream) => stream.poll_read_with_fds(cx, buffer, fds),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Stdio(stdio) => stdio.poll_read(cx, buffer),
            #[cfg(feature = "testing")]
            Self::Memory(end) => end.poll_read(cx, buffer, fds),
        }
    }

    /// Writes a part of `bytes`, which the next call begins with if this one is not ready.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Stdio(stdio) => stdio.poll_write(cx, bytes),
            #[cfg(feature = "testing")]
            Self::Memory(end) => end.poll_write(cx, bytes),
        }
    }

    /// Waits until the peer is gone. One that has only ended its own direction still reads.
    pub(super) fn poll_hang_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Unix(stream) => stream.poll_hang_up(cx),
            Self::Tcp(stream) => stream.poll_hang_up(cx),
            Self::Stdio(_) => Poll::Pending,
            #[cfg(feature = "testing")]
            Self::Memory(end) => end.poll_hang_up(cx),
        }
    }
}
