//! Conformance of the emulated event loop: what ends the process.
//!
//! Each is tried in a process of its own, and the sentence it says is part of the rule. QEMU asserts in these
//! cases, in words of its own.

#[path = "conformance/aio.rs"]
mod aio;
#[path = "common/process.rs"]
mod process;

use std::sync::mpsc;

use aio::{Handler, Io, Loop, become_main_loop, lock_bql, on_loop, turn, unlock_bql};
use aio_sys::{QEMU_CLOCK_REALTIME, QEMUClockType, bql_block_unlock};
use process::aborts;

/// A moment that no test lives to see.
const FAR: i64 = i64::MAX / 2;

fn enable(clock: QEMUClockType, enabled: bool) {
    // SAFETY: the tests rely on no clock standing still.
    unsafe { aio_sys::qemu_clock_enable(clock, enabled) };
}

#[test]
fn a_pending_bottom_half_outliving_its_context_aborts() {
    aborts(
        "a_pending_bottom_half_outliving_its_context_aborts",
        "bottom half `test` is leaked: delete it before its AioContext goes",
        || {
            let home = Loop::new();
            home.bh(&|| {}).schedule();
            home.unref();
        },
    );
}

#[test]
fn a_pending_oneshot_outliving_its_context_aborts() {
    aborts(
        "a_pending_oneshot_outliving_its_context_aborts",
        "bottom half `test oneshot` is leaked",
        || {
            let home = Loop::new();
            home.oneshot(&|| {});
            home.unref();
        },
    );
}

#[test]
fn a_cancelled_bottom_half_that_is_still_linked_counts_as_leaked() {
    aborts(
        "a_cancelled_bottom_half_that_is_still_linked_counts_as_leaked",
        "bottom half `test` is leaked",
        || {
            let home = Loop::new();
            let bh = home.bh(&|| {});
            bh.schedule();
            bh.cancel();
            home.unref();
        },
    );
}

#[test]
fn the_last_reference_going_during_a_poll_aborts() {
    aborts(
        "the_last_reference_going_during_a_poll_aborts",
        "the last reference to an AioContext went during its poll",
        || {
            let home = Loop::new();
            home.make_current();
            home.oneshot(&|| Loop::current().unref());
            home.poll(false);
        },
    );
}

#[test]
fn to_take_the_lock_twice_aborts_and_says_where() {
    aborts(
        "to_take_the_lock_twice_aborts_and_says_where",
        "bql_lock_impl: the thread holds the BQL already (test.rs:1)",
        || {
            lock_bql();
            lock_bql();
        },
    );
}

#[test]
fn to_release_the_lock_without_holding_it_aborts() {
    aborts(
        "to_release_the_lock_without_holding_it_aborts",
        "bql_unlock: the thread does not hold the BQL",
        unlock_bql,
    );
}

#[test]
fn to_release_the_lock_during_a_borrow_aborts_and_names_the_borrow() {
    aborts(
        "to_release_the_lock_during_a_borrow_aborts_and_names_the_borrow",
        "bql_unlock: the BQL cannot be released while 1 borrow(s) are active: device.rs:7",
        || {
            aio_sys::emulated::set_bql_borrow_reporter(|| String::from("device.rs:7"));
            lock_bql();
            bql_block_unlock(true);
            unlock_bql();
        },
    );
}

#[test]
fn a_turn_of_the_main_loop_during_a_borrow_aborts() {
    aborts(
        "a_turn_of_the_main_loop_during_a_borrow_aborts",
        "bql_unlock: the BQL cannot be released while 2 borrow(s) are active",
        || {
            become_main_loop();
            bql_block_unlock(true);
            bql_block_unlock(true);
            turn(false);
        },
    );
}

#[test]
fn a_borrow_without_the_lock_aborts() {
    aborts(
        "a_borrow_without_the_lock_aborts",
        "bql_block_unlock: the thread does not hold the BQL",
        || bql_block_unlock(true),
    );
}

#[test]
fn to_end_a_borrow_that_did_not_begin_aborts() {
    aborts(
        "to_end_a_borrow_that_did_not_begin_aborts",
        "bql_block_unlock: as many calls with false as with true",
        || {
            lock_bql();
            bql_block_unlock(false);
        },
    );
}

#[test]
fn to_register_a_closed_descriptor_aborts() {
    aborts("to_register_a_closed_descriptor_aborts", "cannot watch file descriptor 999", || {
        let home = Loop::new();
        home.set_fd(999, &Handler::on_read(|| ()));
    });
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
            let (sender, receiver) = mpsc::channel();
            io.context().send(|| {
                io.stop();
                sender.send(()).expect("the test waits");
            });
            receiver.recv().expect("it does not get here");
        },
    );
}

#[test]
fn a_pass_in_another_thread_than_the_home_thread_aborts() {
    aborts(
        "a_pass_in_another_thread_than_the_home_thread_aborts",
        "aio_poll must be called in the home thread of the AioContext",
        || {
            Loop::new().poll(false);
        },
    );
}

#[test]
fn a_second_current_context_aborts() {
    aborts(
        "a_second_current_context_aborts",
        "the thread has a current AioContext already",
        || {
            Loop::new().make_current();
            Loop::new().make_current();
        },
    );
}

#[test]
fn a_callback_that_disables_its_own_clock_aborts() {
    aborts(
        "a_callback_that_disables_its_own_clock_aborts",
        "a timer's callback cannot disable its own clock: it would wait for itself",
        || {
            on_loop(|home| {
                let timer = home.timer(QEMU_CLOCK_REALTIME, &|| enable(QEMU_CLOCK_REALTIME, false));
                timer.arm(0);
                home.poll(false);
            });
        },
    );
}

#[test]
fn an_armed_timer_outliving_its_context_aborts() {
    aborts(
        "an_armed_timer_outliving_its_context_aborts",
        "a timer is still armed: delete it before its AioContext goes",
        || {
            let home = Loop::new();
            let timer = home.timer(QEMU_CLOCK_REALTIME, &|| ());
            timer.arm(FAR);
            home.unref();
        },
    );
}

#[test]
fn to_end_the_use_of_an_armed_timer_aborts() {
    aborts(
        "to_end_the_use_of_an_armed_timer_aborts",
        "timer_deinit: the timer is armed; call timer_del first",
        || {
            let home = Loop::new();
            let timer = home.timer(QEMU_CLOCK_REALTIME, &|| ());
            timer.arm(FAR);
            timer.deinit();
        },
    );
}
