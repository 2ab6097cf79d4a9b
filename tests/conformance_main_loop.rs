//! Conformance of the event loop: the main loop and its two contexts.
//!
//! What a turn runs, how long it sleeps and what ends the sleep, which context nested loops run, and
//! when the BQL is free. The main loop exists once, so each test is a process of its own.
//!
//! Waiting for conditions (`AIO_WAIT_WHILE`) is here too: it belongs to the main loop.

#[path = "common/aio.rs"]
mod aio;
#[path = "common/process.rs"]
mod process;

use std::cell::{Cell, OnceCell};
use std::ffi::c_void;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use aio::{
    Bh, Handler, Io, Loop, Notifier, Timer, Trace, become_main_loop, lock_bql, now, turn,
    unlock_bql,
};
use aio_sys::QEMU_CLOCK_REALTIME;
use process::{aborts, in_own_process};

/// Runs a scenario in the main loop of a process of its own.
fn in_main_loop(name: &str, scenario: impl FnOnce()) {
    in_own_process(name, || {
        become_main_loop();
        scenario();
    });
}

#[test]
fn before_the_main_loop_starts_there_is_no_main_context() {
    in_own_process("before_the_main_loop_starts_there_is_no_main_context", || {
        assert!(Loop::main().0.is_null());
        aio_sys::qemu_notify_event();
        aio_sys::aio_wait_kick();
        lock_bql();
        assert!(Loop::current().0.is_null());
    });
}

#[test]
fn the_current_context_of_the_main_loop_is_the_main_context() {
    in_main_loop("the_current_context_of_the_main_loop_is_the_main_context", || {
        assert!(!Loop::main().0.is_null());
        assert_ne!(Loop::main(), Loop::iohandler());
        assert_eq!(Loop::current(), Loop::main());
        assert!(!aio_sys::qemu_in_iothread());
        assert!(aio_sys::qemu_in_main_thread());
        let elsewhere = thread::spawn(|| Loop::current().0.is_null());
        assert!(elsewhere.join().expect("it returns"), "without the BQL a thread has none");
        let iohandler_sees = Cell::new(None);
        let look = || iohandler_sees.set(Some(Loop::current()));
        Loop::iohandler().oneshot(&look);
        turn(true);
        assert_eq!(iohandler_sees.get(), Some(Loop::main()), "never the iohandler context");
    });
}

#[test]
fn a_turn_runs_both_contexts_and_then_the_timers_of_the_main_loop() {
    in_main_loop("a_turn_runs_both_contexts_and_then_the_timers_of_the_main_loop", || {
        let trace = Trace::default();
        let (first, second, third) =
            (|| trace.log("main"), || trace.log("iohandler"), || trace.log("timer"));
        let timer = Timer::new(ptr::null_mut(), QEMU_CLOCK_REALTIME, &third);

        timer.arm(0);
        Loop::iohandler().oneshot(&second);
        Loop::main().oneshot(&first);
        turn(true);

        assert_eq!(trace.take(), ["main", "iohandler", "timer"]);
    });
}

#[test]
fn a_nested_loop_runs_neither_the_iohandler_context_nor_the_timers_of_the_main_loop() {
    in_main_loop(
        "a_nested_loop_runs_neither_the_iohandler_context_nor_the_timers_of_the_main_loop",
        || {
            let trace = Trace::default();
            let notifier = Notifier::with_state(true);
            let handler = Handler::on_read(|| {
                notifier.clear();
                trace.log("iohandler fd");
            });
            Loop::iohandler().set_fd(notifier.fd(), &handler);
            let (bh, fire) = (|| trace.log("iohandler bh"), || trace.log("timer"));
            let timer = Timer::new(ptr::null_mut(), QEMU_CLOCK_REALTIME, &fire);
            timer.arm(0);
            Loop::iohandler().oneshot(&bh);
            let nested = || {
                trace.log("<");
                for _ in 0..10 {
                    Loop::main().poll(false);
                }
                trace.log(">");
            };

            Loop::main().oneshot(&nested);
            turn(true);

            assert_eq!(trace.take(), ["<", ">", "iohandler bh", "iohandler fd", "timer"]);
            Loop::iohandler().remove_fd(notifier.fd());
        },
    );
}

#[test]
fn the_main_loop_may_run_the_iohandler_context_alone() {
    in_main_loop("the_main_loop_may_run_the_iohandler_context_alone", || {
        let trace = Trace::default();
        let (main, iohandler) = (|| trace.log("main"), || trace.log("iohandler"));
        Loop::main().oneshot(&main);
        Loop::iohandler().oneshot(&iohandler);

        assert!(Loop::iohandler().poll(true));
        assert_eq!(trace.take(), ["iohandler"]);
        turn(true);
        assert_eq!(trace.take(), ["main"]);
    });
}

