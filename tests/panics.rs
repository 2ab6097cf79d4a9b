//! Panics of tasks, destructors, wakers and hooks: each reaches its reader, and the executor goes on.

#![allow(clippy::significant_drop_tightening, reason = "a recorder lives as long as its test")]

mod common;

use std::cell::Cell;
use std::future::{Future, pending};
use std::os::fd::AsFd;
use std::panic::panic_any;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use common::{OnDrop, Signal, on_main, panic_of, poll_once, yield_now};
use executor::async_fd::AsyncFd;
use executor::time::sleep;
use executor::{IoCx, IoThread, LocalExecutor, MainCx, block_on, set_task_panic_hook};
use nix::sys::eventfd::{EfdFlags, EventFd};

static SERIAL: Mutex<()> = Mutex::new(());
static LOST: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Records lost panics until it is dropped; one test at a time, since the hook is the process's.
struct Recorder {
    _alone: MutexGuard<'static, ()>,
}

impl Recorder {
    fn start() -> Recorder {
        let alone = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
        LOST.lock().unwrap().clear();
        set_task_panic_hook(|panic| {
            LOST.lock().unwrap().push(format!("{}: {}", panic.task, panic.message()));
        });
        Recorder { _alone: alone }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *LOST.lock().unwrap())
    }

    /// The one lost panic, which must end with `text`.
    fn take_one(&self, text: &str) -> String {
        let lost = self.take();
        assert!(lost.len() == 1 && lost[0].ends_with(text), "{lost:?}");
        lost.into_iter().next().expect("there is one")
    }
}

/// Panics when it is dropped, as its first and only drop.
struct PanicOnDrop {
    drops: Rc<Cell<u32>>,
    /// Freed twice if the future is dropped twice.
    _memory: Vec<u8>,
}

impl PanicOnDrop {
    fn new(drops: &Rc<Cell<u32>>) -> PanicOnDrop {
        PanicOnDrop { drops: Rc::clone(drops), _memory: vec![7; 100] }
    }
}

impl Drop for PanicOnDrop {
    fn drop(&mut self) {
        self.drops.set(self.drops.get() + 1);
        panic!("a destructor panicked");
    }
}

struct ReadyAtOnce(#[expect(dead_code, reason = "for its destructor")] PanicOnDrop);

impl Future for ReadyAtOnce {
    type Output = String;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<String> {
        Poll::Ready(String::from("output"))
    }
}

#[test]
fn a_future_whose_destructor_panics_after_completion_is_dropped_once() {
    let executor = LocalExecutor::new().unwrap();
    let drops = Rc::default();

    let handle = executor.spawn(ReadyAtOnce(PanicOnDrop::new(&drops)));
    let error = executor.run(handle).unwrap_err();

    assert!(error.to_string().ends_with("panicked: a destructor panicked"), "{error}");
    assert_eq!(drops.get(), 1);
}

#[test]
fn a_future_that_panics_in_poll_and_in_its_destructor_reports_both() {
    struct Both(#[expect(dead_code, reason = "for its destructor")] PanicOnDrop);
    impl Future for Both {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
            panic!("the poll panicked");
        }
    }
    let recorder = Recorder::start();
    let executor = LocalExecutor::new().unwrap();
    let drops = Rc::default();

    let handle = executor.spawn(Both(PanicOnDrop::new(&drops)));
    let error = executor.run(handle).unwrap_err();

    assert!(error.to_string().ends_with("panicked: the poll panicked"), "{error}");
    recorder.take_one("a destructor panicked");
    assert_eq!(drops.get(), 1);
}

#[test]
fn the_neighbours_of_a_task_that_panics_go_on() {
    let executor = LocalExecutor::new().unwrap();
    let neighbours: Vec<_> = (0..3)
        .map(|n| {
            let failing = executor.spawn(async { panic!("as planned") });
            let going_on = executor.spawn(async move {
                yield_now().await;
                n
            });
            (failing, going_on)
        })
        .collect();
    executor.run(async {
        for (n, (failing, going_on)) in neighbours.into_iter().enumerate() {
            assert!(failing.await.unwrap_err().is_panic());
            assert_eq!(going_on.await.unwrap(), n);
        }
    });
}

#[test]
fn a_panic_that_nobody_joins_reaches_the_hook_with_the_tasks_name() {
    let recorder = Recorder::start();
    let executor = LocalExecutor::new().unwrap();
    executor.spawn_named("detached", async { panic!("lost") }).detach();
    executor.run_once();
    let lost = recorder.take_one("lost");
    assert!(lost.contains("`detached` spawned at tests/panics.rs:"), "{lost}");

    let unread = executor.spawn_named("unread", async { panic!("lost") });
    executor.run_once();
    assert_eq!(recorder.take().len(), 0, "the handle may still be awaited");
    drop(unread);
    recorder.take_one("lost");

    let joined = executor.spawn(async { panic!("joined") });
    assert!(executor.run(joined).unwrap_err().is_panic());
    assert_eq!(recorder.take().len(), 0);
}

#[test]
fn a_cancelled_task_that_panics_in_its_destructor_reports_to_whoever_cancelled() {
    let recorder = Recorder::start();
    let executor = LocalExecutor::new().unwrap();
    let drops = Rc::default();
    let guard = PanicOnDrop::new(&drops);
    let handle = executor.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    executor.run_once();
    assert_eq!(executor.run(handle.cancel()), None);
    recorder.take_one("a destructor panicked");
}

#[test]
fn a_hook_that_panics_has_no_one_left_to_tell_and_stops_nobody() {
    let recorder = Recorder::start();
    let executor = LocalExecutor::new().unwrap();
    set_task_panic_hook(|_panic| panic_any(PanickingPayload));
    executor.spawn(async { panic!("lost") }).detach();
    executor.run_once();
    assert_eq!(executor.run(async { 7 }), 7);
    drop(recorder);
}

#[test]
fn a_hook_may_set_another_hook_and_lose_panics_itself() {
    let recorder = Recorder::start();
    let executor = LocalExecutor::new().unwrap();
    set_task_panic_hook(|_panic| {
        set_task_panic_hook(|panic| LOST.lock().unwrap().push(panic.message().to_owned()));
        let inner = LocalExecutor::new().unwrap();
        inner.spawn(async { panic!("inner") }).detach();
        inner.shutdown();
        drop(inner.spawn(async {}));
        let handle = inner.spawn(OnDropFuture(OnDrop(|| panic!("inner"))));
        drop(handle);
    });
    executor.spawn(async { panic!("outer") }).detach();
    executor.run_once();
    assert_eq!(recorder.take(), ["inner"]);
}

struct OnDropFuture<F: FnMut()>(OnDrop<F>);

impl<F: FnMut()> Future for OnDropFuture<F> {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// The payload of a panic whose destructor panics with another one of its kind.
struct PanickingPayload;

impl Drop for PanickingPayload {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic_any(PanickingPayload);
        }
    }
}

