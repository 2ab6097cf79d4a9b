//! Conformance of the event loop: the face that a context shows to GLib.
//!
//! What a turn of a `GMainContext` runs and returns, what ends its sleep, and what a doorbell costs. Each test has a
//! thread with a context and a `GMainContext` of its own.
//!
//! QEMU's `test-aio` has the same for the default `GMainContext`; these are the cases that it does not have.

#[path = "../../common/aio.rs"]
mod aio;

use std::cell::Cell;
use std::sync::Barrier;
use std::thread;

use aio::{Handler, Loop, Notifier, Trace, now, on_loop};
use aio_sys::QEMU_CLOCK_REALTIME;
use glib_sys::{GFALSE, GMainContext, GTRUE};

/// A `GMainContext` that one loop is attached to.
struct Turns(*mut GMainContext);

impl Turns {
    fn of(home: Loop) -> Self {
        // SAFETY: always allowed.
        let turns = unsafe { glib_sys::g_main_context_new() };
        // SAFETY: the loop is alive.
        let source = unsafe { aio_sys::emulated::aio_get_g_source(home.0) };
        // SAFETY: both were just made.
        unsafe { glib_sys::g_source_attach(source, turns) };
        // SAFETY: the context has a reference now.
        unsafe { glib_sys::g_source_unref(source) };
        let turns = Self(turns);
        // GLib wakes itself up for a new source.
        turns.turn(false);
        turns
    }

    /// One turn; says whether something was dispatched.
    fn turn(&self, may_block: bool) -> bool {
        let may_block = if may_block { GTRUE } else { GFALSE };
        // SAFETY: this thread made it.
        unsafe { glib_sys::g_main_context_iteration(self.0, may_block) != GFALSE }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        // SAFETY: this is the only reference.
        unsafe { glib_sys::g_main_context_unref(self.0) };
    }
}

#[test]
fn a_turn_runs_bottom_halves_then_descriptors_then_timers() {
    on_loop(|home| {
        let turns = Turns::of(home);
        let (trace, notifier) = (Trace::default(), Notifier::new());
        let handler = Handler::on_read(|| {
            notifier.clear();
            trace.log("fd");
        });
        home.set_fd(notifier.fd(), &handler);
        let (bh, fire) = (|| trace.log("bh"), || trace.log("timer"));
        let timer = home.timer(QEMU_CLOCK_REALTIME, &fire);

        timer.arm(0);
        notifier.set();
        home.oneshot(&bh);
        assert!(turns.turn(true));

        assert_eq!(trace.take(), ["bh", "fd", "timer"]);
        assert!(!turns.turn(false));
        home.remove_fd(notifier.fd());
    });
}

#[test]
fn a_turn_in_which_a_descriptor_alone_is_ready_dispatches_it_and_the_next_one_nothing() {
    on_loop(|home| {
        let turns = Turns::of(home);
        let (runs, notifier) = (Cell::new(0), Notifier::new());
        let handler = Handler::on_read(|| {
            notifier.clear();
            runs.set(runs.get() + 1);
        });
        home.set_fd(notifier.fd(), &handler);
        assert!(!turns.turn(false));

        for round in 1..=3 {
            notifier.set();
            assert!(turns.turn(false));
            assert_eq!(runs.get(), round);
            assert!(!turns.turn(false));
        }
        home.remove_fd(notifier.fd());
    });
}

#[test]
fn a_turn_sleeps_until_a_timer_and_not_shorter() {
    on_loop(|home| {
        let turns = Turns::of(home);
        let fired = Cell::new(false);
        let fire = || fired.set(true);
        let timer = home.timer(QEMU_CLOCK_REALTIME, &fire);
        for _ in 0..20 {
            // After a turn that was late, arming would seem to ring a loop that sleeps.
            while turns.turn(false) {}
            let expires = now(QEMU_CLOCK_REALTIME) + 1_900_000;
            timer.arm(expires);
            assert!(turns.turn(true), "milliseconds are rounded up: one turn is enough");
            assert!(fired.take());
            assert!(now(QEMU_CLOCK_REALTIME) >= expires);
        }
    });
}

#[test]
fn a_ring_in_a_callback_costs_one_more_turn() {
    on_loop(|home| {
        let turns = Turns::of(home);
        let ring = || home.notify();
        home.oneshot(&ring);

        assert!(turns.turn(true), "the bottom half");
        assert!(turns.turn(false), "the ring: GLib did not check, so the loop seemed asleep");
        assert!(!turns.turn(false));
    });
}

#[test]
fn a_ring_between_two_turns_costs_none() {
    on_loop(|home| {
        let turns = Turns::of(home);
        assert!(!turns.turn(false));
        home.notify();
        assert!(!turns.turn(false));
    });
}

#[test]
fn a_ring_that_a_turn_left_in_the_kernel_is_no_progress_of_a_poll() {
    on_loop(|home| {
        let turns = Turns::of(home);
        let notifier = Notifier::new();
        let idle = Handler::on_read(|| unreachable!("nobody sets it"));
        home.set_fd(notifier.fd(), &idle);
        let ring = || home.notify();
        home.oneshot(&ring);
        assert!(turns.turn(true));

        assert!(!home.poll(false), "the eventfd is readable, and nothing else");
        home.remove_fd(notifier.fd());
    });
}

#[test]
fn another_thread_ends_the_sleep_of_a_turn() {
    const ROUNDS: u32 = 2_000;
    on_loop(|home| {
        let turns = Turns::of(home);
        let runs = Cell::new(0);
        let count = || runs.set(runs.get() + 1);
        let bh = home.bh(&count);
        let start = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    start.wait();
                    bh.schedule();
                }
            });
            for round in 1..=ROUNDS {
                start.wait();
                while runs.get() < round {
                    turns.turn(true);
                }
            }
        });
        bh.delete();
    });
}

#[test]
fn turns_and_polls_of_one_context_take_turns() {
    on_loop(|home| {
        let turns = Turns::of(home);
        let runs = Cell::new(0);
        let count = || runs.set(runs.get() + 1);
        let bh = home.bh(&count);
        for round in 1..=10 {
            bh.schedule();
            assert!(if round % 2 == 0 { turns.turn(true) } else { home.poll(true) });
            assert_eq!(runs.get(), round);
        }
        bh.delete();
        home.poll(false);
    });
}

#[test]
fn a_source_keeps_its_context_until_it_is_finalised() {
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let home = Loop::new();
        home.make_current();
        let turns = Turns::of(home);
        home.unref();
        // The context is alive: its bottom half runs.
        home.send(move || sender.send(()).expect("the test waits"));
        turns.turn(true);
        drop(turns);
    })
    .join()
    .expect("the thread ends");
    receiver.recv().expect("it ran");
}
