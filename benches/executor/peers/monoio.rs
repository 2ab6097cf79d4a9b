//! monoio: its epoll driver ("legacy"), with wakes from other threads.
//!
//! It takes sockets, but no other fds. A task that wakes itself goes to the front of the queue, and foreign wakes are
//! looked at when nothing is left to do: rows in which one task is busy and others are woken would not end.

use std::future::Future;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::task::JoinHandle;
use monoio::{LegacyDriver, RuntimeBuilder};

use super::jobs::Jobs;
use super::{Offload, Peer, Sockets, Timers};
use crate::table::Column;

#[derive(Clone)]
pub(crate) struct Monoio;

impl Peer for Monoio {
    const COLUMN: Column = Column::Monoio;

    type Join<T: 'static> = JoinHandle<T>;

    fn run<T, F>(main: impl FnOnce(Self) -> F + 'static) -> T
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build();
        let mut runtime = runtime.expect("there are fds left");
        runtime.block_on(async { monoio::spawn(async { main(Monoio).await }).await })
    }

    fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        monoio::spawn(future)
    }

    fn spawn_detached(&self, future: impl Future<Output = ()> + 'static) {
        drop(monoio::spawn(future));
    }
}

impl Timers for Monoio {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        monoio::time::sleep(duration)
    }
}

/// A socket and its buffers, which a call takes and gives back.
pub(crate) struct Stream {
    socket: monoio::net::UnixStream,
    read: Vec<u8>,
    written: Vec<u8>,
}

impl Sockets for Monoio {
    type Stream = Stream;

    fn stream(socket: UnixStream) -> Stream {
        socket.set_nonblocking(true).expect("a socket has the mode");
        let socket = monoio::net::UnixStream::from_std(socket).expect("a socket can be watched");
        Stream { socket, read: Vec::with_capacity(64), written: Vec::with_capacity(64) }
    }

    async fn read(stream: &mut Stream, buffer: &mut [u8; 64]) -> usize {
        let (count, read) = stream.socket.read(std::mem::take(&mut stream.read)).await;
        let count = count.expect("the other end is there");
        buffer[..count].copy_from_slice(&read[..count]);
        stream.read = read;
        count
    }

    async fn write(stream: &mut Stream, message: &[u8]) {
        stream.written.clear();
        stream.written.extend_from_slice(message);
        let written = std::mem::take(&mut stream.written);
        let (count, written) = stream.socket.write_all(written).await;
        assert_eq!(count.expect("the other end is there"), message.len());
        stream.written = written;
    }
}

impl Offload for Monoio {
    type Far = Jobs;

    fn far() -> Jobs {
        Jobs::start::<Monoio>()
    }

    fn call(far: &Jobs, x: u64) -> impl Future<Output = u64> + 'static {
        far.call(x)
    }
}
