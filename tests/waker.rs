//! Wakers: valid on every thread, at any time, and never more than a message.

#![allow(clippy::mem_forget, reason = "leaks are cases")]

mod common;

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use common::{CountingWaker, OnDrop, Signal, own_waker, waiting_task, yield_now};
use executor::LocalExecutor;

#[test]
fn a_wake_from_another_thread_polls_on_the_home_thread() {
    let executor = LocalExecutor::new().unwrap();
    let home = thread::current().id();
    let signal = Signal::new();
    let waiting = signal.clone();
    let handle = executor.spawn(async move {
        waiting.wait().await;
        thread::current().id()
    });
    executor.run_once();

    thread::spawn(move || signal.set()).join().unwrap();

    assert_eq!(executor.run(handle).unwrap(), home);
}

#[test]
fn wakes_of_a_complete_task_do_nothing() {
    let executor = LocalExecutor::new().unwrap();
    let (handle, waker) = waiting_task(&executor);
    waker.wake_by_ref();

    assert_eq!(executor.run(handle).unwrap(), 2);
    let polls = executor.stats().polls;
    waker.wake_by_ref();
    let abroad = waker.clone();
    thread::spawn(move || abroad.wake()).join().unwrap();
    executor.run_once();

    assert_eq!(executor.stats().polls, polls);
    drop(waker);
}

#[test]
fn wakers_of_an_executor_that_is_gone_do_nothing_on_any_thread() {
    let executor = LocalExecutor::new().unwrap();
    let (handle, waker) = waiting_task(&executor);
    drop(executor);

    waker.wake_by_ref();
    let abroad = waker.clone();
    thread::spawn(move || {
        abroad.wake_by_ref();
        drop(abroad.clone());
        abroad.wake();
    })
    .join()
    .unwrap();
    drop(waker);

    assert!(handle.is_finished());
}

#[test]
fn a_wake_from_a_destructor_that_holds_a_lock_does_not_deadlock() {
    // The waker must not poll inline: the destructor holds a lock that the woken task takes.
    let executor = LocalExecutor::new().unwrap();
    let lock = Arc::new(Mutex::new(0));
    let signal = Signal::new();
    let (its_lock, waiting) = (Arc::clone(&lock), signal.clone());
    let handle = executor.spawn(async move {
        waiting.wait().await;
        *its_lock.lock().unwrap() += 1;
    });
    executor.run_once();

    let guard = lock.lock().unwrap();
    drop(OnDrop(|| signal.set()));
    drop(guard);
    executor.run(handle).unwrap();

    assert_eq!(*lock.lock().unwrap(), 1);
}

