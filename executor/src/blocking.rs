//! Work that blocks, on threads of its own.
//!
//! The kernel cannot say when a regular file is ready, name resolution and many libraries simply wait,
//! and some computations are long. In a task any of these would stop the main loop, and with it the
//! guest. [`blocking`](blocking()) runs a closure on a pool of threads and is a future of its result;
//! [`File`] reads and writes files that way.
//!
//! The pool belongs to the process. It has at most 16 threads: enough to keep a disk's queue busy, few
//! enough not to compete with the vCPUs for long. Threads are created when there is work and nobody idle,
//! with all signals blocked as QEMU's own threads have them, and end after five idle seconds. What
//! does not find a thread waits in a queue without bound, first come, first served, and leaves it at
//! once if its future is dropped.
//!
//! Threads: everything here is for any thread and needs no executor. The closure runs without the
//! BQL, and must not wait for it: its caller may hold it.
//!
//! # Examples
//!
//! ```
//! use executor::LocalExecutor;
//! use executor::blocking::blocking;
//! use std::net::ToSocketAddrs;
//!
//! let executor = LocalExecutor::new()?;
//! let address = executor.run(async {
//!     // Looks a name up, which waits for as long as it likes. Not for the main loop.
//!     blocking(|| ("127.0.0.1", 80).to_socket_addrs()).await
//! });
//! assert_eq!(address??.next(), Some(([127, 0, 0, 1], 80).into()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

use std::any::Any;
use std::error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::task::Payload;

mod file;
mod job;
mod pool;
#[cfg(test)]
mod tests;

pub use file::File;

use job::{Call, Job, Outcome, Task};
use pool::{Pool, Ticket, Work};

/// Runs `f` on a thread of the pool and is a future of its result.
///
/// The work is queued by this call, not by the first poll. If the future is dropped while the work is
/// queued, `f` is dropped without having run; once it runs it cannot be stopped, and its result is
/// dropped on the pool's thread.
///
/// # Errors
///
/// The future fails if `f` panics, or if the process cannot create even one thread.
///
/// # Examples
///
/// ```
/// use executor::LocalExecutor;
/// use executor::blocking::blocking;
///
/// async fn sum_up(last: u64) -> u64 {
///     let sum = blocking(move || (1..=last).sum()); // Queued, before anybody polls.
///     sum.await.expect("it does not panic")
/// }
///
/// assert_eq!(LocalExecutor::new()?.run(sum_up(10)), 55);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn blocking<F, T>(f: F) -> Blocking<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match submit(Pool::global(), Call::new(f)) {
        Ok(future) => future,
        Err((_call, error)) => Blocking { state: State::Refused(Some(error)) },
    }
}

/// Queues a task; gives it back if it can never run.
fn submit<K: Task>(pool: &'static Pool, task: K) -> Result<Blocking<K::Output>, (K, io::Error)> {
    let job = Arc::new(Job::new(task));
    let work: Arc<dyn Work> = job.clone();
    match pool.submit(work) {
        Ok(ticket) => Ok(Blocking { state: State::Submitted { pool, ticket, job } }),
        Err(error) => Err((job.reclaim().expect("a refused job has not run"), error)),
    }
}

/// A future of the result of work on another thread; made by [`blocking`](blocking()).
///
/// # Examples
///
/// ```
/// use std::sync::mpsc::channel;
///
/// use executor::LocalExecutor;
/// use executor::blocking::{Blocking, blocking};
///
/// let (send, receive) = channel::<u32>();
/// let work: Blocking<u32> = blocking(move || {
///     let number = receive.recv().expect("it is sent below");
///     number + 1
/// });
/// send.send(41)?; // The work has been queued, and nobody has polled.
/// assert_eq!(LocalExecutor::new()?.run(work)?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping the future cancels work that has not begun"]
pub struct Blocking<T> {
    state: State<T>,
}

enum State<T> {
    Submitted { pool: &'static Pool, ticket: Ticket, job: Arc<dyn Outcome<T>> },
    Refused(Option<io::Error>),
}

impl<T> Future for Blocking<T> {
    type Output = Result<T, BlockingError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            State::Submitted { job, .. } => job
                .poll(cx.waker())
                .map_err(|payload| BlockingError { kind: Kind::Panic(Payload::new(payload)) }),
            State::Refused(error) => {
                let error = error.take().expect("a future is not polled after it has completed");
                Poll::Ready(Err(BlockingError { kind: Kind::NoThread(error) }))
            }
        }
    }
}

impl<T> Drop for Blocking<T> {
    fn drop(&mut self) {
        if let State::Submitted { pool, ticket, .. } = &self.state {
            pool.cancel(*ticket);
        }
    }
}

impl<T> fmt::Debug for Blocking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocking").finish_non_exhaustive()
    }
}

/// The error of work that gave no result.
///
/// # Examples
///
/// ```
/// use executor::LocalExecutor;
/// use executor::blocking::blocking;
///
/// let executor = LocalExecutor::new()?;
/// let error = executor.run(blocking(|| panic!("no such disk"))).unwrap_err();
/// assert!(error.is_panic());
/// assert_eq!(error.to_string(), "blocking work panicked: no such disk");
/// let payload = error.try_into_panic().expect("it was a panic");
/// assert_eq!(payload.downcast_ref(), Some(&"no such disk"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct BlockingError {
    kind: Kind,
}

enum Kind {
    Panic(Payload),
    NoThread(io::Error),
}

impl BlockingError {
    /// Returns whether the closure panicked.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self.kind, Kind::Panic(_))
    }

    /// Returns the panic's payload, for [`std::panic::resume_unwind`].
    ///
    /// # Errors
    ///
    /// Gives the error back if the closure never ran.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, Self> {
        match self.kind {
            Kind::Panic(payload) => Ok(payload.into_inner()),
            Kind::NoThread(_) => Err(self),
        }
    }
}

impl From<BlockingError> for io::Error {
    fn from(error: BlockingError) -> Self {
        match error.kind {
            Kind::NoThread(error) => error,
            Kind::Panic(_) => Self::other(error.to_string()),
        }
    }
}

impl fmt::Debug for BlockingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BlockingError").field(&self.to_string()).finish()
    }
}

impl fmt::Display for BlockingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Panic(payload) => write!(f, "blocking work panicked: {}", payload.message()),
            Kind::NoThread(error) => write!(f, "no thread for blocking work: {error}"),
        }
    }
}

impl error::Error for BlockingError {}
