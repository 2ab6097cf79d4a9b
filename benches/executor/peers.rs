//! What an executor must do to take part, and those that do.
//!
//! Each peer is driven the way its documentation says, with its own join handles, fds and timers. A peer that has no
//! fds or timers of its own is left out where they are needed; one that takes no calls from another thread gets a
//! queue of jobs.
//!
//! glommio is not here: it needs `io_uring`, which containers usually forbid. `benches/LEDGER.md` has its figures.

mod async_executor;
mod embassy;
mod jobs;
mod local_runtime;
mod monoio;
mod ours;
mod pool;
mod tokio;

pub(crate) use self::async_executor::AsyncExecutor;
pub(crate) use self::embassy::Embassy;
pub(crate) use self::local_runtime::LocalRuntime;
pub(crate) use self::monoio::Monoio;
pub(crate) use self::ours::{Ours, Polling};
pub(crate) use self::pool::Pool;
pub(crate) use self::tokio::Tokio;

use std::convert::Infallible;
use std::fmt::Debug;
use std::future::Future;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;

use crate::machine;
use crate::table::Column;

/// An executor of one thread. The value is a handle that spawns.
pub(crate) trait Peer: Clone + 'static {
    /// Where its figures go.
    const COLUMN: Column;

    /// Waits for a task.
    type Join<T: 'static>: Future<Output = T> + 'static;

    /// Makes an executor, runs `main` as a task of it, and ends it.
    fn run<T, F>(main: impl FnOnce(Self) -> F + 'static) -> T
    where
        T: 'static,
        F: Future<Output = T> + 'static;

    fn spawn<F>(&self, future: F) -> Self::Join<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static;

    /// Spawns a task that nobody waits for.
    fn spawn_detached(&self, future: impl Future<Output = ()> + 'static);
}

/// An executor with timers.
pub(crate) trait Timers: Peer {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static;
}

/// An executor with sockets.
pub(crate) trait Sockets: Peer {
    /// One end of a socket pair.
    type Stream: 'static;

    fn stream(socket: UnixStream) -> Self::Stream;
    /// Reads what is there, with a larger buffer, and returns the number of bytes.
    fn read(stream: &mut Self::Stream, buffer: &mut [u8; 64]) -> impl Future<Output = usize>;
    /// Writes a message, for which there is room.
    fn write(stream: &mut Self::Stream, message: &[u8]) -> impl Future<Output = ()>;
}

/// An executor that takes any fd that can be watched.
pub(crate) trait Reactor: Sockets {
    /// An eventfd.
    type Counter: 'static;
    /// The two ends of a pipe.
    type Reader: 'static;
    type Writer: 'static;

    fn counter() -> Self::Counter;
    fn notify(counter: &Self::Counter);
    /// Waits for notifications and returns their number.
    fn wait(counter: &Self::Counter) -> impl Future<Output = u64>;

    fn pipe() -> (Self::Reader, Self::Writer);
    /// As [`Sockets::read`].
    fn read_pipe(reader: &mut Self::Reader, buffer: &mut [u8; 64]) -> impl Future<Output = usize>;
    /// As [`Sockets::write`].
    fn write_pipe(writer: &mut Self::Writer, message: &[u8]) -> impl Future<Output = ()>;
}

/// An executor that takes calls from other threads.
pub(crate) trait Offload: Peer {
    /// An executor of the same sort, on another thread. Ends when it is dropped.
    type Far: 'static;

    fn far() -> Self::Far;
    /// Has `x + 1` computed there. Sent at once, not when the future is polled.
    fn call(far: &Self::Far, x: u64) -> impl Future<Output = u64> + 'static;
}

/// A handle whose task does not fail.
pub(crate) struct Unfailing<J>(J);

impl<T, E: Debug, J: Future<Output = Result<T, E>> + Unpin> Future for Unfailing<J> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx).map(|result| result.expect("the task does not fail"))
    }
}

/// A thread that runs an executor for others, and ends when this is dropped.
pub(crate) struct Helper {
    /// Its end is the sign.
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Helper {
    /// Starts a thread that does `work` until what it is given is ready.
    fn start(work: impl FnOnce(oneshot::Receiver<Infallible>) + Send + 'static) -> Helper {
        let (stop, stopped) = oneshot::channel();
        let thread = machine::helper(|| work(stopped));
        Helper { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(thread::JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) || thread::panicking(), "the thread ends");
    }
}
