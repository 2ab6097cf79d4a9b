//! Functions that tasks have called outside of any poll.
//!
//! Owns a queue of closures that the executor runs at the end of a slice, when no future of its own is
//! being polled. It is for the executor that nested loops run: what a task there wants to be called (see
//! [`MainCx::run_in_bh`](crate::MainCx::run_in_bh)) must run in that nested loop, since the task waits for
//! it, and must not leave the thread, which a bottom half of QEMU's main context does not promise.
//!
//! Home thread only. A call may start a nested loop, which comes here again: calls are taken one by one.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use super::core::Core;

/// The queue.
#[derive(Default)]
pub(super) struct Calls {
    waiting: RefCell<VecDeque<Box<dyn FnOnce()>>>,
}

impl Calls {
    fn push(&self, call: Box<dyn FnOnce()>) {
        self.waiting.borrow_mut().push_back(call);
    }

    fn pop(&self) -> Option<Box<dyn FnOnce()>> {
        self.waiting.borrow_mut().pop_front()
    }

    fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Drops what was not called.
    pub(super) fn close(&self) {
        drop(self.waiting.take());
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("waiting", &self.len()).finish()
    }
}

impl Core {
    /// Calls `call` outside of any poll of this executor, soon. It must not panic. Drops it if the executor
    /// was shut down.
    pub(crate) fn call_outside(&self, call: impl FnOnce() + 'static) {
        if !self.is_closed() {
            self.calls().push(Box::new(call));
            self.home().ring_if_idle();
        }
    }

    /// Makes the calls that have been asked for so far.
    #[inline]
    pub(super) fn make_calls(self: &Rc<Self>) {
        for _ in 0..self.calls().len() {
            let Some(call) = self.calls().pop() else { return };
            call();
        }
        if self.calls().len() > 0 {
            self.home().ring_if_idle();
        }
    }
}
