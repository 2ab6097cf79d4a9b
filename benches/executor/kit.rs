//! The little futures that the workloads are made of, the same for all peers.
//!
//! All of them are for one thread.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Wakes itself and suspends once. Not the executors' own yields, since those do different things.
pub(crate) fn yield_once() -> impl Future<Output = ()> {
    YieldOnce { yielded: false }
}

struct YieldOnce {
    yielded: bool,
}

impl Future for YieldOnce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A place for one number, and for the task that waits for it.
#[derive(Default)]
pub(crate) struct Slot {
    value: Cell<Option<u64>>,
    waiting: Cell<Option<Waker>>,
}

impl Slot {
    pub(crate) fn put(&self, value: u64) {
        assert_eq!(self.value.replace(Some(value)), None, "nobody took the value before");
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    pub(crate) fn take(&self) -> impl Future<Output = u64> + '_ {
        poll_fn(|cx| match self.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                self.waiting.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
    }
}

/// Where a number of tasks wait until they are let through together.
pub(crate) struct Gate {
    expected: usize,
    open: Cell<bool>,
    parked: RefCell<Vec<Waker>>,
    passed: Cell<usize>,
    waiting: Cell<Option<Waker>>,
}

impl Gate {
    /// A gate for that many tasks.
    pub(crate) fn new(expected: usize) -> Rc<Gate> {
        let parked = RefCell::new(Vec::with_capacity(expected));
        let (open, passed, waiting) = (Cell::new(false), Cell::new(0), Cell::new(None));
        Rc::new(Gate { expected, open, parked, passed, waiting })
    }

    /// Uses the memory for wakers, so that it does not count as somebody else's.
    #[allow(dead_code, reason = "not all benchmarks watch the memory")]
    pub(crate) fn touch(&self) {
        let mut parked = self.parked.borrow_mut();
        parked.resize(self.expected, Waker::noop().clone());
        parked.clear();
    }

    /// Waits at the gate.
    pub(crate) fn pass(self: &Rc<Self>) -> Pass {
        Pass { gate: Rc::clone(self), parked: false }
    }

    /// Ready when all the expected tasks wait.
    pub(crate) fn all_parked(&self) -> impl Future<Output = ()> + '_ {
        self.wait_until(|| self.parked.borrow().len() == self.expected)
    }

    /// Ready when all the expected tasks were let through.
    #[allow(dead_code, reason = "not all benchmarks have tasks without handles")]
    pub(crate) fn all_passed(&self) -> impl Future<Output = ()> + '_ {
        self.wait_until(|| self.passed.get() == self.expected)
    }

    fn wait_until(&self, done: impl Fn() -> bool) -> impl Future<Output = ()> {
        poll_fn(move |cx| {
            if done() {
                return Poll::Ready(());
            }
            self.waiting.set(Some(cx.waker().clone()));
            Poll::Pending
        })
    }

    fn wake_waiting(&self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    pub(crate) fn open(&self) {
        self.open.set(true);
        let parked = self.parked.take();
        parked.into_iter().for_each(Waker::wake);
    }

    fn park(&self, task: &Waker) {
        let mut parked = self.parked.borrow_mut();
        parked.push(task.clone());
        let complete = parked.len() == self.expected;
        drop(parked);
        if complete {
            self.wake_waiting();
        }
    }

    fn let_through(&self) {
        self.passed.set(self.passed.get() + 1);
        if self.passed.get() == self.expected {
            self.wake_waiting();
        }
    }
}

/// A future of 16 bytes that waits at a [`Gate`].
pub(crate) struct Pass {
    gate: Rc<Gate>,
    parked: bool,
}

impl Future for Pass {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.gate.open.get() {
            self.gate.let_through();
            return Poll::Ready(());
        }
        if !self.parked {
            self.parked = true;
            self.gate.park(cx.waker());
        }
        Poll::Pending
    }
}
