//! Conformance of the event loop: changing registrations while events are delivered.
//!
//! Handlers that are replaced or removed by their own callback, by another's, by a nested pass or by
//! another thread; descriptor numbers that are used again. A callback that was removed must not
//! start, and what it used may be gone.
//!
//! Tests that need a certain descriptor number run in a process of their own.

#[path = "common/aio.rs"]
mod aio;
#[path = "common/process.rs"]
mod process;

use std::cell::{Cell, OnceCell, RefCell};
use std::io::Write;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::thread;

use aio::{Handler, Loop, Notifier, Trace, on_loop};
use process::in_own_process;

#[test]
fn adding_and_removing_an_idle_descriptor_is_no_progress() {
    on_loop(|home| {
        let notifier = Notifier::new();
        let handler = Handler::on_read(|| unreachable!("nobody sets it"));
        home.set_fd(notifier.fd(), &handler);
        assert!(!home.poll(false));
        home.remove_fd(notifier.fd());
        assert!(!home.poll(false));
        home.remove_fd(notifier.fd());
    });
}

#[test]
fn a_callback_that_replaces_its_registration_is_not_called_again() {
    on_loop(|home| {
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
    });
}

#[test]
fn a_callback_may_remove_its_registration_and_free_what_it_uses() {
    on_loop(|home| {
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
    });
}

#[test]
fn of_two_ready_handlers_that_remove_each_other_one_runs() {
    on_loop(|home| {
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
fn a_registration_of_another_thread_is_seen_by_a_loop_that_sleeps() {
    on_loop(|home| {
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
                    left.fetch_sub(1, std::sync::atomic::Ordering::Release);
                });
            }
            while left.load(std::sync::atomic::Ordering::Acquire) != 0 {
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
    // The callback may still be on its way out: a bottom half comes after it.
    let (sender, receiver) = std::sync::mpsc::channel();
    home.send(move || sender.send(()).expect("the thread waits"));
    receiver.recv().expect("the bottom half runs");
}

#[test]
fn a_nested_pass_delivers_the_events_of_the_outer_one_once() {
    on_loop(|home| {
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
    });
}

#[test]
fn a_nested_pass_may_remove_the_handlers_of_the_outer_one() {
    on_loop(|home| {
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
    });
}

#[test]
fn a_handler_may_close_its_descriptor_before_it_removes_it() {
    on_loop(|home| {
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
    });
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