#[test]
fn a_payload_that_panics_when_dropped_stops_nobody() {
    let recorder = Recorder::start();
    let executor = LocalExecutor::new().unwrap();
    let signal = Signal::new();
    let waiting = signal.clone();
    for _ in 0..3 {
        executor.spawn(async { panic_any(PanickingPayload) }).detach();
    }
    let task = executor.spawn(async move { waiting.wait().await });
    executor.spawn(async move { signal.set() }).detach();

    executor.run(task).unwrap();

    assert_eq!(recorder.take().len(), 3);
    assert_eq!(executor.stats().live, 0);
}

/// A waker of nobody's that panics.
struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        panic!("the waker panicked");
    }
}

fn panicking_waker() -> Waker {
    Waker::from(Arc::new(PanickingWaker))
}

#[test]
fn a_joiners_waker_that_panics_is_reported_and_stops_nobody() {
    let recorder = Recorder::start();
    let executor = LocalExecutor::new().unwrap();
    let mut handle = executor.spawn(async { 7 });
    let neighbour = executor.spawn(async { 8 });
    assert!(poll_once(&mut handle, &panicking_waker()).is_pending());

    assert_eq!(executor.run(neighbour).unwrap(), 8);

    assert_eq!(recorder.take_one("the waker panicked"), "a waker: the waker panicked");
    assert_eq!(executor.run(handle).unwrap(), 7);
}

#[test]
fn a_timers_waker_that_panics_takes_no_other_timer_with_it() {
    let recorder = Recorder::start();
    let executor = LocalExecutor::new().unwrap();
    let soon = executor::clock::Clock::Realtime.after(Duration::from_millis(30));
    let mut bad = executor::time::sleep_until(executor::clock::Clock::Realtime, soon);
    executor.run(async {
        assert!(poll_once(&mut bad, &panicking_waker()).is_pending());
    });
    let good: Vec<_> = (0..40)
        .map(|_| {
            executor.spawn(executor::time::sleep_until(executor::clock::Clock::Realtime, soon))
        })
        .collect();

    executor.run(async {
        for task in good {
            task.await.unwrap();
        }
        sleep(Duration::from_millis(2)).await;
    });

    recorder.take_one("the waker panicked");
}

