//! Conformance of the emulated event loop: what needs a process of its own, or is the emulation's alone.
//!
//! The guest's clock is global, and so are descriptor numbers. The main loop has `conformance_main_loop.rs`.

#[path = "conformance/aio.rs"]
mod aio;
#[path = "common/process.rs"]
mod process;

use std::cell::{Cell, OnceCell, RefCell};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aio::{Handler, Io, Loop, Notifier, Trace, now, on_loop, text, warm_up, with_bql};
use aio_sys::{
    IOThread, QEMU_CLOCK_REALTIME, QEMU_CLOCK_VIRTUAL, QEMU_CLOCK_VIRTUAL_RT, QEMUClockType,
};
use process::in_own_process;

const MS: i64 = 1_000_000;

fn enable(clock: QEMUClockType, enabled: bool) {
    // SAFETY: the tests rely on no clock standing still.
    unsafe { aio_sys::qemu_clock_enable(clock, enabled) };
}

fn by_id(id: &std::ffi::CStr) -> *mut IOThread {
    // SAFETY: `id` is a string.
    unsafe { aio_sys::iothread_by_id(id.as_ptr()) }
}

#[test]
fn negative_parameters_are_refused_with_an_error() {
    on_loop(|home| {
        let mut error = ptr::null_mut();
        // SAFETY: the loop is alive, and `error` is null.
        unsafe { aio_sys::aio_context_set_poll_params(home.0, -1, 0, 0, &raw mut error) };
        assert!(!error.is_null());
        // SAFETY: it was just returned.
        let message = text(unsafe { aio_sys::error_get_pretty(error) });
        // SAFETY: as above.
        unsafe { aio_sys::error_free(error) };
        assert_eq!(message, "busy-polling parameters cannot be negative");
    });
}

#[test]
fn a_notification_between_the_last_look_and_the_sleep_is_not_lost() {
    on_loop(|home| {
        let (trace, notifier, armed) = (Trace::default(), Notifier::new(), Cell::new(false));
        let run = || trace.log("bottom half");
        let bh = home.bh(&run);
        // The last look: the time to poll is over when it returns.
        let ask = || {
            if armed.take() {
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_millis(5) {}
                bh.schedule();
            }
            false
        };
        let handler = Handler::on_read(|| assert!(notifier.clear()))
            .and_poll(ask, || unreachable!("it is never ready"));
        home.set_fd(notifier.fd(), &handler);
        warm_up(home, &notifier);
        let fire = || trace.log("slept until the timer");
        let timer = home.timer(QEMU_CLOCK_REALTIME, &fire);
        timer.arm(now(QEMU_CLOCK_REALTIME) + 2_000_000_000);
        while home.poll(false) {}

        armed.set(true);
        assert!(home.poll(true));

        assert_eq!(trace.take(), ["bottom half"]);
        home.remove_fd(notifier.fd());
        bh.delete();
    });
}

#[test]
fn an_event_of_a_removed_descriptor_does_not_reach_a_new_one_of_the_same_number() {
    // Alone, so that nobody else takes the number.
    in_own_process(
        "an_event_of_a_removed_descriptor_does_not_reach_a_new_one_of_the_same_number",
        || on_loop(reopen_during_a_pass),
    );
}

fn reopen_during_a_pass(home: Loop) {
    let first = Notifier::with_state(true);
    let second = RefCell::new(Some(Notifier::with_state(true)));
    let number = second.borrow().as_ref().expect("it is open").fd();
    let reopened = OnceCell::new();
    let fresh = Handler::on_read(|| unreachable!("the new descriptor was never set"));
    let reopen = || {
        home.remove_fd(number);
        second.take();
        let idle = reopened.get_or_init(Notifier::new);
        assert_eq!(idle.fd(), number, "the kernel gives the lowest free number");
        home.set_fd(number, &fresh);
    };
    let runs = Cell::new(0);
    let stale = Handler::on_read(|| runs.set(runs.get() + 1));
    let swap = Handler::on_read(|| {
        first.clear();
        reopen();
    });

    // Whichever order the two are reported in, the second may only run before the swap.
    home.set_fd(first.fd(), &swap);
    home.set_fd(number, &stale);
    assert!(home.poll(true));
    assert!(!home.poll(false));

    assert!(runs.get() <= 1);
    home.remove_fd(number);
    home.remove_fd(first.fd());
}

#[test]
fn an_event_of_a_closed_descriptor_does_not_reach_a_new_one_of_the_same_number() {
    in_own_process(
        "an_event_of_a_closed_descriptor_does_not_reach_a_new_one_of_the_same_number",
        || on_loop(reopen_after_a_close),
    );
}

/// The kernel goes on watching a descriptor that was closed before its removal, if it has a duplicate.
fn reopen_after_a_close(home: Loop) {
    let (here, mut there) = UnixStream::pair().expect("a socket pair");
    let duplicate = here.try_clone().expect("a duplicate");
    let number = here.as_raw_fd();
    let old = Handler::on_read(|| unreachable!("it was removed"));
    home.set_fd(number, &old);
    drop(here);
    home.remove_fd(number);
    let idle = Notifier::new();
    assert_eq!(idle.fd(), number, "the kernel gives the lowest free number");
    let fresh = Handler::on_read(|| unreachable!("it was never set"));
    home.set_fd(number, &fresh);

    there.write_all(b"x").expect("there is room");
    assert!(!home.poll(false));

    home.remove_fd(number);
    drop(duplicate);
}

