//! How long a command may take, and how many of it may run at a time.
//!
//! Both are about [`Coroutine`](super::Coroutine) commands: nothing interrupts a handler that does not await. Those
//! beyond the number wait for their turn, in the order in which they came, and the time passes for them, too. A
//! command whose time is over is dropped, as if its client had gone, and answered with an error.
//!
//! Threads: the registry's. No waker is called while something is borrowed.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::command::{Call, CoroutineCall};
use super::error::Error;
use crate::time::timeout;

#[cfg(test)]
mod tests;

/// Returns `call`, with a time that it may take.
pub(super) fn timed(limit: Duration, call: CoroutineCall) -> Call {
    Call::Coroutine(Rc::new(move |cx, arguments| {
        let running = call(cx, arguments);
        Box::pin(async move {
            let outcome = timeout(limit, running).await;
            outcome.unwrap_or_else(|_elapsed| Err(Error::timed_out(limit)))
        })
    }))
}

/// Returns `call`, which begins when it has one of the `turns`.
pub(super) fn in_turn(turns: &Rc<Turns>, call: CoroutineCall) -> CoroutineCall {
    let turns = Rc::clone(turns);
    Rc::new(move |cx, arguments| {
        let (turns, call) = (Rc::clone(&turns), Rc::clone(&call));
        Box::pin(async move {
            let _turn = turns.wait().await;
            call(cx, arguments).await
        })
    })
}

/// The right to run, for so many at a time.
#[derive(Debug)]
pub(super) struct Turns {
    free: Cell<usize>,
    /// Who waits, in order, each with the waker of its last poll.
    waiting: RefCell<VecDeque<(u64, Waker)>>,
    next: Cell<u64>,
}

/// One of them.
struct Turn(Rc<Turns>);

/// A place in the queue, which is given up when it is dropped.
struct Place {
    turns: Rc<Turns>,
    number: u64,
}

impl Turns {
    pub(super) fn new(count: usize) -> Rc<Self> {
        let waiting = RefCell::default();
        Rc::new(Self { free: Cell::new(count), waiting, next: Cell::new(0) })
    }

    async fn wait(self: &Rc<Self>) -> Turn {
        let number = self.next.replace(self.next.get() + 1);
        let place = Place { turns: Rc::clone(self), number };
        poll_fn(|cx| place.poll(cx)).await
    }

    /// Wakes whoever is first, if there is a turn for it.
    fn call_next(&self) {
        let waker = match self.waiting.borrow().front() {
            Some((_, waker)) if self.free.get() > 0 => waker.clone(),
            _ => return,
        };
        waker.wake();
    }
}

impl Place {
    fn poll(&self, cx: &Context<'_>) -> Poll<Turn> {
        let waker = cx.waker().clone();
        let mut waiting = self.turns.waiting.borrow_mut();
        let place = waiting.iter_mut().find(|(number, _)| *number == self.number);
        let replaced = match place {
            Some((_, known)) => Some(std::mem::replace(known, waker)),
            None => {
                waiting.push_back((self.number, waker));
                None
            }
        };
        let is_first = waiting.front().is_some_and(|(number, _)| *number == self.number);
        drop(waiting);
        drop(replaced);
        if !is_first || self.turns.free.get() == 0 {
            return Poll::Pending;
        }
        self.turns.free.set(self.turns.free.get() - 1);
        Poll::Ready(Turn(Rc::clone(&self.turns)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.turns.waiting.borrow_mut();
        let at = waiting.iter().position(|(number, _)| *number == self.number);
        let gone = at.and_then(|at| waiting.remove(at));
        drop(waiting);
        drop(gone);
        // It may have been called, or there may be more turns.
        self.turns.call_next();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.free.set(self.0.free.get() + 1);
        self.0.call_next();
    }
}
