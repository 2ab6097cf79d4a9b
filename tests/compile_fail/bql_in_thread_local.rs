//! Must not compile: the witness cannot be kept for later, when the lock may have gone.

use std::cell::Cell;

use executor::{Bql, MainCx};

thread_local! {
    static KEPT: Cell<Option<&'static Bql>> = const { Cell::new(None) };
}

fn handler(cx: &MainCx) {
    cx.bql(|bql| KEPT.set(Some(bql)));
}

fn main() {}
