//! Work on another thread, and its way back.
//!
//! [`Remote`] is the caller's end of a task that runs elsewhere; [`Errand`] is the end that travels. What
//! goes over is moved once, before its first poll; what comes back is the output. Nothing is lent, so
//! either end may vanish at any time: a dropped `Remote` asks for cancellation, a dropped `Errand`
//! reports it.
//!
//! The slot between the ends is behind a mutex that each end holds for a few instructions, never while
//! it runs foreign code.

#![forbid(unsafe_code)]

use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use crate::current;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard};
use crate::task::{JoinError, TaskLabel};

/// A task on another thread, seen from here.
///
/// A future of its result; awaiting it is how a task "comes back" from an iothread to the main loop. The
/// errors are those of [`JoinHandle`](crate::JoinHandle); the other thread's end counts as cancellation.
///
/// Dropping it asks for cancellation and does not wait: the remote future is dropped, on its own thread,
/// the next time it would be polled. [`detach`](Self::detach) lets it run on, and
/// [`cancel`](Self::cancel) waits until it is gone.
#[must_use = "dropping a `Remote` cancels its task; await it, or say `.detach()`"]
pub struct Remote<T> {
    slot: Arc<Slot<T>>,
    detached: bool,
    /// What was found at the last poll.
    seen: Seen,
}

/// What a `Remote` knows of its slot without looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Nothing: it was not polled.
    Nothing,
    /// There is a waker of ours in it.
    Waiting,
    /// We took the result.
    Taken,
}

struct Slot<T> {
    cancelled: AtomicBool,
    ends: Mutex<Ends<T>>,
}

struct Ends<T> {
    result: Option<Result<T, JoinError>>,
    finished: bool,
    /// The `Remote` is gone: nobody will look at the result.
    abandoned: bool,
    /// Who awaits the `Remote`.
    awaiting: Option<Waker>,
    /// The remote task, so that it can be told of the cancellation.
    working: Option<Waker>,
}

impl<T> Ends<T> {
    fn is_awaited_by(&self, waker: &Waker) -> bool {
        self.awaiting.as_ref().is_some_and(|known| known.will_wake(waker))
    }
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, Ends<T>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel(&self) {
        // Release: pairs with the Acquire in `Errand::is_cancelled`.
        self.cancelled.store(true, Ordering::Release);
        let working = self.lock().working.take();
        if let Some(working) = working {
            working.wake();
        }
    }
}

/// The travelling end: completes the slot, at the latest when it is dropped.
pub(crate) struct Errand<T> {
    slot: Arc<Slot<T>>,
    done: bool,
}

/// The two ends of a piece of work.
pub(crate) fn pair<T>() -> (Errand<T>, Remote<T>) {
    let ends =
        Ends { result: None, finished: false, abandoned: false, awaiting: None, working: None };
    let slot = Arc::new(Slot { cancelled: AtomicBool::new(false), ends: Mutex::new(ends) });
    (
        Errand { slot: Arc::clone(&slot), done: false },
        Remote { slot, detached: false, seen: Seen::Nothing },
    )
}

impl<T> Errand<T> {
    fn finish(&mut self, result: Result<T, JoinError>) {
        self.done = true;
        let mut ends = self.slot.lock();
        ends.finished = true;
        if ends.abandoned {
            drop(ends);
            if let Err(error) = result {
                error.report_if_panic();
            }
            return;
        }
        ends.result = Some(result);
        let (awaiting, working) = (ends.awaiting.take(), ends.working.take());
        drop(ends);
        drop(working);
        if let Some(awaiting) = awaiting {
            awaiting.wake();
        }
    }

    /// Reports the result.
    pub(crate) fn complete(mut self, result: Result<T, JoinError>) {
        self.finish(result);
    }

    /// Whether nobody wants the answer any more. Any thread.
    pub(crate) fn is_cancelled(&self) -> bool {
        // Acquire: pairs with the Release in `Slot::cancel`.
        self.slot.cancelled.load(Ordering::Acquire)
    }

    /// Lets a later cancellation wake this task.
    pub(crate) fn listen(&self, waker: &Waker) {
        let mut ends = self.slot.lock();
        if !ends.working.as_ref().is_some_and(|known| known.will_wake(waker)) {
            let replaced = ends.working.replace(waker.clone());
            drop(ends);
            drop(replaced);
        }
    }

    /// Runs a closure and reports what it returns.
    pub(crate) fn call(mut self, spawned_at: &'static Location<'static>, work: impl FnOnce() -> T) {
        if self.is_cancelled() {
            return;
        }
        let result = catch_unwind(AssertUnwindSafe(work));
        let label = || TaskLabel { id: 0, name: None, spawned_at };
        self.finish(result.map_err(|payload| JoinError::panicked(label(), payload)));
    }

