//! The handle on a spawned task.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::cell::{TaskRef, discard_result};
use super::state::Outcome;
use super::{Payload, TaskLabel, report_lost_panic};

/// Waits for a spawned task; the owner of its result.
///
/// A future: `handle.await` gives `Ok(output)`, or a [`JoinError`] if the task was cancelled or
/// panicked. Dropping the handle detaches the task, which runs on; use [`abort`](Self::abort) or
/// [`cancel`](Self::cancel) to stop it. Bound to the thread of its executor.
///
/// # Examples
///
/// ```
/// use std::future::pending;
///
/// use executor::LocalExecutor;
///
/// let executor = LocalExecutor::new()?;
/// let adds = executor.spawn(async { 1 + 2 });
/// assert_eq!(executor.run(adds).expect("it does not panic"), 3);
///
/// let waits = executor.spawn(pending::<()>());
/// waits.abort(); // Asks; by the executor's next run the future is gone.
/// executor.run_once();
/// assert!(waits.is_finished());
/// assert!(executor.run(waits).unwrap_err().is_cancelled());
///
/// executor.spawn(async {}).detach(); // Runs without a handle.
/// executor.run_once();
/// assert_eq!(executor.stats().completed, 3);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "dropping a `JoinHandle` detaches its task; say `.detach()` if that is meant"]
pub struct JoinHandle<T> {
    task: TaskRef,
    /// It hands out a `T` that was made here, and reads the task's plain cells, [home-thread].
    home: PhantomData<(Rc<BoundToThisThread>, T)>,
}

/// Named in the compiler's message when a handle would leave its thread.
struct BoundToThisThread;

impl<T> Unpin for JoinHandle<T> {}

/// The handle that owns `task`'s result.
///
/// # Safety
///
/// - `task` is the handle's reference from [`super::spawn()`], and `T` the output of the future that
///   was spawned.
/// - The caller is on the home thread, and gives the handle to code on that thread only.
pub(super) unsafe fn join_handle<T>(task: TaskRef) -> JoinHandle<T> {
    JoinHandle { task, home: PhantomData }
}

impl<T> JoinHandle<T> {
    /// Asks for the future to be dropped, as soon as the executor gets to it: by its next run at the
    /// latest. The handle then gives [`JoinError::is_cancelled`], or the output if the task was
    /// faster. Does nothing to a complete task.
    pub fn abort(&self) {
        if !self.task.state().is_complete() {
            self.task.cancel();
        }
    }

    /// Aborts the task and waits until its future has been dropped. Gives the output if the task
    /// completed first.
    ///
    /// This is what QEMU code needs before it frees something that the task uses. A panic of the
    /// future's destructor is reported like that of a detached task.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::future::pending;
    /// use std::rc::Rc;
    ///
    /// use executor::LocalExecutor;
    ///
    /// let executor = LocalExecutor::new()?;
    /// let buffer = Rc::new(Cell::new(0));
    /// let writer = executor.spawn({
    ///     let buffer = Rc::clone(&buffer);
    ///     async move {
    ///         buffer.set(1);
    ///         pending::<()>().await;
    ///         buffer.set(2);
    ///     }
    /// });
    /// executor.run(writer.cancel());
    /// // Nobody else has the buffer now.
    /// assert!(Rc::try_unwrap(buffer).is_ok());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn cancel(self) -> Option<T> {
        self.abort();
        match self.await {
            Ok(output) => Some(output),
            Err(error) => {
                error.report_if_panic();
                None
            }
        }
    }

    /// Lets the task run on without a handle. Should it panic, the panic goes to the hook of
    /// [`set_task_panic_hook`](super::set_task_panic_hook).
    pub fn detach(self) {}

    /// Whether the future is gone: completed, cancelled or panicked.
    pub fn is_finished(&self) -> bool {
        self.task.state().is_complete()
    }

    fn take(&self) -> Option<Result<T, JoinError>> {
        Some(match self.task.state().take_result()? {
            // SAFETY: `take_result` has just answered `Output`, and the type is right by the
            // contract of `join_handle`.
            Outcome::Output => Ok(unsafe { self.task.take_output() }),
            // SAFETY: `take_result` has just answered `Error`.
            Outcome::Error => Err(unsafe { self.task.take_error() }),
        })
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    /// # Panics
    ///
    /// If it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.task.state().is_complete() {
            self.task.set_joiner(cx.waker());
        }
        if !self.task.state().is_complete() {
            return Poll::Pending;
        }
        Poll::Ready(self.take().expect("a `JoinHandle` was polled after it was ready"))
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        self.task.state().drop_join();
        if let Some(error) = discard_result(&self.task) {
            error.report_if_panic();
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("task", &self.task)
            .field("finished", &self.is_finished())
            .finish()
    }
}

/// Why a task gave no output.
///
/// # Examples
///
/// ```
/// use executor::{JoinError, LocalExecutor};
///
/// fn report(error: JoinError) -> String {
///     assert!(error.is_cancelled() != error.is_panic());
///     match error.into_panic() {
///         Ok(payload) => format!("it said {:?}", payload.downcast_ref::<&str>()),
///         Err(cancelled) => cancelled.to_string(),
///     }
/// }
///
/// let executor = LocalExecutor::new()?;
/// let panics = executor.spawn(async { panic!("no more disks") });
/// let waits = executor.spawn(std::future::pending::<()>());
/// waits.abort();
/// assert_eq!(report(executor.run(panics).unwrap_err()), "it said Some(\"no more disks\")");
/// assert_eq!(report(executor.run(waits).unwrap_err()), "the task was cancelled");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct JoinError {
    /// Boxed, so that the error of a small future does not make its cell larger.
    repr: Repr,
}

enum Repr {
    Cancelled,
    Panicked(Box<Panicked>),
}

struct Panicked {
    task: TaskLabel,
    payload: Payload,
}

impl JoinError {
    pub(crate) fn cancelled() -> JoinError {
        JoinError { repr: Repr::Cancelled }
    }

    pub(crate) fn panicked(task: TaskLabel, payload: Box<dyn Any + Send>) -> JoinError {
        let payload = Payload::new(payload);
        JoinError { repr: Repr::Panicked(Box::new(Panicked { task, payload })) }
    }

    /// Whether the task was cancelled: by its handle, by an operator, or because its executor shut
    /// down.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.repr, Repr::Cancelled)
    }

    /// Whether the future panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.repr, Repr::Panicked(_))
    }

    /// What `panic!` was called with; gives the error back if the task did not panic.
    ///
    /// # Errors
    ///
    /// The error itself, for a cancelled task.
    pub fn into_panic(self) -> Result<Box<dyn Any + Send>, JoinError> {
        match self.repr {
            Repr::Panicked(panicked) => Ok(panicked.payload.into_inner()),
            Repr::Cancelled => Err(self),
        }
    }

    pub(crate) fn report_if_panic(self) {
        if let Repr::Panicked(panicked) = self.repr {
            report_lost_panic(&panicked.task, panicked.payload.into_inner());
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.repr {
            Repr::Cancelled => f.write_str("the task was cancelled"),
            Repr::Panicked(panicked) => {
                write!(f, "{} panicked: {}", panicked.task, panicked.payload.message())
            }
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl std::error::Error for JoinError {}
