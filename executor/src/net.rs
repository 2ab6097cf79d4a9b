//! Sockets, pipes and eventfds for tasks.
//!
//! The types wrap the standard library's and speak its types: addresses, errors, owned fds. What they
//! add is waiting. Streams implement [`AsyncRead`](futures_util::io::AsyncRead) and
//! [`AsyncWrite`](futures_util::io::AsyncWrite) themselves and by reference, so one task can read while
//! another writes:
//!
//! ```
//! use executor::LocalExecutor;
//! use executor::net::UnixStream;
//! use futures_util::io::{AsyncReadExt, AsyncWriteExt};
//!
//! /// Sends back what it is sent, to the end.
//! async fn echo(stream: &UnixStream) -> std::io::Result<()> {
//!     let mut buffer = [0; 512];
//!     loop {
//!         match (&*stream).read(&mut buffer).await? {
//!             0 => return Ok(()),
//!             count => (&*stream).write_all(&buffer[..count]).await?,
//!         }
//!     }
//! }
//!
//! let executor = LocalExecutor::new()?;
//! let (mut client, server) = executor.run(async { UnixStream::pair() })?;
//! let serving = executor.spawn(async move { echo(&server).await });
//! executor.run(async {
//!     client.write_all(b"hello").await?;
//!     let mut reply = [0; 5];
//!     client.read_exact(&mut reply).await?;
//!     assert_eq!(reply, *b"hello");
//!     client.close().await?;
//!     serving.await.expect("it does not panic")
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A stream that two tasks own goes into an `Rc` or an `Arc`.
//!
//! # Speed
//!
//! A read or write that moves less than it could have has emptied or filled the kernel's buffer, so the
//! next one waits for an event instead of asking the kernel first. Streams ask to be told about room for
//! writing only once a write has blocked.
//!
//! # Signals
//!
//! Writing to a socket whose peer is gone is an error and raises no `SIGPIPE`. For pipes the kernel has
//! no such switch; QEMU and Rust programs ignore the signal, which is what is needed.
//!
//! Threads: creating one of these takes an executor on the thread, whose reactor watches it from then
//! on. The types are `Send` and `Sync`.

mod accept;
mod event_fd;
mod passed_fds;
mod pipe;
mod socket;
mod tcp;
#[cfg(test)]
mod tests;
mod unix;

pub use event_fd::EventFd;
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use socket::Stream;
pub use tcp::{TcpListener, TcpStream};
pub use unix::{UnixListener, UnixStream};