#[test]
fn a_wake_inside_the_poll_leads_to_one_more_poll() {
    let executor = LocalExecutor::new().unwrap();
    let mut polls = 0;

    let handle = executor.spawn(poll_fn(move |cx| {
        polls += 1;
        if polls == 2 {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        cx.waker().wake_by_ref();
        let clone = cx.waker().clone();
        clone.wake();
        Poll::Pending
    }));
    executor.run(handle).unwrap();

    assert_eq!(executor.stats().polls, 2);
}

#[test]
fn a_wake_from_elsewhere_during_the_poll_is_not_lost() {
    let executor = LocalExecutor::new().unwrap();
    let mut polls = 0;

    let handle = executor.spawn(poll_fn(move |cx| {
        polls += 1;
        if polls == 100 {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        thread::spawn(move || waker.wake()).join().unwrap();
        Poll::Pending
    }));

    executor.run(handle).unwrap();
}

#[test]
fn clones_made_at_home_and_dropped_abroad_keep_the_count() {
    let executor = LocalExecutor::new().unwrap();
    let (handle, waker) = waiting_task(&executor);

    for _ in 0..20 {
        let clones: Vec<Waker> = (0..100).map(|_| waker.clone()).collect();
        thread::spawn(move || drop(clones)).join().unwrap();
    }
    waker.wake();

    assert_eq!(executor.run(handle).unwrap(), 2);
}

#[test]
fn clones_made_abroad_and_dropped_at_home_keep_the_count() {
    let executor = LocalExecutor::new().unwrap();
    let (handle, waker) = waiting_task(&executor);

    for _ in 0..20 {
        let abroad = waker.clone();
        let clones = thread::spawn(move || (0..100).map(|_| abroad.clone()).collect::<Vec<_>>());
        drop(clones.join().unwrap());
    }
    waker.wake();

    assert_eq!(executor.run(handle).unwrap(), 2);
}

#[test]
fn the_last_reference_may_go_on_another_thread() {
    for _ in 0..200 {
        let executor = LocalExecutor::new().unwrap();
        let (handle, waker) = waiting_task(&executor);
        let kept = waker.clone();
        waker.wake();
        executor.run(handle).unwrap();
        drop(executor);
        thread::spawn(move || drop(kept)).join().unwrap();
    }
}

thread_local! {
    static IN_TLS: RefCell<Option<WokenAtExit>> = const { RefCell::new(None) };
}

/// Wakes and drops a waker while its thread's locals are destroyed.
struct WokenAtExit(Option<Waker>);

impl Drop for WokenAtExit {
    fn drop(&mut self) {
        let waker = self.0.take().expect("dropped once");
        waker.wake_by_ref();
        drop(waker.clone());
        waker.wake();
    }
}

#[test]
fn a_wake_during_the_destruction_of_another_threads_locals_arrives() {
    let executor = LocalExecutor::new().unwrap();
    let (handle, waker) = waiting_task(&executor);

    thread::spawn(move || IN_TLS.set(Some(WokenAtExit(Some(waker))))).join().unwrap();

    assert_eq!(executor.run(handle).unwrap(), 2);
}

#[test]
fn a_wake_during_the_destruction_of_the_home_threads_locals_does_nothing() {
    for executor_first in [true, false] {
        thread::spawn(move || {
            // Thread-locals go in the reverse order of their first use, or not: both orders are tried.
            thread_local! {
                static EXECUTOR: RefCell<Option<LocalExecutor>> = const { RefCell::new(None) };
            }
            let executor = LocalExecutor::new().unwrap();
            let (handle, waker) = waiting_task(&executor);
            handle.detach();
            let put_executor = |executor| EXECUTOR.set(Some(executor));
            if executor_first {
                put_executor(executor);
                IN_TLS.set(Some(WokenAtExit(Some(waker))));
            } else {
                IN_TLS.set(Some(WokenAtExit(Some(waker))));
                put_executor(executor);
            }
        })
        .join()
        .unwrap();
    }
}

#[test]
fn a_waker_outlives_its_executor_and_its_thread() {
    let waker = thread::spawn(|| {
        let executor = LocalExecutor::new().unwrap();
        let (handle, waker) = waiting_task(&executor);
        handle.detach();
        waker
    })
    .join()
    .unwrap();

    waker.wake_by_ref();
    assert!(waker.will_wake(&waker.clone()));
    waker.wake();
}

#[test]
fn a_forgotten_executor_leaves_wakers_that_do_nothing() {
    let (waker, dropped) = thread::spawn(|| {
        let executor = LocalExecutor::new().unwrap();
        let dropped = Arc::new(AtomicBool::new(false));
        let its_dropped = Arc::clone(&dropped);
        let guard = OnDrop(move || its_dropped.store(true, Ordering::SeqCst));
        let stored = Rc::new(RefCell::new(None));
        let store = Rc::clone(&stored);
        executor
            .spawn(async move {
                let _guard = guard;
                *store.borrow_mut() = Some(own_waker().await);
                pending::<()>().await;
            })
            .detach();
        executor.run_once();
        std::mem::forget(executor);
        let waker = stored.take().unwrap();
        (waker, dropped)
    })
    .join()
    .unwrap();

    waker.wake_by_ref();
    drop(waker);

    assert!(!dropped.load(Ordering::SeqCst), "a future is dropped at home or not at all");
}

#[test]
fn equal_wakers_know_each_other_and_no_other_task() {
    let executor = LocalExecutor::new().unwrap();
    let same = executor.run(executor.spawn(async {
        let first = own_waker().await;
        yield_now().await;
        first.will_wake(&own_waker().await)
    }));
    let others = executor.spawn(own_waker());
    let (one, two) = (executor.run(others).unwrap(), executor.run(executor.spawn(own_waker())));

    assert!(same.unwrap());
    assert!(!one.will_wake(&two.unwrap()), "the first one still has its cell");
}

#[test]
fn a_joiner_that_changes_is_woken_by_its_last_waker_alone() {
    let executor = LocalExecutor::new().unwrap();
    let signal = Signal::new();
    let waiting = signal.clone();
    let mut handle = executor.spawn(async move { waiting.wait().await });
    let (first, first_waker) = CountingWaker::new();
    let (second, second_waker) = CountingWaker::new();
    assert!(common::poll_once(&mut handle, &first_waker).is_pending());
    assert!(common::poll_once(&mut handle, &second_waker).is_pending());
    assert!(common::poll_once(&mut handle, &second_waker).is_pending());

    executor.run_once();
    signal.set();
    executor.run_once();

    assert!(handle.is_finished());
    assert_eq!((first.wakes(), second.wakes()), (0, 1));
    assert_eq!(Arc::strong_count(&second), 2, "the task keeps no waker it does not need");
}

/// A waker whose clone runs the executor: the task that is being joined completes in it.
#[test]
fn a_joiner_whose_clone_completes_the_task_gets_the_result() {
    use std::task::{RawWaker, RawWakerVTable};
    thread_local! {
        static EXECUTOR: RefCell<Option<Rc<LocalExecutor>>> = const { RefCell::new(None) };
        static CLONES: Cell<usize> = const { Cell::new(0) };
    }
    fn clone(_: *const ()) -> RawWaker {
        CLONES.set(CLONES.get() + 1);
        EXECUTOR.with_borrow(Clone::clone).expect("set below").run_once();
        RawWaker::new(std::ptr::null(), &VTABLE)
    }
    static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, |_| {}, |_| {}, |_| {});
    let executor = Rc::new(LocalExecutor::new().unwrap());
    EXECUTOR.set(Some(Rc::clone(&executor)));
    let mut handle = executor.spawn(async { 7 });
    // SAFETY: the functions ignore their data, and the clone is a waker of the same kind.
    let waker = unsafe { Waker::new(std::ptr::null(), &VTABLE) };

    let polled = common::poll_once(&mut handle, &waker);

    assert!(matches!(polled, Poll::Ready(Ok(7))), "{polled:?}");
    assert_eq!(CLONES.get(), 1);
    EXECUTOR.set(None);
}

#[test]
fn wakers_that_are_leaked_by_the_million_abort_the_process() {
    if common::is_child() {
        let executor = LocalExecutor::new().unwrap();
        let (_handle, waker) = waiting_task(&executor);
        loop {
            std::mem::forget(waker.clone());
        }
    }
    let said = common::abort_of("wakers_that_are_leaked_by_the_million_abort_the_process");
    assert!(said.contains("a task has more than 67 million wakers"), "{said}");
}
