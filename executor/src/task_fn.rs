//! Functions that make futures, in bounds.

#![forbid(unsafe_code)]

use std::future::Future;

/// A function of `A` whose future gives a `T`: a named `async fn`, or an async closure.
///
/// `F: for<'a> TaskFn<&'a MainCx, T>` says what `AsyncFnOnce(&MainCx) -> T` says from Rust 1.85 on: the
/// future may borrow the capability that it is given. Implemented for every function that fits. A plain
/// closure that returns an `async` block does not: its return type cannot name the borrow.
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
