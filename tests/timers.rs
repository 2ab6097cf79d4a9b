//! Timers on all clocks, moved, dropped and paused.

#![allow(clippy::async_yields_async, reason = "sleeps are moved from place to place")]

mod common;

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use common::trace::Trace;
use common::{on_main, yield_now};
use executor::clock::{Clock, pause_virtual, resume_virtual};
use executor::time::{Sleep, interval, sleep, sleep_on, sleep_until, timeout};
use executor::{IoCx, IoThread, LocalExecutor, MainCx, block_on};
use futures_util::future::{join, join_all};
use futures_util::poll;

const MOMENT: Duration = Duration::from_millis(3);
const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn sleeps_on_every_clock_end_and_not_early() {
    on_main(|nc| {
        block_on(nc, async |_cx: &MainCx| {
            for clock in Clock::ALL {
                let deadline = clock.after(MOMENT);
                sleep_until(clock, deadline).await;
                assert!(clock.now() >= deadline, "{clock:?}");
            }
        });
    });
}

#[test]
fn deadlines_are_served_in_their_order() {
    let order = on_main(|nc| {
        // The clock stands still until all of them wait.
        pause_virtual(nc);
        let start = Clock::Virtual.now();
        block_on(nc, async |cx: &MainCx| {
            let trace = Trace::new();
            let tasks: Vec<_> = [3_000, 1_000, 2_000, 1_000]
                .into_iter()
                .enumerate()
                .map(|(number, delay)| {
                    let trace = trace.clone();
                    cx.spawn_future(async move {
                        sleep_until(Clock::Virtual, start + delay).await;
                        trace.add(format!("{number} after {delay}"));
                    })
                })
                .collect();
            yield_now().await;
            cx.bql(resume_virtual);
            join_all(tasks).await;
            trace.take()
        })
    });
    assert_eq!(order, ["1 after 1000", "3 after 1000", "2 after 2000", "0 after 3000"]);
}