#[test]
fn an_fds_waker_that_panics_takes_no_other_waiter_with_it() {
    let recorder = Recorder::start();
    let executor = LocalExecutor::new().unwrap();
    let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap();
    let writer = event.as_fd().try_clone_to_owned().unwrap();
    let fd = Rc::new(executor.run(async { AsyncFd::read_only(event).unwrap() }));
    let bad = panicking_waker();
    assert!(fd.poll_read_ready(&mut Context::from_waker(&bad)).is_pending());
    let waiting = Rc::clone(&fd);
    let good = executor.spawn(async move { waiting.readable().await.map(|_| ()) });
    executor.run_once();
    nix::unistd::write(&writer, &1_u64.to_ne_bytes()).unwrap();

    executor.run(good).unwrap().unwrap();

    recorder.take_one("the waker panicked");
}

#[test]
fn a_signal_that_wakes_a_panicking_waker_inside_a_task_is_that_tasks_panic() {
    let executor = LocalExecutor::new().unwrap();
    let handle = executor.spawn(async { panicking_waker().wake() });
    let error = executor.run(handle).unwrap_err();
    assert!(error.to_string().ends_with("panicked: the waker panicked"), "{error}");
}

#[test]
fn a_panic_of_the_future_of_a_run_unwinds_to_its_caller() {
    let executor = LocalExecutor::new().unwrap();
    let task = executor.spawn(async {
        yield_now().await;
        7
    });
    let text = panic_of(|| {
        executor.run(async {
            yield_now().await;
            panic!("the root panicked");
        })
    });
    assert_eq!(text, "the root panicked");
    assert_eq!(executor.run(task).unwrap(), 7);
}

#[test]
fn a_panic_on_another_thread_is_the_remotes() {
    let _recorder = Recorder::start();
    on_main(|nc| {
        let iothread = IoThread::create(nc, "panics").unwrap();
        let io = iothread.io();
        block_on(nc, async |cx: &MainCx| {
            let line = line!() + 1;
            let error = io.run(async |_io: &IoCx| panic!("over there")).await.unwrap_err();
            let text = error.to_string();
            assert!(text.ends_with("panicked: over there"), "{text}");
            assert!(text.contains(&format!("tests/panics.rs:{line}:")), "{text}");

            let error = cx.run_in_bh(|_nc| panic!("in a call")).await.unwrap_err();
            assert!(error.to_string().ends_with("panicked: in a call"), "{error}");

            let main = cx.main();
            let called = io.run(async move |_io: &IoCx| main.call(|_nc| panic!("back here")).await);
            let error = called.await.unwrap().unwrap_err();
            assert!(error.to_string().ends_with("panicked: back here"), "{error}");
            assert_eq!(io.run(async |_io: &IoCx| 7).await.unwrap(), 7);
        });
        iothread.destroy(nc).unwrap();
    });
}

#[test]
fn a_remote_future_whose_destructor_panics_is_reported_as_panicked() {
    let recorder = Recorder::start();
    let executor = LocalExecutor::new().unwrap();
    let remote = executor.remote();

    let completed = remote.spawn_with(|| OnDropThenReady(OnDrop(|| panic!("its destructor"))));
    let error = executor.run(completed).unwrap_err();
    assert!(error.to_string().ends_with("panicked: its destructor"), "{error}");

    let both = remote.spawn_with(|| {
        let guard = OnDropFuture(OnDrop(|| panic!("its destructor")));
        PanicsWith(guard)
    });
    let error = executor.run(both).unwrap_err();
    assert!(error.to_string().ends_with("panicked: the poll panicked"), "{error}");
    recorder.take_one("its destructor");
}

struct OnDropThenReady<F: FnMut()>(OnDrop<F>);

impl<F: FnMut()> Future for OnDropThenReady<F> {
    type Output = i32;
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<i32> {
        Poll::Ready(7)
    }
}

struct PanicsWith<T>(T);

impl<T> Future for PanicsWith<T> {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        panic!("the poll panicked");
    }
}

#[test]
fn a_function_that_panics_instead_of_making_a_future_cancels_and_is_reported() {
    let recorder = Recorder::start();
    let executor = LocalExecutor::new().unwrap();
    let make = || -> std::future::Ready<()> { panic!("no future") };
    let sent = executor.remote().spawn_with(make);
    assert!(executor.run(sent).unwrap_err().is_cancelled());
    recorder.take_one("no future");
}

#[test]
fn destructors_that_panic_during_the_shutdown_stop_nobody() {
    let recorder = Recorder::start();
    let executor = LocalExecutor::new().unwrap();
    let dropped = Rc::new(Cell::new(0));
    for n in 0..6 {
        let dropped = Rc::clone(&dropped);
        executor
            .spawn(OnDropFuture(OnDrop(move || {
                dropped.set(dropped.get() + 1);
                assert!(n % 2 == 0, "every other one panics");
            })))
            .detach();
    }

    assert!(executor.shutdown().is_empty());

    assert_eq!(dropped.get(), 6);
    assert_eq!(recorder.take().len(), 3);
}
