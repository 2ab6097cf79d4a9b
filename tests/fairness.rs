//! Fairness: whoever waits for the loop gets its turn.

mod common;

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use common::trace::Trace;
use common::yield_now;
use executor::async_fd::AsyncFd;
use executor::time::sleep;
use executor::{Budget, LocalExecutor};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// A task that is always ready.
async fn storm() {
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        Poll::<()>::Pending
    })
    .await;
}

#[test]
fn a_request_from_elsewhere_is_served_under_the_smallest_budget() {
    for polls in 1..=40 {
        let executor = LocalExecutor::new().unwrap();
        executor.set_budget(Budget { polls, time: Duration::ZERO });
        executor.spawn(storm()).detach();
        let remote = executor.remote();

        let sent = std::thread::spawn(move || remote.spawn(async { 7 })).join().unwrap();

        assert_eq!(executor.run(sent).unwrap(), 7, "budget of {polls}");
    }
}

#[test]
fn a_request_that_rang_for_a_run_is_not_lost_when_the_budget_ends_with_the_queue() {
    for polls in 1..=40 {
        let executor = LocalExecutor::new().unwrap();
        executor.set_budget(Budget { polls, time: Duration::ZERO });
        for _ in 0..polls {
            executor.spawn(async {}).detach();
        }
        let remote = executor.remote();
        let sent = std::thread::spawn(move || remote.spawn(async { 7 })).join().unwrap();

        assert_eq!(executor.run(sent).unwrap(), 7, "budget of {polls}");
    }
}

#[test]
fn a_request_that_comes_in_a_flood_is_served_whenever_the_budget_ends() {
    for polls in 1..=120 {
        let executor = LocalExecutor::new().unwrap();
        executor.set_budget(Budget { polls, time: Duration::MAX });
        let wakers = Rc::new(RefCell::new(Vec::new()));
        for _ in 0..100 {
            let wakers = Rc::clone(&wakers);
            let idle = poll_fn(move |cx| {
                wakers.borrow_mut().push(cx.waker().clone());
                Poll::<()>::Pending
            });
            executor.spawn(idle).detach();
        }
        executor.run(async {
            while executor.stats().polls < 100 {
                yield_now().await;
            }
        });
        let flood = wakers.take();
        std::thread::spawn(move || flood.into_iter().for_each(Waker::wake)).join().unwrap();
        let remote = executor.remote();
        // It is polled after the look that found the flood, and before those that were woken.
        let late = executor.spawn(async move {
            std::thread::spawn(move || remote.spawn(async { 7 })).join().unwrap().await
        });

        assert_eq!(executor.run(late).unwrap().unwrap(), 7, "budget of {polls}");
    }
}

#[test]
fn a_self_wake_runs_after_its_neighbours() {
    let executor = LocalExecutor::new().unwrap();
    let trace = Trace::new();
    for name in ["a", "b"] {
        let trace = trace.clone();
        executor
            .spawn(async move {
                for _ in 0..3 {
                    trace.add(name);
                    yield_now().await;
                }
            })
            .detach();
    }

    executor.run_once();

    assert_eq!(trace.take(), ["a", "b", "a", "b", "a", "b"]);
}

#[test]
fn a_task_that_is_spawned_by_a_task_runs_after_those_that_wait() {
    let executor = LocalExecutor::new().unwrap();
    let (trace, spawner) = (Trace::new(), executor.spawner());
    let (its_trace, childs_trace) = (trace.clone(), trace.clone());
    executor
        .spawn(async move {
            its_trace.add("parent");
            spawner.spawn(async move { childs_trace.add("child") }).detach();
        })
        .detach();
    let its_trace = trace.clone();
    executor.spawn(async move { its_trace.add("neighbour") }).detach();

    executor.run_once();

    assert_eq!(trace.take(), ["parent", "neighbour", "child"]);
}

