//! Wakers raced: against wakes, completion, clones, drops and the end of the executor.

mod common;

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::task::{Poll, Waker};
use std::thread;

use common::waiting_task;
use executor::LocalExecutor;

/// Bounds the storms: many races, little time.
const ROUNDS: usize = 2_000;
const THREADS: usize = 3;

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
                            1 => {
                                let clone = waker.clone();
                                clone.wake();
                            }
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
