//! Conformance of the event loop: timers and clocks.
//!
//! The order of timers, and arming from callbacks and other threads. Clocks that are disabled and guest time
//! that is frozen are in `tests/conformance_alone.rs`.
//!
//! No case asserts an upper bound on time.

use std::cell::{Cell, OnceCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::SystemTime;

use super::Case;
use super::aio::{Loop, Timer, Trace, now};
use aio_sys::{QEMU_CLOCK_HOST, QEMU_CLOCK_REALTIME};

/// A moment that no test lives to see.
const FAR: i64 = i64::MAX / 2;
const MS: i64 = 1_000_000;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::on_loop(a_timer_fires_at_its_time_and_is_progress),
        Case::on_loop(timers_fire_in_the_order_of_expiry_then_of_arming),
        Case::on_loop(a_timer_rearmed_for_the_past_runs_again_in_the_same_pass),
        Case::on_loop(a_timer_rearmed_for_the_present_waits_for_the_next_pass),
        Case::on_loop(to_rearm_moves_a_timer_and_to_anticipate_only_moves_it_forward),
        Case::on_loop(a_callback_may_disarm_a_timer_that_is_due_too),
        Case::on_loop(a_callback_may_free_its_timer),
        Case::on_loop(a_nested_pass_runs_the_timers_that_are_due),
        Case::on_loop(an_earlier_timer_of_another_thread_ends_a_sleep),
        Case::on_loop(timers_may_be_armed_and_disarmed_by_many_threads),
        Case::plain(the_clocks_count_nanoseconds_of_their_own_time),
    ]
}

fn a_timer_fires_at_its_time_and_is_progress(home: Loop) {
    let fired_at = Cell::new(0);
    let fire = || fired_at.set(now(QEMU_CLOCK_REALTIME));
    let timer = home.timer(QEMU_CLOCK_REALTIME, &fire);

    let expires = now(QEMU_CLOCK_REALTIME) + 2 * MS;
    timer.arm(expires);
    assert!(timer.is_pending());
    assert_eq!(timer.expires(), expires as u64);
    assert!(!home.poll(false), "arming is no progress");
    assert!(home.poll(true), "the sleep ends at the expiry");

    assert!(fired_at.get() >= expires);
    assert!(!timer.is_pending());
    assert_eq!(timer.expires(), u64::MAX);
    assert!(!home.poll(false));
}

fn timers_fire_in_the_order_of_expiry_then_of_arming(home: Loop) {
    let trace = Trace::default();
    let log: Vec<_> = (0..4)
        .map(|index| {
            let trace = &trace;
            move || trace.log(index.to_string())
        })
        .collect();
    let timers: Vec<_> = log.iter().map(|log| home.timer(QEMU_CLOCK_REALTIME, log)).collect();

    timers[0].arm(20);
    timers[1].arm(10);
    timers[2].arm(20);
    timers[3].arm(-5);
    assert_eq!(timers[3].expires(), 0, "a time before 0 counts as 0");
    assert!(home.poll(true));

    assert_eq!(trace.take(), ["3", "1", "0", "2"]);
}

fn a_timer_rearmed_for_the_past_runs_again_in_the_same_pass(home: Loop) {
    let runs = Cell::new(0);
    let itself = OnceCell::<Timer>::new();
    let again = || {
        runs.set(runs.get() + 1);
        let timer = itself.get().expect("it was made");
        timer.arm(if runs.get() < 3 { 0 } else { FAR });
    };
    let timer = itself.get_or_init(|| home.timer(QEMU_CLOCK_REALTIME, &again));

    timer.arm(0);
    assert!(home.poll(false));

    assert_eq!(runs.get(), 3);
    assert!(!home.poll(false));
    timer.disarm();
}

fn a_timer_rearmed_for_the_present_waits_for_the_next_pass(home: Loop) {
    let runs = Cell::new(0);
    let itself = OnceCell::<Timer>::new();
    let again = || {
        runs.set(runs.get() + 1);
        itself.get().expect("it was made").arm(now(QEMU_CLOCK_REALTIME) + 1);
    };
    let timer = itself.get_or_init(|| home.timer(QEMU_CLOCK_REALTIME, &again));

    timer.arm(0);
    for expected in 1..=50 {
        while !home.poll(false) {}
        assert_eq!(runs.get(), expected, "the clock is read once per pass");
    }
    timer.disarm();
}

