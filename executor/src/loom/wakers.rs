//! The two words of a task's state: waking, cancelling, letting go of it on other threads while home polls,
//! completes and frees it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex as Handover;
use std::task::{Context, Poll, Waker};

use futures_util::task::noop_waker_ref;
use loom::cell::UnsafeCell;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::{Loop, model};
use crate::task::{JoinError, JoinHandle, TaskRef};

/// What a task waits for: so many signals. It is read and written relaxed: that a wake-up comes after what led to it
/// is what the models are about.
struct Signals {
    given: AtomicUsize,
    wanted: usize,
    /// The task's waker, from its first poll. Handed over by loom's `spawn`, so the lock orders nothing.
    waker: Handover<Option<Waker>>,
}

impl Signals {
    fn wanted(wanted: usize) -> Arc<Signals> {
        Arc::new(Signals { given: AtomicUsize::new(0), wanted, waker: Handover::default() })
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<usize> {
        self.waker.lock().expect("no panics").get_or_insert_with(|| cx.waker().clone());
        let given = self.given.load(Ordering::Relaxed);
        if given < self.wanted { Poll::Pending } else { Poll::Ready(given) }
    }

    fn give(&self) {
        self.given.fetch_add(1, Ordering::Relaxed);
    }

    fn take_waker(&self) -> Waker {
        self.waker.lock().expect("no panics").take().expect("the task was polled")
    }
}

impl Loop {
    /// A task that was polled once and waits for signals.
    fn spawn_waiting(&self, signals: &Arc<Signals>) -> (JoinHandle<usize>, Waker) {
        let seen = Arc::clone(signals);
        let handle = self.spawn(poll_fn(move |cx| seen.poll(cx)));
        self.run();
        (handle, signals.take_waker())
    }

    fn only_task(&self) -> TaskRef {
        self.table().tasks(None).pop().expect("there is one")
    }

    /// Runs until the task is finished, sleeping in between.
    fn run_to_end<T>(&self, handle: JoinHandle<T>) -> Result<T, JoinError> {
        while !handle.is_finished() {
            self.pass();
        }
        match pin!(handle).poll(&mut Context::from_waker(noop_waker_ref())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("the task is finished"),
        }
    }
}

/// Catches a `post` that only reads when it finds its request on the way: the second wake is lost.
#[test]
fn a_poll_sees_what_was_written_before_each_wake() {
    model(|| {
        let home = Loop::new();
        let signals = Signals::wanted(2);
        let (handle, waker) = home.spawn_waiting(&signals);
        let wakers = [waker.clone(), waker].map(|waker| {
            let signals = Arc::clone(&signals);
            thread::spawn(move || {
                signals.give();
                waker.wake();
            })
        });
        assert_eq!(home.run_to_end(handle).expect("not cancelled"), 2);
        for thread in wakers {
            thread.join().expect("wakes");
        }
        home.close();
    });
}

/// Not only atomics: each wake happens before the poll that it leads to, also if it finds another one on its way.
///
/// Catches a `post` that does not release.
#[test]
fn the_second_of_two_wakes_publishes_plain_memory_to_their_poll() {
    model(|| {
        let home = Loop::new();
        let (letter, signals) = (loom::sync::Arc::new(UnsafeCell::new(())), Signals::wanted(2));
        let (inside, seen) = (letter.clone(), Arc::clone(&signals));
        let handle = home.spawn(poll_fn(move |cx| seen.poll(cx).map(|_| inside.with(|_read| ()))));
        home.run();
        let (waker, given) = (signals.take_waker(), Arc::clone(&signals));
        let elsewhere = thread::spawn(move || {
            given.give();
            waker.wake_by_ref();
            letter.with_mut(|_written| ());
            waker.wake_by_ref();
            given.give();
        });
        // Relaxed: it orders nothing, but both wakes have been called when it is over.
        while signals.given.load(Ordering::Relaxed) < 2 {
            thread::yield_now();
        }
        home.run_to_end(handle).expect("not cancelled");
        elsewhere.join().expect("wakes");
        home.close();
    });
}

/// Catches a `merge` whose fast path does not acquire, and a `drop_remote_ref` that does not release.
#[test]
fn the_last_reference_frees_the_cell_whoever_drops_it() {
    model(|| {
        let home = Loop::new();
        let (handle, waker) = home.spawn_waiting(&Signals::wanted(1));
        let elsewhere = thread::spawn(move || drop(waker));
        handle.abort();
        home.run();
        drop(handle);
        home.close();
        elsewhere.join().expect("drops");
    });
}

/// A waker that was cloned elsewhere and comes home: the sum must not look like 1 while the other thread has one.
///
/// Catches a `merge` that takes its fast path whatever the remote word holds.
#[test]
fn a_reference_that_was_made_elsewhere_and_dropped_at_home_is_counted() {
    model(|| {
        let home = Loop::new();
        let (handle, waker) = home.spawn_waiting(&Signals::wanted(1));
        let desk = Arc::new(Mutex::new(None));
        let back = Arc::clone(&desk);
        let elsewhere = thread::spawn(move || {
            *back.lock().expect("no panics") = Some(waker.clone());
            waker.wake_by_ref();
            drop(waker);
        });
        let returned = desk.lock().expect("no panics").take();
        drop(returned);
        handle.abort();
        home.run();
        drop(handle);
        home.close();
        elsewhere.join().expect("drops");
        drop(desk.lock().expect("no panics").take());
    });
}

/// Catches a `post_slowly` that forgets `POST_CANCEL` when the task is posted already.
#[test]
fn a_cancellation_from_elsewhere_is_not_lost_in_a_wake() {
    model(|| {
        let home = Loop::new();
        let signals = Signals::wanted(2);
        let (handle, waker) = home.spawn_waiting(&signals);
        let task = home.only_task();
        let waking = thread::spawn(move || {
            signals.give();
            waker.wake();
        });
        let cancelling = thread::spawn(move || task.cancel());
        assert!(home.run_to_end(handle).expect_err("one signal is missing").is_cancelled());
        waking.join().expect("wakes");
        cancelling.join().expect("cancels");
        home.close();
    });
}

/// Catches a `post` that counts no reference for the place in the inbox.
#[test]
fn a_detached_task_completes_once_and_its_memory_goes_with_the_last_waker() {
    model(|| {
        let home = Loop::new();
        let signals = Signals::wanted(1);
        let (handle, waker) = home.spawn_waiting(&signals);
        let elsewhere = thread::spawn(move || {
            signals.give();
            waker.wake_by_ref();
            waker.wake();
        });
        drop(handle);
        while home.table().has(1) {
            home.pass();
        }
        home.close();
        elsewhere.join().expect("wakes");
    });
}

/// Catches a `Pushed::Closed` that keeps the reference, and a post that is discarded without giving its own up.
#[test]
fn a_waker_outlives_the_executor() {
    model(|| {
        let home = Loop::new();
        let (handle, waker) = home.spawn_waiting(&Signals::wanted(1));
        let wakers = [waker.clone(), waker].map(|waker| thread::spawn(move || waker.wake()));
        drop(handle);
        home.close();
        for thread in wakers {
            thread.join().expect("wakes");
        }
    });
}
