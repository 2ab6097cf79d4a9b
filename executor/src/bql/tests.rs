//! Tests of the lock, the cells and the register of borrows.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{BqlCell, BqlRef, BqlRefCell, BqlRefMut, borrows, is_locked, with_bql};
use crate::cx::Bql;

/// Runs `f`, which must panic, and returns the message.
fn panic_of(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it must panic");
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => (*payload.downcast::<&str>().expect("a panic has a text")).to_owned(),
    }
}

#[test]
fn the_lock_is_held_in_the_closure_alone() {
    assert!(!is_locked());
    with_bql(|_| assert!(is_locked()));
    assert!(!is_locked());

    panic_of(|| with_bql(|_| panic!("inside")));
    assert!(!is_locked(), "a panic releases it");
}

#[test]
fn taking_the_lock_twice_panics_and_says_what_to_do() {
    let message = panic_of(|| with_bql(|_| with_bql(|_| ())));

    assert!(message.contains("pass on the `&Bql`"), "{message}");
    assert!(!is_locked());
}

#[test]
fn threads_exclude_each_other() {
    static COUNTER: BqlCell<u64> = BqlCell::new(0);
    static INSIDE: AtomicUsize = AtomicUsize::new(0);

    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    with_bql(|bql| {
                        // Relaxed: the lock orders it.
                        assert_eq!(INSIDE.fetch_add(1, Ordering::Relaxed), 0);
                        COUNTER.set(bql, COUNTER.get(bql) + 1);
                        INSIDE.fetch_sub(1, Ordering::Relaxed);
                    });
                }
            });
        }
    });

    assert_eq!(with_bql(|bql| COUNTER.get(bql)), 800);
}

#[test]
fn a_cell_moves_values_in_and_out() {
    let cell = BqlCell::new(String::from("one"));

    with_bql(|bql| {
        assert_eq!(cell.replace(bql, String::from("two")), "one");
        assert_eq!(cell.take(bql), "two");
        cell.set(bql, String::from("three"));
    });

    assert_eq!(cell.into_inner(), "three");
}

thread_local! {
    static NOSY: BqlCell<Option<Nosy>> = const { BqlCell::new(None) };
}

/// Looks into its cell when it is dropped.
struct Nosy(Rc<Cell<bool>>);

impl Drop for Nosy {
    fn drop(&mut self) {
        let in_cell = NOSY.with(|cell| cell.replace(&Bql::new(), None));
        self.0.set(in_cell.is_none());
    }
}

#[test]
fn a_cell_is_whole_again_before_the_old_value_is_dropped() {
    let seen = Rc::new(Cell::new(false));

    with_bql(|bql| {
        NOSY.with(|cell| cell.set(bql, Some(Nosy(Rc::clone(&seen)))));
        NOSY.with(|cell| cell.set(bql, None));
    });

    assert!(seen.get());
}

#[test]
fn borrows_follow_the_rules_of_a_ref_cell() {
    let cell = BqlRefCell::new(vec![1]);

    with_bql(|bql| {
        cell.borrow_mut(bql).push(2);
        let first = cell.borrow(bql);
        let second = cell.borrow(bql);
        assert_eq!((first.len(), second.len()), (2, 2));
        assert!(cell.try_borrow_mut(bql).is_err());
        drop((first, second));
        let exclusive = cell.borrow_mut(bql);
        assert!(cell.try_borrow(bql).is_err());
        drop(exclusive);
        assert_eq!(cell.with_mut(bql, |items| items.pop()), Some(2));
        assert_eq!(cell.with(bql, Vec::len), 1);
    });
}

#[test]
fn a_refused_borrow_names_the_place_that_is_in_the_way() {
    let cell = BqlRefCell::new(0);
    let other = BqlRefCell::new(0);

    with_bql(|bql| {
        let _elsewhere = other.borrow_mut(bql);
        let line = line!() + 1;
        let _guard = cell.borrow_mut(bql);
        let message = panic_of(|| drop(cell.borrow(bql)));
        assert!(message.contains(&format!("{}:{line}:", file!())), "{message}");
        assert_eq!(message.matches(file!()).count(), 1, "{message}");
        assert!(message.contains("mutably borrowed already"), "{message}");
    });
}

