//! local-runtime: its `Executor`, with a reactor of the thread's own.
//!
//! What is spawned by the first poll of a task panics, so the main task yields first. A fd is read until it would
//! block, as the crate's adapter does it.

use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use local_runtime::io::Async;
use local_runtime::{Executor, TaskHandle};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::{fcntl, unistd};

use super::jobs::Jobs;
use super::{Offload, Peer, Reactor, Sockets, Timers};
use crate::kit::yield_once;
use crate::table::Column;

#[derive(Clone)]
pub(crate) struct LocalRuntime {
    executor: Rc<Executor<'static>>,
}

impl Peer for LocalRuntime {
    const COLUMN: Column = Column::LocalRuntime;

    type Join<T: 'static> = TaskHandle<T>;

    fn run<T, F>(main: impl FnOnce(Self) -> F + 'static) -> T
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let executor = Rc::new(Executor::new());
        let peer = LocalRuntime { executor: Rc::clone(&executor) };
        let task = executor.spawn(async move {
            yield_once().await;
            main(peer).await
        });
        executor.block_on(task)
    }

    fn spawn<F>(&self, future: F) -> TaskHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.executor.spawn(future)
    }

    fn spawn_detached(&self, future: impl Future<Output = ()> + 'static) {
        drop(self.executor.spawn(future));
    }
}

impl Timers for LocalRuntime {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        let timer = local_runtime::time::sleep(duration);
        async {
            timer.await;
        }
    }
}

/// Waits until `read` does not say that it would block.
async fn read_with<T>(fd: &Async<T>, mut read: impl FnMut(&T) -> nix::Result<usize>) -> usize {
    loop {
        match read(fd.get_ref()) {
            Err(nix::Error::EAGAIN) => fd.readable().await.expect("the fd is watched"),
            count => return count.expect("the other end is there"),
        }
    }
}

impl Sockets for LocalRuntime {
    type Stream = Async<UnixStream>;

    fn stream(socket: UnixStream) -> Async<UnixStream> {
        Async::new(socket).expect("a socket can be watched")
    }

    async fn read(stream: &mut Async<UnixStream>, buffer: &mut [u8; 64]) -> usize {
        read_with(stream, |mut socket| {
            socket.read(buffer).map_err(|error| error.try_into().expect("the system says so"))
        })
        .await
    }

    async fn write(stream: &mut Async<UnixStream>, message: &[u8]) {
        stream.get_ref().write_all(message).expect("there is room");
    }
}

impl Reactor for LocalRuntime {
    type Counter = Async<EventFd>;
    type Reader = Async<OwnedFd>;
    type Writer = OwnedFd;

    fn counter() -> Async<EventFd> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let fd = EventFd::from_flags(flags).expect("there are fds left");
        Async::without_nonblocking(fd).expect("an eventfd can be watched")
    }

    fn notify(counter: &Async<EventFd>) {
        counter.get_ref().write(1).expect("the counter is not full");
    }

    async fn wait(counter: &Async<EventFd>) -> u64 {
        let mut count = 0;
        read_with(counter, |fd| {
            count = fd.read()?;
            Ok(8)
        })
        .await;
        count
    }

    fn pipe() -> (Async<OwnedFd>, OwnedFd) {
        let flags = fcntl::OFlag::O_CLOEXEC | fcntl::OFlag::O_NONBLOCK;
        let (reader, writer) = unistd::pipe2(flags).expect("there are fds left");
        (Async::without_nonblocking(reader).expect("a pipe can be watched"), writer)
    }

    async fn read_pipe(reader: &mut Async<OwnedFd>, buffer: &mut [u8; 64]) -> usize {
        read_with(reader, |fd| unistd::read(fd, buffer)).await
    }

    async fn write_pipe(writer: &mut OwnedFd, message: &[u8]) {
        assert_eq!(unistd::write(writer, message), Ok(message.len()), "there is room");
    }
}

impl Offload for LocalRuntime {
    type Far = Jobs;

    fn far() -> Jobs {
        Jobs::start::<LocalRuntime>()
    }

    fn call(far: &Jobs, x: u64) -> impl Future<Output = u64> + 'static {
        far.call(x)
    }
}
