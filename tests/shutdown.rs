//! The end of an executor: what is cancelled, dropped, named and refused, and in which order.

mod common;

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use common::trace::Trace;
use common::{OnDrop, Signal, in_main_thread, on_main, own_waker, panic_of, yield_now};
use executor::async_fd::AsyncFd;
use executor::time::{sleep, timeout};
use executor::{
    IoCx, IoThread, JoinHandle, LocalExecutor, LocalSpawner, MainCx, block_on, run_main,
};
use nix::sys::eventfd::{EfdFlags, EventFd};

fn event_fd() -> EventFd {
    EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap()
}

#[test]
fn the_futures_are_dropped_on_the_home_thread_in_the_order_of_their_spawning() {
    let executor = LocalExecutor::new().unwrap();
    let trace = Trace::new();
    for name in ["a", "b", "c"] {
        let trace = trace.clone();
        executor
            .spawn(async move {
                let _guard = OnDrop(move || trace.add(name));
                pending::<()>().await;
            })
            .detach();
    }
    executor.run_once();

    assert!(executor.shutdown().is_empty());

    assert_eq!(trace.take(), ["a", "b", "c"]);
    assert_eq!(executor.stats().live, 0);
}

#[test]
fn tasks_that_were_never_polled_are_dropped_too() {
    let executor = LocalExecutor::new().unwrap();
    let dropped = Rc::new(Cell::new(0));
    for _ in 0..3 {
        let guard = OnDrop({
            let dropped = Rc::clone(&dropped);
            move || dropped.set(dropped.get() + 1)
        });
        executor.spawn(async move { drop(guard) }).detach();
    }
    drop(executor);
    assert_eq!(dropped.get(), 3);
}

#[test]
fn what_a_destructor_spawns_is_cancelled_too() {
    let executor = LocalExecutor::new().unwrap();
    let (spawner, trace) = (executor.spawner(), Trace::new());
    let its_trace = trace.clone();
    executor
        .spawn(async move {
            let _guard = OnDrop(move || {
                let trace = its_trace.clone();
                let inner = OnDrop(move || trace.add("inner"));
                spawner
                    .spawn(async move {
                        let _inner = inner;
                        pending::<()>().await;
                    })
                    .detach();
                its_trace.add("outer");
            });
            pending::<()>().await;
        })
        .detach();
    executor.run_once();

    assert!(executor.shutdown().is_empty());

    assert_eq!(trace.take(), ["outer", "inner"]);
}

/// Spawns another one of its kind when it is dropped.
struct Phoenix {
    spawner: LocalSpawner,
    drops: Rc<Cell<usize>>,
}

impl Drop for Phoenix {
    fn drop(&mut self) {
        self.drops.set(self.drops.get() + 1);
        let next = Phoenix { spawner: self.spawner.clone(), drops: Rc::clone(&self.drops) };
        self.spawner.spawn_named("phoenix", async move { drop(next) }).detach();
    }
}

#[test]
fn destructors_that_spawn_for_ever_are_bounded_and_named() {
    let executor = LocalExecutor::new().unwrap();
    let drops = Rc::new(Cell::new(0));
    let first = Phoenix { spawner: executor.spawner(), drops: Rc::clone(&drops) };
    executor.spawn(async move { drop(first) }).detach();

    let survivors = executor.shutdown();

    assert_eq!(survivors.len(), 1);
    assert_eq!(survivors[0].name.as_deref(), Some("phoenix"));
    assert!(survivors[0].spawned_at.file().ends_with("shutdown.rs"));
    assert!(drops.get() < 1_000, "{}", drops.get());
}

#[test]
fn destructors_that_spawn_for_ever_on_a_closed_executor_do_not_recurse() {
    let executor = LocalExecutor::new().unwrap();
    executor.shutdown();
    let drops = Rc::new(Cell::new(0));
    let first = Phoenix { spawner: executor.spawner(), drops: Rc::clone(&drops) };

    let handle = executor.spawn(async move { drop(first) });

    assert!(handle.is_finished());
    assert!((1..1_000).contains(&drops.get()), "{}", drops.get());
}

