//! Conformance of the event loop: file descriptors and event notifiers.
//!
//! Which events call what, level-triggered, for sockets, pipes, regular files, nested epoll instances
//! and thousands of idle descriptors. Changing registrations during a pass or from other threads is
//! in `conformance_fd_changes.rs`.
//!
//! Each test runs in a thread with a loop of its own.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread;

use super::Case;
use super::aio::{Handler, Loop, Notifier, Trace, on_loop};
use aio_sys::EventNotifier;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::on_loop(a_readable_descriptor_is_reported_until_it_is_drained),
        Case::on_loop(one_event_calls_read_then_write),
        Case::on_loop(a_hang_up_calls_read),
        Case::on_loop(an_error_calls_write),
        Case::on_loop(a_handler_that_sets_its_own_notifier_runs_once_per_pass),
        Case::plain(one_of_thousands_of_idle_descriptors_is_found),
        Case::on_loop(a_regular_file_is_always_ready),
        Case::on_loop(a_nested_epoll_instance_is_level_triggered),
        Case::plain(an_event_notifier_is_set_and_cleared_from_any_thread),
        Case::plain(a_closed_event_notifier_answers_quietly),
        Case::plain(the_handler_of_an_event_notifier_receives_the_notifier),
    ]
}

fn a_readable_descriptor_is_reported_until_it_is_drained(home: Loop) {
    let (mut here, there) = UnixStream::pair().expect("a socket pair");
    let reads = Cell::new(0);
    let handler = Handler::on_read(|| reads.set(reads.get() + 1));
    home.set_fd(there.as_raw_fd(), &handler);
    assert!(!home.poll(false));

    here.write_all(b"x").expect("there is room");
    assert!(home.poll(true));
    assert!(home.poll(true));
    assert_eq!(reads.get(), 2, "level-triggered");

    (&there).read_exact(&mut [0]).expect("a byte is there");
    assert!(!home.poll(false));
    home.remove_fd(there.as_raw_fd());
}

fn one_event_calls_read_then_write(home: Loop) {
    let (mut here, there) = UnixStream::pair().expect("a socket pair");
    here.write_all(b"x").expect("there is room");
    let trace = Trace::default();
    let handler = Handler::on_read(|| trace.log("read")).and_write(|| trace.log("write"));

    home.set_fd(there.as_raw_fd(), &handler);
    assert!(home.poll(true));

    assert_eq!(trace.take(), ["read", "write"]);
    home.remove_fd(there.as_raw_fd());
}

fn pipe() -> (File, File) {
    let (reader, writer) = nix::unistd::pipe().expect("a pipe");
    (reader.into(), writer.into())
}

fn a_hang_up_calls_read(home: Loop) {
    let (reader, writer) = pipe();
    let trace = Trace::default();
    let handler = Handler::on_read(|| trace.log("read"));
    home.set_fd(reader.as_raw_fd(), &handler);
    assert!(!home.poll(false));

    drop(writer);
    assert!(home.poll(true));

    assert_eq!(trace.take(), ["read"]);
    home.remove_fd(reader.as_raw_fd());
}

fn an_error_calls_write(home: Loop) {
    let (reader, mut writer) = pipe();
    let full = [0; 65_536];
    writer.write_all(&full).expect("the pipe has room for its size");
    let trace = Trace::default();
    let handler = Handler::on_write(|| trace.log("write"));
    home.set_fd(writer.as_raw_fd(), &handler);
    assert!(!home.poll(false), "a full pipe is not writable");

    drop(reader);
    assert!(home.poll(true));

    assert_eq!(trace.take(), ["write"]);
    home.remove_fd(writer.as_raw_fd());
}

fn a_handler_that_sets_its_own_notifier_runs_once_per_pass(home: Loop) {
    let notifier = Notifier::with_state(true);
    let budget = Cell::new(10);
    let handler = Handler::on_read(|| {
        assert!(notifier.clear());
        budget.set(budget.get() - 1);
        if budget.get() > 0 {
            notifier.set();
        }
    });
    home.set_fd(notifier.fd(), &handler);

    for left in (0..10).rev() {
        assert!(home.poll(true));
        assert_eq!(budget.get(), left);
    }
    assert!(!home.poll(false));
    home.remove_fd(notifier.fd());
}

