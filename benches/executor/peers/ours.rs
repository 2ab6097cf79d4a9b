//! This project's executor, in an event loop of the thread's own.
//!
//! [`Ours`] sleeps when there is nothing to do; [`Polling`] looks for events for up to 100 us first, as QEMU's
//! iothreads do.

use std::future::Future;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use executor::net;
use executor::{Context, JoinHandle, LocalExecutor, LocalSpawner, RemoteSpawner};
use futures_util::{AsyncReadExt, AsyncWriteExt};

use super::{Helper, Offload, Peer, Reactor, Sockets, Timers, Unfailing};
use crate::table::Column;

/// An executor that polls for `POLL_NS` before it sleeps.
#[derive(Clone)]
pub(crate) struct Ours<const POLL_NS: i64 = 0> {
    spawner: LocalSpawner,
}

pub(crate) type Polling = Ours<100_000>;

/// A new executor in this thread's loop.
fn executor(poll_ns: i64) -> LocalExecutor {
    let executor = LocalExecutor::new().expect("there are fds left");
    let context = Context::for_this_thread().expect("the executor made it");
    context.set_poll_params(poll_ns, 0, 0).expect("the parameters are in range");
    executor
}

impl<const POLL_NS: i64> Peer for Ours<POLL_NS> {
    const COLUMN: Column = Column::Ours;

    type Join<T: 'static> = Unfailing<JoinHandle<T>>;

    fn run<T, F>(main: impl FnOnce(Self) -> F + 'static) -> T
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let executor = executor(POLL_NS);
        let spawner = executor.spawner();
        let task = executor.spawn(async { main(Ours { spawner }).await });
        let output = executor.run(task).expect("the task does not fail");
        assert!(executor.shutdown().is_empty(), "nothing survives");
        output
    }

    fn spawn<F>(&self, future: F) -> Self::Join<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        Unfailing(self.spawner.spawn(future))
    }

    fn spawn_detached(&self, future: impl Future<Output = ()> + 'static) {
        self.spawner.spawn(future).detach();
    }
}

impl Timers for Ours {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        executor::time::sleep(duration)
    }
}

impl Sockets for Ours {
    type Stream = net::UnixStream;

    fn stream(socket: UnixStream) -> net::UnixStream {
        net::UnixStream::from_std(socket).expect("a socket can be watched")
    }

    async fn read(stream: &mut net::UnixStream, buffer: &mut [u8; 64]) -> usize {
        stream.read(buffer).await.expect("the other end is there")
    }

    async fn write(stream: &mut net::UnixStream, message: &[u8]) {
        stream.write_all(message).await.expect("the other end is there");
    }
}

impl Reactor for Ours {
    type Counter = net::EventFd;
    type Reader = net::PipeReader;
    type Writer = net::PipeWriter;

    fn counter() -> net::EventFd {
        net::EventFd::new().expect("there are fds left")
    }

    fn notify(counter: &net::EventFd) {
        counter.notify().expect("the fd is there");
    }

    async fn wait(counter: &net::EventFd) -> u64 {
        counter.wait().await.expect("the executor is there")
    }

    fn pipe() -> (net::PipeReader, net::PipeWriter) {
        net::pipe().expect("there are fds left")
    }

    async fn read_pipe(reader: &mut net::PipeReader, buffer: &mut [u8; 64]) -> usize {
        reader.read(buffer).await.expect("the other end is there")
    }

    async fn write_pipe(writer: &mut net::PipeWriter, message: &[u8]) {
        writer.write_all(message).await.expect("the other end is there");
    }
}

/// An executor on another thread.
pub(crate) struct Far {
    spawner: RemoteSpawner,
    _thread: Helper,
}

impl<const POLL_NS: i64> Offload for Ours<POLL_NS> {
    type Far = Far;

    fn far() -> Far {
        let (send, receive) = mpsc::channel();
        let thread = Helper::start(move |stopped| {
            let executor = executor(POLL_NS);
            send.send(executor.remote()).expect("the other thread waits");
            executor.run(stopped).expect_err("nothing is ever sent");
        });
        let spawner = receive.recv().expect("the thread sends it");
        Far { spawner, _thread: thread }
    }

    fn call(far: &Far, x: u64) -> impl Future<Output = u64> + 'static {
        Unfailing(far.spawner.spawn(async move { x + 1 }))
    }
}