#[test]
fn tasks_that_wake_each_other_in_their_destructors_all_go() {
    let executor = LocalExecutor::new().unwrap();
    let wakers = Rc::new(RefCell::new(Vec::new()));
    let dropped = Rc::new(Cell::new(0));
    for _ in 0..5 {
        let (wakers, dropped) = (Rc::clone(&wakers), Rc::clone(&dropped));
        executor
            .spawn(async move {
                let own = own_waker().await;
                wakers.borrow_mut().push(own);
                let _guard = OnDrop(move || {
                    dropped.set(dropped.get() + 1);
                    wakers.borrow().iter().for_each(std::task::Waker::wake_by_ref);
                });
                pending::<()>().await;
            })
            .detach();
    }
    executor.run_once();
    assert_eq!(wakers.borrow().len(), 5);

    assert!(executor.shutdown().is_empty());

    assert_eq!(dropped.get(), 5);
}

#[test]
fn tasks_that_hold_each_others_handles_all_go() {
    let executor = LocalExecutor::new().unwrap();
    let handles = Rc::new(RefCell::new(Vec::<Option<JoinHandle<()>>>::new()));
    let dropped = Rc::new(Cell::new(0));
    for number in 0..3 {
        let (handles_of_all, dropped) = (Rc::clone(&handles), Rc::clone(&dropped));
        let handle = executor.spawn(async move {
            let _guard = OnDrop(move || dropped.set(dropped.get() + 1));
            let next = handles_of_all.borrow_mut()[(number + 1) % 3].take();
            let _cancelled = next.expect("taken once").await;
        });
        handles.borrow_mut().push(Some(handle));
    }
    executor.run_once();

    assert!(executor.shutdown().is_empty());

    assert_eq!(dropped.get(), 3);
}

#[test]
fn a_task_that_shuts_its_own_executor_down_survives_until_it_yields() {
    let executor = Rc::new(LocalExecutor::new().unwrap());
    let (inner, trace) = (Rc::clone(&executor), Trace::new());
    let its_trace = trace.clone();
    executor.spawn(pending::<()>()).detach();
    let handle = executor.spawn_named("last", async move {
        let _guard = OnDrop(|| its_trace.add("dropped"));
        let survivors = inner.shutdown();
        its_trace.add(format!("{} survives", survivors[0].name.as_deref().unwrap()));
        assert_eq!(survivors.len(), 1);
        yield_now().await;
        its_trace.add("never");
    });

    let error = executor.run(handle).unwrap_err();

    assert!(error.is_cancelled());
    assert_eq!(trace.take(), ["last survives", "dropped"]);
}

#[test]
fn what_is_spawned_after_the_shutdown_is_cancelled_at_once() {
    let executor = LocalExecutor::new().unwrap();
    let (spawner, remote) = (executor.spawner(), executor.remote());
    executor.shutdown();

    for handle in [executor.spawn(async { 7 }), spawner.spawn(async { 7 })] {
        assert!(handle.is_finished());
        assert!(executor.run(handle).unwrap_err().is_cancelled());
    }
    let sent = remote.spawn(async { 7 });
    assert!(sent.is_finished());
    assert!(executor.run(sent).unwrap_err().is_cancelled());
    assert_eq!(executor.shutdown().len(), 0, "a second shutdown finds nothing");
}

#[test]
fn a_run_that_would_wait_on_a_closed_executor_panics_instead() {
    let executor = LocalExecutor::new().unwrap();
    executor.shutdown();

    assert_eq!(executor.run(async { 7 }), 7, "there is nothing to wait for");
    let text = panic_of(|| executor.run(sleep(Duration::from_millis(1))));

    assert!(text.contains("the executor was shut down"), "{text}");
}

