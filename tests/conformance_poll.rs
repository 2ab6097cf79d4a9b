//! Conformance of the event loop: one pass, wake-ups, and threads.
//!
//! The order of a pass, when it sleeps and what ends the sleep, the home thread. The tests with
//! several threads are bounded races: a wake-up that is lost makes them hang, and nothing in them
//! sleeps to wait for another thread.

#[path = "common/aio.rs"]
mod aio;
#[path = "common/process.rs"]
mod process;

use std::cell::Cell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use aio::{Bh, Handler, Loop, Notifier, Trace, now, on_loop};
use aio_sys::QEMU_CLOCK_REALTIME;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use process::aborts;

#[test]
fn a_pass_with_nothing_to_do_is_no_progress() {
    on_loop(|home| assert!(!home.poll(false)));
}

#[test]
fn a_pass_runs_bottom_halves_then_descriptors_then_timers() {
    on_loop(|home| {
        let trace = Trace::default();
        let notifier = Notifier::new();
        let handler = Handler::on_read(|| {
            notifier.clear();
            trace.log("fd");
        });
        home.set_fd(notifier.fd(), &handler);
        let (bh, fire) = (|| trace.log("bh"), || trace.log("timer"));
        let timer = home.timer(QEMU_CLOCK_REALTIME, &fire);

        timer.arm(0);
        notifier.set();
        home.oneshot(&bh);
        assert!(home.poll(true));

        assert_eq!(trace.take(), ["bh", "fd", "timer"]);
        assert!(!home.poll(false));
        home.remove_fd(notifier.fd());
    });
}

#[test]
fn a_descriptor_made_ready_by_a_bottom_half_waits_for_the_next_pass() {
    on_loop(|home| {
        let trace = Trace::default();
        let notifier = Notifier::new();
        let handler = Handler::on_read(|| {
            notifier.clear();
            trace.log("fd");
        });
        home.set_fd(notifier.fd(), &handler);
        let bh = || {
            trace.log("bh");
            notifier.set();
        };

        home.oneshot(&bh);
        assert!(home.poll(true));
        assert_eq!(trace.take(), ["bh"]);
        assert!(home.poll(true));
        assert_eq!(trace.take(), ["fd"]);
        home.remove_fd(notifier.fd());
    });
}

#[test]
fn a_notification_before_the_pass_ends_it_without_progress() {
    on_loop(|home| {
        home.notify();
        assert!(!home.poll(true));
    });
}

#[test]
fn a_notification_from_another_thread_ends_a_sleep_without_progress() {
    // Most of the rounds find the loop asleep, some find it on the way there.
    const ROUNDS: u32 = 1_000;
    on_loop(|home| {
        let start = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    start.wait();
                    thread::yield_now();
                    home.notify();
                }
            });
            let mut progress = 0;
            for _ in 0..ROUNDS {
                start.wait();
                progress += u32::from(home.poll(true));
            }
            assert_eq!(progress, 0);
        });
    });
}

#[test]
fn a_notification_that_found_nobody_asleep_leaves_nothing_behind() {
    on_loop(|home| {
        home.notify();
        assert!(!home.poll(false));

        let fire = || ();
        let timer = home.timer(QEMU_CLOCK_REALTIME, &fire);
        timer.arm(now(QEMU_CLOCK_REALTIME) + 5_000_000);
        assert!(!home.poll(false), "arming rings the doorbell");
        assert!(home.poll(true), "one call sleeps until the timer");
    });
}

#[test]
fn a_notification_between_the_last_look_and_the_sleep_is_not_lost() {
    on_loop(|home| {
        let (trace, notifier, armed) = (Trace::default(), Notifier::new(), Cell::new(false));
        let run = || trace.log("bottom half");
        let bh = home.bh(&run);
        // Handlers are asked after the loop has worked out how long it may sleep.
        let ask = || {
            if armed.take() {
                bh.schedule();
            }
            false
        };
        let handler = Handler::default().and_poll(ask, || unreachable!("it is never ready"));
        home.set_fd(notifier.fd(), &handler);
        let fire = || trace.log("slept until the timer");
        let timer = home.timer(QEMU_CLOCK_REALTIME, &fire);
        timer.arm(now(QEMU_CLOCK_REALTIME) + 2_000_000_000);
        assert!(!home.poll(false), "what was done so far rang the doorbell");

        armed.set(true);
        assert!(home.poll(true));

        assert_eq!(trace.take(), ["bottom half"]);
        home.remove_fd(notifier.fd());
        bh.delete();
    });
}

#[test]
fn a_sleep_ends_with_the_first_timer_even_if_signals_interrupt_it() {
    extern "C" fn ignore(_signal: i32) {}
    let action = SigAction::new(SigHandler::Handler(ignore), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.expect("the signal can be caught");

    on_loop(|home| {
        let fired = Cell::new(false);
        let fire = || fired.set(true);
        let timer = home.timer(QEMU_CLOCK_REALTIME, &fire);
        // SAFETY: a thread may ask who it is.
        let target = unsafe { libc::pthread_self() };
        let done = AtomicBool::new(false);
        let expires = now(QEMU_CLOCK_REALTIME) + 50_000_000;
        timer.arm(expires);
        assert!(!home.poll(false), "arming rings the doorbell");

        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // SAFETY: the thread lives until this one has ended.
                    assert_eq!(unsafe { libc::pthread_kill(target, libc::SIGUSR1) }, 0);
                    thread::yield_now();
                }
            });
            let progress = home.poll(true);
            done.store(true, Ordering::Relaxed);
            assert!(progress, "one call sleeps until the timer");
        });

        assert!(fired.get());
        assert!(now(QEMU_CLOCK_REALTIME) >= expires);
    });
}