#[test]
fn access_without_the_lock_panics_and_leaves_the_flag_alone() {
    let cell = BqlRefCell::new(0);

    let message = panic_of(|| drop(cell.borrow_mut_ambient()));
    assert!(message.contains("does not hold the BQL"), "{message}");

    with_bql(|bql| assert!(cell.try_borrow_mut(bql).is_ok()));
}

#[test]
fn mapped_and_cloned_guards_keep_the_count() {
    let cell = BqlRefCell::new((1, String::from("text")));

    with_bql(|bql| {
        let before = borrows::live();
        let whole = cell.borrow(bql);
        let again = BqlRef::clone(&whole);
        let part = BqlRef::map(whole, |pair| &pair.1);
        assert_eq!(&*part, "text");
        drop(part);
        assert!(borrows::live().since(before), "the clone is alive");
        assert!(cell.try_borrow_mut(bql).is_err());
        drop(again);
        assert!(!borrows::live().since(before));

        let mut part = BqlRefMut::map(cell.borrow_mut(bql), |pair| &mut pair.0);
        *part = 2;
        drop(part);
        assert_eq!(cell.borrow(bql).0, 2);
        assert!(borrows::live().is_empty());
    });
}

#[test]
fn a_borrow_that_outlives_the_lock_panics_with_its_place() {
    static CELL: BqlRefCell<u32> = BqlRefCell::new(7);

    let line = line!() + 1;
    let message = panic_of(|| drop(with_bql(|_| CELL.borrow_ambient())));

    assert!(message.contains(&format!("{}:{line}:", file!())), "{message}");
    assert!(!is_locked(), "the borrow was dropped first, then the lock");
}

#[test]
fn only_borrows_since_the_snapshot_are_reported() {
    let cells: [BqlRefCell<u32>; 2] = Default::default();

    with_bql(|bql| {
        let outer = cells[0].borrow(bql);
        let before = borrows::live();
        assert!(!borrows::live().since(before));
        // The new borrow gets the entry of the old one.
        drop(outer);
        let line = line!() + 1;
        let inner = cells[1].borrow(bql);
        assert!(borrows::live().since(before));
        assert!(borrows::describe(before).ends_with(&format!("bql/tests.rs:{line}:30")));
        drop(inner);
        assert!(!borrows::live().since(before));
    });
}

#[test]
fn borrows_beyond_the_register_are_counted() {
    let cell = BqlRefCell::new(0);

    with_bql(|bql| {
        let before = borrows::live();
        let many: Vec<_> = (0..70).map(|_| cell.borrow(bql)).collect();
        let full = borrows::live();
        assert!(full.since(before));
        assert!(borrows::describe(before).ends_with("6 more places"));
        let extra = cell.borrow(bql);
        assert!(borrows::live().since(full));
        drop((extra, many));
        assert!(borrows::live().is_empty());
        assert!(cell.try_borrow_mut(bql).is_ok());
    });
}

#[test]
fn debug_output_needs_no_lock_and_borrows_nothing_twice() {
    let cell = BqlRefCell::new(5);
    let small = BqlCell::new(5);

    assert_eq!(format!("{cell:?}"), "BqlRefCell(<the BQL is not held>)");
    assert_eq!(format!("{small:?}"), "BqlCell(<the BQL is not held>)");
    with_bql(|bql| {
        assert_eq!(format!("{cell:?} {small:?}"), "BqlRefCell(5) BqlCell(5)");
        let _guard = cell.borrow_mut(bql);
        assert_eq!(format!("{cell:?}"), "BqlRefCell(<borrowed mutably>)");
    });
}