    /// Polls a future to its end, unless it is cancelled first, and reports what it returns once it is
    /// gone.
    pub(crate) async fn run(mut self, future: impl Future<Output = T>) {
        let mut future = pin!(Some(future));
        let mut listening = false;
        let result = std::future::poll_fn(|cx| {
            let future = future.as_mut().as_pin_mut().expect("it is there until it is ready");
            self.poll_unless_cancelled(&mut listening, future, cx)
        })
        .await;
        let dropped = catch_unwind(AssertUnwindSafe(|| future.set(None)));
        self.finish(result_after_drop(result, dropped));
    }

    fn poll_unless_cancelled(
        &self,
        listening: &mut bool,
        future: Pin<&mut impl Future<Output = T>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, JoinError>> {
        if self.is_cancelled() {
            return Poll::Ready(Err(JoinError::cancelled()));
        }
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(Poll::Ready(output)) => return Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => {}
            Err(payload) => {
                return Poll::Ready(Err(JoinError::panicked(errand_label(), payload)));
            }
        }
        // Most work is over by now. What waits can be cancelled meanwhile, and must be woken for it.
        if !*listening {
            *listening = true;
            self.listen(cx.waker());
            if self.is_cancelled() {
                return Poll::Ready(Err(JoinError::cancelled()));
            }
        }
        Poll::Pending
    }
}

/// What to report when the future's destructor may have panicked, as a task does: its panic takes the
/// place of the output, and comes after a panic of the future.
fn result_after_drop<T>(
    result: Result<T, JoinError>,
    dropped: std::thread::Result<()>,
) -> Result<T, JoinError> {
    let Err(payload) = dropped else { return result };
    let error = JoinError::panicked(errand_label(), payload);
    match result {
        Err(first) if first.is_panic() => {
            error.report_if_panic();
            Err(first)
        }
        _ => Err(error),
    }
}

fn errand_label() -> TaskLabel {
    current::task().expect("an errand is a task of its own")
}

impl<T> Drop for Errand<T> {
    fn drop(&mut self) {
        if !self.done {
            self.finish(Err(JoinError::cancelled()));
        }
    }
}

impl<T> Remote<T> {
    /// Lets the task run on; its output is dropped on its thread, a panic reported there.
    pub fn detach(mut self) {
        self.detached = true;
    }

    /// Cancels the task and waits until its future has been dropped. Gives the output if the task
    /// completed first. This is what a drained section needs.
    pub async fn cancel(self) -> Option<T> {
        self.slot.cancel();
        match self.await {
            Ok(output) => Some(output),
            Err(error) => {
                error.report_if_panic();
                None
            }
        }
    }

    /// Whether the task is gone: completed, cancelled or panicked. Any thread.
    pub fn is_finished(&self) -> bool {
        self.slot.lock().finished
    }
}

impl<T> Future for Remote<T> {
    type Output = Result<T, JoinError>;

    /// # Panics
    ///
    /// If it is polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // Cloned before the lock is taken, and what is left dropped after it: that is foreign code. Mostly
        // the first poll brings the only waker there will be.
        let mut waker = (this.seen == Seen::Nothing).then(|| cx.waker().clone());
        let mut ends = this.slot.lock();
        if waker.is_none() && !ends.finished && !ends.is_awaited_by(cx.waker()) {
            drop(ends);
            waker = Some(cx.waker().clone());
            ends = this.slot.lock();
        }
        if !ends.finished {
            if waker.is_some() {
                mem::swap(&mut ends.awaiting, &mut waker);
            }
            drop(ends);
            this.seen = Seen::Waiting;
            return Poll::Pending;
        }
        let result = ends.result.take();
        drop(ends);
        this.seen = Seen::Taken;
        Poll::Ready(result.expect("a `Remote` was polled after it was ready"))
    }
}

impl<T> Unpin for Remote<T> {}

impl<T> Drop for Remote<T> {
    fn drop(&mut self) {
        if self.seen == Seen::Taken {
            return;
        }
        let mut ends = self.slot.lock();
        let (unread, awaiting) = (ends.result.take(), ends.awaiting.take());
        let finished = ends.finished;
        ends.abandoned = true;
        drop(ends);
        drop(awaiting);
        if !finished && !self.detached {
            self.slot.cancel();
        }
        if let Some(Err(error)) = unread {
            error.report_if_panic();
        }
    }
}

impl<T> fmt::Debug for Remote<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("finished", &self.is_finished()).finish()
    }
}

impl<T> fmt::Debug for Errand<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errand").field("done", &self.done).finish_non_exhaustive()
    }
}
