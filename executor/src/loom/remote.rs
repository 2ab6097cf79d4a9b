//! The slot between a [`Remote`] and its [`Errand`]: both ends at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::Notify;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::model;
use crate::remote::{Errand, Remote, pair};
use crate::task::JoinError;

/// A waker that ends a thread's wait.
struct Alarm(Notify);

impl Alarm {
    fn new() -> (Arc<Alarm>, Waker) {
        let alarm = Arc::new(Alarm(Notify::new()));
        (Arc::clone(&alarm), Waker::from(alarm))
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// An output that is counted when it is dropped.
struct Output(Arc<AtomicUsize>);

impl Drop for Output {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll_once<T>(remote: &mut Remote<T>, waker: &Waker) -> Poll<Result<T, JoinError>> {
    Pin::new(remote).poll(&mut Context::from_waker(waker))
}

fn wait<T>(mut remote: Remote<T>) -> Result<T, JoinError> {
    let (alarm, waker) = Alarm::new();
    loop {
        if let Poll::Ready(result) = poll_once(&mut remote, &waker) {
            return result;
        }
        alarm.0.wait();
    }
}

/// What a task that never ends by itself does with its errand.
fn work_until_cancelled(errand: Errand<Output>) {
    let (alarm, waker) = Alarm::new();
    errand.listen(&waker);
    while !errand.is_cancelled() {
        alarm.0.wait();
    }
    errand.complete(Err(JoinError::cancelled()));
}

/// Catches a `finish` that takes the waker before it stores the result, and a `poll` that lets go of the lock between
/// its look and its waker.
#[test]
fn a_result_reaches_whoever_waits_for_it() {
    model(|| {
        let (errand, remote) = pair();
        let elsewhere = thread::spawn(move || errand.complete(Ok(1)));
        assert_eq!(wait(remote).expect("not cancelled"), 1);
        elsewhere.join().expect("completes");
    });
}

/// Catches a `finish` that forgets a result when it finds the slot abandoned.
#[test]
fn a_result_that_nobody_takes_is_dropped_once() {
    model(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let output = Output(Arc::clone(&dropped));
        let (errand, mut remote) = pair();
        let elsewhere = thread::spawn(move || errand.complete(Ok(output)));
        let (_alarm, waker) = Alarm::new();
        drop(poll_once(&mut remote, &waker));
        drop(remote);
        elsewhere.join().expect("completes");
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    });
}

/// Catches a `cancel` that takes the waker first and sets its flag then.
#[test]
fn a_dropped_remote_is_noticed_by_work_that_waits() {
    model(|| {
        let (errand, remote) = pair();
        let elsewhere = thread::spawn(move || work_until_cancelled(errand));
        drop(remote);
        elsewhere.join().expect("is cancelled");
    });
}

/// Catches an `Errand` that reports nothing when it is dropped.
#[test]
fn a_cancellation_and_a_lost_errand_end_the_wait() {
    model(|| {
        let (errand, remote) = pair::<()>();
        let elsewhere = thread::spawn(move || drop(errand));
        assert!(wait(remote).expect_err("nothing was sent").is_cancelled());
        elsewhere.join().expect("drops");
    });
}
