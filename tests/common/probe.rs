//! A future whose every step is counted.
//!
//! The counters are shared by the future, its output and the test, and may be read from any thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// What happened to one task.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    polls: AtomicUsize,
    future_drops: AtomicUsize,
    output_drops: AtomicUsize,
}

impl Counts {
    pub(crate) fn new() -> Arc<Counts> {
        Arc::default()
    }

    pub(crate) fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }

    pub(crate) fn future_drops(&self) -> usize {
        self.future_drops.load(Ordering::SeqCst)
    }

    pub(crate) fn output_drops(&self) -> usize {
        self.output_drops.load(Ordering::SeqCst)
    }
}

/// An output that counts its drop, and panics in it if it is told to.
#[derive(Debug)]
pub(crate) struct CountedOutput {
    pub(crate) counts: Arc<Counts>,
    pub(crate) panic: bool,
}

impl Drop for CountedOutput {
    fn drop(&mut self) {
        self.counts.output_drops.fetch_add(1, Ordering::SeqCst);
        if self.panic {
            panic!("the output's destructor panics");
        }
    }
}

/// A future that counts its polls and its drop, and does in them what it is told to.
pub(crate) struct Counted<P, D: FnMut()> {
    counts: Arc<Counts>,
    poll: P,
    on_drop: D,
}

impl<P, D: FnMut()> Counted<P, D> {
    pub(crate) fn new(counts: &Arc<Counts>, poll: P, on_drop: D) -> Counted<P, D> {
        Counted { counts: Arc::clone(counts), poll, on_drop }
    }
}

// The fields are never pinned.
impl<P, D: FnMut()> Unpin for Counted<P, D> {}

impl<P, D, T> Future for Counted<P, D>
where
    P: FnMut(&mut Context<'_>) -> Poll<T>,
    D: FnMut(),
{
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.counts.polls.fetch_add(1, Ordering::SeqCst);
        (self.poll)(cx)
    }
}

impl<P, D: FnMut()> Drop for Counted<P, D> {
    fn drop(&mut self) {
        self.counts.future_drops.fetch_add(1, Ordering::SeqCst);
        (self.on_drop)();
    }
}