#[test]
fn requests_from_another_thread_are_served_in_their_order() {
    let executor = LocalExecutor::new().unwrap();
    let (remote, trace) =
        (executor.remote(), std::sync::Arc::new(std::sync::Mutex::new(Vec::new())));
    let its_trace = trace.clone();
    let last = std::thread::spawn(move || {
        for n in 0..100 {
            let trace = its_trace.clone();
            remote.spawn(async move { trace.lock().unwrap().push(n) }).detach();
        }
        remote.spawn(async {})
    });
    executor.run(last.join().unwrap()).unwrap();

    assert_eq!(*trace.lock().unwrap(), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_run_ends_when_the_polls_of_its_budget_are_spent() {
    for polls in [1, 2, 15, 16, 17, 100, 256] {
        let executor = LocalExecutor::new().unwrap();
        executor.set_budget(Budget { polls, time: Duration::MAX });
        executor.spawn(storm()).detach();

        let before = executor.stats();
        executor.run_once();
        let after = executor.stats();

        assert_eq!(after.slices - before.slices, 1);
        assert_eq!(after.polls - before.polls, u64::from(polls));
    }
}

#[test]
fn a_run_ends_when_the_time_of_its_budget_is_spent() {
    let executor = LocalExecutor::new().unwrap();
    executor.set_budget(Budget { polls: u32::MAX, time: Duration::ZERO });
    executor.spawn(storm()).detach();

    executor.run_once();

    assert!(executor.stats().polls <= 16, "{:?}", executor.stats());
}

#[test]
fn a_budget_of_no_polls_is_one_of_one() {
    let executor = LocalExecutor::new().unwrap();
    executor.set_budget(Budget { polls: 0, time: Duration::ZERO });
    let handle = executor.spawn(async { 7 });
    assert_eq!(executor.run(handle).unwrap(), 7);
}

#[test]
fn timers_fds_and_foreign_wakes_make_progress_through_a_storm_of_yields() {
    let executor = LocalExecutor::new().unwrap();
    for _ in 0..10 {
        executor.spawn(storm()).detach();
    }
    let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap();
    let writer = event.as_fd().try_clone_to_owned().unwrap();
    let timer = executor.spawn(sleep(Duration::from_millis(10)));
    let fd = executor.spawn(async move {
        let fd = AsyncFd::read_only(event).unwrap();
        fd.read_with(|event| event.read().map_err(Into::into)).await.unwrap()
    });
    let signal = common::Signal::new();
    let waiting = signal.clone();
    let woken = executor.spawn(async move { waiting.wait().await });
    executor.run_once();
    std::thread::spawn(move || {
        nix::unistd::write(&writer, &7_u64.to_ne_bytes()).unwrap();
        signal.set();
    })
    .join()
    .unwrap();

    let started = Instant::now();
    executor.run(async {
        timer.await.unwrap();
        assert_eq!(fd.await.unwrap(), 7);
        woken.await.unwrap();
    });

    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn the_future_of_a_run_makes_progress_through_a_storm_of_yields() {
    let executor = LocalExecutor::new().unwrap();
    executor.spawn(storm()).detach();
    let mut turns = 0;
    executor.run(async {
        for _ in 0..100 {
            yield_now().await;
            turns += 1;
        }
    });
    assert_eq!(turns, 100);
}

#[test]
fn an_idle_executor_polls_nothing() {
    let executor = LocalExecutor::new().unwrap();
    executor.spawn(pending::<()>()).detach();
    executor.run(sleep(Duration::from_millis(1)));
    let before = executor.stats();

    executor.run(sleep(Duration::from_millis(20)));

    let after = executor.stats();
    assert_eq!(after.polls, before.polls);
    assert!(after.slices - before.slices <= 3, "{before:?} {after:?}");
}

#[test]
fn two_executors_of_one_thread_share_the_loop() {
    let (one, two) = (LocalExecutor::new().unwrap(), LocalExecutor::new().unwrap());
    one.spawn(storm()).detach();
    let ticks = Rc::new(Cell::new(0));
    let counting = Rc::clone(&ticks);
    two.spawn(async move {
        for _ in 0..1_000 {
            counting.set(counting.get() + 1);
            yield_now().await;
        }
    })
    .detach();

    one.run(async {
        while ticks.get() < 1_000 {
            yield_now().await;
        }
    });
}
