//! tokio: a `LocalSet` on a current-thread runtime.
//!
//! A socket is a `UnixStream`, which, like ours, takes a short read for the end of what there is, and so are the ends
//! of a pipe; an eventfd is an `AsyncFd`.

use std::future::Future;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::unix::pipe;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{self, JoinHandle, LocalSet};

use super::{Helper, Offload, Peer, Reactor, Sockets, Timers, Unfailing};
use crate::table::Column;

#[derive(Clone)]
pub(crate) struct Tokio;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("there are fds left")
}

impl Peer for Tokio {
    const COLUMN: Column = Column::Tokio;

    type Join<T: 'static> = Unfailing<JoinHandle<T>>;

    fn run<T, F>(main: impl FnOnce(Self) -> F + 'static) -> T
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let task = async { task::spawn_local(async { main(Tokio).await }).await };
        LocalSet::new().block_on(&runtime(), task).expect("the task does not fail")
    }

    fn spawn<F>(&self, future: F) -> Self::Join<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        Unfailing(task::spawn_local(future))
    }

    fn spawn_detached(&self, future: impl Future<Output = ()> + 'static) {
        drop(task::spawn_local(future));
    }
}

impl Timers for Tokio {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        tokio::time::sleep(duration)
    }
}

impl Sockets for Tokio {
    type Stream = tokio::net::UnixStream;

    fn stream(socket: UnixStream) -> tokio::net::UnixStream {
        socket.set_nonblocking(true).expect("a socket has the mode");
        tokio::net::UnixStream::from_std(socket).expect("a socket can be watched")
    }

    async fn read(stream: &mut tokio::net::UnixStream, buffer: &mut [u8; 64]) -> usize {
        stream.read(buffer).await.expect("the other end is there")
    }

    async fn write(stream: &mut tokio::net::UnixStream, message: &[u8]) {
        stream.write_all(message).await.expect("the other end is there");
    }
}

impl Reactor for Tokio {
    type Counter = AsyncFd<EventFd>;
    type Reader = pipe::Receiver;
    type Writer = pipe::Sender;

    fn counter() -> AsyncFd<EventFd> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let fd = EventFd::from_flags(flags).expect("there are fds left");
        // SAFETY: an `EventFd` owns its descriptor, and gives the same one each time.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        fd.expect("an eventfd can be watched")
    }

    fn notify(counter: &AsyncFd<EventFd>) {
        counter.get_ref().write(1).expect("the counter is not full");
    }

    async fn wait(counter: &AsyncFd<EventFd>) -> u64 {
        let count = counter.async_io(Interest::READABLE, |fd| fd.read().map_err(io::Error::from));
        count.await.expect("the runtime is there")
    }

    fn pipe() -> (pipe::Receiver, pipe::Sender) {
        let (writer, reader) = pipe::pipe().expect("there are fds left");
        (reader, writer)
    }

    async fn read_pipe(reader: &mut pipe::Receiver, buffer: &mut [u8; 64]) -> usize {
        reader.read(buffer).await.expect("the other end is there")
    }

    async fn write_pipe(writer: &mut pipe::Sender, message: &[u8]) {
        writer.write_all(message).await.expect("the other end is there");
    }
}

/// A runtime on another thread.
pub(crate) struct Far {
    handle: Handle,
    _thread: Helper,
}

impl Offload for Tokio {
    type Far = Far;

    fn far() -> Far {
        let (send, receive) = mpsc::channel();
        let thread = Helper::start(move |stopped| {
            let runtime = runtime();
            send.send(runtime.handle().clone()).expect("the other thread waits");
            runtime.block_on(stopped).expect_err("nothing is ever sent");
        });
        let handle = receive.recv().expect("the thread sends it");
        Far { handle, _thread: thread }
    }

    fn call(far: &Far, x: u64) -> impl Future<Output = u64> + 'static {
        Unfailing(far.handle.spawn(async move { x + 1 }))
    }
}