#[test]
fn an_iothread_is_found_by_its_id_until_it_is_destroyed() {
    assert!(by_id(c"found").is_null());
    let io = Io::new("found");
    assert!(ptr::eq(by_id(c"found"), io.0));

    // SAFETY: it is alive.
    let id = unsafe { aio_sys::iothread_get_id(io.0) };
    assert_eq!(text(id), "found");
    // SAFETY: the id is a copy.
    unsafe { aio_sys::g_free(id.cast()) };

    drop(io);
    assert!(by_id(c"found").is_null());
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

/// Of the emulation alone: QEMU names its threads if it is told to.
#[test]
fn the_thread_of_an_iothread_has_its_name() {
    let io = Io::new("worker");
    let (sender, receiver) = std::sync::mpsc::channel();
    io.context().send(move || {
        let name = thread::current().name().map(String::from);
        sender.send(name).expect("the test waits");
    });
    let name = receiver.recv().expect("the iothread answers");
    assert_eq!(name.as_deref(), Some("IO worker"));
}

#[test]
fn a_second_iothread_of_the_same_id_is_an_error() {
    let _io = Io::new("twin");
    let mut error = ptr::null_mut();
    let create = |errp| {
        // SAFETY: the id is a string, and `errp` null or where a null pointer is.
        with_bql(|| unsafe { aio_sys::iothread_create(c"twin".as_ptr(), errp) })
    };
    assert!(create(&raw mut error).is_null());
    // SAFETY: it was just returned.
    let message = text(unsafe { aio_sys::error_get_pretty(error) });
    // SAFETY: as above.
    unsafe { aio_sys::error_free(error) };
    assert_eq!(message, "cannot create iothread `twin`: the id is in use");
    // A null pointer means that the caller does not care.
    assert!(create(ptr::null_mut()).is_null());
}

#[test]
fn a_nested_pass_does_not_enter_the_ready_callback_again() {
    on_loop(|home| {
        let trace = Trace::default();
        let (event, hit) = (Notifier::new(), Cell::new(false));
        let timer = home.timer(QEMU_CLOCK_REALTIME, &|| ());
        let handler = Handler::on_read(|| assert!(event.clear())).and_poll(
            || hit.get(),
            || {
                trace.log("<");
                timer.arm(now(QEMU_CLOCK_REALTIME) + MS);
                while timer.is_pending() {
                    home.poll(true);
                }
                trace.log(">");
            },
        );
        home.set_fd(event.fd(), &handler);
        warm_up(home, &event);

        hit.set(true);
        for _ in 0..2 {
            while !home.poll(true) {}
            assert_eq!(trace.take(), ["<", ">"], "afterwards it is asked again");
        }
        home.remove_fd(event.fd());
    });
}

#[test]
fn a_handler_without_poll_turns_busy_polling_off() {
    on_loop(|home| {
        let (event, other, asked) = (Notifier::new(), Notifier::new(), Cell::new(0));
        let handler = Handler::on_read(|| assert!(event.clear()))
            .and_poll(|| asked.replace(asked.get() + 1) == u32::MAX, || ());
        home.set_fd(event.fd(), &handler);
        warm_up(home, &event);
        let idle = Handler::on_read(|| unreachable!("nobody sets it"));
        home.set_fd(other.fd(), &idle);

        let timer = home.timer(QEMU_CLOCK_REALTIME, &|| ());
        timer.arm(now(QEMU_CLOCK_REALTIME) + MS);
        asked.set(0);
        while timer.is_pending() {
            home.poll(true);
        }

        assert_eq!(asked.get(), 0);
        home.remove_fd(event.fd());
        home.remove_fd(other.fd());
    });
}

#[test]
fn handlers_that_other_threads_register_and_remove_run_only_in_between() {
    const THREADS: usize = 3;
    const ROUNDS: usize = 300;
    on_loop(|home| {
        let busy = Notifier::with_state(true);
        let always = Handler::on_read(|| ());
        home.set_fd(busy.fd(), &always);
        let left = std::sync::atomic::AtomicUsize::new(THREADS);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        register_and_remove(home);
                    }
                    left.fetch_sub(1, Ordering::Release);
                });
            }
            while left.load(Ordering::Acquire) != 0 {
                home.poll(true);
            }
        });
        home.remove_fd(busy.fd());
    });
}

/// Registers a ready descriptor, lets it run, and removes it in the loop's own thread.
fn register_and_remove(home: Loop) {
    let notifier = Notifier::with_state(true);
    let (sender, receiver) = std::sync::mpsc::channel();
    let handler = Handler::on_read(|| {
        notifier.clear();
        home.remove_fd(notifier.fd());
        sender.send(()).expect("the thread waits");
    });
    home.set_fd(notifier.fd(), &handler);
    let replacement = Handler::on_read(|| {
        notifier.clear();
        home.remove_fd(notifier.fd());
        sender.send(()).expect("the thread waits");
    });
    home.set_fd(notifier.fd(), &replacement);
    receiver.recv().expect("one of the two runs");
    // The callback may still be on its way out, and if it was the first one, the replacement is registered: a
    // bottom half comes after the one and removes the other.
    let (sender, receiver) = std::sync::mpsc::channel();
    let fd = notifier.fd();
    home.send(move || {
        home.remove_fd(fd);
        sender.send(()).expect("the thread waits");
    });
    receiver.recv().expect("the bottom half runs");
}
