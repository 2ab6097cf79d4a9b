//! A byte stream in memory, for clients that tests play.
//!
//! Owns what was written and not read, in both directions. It takes any number of bytes from the server, unless the
//! client is told not to read.
//!
//! Threads: the server's end is the monitor's, the client's is the test's. Tasks are woken after the lock was released.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The client's end. It hangs up when it is dropped.
#[derive(Debug)]
pub(crate) struct ClientEnd {
    pipe: Arc<Pipe>,
}

/// The server's end. The client finds the connection closed when it is dropped.
#[derive(Debug)]
pub(super) struct ServerEnd {
    pipe: Arc<Pipe>,
}

#[derive(Debug, Default)]
struct Pipe {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    to_server: VecDeque<u8>,
    fds: Vec<OwnedFd>,
    to_client: VecDeque<u8>,
    /// The client sends no more.
    input_ended: bool,
    client_gone: bool,
    server_gone: bool,
    /// The client leaves what comes where it is, and there is no room for more.
    stopped: bool,
    /// Whom to wake when something has changed.
    server: Vec<Waker>,
    client: Option<Waker>,
}

/// Returns the two ends of a connection.
pub(super) fn pair() -> (ClientEnd, ServerEnd) {
    let pipe = Arc::<Pipe>::default();
    (ClientEnd { pipe: Arc::clone(&pipe) }, ServerEnd { pipe })
}

impl Pipe {
    /// Changes the client's end, and wakes the server.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let server = std::mem::take(&mut state.server);
        drop(state);
        server.into_iter().for_each(Waker::wake);
    }

    /// Changes the server's end, and wakes the client.
    fn change_server(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let client = state.client.take();
        drop(state);
        client.into_iter().for_each(Waker::wake);
    }

    /// No foreign code runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, waker: Waker) {
        if !self.server.iter().any(|known| known.will_wake(&waker)) {
            self.server.push(waker);
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        if self.stopped {
            return None;
        }
        let end = self.to_client.iter().position(|byte| *byte == b'\n')?;
        Some(self.to_client.drain(..=end).collect())
    }
}

impl ClientEnd {
    pub(crate) fn send(&self, bytes: &[u8], fds: Vec<OwnedFd>) {
        self.pipe.change(|state| {
            state.to_server.extend(bytes);
            state.fds.extend(fds);
        });
    }

    /// Ends the client's direction.
    pub(crate) fn end_input(&self) {
        self.pipe.change(|state| state.input_ended = true);
    }

    pub(crate) fn set_reading(&self, reads: bool) {
        self.pipe.change(|state| state.stopped = !reads);
    }

    /// Takes a line, if there is a whole one.
    pub(crate) fn take_line(&self) -> Option<Vec<u8>> {
        self.pipe.lock().take_line()
    }

    /// Waits for a line; `None` if the server has closed the connection.
    pub(crate) fn poll_line(&self, cx: &Context<'_>) -> Poll<Option<Vec<u8>>> {
        let waker = cx.waker().clone();
        let mut state = self.pipe.lock();
        if let Some(line) = state.take_line() {
            return Poll::Ready(Some(line));
        }
        if state.server_gone {
            return Poll::Ready(None);
        }
        let replaced = state.client.replace(waker);
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    pub(crate) fn is_connected(&self) -> bool {
        !self.pipe.lock().server_gone
    }
}

impl Drop for ClientEnd {
    fn drop(&mut self) {
        self.pipe.change(|state| state.client_gone = true);
    }
}

impl ServerEnd {
    pub(super) fn poll_read(
        &self,
        cx: &Context<'_>,
        buffer: &mut [u8],
        fds: &mut Vec<OwnedFd>,
    ) -> Poll<io::Result<usize>> {
        let waker = cx.waker().clone();
        let mut state = self.pipe.lock();
        fds.append(&mut state.fds);
        let count = buffer.len().min(state.to_server.len());
        if count == 0 && !state.input_ended && !state.client_gone {
            state.wait(waker);
            return Poll::Pending;
        }
        for (to, from) in buffer.iter_mut().zip(state.to_server.drain(..count)) {
            *to = from;
        }
        drop(state);
        Poll::Ready(Ok(count))
    }

    pub(super) fn poll_write(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let waker = cx.waker().clone();
        let mut state = self.pipe.lock();
        if state.client_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if state.stopped {
            state.wait(waker);
            return Poll::Pending;
        }
        drop(state);
        self.pipe.change_server(|state| state.to_client.extend(bytes));
        Poll::Ready(Ok(bytes.len()))
    }

    pub(super) fn poll_hang_up(&self, cx: &Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut state = self.pipe.lock();
        if state.client_gone {
            return Poll::Ready(());
        }
        state.wait(waker);
        Poll::Pending
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        self.pipe.change_server(|state| state.server_gone = true);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::pair;

    #[test]
    fn lines_come_whole_and_a_client_that_stops_reading_leaves_no_room() {
        let (client, server) = pair();
        let cx = Context::from_waker(Waker::noop());
        assert!(server.poll_write(&cx, b"one\r\ntw").is_ready());
        assert_eq!(client.take_line().as_deref(), Some(&b"one\r\n"[..]));
        assert_eq!(client.take_line(), None);
        client.set_reading(false);
        assert!(server.poll_write(&cx, b"o\r\n").is_pending());
        client.set_reading(true);
        assert!(server.poll_write(&cx, b"o\r\n").is_ready());
        assert_eq!(client.take_line().as_deref(), Some(&b"two\r\n"[..]));
    }

    #[test]
    fn each_end_notices_when_the_other_has_gone() {
        let cx = Context::from_waker(Waker::noop());
        let (client, server) = pair();
        assert!(server.poll_hang_up(&cx).is_pending());
        drop(client);
        assert!(server.poll_hang_up(&cx).is_ready());
        assert!(matches!(server.poll_write(&cx, b"x"), Poll::Ready(Err(_))));
        let (client, server) = pair();
        drop(server);
        assert!(!client.is_connected());
        assert_eq!(client.poll_line(&cx), Poll::Ready(None));
    }
}