#[test]
fn a_nonblocking_turn_does_not_sleep() {
    in_main_loop("a_nonblocking_turn_does_not_sleep", || {
        for _ in 0..3 {
            turn(false);
        }
    });
}

#[test]
fn a_turn_sleeps_until_the_first_timer_of_anybody() {
    in_main_loop("a_turn_sleeps_until_the_first_timer_of_anybody", || {
        let fired = Cell::new(0);
        let count = || fired.set(fired.get() + 1);
        let groups = [
            ptr::null_mut(),
            // SAFETY: the contexts live for ever.
            unsafe { aio_sys::aio_context_timer_group(Loop::main().0) },
            // SAFETY: as above.
            unsafe { aio_sys::aio_context_timer_group(Loop::iohandler().0) },
        ];
        for group in groups {
            let timer = Timer::new(group, QEMU_CLOCK_REALTIME, &count);
            let expires = now(QEMU_CLOCK_REALTIME) + 2_000_000;
            timer.arm(expires);
            while timer.is_pending() {
                turn(true);
            }
            assert!(now(QEMU_CLOCK_REALTIME) >= expires);
        }
        assert_eq!(fired.get(), 3);
    });
}

#[test]
fn other_threads_wake_the_main_loop_in_every_way() {
    in_main_loop("other_threads_wake_the_main_loop_in_every_way", || {
        let woken = AtomicBool::new(false);
        let wake = || woken.store(true, Ordering::Relaxed);
        let notifiers = [Notifier::new(), Notifier::new()];
        let handlers = notifiers.each_ref().map(|notifier| {
            Handler::on_read(|| {
                notifier.clear();
                wake();
            })
        });
        Loop::main().set_fd(notifiers[0].fd(), &handlers[0]);
        Loop::iohandler().set_fd(notifiers[1].fd(), &handlers[1]);
        let timer = Timer::new(ptr::null_mut(), QEMU_CLOCK_REALTIME, &wake);

        let ways: [&(dyn Fn() + Sync); 5] = [
            &|| Loop::main().oneshot(&wake),
            &|| Loop::iohandler().oneshot(&wake),
            &|| timer.arm(0),
            &|| notifiers[0].set(),
            &|| notifiers[1].set(),
        ];
        for way in ways {
            for _ in 0..200 {
                woken.store(false, Ordering::Relaxed);
                thread::scope(|scope| {
                    scope.spawn(way);
                    while !woken.load(Ordering::Relaxed) {
                        turn(true);
                    }
                });
            }
        }
        notifiers.iter().zip([Loop::main(), Loop::iohandler()]).for_each(|(notifier, context)| {
            context.remove_fd(notifier.fd());
        });
    });
}

#[test]
fn a_notification_ends_the_sleep_of_the_main_loop() {
    in_main_loop("a_notification_ends_the_sleep_of_the_main_loop", || {
        for _ in 0..200 {
            thread::scope(|scope| {
                scope.spawn(|| aio_sys::qemu_notify_event());
                turn(true);
            });
            turn(false);
        }
    });
}

#[test]
fn a_turn_releases_the_bql_while_it_sleeps_and_callbacks_hold_it() {
    in_main_loop("a_turn_releases_the_bql_while_it_sleeps_and_callbacks_hold_it", || {
        let held = AtomicBool::new(false);
        let look = || held.store(aio_sys::bql_locked(), Ordering::Relaxed);
        thread::scope(|scope| {
            scope.spawn(|| {
                // Only the sleep of the main loop lets this thread in.
                lock_bql();
                Loop::iohandler().oneshot(&look);
                unlock_bql();
            });
            while !held.load(Ordering::Relaxed) {
                turn(true);
            }
        });
        assert!(aio_sys::bql_locked());
    });
}

#[test]
fn any_thread_with_the_bql_may_run_the_main_context() {
    in_main_loop("any_thread_with_the_bql_may_run_the_main_context", || {
        let ran_on = Cell::new(None);
        let look = || ran_on.set(Some(thread::current().id()));
        let ran_on_worker = AtomicBool::new(false);
        let finished = AtomicBool::new(false);
        Loop::main().oneshot(&look);
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!(Loop::current().0.is_null());
                lock_bql();
                assert_eq!(Loop::current(), Loop::main());
                let here = || {
                    ran_on_worker.store(aio_sys::qemu_in_main_thread(), Ordering::Relaxed);
                };
                Loop::main().oneshot(&here);
                while !ran_on_worker.load(Ordering::Relaxed) {
                    Loop::main().poll(true);
                }
                finished.store(true, Ordering::Release);
                aio_sys::qemu_notify_event();
                unlock_bql();
            });
            while !finished.load(Ordering::Acquire) {
                turn(true);
            }
        });
        assert!(ran_on.get().is_some());
    });
}

