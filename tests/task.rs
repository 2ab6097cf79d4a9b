//! A task's life: spawned, polled, woken, joined, cancelled, panicked.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use executor::time::sleep;
use executor::{LocalExecutor, reschedule_to};

#[test]
fn a_spawned_task_gives_its_output() {
    let executor = LocalExecutor::new().unwrap();
    let text = Rc::new("hello");

    let handle = executor.spawn(async move { text.len() });

    assert_eq!(executor.run(handle).unwrap(), 5);
}

#[test]
fn a_waker_works_on_another_thread() {
    let executor = LocalExecutor::new().unwrap();
    let (send, receive) = mpsc::channel::<Waker>();
    let mut polls = 0;
    let handle = executor.spawn(poll_fn(move |cx| {
        polls += 1;
        if polls == 3 {
            return Poll::Ready(polls);
        }
        send.send(cx.waker().clone()).unwrap();
        Poll::Pending
    }));

    let waking = thread::spawn(move || receive.into_iter().for_each(Waker::wake));

    assert_eq!(executor.run(handle).unwrap(), 3);
    waking.join().unwrap();
}

#[test]
fn a_sleep_ends() {
    let executor = LocalExecutor::new().unwrap();
    let before = std::time::Instant::now();
    executor.run(async { sleep(Duration::from_millis(20)).await });
    assert!(before.elapsed() >= Duration::from_millis(20));
}

#[test]
fn a_cancelled_future_is_dropped_before_cancel_resolves() {
    struct SetOnDrop(Rc<Cell<bool>>);
    impl Drop for SetOnDrop {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let executor = LocalExecutor::new().unwrap();
    let dropped = Rc::new(Cell::new(false));
    let guard = SetOnDrop(dropped.clone());
    let handle = executor.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });

    assert_eq!(executor.run(handle.cancel()), None);

    assert!(dropped.get());
}

#[test]
fn a_panic_is_the_handles() {
    let executor = LocalExecutor::new().unwrap();
    let handle = executor.spawn(async { panic!("as planned") });
    let error: executor::JoinError = executor.run(handle).unwrap_err();
    assert!(error.to_string().ends_with("panicked: as planned"), "{error}");
}

#[test]
fn work_moves_to_an_iothread_and_comes_back() {
    executor::run_main(|nc| {
        let thread = executor::IoThread::create(nc, "io0").unwrap();
        let io = thread.io();
        let main = thread::current().id();
        let there = executor::block_on(nc, async |_cx: &executor::MainCx| {
            reschedule_to(&io, async { thread::current().id() }).await.unwrap()
        });
        assert_ne!(there, main);
        thread.destroy(nc).unwrap();
    });
}