#[test]
fn requests_that_were_not_served_are_cancelled_and_dropped() {
    let executor = LocalExecutor::new().unwrap();
    let remote = executor.remote();
    let drops = Arc::new(AtomicUsize::new(0));
    let its_drops = Arc::clone(&drops);
    let sent: Vec<_> = thread::spawn(move || {
        (0..3)
            .map(|_| {
                let drops = Arc::clone(&its_drops);
                let guard = OnDrop(move || {
                    drops.fetch_add(1, Ordering::SeqCst);
                });
                remote.spawn(async move { drop(guard) })
            })
            .collect()
    })
    .join()
    .unwrap();

    drop(executor);

    assert_eq!(drops.load(Ordering::SeqCst), 3);
    assert!(sent.iter().all(executor::Remote::is_finished));
    let other = LocalExecutor::new().unwrap();
    for remote in sent {
        assert!(other.run(remote).unwrap_err().is_cancelled());
    }
}

#[test]
fn sends_race_with_the_end_of_the_executor_and_all_are_answered() {
    for _ in 0..200 {
        let executor = LocalExecutor::new().unwrap();
        let remote = executor.remote();
        let (ready, start) = channel();
        let sending = thread::spawn(move || {
            ready.send(()).unwrap();
            (0..20).map(|n| remote.spawn(async move { n })).collect::<Vec<_>>()
        });
        start.recv().unwrap();
        executor.run_once();
        drop(executor);

        let sent = sending.join().unwrap();

        assert!(sent.iter().all(executor::Remote::is_finished));
    }
}

#[test]
fn timers_and_fds_that_are_alive_at_the_shutdown_go_with_their_tasks() {
    let executor = LocalExecutor::new().unwrap();
    let event = event_fd();
    let held = event.as_fd().try_clone_to_owned().unwrap();
    let task = executor.spawn(async move {
        let fd = AsyncFd::new(event).unwrap();
        let _never = timeout(Duration::from_secs(3_600), fd.readable()).await;
    });
    executor.run_once();

    assert!(executor.shutdown().is_empty());

    assert!(executor.run(task).unwrap_err().is_cancelled());
    drop(held);
}

#[test]
fn timers_and_fds_that_outlive_their_executor_can_be_dropped_or_used_elsewhere() {
    let executor = LocalExecutor::new().unwrap();
    let (fd, mut slept) = executor.run(async {
        let mut slept = Box::pin(sleep(Duration::from_millis(50)));
        let pending = futures_util::poll!(&mut slept);
        assert!(pending.is_pending());
        (AsyncFd::new(event_fd()).unwrap(), slept)
    });
    drop(executor);

    let other = LocalExecutor::new().unwrap();
    let error = other.run(fd.readable()).unwrap_err();
    other.run(&mut slept);

    assert!(error.to_string().contains("is gone"), "{error}");
    assert!(slept.is_elapsed());
    fd.into_inner().write(1).unwrap();
}

#[test]
fn a_spawner_that_outlives_its_executor_leaves_nothing_to_do_for_the_loop() {
    let executor = LocalExecutor::new().unwrap();
    let spawner = executor.spawner();
    let fd = executor.run(async { AsyncFd::read_only(event_fd()).unwrap() });
    drop(executor);
    fd.get_ref().write(1).unwrap();
    let other = LocalExecutor::new().unwrap();

    // The same loop: a handler that stayed behind would make each turn of it return at once.
    let before = other.stats();
    other.run(sleep(Duration::from_millis(30)));
    let after = other.stats();

    assert!(after.slices - before.slices <= 3, "{before:?} {after:?}");
    drop(spawner);
}

