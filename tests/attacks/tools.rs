//! What the attacks share.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};

use executor::{IoCx, IoThread, MainCx, NoCoroutine, block_on};

/// The text of a panic.
pub(crate) fn text(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("a panic has a text")).to_owned(),
    }
}

/// The text that `f` panics with.
#[track_caller]
pub(crate) fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("it did not panic"),
        Err(payload) => text(payload),
    }
}

/// Lets others run once.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls a future once, with a waker that does nothing.
pub(crate) fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// A value that runs a closure when it is dropped.
pub(crate) struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    pub(crate) fn new(f: F) -> OnDrop<F> {
        OnDrop(Some(f))
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0.take().expect("dropped once")();
    }
}

pub(crate) fn here() -> ThreadId {
    thread::current().id()
}

/// Lets the main loop run `rounds` times.
pub(crate) fn run_for(nc: &mut NoCoroutine, rounds: usize) {
    block_on(nc, async move |_: &MainCx| {
        for _ in 0..rounds {
            yield_now().await;
        }
    });
}

/// An iothread and the id of its thread.
pub(crate) fn io_thread(nc: &mut NoCoroutine, id: &str) -> (IoThread, ThreadId) {
    let thread = IoThread::create(nc, id).unwrap();
    let io = thread.io();
    let id = block_on(nc, async move |_: &MainCx| io.run(async |_: &IoCx| here()).await.unwrap());
    (thread, id)
}
