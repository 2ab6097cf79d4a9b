//! Must not compile: a borrow stays on the thread that holds the lock.

use executor::{Bql, BqlRefCell};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn handler(bql: &Bql) {
    let guard = CELL.borrow(bql);
    std::thread::scope(|scope| {
        scope.spawn(move || guard.len());
    });
}

fn main() {}