#[test]
fn an_iothread_that_is_destroyed_while_it_is_busy_drops_its_tasks_on_its_own_thread() {
    let (result, dropped_there) = on_main(|nc| {
        let iothread = IoThread::create(nc, "busy").unwrap();
        let (send, receive) = channel();
        let (started, wait) = channel();
        let remote = iothread.io().run(async move |io: &IoCx| {
            let here = thread::current().id();
            let _guard = OnDrop(move || send.send(thread::current().id() == here).unwrap());
            io.spawn(async |_io: &IoCx| loop_for_ever().await).detach();
            started.send(()).unwrap();
            loop_for_ever().await;
        });
        wait.recv().unwrap();
        iothread.destroy(nc).unwrap();
        (block_on(nc, async |_cx: &MainCx| remote.await), receive.recv().unwrap())
    });

    assert!(result.unwrap_err().is_cancelled());
    assert!(dropped_there);
}

async fn loop_for_ever() {
    loop {
        yield_now().await;
    }
}

#[test]
fn work_for_an_iothread_that_is_gone_is_cancelled() {
    on_main(|nc| {
        for attached in [false, true] {
            let iothread = IoThread::create(nc, "gone").unwrap();
            let io = iothread.io();
            if attached {
                let first = io.run(async |_io: &IoCx| 7);
                assert_eq!(block_on(nc, async |_cx: &MainCx| first.await).unwrap(), 7);
            }
            iothread.destroy(nc).unwrap();
            let late = io.run(async |_io: &IoCx| 7);
            assert!(late.is_finished());
            let error = block_on(nc, async |_cx: &MainCx| late.await).unwrap_err();
            assert!(error.is_cancelled());
        }
    });
}

#[test]
fn the_first_work_of_an_iothread_races_with_its_end_and_is_answered() {
    on_main(|nc| {
        for _ in 0..100 {
            let iothread = IoThread::create(nc, "race").unwrap();
            let io = iothread.io();
            let sending = thread::spawn(move || io.run(async |_io: &IoCx| 7));
            iothread.destroy(nc).unwrap();
            let sent = sending.join().unwrap();
            let result = block_on(nc, async |_cx: &MainCx| sent.await);
            assert!(result.map_or_else(|e| e.is_cancelled(), |n| n == 7));
        }
    });
}

#[test]
fn tasks_of_the_main_loop_are_dropped_when_the_program_ends_with_the_lock_held() {
    let (locked, signal) = (Arc::new(AtomicUsize::new(0)), Signal::new());
    let (its_locked, its_signal) = (Arc::clone(&locked), signal.clone());
    on_main(move |nc| {
        nc.spawn(async move |cx: &MainCx| {
            let _guard = OnDrop(move || {
                its_locked.fetch_add(usize::from(executor::bql::is_locked()), Ordering::SeqCst);
            });
            cx.spawn(async |_cx: &MainCx| pending::<()>().await).detach();
            its_signal.set();
            pending::<()>().await;
        })
        .detach();
        block_on(nc, async |_cx: &MainCx| signal.wait().await);
    });
    assert_eq!(locked.load(Ordering::SeqCst), 1);
}

#[test]
fn a_handle_on_the_main_loop_outlives_the_program_and_is_served_by_the_next() {
    let result = in_main_thread(|| {
        let handle = run_main(|nc| nc.main());
        let remote = thread::spawn(move || handle.run(async |_cx: &MainCx| 7)).join().unwrap();
        run_main(|nc| block_on(nc, async |_cx: &MainCx| remote.await))
    });
    assert_eq!(result.unwrap(), 7);
}

#[test]
fn a_program_that_panics_leaves_the_main_loop_usable() {
    let text = panic_of(|| {
        on_main(|nc| {
            nc.spawn(async |_cx: &MainCx| pending::<()>().await).detach();
            block_on(nc, async |_cx: &MainCx| yield_now().await);
            panic!("the program panics");
        })
    });
    assert_eq!(text, "the program panics");
    assert_eq!(on_main(|nc| block_on(nc, async |_cx: &MainCx| 7)), 7);
}
