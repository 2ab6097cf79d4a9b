//! What the rest of the program has to say to one client's task: events, and that it is time to go.
//!
//! Owns the events that the task has not taken yet. There are few, because the task's thread has nothing
//! else to do; should it be held up, they take a bounded number of bytes, and those beyond are lost, as
//! they are when the client itself does not read.
//!
//! Threads: any. Tasks are woken after the lock was released, by the caller.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::super::writer::Json;

/// See the module's documentation.
pub(super) struct Mailbox {
    state: Mutex<State>,
    limit: usize,
}

#[derive(Default)]
struct State {
    events: Vec<Arc<Json>>,
    bytes: usize,
    closing: bool,
    waiting: Option<Waker>,
}

/// What was in a mailbox.
pub(super) struct Mail {
    /// Events, each as the line that goes over the wire.
    pub(super) events: Vec<Arc<Json>>,
    /// Whether the client is to be sent what it has coming, and no more.
    pub(super) closing: bool,
}

impl Mailbox {
    /// Returns a mailbox for events of up to `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), limit }
    }

    /// Puts an event in, if there is room. Returns whom to wake.
    pub(super) fn push(&self, event: &Arc<Json>) -> Option<Waker> {
        let mut state = self.lock();
        let bytes = state.bytes + event.as_str().len();
        if bytes > self.limit {
            return None;
        }
        state.bytes = bytes;
        state.events.push(Arc::clone(event));
        state.waiting.take()
    }

    /// Says that it is time to go. Returns whom to wake.
    pub(super) fn close(&self) -> Option<Waker> {
        let mut state = self.lock();
        state.closing = true;
        state.waiting.take()
    }

    /// Takes everything out; `waker` is told when there is more.
    pub(super) fn take(&self, waker: &Waker) -> Mail {
        let waker = waker.clone();
        let mut state = self.lock();
        state.bytes = 0;
        let mail = Mail { events: std::mem::take(&mut state.events), closing: state.closing };
        let replaced = state.waiting.replace(waker);
        drop(state);
        drop(replaced);
        mail
    }

    /// No foreign code runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
