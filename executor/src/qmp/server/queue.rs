//! A queue between threads, with one task that waits at its end.
//!
//! Owns what was put in and not taken out. Whoever puts something in neither waits nor is told when it is
//! taken; once the queue is closed, it gets it back.
//!
//! Threads: any. What leaves the queue is dropped, and tasks are woken, after the lock was released.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// See the module's documentation.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    items: VecDeque<T>,
    waiting: Option<Waker>,
    closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { items: VecDeque::new(), waiting: None, closed: false }) }
    }

    /// Puts `item` in; gives it back if the queue is closed.
    pub(super) fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed {
            return Err(item);
        }
        state.items.push_back(item);
        let waiting = state.waiting.take();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Waits for the next item; `None` once the queue is closed and empty.
    pub(super) async fn pop(&self) -> Option<T> {
        poll_fn(|cx| self.poll_pop(cx)).await
    }

    fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let waker = cx.waker().clone();
        let mut state = self.lock();
        if let Some(item) = state.items.pop_front() {
            return Poll::Ready(Some(item));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        let replaced = state.waiting.replace(waker);
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    /// Takes out everything that `unwanted` points at.
    pub(super) fn discard(&self, unwanted: impl Fn(&T) -> bool) {
        let mut state = self.lock();
        if !state.items.iter().any(&unwanted) {
            return;
        }
        let items = std::mem::take(&mut state.items);
        let (gone, kept): (VecDeque<T>, _) = items.into_iter().partition(unwanted);
        state.items = kept;
        drop(state);
        drop(gone);
    }

    /// Refuses items from now on. What is in can still be taken out.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiting = state.waiting.take();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// No foreign code runs under the lock (`unwanted` only looks), so it is never poisoned in a state
    /// that matters.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
