//! Conformance of the event loop: the Big QEMU Lock.
//!
//! Exclusion, the thread-local flag, and the count of borrows that forbid the release. That the main
//! loop releases the lock around its sleep is in `main_loop.rs`.

use std::cell::Cell;
use std::thread;

use super::Case;
use super::aio::{lock_bql, unlock_bql};
use aio_sys::{bql_block_unlock, bql_locked};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::plain(a_thread_knows_whether_it_holds_the_lock),
        Case::plain(one_thread_at_a_time_holds_the_lock),
        Case::plain(the_lock_may_be_released_when_every_borrow_has_ended),
    ]
}

fn a_thread_knows_whether_it_holds_the_lock() {
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

fn one_thread_at_a_time_holds_the_lock() {
    struct Shared(Cell<u32>);
    // SAFETY: the BQL serialises, which is what is tested.
    unsafe impl Sync for Shared {}

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

fn the_lock_may_be_released_when_every_borrow_has_ended() {
    lock_bql();
    bql_block_unlock(true);
    bql_block_unlock(true);
    bql_block_unlock(false);
    bql_block_unlock(false);
    unlock_bql();
}