fn to_rearm_moves_a_timer_and_to_anticipate_only_moves_it_forward(home: Loop) {
    let timer = home.timer(QEMU_CLOCK_REALTIME, &|| ());
    timer.anticipate(FAR);
    assert_eq!(timer.expires(), FAR as u64, "it was not armed");
    timer.anticipate(FAR + 1);
    assert_eq!(timer.expires(), FAR as u64);
    timer.anticipate(FAR - 1);
    assert_eq!(timer.expires(), FAR as u64 - 1);
    timer.arm(FAR + 1);
    assert_eq!(timer.expires(), FAR as u64 + 1);
    timer.disarm();
    timer.disarm();
    assert!(!timer.is_pending());
    timer.deinit();
}

fn a_callback_may_disarm_a_timer_that_is_due_too(home: Loop) {
    let trace = Trace::default();
    let log = || trace.log("victim");
    let victim = home.timer(QEMU_CLOCK_REALTIME, &log);
    let kill = || {
        trace.log("killer");
        victim.disarm();
    };
    let killer = home.timer(QEMU_CLOCK_REALTIME, &kill);

    killer.arm(0);
    victim.arm(1);
    assert!(home.poll(false));
    assert!(!home.poll(false));

    assert_eq!(trace.take(), ["killer"]);
}

fn a_callback_may_free_its_timer(home: Loop) {
    let itself = Cell::new(None);
    let freed = Cell::new(false);
    let free = || {
        drop(itself.take());
        freed.set(true);
    };
    let timer = home.timer(QEMU_CLOCK_REALTIME, &free);
    timer.arm(0);
    itself.set(Some(timer));

    assert!(home.poll(false));
    assert!(freed.get());
}

fn a_nested_pass_runs_the_timers_that_are_due(home: Loop) {
    let trace = Trace::default();
    let inner = || trace.log("inner");
    let inner = home.timer(QEMU_CLOCK_REALTIME, &inner);
    let outer = || {
        trace.log("<");
        assert!(home.poll(false));
        trace.log(">");
    };
    let outer = home.timer(QEMU_CLOCK_REALTIME, &outer);

    outer.arm(0);
    inner.arm(1);
    assert!(home.poll(false));

    assert_eq!(trace.take(), ["<", "inner", ">"]);
}

fn an_earlier_timer_of_another_thread_ends_a_sleep(home: Loop) {
    let fired = Cell::new(false);
    let fire = || fired.set(true);
    let timer = home.timer(QEMU_CLOCK_REALTIME, &fire);
    timer.arm(FAR);
    home.poll(false);
    thread::scope(|scope| {
        scope.spawn(|| timer.arm(now(QEMU_CLOCK_REALTIME) + MS));
        while !fired.get() {
            home.poll(true);
        }
    });
}

fn timers_may_be_armed_and_disarmed_by_many_threads(home: Loop) {
    let runs = Cell::new(0_u32);
    let count = || runs.set(runs.get() + 1);
    let timers: Vec<Timer> = (0..4).map(|_| home.timer(QEMU_CLOCK_REALTIME, &count)).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = timers
            .iter()
            .map(|timer| {
                scope.spawn(|| {
                    for round in 0..2_000 {
                        timer.arm(now(QEMU_CLOCK_REALTIME) + round % 7 * 1_000);
                        if round % 3 == 0 {
                            timer.disarm();
                        }
                    }
                    timer.arm(0);
                })
            })
            .collect();
        scope.spawn(|| {
            workers.into_iter().for_each(|worker| worker.join().expect("it ends"));
            done.store(true, Ordering::Release);
            home.notify();
        });
        while !done.load(Ordering::Acquire) {
            home.poll(true);
        }
    });
    while home.poll(false) {}

    assert!(timers.iter().all(|timer| !timer.is_pending()));
    assert!(runs.get() >= 4);
}

fn the_clocks_count_nanoseconds_of_their_own_time() {
    let first = now(QEMU_CLOCK_REALTIME);
    assert!(now(QEMU_CLOCK_REALTIME) >= first);

    let wall = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let (before, host) = (wall().as_micros(), now(QEMU_CLOCK_HOST));
    let after = wall().as_micros();
    assert_eq!(host % 1_000, 0, "microseconds");
    assert!((before..=after).contains(&(host as u128 / 1_000)));
}
