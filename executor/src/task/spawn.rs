//! How a future becomes a task: what it is put into, and where.
//!
//! Home thread only.

use std::future::Future;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::TaskLabel;
use super::cell::{Header, Stage, TaskCell, TaskRef, VTables, enqueue_first};
use super::join::{JoinHandle, join_handle};
use crate::arena::{self, MAX_STAGE};
use crate::home::Home;

/// Makes a task, enters it in the table, which owns a reference, and queues it. Home.
///
/// # Panics
///
/// On any other thread than home.
#[inline]
pub(crate) fn spawn<F: Future + 'static>(
    home: &Arc<Home>,
    label: TaskLabel,
    future: F,
) -> JoinHandle<F::Output> {
    assert!(home.is_home(), "a task is spawned on the thread of its executor");
    let header = Layouts::<F>::PLACE(home, label, future);
    // SAFETY: [queued-once]: `place` has entered it into the table, once.
    unsafe { enqueue_first(home, header) };
    // SAFETY: [waker-is-ref]: the output's type is right, this is the home thread, and the state was born with the handle's reference.
    unsafe { join_handle(TaskRef { header }) }
}

/// Whether a future or an output does not fit into a cell, and is boxed.
pub(super) const fn is_large<T>() -> bool {
    size_of::<T>() > MAX_STAGE.size() || align_of::<T>() > MAX_STAGE.align()
}

struct Layouts<F>(PhantomData<F>);

impl<F: Future + 'static> Layouts<F> {
    /// What puts such a future into a cell. A constant, so that only what is needed is compiled.
    const PLACE: fn(&Arc<Home>, TaskLabel, F) -> NonNull<Header> = if is_large::<F::Output>() {
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

/// Puts a future into a cell, and the cell into the table.
#[inline]
fn place<F: Future + 'static>(home: &Arc<Home>, label: TaskLabel, future: F) -> NonNull<Header> {
    let TaskLabel { id, name, spawned_at } = label;
    let kind = home.kinds().of(&VTables::<F>::TASK, spawned_at);
    let (id_high, id_low) = ((id >> u32::BITS) as u32, id as u32);
    let cell = arena::allocate(home, VTables::<F>::CLASS, id_high).cast::<TaskCell<F>>();
    // SAFETY: [cell-in-chunk]: the cell is ours, large enough, and its header is written.
    let task = unsafe { cell.as_ref() };
    // SAFETY: [cell-in-chunk]: the stage of a free cell is empty, and ours.
    unsafe { task.stage.get().write(Stage { future: ManuallyDrop::new(future) }) };
    task.header.state.begin();
    let is_named = name.is_some();
    if let Some(name) = name {
        home.table().name(id, name);
    }
    // `free` has emptied the joiner's slot.
    task.header.enter(id_low, kind, is_named);
    cell.cast()
}