#[test]
fn a_pass_in_another_thread_than_the_home_thread_aborts() {
    aborts(
        "a_pass_in_another_thread_than_the_home_thread_aborts",
        "aio_poll must be called in the home thread of the AioContext",
        || {
            Loop::new().poll(false);
        },
    );
}

#[test]
fn a_second_current_context_aborts() {
    aborts(
        "a_second_current_context_aborts",
        "the thread has a current AioContext already",
        || {
            Loop::new().make_current();
            Loop::new().make_current();
        },
    );
}

#[test]
fn a_plain_thread_has_no_current_context() {
    thread::spawn(|| {
        assert!(Loop::current().0.is_null());
        let home = Loop::new();
        home.make_current();
        assert_eq!(Loop::current(), home);
        home.unref();
    })
    .join()
    .expect("the thread ends");
}

#[test]
fn a_reference_keeps_the_context_for_other_threads() {
    on_loop(|home| {
        let runs = AtomicU32::new(0);
        let count = || {
            runs.fetch_add(1, Ordering::Relaxed);
        };
        home.add_ref();
        thread::scope(|scope| {
            scope.spawn(|| {
                home.oneshot(&count);
                home.unref();
            });
            while runs.load(Ordering::Relaxed) == 0 {
                home.poll(true);
            }
        });
    });
}

/// Two loops that ring each other in turn; each sleeps as soon as it can. A lost wake-up hangs.
fn ping_pong(rounds: u32, poll_max_ns: i64) {
    let loops = [Loop::new(), Loop::new()];
    let done = [const { AtomicU32::new(0) }; 2];
    let start = Barrier::new(2);
    thread::scope(|scope| {
        for side in 0..2 {
            let (done, start) = (&done, &start);
            scope.spawn(move || {
                let (mine, other) = (loops[side], loops[1 - side]);
                mine.make_current();
                mine.set_poll_max(poll_max_ns);
                let reply = || {
                    // Relaxed: only the home thread counts.
                    done[1 - side].fetch_add(1, Ordering::Relaxed);
                };
                start.wait();
                for round in 1..=rounds {
                    if side == 0 {
                        other.oneshot(&reply);
                    }
                    while done[side].load(Ordering::Relaxed) < round {
                        mine.poll(true);
                    }
                    if side == 1 {
                        other.oneshot(&reply);
                    }
                }
                start.wait();
            });
        }
    });
    loops.iter().for_each(|side| side.unref());
}

#[test]
fn no_wake_up_is_lost_between_two_loops_that_sleep() {
    ping_pong(5_000, 0);
}

#[test]
fn no_wake_up_is_lost_between_two_loops_that_poll_a_little() {
    ping_pong(20_000, 20_000);
}

#[test]
fn each_schedule_of_many_threads_is_followed_by_a_call_that_starts_after_it() {
    const THREADS: usize = 4;
    const ROUNDS: u32 = 3_000;
    on_loop(|home| {
        let asked = [const { AtomicU32::new(0) }; THREADS];
        let seen = [const { AtomicU32::new(0) }; THREADS];
        let callbacks: Vec<_> = asked
            .iter()
            .zip(&seen)
            .map(|(asked, seen)| {
                // Relaxed on the way in: scheduling orders. Release: pairs with the wait below.
                || seen.store(asked.load(Ordering::Relaxed), Ordering::Release)
            })
            .collect();
        let bhs: Vec<Bh> = callbacks.iter().map(|callback| home.bh(callback)).collect();
        let finished = AtomicU32::new(0);

        thread::scope(|scope| {
            for index in 0..THREADS {
                let (asked, seen, bh) = (&asked[index], &seen[index], bhs[index]);
                let finished = &finished;
                scope.spawn(move || {
                    for round in 1..=ROUNDS {
                        asked.store(round, Ordering::Relaxed);
                        bh.schedule();
                        // Acquire: pairs with the callback.
                        while seen.load(Ordering::Acquire) < round {
                            thread::yield_now();
                        }
                    }
                    finished.fetch_add(1, Ordering::Release);
                    home.notify();
                });
            }
            while finished.load(Ordering::Acquire) < THREADS as u32 {
                home.poll(true);
            }
        });
        bhs.iter().for_each(|bh| bh.delete());
    });
}

#[test]
fn bottom_halves_made_and_deleted_by_many_threads_are_all_freed() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    const THREADS: u32 = 4;
    const ROUNDS: u32 = 2_000;
    on_loop(|home| {
        let left = AtomicU32::new(THREADS);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        let bh = home.bh(&|| {
                            RUNS.fetch_add(1, Ordering::Relaxed);
                        });
                        bh.schedule();
                        bh.delete();
                        home.oneshot(&|| {
                            RUNS.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                    left.fetch_sub(1, Ordering::Release);
                    home.notify();
                });
            }
            while left.load(Ordering::Acquire) != 0 {
                home.poll(true);
            }
        });
        while home.poll(false) {}
    });
    let runs = RUNS.load(Ordering::Relaxed);
    let oneshots = THREADS * ROUNDS;
    assert!((oneshots..=2 * oneshots).contains(&runs), "{runs} runs");
}
