//! One piece of blocking work: what is to be run, then what came of it, and who waits.
//!
//! Shared by the future, which waits, and the pool, which runs it; the future does not know the
//! type of the work and the pool does not know the type of the result. Panics of the work are
//! caught here and handed to the future.
//!
//! Threads: any. No foreign code runs under the lock.

#![forbid(unsafe_code)]

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

use super::pool::Work;
use crate::task::wake_without_panic;

/// A nameable closure, so that what it owns can be had back.
pub(super) trait Task: Send + 'static {
    type Output: Send + 'static;

    fn run(self) -> Self::Output;
}

/// The future's side of a job.
pub(super) trait Outcome<T>: Send + Sync {
    /// Returns the result, or keeps `waker` until there is one.
    fn poll(&self, waker: &Waker) -> Poll<thread::Result<T>>;
}

/// A task that calls a closure.
pub(super) struct Call<F> {
    f: F,
}

impl<F> Call<F> {
    pub(super) fn new(f: F) -> Self {
        Self { f }
    }
}

impl<F: FnOnce() -> T + Send + 'static, T: Send + 'static> Task for Call<F> {
    type Output = T;

    fn run(self) -> T {
        (self.f)()
    }
}

pub(super) struct Job<K: Task> {
    state: Mutex<State<K>>,
    /// A test with a paused clock waits for the job as long as this is here.
    #[cfg(feature = "testing")]
    outside: Mutex<Option<crate::aio::paused::Outside>>,
}

struct State<K: Task> {
    stage: Stage<K>,
    waiter: Option<Waker>,
}

enum Stage<K: Task> {
    Queued(K),
    /// Being run, or its result has been taken.
    Empty,
    Done(thread::Result<K::Output>),
}

impl<K: Task> Job<K> {
    pub(super) fn new(task: K) -> Self {
        Self {
            state: Mutex::new(State { stage: Stage::Queued(task), waiter: None }),
            #[cfg(feature = "testing")]
            outside: Mutex::new(crate::aio::paused::outside()),
        }
    }

    /// Returns the task if it has not been run.
    pub(super) fn reclaim(&self) -> Option<K> {
        let stage = self.lock().take();
        match stage {
            Stage::Queued(task) => Some(task),
            Stage::Empty | Stage::Done(_) => None,
        }
    }

    fn finish(&self, result: thread::Result<K::Output>) {
        let mut state = self.lock();
        state.stage = Stage::Done(result);
        let waiter = state.waiter.take();
        drop(state);
        if let Some(waiter) = waiter {
            wake_without_panic(waiter);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Task> Work for Job<K> {
    fn run(&self) {
        if let Some(task) = self.reclaim() {
            // The task is gone when this returns, so nobody sees it half done.
            self.finish(catch_unwind(AssertUnwindSafe(|| task.run())));
        }
        #[cfg(feature = "testing")]
        drop(self.outside.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl<K: Task> Outcome<K::Output> for Job<K> {
    fn poll(&self, waker: &Waker) -> Poll<thread::Result<K::Output>> {
        let waker = waker.clone();
        let mut state = self.lock();
        if let Some(result) = state.take_result() {
            drop(state);
            return Poll::Ready(result);
        }
        let replaced = state.waiter.replace(waker);
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl<K: Task> State<K> {
    fn take(&mut self) -> Stage<K> {
        mem::replace(&mut self.stage, Stage::Empty)
    }

    fn take_result(&mut self) -> Option<thread::Result<K::Output>> {
        match self.take() {
            Stage::Done(result) => Some(result),
            other => {
                self.stage = other;
                None
            }
        }
    }
}
