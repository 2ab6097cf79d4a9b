//! Conformance of the event loop: the Big QEMU Lock.
//!
//! Exclusion, the thread-local flag, and the count of borrows that forbid the release. That the main
//! loop releases the lock around its sleep is in `conformance_main_loop.rs`.
//!
//! The lock is global: tests that take it in this process take turns, those that misuse it run in a
//! process of their own.

#[path = "common/aio.rs"]
mod aio;
#[path = "common/process.rs"]
mod process;

use std::cell::Cell;
use std::sync::Mutex;
use std::thread;

use aio::{become_main_loop, lock_bql, turn, unlock_bql};
use aio_sys::{bql_block_unlock, bql_locked};
use process::aborts;

/// The lock is global, so tests that take it in this process take turns.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn a_thread_knows_whether_it_holds_the_lock() {
    let _turn = TURN.lock();
    assert!(!bql_locked());
    lock_bql();
    assert!(bql_locked());
    assert!(aio_sys::qemu_in_main_thread());
    thread::scope(|scope| {
        scope.spawn(|| assert!(!bql_locked(), "the flag is the thread's own"));
    });
    unlock_bql();
    assert!(!bql_locked());
}

#[test]
fn one_thread_at_a_time_holds_the_lock() {
    struct Shared(Cell<u32>);
    // SAFETY: the BQL serialises, which is what is tested.
    unsafe impl Sync for Shared {}

    let _turn = TURN.lock();
    let count = Shared(Cell::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            let count = &count;
            scope.spawn(move || {
                for _ in 0..2_000 {
                    lock_bql();
                    count.0.set(count.0.get() + 1);
                    unlock_bql();
                }
            });
        }
    });
    assert_eq!(count.0.get(), 8_000);
}

#[test]
fn the_lock_may_be_released_when_every_borrow_has_ended() {
    let _turn = TURN.lock();
    lock_bql();
    bql_block_unlock(true);
    bql_block_unlock(true);
    bql_block_unlock(false);
    bql_block_unlock(false);
    unlock_bql();
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
