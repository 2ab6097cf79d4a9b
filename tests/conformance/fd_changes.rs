//! Conformance of the event loop: changing registrations while events are delivered.
//!
//! Handlers that are replaced or removed by their own callback, by another's, by a nested pass or by
//! another thread; descriptor numbers that are used again. A callback that was removed must not
//! start, and what it used may be gone.
//!
//! Tests that need a certain descriptor number run in a process of their own.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::thread;

use super::Case;
use super::aio::{Handler, Loop, Notifier, Trace};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::on_loop(adding_and_removing_an_idle_descriptor_is_no_progress),
        Case::on_loop(a_callback_that_replaces_its_registration_is_not_called_again),
        Case::on_loop(a_callback_may_remove_its_registration_and_free_what_it_uses),
        Case::on_loop(of_two_ready_handlers_that_remove_each_other_one_runs),
        Case::on_loop(a_registration_of_another_thread_is_seen_by_a_loop_that_sleeps),
        Case::on_loop(a_nested_pass_delivers_the_events_of_the_outer_one_once),
        Case::on_loop(a_nested_pass_may_remove_the_handlers_of_the_outer_one),
        Case::on_loop(a_handler_may_close_its_descriptor_before_it_removes_it),
    ]
}

fn adding_and_removing_an_idle_descriptor_is_no_progress(home: Loop) {
    let notifier = Notifier::new();
    let handler = Handler::on_read(|| unreachable!("nobody sets it"));
    home.set_fd(notifier.fd(), &handler);
    assert!(!home.poll(false));
    home.remove_fd(notifier.fd());
    assert!(!home.poll(false));
    home.remove_fd(notifier.fd());
}

fn a_callback_that_replaces_its_registration_is_not_called_again(home: Loop) {
    let (mut here, there) = UnixStream::pair().expect("a socket pair");
    here.write_all(b"x").expect("there is room");
    let fd = there.as_raw_fd();
    let trace = Trace::default();
    let new = Handler::on_read(|| trace.log("new read"));
    let old = Handler::on_read(|| {
        trace.log("old read");
        home.set_fd(fd, &new);
    })
    .and_write(|| trace.log("old write"));

    home.set_fd(fd, &old);
    assert!(home.poll(true));
    assert_eq!(trace.take(), ["old read"]);
    assert!(home.poll(true));
    assert_eq!(trace.take(), ["new read"]);
    home.remove_fd(fd);
}

fn a_callback_may_remove_its_registration_and_free_what_it_uses(home: Loop) {
    let (mut here, there) = UnixStream::pair().expect("a socket pair");
    here.write_all(b"x").expect("there is room");
    let fd = there.as_raw_fd();
    let trace = Trace::default();
    let owned = RefCell::new(None);
    let handler = Handler::on_read(|| {
        home.remove_fd(fd);
        trace.log("read");
    })
    .and_write(|| {
        // The callback that runs is not part of what it frees.
        trace.log("write");
    });
    owned.replace(Some(Box::new(handler)));
    home.set_fd(fd, owned.borrow().as_ref().expect("it was made"));

    assert!(home.poll(true));
    owned.take();
    assert!(!home.poll(false));

    assert_eq!(trace.take(), ["read"]);
}

fn of_two_ready_handlers_that_remove_each_other_one_runs(home: Loop) {
    let notifiers = [Notifier::with_state(true), Notifier::with_state(true)];
    let runs = Cell::new(0);
    let handlers = [1, 0].map(|other: usize| {
        let (notifiers, runs) = (&notifiers, &runs);
        Handler::on_read(move || {
            runs.set(runs.get() + 1);
            home.remove_fd(notifiers[other].fd());
        })
    });
    for (notifier, handler) in notifiers.iter().zip(&handlers) {
        home.set_fd(notifier.fd(), handler);
    }

    assert!(home.poll(true));

    assert_eq!(runs.get(), 1);
    notifiers.iter().for_each(|notifier| home.remove_fd(notifier.fd()));
}

fn a_registration_of_another_thread_is_seen_by_a_loop_that_sleeps(home: Loop) {
    let notifier = Notifier::with_state(true);
    let fd = notifier.fd();
    let seen = std::sync::atomic::AtomicBool::new(false);
    let handler = Handler::on_read(|| {
        notifier.clear();
        seen.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let handler = Shared(&handler);
    thread::scope(|scope| {
        scope.spawn(|| home.set_fd(fd, handler.get()));
        while !seen.load(std::sync::atomic::Ordering::Relaxed) {
            home.poll(true);
        }
    });
    home.remove_fd(fd);
}

fn a_nested_pass_delivers_the_events_of_the_outer_one_once(home: Loop) {
    let trace = Trace::default();
    let notifiers = [Notifier::with_state(true), Notifier::with_state(true)];
    let handlers = [0, 1].map(|index: usize| {
        let (notifiers, trace) = (&notifiers, &trace);
        Handler::on_read(move || {
            notifiers[index].clear();
            trace.log("<");
            home.poll(false);
            trace.log(">");
        })
    });
    for (notifier, handler) in notifiers.iter().zip(&handlers) {
        home.set_fd(notifier.fd(), handler);
    }

    assert!(home.poll(true));

    assert_eq!(trace.take(), ["<", "<", ">", ">"]);
    notifiers.iter().for_each(|notifier| home.remove_fd(notifier.fd()));
}

fn a_nested_pass_may_remove_the_handlers_of_the_outer_one(home: Loop) {
    let notifiers: Vec<Notifier> = (0..8).map(|_| Notifier::with_state(true)).collect();
    let runs = Cell::new(0);
    let fds: Vec<_> = notifiers.iter().map(Notifier::fd).collect();
    let remove_all = || fds.iter().for_each(|&fd| home.remove_fd(fd));
    let handler = Handler::on_read(|| {
        runs.set(runs.get() + 1);
        home.oneshot(&remove_all);
        home.poll(false);
    });
    fds.iter().for_each(|&fd| home.set_fd(fd, &handler));

    assert!(home.poll(true));

    assert_eq!(runs.get(), 1);
    assert!(!home.poll(false));
}

fn a_handler_may_close_its_descriptor_before_it_removes_it(home: Loop) {
    let (here, there) = UnixStream::pair().expect("a socket pair");
    let fd = there.into_raw_fd();
    let handler = Handler::on_read(|| {
        nix::unistd::close(fd).expect("it is open");
        home.remove_fd(fd);
    });
    home.set_fd(fd, &handler);

    drop(here);
    assert!(home.poll(true));
    assert!(!home.poll(false));
}

/// Lends a handler to another thread, which registers it and calls nothing.
struct Shared<'a>(&'a Handler<'a>);

// SAFETY: only its address is used there.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    fn get(&self) -> &'a Handler<'a> {
        self.0
    }
}
