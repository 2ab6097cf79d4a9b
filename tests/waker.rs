//! Wakers: valid on every thread, at any time, and never more than a message.

mod common;

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use common::{CountingWaker, OnDrop, Signal, own_waker, yield_now};
use executor::LocalExecutor;

/// Bounds the storms: many races, little time.
const ROUNDS: usize = 2_000;
const THREADS: usize = 3;

/// A task that gives its waker away and then waits to be woken; its output is how often it was polled.
fn waiting_task(executor: &LocalExecutor) -> (executor::JoinHandle<usize>, Waker) {
    let stored = Rc::new(RefCell::new(None));
    let (store, mut polls) = (Rc::clone(&stored), 0);
    let handle = executor.spawn(poll_fn(move |cx| {
        polls += 1;
        if polls > 1 {
            return Poll::Ready(polls);
        }
        *store.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }));
    executor.run_once();
    let waker = stored.take().expect("it was polled");
    (handle, waker)
}

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
        cx.waker().clone().wake();
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

#[test]
fn a_storm_of_wakes_clones_and_drops_ends_in_one_completion() {
    for round in 0..20 {
        let executor = LocalExecutor::new().unwrap();
        let target = 50 + round;
        let progress = Arc::new(AtomicUsize::new(0));
        let its_progress = Arc::clone(&progress);
        let (send, receive) = channel::<Waker>();
        let handle = executor.spawn(poll_fn(move |cx| {
            if its_progress.fetch_add(1, Ordering::SeqCst) == 0 {
                send.send(cx.waker().clone()).unwrap();
            }
            if its_progress.load(Ordering::SeqCst) >= target {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
        executor.run_once();
        let waker = receive.recv().unwrap();
        let storm: Vec<_> = (0..THREADS)
            .map(|number| {
                let (waker, progress) = (waker.clone(), Arc::clone(&progress));
                thread::spawn(move || {
                    while progress.load(Ordering::SeqCst) < target {
                        match number {
                            0 => waker.wake_by_ref(),
                            1 => waker.clone().wake(),
                            _ => drop(waker.clone()),
                        }
                    }
                })
            })
            .collect();
        drop(waker);

        executor.run(handle).unwrap();

        storm.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(executor.stats().live, 0);
    }
}

/// Runs `home` and `abroad` at the same moment, again and again, on a fresh task each time.
fn race(home: impl Fn(&LocalExecutor, &Waker), abroad: impl Fn(Waker) + Send + Sync + 'static) {
    let executor = LocalExecutor::new().unwrap();
    let start = Arc::new(Barrier::new(2));
    let (send, receive) = channel::<Waker>();
    let (finished, wait) = channel();
    let its_start = Arc::clone(&start);
    let other = thread::spawn(move || {
        for waker in receive {
            its_start.wait();
            abroad(waker);
            finished.send(()).unwrap();
        }
    });
    for _ in 0..ROUNDS {
        let (handle, waker) = waiting_task(&executor);
        send.send(waker.clone()).unwrap();
        start.wait();
        home(&executor, &waker);
        waker.wake();
        assert_eq!(executor.run(handle).unwrap(), 2);
        wait.recv().unwrap();
    }
    drop(send);
    other.join().unwrap();
    assert_eq!(executor.stats().live, 0);
}

#[test]
fn a_foreign_wake_races_with_a_wake_and_completion_at_home() {
    race(
        |executor, waker| {
            waker.wake_by_ref();
            executor.run_once();
        },
        |waker| {
            waker.wake_by_ref();
            waker.wake();
        },
    );
}

#[test]
fn a_foreign_drop_races_with_clones_and_completion_at_home() {
    race(
        |executor, waker| {
            let clone = waker.clone();
            waker.wake_by_ref();
            executor.run_once();
            drop(clone);
        },
        |waker| {
            let clone = waker.clone();
            drop(waker);
            drop(clone);
        },
    );
}

#[test]
fn a_foreign_wake_races_with_the_end_of_the_executor() {
    for _ in 0..ROUNDS / 4 {
        let start = Arc::new(Barrier::new(THREADS + 1));
        let executor = LocalExecutor::new().unwrap();
        let (handle, waker) = waiting_task(&executor);
        let wakers: Vec<_> = (0..THREADS)
            .map(|_| {
                let (waker, start) = (waker.clone(), Arc::clone(&start));
                thread::spawn(move || {
                    start.wait();
                    waker.wake_by_ref();
                    waker.wake();
                })
            })
            .collect();
        drop(waker);

        start.wait();
        drop(executor);

        assert!(handle.is_finished());
        wakers.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn what_was_written_before_a_wake_is_seen_by_the_poll() {
    let executor = LocalExecutor::new().unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&written);
    let (send, receive) = channel::<Waker>();
    let mut sent = false;
    let handle = executor.spawn(poll_fn(move |cx| {
        if !sent {
            sent = true;
            send.send(cx.waker().clone()).unwrap();
        }
        // Relaxed: it is the wakes that must order it.
        if seen.load(Ordering::Relaxed) == ROUNDS { Poll::Ready(()) } else { Poll::Pending }
    }));
    executor.run_once();
    let waker = receive.recv().unwrap();
    let writer = thread::spawn(move || {
        for value in 1..=ROUNDS {
            written.store(value, Ordering::Relaxed);
            waker.wake_by_ref();
        }
    });

    // Hangs if the wake that follows the last write is lost or early.
    executor.run(handle).unwrap();

    writer.join().unwrap();
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