fn one_of_thousands_of_idle_descriptors_is_found() {
    const IDLE: usize = 5_000;
    raise_descriptor_limit();
    on_loop(|home| {
        let runs = Cell::new(0);
        let notifiers: Vec<Notifier> = (0..IDLE).map(|_| Notifier::new()).collect();
        let handlers: Vec<_> = notifiers
            .iter()
            .map(|notifier| {
                let runs = &runs;
                // A loop may report an event twice.
                Handler::on_read(move || {
                    if notifier.clear() {
                        runs.set(runs.get() + 1);
                    }
                })
            })
            .collect();
        for (notifier, handler) in notifiers.iter().zip(&handlers) {
            home.set_fd(notifier.fd(), handler);
        }
        assert!(!home.poll(false));

        for (round, notifier) in notifiers.iter().step_by(617).enumerate() {
            notifier.set();
            while runs.get() == round {
                assert!(home.poll(true));
            }
            assert_eq!(runs.get(), round + 1);
        }
        runs.set(0);
        notifiers.iter().for_each(Notifier::set);
        while home.poll(false) {}
        assert_eq!(runs.get(), IDLE, "more than one wait reports at once");

        notifiers.iter().for_each(|notifier| home.remove_fd(notifier.fd()));
    });
}

fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the buffer is there.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = limit.rlim_cur.max(limit.rlim_max.min(16_384));
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

fn a_regular_file_is_always_ready(home: Loop) {
    let path = std::env::current_exe().expect("a test has an executable");
    let file = File::open(path).expect("it is readable");
    let reads = Cell::new(0);
    let handler = Handler::on_read(|| reads.set(reads.get() + 1));

    home.set_fd(file.as_raw_fd(), &handler);
    for expected in 1..=3 {
        assert!(home.poll(true));
        assert_eq!(reads.get(), expected);
    }
    home.remove_fd(file.as_raw_fd());
    assert!(!home.poll(false));
}

fn a_nested_epoll_instance_is_level_triggered(home: Loop) {
    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("an epoll instance");
    let (mut here, there) = UnixStream::pair().expect("a socket pair");
    epoll.add(&there, EpollEvent::new(EpollFlags::EPOLLIN, 0)).expect("a fresh descriptor");
    let reads = Cell::new(0);
    let handler = Handler::on_read(|| reads.set(reads.get() + 1));
    home.set_fd(epoll.0.as_raw_fd(), &handler);
    assert!(!home.poll(false));

    here.write_all(b"x").expect("there is room");
    assert!(home.poll(true));
    assert!(home.poll(true));

    assert_eq!(reads.get(), 2);
    home.remove_fd(epoll.0.as_raw_fd());
}

fn an_event_notifier_is_set_and_cleared_from_any_thread() {
    let notifier = Notifier::new();
    assert!(!notifier.clear());
    thread::scope(|scope| {
        scope.spawn(|| {
            notifier.set();
            notifier.set();
        });
    });
    assert!(notifier.clear());
    assert!(!notifier.clear());
    assert!(Notifier::with_state(true).clear());
}

fn a_closed_event_notifier_answers_quietly() {
    let mut closed = EventNotifier::new();
    // SAFETY: the functions accept a notifier that is not open.
    assert_eq!(unsafe { aio_sys::event_notifier_set(&raw mut closed) }, -1);
    // SAFETY: as above.
    assert_eq!(unsafe { aio_sys::event_notifier_test_and_clear(&raw mut closed) }, 0);
    // SAFETY: as above.
    unsafe { aio_sys::event_notifier_cleanup(&raw mut closed) };
}

fn the_handler_of_an_event_notifier_receives_the_notifier() {
    /// # Safety
    ///
    /// `notifier` is open.
    unsafe extern "C" fn clear(notifier: *mut EventNotifier) {
        // SAFETY: it is open while it is registered.
        assert_eq!(unsafe { aio_sys::event_notifier_test_and_clear(notifier) }, 1);
    }
    on_loop(|home| {
        let notifier = Notifier::new();
        // SAFETY: the notifier outlives its registration.
        unsafe {
            aio_sys::aio_set_event_notifier(home.0, notifier.as_ptr(), Some(clear), None, None);
        }
        notifier.set();
        assert!(home.poll(true));
        assert!(!home.poll(false));
        // SAFETY: as above.
        unsafe { aio_sys::aio_set_event_notifier(home.0, notifier.as_ptr(), None, None, None) };
        notifier.set();
        assert!(!home.poll(false));
    });
}
