//! Conformance of the event loop: iothreads.
//!
//! The thread and its context, the registry, references, the stop. A question to an iothread is a
//! oneshot bottom half that answers through a channel.
//!
//! Identifiers are global, so each test has its own.

#[path = "common/aio.rs"]
mod aio;
#[path = "common/process.rs"]
mod process;

use std::cell::Cell;
use std::ptr;
use std::sync::mpsc;
use std::thread;

use aio::{Bh, Handler, Io, Loop, Notifier, now, text};
use aio_sys::{IOThread, QEMU_CLOCK_REALTIME};
use process::aborts;

/// Runs a closure in an iothread and returns what it returned.
fn ask<R: Send>(io: &Io, question: impl FnOnce() -> R + Send) -> R {
    let (sender, receiver) = mpsc::channel();
    io.context().send(move || sender.send(question()).expect("the caller waits"));
    receiver.recv().expect("the iothread answers")
}

fn by_id(id: &std::ffi::CStr) -> *mut IOThread {
    // SAFETY: `id` is a string.
    unsafe { aio_sys::iothread_by_id(id.as_ptr()) }
}

#[test]
fn an_iothread_runs_its_context_in_a_named_thread_without_the_bql() {
    let io = Io::new("worker");
    let context = io.context();
    let (name, current, locked, inside) = ask(&io, || {
        let name = thread::current().name().map(String::from);
        (name, Loop::current(), aio_sys::bql_locked(), aio_sys::qemu_in_iothread())
    });
    assert_eq!(name.as_deref(), Some("IO worker"));
    assert_eq!(current, context);
    assert!(!locked);
    assert!(inside);
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
fn a_second_iothread_of_the_same_id_is_an_error() {
    let _io = Io::new("twin");
    let mut error = ptr::null_mut();
    // SAFETY: the id is a string, and `error` is null.
    let twin = unsafe { aio_sys::iothread_create(c"twin".as_ptr(), &raw mut error) };
    assert!(twin.is_null());
    // SAFETY: it was just returned.
    let message = text(unsafe { aio_sys::error_get_pretty(error) });
    // SAFETY: as above.
    unsafe { aio_sys::error_free(error) };
    assert_eq!(message, "cannot create iothread `twin`: the id is in use");
    // SAFETY: a null `errp` means that the caller does not care.
    assert!(unsafe { aio_sys::iothread_create(c"twin".as_ptr(), ptr::null_mut()) }.is_null());
}

#[test]
fn a_reference_keeps_the_thread_running_after_the_registry_let_go() {
    let io = Io::new("kept");
    let kept = Io(io.0);
    // SAFETY: it is alive.
    let same = unsafe { aio_sys::object_ref(io.0.cast()) };
    assert!(ptr::eq(same.cast(), io.0));
    drop(io);
    assert!(by_id(c"kept").is_null());

    assert_eq!(ask(&kept, || 42), 42);
    let kept = std::mem::ManuallyDrop::new(kept);
    // SAFETY: this is the reference from above.
    unsafe { aio_sys::object_unref(kept.0.cast()) };
}

#[test]
fn null_objects_are_ignored() {
    // SAFETY: null is allowed.
    assert!(unsafe { aio_sys::object_ref(ptr::null_mut()) }.is_null());
    // SAFETY: null is allowed.
    unsafe { aio_sys::object_unref(ptr::null_mut()) };
}

#[test]
fn a_stopped_iothread_runs_nothing_and_may_be_stopped_again() {
    let io = Io::new("stopped");
    let ran = std::sync::atomic::AtomicBool::new(false);
    let run = || ran.store(true, std::sync::atomic::Ordering::Relaxed);
    let bh = io.context().bh(&run);

    io.stop();
    bh.schedule();
    io.stop();

    assert!(!ran.load(std::sync::atomic::Ordering::Relaxed));
    bh.delete();
}

#[test]
fn what_was_scheduled_before_the_stop_has_run() {
    for _ in 0..50 {
        let io = Io::new("burst");
        let runs = std::sync::atomic::AtomicU32::new(0);
        let count = || {
            runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        (0..10).for_each(|_| io.context().oneshot(&count));
        drop(io);
        assert_eq!(runs.into_inner(), 10);
    }
}

#[test]
fn a_bottom_half_scheduled_after_the_stop_is_a_leak() {
    aborts(
        "a_bottom_half_scheduled_after_the_stop_is_a_leak",
        "bottom half `test oneshot` is leaked",
        || {
            let io = Io::new("late");
            io.stop();
            io.context().oneshot(&|| ());
            drop(io);
        },
    );
}

#[test]
fn an_iothread_that_stops_itself_aborts() {
    aborts(
        "an_iothread_that_stops_itself_aborts",
        "an iothread cannot stop itself: it would wait for itself",
        || {
            let io = Io::new("suicide");
            ask(&io, || io.stop());
        },
    );
}

#[test]
fn descriptors_and_timers_work_in_an_iothread() {
    let io = Io::new("busy");
    let context = io.context();
    let (sender, receiver) = mpsc::channel();
    let notifier = Notifier::new();
    let fire = || {
        notifier.set();
    };
    let timer = context.timer(QEMU_CLOCK_REALTIME, &fire);
    let handler = Handler::on_read(|| {
        notifier.clear();
        sender.send(Loop::current()).expect("the test waits");
    });
    context.set_fd(notifier.fd(), &handler);

    timer.arm(now(QEMU_CLOCK_REALTIME) + 1_000_000);
    assert_eq!(receiver.recv(), Ok(context));

    ask(&io, || context.remove_fd(notifier.fd()));
}

#[test]
fn a_context_outlives_its_iothread_for_those_who_have_a_reference() {
    let io = Io::new("context");
    let context = io.context();
    context.add_ref();
    let never = || unreachable!("no thread runs the loop");
    let bh: Bh = context.bh(&never);
    drop(io);

    bh.schedule();
    bh.delete();
    context.unref();
}

#[test]
fn thread_local_destructors_of_an_iothread_may_still_use_its_context() {
    struct AtExit(Cell<Option<(Loop, Bh)>>);
    impl Drop for AtExit {
        fn drop(&mut self) {
            let (context, bh) = self.0.take().expect("it was set");
            assert_eq!(Loop::current(), context);
            assert!(!aio_sys::bql_locked());
            context.notify();
            bh.delete();
        }
    }
    thread_local! {
        static AT_EXIT: AtExit = const { AtExit(Cell::new(None)) };
    }

    let io = Io::new("tls");
    let nothing = || ();
    let bh = io.context().bh(&nothing);
    ask(&io, || AT_EXIT.with(|at_exit| at_exit.0.set(Some((Loop::current(), bh)))));
}

#[test]
fn many_iothreads_come_and_go() {
    thread::scope(|scope| {
        for worker in 0..4 {
            scope.spawn(move || {
                for round in 0..25 {
                    let io = Io::new(&format!("io-{worker}-{round}"));
                    assert_eq!(ask(&io, || round), round);
                }
            });
        }
    });
}