#[test]
fn an_idle_bottom_half_of_the_main_loop_runs_every_ten_milliseconds() {
    in_main_loop("an_idle_bottom_half_of_the_main_loop_runs_every_ten_milliseconds", || {
        let runs = Cell::new(0);
        let itself = OnceCell::<Bh>::new();
        let again = || {
            runs.set(runs.get() + 1);
            itself.get().expect("it was made").schedule_idle();
        };
        let bh = itself.get_or_init(|| Loop::main().bh(&again));
        let ends = now(QEMU_CLOCK_REALTIME) + 55_000_000;
        let stop = Timer::new(ptr::null_mut(), QEMU_CLOCK_REALTIME, &|| ());
        stop.arm(ends);
        bh.schedule_idle();

        while stop.is_pending() {
            turn(true);
        }

        assert!((1..=7).contains(&runs.get()), "{} runs in 55 ms", runs.get());
        bh.delete();
        turn(false);
    });
}

#[test]
fn a_turn_of_a_plain_fd_handler_belongs_to_the_iohandler_context() {
    in_main_loop("a_turn_of_a_plain_fd_handler_belongs_to_the_iohandler_context", || {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        /// # Safety
        ///
        /// None: the type is that of a callback.
        unsafe extern "C" fn count(fd: *mut c_void) {
            RUNS.fetch_add(1, Ordering::Relaxed);
            set_plain_handler(fd as usize as RawFd, None);
        }
        let notifier = Notifier::with_state(true);
        set_plain_handler(notifier.fd(), Some(count));

        assert!(!Loop::main().poll(false));
        assert_eq!(RUNS.load(Ordering::Relaxed), 0);
        turn(true);
        assert_eq!(RUNS.load(Ordering::Relaxed), 1);
        turn(false);
        assert_eq!(RUNS.load(Ordering::Relaxed), 1);
    });
}

fn set_plain_handler(fd: RawFd, read: Option<unsafe extern "C" fn(*mut c_void)>) {
    // SAFETY: the callback expects the descriptor.
    unsafe { aio_sys::qemu_set_fd_handler(fd, read, None, fd as usize as *mut c_void) };
}

#[test]
fn the_main_loop_may_wait_for_a_bottom_half_of_an_iothread() {
    in_main_loop("the_main_loop_may_wait_for_a_bottom_half_of_an_iothread", || {
        let io = Io::new("io");
        let context = io.context();
        for expected in 1..=500 {
            let runs = AtomicU32::new(expected - 1);
            context.run_and_wait(&|| {
                assert_eq!(Loop::current(), context);
                runs.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(runs.load(Ordering::Relaxed), expected);
        }
        drop(io);
        turn(false);
    });
}

#[test]
fn a_kick_makes_a_waiter_look_again() {
    in_main_loop("a_kick_makes_a_waiter_look_again", || {
        for _ in 0..500 {
            let condition = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    condition.store(true, Ordering::Relaxed);
                    aio_sys::aio_wait_kick();
                });
                aio_sys::aio_wait_begin();
                while !condition.load(Ordering::Relaxed) {
                    Loop::main().poll(true);
                }
                aio_sys::aio_wait_end();
            });
        }
        turn(false);
    });
}

#[test]
fn to_wait_for_an_iothread_outside_the_main_loop_aborts() {
    aborts(
        "to_wait_for_an_iothread_outside_the_main_loop_aborts",
        "aio_wait_bh_oneshot must be called in the main loop",
        || {
            become_main_loop();
            let io = Io::new("io");
            let other = Io::new("other").context();
            let (sender, receiver) = std::sync::mpsc::channel::<()>();
            io.context().send(move || {
                other.run_and_wait(&|| ());
                sender.send(()).expect("the test waits");
            });
            let _ = receiver.recv();
        },
    );
}

#[test]
fn a_second_main_loop_aborts() {
    aborts("a_second_main_loop_aborts", "qemu_init_main_loop was called twice", || {
        become_main_loop();
        unlock_bql();
        become_main_loop();
    });
}

#[test]
fn a_turn_in_another_thread_aborts() {
    aborts(
        "a_turn_in_another_thread_aborts",
        "main_loop_wait must be called by the thread that called qemu_init_main_loop",
        || {
            become_main_loop();
            unlock_bql();
            let other = thread::spawn(|| {
                lock_bql();
                turn(false);
            });
            let _ = other.join();
        },
    );
}

#[test]
fn a_turn_without_the_bql_aborts() {
    aborts(
        "a_turn_without_the_bql_aborts",
        "main_loop_wait: the thread does not hold the BQL",
        || {
            become_main_loop();
            unlock_bql();
            turn(false);
        },
    );
}
