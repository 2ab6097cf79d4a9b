//! Conformance of the event loop: asking handlers from userspace, and busy polling.
//!
//! `io_poll` and `io_poll_ready`, and when handlers are asked. How long a loop polls is the loop's own
//! business, so no case measures time: they count how often a handler is asked in one sleep.
//!
//! That no wake-up is lost while polling is in `poll.rs`.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::Case;
use super::aio::{Handler, Loop, Notifier, Trace, now, warm_up};
use aio_sys::QEMU_CLOCK_REALTIME;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::on_loop(a_handler_is_not_asked_before_its_first_event),
        Case::on_loop(a_loop_that_busy_polls_asks_more_than_once_before_it_sleeps),
        Case::on_loop(a_handler_that_polls_ready_is_told_so_without_a_read),
        Case::on_loop(a_pass_that_does_not_sleep_asks_no_handler),
        Case::on_loop(a_handler_that_was_removed_is_not_told),
        Case::on_loop(a_handler_that_polls_idle_is_still_read_when_the_kernel_wakes_the_loop),
        Case::on_loop(a_poll_callback_without_a_ready_callback_is_ignored),
        Case::on_loop(parameters_may_be_set_while_the_loop_runs),
    ]
}

/// A sleep of a millisecond, in as many passes as it takes.
fn sleep_a_little(home: Loop) {
    let timer = home.timer(QEMU_CLOCK_REALTIME, &|| ());
    timer.arm(now(QEMU_CLOCK_REALTIME) + 1_000_000);
    while timer.is_pending() {
        home.poll(true);
    }
}

fn a_handler_is_not_asked_before_its_first_event(home: Loop) {
    let (event, other, asked) = (Notifier::new(), Notifier::new(), Cell::new(0));
    let handler = Handler::on_read(|| assert!(event.clear()))
        .and_poll(|| asked.replace(asked.get() + 1) == u32::MAX, || ());
    home.set_fd(event.fd(), &handler);
    // Another one's event makes the loop poll.
    let busy = Handler::on_read(|| assert!(other.clear())).and_poll(|| false, || ());
    home.set_fd(other.fd(), &busy);
    warm_up(home, &other);

    sleep_a_little(home);

    assert_eq!(asked.get(), 0);
    home.remove_fd(event.fd());
    home.remove_fd(other.fd());
}

fn a_loop_that_busy_polls_asks_more_than_once_before_it_sleeps(home: Loop) {
    let (event, asked) = (Notifier::new(), Cell::new(0));
    let handler = Handler::on_read(|| assert!(event.clear()))
        .and_poll(|| asked.replace(asked.get() + 1) == u32::MAX, || ());
    home.set_fd(event.fd(), &handler);

    // On a machine that is slow, or busy, the time for it may be over after one.
    let mut sleeps = (0..1000).map(|_| {
        warm_up(home, &event);
        asked.set(0);
        sleep_a_little(home);
        asked.get()
    });

    assert!(sleeps.any(|asked| asked > 1), "asked once at most in 1000 sleeps");
    home.remove_fd(event.fd());
}

fn a_handler_that_polls_ready_is_told_so_without_a_read(home: Loop) {
    let trace = Trace::default();
    let (event, hit) = (Notifier::new(), Cell::new(false));
    let handler = Handler::on_read(|| {
        event.clear();
        trace.log("read");
    })
    .and_poll(|| hit.replace(false), || trace.log("ready"));
    home.set_fd(event.fd(), &handler);
    warm_up(home, &event);
    assert_eq!(trace.take(), ["read"]);

    hit.set(true);
    while !home.poll(true) {}

    assert_eq!(trace.take(), ["ready"]);
    assert!(!home.poll(false));
    home.remove_fd(event.fd());
}

fn a_pass_that_does_not_sleep_asks_no_handler(home: Loop) {
    let (event, asked) = (Notifier::new(), Cell::new(0));
    let handler = Handler::on_read(|| assert!(event.clear()))
        .and_poll(|| asked.replace(asked.get() + 1) == u32::MAX, || ());
    home.set_fd(event.fd(), &handler);
    warm_up(home, &event);

    asked.set(0);
    for _ in 0..10 {
        home.poll(false);
    }

    assert_eq!(asked.get(), 0);
    home.remove_fd(event.fd());
}

fn a_handler_that_was_removed_is_not_told(home: Loop) {
    let events = [Notifier::new(), Notifier::new()];
    let (hit, runs) = (Cell::new(false), Cell::new(0));
    let handlers = [0, 1].map(|own: usize| {
        let (events, hit, runs) = (&events, &hit, &runs);
        let told = move || {
            runs.set(runs.get() + 1);
            home.remove_fd(events[1 - own].fd());
        };
        Handler::on_read(move || assert!(events[own].clear())).and_poll(|| hit.get(), told)
    });
    for (event, handler) in events.iter().zip(&handlers) {
        home.set_fd(event.fd(), handler);
        warm_up(home, event);
    }

    hit.set(true);
    while !home.poll(true) {}

    assert_eq!(runs.get(), 1, "each removes the other");
    events.iter().for_each(|event| home.remove_fd(event.fd()));
    assert!(!home.poll(false));
}

fn a_handler_that_polls_idle_is_still_read_when_the_kernel_wakes_the_loop(home: Loop) {
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
}

fn a_poll_callback_without_a_ready_callback_is_ignored(home: Loop) {
    let notifier = Notifier::new();
    let handler = Handler {
        poll: Some(Box::new(|| unreachable!("there is nothing to call after it"))),
        ..Handler::default()
    };
    home.set_fd(notifier.fd(), &handler);
    assert!(!home.poll(false));
    home.remove_fd(notifier.fd());
}

fn parameters_may_be_set_while_the_loop_runs(home: Loop) {
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
}
