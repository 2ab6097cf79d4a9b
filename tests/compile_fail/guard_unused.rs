//! Must not compile: a borrow that is dropped at once protects nothing.

#![deny(unused_must_use)]

use executor::{Bql, BqlRefCell};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn handler(bql: &Bql) {
    CELL.borrow_mut(bql);
}

fn main() {}
