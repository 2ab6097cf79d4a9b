//! Conformance of the event loop: iothreads.
//!
//! The thread and its context, the registry, references, the stop. A question to an iothread is a
//! oneshot bottom half that answers through a channel.
//!
//! Identifiers are global, so each case has its own.

use std::cell::Cell;
use std::ptr;
use std::sync::mpsc;
use std::thread;

use super::Case;
use super::aio::{Bh, Handler, Io, Loop, Notifier, now};
use aio_sys::QEMU_CLOCK_REALTIME;

/// Runs a closure in an iothread and returns what it returned.
fn ask<R: Send>(io: &Io, question: impl FnOnce() -> R + Send) -> R {
    let (sender, receiver) = mpsc::channel();
    io.context().send(move || sender.send(question()).expect("the caller waits"));
    receiver.recv().expect("the iothread answers")
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::plain(an_iothread_runs_its_context_in_a_thread_without_the_bql),
        Case::plain(a_reference_keeps_the_thread_running_after_the_registry_let_go),
        Case::plain(null_objects_are_ignored),
        Case::plain(a_stopped_iothread_runs_nothing_and_may_be_stopped_again),
        Case::plain(what_was_scheduled_before_the_stop_has_run),
        Case::plain(descriptors_and_timers_work_in_an_iothread),
        Case::plain(a_context_outlives_its_iothread_for_those_who_have_a_reference),
        Case::plain(thread_local_destructors_of_an_iothread_may_still_use_its_context),
        Case::plain(many_iothreads_come_and_go),
    ]
}

fn an_iothread_runs_its_context_in_a_thread_without_the_bql() {
    let io = Io::new("worker");
    let context = io.context();
    let (thread, current, locked, inside) = ask(&io, || {
        let thread = thread::current().id();
        (thread, Loop::current(), aio_sys::bql_locked(), aio_sys::qemu_in_iothread())
    });
    assert_ne!(thread, thread::current().id());
    assert_eq!(current, context);
    assert!(!locked);
    assert!(inside);
}

fn a_reference_keeps_the_thread_running_after_the_registry_let_go() {
    let io = Io::new("kept");
    let kept = Io(io.0);
    // SAFETY: it is alive.
    let same = unsafe { aio_sys::object_ref(io.0.cast()) };
    assert!(ptr::eq(same.cast(), io.0));
    drop(io);

    assert_eq!(ask(&kept, || 42), 42);
    let kept = std::mem::ManuallyDrop::new(kept);
    // SAFETY: this is the reference from above.
    unsafe { aio_sys::object_unref(kept.0.cast()) };
}

fn null_objects_are_ignored() {
    // SAFETY: null is allowed.
    assert!(unsafe { aio_sys::object_ref(ptr::null_mut()) }.is_null());
    // SAFETY: null is allowed.
    unsafe { aio_sys::object_unref(ptr::null_mut()) };
}

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
