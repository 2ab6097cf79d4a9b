//! Conformance of the event loop: the main loop, seen by another thread.
//!
//! The two contexts of the main loop's thread, which of them nested loops run, what wakes it, and when the
//! lock is free. Somebody else runs the main loop; a case sends it what it is to do.
//!
//! What a single turn does is in `tests/conformance_main_loop.rs`: only its owner can run one.

use std::cell::Cell;
use std::ffi::c_void;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;

use aio_sys::QEMU_CLOCK_REALTIME;

use super::Case;
use super::aio::{Handler, Io, Loop, Notifier, Timer, lock_bql, unlock_bql};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::plain(the_main_context_is_current_in_both_contexts_of_the_main_loop),
        Case::plain(what_is_scheduled_in_both_contexts_runs_in_the_main_context_first),
        Case::plain(a_nested_loop_runs_neither_the_iohandler_context_nor_its_timers),
        Case::plain(a_plain_descriptor_handler_belongs_to_the_iohandler_context),
        Case::plain(other_threads_wake_the_main_loop_in_every_way),
        Case::plain(the_main_loop_releases_the_lock_while_it_sleeps_and_callbacks_hold_it),
        Case::plain(any_thread_with_the_lock_may_run_the_main_context),
        Case::plain(the_main_loop_may_wait_for_a_bottom_half_of_an_iothread),
        Case::plain(a_kick_makes_a_waiter_look_again),
    ]
}

/// Calls a closure in the thread of a context, and returns what it returned.
fn ask<R: Send>(context: Loop, question: impl FnOnce() -> R + Send) -> R {
    let (sender, receiver) = mpsc::channel();
    context.send(move || sender.send(question()).expect("the caller waits"));
    receiver.recv().expect("the main loop runs")
}

fn the_main_context_is_current_in_both_contexts_of_the_main_loop() {
    assert_ne!(Loop::main(), Loop::iohandler());
    for context in [Loop::main(), Loop::iohandler()] {
        let (current, main, iothread) = ask(context, || {
            (Loop::current(), aio_sys::qemu_in_main_thread(), aio_sys::qemu_in_iothread())
        });
        assert_eq!(current, Loop::main(), "never the iohandler context");
        assert!(main && !iothread);
    }
}

fn what_is_scheduled_in_both_contexts_runs_in_the_main_context_first() {
    for _ in 0..50 {
        let (sender, receiver) = mpsc::channel();
        Loop::iohandler().send(move || {
            let other = sender.clone();
            Loop::iohandler().send(move || other.send("iohandler").expect("the test waits"));
            Loop::main().send(move || sender.send("main").expect("the test waits"));
        });
        assert_eq!(receiver.iter().collect::<Vec<_>>(), ["main", "iohandler"]);
    }
}

fn a_nested_loop_runs_neither_the_iohandler_context_nor_its_timers() {
    let runs = AtomicU32::new(0);
    let count = || {
        runs.fetch_add(1, Ordering::Relaxed);
    };
    let notifier = Notifier::with_state(true);
    let handler = Handler::on_read(|| {
        notifier.clear();
        count();
    });
    let timer = Timer::new(ptr::null_mut(), QEMU_CLOCK_REALTIME, &count);
    let nested = ask(Loop::main(), {
        let (handler, timer, count, runs) = (Sent(&handler), &timer, &count, &runs);
        let fd = notifier.fd();
        move || {
            Loop::iohandler().set_fd(fd, handler.get());
            timer.arm(0);
            Loop::iohandler().oneshot(count);
            for _ in 0..10 {
                Loop::main().poll(false);
            }
            runs.load(Ordering::Relaxed)
        }
    });
    assert_eq!(nested, 0);
    while runs.load(Ordering::Relaxed) < 3 {
        thread::yield_now();
    }
    ask(Loop::iohandler(), || Loop::iohandler().remove_fd(notifier.fd()));
}

/// Lends a handler to the main loop, whose callbacks alone use it.
struct Sent<'a>(&'a Handler<'a>);

