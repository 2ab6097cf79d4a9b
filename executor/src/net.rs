//! Sockets, pipes and eventfds for tasks.
//!
//! The types wrap the standard library's and speak its types: addresses, errors, owned fds. What they
//! add is waiting. Streams implement [`AsyncRead`](futures_util::io::AsyncRead) and
//! [`AsyncWrite`](futures_util::io::AsyncWrite) themselves and by reference, so one task can read while
//! another writes:
//!
//! ```no_run
//! use executor::net::UnixListener;
//! use futures_util::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # async fn serve() -> std::io::Result<()> {
//! let listener = UnixListener::bind("/run/echo.sock")?;
//! loop {
//!     let (stream, _) = listener.accept().await?;
//!     let mut buffer = [0; 512];
//!     let read = (&stream).read(&mut buffer).await?;
//!     (&stream).write_all(&buffer[..read]).await?;
//! }
//! # }
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
