//! Conformance of the event loop: asking handlers from userspace, and busy polling.
//!
//! `io_poll` and `io_poll_ready`, and what turns busy polling on and off. How long a loop polls is
//! the loop's own business, so no test measures time: they count how often a handler is asked in
//! one sleep.
//!
//! That no wake-up is lost while polling is in `conformance_poll.rs`.

#[path = "common/aio.rs"]
mod aio;

use std::cell::Cell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use aio::{Handler, Loop, Notifier, Trace, now, on_loop, text};
use aio_sys::QEMU_CLOCK_REALTIME;

#[test]
fn a_handler_is_asked_once_its_descriptor_has_been_ready_and_told_so_without_a_read() {
    on_loop(|home| {
        let trace = Trace::default();
        let (notifier, hit) = (Notifier::new(), Cell::new(true));
        let handler = Handler::on_read(|| {
            notifier.clear();
            trace.log("read");
        })
        .and_poll(|| hit.replace(false), || trace.log("ready"));
        home.set_fd(notifier.fd(), &handler);

        assert!(!home.poll(false), "not asked yet");
        notifier.set();
        assert!(home.poll(true));
        assert_eq!(trace.take(), ["read"]);
        assert!(home.poll(true), "a hit is progress");
        assert_eq!(trace.take(), ["ready"]);
        assert!(!home.poll(false));
        home.remove_fd(notifier.fd());
    });
}

#[test]
fn a_handler_with_poll_alone_is_asked_in_a_pass_that_does_not_sleep() {
    on_loop(|home| {
        let (notifier, hit, runs) = (Notifier::new(), Cell::new(false), Cell::new(0));
        let handler =
            Handler::default().and_poll(|| hit.replace(false), || runs.set(runs.get() + 1));
        home.set_fd(notifier.fd(), &handler);
        assert!(!home.poll(false));

        hit.set(true);
        assert!(home.poll(false));
        assert!(!home.poll(false));

        assert_eq!(runs.get(), 1);
        home.remove_fd(notifier.fd());
    });
}

#[test]
fn a_handler_that_polls_idle_is_still_read_when_the_kernel_wakes_the_loop() {
    on_loop(|home| {
        let trace = Trace::default();
        let notifier = Notifier::new();
        let handler = Handler::on_read(|| {
            notifier.clear();
            trace.log("read");
        })
        .and_poll(|| false, || trace.log("ready"));
        home.set_fd(notifier.fd(), &handler);
        assert!(!home.poll(false));

        notifier.set();
        while !home.poll(true) {}

        assert_eq!(trace.take(), ["read"]);
        home.remove_fd(notifier.fd());
    });
}

#[test]
fn a_poll_callback_without_a_ready_callback_is_ignored() {
    on_loop(|home| {
        let notifier = Notifier::new();
        let handler = Handler {
            poll: Some(Box::new(|| unreachable!("there is nothing to call after it"))),
            ..Handler::default()
        };
        home.set_fd(notifier.fd(), &handler);
        assert!(!home.poll(false));
        home.remove_fd(notifier.fd());
    });
}

#[test]
fn a_nested_pass_does_not_enter_the_ready_callback_again() {
    on_loop(|home| {
        let trace = Trace::default();
        let (notifier, deadline) = (Notifier::new(), || trace.log("timer"));
        let timer = home.timer(QEMU_CLOCK_REALTIME, &deadline);
        let handler = Handler::default().and_poll(
            || true,
            || {
                trace.log("<");
                timer.arm(now(QEMU_CLOCK_REALTIME) + 1_000_000);
                while !home.poll(true) {}
                trace.log(">");
            },
        );
        home.set_fd(notifier.fd(), &handler);

        assert!(home.poll(true));
        assert_eq!(trace.take(), ["<", "timer", ">"]);
        assert!(home.poll(false), "afterwards it is asked again");
        assert_eq!(trace.take(), ["<", "timer", ">"]);
        home.remove_fd(notifier.fd());
    });
}

#[test]
fn a_removed_handler_is_not_asked() {
    on_loop(|home| {
        let notifiers = [Notifier::new(), Notifier::new()];
        let runs = Cell::new(0);
        let handlers = [1, 0].map(|other: usize| {
            let (notifiers, runs) = (&notifiers, &runs);
            Handler::default().and_poll(
                || true,
                move || {
                    runs.set(runs.get() + 1);
                    home.remove_fd(notifiers[other].fd());
                },
            )
        });
        for (notifier, handler) in notifiers.iter().zip(&handlers) {
            home.set_fd(notifier.fd(), handler);
        }

        assert!(home.poll(false));
        assert_eq!(runs.get(), 1, "each removes the other");
        notifiers.iter().for_each(|notifier| home.remove_fd(notifier.fd()));
        assert!(!home.poll(false));
    });
}

/// How often a handler is asked in a pass that sleeps until a timer, after its event has come soon
/// after the loop began to wait. With `plain`, there is also a handler that only the kernel can ask.
fn questions_in_one_sleep(home: Loop, plain: bool) -> u32 {
    let (event, other, asked) = (Notifier::new(), Notifier::new(), Cell::new(0));
    let handler = Handler::on_read(|| assert!(event.clear()))
        .and_poll(|| asked.replace(asked.get() + 1) == u32::MAX, || ());
    home.set_fd(event.fd(), &handler);
    let idle = Handler::on_read(|| unreachable!("nobody sets it"));
    if plain {
        home.set_fd(other.fd(), &idle);
    }
    // Longer than any scheduling delay, so that the poll time grows.
    home.set_poll_max(i64::MAX);
    home.poll(false);

    let start = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            event.set();
        });
        start.wait();
        while !home.poll(true) {}
    });
    let wake = || ();
    let timer = home.timer(QEMU_CLOCK_REALTIME, &wake);
    timer.arm(now(QEMU_CLOCK_REALTIME) + 1_000_000);
    home.poll(false);
    asked.set(0);
    while !home.poll(true) {}

    home.remove_fd(event.fd());
    home.remove_fd(other.fd());
    asked.get()
}

#[test]
fn a_loop_that_busy_polls_asks_more_than_once_before_it_sleeps() {
    on_loop(|home| {
        let asked = questions_in_one_sleep(home, false);
        assert!(asked > 1, "asked {asked} times");
    });
}

#[test]
fn a_handler_without_poll_turns_busy_polling_off() {
    on_loop(|home| assert_eq!(questions_in_one_sleep(home, true), 1));
}

#[test]
fn negative_parameters_are_refused_with_an_error() {
    on_loop(|home| {
        let mut error = std::ptr::null_mut();
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
fn parameters_may_be_set_while_the_loop_runs() {
    on_loop(|home| {
        let (runs, done) = (Cell::new(0), AtomicBool::new(false));
        let count = || runs.set(runs.get() + 1);
        let bh = home.bh(&count);
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..1_000 {
                    home.set_poll_max(round % 2 * 50_000);
                    bh.schedule();
                }
                done.store(true, Ordering::Release);
                home.notify();
            });
            while !done.load(Ordering::Acquire) {
                home.poll(true);
            }
        });
        home.poll(false);
        assert!((1..=1_000).contains(&runs.get()));
        bh.delete();
    });
}
