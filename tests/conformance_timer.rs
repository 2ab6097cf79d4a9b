//! Conformance of the event loop: timers and clocks.
//!
//! The order of timers, arming from callbacks and other threads, clocks that are disabled and guest
//! time that is frozen. Tests of the guest's clock run in a process of their own: it is global.
//!
//! No test asserts an upper bound on time.

#[path = "common/aio.rs"]
mod aio;
#[path = "common/process.rs"]
mod process;

use std::cell::{Cell, OnceCell};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::SystemTime;

use aio::{Loop, Timer, Trace, now, on_loop};
use aio_sys::{
    QEMU_CLOCK_HOST, QEMU_CLOCK_REALTIME, QEMU_CLOCK_VIRTUAL, QEMU_CLOCK_VIRTUAL_RT, QEMUClockType,
};
use process::{aborts, in_own_process};

/// A moment that no test lives to see.
const FAR: i64 = i64::MAX / 2;
const MS: i64 = 1_000_000;

fn enable(clock: QEMUClockType, enabled: bool) {
    // SAFETY: the tests rely on no clock standing still.
    unsafe { aio_sys::qemu_clock_enable(clock, enabled) };
}

#[test]
fn a_timer_fires_at_its_time_and_is_progress() {
    on_loop(|home| {
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
    });
}

#[test]
fn timers_fire_in_the_order_of_expiry_then_of_arming() {
    on_loop(|home| {
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
    });
}

#[test]
fn a_timer_rearmed_for_the_past_runs_again_in_the_same_pass() {
    on_loop(|home| {
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
    });
}

#[test]
fn a_timer_rearmed_for_the_present_waits_for_the_next_pass() {
    on_loop(|home| {
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
    });
}

#[test]
fn to_rearm_moves_a_timer_and_to_anticipate_only_moves_it_forward() {
    on_loop(|home| {
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
    });
}

#[test]
fn a_callback_may_disarm_a_timer_that_is_due_too() {
    on_loop(|home| {
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
    });
}

#[test]
fn a_callback_may_free_its_timer() {
    on_loop(|home| {
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
    });
}

#[test]
fn a_nested_pass_runs_the_timers_that_are_due() {
    on_loop(|home| {
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
    });
}

#[test]
fn an_earlier_timer_of_another_thread_ends_a_sleep() {
    on_loop(|home| {
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
    });
}

#[test]
fn timers_may_be_armed_and_disarmed_by_many_threads() {
    on_loop(|home| {
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
    });
}

#[test]
fn the_clocks_count_nanoseconds_of_their_own_time() {
    let first = now(QEMU_CLOCK_REALTIME);
    assert!(now(QEMU_CLOCK_REALTIME) >= first);

    let wall = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let (before, host) = (wall().as_micros(), now(QEMU_CLOCK_HOST));
    let after = wall().as_micros();
    assert_eq!(host % 1_000, 0, "microseconds");
    assert!((before..=after).contains(&(host as u128 / 1_000)));
}

#[test]
fn the_guest_clock_stands_until_the_guest_starts_and_while_it_is_stopped() {
    in_own_process("the_guest_clock_stands_until_the_guest_starts_and_while_it_is_stopped", || {
        for clock in [QEMU_CLOCK_VIRTUAL, QEMU_CLOCK_VIRTUAL_RT] {
            assert_eq!(now(clock), 0);
        }
        aio_sys::cpu_enable_ticks();
        while now(QEMU_CLOCK_VIRTUAL) == 0 {}
        aio_sys::cpu_enable_ticks();
        aio_sys::cpu_disable_ticks();
        let stopped_at = now(QEMU_CLOCK_VIRTUAL);
        let resumes_at = now(QEMU_CLOCK_REALTIME) + MS;
        while now(QEMU_CLOCK_REALTIME) < resumes_at {}
        assert_eq!(now(QEMU_CLOCK_VIRTUAL), stopped_at);

        aio_sys::cpu_enable_ticks();
        let ran = now(QEMU_CLOCK_VIRTUAL) - stopped_at;
        assert!(ran >= 0);
        assert!(now(QEMU_CLOCK_REALTIME) - resumes_at >= ran, "the pause is not counted");
    });
}

#[test]
fn timers_of_a_disabled_clock_neither_fire_nor_wake_the_loop() {
    in_own_process("timers_of_a_disabled_clock_neither_fire_nor_wake_the_loop", || {
        on_loop(|home| {
            let trace = Trace::default();
            let (guest, host) = (|| trace.log("guest"), || trace.log("host"));
            let guest = home.timer(QEMU_CLOCK_VIRTUAL, &guest);
            let host = home.timer(QEMU_CLOCK_REALTIME, &host);
            aio_sys::cpu_enable_ticks();

            guest.arm(0);
            host.arm(now(QEMU_CLOCK_REALTIME) + 2 * MS);
            assert!(!home.poll(false));
            assert!(home.poll(true), "one sleep, until the other timer");
            assert_eq!(trace.take(), ["host"]);

            thread::scope(|scope| {
                scope.spawn(|| enable(QEMU_CLOCK_VIRTUAL, true));
                while guest.is_pending() {
                    home.poll(true);
                }
            });
            assert_eq!(trace.take(), ["guest"]);
        });
    });
}

#[test]
fn to_disable_a_clock_waits_for_its_callbacks() {
    in_own_process("to_disable_a_clock_waits_for_its_callbacks", || {
        enable(QEMU_CLOCK_VIRTUAL, true);
        on_loop(|home| {
            let (running, disabled) = (Barrier::new(2), AtomicBool::new(false));
            let fire = || {
                running.wait();
                for _ in 0..1_000 {
                    assert!(!disabled.load(Ordering::SeqCst), "the callback still runs");
                    thread::yield_now();
                }
            };
            let timer = home.timer(QEMU_CLOCK_VIRTUAL, &fire);
            timer.arm(0);
            thread::scope(|scope| {
                scope.spawn(|| {
                    running.wait();
                    enable(QEMU_CLOCK_VIRTUAL, false);
                    disabled.store(true, Ordering::SeqCst);
                });
                assert!(home.poll(true) || home.poll(true));
            });
            assert!(disabled.load(Ordering::SeqCst));
        });
    });
}

#[test]
fn a_callback_that_disables_its_own_clock_aborts() {
    aborts(
        "a_callback_that_disables_its_own_clock_aborts",
        "a timer's callback cannot disable its own clock: it would wait for itself",
        || {
            on_loop(|home| {
                let timer = home.timer(QEMU_CLOCK_REALTIME, &|| enable(QEMU_CLOCK_REALTIME, false));
                timer.arm(0);
                home.poll(false);
            });
        },
    );
}

#[test]
fn an_armed_timer_outliving_its_context_aborts() {
    aborts(
        "an_armed_timer_outliving_its_context_aborts",
        "a timer is still armed: delete it before its AioContext goes",
        || {
            let home = Loop::new();
            let timer = home.timer(QEMU_CLOCK_REALTIME, &|| ());
            timer.arm(FAR);
            home.unref();
        },
    );
}

#[test]
fn to_end_the_use_of_an_armed_timer_aborts() {
    aborts(
        "to_end_the_use_of_an_armed_timer_aborts",
        "timer_deinit: the timer is armed; call timer_del first",
        || {
            let home = Loop::new();
            let timer = home.timer(QEMU_CLOCK_REALTIME, &|| ());
            timer.arm(FAR);
            timer.deinit();
        },
    );
}
