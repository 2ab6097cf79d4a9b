//! The floor under everything that only runs tasks: a queue of futures in boxes.
//!
//! The least that an executor can be: nobody can wake, join, cancel or fail, and what is not ready is polled again
//! when its turn comes.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

/// Futures in boxes in a queue, polled in turn until they are ready, with a waker that does nothing.
#[derive(Default)]
pub(crate) struct Boxed {
    queue: VecDeque<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Boxed {
    pub(crate) fn spawn(&mut self, future: impl Future<Output = ()> + 'static) {
        self.queue.push_back(Box::pin(future));
    }

    /// Polls until nothing is left.
    pub(crate) fn run(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Some(mut future) = self.queue.pop_front() {
            if future.as_mut().poll(&mut cx).is_pending() {
                self.queue.push_back(future);
            }
        }
    }
}
