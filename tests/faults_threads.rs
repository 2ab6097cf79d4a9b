//! Threads that die with work in their queue: whoever waits for it hears of it, and nobody hangs.

#[path = "common/process.rs"]
mod process;

use std::future::pending;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use executor::{
    IoContext, IoCx, IoThread, LocalExecutor, MainCx, Remote, RemoteSpawner, block_on,
    reschedule_to, run_main,
};
use futures::executor::block_on as wait;
use process::in_own_process;

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(30);

/// Keeps the thread of `io` in a poll until something is sent.
fn hold_up(io: &IoContext) -> (Remote<()>, Sender<()>) {
    let (up, is_up) = channel();
    let (release, released) = channel();
    let busy = io.run(async move |_: &IoCx| {
        up.send(()).expect("the test waits");
        let _released: Result<(), _> = released.recv();
    });
    is_up.recv_timeout(LONG).expect("the iothread runs it");
    (busy, release)
}

/// Sends work until it is refused; each piece is answered. Returns how many were.
fn send_until_refused(io: &IoContext) -> usize {
    for number in 0.. {
        match wait(io.run(async move |_: &IoCx| number)) {
            Ok(output) => assert_eq!(output, number),
            Err(error) => {
                assert!(error.is_cancelled());
                return number;
            }
        }
    }
    unreachable!("the iothread ends before")
}

#[test]
fn an_iothread_that_ends_with_work_in_its_queue_answers_every_caller() {
    let name = "an_iothread_that_ends_with_work_in_its_queue_answers_every_caller";
    in_own_process(name, || {
        run_main(|nc| {
            let iothread = IoThread::create(nc, "io0").expect("there are threads");
            let io = iothread.io();
            let (busy, release) = hold_up(&io);
            let queued: Vec<Remote<()>> =
                (0..100).map(|_| reschedule_to(&io, pending::<()>())).collect();
            // Other tasks of the main loop wait for them, and threads without a loop.
            let waiting: Vec<_> = queued
                .into_iter()
                .map(|remote| nc.spawn(async move |_: &MainCx| remote.await))
                .collect();
            let threads: Vec<_> = (0..4)
                .map(|_| (reschedule_to(&io, pending::<()>()), io.clone()))
                .map(|(remote, io)| thread::spawn(move || (wait(remote), send_until_refused(&io))))
                .collect();

            let ending = thread::spawn(move || release.send(()).expect("it waits"));
            iothread.destroy(nc).expect("it was not destroyed before");

            ending.join().expect("it only sends");
            block_on(nc, async |_: &MainCx| {
                busy.await.expect("it ran to its end");
                for waiting in waiting {
                    let result = waiting.await.expect("the caller goes on");
                    assert!(result.expect_err("it never ended").is_cancelled());
                }
            });
            for thread in threads {
                let (result, _) = thread.join().expect("it does not panic");
                assert!(result.expect_err("it never ended").is_cancelled());
            }
        });
    });
}

/// A thread with an executor that takes work and, when it is told to, panics with the work in its queue.
fn doomed(spawner: &Sender<RemoteSpawner>, doom: &Receiver<()>) {
    let executor = LocalExecutor::new().expect("there are fds");
    executor.spawn(pending::<()>()).detach();
    spawner.send(executor.remote()).expect("the test waits");
    doom.recv_timeout(LONG).expect("the test says when");
    // Not the hook's business.
    std::panic::resume_unwind(Box::new("doomed"));
}

#[test]
fn a_thread_that_panics_with_work_for_its_executor_answers_every_caller() {
    let (give, take) = channel();
    let (tell, doom) = channel();
    let thread = thread::spawn(move || doomed(&give, &doom));
    let spawner = take.recv_timeout(LONG).expect("the thread gives it");
    let early: Vec<_> = (0..100).map(|_| spawner.spawn(async { 7 })).collect();
    let waiting = thread::spawn(move || early.into_iter().map(wait).collect::<Vec<_>>());

    tell.send(()).expect("the thread waits");

    assert!(thread.join().is_err(), "it panicked");
    for result in waiting.join().expect("nobody hangs") {
        assert!(result.expect_err("nobody ran it").is_cancelled());
    }
    let late = wait(spawner.spawn(async { 7 }));
    assert!(late.expect_err("nobody is there").is_cancelled());
}
