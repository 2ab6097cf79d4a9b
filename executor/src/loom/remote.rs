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
fn work_until_cancelled(mut errand: Errand<Output>) {
    let (alarm, waker) = Alarm::new();
    errand.listen(&waker);
    while !errand.is_cancelled() {
        alarm.0.wait();
    }
    errand.complete(Err(JoinError::cancelled()));
}

/// Catches a `finish` whose first step does not release, a `finish_slowly` that looks for the waker before it says
/// that it has finished, and a `wait` that does not look again.
#[test]
fn a_result_reaches_whoever_waits_for_it() {
    model(|| {
        let (errand, remote) = pair();
        let elsewhere = thread::spawn(move || errand.complete(Ok(1)));
        assert_eq!(wait(remote).expect("not cancelled"), 1);
        elsewhere.join().expect("completes");
    });
}

/// Whoever waits brings another waker; the first one may be on its way out.
///
/// Catches a `wait` that takes the place of a waker that the far end has, and one that trusts the waker that it knows.
#[test]
fn a_result_reaches_the_last_of_two_wakers() {
    model(|| {
        let (errand, mut remote) = pair();
        let elsewhere = thread::spawn(move || errand.complete(Ok(1)));
        let (_alarm, waker) = Alarm::new();
        match poll_once(&mut remote, &waker) {
            Poll::Ready(result) => assert_eq!(result.expect("not cancelled"), 1),
            Poll::Pending => assert_eq!(wait(remote).expect("not cancelled"), 1),
        }
        elsewhere.join().expect("completes");
    });
}

/// Catches a `finish` that forgets a result when the near end has left, and a `leave` that does not look whether
/// one has come.
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

/// Three ways to end at once: the work is done, the caller cancels and goes, and the work listens.
///
/// Catches a `cancel` that takes the waker of work that has finished, and a `leave` that frees without a look.
#[test]
fn work_that_ends_while_it_is_cancelled_frees_everything_once() {
    model(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let output = Output(Arc::clone(&dropped));
        let (mut errand, remote) = pair();
        let elsewhere = thread::spawn(move || {
            let (_alarm, waker) = Alarm::new();
            errand.listen(&waker);
            errand.complete(Ok(output));
        });
        drop(remote);
        elsewhere.join().expect("completes");
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    });
}

/// Catches a `listen` that takes the place of a waker that the near end has.
#[test]
fn work_that_listens_with_another_waker_notices_its_cancellation() {
    model(|| {
        let (mut errand, remote) = pair();
        let elsewhere = thread::spawn(move || {
            let (_first, waker) = Alarm::new();
            errand.listen(&waker);
            work_until_cancelled(errand);
        });
        drop(remote);
        elsewhere.join().expect("is cancelled");
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
