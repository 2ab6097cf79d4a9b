//! The functions that are measured, by name.
//!
//! They are never inlined, so that callgrind finds them, and come in pairs that do the same work.

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use executor::{BqlRefCell, LocalExecutor, MainCx, NoCoroutine};

static DISKS: BqlRefCell<Vec<u64>> = BqlRefCell::new(Vec::new());

#[inline(never)]
pub(crate) fn calls_with(nc: &mut NoCoroutine, n: u64) -> u64 {
    black_box(middle_with(nc, n)) + 1
}

#[inline(never)]
fn middle_with(nc: &mut NoCoroutine, n: u64) -> u64 {
    black_box(inner_with(nc, n)) + 2
}

#[inline(never)]
fn inner_with(_: &mut NoCoroutine, n: u64) -> u64 {
    black_box(n) + 3
}

// Other constants, or the linker finds that the functions are the same and keeps one.

#[inline(never)]
pub(crate) fn calls_without(n: u64) -> u64 {
    black_box(middle_without(n)) + 4
}

#[inline(never)]
fn middle_without(n: u64) -> u64 {
    black_box(inner_without(n)) + 5
}

#[inline(never)]
fn inner_without(n: u64) -> u64 {
    black_box(n) + 6
}

#[inline(never)]
pub(crate) fn borrow_with(nc: &mut NoCoroutine) -> u64 {
    DISKS.borrow(nc).iter().sum()
}

#[inline(never)]
pub(crate) fn borrow_without() -> u64 {
    DISKS.borrow_ambient().iter().sum()
}

#[inline(never)]
pub(crate) fn future_with(cx: &MainCx) -> u64 {
    drive(task_with(cx))
}

#[inline(never)]
pub(crate) fn future_without() -> u64 {
    drive(task_without())
}

async fn task_with(cx: &MainCx) -> u64 {
    let mut n = 0;
    while n < 100 {
        n = step_with(cx, n).await;
    }
    n
}

async fn task_without() -> u64 {
    let mut n = 0;
    while n < 100 {
        n = step_without(n).await;
    }
    n
}

async fn step_with(_: &MainCx, n: u64) -> u64 {
    yield_now().await;
    black_box(n) + 1
}

async fn step_without(n: u64) -> u64 {
    yield_now().await;
    black_box(n) + 1
}

/// Polls until it is ready, with no executor at all.
fn drive<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

async fn yield_now() {
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

/// Polls a task that only yields.
#[inline(never)]
pub(crate) fn polls(executor: &LocalExecutor, times: u64) {
    let task = executor.spawn(async move {
        for _ in 0..times {
            yield_now().await;
        }
    });
    executor.run(task).expect("it does not panic");
}
