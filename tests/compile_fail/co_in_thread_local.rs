//! Must not compile: the right to yield to C cannot be kept for later, when this is no coroutine.

use std::cell::Cell;

use executor::InCoroutine;

thread_local! {
    static KEPT: Cell<Option<&'static mut InCoroutine>> = const { Cell::new(None) };
}

fn coroutine_fn(co: &mut InCoroutine) {
    KEPT.set(Some(co));
}

fn main() {}