// SAFETY: the thread that made it only waits.
unsafe impl Send for Sent<'_> {}

impl<'a> Sent<'a> {
    fn get(&self) -> &'a Handler<'a> {
        self.0
    }
}

fn a_plain_descriptor_handler_belongs_to_the_iohandler_context() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    /// # Safety
    ///
    /// None: the type is that of a callback.
    unsafe extern "C" fn count(fd: *mut c_void) {
        set_plain_handler(fd as usize as RawFd, None);
        // Release: the descriptor is closed by whoever sees this.
        RUNS.fetch_add(1, Ordering::Release);
    }
    RUNS.store(0, Ordering::Relaxed);
    let notifier = Notifier::with_state(true);
    let fd = notifier.fd();
    let nested = ask(Loop::main(), move || {
        set_plain_handler(fd, Some(count));
        for _ in 0..10 {
            Loop::main().poll(false);
        }
        RUNS.load(Ordering::Relaxed)
    });
    assert_eq!(nested, 0);
    while RUNS.load(Ordering::Acquire) == 0 {
        thread::yield_now();
    }
}

fn set_plain_handler(fd: RawFd, read: Option<unsafe extern "C" fn(*mut c_void)>) {
    // SAFETY: the callback expects the descriptor.
    unsafe { aio_sys::qemu_set_fd_handler(fd, read, None, fd as usize as *mut c_void) };
}

fn other_threads_wake_the_main_loop_in_every_way() {
    let (sender, receiver) = mpsc::sync_channel(1);
    let wake = || sender.send(()).expect("the test waits");
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

    let ways: [&dyn Fn(); 5] = [
        &|| Loop::main().oneshot(&wake),
        &|| Loop::iohandler().oneshot(&wake),
        &|| timer.arm(0),
        &|| notifiers[0].set(),
        &|| notifiers[1].set(),
    ];
    for way in ways {
        for _ in 0..200 {
            way();
            receiver.recv().expect("the sender is here");
        }
    }
    for (notifier, context) in notifiers.iter().zip([Loop::main(), Loop::iohandler()]) {
        ask(context, || context.remove_fd(notifier.fd()));
    }
}

fn the_main_loop_releases_the_lock_while_it_sleeps_and_callbacks_hold_it() {
    for context in [Loop::main(), Loop::iohandler()] {
        lock_bql();
        unlock_bql();
        assert!(ask(context, || aio_sys::bql_locked()));
    }
}

fn any_thread_with_the_lock_may_run_the_main_context() {
    assert!(Loop::current().0.is_null());
    lock_bql();
    assert_eq!(Loop::current(), Loop::main());
    let ran_on = Cell::new(None);
    let here = || ran_on.set(Some(thread::current().id()));
    Loop::main().oneshot(&here);
    while ran_on.get().is_none() {
        Loop::main().poll(true);
    }
    unlock_bql();
    assert_eq!(ran_on.get(), Some(thread::current().id()));
}

fn the_main_loop_may_wait_for_a_bottom_half_of_an_iothread() {
    let io = Io::new("waited-for");
    let context = io.context();
    let runs = AtomicU32::new(0);
    let run = || {
        assert_eq!(Loop::current(), context);
        runs.fetch_add(1, Ordering::Relaxed);
    };
    for expected in 1..=500 {
        ask(Loop::main(), || context.run_and_wait(&run));
        assert_eq!(runs.load(Ordering::Relaxed), expected);
    }
}

fn a_kick_makes_a_waiter_look_again() {
    for _ in 0..500 {
        let (condition, begun) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !begun.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                condition.store(true, Ordering::Relaxed);
                aio_sys::aio_wait_kick();
            });
            ask(Loop::main(), || {
                aio_sys::aio_wait_begin();
                begun.store(true, Ordering::Release);
                while !condition.load(Ordering::Relaxed) {
                    Loop::main().poll(true);
                }
                aio_sys::aio_wait_end();
            });
        });
    }
}
