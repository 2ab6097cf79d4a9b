//! Work on another thread, and its way back.
//!
//! [`Remote`] is the caller's end of a task that runs elsewhere; [`Errand`] is the end that travels. What
//! goes over is moved once, before its first poll; what comes back is the output. Nothing is lent, so
//! either end may vanish at any time: a dropped `Remote` asks for cancellation, a dropped `Errand`
//! reports it.
//!
//! What is between the ends is a [`slot`]; a future that goes to another executor travels in the same
//! allocation ([`mod@parcel`]).

mod blocks;
mod parcel;
mod slot;

pub(crate) use parcel::parcel;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use self::slot::{FarEnd, NearEnd, Slot};
use crate::current;
use crate::observe::{self, Outcome};
use crate::task::{JoinError, TaskLabel};

/// A task on another thread, seen from here.
///
/// A future of its result; awaiting it is how a task "comes back" from an iothread to the main loop. The
/// errors are those of [`JoinHandle`](crate::JoinHandle); the other thread's end counts as cancellation.
///
/// Dropping it asks for cancellation and does not wait: the remote future is dropped, on its own thread,
/// the next time it would be polled. [`detach`](Self::detach) lets it run on, and
/// [`cancel`](Self::cancel) waits until it is gone.
///
/// # Examples
///
/// ```
/// use std::future::pending;
///
/// use executor::{IoThread, MainCx, block_on, reschedule_to, run_main};
///
/// run_main(|nc| {
///     let thread = IoThread::create(nc, "io0").unwrap();
///     let io = thread.io();
///     block_on(nc, async move |_: &MainCx| {
///         let answer = reschedule_to(&io, async { 42 });
///         assert_eq!(answer.await.unwrap(), 42);
///
///         let panics = reschedule_to(&io, async { panic!("over there") });
///         assert!(panics.await.unwrap_err().is_panic());
///
///         let endless = reschedule_to(&io, pending::<()>());
///         assert!(!endless.is_finished());
///         assert_eq!(endless.cancel().await, None); // Gone now: what it used may be freed.
///
///         drop(reschedule_to(&io, pending::<()>())); // Will be gone soon.
///         reschedule_to(&io, async {}).detach(); // Goes on without a handle.
///     });
///     thread.destroy(nc).unwrap();
/// });
/// ```
#[must_use = "dropping a `Remote` cancels its task; await it, or say `.detach()`"]
pub struct Remote<T> {
    end: NearEnd<T>,
    /// Whether the task may go on when this is dropped.
    let_go: bool,
}

/// The travelling end: completes the slot, at the latest when it is dropped.
pub(crate) struct Errand<T> {
    /// Until it is done.
    end: Option<FarEnd<T>>,
}

/// The two ends of a piece of work.
pub(crate) fn pair<T>() -> (Errand<T>, Remote<T>) {
    let (far, near) = Slot::alone();
    (Errand { end: Some(far) }, Remote { end: near, let_go: false })
}

impl<T> Errand<T> {
    #[inline]
    fn finish(&mut self, result: Result<T, JoinError>) {
        if let Some(end) = self.end.take() {
            end.finish(result);
        }
    }

    /// Reports the result.
    pub(crate) fn complete(mut self, result: Result<T, JoinError>) {
        self.finish(result);
    }

    /// What no other errand has meanwhile, by which observers recognise this one.
    pub(crate) fn address(&self) -> usize {
        self.end.as_ref().map_or(0, FarEnd::address)
    }

    /// Whether nobody wants the answer any more. Any thread.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.end.as_ref().is_none_or(FarEnd::is_cancelled)
    }

    /// Lets a later cancellation wake this task. An earlier one must be asked for afterwards.
    pub(crate) fn listen(&mut self, waker: &Waker) {
        if let Some(end) = &mut self.end {
            end.listen(waker);
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
        let result = std::future::poll_fn(|cx| {
            let future = future.as_mut().as_pin_mut().expect("it is there until it is ready");
            self.poll_unless_cancelled(future, cx)
        })
        .await;
        let dropped = catch_unwind(AssertUnwindSafe(|| future.set(None)));
        self.finish(result_after_drop(result, dropped));
    }

    fn poll_unless_cancelled(
        &mut self,
        future: Pin<&mut impl Future<Output = T>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, JoinError>> {
        if self.is_cancelled() {
            return Poll::Ready(Err(cancelled()));
        }
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(Poll::Ready(output)) => return Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => {}
            Err(payload) => return Poll::Ready(Err(panicked(payload))),
        }
        // Most work is over by now. What waits can be cancelled meanwhile, and must be woken for it.
        self.listen(cx.waker());
        if self.is_cancelled() {
            return Poll::Ready(Err(cancelled()));
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
    let error = panicked(payload);
    match result {
        Err(first) if first.is_panic() => {
            error.report_if_panic();
            Err(first)
        }
        _ => Err(error),
    }
}

#[cold]
fn cancelled() -> JoinError {
    observe::say(Outcome::Cancelled);
    JoinError::cancelled()
}

#[cold]
fn panicked(payload: Box<dyn Any + Send>) -> JoinError {
    observe::say(Outcome::Panicked);
    JoinError::panicked(current::task().expect("an errand is a task of its own"), payload)
}

impl<T> Drop for Errand<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            if observe::is_on() {
                observe::lost(end.address());
            }
            end.finish(Err(JoinError::cancelled()));
        }
    }
}

impl<T> Remote<T> {
    /// Lets the task run on; its output is dropped on its thread, a panic reported there.
    pub fn detach(mut self) {
        self.let_go = true;
    }

    /// Cancels the task and waits until its future has been dropped. Gives the output if the task
    /// completed first. This is what a drained section needs.
    pub async fn cancel(self) -> Option<T> {
        self.end.cancel();
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
        self.end.is_finished()
    }
}

impl<T> Future for Remote<T> {
    type Output = Result<T, JoinError>;

    /// # Panics
    ///
    /// If it is polled again after it was ready.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.end
            .poll(cx.waker())
            .map(|result| result.expect("a `Remote` was polled after it was ready"))
    }
}

impl<T> Unpin for Remote<T> {}

impl<T> Drop for Remote<T> {
    #[inline]
    fn drop(&mut self) {
        if !self.let_go && !self.end.is_finished() {
            self.end.cancel();
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
        f.debug_struct("Errand").field("done", &self.end.is_none()).finish()
    }
}
