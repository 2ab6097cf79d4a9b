//! Functions that make futures, in bounds.

#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;

/// A function of `A` whose future gives a `T`: a named `async fn`, or an async closure.
///
/// `F: for<'a> TaskFn<&'a MainCx, T>` says what `AsyncFnOnce(&MainCx) -> T` says from Rust 1.85 on: the
/// future may borrow the capability that it is given. Implemented for every function that fits. A plain
/// closure that returns an `async` block does not: its return type cannot name the borrow. Before Rust 1.85,
/// which has async closures, [`boxed`] makes it fit.
///
/// # Examples
///
/// ```
/// use executor::{MainCx, NoCoroutine, TaskFn, block_on, run_main};
///
/// /// A function of the program's own that takes async functions of a task.
/// fn twice<F>(nc: &mut NoCoroutine, task: F) -> (u32, u32)
/// where
///     F: for<'a> TaskFn<&'a MainCx, u32> + Copy,
/// {
///     (block_on(nc, task), block_on(nc, task))
/// }
///
/// async fn five(_: &MainCx) -> u32 {
///     5
/// }
///
/// run_main(|nc| {
///     assert_eq!(twice(nc, five), (5, 5));
///     assert_eq!(twice(nc, async |cx: &MainCx| cx.bql(|_bql| 7)), (7, 7));
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an async function of `{A}` that returns `{T}`",
    label = "expected a named `async fn`, or an async closure",
    note = "write `async |cx: {A}| {{ .. }}` (and `async move` to take captures along), or name an `async fn`; a \
            future that needs no capability goes to `spawn_future`"
)]
pub trait TaskFn<A, T>: FnOnce(A) -> <Self as TaskFn<A, T>>::Fut {
    /// The future.
    type Fut: Future<Output = T>;
}

impl<A, T, F, Fut> TaskFn<A, T> for F
where
    F: FnOnce(A) -> Fut,
    Fut: Future<Output = T>,
{
    type Fut = Fut;
}

/// A [`TaskFn`] whose future is `Send`, whatever it was lent.
///
/// `AsyncFnOnce` cannot say that; this can, for named `async fn`s and async closures alike.
///
/// # Examples
///
/// ```
/// use executor::{MainCx, Migratable, Remote, SendTaskFn, block_on, run_main};
///
/// /// A function of the program's own that takes async functions of a task that may move.
/// fn start<F>(cx: &MainCx, journey: F) -> Remote<u32>
/// where
///     F: for<'a> SendTaskFn<&'a mut Migratable, u32> + Send + 'static,
/// {
///     cx.spawn_migratable(journey)
/// }
///
/// async fn travel(_: &mut Migratable) -> u32 {
///     42
/// }
///
/// run_main(|nc| {
///     let answer = block_on(nc, async |cx: &MainCx| start(cx, travel).await);
///     assert_eq!(answer.unwrap(), 42);
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an async function of `{A}` that returns `{T}` and whose future is `Send`",
    label = "expected a named `async fn`, or an async closure, that keeps only `Send` values across an `.await`"
)]
pub trait SendTaskFn<A, T>: FnOnce(A) -> <Self as SendTaskFn<A, T>>::Fut {
    /// The future.
    type Fut: Future<Output = T> + Send;
}

impl<A, T, F, Fut> SendTaskFn<A, T> for F
where
    F: FnOnce(A) -> Fut,
    Fut: Future<Output = T> + Send,
{
    type Fut = Fut;
}

/// Lets a plain closure be a [`TaskFn`]: for Rust before 1.85, which has no async closures.
///
/// Returns the closure as it is; the bound tells the compiler that the box may borrow the capability. What
/// the closure captures has to be `'static`. For handlers of QMP commands, see
/// `qmp::boxed`.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
///
/// use executor::{block_on, boxed, run_main, MainCx};
///
/// run_main(|nc| {
///     let base = Rc::new(40);
///     let task = nc.spawn(boxed(move |cx: &MainCx| {
///         Box::pin(async move { cx.bql(|_| *base + 2) })
///     }));
///     let answer = block_on(nc, boxed(move |_: &MainCx| Box::pin(task)));
///     assert_eq!(answer.unwrap(), 42);
/// });
/// ```
pub fn boxed<A: ?Sized, T, F>(task: F) -> F
where
    F: for<'a> FnOnce(&'a A) -> Pin<Box<dyn Future<Output = T> + 'a>>,
{
    task
}

/// As [`boxed`], for [`spawn_migratable`](crate::MainCx::spawn_migratable): the future is `Send`.
///
/// # Examples
///
/// ```
/// use executor::{block_on, boxed, boxed_send, run_main, IoThread, MainCx, Migratable};
///
/// run_main(|nc| {
///     let thread = IoThread::create(nc, "io0").unwrap();
///     let io = thread.io();
///     let task = nc.spawn_migratable(boxed_send(move |m: &mut Migratable| {
///         Box::pin(async move {
///             m.reschedule_to(&io).await;
///             42
///         })
///     }));
///     let answer = block_on(nc, boxed(move |_: &MainCx| Box::pin(task)));
///     assert_eq!(answer.unwrap(), 42);
///     thread.destroy(nc).unwrap();
/// });
/// ```
pub fn boxed_send<A: ?Sized, T, F>(task: F) -> F
where
    F: for<'a> FnOnce(&'a mut A) -> Pin<Box<dyn Future<Output = T> + Send + 'a>>,
{
    task
}
