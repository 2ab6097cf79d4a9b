//! Must not compile: the right to block cannot be kept for later, when a future may be polled.

use std::cell::Cell;

use executor::NoCoroutine;

thread_local! {
    static KEPT: Cell<Option<&'static mut NoCoroutine>> = const { Cell::new(None) };
}

fn handler(nc: &mut NoCoroutine) {
    KEPT.set(Some(nc));
}

fn main() {}
