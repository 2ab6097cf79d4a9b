//! Timers on all clocks, moved, dropped and paused; in real time where that is what is tested.

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
use executor::testing::{self, paused};
use executor::time::{Sleep, interval, sleep, sleep_on, sleep_until, timeout};
use executor::{IoCx, IoThread, LocalExecutor, MainCx, block_on};
use futures_util::future::{join, join_all};
use futures_util::poll;

const MOMENT: Duration = Duration::from_millis(3);
const HOUR: Duration = Duration::from_secs(3_600);
const NANOSECOND: Duration = Duration::from_nanos(1);

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
    let order = testing::run(|kit| {
        let trace = Trace::new();
        for (number, delay) in [3, 1, 2, 1].into_iter().enumerate() {
            let trace = trace.clone();
            let task = async move |_: &MainCx| {
                sleep(delay * HOUR).await;
                trace.add(format!("{number} after {delay}"));
            };
            kit.spawn(task).detach();
        }
        kit.advance(3 * HOUR);
        trace.take()
    });
    assert_eq!(order, ["1 after 1", "3 after 1", "2 after 2", "0 after 3"]);
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
    paused(|clock| {
        clock.set_auto_advance(true);
        let slept = LocalExecutor::new().unwrap().run(async {
            let mut slept = sleep(HOUR);
            assert!(poll!(&mut slept).is_pending());
            slept
        });
        LocalExecutor::new().unwrap().run(slept);
        assert_eq!(clock.elapsed(), HOUR);
    });
}

#[test]
fn a_sleep_that_moves_to_an_iothread_ends_there() {
    testing::run(|kit| {
        let iothread = IoThread::create(kit, "timers").unwrap();
        let io = iothread.io();
        let task = kit.spawn(async move |_: &MainCx| {
            for clock in Clock::ALL {
                let mut slept = sleep_on(clock, HOUR);
                assert!(poll!(&mut slept).is_pending());
                let slept = io.run(async move |_io: &IoCx| {
                    (&mut slept).await;
                    slept
                });
                assert!(slept.await.unwrap().is_elapsed());
            }
        });
        kit.advance(4 * HOUR - NANOSECOND);
        assert!(!task.is_finished());
        kit.advance(NANOSECOND);
        kit.block_on(async move |_: &MainCx| task.await.unwrap());
        iothread.destroy(kit).unwrap();
    });
}

#[test]
fn guest_time_stands_still_while_the_guest_is_paused() {
    testing::run(|kit| {
        let slept = kit.spawn(async |_: &MainCx| sleep_on(Clock::Virtual, HOUR).await);
        kit.advance(HOUR / 2);
        pause_virtual(kit);
        let stopped_at = Clock::Virtual.now();
        kit.advance(1000 * HOUR);
        assert_eq!(Clock::Virtual.now(), stopped_at);
        resume_virtual(kit);
        kit.advance(HOUR / 2 - NANOSECOND);
        assert!(!slept.is_finished());
        kit.advance(NANOSECOND);
        assert!(slept.is_finished());
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
    testing::run(|kit| {
        let iothread = IoThread::create(kit, "guest").unwrap();
        pause_virtual(kit);
        let remote = iothread.io().run(async |_io: &IoCx| sleep_on(Clock::Virtual, HOUR).await);
        kit.advance(1000 * HOUR);
        assert!(!remote.is_finished());
        resume_virtual(kit);
        kit.advance(HOUR);
        assert!(remote.is_finished());
        iothread.destroy(kit).unwrap();
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
    paused(|clock| {
        clock.set_auto_advance(true);
        LocalExecutor::new().unwrap().run(async {
            let dropped = Rc::new(Cell::new(false));
            let its_dropped = Rc::clone(&dropped);
            let guard = common::OnDrop(move || its_dropped.set(true));
            let slow = async move {
                let _guard = guard;
                pending::<()>().await;
            };
            assert!(timeout(HOUR, slow).await.is_err());
            assert!(dropped.get());
            assert_eq!(timeout(Duration::ZERO, async { 7 }).await, Ok(7));
        });
    });
}

#[test]
fn an_interval_ticks_in_phase_beside_other_timers() {
    let ticks = paused(|clock| {
        clock.set_auto_advance(true);
        LocalExecutor::new().unwrap().run(async {
            let mut every = interval(2 * HOUR);
            let ticking = async {
                let mut due = Vec::new();
                for round in 0..5 {
                    due.push(every.tick().await / HOUR.as_nanos() as i64);
                    // Longer than two periods: one tick is late, and the next one is missed.
                    sleep(if round == 2 { 5 * HOUR } else { HOUR }).await;
                }
                due
            };
            join(ticking, sleep(HOUR)).await.0
        })
    });
    assert_eq!(ticks, [2, 4, 6, 8, 12]);
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
