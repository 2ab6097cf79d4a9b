//! Futures and outputs that are too large for a cell, or aligned too strictly: they are boxed.

#![forbid(unsafe_code)]

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::TaskLabel;
use super::cell::{Header, place};
use crate::arena::MAX_STAGE;
use crate::home::Home;

/// Whether a future or an output does not fit into a cell, and is boxed.
pub(super) const fn is_large<T>() -> bool {
    size_of::<T>() > MAX_STAGE.size() || align_of::<T>() > MAX_STAGE.align()
}

/// How a future is made to fit.
pub(super) struct Fitted<F>(PhantomData<F>);

impl<F: Future + 'static> Fitted<F> {
    /// What puts such a future into a cell. A constant, so that only what is needed is compiled.
    pub(super) const PLACE: fn(&Arc<Home>, TaskLabel, F) -> NonNull<Header> =
        if is_large::<F::Output>() {
            |home, label, future| place(home, label, BoxedOutput(Box::pin(future)))
        } else if is_large::<F>() {
            |home, label, future| place(home, label, Box::pin(future))
        } else {
            place::<F>
        };
}

/// A future whose output would not fit into a cell.
struct BoxedOutput<F>(Pin<Box<F>>);

impl<F: Future> Future for BoxedOutput<F> {
    type Output = Box<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Box::new(ready!(self.0.as_mut().poll(cx))))
    }
}