#[test]
fn a_hundred_thousand_timers_all_fire_and_leave_nothing() {
    let executor = LocalExecutor::new().unwrap();
    let fired = Rc::new(Cell::new(0_u32));
    let start = Clock::Realtime.now();
    for n in 0..100_000_i64 {
        let fired = Rc::clone(&fired);
        executor
            .spawn(async move {
                // Deadlines in no order, some equal, all soon.
                sleep_until(Clock::Realtime, start + 1_000 * (n * 7_919 % 50_000)).await;
                fired.set(fired.get() + 1);
            })
            .detach();
    }
    executor.run(async {
        while fired.get() < 100_000 {
            sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(executor.stats().live, 0);
}

#[test]
fn a_hundred_thousand_timers_can_be_dropped_before_their_time() {
    let executor = LocalExecutor::new().unwrap();
    let started = Instant::now();
    executor.run(async {
        let mut sleeps: Vec<Sleep> = (0..100_000).map(|_| sleep(HOUR)).collect();
        for sleep in &mut sleeps {
            assert!(poll!(sleep).is_pending());
        }
        drop(sleeps);
        sleep(MOMENT).await;
    });
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[test]
fn a_sleep_can_be_polled_here_and_dropped_on_another_thread() {
    let executor = LocalExecutor::new().unwrap();
    executor.run(async {
        for _ in 0..100 {
            let mut slept = sleep(HOUR);
            assert!(poll!(&mut slept).is_pending());
            thread::spawn(move || drop(slept)).join().unwrap();
        }
        sleep(MOMENT).await;
    });
}

#[test]
fn a_sleep_that_moves_to_another_executor_ends_there() {
    let deadline = Clock::Realtime.after(MOMENT * 20);
    let slept = LocalExecutor::new().unwrap().run(async move {
        let mut slept = sleep_until(Clock::Realtime, deadline);
        assert!(poll!(&mut slept).is_pending());
        slept
    });
    thread::spawn(move || LocalExecutor::new().unwrap().run(slept)).join().unwrap();
    assert!(Clock::Realtime.now() >= deadline);
}

#[test]
fn a_sleep_that_moves_to_an_iothread_ends_there() {
    on_main(|nc| {
        let iothread = IoThread::create(nc, "timers").unwrap();
        let io = iothread.io();
        block_on(nc, async |_cx: &MainCx| {
            for clock in Clock::ALL {
                let mut slept = sleep_on(clock, MOMENT * 10);
                assert!(poll!(&mut slept).is_pending());
                let slept = io.run(async move |_io: &IoCx| {
                    (&mut slept).await;
                    slept
                });
                assert!(slept.await.unwrap().is_elapsed());
            }
        });
        iothread.destroy(nc).unwrap();
    });
}

#[test]
fn guest_time_stands_still_while_the_guest_is_paused() {
    on_main(|nc| {
        block_on(nc, async |cx: &MainCx| {
            cx.bql(pause_virtual);
            let stopped_at = Clock::Virtual.now();
            let mut slept = sleep_on(Clock::Virtual, MOMENT);
            assert!(timeout(MOMENT * 5, &mut slept).await.is_err(), "it must not end");
            assert_eq!(Clock::Virtual.now(), stopped_at);

            cx.bql(resume_virtual);
            slept.await;
            assert!(Clock::Virtual.now() >= stopped_at + 3_000_000);
        });
    });
}

#[test]
fn a_task_that_a_guest_timer_woke_can_stop_the_guests_clock() {
    on_main(|nc| {
        block_on(nc, async |cx: &MainCx| {
            for _ in 0..20 {
                let stop = cx.spawn(async |cx: &MainCx| {
                    sleep_on(Clock::Virtual, Duration::from_micros(200)).await;
                    cx.bql(pause_virtual);
                });
                let other = cx.spawn(async |_cx: &MainCx| {
                    sleep_on(Clock::Virtual, Duration::from_micros(200)).await;
                });
                stop.await.unwrap();
                cx.bql(resume_virtual);
                other.await.unwrap();
            }
        });
    });
}

#[test]
fn an_iothreads_guest_timers_stop_and_go_with_the_main_loop() {
    on_main(|nc| {
        let iothread = IoThread::create(nc, "guest").unwrap();
        let io = iothread.io();
        block_on(nc, async |cx: &MainCx| {
            cx.bql(pause_virtual);
            let remote = io.run(async |_io: &IoCx| sleep_on(Clock::Virtual, MOMENT).await);
            sleep(MOMENT * 3).await;
            assert!(!remote.is_finished());
            cx.bql(resume_virtual);
            remote.await.unwrap();
        });
        iothread.destroy(nc).unwrap();
    });
}

#[test]
fn an_earlier_deadline_rearms_the_loop_from_any_place() {
    let executor = LocalExecutor::new().unwrap();
    executor.spawn(sleep(HOUR)).detach();
    executor.run(sleep(MOMENT));
    // From a task that a wake has made ready, not the root:
    let inner = executor.spawn(async {
        yield_now().await;
        sleep(MOMENT).await;
    });
    executor.run(inner).unwrap();
    // From a task that a timer has made ready:
    let chained = executor.spawn(async {
        for _ in 0..5 {
            sleep(Duration::from_micros(300)).await;
        }
    });
    executor.run(chained).unwrap();
}

#[test]
fn a_timeout_drops_its_future_and_one_that_is_ready_wins() {
    let executor = LocalExecutor::new().unwrap();
    executor.run(async {
        let dropped = Rc::new(Cell::new(false));
        let its_dropped = Rc::clone(&dropped);
        let guard = common::OnDrop(move || its_dropped.set(true));
        let slow = async move {
            let _guard = guard;
            pending::<()>().await;
        };
        assert!(timeout(MOMENT, slow).await.is_err());
        assert!(dropped.get());
        assert_eq!(timeout(Duration::ZERO, async { 7 }).await, Ok(7));
    });
}

#[test]
fn an_interval_ticks_in_phase_beside_other_timers() {
    let executor = LocalExecutor::new().unwrap();
    let ticks = executor.run(async {
        let mut every = interval(Duration::from_millis(2));
        let ticking = async {
            let mut due = Vec::new();
            for _ in 0..5 {
                due.push(every.tick().await);
            }
            due
        };
        join(ticking, sleep(MOMENT)).await.0
    });
    for pair in ticks.windows(2) {
        assert_eq!((pair[1] - pair[0]) % 2_000_000, 0, "{ticks:?}");
        assert!(pair[1] > pair[0]);
    }
}

#[test]
fn a_sleep_outside_any_executor_says_where_it_belongs() {
    let text = common::panic_of(|| {
        let (_count, waker) = common::CountingWaker::new();
        common::poll_once(&mut sleep(MOMENT), &waker)
    });
    assert!(text.contains("no executor polls on this thread"), "{text}");
}

/// The runs of the executor in which sleeps of so many milliseconds end.
fn runs_that_end(executor: &LocalExecutor, sleeps: &'static [u64]) -> Vec<u64> {
    let runs = Rc::new(RefCell::new(Vec::new()));
    let spawner = executor.spawner();
    let probe = executor.probe();
    let tasks = sleeps.iter().map(|ms| {
        let (runs, probe) = (Rc::clone(&runs), probe.clone());
        spawner.spawn(async move {
            sleep(Duration::from_millis(*ms)).await;
            runs.borrow_mut().push(probe.stats().slices);
        })
    });
    let tasks: Vec<_> = tasks.collect();
    executor.run(join_all(tasks));
    runs.take()
}

#[test]
fn a_crowd_of_timers_within_the_slack_ends_in_one_run() {
    let executor = LocalExecutor::new().unwrap();
    executor.set_timer_slack(MOMENT * 100);
    let runs = runs_that_end(&executor, &[1, 20, 30, 40, 50, 60, 70]);
    assert_eq!(runs.len(), 7);
    assert!(runs[1..].iter().all(|run| *run == runs[1]), "{runs:?}");
}

#[test]
fn a_few_timers_and_timers_without_slack_are_not_late_on_purpose() {
    let start = Instant::now();
    let executor = LocalExecutor::new().unwrap();
    executor.set_timer_slack(MOMENT * 10_000);
    assert_eq!(runs_that_end(&executor, &[1, 20, 30, 40]).len(), 4);
    executor.set_timer_slack(Duration::ZERO);
    assert_eq!(runs_that_end(&executor, &[1, 20, 30, 40, 50, 60, 70]).len(), 7);
    assert!(start.elapsed() < MOMENT * 5_000, "{:?}", start.elapsed());
}
